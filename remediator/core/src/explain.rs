//! How it is told: one text for the API, the command line and the page.
//!
//! It answers what a person asks at night: is it off, since when, why, what has
//! to become true before that changes, and when is it looked at again.

use std::fmt::Write;

use jiff::Timestamp;

use crate::{
    document::{Cause, Evidence, HostDocument, ListingState, Verdict},
    host::HostName,
    plan::{Block, Outlook},
    time::{brief, since},
};

/// The text for one host. `outlook` is what the last round said of it; `None`
/// where there was no round yet, or none since the document was changed.
#[must_use]
pub fn explain(
    host: &HostName,
    document: &HostDocument,
    outlook: Option<&Outlook>,
    now: Timestamp,
) -> String {
    let mut text = headline(host, document, now);
    for line in reasons(document, now) {
        text += &format!("\n  - {}", one_line(&line));
    }
    let Some(outlook) = outlook else {
        return text
            + "\nNo round has looked at it as it is now: what happens next is not known yet.";
    };
    let blocks: Vec<&Block> = outlook.blocked_by.iter().filter(|it| !is_told(it)).collect();
    if blocks.is_empty() {
        return text;
    }
    text += match document.verdict() {
        Verdict::Off => "\nBefore it returns:",
        Verdict::On => "\nWhy it is not taken off:",
    };
    for block in blocks {
        text += &format!("\n  - {}", one_line(&block.to_string()));
    }
    match outlook.next {
        Some(next) => text + &format!("\nLooked at in every round; the next wait ends {next:.0}."),
        None => text + "\nLooked at in every round.",
    }
}

/// One cause by itself, on one line.
#[must_use]
pub fn explain_cause(cause: &Cause) -> String {
    one_line(&reason(cause))
}

/// Whether a block is among the reasons already: a person who keeps a host on is why
/// it is on, and no step that it waits for.
fn is_told(block: &Block) -> bool {
    matches!(block, Block::Manual { verdict: Verdict::On, .. })
}

fn headline(host: &HostName, document: &HostDocument, now: Timestamp) -> String {
    let mut line = format!("{host} is {}", document.verdict());
    if let Some(off_since) = document.off_since {
        let _ = write!(line, " since {off_since:.0} ({})", brief(since(off_since, now)));
    }
    line += match document.listing.state {
        ListingState::Registered => "; its agent is registered",
        ListingState::Recovered => "; its agent has not come back since the last fail-over",
        ListingState::Unlisted if !document.was_ever_listed() => {
            "; no leading master has ever listed an agent of this name"
        }
        ListingState::Unlisted => "; the leading master does not list its agent",
    };
    line + "."
}

fn reasons(document: &HostDocument, now: Timestamp) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some((id, event)) = document.ruling_event() {
        let until = match event.expires_at() {
            None => "until it is taken back".to_owned(),
            Some(until) if until > now => format!("until {until:.0}"),
            Some(until) => format!("expired {until:.0}"),
        };
        let (state, author, reason) = (event.state, &event.author, &event.reason);
        lines.push(format!("manual {state} by {author}, {until}: {reason} (event {id})"));
    }
    lines.extend(document.causes.iter().map(reason));
    if lines.is_empty() && document.verdict() == Verdict::Off {
        lines.push("new hosts start off here (whitelist.new_hosts)".into());
    }
    lines
}

fn reason(cause: &Cause) -> String {
    match cause {
        Cause::Alert { rule, since, evidence } => {
            format!("{} (rule {rule}), since {since:.0}", alert(evidence))
        }
        Cause::Imported { since } => {
            format!("it was not in the whitelist that was found or imported {since:.0}")
        }
    }
}

/// The text without anything that could end its line or steer a terminal: labels
/// and reasons come from outside.
fn one_line(text: &str) -> String {
    let plain = |character: char| match character.is_control() {
        true => character.escape_default().to_string(),
        false => character.to_string(),
    };
    text.chars().map(plain).collect()
}

/// The alert as Prometheus writes a series, with its value where it is known.
fn alert(evidence: &Evidence) -> String {
    let labels: Vec<String> = evidence
        .labels
        .iter()
        .filter(|(name, _)| *name != "alertname")
        .map(|(name, value)| format!("{name}={value:?}"))
        .collect();
    let value = evidence.value.as_ref().map_or(String::new(), |value| format!(" = {value}"));
    format!("{}{{{}}}{value}", evidence.alertname, labels.join(", "))
}
