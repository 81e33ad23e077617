//! Answers as text for people: pure functions, one per kind of answer.
//!
//! What comes from alerts and from other people may hold anything, so that control characters are
//! escaped before they reach a terminal.

use std::path::Path;

use jiff::Timestamp;
use satellite_config::NotInForce;
use serde::Deserialize as _;
use serde_json::{Map, Value};

use crate::answer::{
    Budget, Cause, Forgotten, Hold, Host, Imported, Journal, Pause, Source, Status, Storm,
    Unmatched, Whitelist,
};

/// Shown where there is nothing to show, so that columns stay columns.
const NOTHING: &str = "-";

/// Alerts of a delivery that the journal names; a delivery may have thousands.
const ALERTS_TOLD: usize = 5;

/// Hosts of a storm that the status names; a storm may have all of them.
const NAMES_TOLD: usize = 12;

/// Hosts, events and oddities that an import names of each kind: somebody looks through them
/// before it is done. With `--json` all are there.
const IMPORTED_TOLD: usize = 200;

/// A configuration file that is in order, after what is unwise in it and what it asks for in vain.
pub(crate) fn checked(file: &Path, advice: &[String], not_in_force: &[NotInForce]) -> String {
    let file = one_line(&file.display().to_string());
    let advice = advice.iter().map(|line| format!("{}\n", one_line(line)));
    let vain = not_in_force.iter();
    let vain = vain.map(|it| format!("{file}: {}: is not yet in force: {}\n", it.key, it.why));
    format!("{}{file} is in order\n", advice.chain(vain).collect::<String>())
}

/// A table of hosts.
pub(crate) fn hosts(hosts: &[Host]) -> String {
    let rows = hosts
        .iter()
        .map(|host| [host.host.clone(), host.state.clone(), time(host.since()), why(host)]);
    table(["HOST", "STATE", "SINCE", "WHY"], rows)
}

/// The remediator's own explanation, line by line.
pub(crate) fn explanation(host: &Host) -> String {
    if host.explain.is_empty() { in_force(host) } else { lines(&host.explain) }
}

/// What is in force for a host after a command: `host a is off (manual, until 2026-…)`. What
/// blocks a change is not told: the answer has it from the round before the command.
pub(crate) fn in_force(host: &Host) -> String {
    let name = one_line(&host.host);
    let state = one_line(&host.state);
    let because = because(host).map(|it| format!(" ({})", one_line(&it))).unwrap_or_default();
    format!("host {name} is {state}{because}{}\n", told_listing(host))
}

/// What is odd about the host's agent. A name that no master has ever listed is a typing
/// error, perhaps.
fn told_listing(host: &Host) -> &'static str {
    let listing = host.listing.as_ref().map(|listing| listing.state.as_str());
    match (listing, host.agents.is_empty()) {
        (Some("unlisted"), true) => "; no leading master has ever listed an agent of this name",
        (Some("unlisted"), false) => "; the leading master does not list its agent",
        (Some("recovered"), _) => "; its agent has not come back since the last fail-over",
        _ => "",
    }
}

/// What a person did to automation as a whole: whether anything rests now.
pub(crate) fn resting(status: &Status) -> String {
    match &status.pause {
        Some(pause) => format!("paused: {}\n", one_line(&told_pause(pause))),
        None => "automation is not paused\n".to_owned(),
    }
}

/// A host that is gone.
pub(crate) fn forgotten(gone: &Forgotten) -> String {
    format!("host {} is forgotten\n", one_line(&gone.host))
}

/// A line for each key and what there is to say of it.
pub(crate) fn keyed(lines: &[(&str, String)]) -> String {
    let lines = lines.iter().map(|(key, value)| format!("{key:<10}  {}\n", one_line(value)));
    lines.collect()
}

/// What an import did or would do, with the hosts that it takes out first. A line each.
pub(crate) fn imported(done: &Imported) -> String {
    let mut lines: Vec<(&str, String)> = Vec::new();
    if done.dry_run {
        lines.push(("DRY RUN", "this is what would be done; NOTHING IS WRITTEN".to_owned()));
    }
    let mut tell = |key, names: &[String], what: &str| {
        if !names.is_empty() {
            let names = named(names, IMPORTED_TOLD);
            lines.push((key, format!("{what}: {names}")));
        }
    };
    let count = |names: &[String]| match names.len() {
        1 => "1 host".to_owned(),
        many => format!("{many} hosts"),
    };
    tell("off", &done.turned_off, &format!("{} turned off", count(&done.turned_off)));
    tell("on", &done.turned_on, &format!("{} turned on", count(&done.turned_on)));
    for state in ["off", "on"] {
        let new = done.added.iter().filter(|it| it.state == state);
        let new: Vec<String> = new.map(|it| it.host.clone()).collect();
        tell("new", &new, &format!("{} {state}", count(&new)));
    }
    let amended = format!("{} on or off as before", count(&done.amended));
    tell("amended", &done.amended, &amended);
    let events = done.events.iter().map(|it| format!("{} {} ({})", it.host, it.state, it.id));
    let events: Vec<String> = events.collect();
    let added = if events.len() == 1 { "event" } else { "events" };
    tell("said", &events, &format!("{} manual {added} added", events.len()));
    let unchanged = done.unchanged.to_string();
    lines.push(("unchanged", unchanged));
    if done.unnamed > 0 {
        lines.push(("left alone", format!("{}, which the source does not name", done.unnamed)));
    }
    let left_out = done.left_out.iter().take(IMPORTED_TOLD);
    lines.extend(left_out.map(|it| ("left out", format!("{}: {}", it.host, it.what))));
    let more = done.left_out.len().saturating_sub(IMPORTED_TOLD);
    if more > 0 {
        lines.push(("left out", format!("{more} more things, which --json has")));
    }
    keyed(&lines)
}

/// How the remediator is: what stops it first, then what it sees and has done. A line each.
pub(crate) fn status(status: &Status) -> String {
    let mut lines: Vec<(&str, String)> = Vec::new();
    if status.dry_run {
        let what = "decisions are made and shown, NOTHING IS WRITTEN, no command is taken";
        lines.push(("DRY RUN", what.to_owned()));
    }
    if status.overdue {
        let last = time(status.last_round);
        lines.push(("STUCK", format!("no round has ended since that of {last}: this is of then")));
    }
    if let Some(failure) = &status.failure {
        lines.push(("FAILURE", format!("what was decided is not recorded: {failure}")));
    }
    lines.push(("cluster", status.cluster.clone()));
    match &status.deferral {
        Some(deferral) => lines.push(("FOLLOWS", deferral.clone())),
        None => lines.push(("leader", status.mesos_leader.clone().unwrap_or_else(none_known))),
    }
    lines.push(("hosts", format!("{} on, {} off", status.hosts.on, status.hosts.off)));
    for state in ["off", "on"] {
        let of_state = status.manual.iter().filter(|it| it.state == state);
        let hosts: Vec<String> = of_state.map(|it| it.host.clone()).collect();
        if !hosts.is_empty() {
            lines.push(("by hand", format!("{state}: {}", enumerated(&hosts))));
        }
    }
    lines.push(("pause", status.pause.as_ref().map_or_else(none, told_pause)));
    lines.extend(told_whitelist(&status.whitelist));
    // Whoever follows has asked nobody.
    if status.deferral.is_none() {
        lines.extend(told_facts(status));
    }
    if !status.given_up.is_empty() {
        let what = format!("stay off until `satctl on`: {}", enumerated(&status.given_up));
        lines.push(("GIVEN UP", what));
    }
    lines.extend(status.unmatched.iter().map(|alert| ("unmatched", told_unmatched(alert))));
    if !status.unlistable.is_empty() {
        let names = enumerated(&status.unlistable);
        lines.push(("unlistable", format!("agents' names that are no host names: {names}")));
    }
    lines.push(("last round", time(status.last_round)));
    keyed(&lines)
}

/// What the last round has found.
fn told_facts(status: &Status) -> Vec<(&'static str, String)> {
    let mut lines = vec![("budget", told_budget(&status.budget))];
    match &status.storm {
        Some(storm) => lines.extend(told_storm(storm)),
        None => lines.push(("storm", none())),
    }
    if status.holds.is_empty() {
        lines.push(("hold", none()));
    }
    lines.extend(status.holds.iter().map(|hold| ("hold", told_hold(hold))));
    lines.extend(status.sources.iter().map(|source| ("source", told_source(source))));
    lines
}

fn none_known() -> String {
    "none known".to_owned()
}

fn none() -> String {
    "none".to_owned()
}

fn told_budget(budget: &Budget) -> String {
    let Budget { inventory, limit, away, remaining, offs_last_hour, max_off_per_hour } = budget;
    format!(
        "{away} of {inventory} away, {limit} may be; {offs_last_hour} of {max_off_per_hour} taken \
         off within the hour; {remaining} more may go now"
    )
}

fn told_pause(pause: &Pause) -> String {
    format!("{}, says {}: {}", told_rest(pause), pause.by, pause.reason)
}

fn told_rest(pause: &Pause) -> String {
    let what = if pause.all { "taken off or given back" } else { "taken off" };
    format!("nobody is {what} until {:.0}", pause.until)
}

fn told_storm(storm: &Storm) -> Vec<(&'static str, String)> {
    let Storm { since, still_sick, threshold, .. } = storm;
    let mut lines = vec![
        (
            "STORM",
            format!(
                "nobody is taken off since {since:.0}, when hosts fell sick together: {} are known \
                 to have taken part, {still_sick} are sick now; {threshold} make a storm",
                storm.fell_sick.len()
            ),
        ),
        ("  who", enumerated(&storm.fell_sick)),
    ];
    lines.extend(storm.shared.iter().map(|shared| {
        let told = format!("{}={} on {} of them", shared.attribute, shared.value, shared.hosts);
        ("  shared", told)
    }));
    lines.push(match storm.calm_at {
        _ if storm.unseen => {
            ("  calm at", "nobody can tell while a source is blind; `satctl resume` ends it".into())
        }
        Some(at) => ("  calm at", format!("{at:.0} at the earliest, once few are still sick")),
        None => ("  calm at", "not known".to_owned()),
    });
    lines
}

/// The first few names of a list that may have thousands, as a line has place for.
pub(crate) fn enumerated(names: &[String]) -> String {
    named(names, NAMES_TOLD)
}

/// The first of them, and how many more there are.
fn named(names: &[String], limit: usize) -> String {
    let told = names.iter().take(limit).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(limit) {
        0 => told,
        more => format!("{told}, and {more} more"),
    }
}

fn told_hold(hold: &Hold) -> String {
    let blocks = match (hold.blocks, hold.blocks_until) {
        (true, Some(until)) => format!("nobody is taken off until {until:.0} at the latest"),
        (true, None) => "nobody is taken off".to_owned(),
        (false, _) => "does not block".to_owned(),
    };
    let Hold { alertname, rule, since, note, .. } = hold;
    format!("{alertname} (rule {rule}) since {since:.0}, {blocks}: {note}")
}

fn told_whitelist(whitelist: &Whitelist) -> Vec<(&'static str, String)> {
    let checked = match whitelist.merged_at {
        Some(at) => format!("{} hosts, checked {at:.0}", whitelist.hosts),
        None => "not written since the start".to_owned(),
    };
    let mut lines = vec![("whitelist", format!("{}: {checked}", whitelist.file))];
    if !whitelist.kept.is_empty() {
        let kept = format!("too few would be left without {}", enumerated(&whitelist.kept));
        lines.push(("AT FLOOR", kept));
    }
    lines.extend(whitelist.failure.clone().map(|failure| ("FAILURE", failure)));
    lines
}

fn told_source(source: &Source) -> String {
    let name = &source.source;
    if !source.blind {
        return format!("{name} is seen");
    }
    let since = source.since.map(|since| format!(" since {since:.0}")).unwrap_or_default();
    let reason = source.reason.as_deref().unwrap_or("no reason is told");
    format!("{name} is BLIND{since}: {reason}")
}

fn told_unmatched(alert: &Unmatched) -> String {
    let near = alert.near_miss.as_ref().map(|near| format!("; is it {near}?")).unwrap_or_default();
    format!("{} names {:?}, which is no host here{near}", alert.alertname, alert.host)
}

/// A table of journal records, newest first as they come.
pub(crate) fn journal(journal: &Journal) -> String {
    let rows = journal.records.iter().map(|record| {
        let field = |key| record.get(key).filter(|value| !value.is_null()).map(plain);
        let when = record.get("time").map(brief);
        // What concerns no host (a delivery, a merge) has a kind and its own fields.
        let what = field("what").or_else(|| field("kind"));
        let reason = field("reason").or_else(|| delivered(record)).or_else(|| details(record));
        let pause = record.get("pause").and_then(|it| Pause::deserialize(it).ok());
        let is_note = record.get("kind").is_some_and(|kind| kind == "automation");
        let [what, by, reason] = match (pause, what.as_deref()) {
            (Some(pause), _) => [
                what,
                Some(pause.by.clone()),
                Some(format!("{}: {}", told_rest(&pause), pause.reason)),
            ],
            // What automation noted of itself is a sentence.
            (None, Some(note)) if is_note && note != "resume" => [field("kind"), field("by"), what],
            _ => [what, field("by"), reason],
        };
        [when, field("host"), what, by, reason]
            .map(|cell| cell.unwrap_or_else(|| NOTHING.to_owned()))
    });
    table(["TIME", "HOST", "WHAT", "BY", "REASON"], rows)
}

/// The alerts of a delivery: `HostCheckFailed of node7 is firing`.
fn delivered(record: &Map<String, Value>) -> Option<String> {
    let alerts = record.get("alerts")?.as_array().filter(|alerts| !alerts.is_empty())?;
    let told = alerts.iter().take(ALERTS_TOLD).map(|alert| {
        let text = |pointer| alert.pointer(pointer).and_then(Value::as_str);
        let name = text("/labels/alertname").unwrap_or("an alert without a name");
        let host = text("/labels/host").map(|host| format!(" of {host}")).unwrap_or_default();
        format!("{name}{host} is {}", text("/status").unwrap_or("in a state that is not told"))
    });
    let mut told = told.collect::<Vec<_>>().join(", ");
    if alerts.len() > ALERTS_TOLD {
        told += &format!(", and {} more", alerts.len() - ALERTS_TOLD);
    }
    Some(told)
}

/// The fields of a journal record that have no column, as `key=value`.
fn details(record: &Map<String, Value>) -> Option<String> {
    let columns = ["time", "host", "kind", "what", "by"];
    let others = record.iter().filter(|(key, _)| !columns.contains(&key.as_str()));
    let others: Vec<String> =
        others.map(|(key, value)| format!("{key}={}", plain(value))).collect();
    (!others.is_empty()).then(|| others.join(" "))
}

/// Text of strangers on one line, harmless to a terminal.
pub(crate) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line
}

/// Text of strangers that may have several lines.
fn lines(text: &str) -> String {
    let lines: Vec<String> = text.lines().map(one_line).collect();
    lines.join("\n")
}

/// Why a host is as it is, as short as a table wants it.
fn why(host: &Host) -> String {
    if let Some(event) = host.ruling_event() {
        return format!("manual {} by {}: {}", event.state, event.author, event.reason);
    }
    let mut reasons: Vec<String> = host.causes.iter().map(cause_name).collect();
    if let Some(block) = host.blocked_by.first() {
        reasons.push(format!("blocked by: {}", plain(block)));
    }
    if reasons.is_empty() { NOTHING.to_owned() } else { reasons.join(", ") }
}

/// What decides over a host, with the end of it where there is one.
fn because(host: &Host) -> Option<String> {
    if host.ruling_event().is_some() {
        let until = host.causes.iter().find(|cause| cause.kind == "manual").and_then(|c| c.until);
        return Some(match until {
            Some(until) => format!("manual, until {until:.0}"),
            None => "manual, until it is cleared".to_owned(),
        });
    }
    let causes: Vec<String> = host.causes.iter().map(cause_name).collect();
    (!causes.is_empty()).then(|| causes.join(", "))
}

fn cause_name(cause: &Cause) -> String {
    match &cause.rule {
        Some(rule) => format!("{} {rule}", cause.kind),
        None => cause.kind.clone(),
    }
}

/// A point in time, cut to its second.
fn time(time: Option<Timestamp>) -> String {
    time.map_or_else(|| NOTHING.to_owned(), |time| format!("{time:.0}"))
}

/// A value as a person would write it.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => NOTHING.to_owned(),
        Value::Array(items) if items.is_empty() => "none".to_owned(),
        value => value.to_string(),
    }
}

/// A value as a person would write it, and a point in time to its second.
fn brief(value: &Value) -> String {
    let parsed = value.as_str().and_then(|text| text.parse().ok());
    parsed.map_or_else(|| plain(value), |moment| time(Some(moment)))
}

/// Columns as wide as their widest cell; the last one runs free.
fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let head = head.map(str::to_owned);
    let rows: Vec<[String; N]> =
        std::iter::once(head).chain(rows.map(|row| row.map(|cell| one_line(&cell)))).collect();
    let widths: [usize; N] = std::array::from_fn(|column| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0)
    });
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn host(value: Value) -> Host {
        serde_json::from_value(value).unwrap()
    }

    fn sick() -> Value {
        json!({
            "host": "b.example", "state": "off",
            "causes": [{"kind": "alert", "rule": "host-check", "since": "2026-11-21T10:00:00.25Z", "until": null, "evidence": {}}],
            "blocked_by": [], "explain": "off because\nof an alert", "events": [], "agents": [], "transitions": []
        })
    }

    fn manual() -> Value {
        json!({
            "host": "a", "state": "off",
            "causes": [{"kind": "manual", "since": "2026-11-21T11:00:00Z", "until": "2026-11-21T13:00:00Z"}],
            "events": [
                {"id": "2", "state": "off", "reason": "disk\n\u{1b}[2J", "author": "ann", "time": "2026-11-21T11:00:00Z", "ttl": "2h"},
                {"id": "1", "state": "on", "reason": "older", "author": "bob", "time": "2026-11-20T11:00:00Z", "ttl": null}
            ],
            "transitions": [{"time": "2026-11-21T11:00:00Z"}, {"time": "2026-11-19T11:00:00Z"}]
        })
    }

    #[test]
    fn hosts_stand_in_aligned_columns_with_their_reason() {
        let idle = json!({"host": "c", "state": "on"});
        let blocked = json!({"host": "d", "state": "on", "blocked_by": ["hold by TasksLost"]});
        let text = hosts(&[host(manual()), host(sick()), host(idle), host(blocked)]);
        assert_eq!(
            text,
            "HOST       STATE  SINCE                 WHY\n\
             a          off    2026-11-21T11:00:00Z  manual off by ann: disk\\n\\u{1b}[2J\n\
             b.example  off    2026-11-21T10:00:00Z  alert host-check\n\
             c          on     -                     -\n\
             d          on     -                     blocked by: hold by TasksLost\n"
        );
    }

    #[test]
    fn what_is_in_force_names_the_cause_and_its_end_but_not_what_blocked_before() {
        assert_eq!(
            in_force(&host(manual())),
            "host a is off (manual, until 2026-11-21T13:00:00Z)\n"
        );
        assert_eq!(in_force(&host(sick())), "host b.example is off (alert host-check)\n");
        let blocked = json!({"host": "d", "state": "on", "blocked_by": ["no leader"]});
        assert_eq!(in_force(&host(blocked)), "host d is on\n");
        let mut unlisted = sick();
        unlisted["listing"] = json!({"state": "unlisted"});
        let ever = "host b.example is off (alert host-check); no leading master has ever listed an \
                    agent of this name\n";
        assert_eq!(in_force(&host(unlisted.clone())), ever);
        unlisted["agents"] = json!([{"id": "S1"}]);
        assert!(in_force(&host(unlisted)).contains("; the leading master does not list its agent"));
    }

    #[test]
    fn an_explanation_keeps_its_lines_and_nothing_else_that_moves_a_cursor() {
        let mut value = sick();
        value["explain"] = json!("off\r\nbecause\u{7}");
        assert_eq!(explanation(&host(value)), "off\nbecause\\u{7}");
    }

    /// A remediator that has nothing to tell.
    fn calm() -> Value {
        json!({
            "cluster": "lab", "leader": true, "mesos_leader": "http://10.0.0.1:5050",
            "sources": [{"source": "mesos", "blind": false, "reason": null, "since": null}],
            "hosts": {"on": 38, "off": 2},
            "budget": {"inventory": 40, "limit": 8, "away": 2, "remaining": 6, "offs_last_hour": 1, "max_off_per_hour": 10, "min_hosts": 3},
            "holds": [], "storm": null, "pause": null, "dry_run": false, "unmatched": [],
            "whitelist": {"file": "/w", "generation": 7, "hash": "", "hosts": 38, "merged_at": "2026-11-21T10:00:00.5Z", "kept": [], "foreign_edits": 0, "failure": null},
            "last_round": "2026-11-21T10:00:01.25Z", "last_round_seconds": 0.1, "failure": null
        })
    }

    fn told(value: Value) -> String {
        status(&serde_json::from_value(value).unwrap())
    }

    #[test]
    fn a_calm_status_is_a_line_for_each_thing_that_could_stop_it() {
        assert_eq!(
            told(calm()),
            "cluster     lab\n\
             leader      http://10.0.0.1:5050\n\
             hosts       38 on, 2 off\n\
             pause       none\n\
             whitelist   /w: 38 hosts, checked 2026-11-21T10:00:00Z\n\
             budget      2 of 40 away, 8 may be; 1 of 10 taken off within the hour; 6 more may go now\n\
             storm       none\n\
             hold        none\n\
             source      mesos is seen\n\
             last round  2026-11-21T10:00:01Z\n"
        );
    }

    #[test]
    fn who_follows_tells_who_leads_and_nothing_of_what_it_does_not_look_at() {
        let mut value = calm();
        value["leader"] = json!(false);
        value["deferral"] = json!("another remediator leads, m2: it knows more");
        let told = told(value);
        assert!(
            told.contains("FOLLOWS     another remediator leads, m2: it knows more\n"),
            "{told}"
        );
        assert!(told.contains("hosts       38 on, 2 off\n") && told.contains("whitelist   /w"));
        for unknown in ["leader  ", "budget  ", "storm  ", "hold  ", "source  "] {
            assert!(!told.contains(unknown), "{unknown}: {told}");
        }
    }

    #[test]
    fn a_dry_run_is_the_first_thing_that_is_told() {
        let mut value = calm();
        value["dry_run"] = json!(true);
        assert!(told(value).starts_with("DRY RUN     decisions are made and shown, NOTHING IS"));
    }

    #[test]
    fn a_storm_tells_who_what_they_share_and_when_it_is_calm() {
        let hosts: Vec<String> = (1..=14).map(|host| format!("h{host}")).collect();
        let mut value = calm();
        value["storm"] = json!({
            "since": "2026-11-21T09:00:00Z", "fell_sick": hosts, "still_sick": 4, "threshold": 5,
            "calm_at": "2026-11-21T10:05:00Z",
            "shared": [{"attribute": "rack", "value": "r\u{1b}1", "hosts": 13}]
        });
        let storm = "STORM       nobody is taken off since 2026-11-21T09:00:00Z, when hosts fell sick together: 14 are known to have taken part, 4 are sick now; 5 make a storm\n  \
             who       h1, h2, h3, h4, h5, h6, h7, h8, h9, h10, h11, h12, and 2 more\n  \
             shared    rack=r\\u{1b}1 on 13 of them\n  \
             calm at   2026-11-21T10:05:00Z at the earliest, once few are still sick\n";
        let text = told(value);
        assert!(text.contains(storm), "{text}");
    }

    #[test]
    fn whatever_stops_automation_is_told_with_its_reason_and_end() {
        let mut value = calm();
        value["pause"] = json!({"all": true, "since": "2026-11-21T09:00:00Z", "until": "2026-11-21T13:00:00Z", "by": "ann", "reason": "swap"});
        value["holds"] = json!([{"rule": "cluster", "alertname": "TasksLost", "labels": {}, "since": "2026-11-21T09:00:00Z", "blocks": true, "note": "it fires", "blocks_until": "2026-11-21T10:00:00Z"}]);
        value["sources"][0] = json!({"source": "mesos", "blind": true, "reason": "timeout", "since": "2026-11-21T09:30:00Z"});
        value["whitelist"]["kept"] = json!(["h1", "h2"]);
        value["whitelist"]["failure"] = json!("disk full");
        value["unmatched"] = json!([{"alertname": "Sick", "host": "H1", "near_miss": "h1"}]);
        value["failure"] = json!("fsync");
        value["given_up"] = json!(["h7"]);
        value["unlistable"] = json!(["h_8", "-h9"]);
        value["overdue"] = json!(true);
        value["manual"] = json!([{"host": "h1", "state": "off"}, {"host": "h2", "state": "on"}, {"host": "h3", "state": "on"}]);
        let text = told(value);
        for line in [
            "STUCK       no round has ended since that of 2026-11-21T10:00:01Z: this is of then",
            "FAILURE     what was decided is not recorded: fsync",
            "pause       nobody is taken off or given back until 2026-11-21T13:00:00Z, says ann: swap",
            "hold        TasksLost (rule cluster) since 2026-11-21T09:00:00Z, nobody is taken off until 2026-11-21T10:00:00Z at the latest: it fires",
            "source      mesos is BLIND since 2026-11-21T09:30:00Z: timeout",
            "by hand     off: h1",
            "by hand     on: h2, h3",
            "AT FLOOR    too few would be left without h1, h2",
            "FAILURE     disk full",
            "GIVEN UP    stay off until `satctl on`: h7",
            "unlistable  agents' names that are no host names: h_8, -h9",
            "unmatched   Sick names \"H1\", which is no host here; is it h1?",
        ] {
            assert!(text.lines().any(|it| it.starts_with(line)), "{line}\n{text}");
        }
    }

    #[test]
    fn a_journal_record_of_any_kind_keeps_its_columns() {
        let journal_of = |value| journal(&serde_json::from_value(value).unwrap());
        assert_eq!(
            journal_of(json!({"records": [
                {"time": "2026-11-21T11:00:00.5Z", "kind": "host", "host": "a", "what": "off", "by": "ann", "reason": "disk", "rule": "r"},
                {"time": "2026-11-21T10:30:00Z", "kind": "merge", "added": [], "generation": 7},
                {"time": "2026-11-21T10:00:00Z", "kind": "start"}
            ]})),
            "TIME                  HOST  WHAT   BY   REASON\n\
             2026-11-21T11:00:00Z  a     off    ann  disk\n\
             2026-11-21T10:30:00Z  -     merge  -    added=none generation=7\n\
             2026-11-21T10:00:00Z  -     start  -    -\n"
        );
        let pause = json!({"all": false, "since": "2026-11-21T09:00:00Z", "until": "2026-11-21T13:00:00Z", "by": "ann", "reason": "swap"});
        assert_eq!(
            journal_of(json!({"records": [
                {"time": "2026-11-21T11:00:00Z", "kind": "automation", "what": "storm is over: 2 hosts are still sick"},
                {"time": "2026-11-21T10:00:00Z", "kind": "automation", "what": "resume", "by": "bob"},
                {"time": "2026-11-21T09:00:00Z", "kind": "automation", "what": "pause", "pause": pause}
            ]})),
            "TIME                  HOST  WHAT        BY   REASON\n\
             2026-11-21T11:00:00Z  -     automation  -    storm is over: 2 hosts are still sick\n\
             2026-11-21T10:00:00Z  -     resume      bob  -\n\
             2026-11-21T09:00:00Z  -     pause       ann  nobody is taken off until 2026-11-21T13:00:00Z: swap\n"
        );
        let firing = json!({"labels": {"alertname": "Sick", "host": "a"}, "status": "firing"});
        let nameless = json!({"labels": {}, "status": "resolved"});
        let mut alerts = vec![firing, nameless];
        alerts.resize(7, json!({}));
        let text = journal_of(json!({"records": [{"kind": "delivery", "alerts": alerts}]}));
        let expected = "Sick of a is firing, an alert without a name is resolved, ";
        assert!(text.contains(expected) && text.ends_with(", and 2 more\n"), "{text}");
    }
}
