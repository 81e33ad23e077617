//! What a round costs the masters, by their own logs.

use std::time::Duration;

use anyhow::{Result, ensure};
use satellite_tests::cluster::Cluster;
use satellite_tests::deployment::Deployment;
use satellite_tests::http;
use satellite_tests::wait::wait_for;
use serde_json::{Value, json};

use crate::Lab;

/// How many rounds are looked at.
const ROUNDS: u64 = 10;

/// Deliveries, each of which wakes the loop.
const DELIVERIES: usize = 20;

/// A round is made every second.
const ROUNDS_WITHIN: Duration = Duration::from_secs(60);

/// What a master logs when somebody uses its operator API, and what the elected
/// one logs when it answers itself. Of all that runs here, only the remediator
/// names itself so and asks there.
const ASKED: &str = "HTTP POST for /master/api/v1 from";
const BY_SATELLITE: &str = "User-Agent='satellite/";
const WHO_LEADS: &str = "Processing call GET_MASTER";
const LISTING: &str = "Processing call GET_AGENTS";

/// What the remediator has asked of one master since that was started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Asked {
    calls: u64,
    who_leads: u64,
    listings: u64,
}

impl Asked {
    fn since(self, former: Self) -> Self {
        Self {
            calls: self.calls - former.calls,
            who_leads: self.who_leads - former.who_leads,
            listings: self.listings - former.listings,
        }
    }
}

pub(crate) fn one_listing(lab: &mut Lab) -> Result<()> {
    lab.satellite()?;
    let leader = lab.cluster.leader()?;
    let Lab { cluster, deployment: Some(deployment), .. } = lab else {
        anyhow::bail!("Satellite is started");
    };
    // Whoever looks on may come late and miss a round: then it looks anew.
    let before = wait_for("rounds of which none was missed", ROUNDS_WITHIN, || {
        let (before, after) = watch_rounds(cluster, deployment)?;
        let listings = after[leader].since(before[leader]).listings;
        ensure!(listings == ROUNDS, "{listings} listings in {ROUNDS} rounds that were seen");
        Ok(before)
    })?;
    for _ in 0..DELIVERIES {
        let nothing = json!({"version": "4", "alerts": []});
        http::post(&format!("{}/webhook", deployment.remediators[0].url()), &nothing)?;
    }
    next_round(deployment, &last_round(deployment)?)?;
    // In the middle of a round, some masters have been asked and some have not. What
    // was asked once too often never agrees again.
    wait_for("each master to have been asked once in each round", ROUNDS_WITHIN, || {
        let now = asked(cluster)?;
        let asked: Vec<Asked> = now.iter().zip(&before).map(|(now, it)| now.since(*it)).collect();
        let rounds = asked[leader].who_leads;
        for (index, master) in asked.iter().enumerate() {
            let expected = if index == leader {
                Asked { calls: 2 * rounds, who_leads: rounds, listings: rounds }
            } else {
                Asked { calls: rounds, who_leads: 0, listings: 0 }
            };
            ensure!(*master == expected, "master {leader} leads: {asked:?}");
        }
        ensure!(rounds > ROUNDS, "only {rounds} rounds");
        Ok(())
    })?;
    ensure!(cluster.leader()? == leader, "another master leads now");
    Ok(())
}

/// Looks on for [`ROUNDS`] rounds: what was asked before them, and after.
fn watch_rounds(cluster: &Cluster, deployment: &Deployment) -> Result<(Vec<Asked>, Vec<Asked>)> {
    // Right after a round, so that none is under way.
    let mut last = next_round(deployment, &last_round(deployment)?)?;
    let before = asked(cluster)?;
    for _ in 0..ROUNDS {
        last = next_round(deployment, &last)?;
    }
    Ok((before, asked(cluster)?))
}

fn last_round(deployment: &Deployment) -> Result<Value> {
    Ok(deployment.api("status")?["last_round"].take())
}

fn next_round(deployment: &Deployment, last: &Value) -> Result<Value> {
    wait_for("the next round", ROUNDS_WITHIN, || {
        let round = last_round(deployment)?;
        ensure!(round != *last, "still {round}");
        Ok(round)
    })
}

/// What each master says that it was asked.
fn asked(cluster: &Cluster) -> Result<Vec<Asked>> {
    let of_master = |master: &satellite_tests::mesos::Master| {
        let log = master.process.output()?;
        let count =
            |is_it: &dyn Fn(&str) -> bool| log.lines().filter(|line| is_it(line)).count() as u64;
        Ok(Asked {
            calls: count(&|line| line.contains(ASKED) && line.contains(BY_SATELLITE)),
            who_leads: count(&|line| line.contains(WHO_LEADS)),
            listings: count(&|line| line.contains(LISTING)),
        })
    };
    cluster.masters.iter().map(of_master).collect()
}
