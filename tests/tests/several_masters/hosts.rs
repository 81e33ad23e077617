//! What becomes of hosts while nothing is amiss.

use anyhow::{Result, ensure};
use satellite_tests::satellite::{Daemon, satctl};
use satellite_tests::wait::wait_for;

use crate::lab::{ALIKE_WITHIN, FAILED_OVER, Lab, OFF_WITHIN};

pub(crate) fn same(lab: &mut Lab) -> Result<()> {
    lab.stays()
}

pub(crate) fn spoken_to(lab: &mut Lab) -> Result<()> {
    let other = lab.listed()[0].clone();
    let urls: Vec<String> = lab.deployment.remediators.iter().map(Daemon::url).collect();
    for (say, take_back) in urls.iter().zip(urls.iter().cycle().skip(1)) {
        satctl(say, &["off", &other, "--reason", "disk swap"])?;
        wait_for("every file without it", ALIKE_WITHIN, || {
            lab.list_everywhere(&lab.listed()[1..])
        })?;
        satctl(take_back, &["clear", &other])?;
        lab.wait_alike(ALIKE_WITHIN)?;
    }
    Ok(())
}

pub(crate) fn returns(lab: &mut Lab) -> Result<()> {
    lab.deployment.heal(&lab.sick)?;
    wait_for("every file with all hosts", OFF_WITHIN, || {
        lab.list_everywhere(&lab.cluster.hosts())
    })?;
    lab.cluster.wait_offered(&lab.cluster.hosts(), FAILED_OVER)?;
    let transitions = lab.deployment.host(&lab.sick)?.transitions;
    let count = |what: &str| transitions.iter().filter(|it| it.what == what).count();
    ensure!(
        (count("off"), count("on")) == (1, 1),
        "it went off and on more than once: {transitions:?}"
    );
    Ok(())
}
