//! Three masters, each with a whitelist file and a remediator of its own, on a real
//! cluster. All remediators keep their documents in the ZooKeeper in which the masters
//! hold their election, and reach it by ways of their own.
//!
//! One host is sick and off in all that happens here. In every case something is taken
//! away from under the remediators, and all the while, and after it, the same holds: that
//! host and no other is out of every file, and not offered.
//!
//! `cargo test --workspace --test several_masters -- NAME` runs the cases whose names
//! contain NAME; with `SATELLITE_LONG_CASES=1` there are more. With `KEEP_LOGS=1` the run's
//! folder stays in any case.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use satellite_tests::cases::{self, Case};
use satellite_tests::cluster::Cluster;
use satellite_tests::deployment::Deployment;
use satellite_tests::run::Run;
use satellite_tests::satellite::{Daemon, satctl, whitelist};
use satellite_tests::wait::{holds_for, wait_for};
use satellite_tests::{http, layout};

/// What a file may take after whatever happened.
const ALIKE_WITHIN: Duration = Duration::from_secs(15);
/// A session of 5 s has to run out, and the next in the election has to notice.
const LEADS_WITHIN: Duration = Duration::from_secs(30);
/// A check, a scrape, a rule, Alertmanager, a round.
const OFF_WITHIN: Duration = Duration::from_secs(60);
/// Longer than any session lives.
const STOPPED_FOR: Duration = Duration::from_secs(30);
/// Several rounds, merges, and reads of the file by the masters.
const LONG_ENOUGH: Duration = Duration::from_secs(6);
/// A session of 5 s, an election, a recovery of the registry, the agents' return.
const FAILED_OVER: Duration = Duration::from_secs(60);

const CASES: &[Case<Lab>] = &[
    ("i24_all_masters_have_the_same_list_and_offer_its_hosts", same),
    ("i32_a_leader_that_is_killed_is_followed_by_another", killed),
    ("i32_a_leader_that_is_cut_off_from_zookeeper_leads_no_more", cut_off),
    ("a_person_speaks_to_any_of_them", spoken_to),
    ("the_host_returns_to_every_list_when_it_is_well", returns),
];

/// Asks for all of them.
const LONG: &str = "SATELLITE_LONG_CASES";

/// With those that take long; `make test-all` runs them.
const LONG_CASES: &[Case<Lab>] = &[
    ("i24_all_masters_have_the_same_list_and_offer_its_hosts", same),
    ("i32_a_leader_that_is_killed_is_followed_by_another", killed),
    ("i32_a_leader_that_is_cut_off_from_zookeeper_leads_no_more", cut_off),
    ("i32_a_leader_that_stood_still_for_30_s_writes_nothing_when_it_goes_on", stopped),
    ("i21_zookeeper_starts_anew_and_nothing_changes", zookeeper_restarted),
    ("i24_the_next_leading_master_offers_exactly_the_listed_hosts", master_killed),
    ("i24_a_master_whose_machine_was_wiped_gets_the_list_again", wiped),
    ("a_person_speaks_to_any_of_them", spoken_to),
    ("the_host_returns_to_every_list_when_it_is_well", returns),
];

struct Lab {
    // Dropped in this order.
    deployment: Deployment,
    cluster: Cluster,
    run: Arc<Run>,
    sick: String,
}

impl cases::Lab for Lab {
    fn start() -> Result<Self> {
        layout::build_programs()?;
        let run = Run::start("several-masters")?;
        let cluster = Cluster::start_apart(&run, |_| ())?;
        let deployment = Deployment::start(&run, &cluster, |_| ())?;
        let sick = cluster.hosts()[0].clone();
        deployment.make_sick(&sick)?;
        let lab = Self { deployment, cluster, run, sick };
        lab.wait_alike(OFF_WITHIN)?;
        Ok(lab)
    }

    fn succeed(&self) {
        self.run.succeed();
    }
}

fn main() -> ExitCode {
    cases::run(if std::env::var_os(LONG).is_none() { CASES } else { LONG_CASES })
}

fn same(lab: &mut Lab) -> Result<()> {
    lab.stays()
}

fn killed(lab: &mut Lab) -> Result<()> {
    let old = lab.leader()?;
    lab.deployment.remediators[old].process.kill()?;
    let new = lab.leader_but(old)?;
    lab.wait_alike(ALIKE_WITHIN)?;
    lab.stays()?;
    lab.deployment.remediators[old].restart()?;
    lab.deployment.wait_ready()?;
    ensure!(lab.leader()? == new, "another leads since the first is back");
    lab.stays()
}

fn cut_off(lab: &mut Lab) -> Result<()> {
    let old = lab.leader()?;
    lab.deployment.ways[old].cut();
    lab.leader_but(old)?;
    ensure!(!leads(&lab.deployment.remediators[old])?, "it leads without ZooKeeper");
    lab.wait_alike(ALIKE_WITHIN)?;
    lab.stays()?;
    lab.deployment.ways[old].mend();
    lab.deployment.wait_ready()?;
    lab.wait_alike(ALIKE_WITHIN)
}

fn stopped(lab: &mut Lab) -> Result<()> {
    let old = lab.leader()?;
    lab.deployment.remediators[old].process.signal(Signal::STOP)?;
    lab.leader_but(old)?;
    holds_for("every file, while it stands still", STOPPED_FOR, || lab.alike())?;
    lab.deployment.remediators[old].process.signal(Signal::CONT)?;
    wait_for("it to follow", LEADS_WITHIN, || {
        ensure!(!leads(&lab.deployment.remediators[old])?, "it believes that it leads");
        Ok(())
    })?;
    lab.deployment.wait_ready()?;
    lab.stays()
}

fn zookeeper_restarted(lab: &mut Lab) -> Result<()> {
    let leading = lab.cluster.leader()?;
    lab.cluster.zookeeper.process.kill()?;
    for remediator in &lab.deployment.remediators {
        wait_for("it to say that the store is away", ALIKE_WITHIN, || {
            let ready = remediator.get("/-/ready")?;
            ensure!(ready.status == 503 && ready.body.contains("store"), "{}", ready.body);
            ensure!(!leads(remediator)?, "it leads without ZooKeeper");
            Ok(())
        })?;
    }
    holds_for("every file, without ZooKeeper", LONG_ENOUGH, || lab.alike())?;
    // A master that can no longer know whether it leads ends; its supervisor starts it.
    let master = &mut lab.cluster.masters[leading].process;
    wait_for("the leading master to end", FAILED_OVER, || {
        ensure!(master.check_running().is_err(), "it runs");
        Ok(())
    })?;
    master.stop()?;
    lab.cluster.zookeeper.process.start()?;
    lab.cluster.masters[leading].process.start()?;
    lab.leader()?;
    lab.deployment.wait_ready()?;
    lab.wait_alike(ALIKE_WITHIN)?;
    lab.cluster.leader()?;
    lab.cluster.framework.wait_subscribed()?;
    lab.cluster.wait_offered(&lab.listed(), FAILED_OVER)?;
    lab.stays()
}

fn master_killed(lab: &mut Lab) -> Result<()> {
    let old = lab.cluster.leader()?;
    lab.cluster.masters[old].process.kill()?;
    let new = lab.cluster.leader()?;
    ensure!(new != old, "master {old} is dead and still leads");
    lab.wait_alike(ALIKE_WITHIN)?;
    lab.cluster.framework.wait_subscribed()?;
    lab.cluster.wait_offered(&lab.listed(), FAILED_OVER)?;
    lab.stays()?;
    lab.cluster.masters[old].process.start()?;
    lab.deployment.wait_ready()
}

fn wiped(lab: &mut Lab) -> Result<()> {
    let wiped = lab.leader()?;
    lab.deployment.remediators[wiped].process.kill()?;
    std::fs::remove_file(&lab.cluster.whitelists()[wiped]).context("wipe the file")?;
    let state = lab.run.peer_folder(&format!("remediator{}", wiped + 1))?.join("state");
    std::fs::remove_dir_all(&state).context("wipe the journal")?;
    lab.deployment.remediators[wiped].restart()?;
    lab.wait_alike(ALIKE_WITHIN)?;
    lab.deployment.wait_ready()?;
    lab.stays()
}

fn spoken_to(lab: &mut Lab) -> Result<()> {
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

fn returns(lab: &mut Lab) -> Result<()> {
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

impl Lab {
    /// The hosts that are not sick.
    fn listed(&self) -> Vec<String> {
        self.cluster.hosts().into_iter().filter(|host| *host != self.sick).collect()
    }

    /// Whether every file has exactly these hosts.
    fn list_everywhere(&self, hosts: &[String]) -> Result<()> {
        for file in self.cluster.whitelists() {
            let found = whitelist(file)?;
            ensure!(found == hosts, "{} has {found:?}", file.display());
        }
        Ok(())
    }

    /// Whether every file has all hosts but the sick one.
    fn alike(&self) -> Result<()> {
        self.list_everywhere(&self.listed())
    }

    fn wait_alike(&self, within: Duration) -> Result<()> {
        wait_for("every file without the sick host", within, || self.alike())
    }

    /// Looks on: no file changes, and the sick host alone is not offered.
    fn stays(&self) -> Result<()> {
        holds_for("every file without the sick host", LONG_ENOUGH, || self.alike())?;
        self.cluster.expect_not_offered(&self.sick, LONG_ENOUGH)?;
        self.alike()
    }

    /// The index of the remediator that leads, once exactly one does.
    fn leader(&self) -> Result<usize> {
        self.leader_among(|_| true)
    }

    /// The same, where this one can no longer be it.
    fn leader_but(&self, old: usize) -> Result<usize> {
        self.leader_among(|index| index != old)
    }

    fn leader_among(&self, may: impl Fn(usize) -> bool) -> Result<usize> {
        wait_for("one leading remediator", LEADS_WITHIN, || {
            let all = self.deployment.remediators.iter().enumerate();
            let leading: Vec<usize> = all
                .filter(|(index, remediator)| may(*index) && leads(remediator).unwrap_or(false))
                .map(|(index, _)| index)
                .collect();
            match leading[..] {
                [one] => Ok(one),
                _ => Err(format!("leading: {leading:?}")),
            }
        })
    }
}

fn leads(remediator: &Daemon) -> Result<bool> {
    let metrics = http::get_text(&format!("{}/metrics", remediator.url()))?;
    Ok(metrics.lines().any(|line| line == "satellite_leader 1"))
}
