//! `GET /metrics`: the remediator's own series, made of what the last round and
//! the documents say.

use std::{collections::BTreeMap, sync::atomic::Ordering};

use axum::{extract::State, response::Response};
use http::HeaderMap;
use satellite_core::{
    Cause, HostDocument, Verdict,
    policy::{Action, Rule},
};
use satellite_toolkit::{
    exposition::{Exposition, Family, Format, Kind, Labels},
    process,
};

use super::{App, status};
use crate::ledger::Documents;

/// Shows every series.
pub(super) async fn show(State(app): State<App>, headers: HeaderMap) -> Response {
    let format = Format::negotiate(&headers);
    let mut families = round_families(&app);
    // Before the store was read nobody knows which hosts there are.
    if app.ledger.is_read() {
        families.extend(host_families(&app));
    }
    families.extend(file_families(&app));
    families.extend(delivery_families(&app));
    families.extend(process::families(env!("CARGO_PKG_VERSION")));
    Exposition::new(format).families(families).registry(&app.registry).into_response()
}

fn single(name: &'static str, help: &'static str, kind: Kind, value: f64) -> Family {
    let mut family = Family::new(name, help, kind);
    family.push(Labels::default(), value);
    family
}

fn gauge(name: &'static str, help: &'static str, value: f64) -> Family {
    single(name, help, Kind::Gauge, value)
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn float(count: usize) -> f64 {
    count as f64
}

fn float_of_flag(flag: bool) -> f64 {
    f64::from(u8::from(flag))
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^53")]
fn float_of_u64(count: u64) -> f64 {
    count as f64
}

fn host_families(app: &App) -> Vec<Family> {
    let documents = app.ledger.read();
    let on = documents.hosts.values().filter(|it| it.verdict() == Verdict::On).count();
    let mut hosts =
        Family::new("satellite_hosts", "Hosts of the store, by whether they are on", Kind::Gauge);
    hosts.push(Labels::new([("state", "on")]), float(on));
    hosts.push(Labels::new([("state", "off")]), float(documents.hosts.len() - on));
    let help = "1 for each reason why a host is off; absent while it is on";
    let mut off = Family::new("satellite_host_off", help, Kind::Gauge);
    let help = "1 for each host of which a person has said how it is; otherwise absent";
    let mut manual = Family::new("satellite_manual_override", help, Kind::Gauge);
    for (host, document) in &documents.hosts {
        for (cause, rule) in reasons(document) {
            let labels = Labels::new([("host", host.as_str()), ("cause", cause), ("rule", rule)]);
            off.push(labels, 1.0);
        }
        if let Some((_, event)) = document.ruling_event() {
            let state = event.state.to_string();
            manual.push(Labels::new([("host", host.as_str()), ("state", &state)]), 1.0);
        }
    }
    vec![hosts, off, manual, given_up(app, &documents), transitions(app)]
}

fn given_up(app: &App, documents: &Documents) -> Family {
    let help = "1 for each host that fell sick too often and waits for a person; otherwise absent";
    let mut family = Family::new("satellite_host_given_up", help, Kind::Gauge);
    for host in app.report().given_up(documents) {
        family.push(Labels::new([("host", host.as_str())]), 1.0);
    }
    family
}

/// Every rule that can put a host off is there from the start.
fn transitions(app: &App) -> Family {
    let config = app.config();
    let takes_off = |rule: &&Rule| matches!(rule.action, Action::Off { .. });
    let rules = config.policy.rules.iter().filter(takes_off).map(|rule| rule.name.as_str());
    let help = "Times a host was put on or off since the start, by the rule; empty: by a person";
    let mut family = Family::new("satellite_transitions_total", help, Kind::Counter);
    for ((to, rule), count) in app.ledger.tally.with(rules.chain([""])) {
        family.push(Labels::new([("to", to), ("rule", rule.as_str())]), float_of_u64(count));
    }
    family
}

/// Why a host is off: kind and rule, each once.
fn reasons(document: &HostDocument) -> Vec<(&'static str, &str)> {
    if document.verdict() == Verdict::On {
        return Vec::new();
    }
    let manual = document.ruling_event().map(|_| ("manual", ""));
    let causes = document.causes.iter().map(|cause| match cause {
        Cause::Alert { rule, .. } => ("alert", rule.as_str()),
        Cause::Imported { .. } => ("imported", ""),
    });
    let mut reasons: Vec<_> = manual.into_iter().chain(causes).collect();
    if reasons.is_empty() {
        reasons.push(("default", ""));
    }
    reasons.sort_unstable();
    reasons.dedup();
    reasons
}

fn round_families(app: &App) -> Vec<Family> {
    let (config, report) = (app.config(), app.report());
    let mut families = vec![
        gauge("satellite_leader", "Whether this remediator acts", float_of_flag(app.leads())),
        gauge(
            "satellite_store_up",
            "Whether the store takes what is written, and did in the last round",
            float_of_flag(app.store_failure().is_none()),
        ),
    ];
    // What it has found before it came to follow is no longer its to tell.
    let Some(at) = report.at.filter(|_| app.leads()) else { return families };
    families.push(gauge(
        "satellite_reconcile_last_round_timestamp_seconds",
        "When the last round that has ended began",
        at.as_duration().as_secs_f64(),
    ));
    let remaining = float(report.budget.remaining(&config.policy));
    families.push(gauge(
        "satellite_budget_limit",
        "Hosts that may be away at once",
        float(report.budget.limit),
    ));
    families.push(gauge(
        "satellite_budget_remaining",
        "Hosts that may still be taken off now",
        remaining,
    ));
    families.push(gauge(
        "satellite_reconcile_duration_seconds",
        "How long the last round took",
        report.took.as_secs_f64(),
    ));
    families.push(gauge(
        "satellite_hosts_unlistable",
        "Names of agents that cannot stand in a whitelist, so that Mesos never offers them",
        float(report.unlistable.len()),
    ));
    let help = "Whether a source of facts cannot be believed";
    let mut blind = Family::new("satellite_source_blind", help, Kind::Gauge);
    for source in status::sources(&config, &report) {
        let labels = Labels::new([("source", source.source)]);
        blind.push(labels, float_of_flag(source.blind));
    }
    let help = "Whether a rule's hold blocks now";
    let mut holds = Family::new("satellite_hold_active", help, Kind::Gauge);
    for (rule, blocks) in hold_rules(app) {
        holds.push(Labels::new([("rule", rule)]), float_of_flag(blocks));
    }
    families.extend([blind, holds, unmatched(app)]);
    families.extend(rest_families(app));
    families
}

/// What lets automation rest as a whole.
fn rest_families(app: &App) -> Vec<Family> {
    let storm = app.report().storm.clone();
    let is_paused = app.ledger.read().automation.pause.is_some();
    let mut families = vec![
        gauge(
            "satellite_storm_active",
            "Whether many hosts fell sick together, so that none is taken off",
            float_of_flag(storm.since.is_some()),
        ),
        gauge(
            "satellite_dry_run",
            "Whether everything is decided and nothing is done",
            f64::from(u8::from(app.config().policy.dry_run)),
        ),
        gauge(
            "satellite_paused",
            "Whether a person has paused automation",
            float_of_flag(is_paused),
        ),
    ];
    let help = "Hosts that fell sick lately, by an attribute's value that at least two share";
    let mut shared = Family::new("satellite_storm_candidates", help, Kind::Gauge);
    for ((attribute, value), hosts) in &storm.shared {
        let labels = Labels::new([("attribute", attribute.as_str()), ("value", value.as_str())]);
        shared.push(labels, float(*hosts));
    }
    families.push(shared);
    families
}

/// Every rule that can hold, and whether one of its holds blocks. A hold may
/// outlive its rule for a while.
fn hold_rules(app: &App) -> BTreeMap<String, bool> {
    let (config, report) = (app.config(), app.report());
    let can_hold = |rule: &&Rule| matches!(rule.action, Action::Hold { .. });
    let rules = config.policy.rules.iter().filter(can_hold);
    let mut blocks: BTreeMap<String, bool> = rules.map(|rule| (rule.name.clone(), false)).collect();
    for status in &report.holds {
        *blocks.entry(status.hold.rule.clone()).or_default() |= status.blocks;
    }
    blocks
}

fn unmatched(app: &App) -> Family {
    let help = "Alerts that a rule acts upon and that name no host of the inventory";
    let mut family = Family::new("satellite_alerts_unmatched", help, Kind::Gauge);
    let mut counts = BTreeMap::new();
    for unmatched in status::unmatched(app, &app.report()) {
        *counts.entry(unmatched.alertname).or_insert(0) += 1;
    }
    for (alertname, count) in counts {
        family.push(Labels::new([("alertname", alertname)]), float(count));
    }
    family
}

fn file_families(app: &App) -> Vec<Family> {
    let file = app.file.borrow();
    let mut families = vec![
        single(
            "satellite_whitelist_foreign_edits_total",
            "Times somebody else had changed the whitelist file",
            Kind::Counter,
            float_of_u64(file.foreign_edits),
        ),
        single(
            "satellite_whitelist_failures_total",
            "Times the whitelist file could not be read or written",
            Kind::Counter,
            float_of_u64(file.failures),
        ),
    ];
    let (Some(generation), Some(merged_at)) = (file.generation, file.merged_at) else {
        return families;
    };
    families.push(gauge(
        "satellite_whitelist_generation",
        "The revision of the store that the whitelist file is of, or in a dry run would be",
        float_of_u64(generation),
    ));
    families.push(gauge(
        "satellite_whitelist_last_merge_timestamp_seconds",
        "When the whitelist file was last found right or put right",
        merged_at.as_duration().as_secs_f64(),
    ));
    families.push(gauge(
        "satellite_whitelist_hosts",
        "Hosts that the whitelist file lists, or in a dry run would",
        float(file.hosts),
    ));
    families.push(gauge(
        "satellite_whitelist_kept_hosts",
        "Hosts that should be off and that whitelist.min_hosts keeps in the file",
        float(file.kept.len()),
    ));
    let help = "SHA-256 of the whitelist file, or in a dry run of what it would be";
    let mut hash = Family::new("satellite_whitelist_hash_info", help, Kind::Info);
    hash.push(Labels::new([("hash", &file.hash)]), 1.0);
    families.push(hash);
    families
}

fn delivery_families(app: &App) -> Vec<Family> {
    let deliveries = app.deliveries();
    let help = "Deliveries from Alertmanager: accepted, rejected (unreadable), deferred (503)";
    let mut family = Family::new("satellite_webhook_deliveries_total", help, Kind::Counter);
    for (outcome, count) in [
        ("accepted", &deliveries.accepted),
        ("rejected", &deliveries.rejected),
        ("deferred", &deliveries.deferred),
    ] {
        let count = float_of_u64(count.load(Ordering::Relaxed));
        family.push(Labels::new([("outcome", outcome)]), count);
    }
    let truncated = single(
        "satellite_webhook_truncated_total",
        "Deliveries from which Alertmanager had left alerts out",
        Kind::Counter,
        float_of_u64(deliveries.truncated.load(Ordering::Relaxed)),
    );
    let failures = single(
        "satellite_journal_failures_total",
        "Times the journal could not be written; what was done is tried again",
        Kind::Counter,
        float_of_u64(app.journal.failures()),
    );
    vec![family, truncated, failures]
}
