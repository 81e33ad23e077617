//! `GET /api/v1/status`: what the remediator sees and what holds it.

use axum::{Json, extract::State};
use jiff::Timestamp;
use satellite_config::Config;
use satellite_core::{
    HostName, Verdict,
    document::Pause,
    plan::{Budget, StormStatus},
};
use serde::Serialize;
use serde_json::Value;

use super::App;
use crate::{ledger::Documents, reconcile::Report, sources::shown};

/// The whole of it.
#[derive(Serialize)]
pub(super) struct Status {
    pub(super) cluster: String,
    /// Whether this remediator leads, which with the embedded store it always does.
    leader: bool,
    /// Why it decides nothing, where it does not: what comes below of sources, budget, holds
    /// and storms is then not known here.
    pub(super) deferral: Option<String>,
    pub(super) mesos_leader: Option<String>,
    pub(super) sources: Vec<SourceView>,
    pub(super) hosts: HostCounts,
    pub(super) budget: BudgetView,
    pub(super) holds: Vec<HoldView>,
    pub(super) storm: Option<StormView>,
    pub(super) pause: Option<Pause>,
    pub(super) dry_run: bool,
    /// Hosts of which a person has said how they are, whether or not that ends by itself.
    pub(super) manual: Vec<ManualView>,
    /// Hosts that fell sick too often and wait for a person.
    pub(super) given_up: Vec<HostName>,
    pub(super) unmatched: Vec<UnmatchedView>,
    /// What agents registered with that cannot stand in a whitelist.
    pub(super) unlistable: Vec<String>,
    pub(super) whitelist: WhitelistView,
    pub(super) last_round: Option<Timestamp>,
    /// Whether the next round should have ended by now: all of this is of then.
    pub(super) overdue: bool,
    last_round_seconds: f64,
    /// Why what is decided does not get into the store.
    pub(super) failure: Option<String>,
}

/// A host that is as a person has said.
#[derive(Serialize)]
pub(super) struct ManualView {
    host: HostName,
    state: Verdict,
}

/// A source of facts.
#[derive(Serialize)]
pub(super) struct SourceView {
    pub(super) source: String,
    pub(super) blind: bool,
    pub(super) reason: Option<String>,
    pub(super) since: Option<Timestamp>,
}

#[derive(Serialize)]
pub(super) struct HostCounts {
    pub(super) on: usize,
    pub(super) off: usize,
}

#[derive(Serialize)]
pub(super) struct BudgetView {
    pub(super) inventory: usize,
    pub(super) limit: usize,
    pub(super) away: usize,
    pub(super) remaining: usize,
    pub(super) offs_last_hour: usize,
    pub(super) max_off_per_hour: usize,
    min_hosts: usize,
}

#[derive(Serialize)]
pub(super) struct HoldView {
    pub(super) rule: String,
    pub(super) alertname: String,
    labels: Value,
    pub(super) since: Timestamp,
    pub(super) blocks: bool,
    pub(super) note: String,
    pub(super) blocks_until: Option<Timestamp>,
}

/// Many hosts fall sick together.
#[derive(Serialize)]
pub(super) struct StormView {
    pub(super) since: Timestamp,
    pub(super) fell_sick: Vec<String>,
    pub(super) still_sick: usize,
    pub(super) threshold: usize,
    pub(super) calm_at: Option<Timestamp>,
    /// Whether a source is blind that would tell: then it does not end by itself.
    pub(super) unseen: bool,
    pub(super) shared: Vec<SharedAttribute>,
}

/// What several hosts of a storm have in common.
#[derive(Serialize)]
pub(super) struct SharedAttribute {
    pub(super) attribute: String,
    pub(super) value: String,
    pub(super) hosts: usize,
}

#[derive(Serialize)]
pub(super) struct UnmatchedView {
    pub(super) alertname: String,
    pub(super) host: String,
    pub(super) near_miss: Option<String>,
}

#[derive(Serialize)]
pub(super) struct WhitelistView {
    pub(super) file: String,
    pub(super) generation: Option<u64>,
    hash: String,
    pub(super) hosts: usize,
    pub(super) merged_at: Option<Timestamp>,
    pub(super) kept: Vec<String>,
    foreign_edits: u64,
    /// Why it could not be read or written the last time, if so.
    pub(super) failure: Option<String>,
}

/// Shows the status.
pub(super) async fn show(State(app): State<App>) -> Json<Status> {
    Json(status(&app))
}

/// The status as it is now.
pub(super) fn status(app: &App) -> Status {
    let (config, report) = (app.config(), app.report());
    // Read in a statement of its own: a lock held on to through the rest, which reads
    // again, would wait for ever for a writer that waits for it.
    let (pause, manual, given_up) = {
        let documents = app.ledger.read();
        let given_up = report.given_up(&documents).cloned().collect();
        (documents.automation.pause.clone(), manual(&documents), given_up)
    };
    Status {
        cluster: config.cluster.clone(),
        leader: app.leads(),
        deferral: app.deferral(),
        mesos_leader: report.leader.clone(),
        sources: sources(&config, &report),
        hosts: count(app),
        budget: budget(&report.budget, &config),
        holds: holds(&report),
        storm: storm(&report.storm),
        pause,
        dry_run: config.policy.dry_run,
        manual,
        given_up,
        unmatched: unmatched(app, &report),
        unlistable: report.unlistable.iter().cloned().collect(),
        whitelist: whitelist(app, &config),
        last_round: report.at,
        overdue: report.is_overdue(config.reconcile_interval, app.clock.now()),
        last_round_seconds: report.took.as_secs_f64(),
        failure: app.store_failure(),
    }
}

fn manual(documents: &Documents) -> Vec<ManualView> {
    let ruled = documents.hosts.iter().filter_map(|(host, document)| {
        let (_, event) = document.ruling_event()?;
        Some(ManualView { host: host.clone(), state: event.state })
    });
    ruled.collect()
}

/// Every source that the configuration names, the blind ones with their reason.
pub(super) fn sources(config: &Config, report: &Report) -> Vec<SourceView> {
    let mut names = vec!["mesos".to_owned()];
    names.extend(config.alertmanagers.iter().map(|url| format!("alertmanager/{}", shown(url))));
    names.extend(config.prometheus.iter().map(|url| format!("prometheus/{}", shown(url))));
    names.extend(config.policy.watchdogs.iter().map(|it| format!("watchdog/{it}")));
    // The clock and the list that was found are told of only while they are in the way.
    let others = report.blind.iter().map(|it| &it.source);
    let others: Vec<String> = others.filter(|it| !names.contains(it)).cloned().collect();
    names.extend(others);
    let view = |source: String| {
        let blind = report.blind.iter().find(|it| it.source == source);
        SourceView {
            blind: blind.is_some(),
            reason: blind.map(|it| it.reason.clone()),
            since: blind.map(|it| it.since),
            source,
        }
    };
    names.into_iter().map(view).collect()
}

fn count(app: &App) -> HostCounts {
    let documents = app.ledger.read();
    let on = documents.hosts.values().filter(|it| it.verdict() == Verdict::On).count();
    HostCounts { on, off: documents.hosts.len() - on }
}

fn budget(budget: &Budget, config: &Config) -> BudgetView {
    BudgetView {
        inventory: budget.inventory,
        limit: budget.limit,
        away: budget.away,
        remaining: budget.remaining(&config.policy),
        offs_last_hour: budget.offs_last_hour,
        max_off_per_hour: config.policy.max_off_per_hour,
        min_hosts: budget.floor,
    }
}

fn holds(report: &Report) -> Vec<HoldView> {
    let view = |status: &satellite_core::plan::HoldStatus| HoldView {
        rule: status.hold.rule.clone(),
        alertname: status.hold.alertname.clone(),
        labels: serde_json::json!(status.hold.labels),
        since: status.hold.since,
        blocks: status.blocks,
        note: status.note.clone(),
        blocks_until: status.blocks_until,
    };
    report.holds.iter().map(view).collect()
}

fn storm(status: &StormStatus) -> Option<StormView> {
    let since = status.since?;
    let mut shared: Vec<SharedAttribute> = status
        .shared
        .iter()
        .map(|((attribute, value), hosts)| SharedAttribute {
            attribute: attribute.clone(),
            value: value.clone(),
            hosts: *hosts,
        })
        .collect();
    shared.sort_by_key(|shared| std::cmp::Reverse(shared.hosts));
    Some(StormView {
        since,
        fell_sick: status.fell_sick.iter().map(ToString::to_string).collect(),
        still_sick: status.still_sick,
        threshold: status.threshold,
        calm_at: status.calm_at,
        unseen: status.unseen,
        shared,
    })
}

/// What Alertmanager holds now, and what it delivered lately.
pub(super) fn unmatched(app: &App, report: &Report) -> Vec<UnmatchedView> {
    let mut unmatched: Vec<UnmatchedView> = report
        .unmatched
        .iter()
        .map(|it| UnmatchedView {
            alertname: it.alertname.clone(),
            host: it.host.clone(),
            near_miss: it.near_miss.as_ref().map(ToString::to_string),
        })
        .collect();
    let documents = app.ledger.read();
    for (alertname, host) in app.deliveries().unmatched(app.clock.now().wall) {
        let listed = unmatched.iter().any(|it| it.alertname == alertname && it.host == host);
        // Its host may have come since.
        if !listed && !documents.hosts.contains_key(host.as_str()) {
            unmatched.push(UnmatchedView { alertname, host, near_miss: None });
        }
    }
    unmatched
}

fn whitelist(app: &App, config: &Config) -> WhitelistView {
    let file = app.file.borrow();
    WhitelistView {
        file: config.whitelist.file.display().to_string(),
        generation: file.generation,
        hash: file.hash.clone(),
        hosts: file.hosts,
        merged_at: file.merged_at,
        kept: file.kept.iter().map(ToString::to_string).collect(),
        foreign_edits: file.foreign_edits,
        failure: file.failure.clone(),
    }
}
