//! Answers as text for people: pure functions, one per kind of answer.
//!
//! What comes from alerts and from other people may hold anything, so that control characters are
//! escaped before they reach a terminal.

use jiff::Timestamp;
use serde_json::{Map, Value};

use crate::answer::{Cause, Host, Journal};

/// Shown where there is nothing to show, so that columns stay columns.
const NOTHING: &str = "-";

/// Alerts of a delivery that the journal names; a delivery may have thousands.
const ALERTS_TOLD: usize = 5;

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
    match because(host) {
        Some(because) => format!("host {name} is {state} ({})\n", one_line(&because)),
        None => format!("host {name} is {state}\n"),
    }
}

/// How the remediator is: its answer as an indented list.
pub(crate) fn status(status: &Map<String, Value>) -> String {
    let mut text = String::new();
    indented(&mut text, 0, status);
    text
}

/// A table of journal records, newest first as they come.
pub(crate) fn journal(journal: &Journal) -> String {
    let rows = journal.records.iter().map(|record| {
        let field = |key| record.get(key).filter(|value| !value.is_null()).map(plain);
        let when = record.get("time").map(brief);
        // What concerns no host (a delivery, a merge) has a kind and its own fields.
        let what = field("what").or_else(|| field("kind"));
        let reason = field("reason").or_else(|| delivered(record)).or_else(|| details(record));
        [when, field("host"), what, field("by"), reason]
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

/// An object as `key: value` lines; what is nested is indented below its key. Its depth is bounded
/// by that of the JSON parser.
fn indented(text: &mut String, depth: usize, object: &Map<String, Value>) {
    let indent = "  ".repeat(depth);
    for (key, value) in object {
        let key = one_line(key).replace('_', " ");
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                *text += &format!("{indent}{key}:\n");
                indented(text, depth + 1, inner);
            }
            Value::Array(items) if items.iter().any(Value::is_object) => {
                for (position, item) in items.iter().enumerate() {
                    *text += &format!("{indent}{key} {}:\n", position + 1);
                    if let Value::Object(inner) = item {
                        indented(text, depth + 1, inner);
                    } else {
                        *text += &format!("{indent}  {}\n", one_line(&plain(item)));
                    }
                }
            }
            value => *text += &format!("{indent}{key}: {}\n", one_line(&brief(value))),
        }
    }
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
    }

    #[test]
    fn an_explanation_keeps_its_lines_and_nothing_else_that_moves_a_cursor() {
        let mut value = sick();
        value["explain"] = json!("off\r\nbecause\u{7}");
        assert_eq!(explanation(&host(value)), "off\nbecause\\u{7}");
    }

    #[test]
    fn a_status_of_any_shape_is_an_indented_list() {
        let Value::Object(object) = json!({
            "generation": 7,
            "holds": [],
            "leader": true,
            "sources": [{"blind_since": null, "name": "prometheus"}, {"blind_since": "2026-11-21T10:00:00.25Z", "name": "mesos"}],
            "storm": {"active": false}
        }) else {
            unreachable!()
        };
        assert_eq!(
            status(&object),
            "generation: 7\n\
             holds: none\n\
             leader: true\n\
             sources 1:\n  blind since: -\n  name: prometheus\n\
             sources 2:\n  blind since: 2026-11-21T10:00:00Z\n  name: mesos\n\
             storm:\n  active: false\n"
        );
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
        let firing = json!({"labels": {"alertname": "Sick", "host": "a"}, "status": "firing"});
        let nameless = json!({"labels": {}, "status": "resolved"});
        let mut alerts = vec![firing, nameless];
        alerts.resize(7, json!({}));
        let text = journal_of(json!({"records": [{"kind": "delivery", "alerts": alerts}]}));
        let expected = "Sick of a is firing, an alert without a name is resolved, ";
        assert!(text.contains(expected) && text.ends_with(", and 2 more\n"), "{text}");
    }
}
