//! The page at `/`: what a person wants to see first, on a wall, a desk or a
//! phone. First what keeps automation from acting, then the numbers, then the
//! hosts that are not as they should be.
//!
//! No script, no request but its own, and nothing to press: commands are
//! `satctl`'s, which asks for a reason.

use std::cmp::Reverse;

use axum::extract::State;
use jiff::Timestamp;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use satellite_core::{
    HostDocument, HostName, Verdict,
    document::{Pause, Record, What},
    plan::Block,
    time::{brief, since},
};

use super::{
    App, hosts,
    status::{self, BudgetView, HoldView, Status, StormView, WhitelistView},
};

const STYLE: &str = include_str!("page.css");

/// The newest changes that are shown: as many as a screen has lines to spare.
const TRANSITIONS_SHOWN: usize = 20;

/// Hosts of each list that are shown. More are no page but a table, which
/// `satctl hosts` prints.
const HOSTS_SHOWN: usize = 100;

/// Names in one sentence; a storm may have all the hosts there are.
const NAMES_SHOWN: usize = 12;

/// Shows the page.
pub(super) async fn show(State(app): State<App>) -> Markup {
    let status = status::status(&app);
    let now = app.clock.now().wall;
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="refresh" content="15";
                title { (mode(&status).1) " · Satellite " (status.cluster) }
                style { (PreEscaped(STYLE)) }
            }
            body { div.page {
                (header(&status, now))
                (notices(&status))
                (figures(&status))
                div.columns {
                    main { (special_hosts(&app, now)) (transitions(&app)) }
                    aside { (sources(&status, now)) (unmatched(&status)) (unlistable(&status)) }
                }
                footer {
                    a href="/api/v1/status" { "status" } a href="/api/v1/hosts" { "hosts" }
                    a href="/api/v1/journal" { "journal" } a href="/metrics" { "metrics" }
                    "All times are UTC."
                }
            } }
        }
    }
}

/// The one word for how it is, and how bad that is. What stops most comes first.
fn mode(status: &Status) -> (&'static str, &'static str) {
    let is_blind = status.sources.iter().any(|source| source.blind);
    match status {
        Status { failure: Some(_), .. } => ("bad", "Cannot record"),
        Status { deferral: Some(_), whitelist, .. } if whitelist.merged_at.is_none() => {
            ("warn", "Starting")
        }
        Status { deferral: Some(_), .. } => ("good", "Follows"),
        Status { last_round: None, .. } => ("warn", "Starting"),
        Status { overdue: true, .. } => ("bad", "Stuck"),
        Status { dry_run: true, .. } => ("warn", "Dry run"),
        Status { mesos_leader: None, .. } => ("bad", "No leading master"),
        Status { storm: Some(_), .. } => ("bad", "Storm"),
        Status { pause: Some(_), .. } => ("warn", "Paused"),
        Status { holds, .. } if holds.iter().any(|hold| hold.blocks) => ("warn", "Holding"),
        _ if is_blind => ("bad", "Partly blind"),
        _ => ("good", "At work"),
    }
}

fn header(status: &Status, now: Timestamp) -> Markup {
    let (class, word) = mode(status);
    html! {
        header {
            h1 { "Satellite " span { (status.cluster) } }
            p.mode.(class) { (word) }
            @if let Some(deferral) = &status.deferral { p.soft { (deferral) } }
            @else { p.soft { "leading master " @match &status.mesos_leader {
                Some(leader) => code { (leader) },
                None if status.last_round.is_none() => (unasked(status)),
                None => "none known: nothing is taken off and nothing given back",
            } } }
            (instant(now))
        }
    }
}

/// Instead of what a round would have found.
fn unasked(status: &Status) -> &'static str {
    if status.deferral.is_some() { "asked by the one that leads" } else { "not asked yet" }
}

/// An instant, to its second.
fn instant(at: Timestamp) -> Markup {
    html! { time datetime=(format!("{at:.0}")) { (at.strftime("%Y-%m-%d %H:%M:%S")) } }
}

/// What keeps automation from acting as it would.
fn notices(status: &Status) -> Markup {
    let whitelist = &status.whitelist;
    html! {
        div.notices {
            @if status.dry_run {
                p.notice.warn {
                    strong { "Dry run." }
                    span { "All is decided and shown, nothing is done: neither the store nor the \
                            whitelist is written, and commands are refused." }
                }
            }
            @if let (true, Some(at)) = (status.overdue, status.last_round) {
                p.notice.bad {
                    strong { "Stuck." }
                    span { "No round has ended since the one of " (instant(at)) ", and all that is shown here is of then." }
                }
            }
            @if let Some(failure) = &status.failure {
                p.notice.bad { strong { "The store does not take what is decided." } span { (failure) } }
            }
            @if let Some(failure) = &whitelist.failure {
                p.notice.bad { strong { "The whitelist cannot be kept." } span { (failure) } }
            }
            @if !whitelist.kept.is_empty() {
                p.notice.bad {
                    strong { "The whitelist is at its floor." }
                    span { "It keeps hosts that should be off, since too few would be left: "
                           (enumerated(&whitelist.kept)) "." }
                }
            }
            @if let Some(storm) = &status.storm { (storm_notice(storm)) }
            @if let Some(pause) = &status.pause { (pause_notice(pause)) }
            @for hold in &status.holds { (hold_notice(hold)) }
        }
    }
}

fn storm_notice(storm: &StormView) -> Markup {
    html! {
        div.notice.bad {
            strong { "Storm." }
            span {
                "Nobody is taken off since " (instant(storm.since)) ", when hosts fell sick together: "
                (storm.fell_sick.len()) " are known to have taken part, " (storm.still_sick)
                " are sick now; " (storm.threshold) " make a storm."
            }
            @if !storm.shared.is_empty() {
                p { "They share " @for (index, shared) in storm.shared.iter().take(NAMES_SHOWN).enumerate() {
                    @if index > 0 { ", " }
                    code { (shared.attribute) "=" (shared.value) } " (" (shared.hosts) ")"
                } "." }
            }
            @if !storm.fell_sick.is_empty() { p.host { (enumerated(&storm.fell_sick)) } }
            @if storm.unseen {
                p { "A source is blind: while it is, nobody can tell that it is calm. "
                    code { "satctl resume" } " ends the storm." }
            } @else if let Some(at) = storm.calm_at {
                p { "Calm at " (instant(at)) " at the earliest, once few are still sick; or at once by "
                    code { "satctl resume" } "." }
            }
        }
    }
}

fn pause_notice(pause: &Pause) -> Markup {
    html! {
        p.notice.warn {
            strong { "Paused." }
            span {
                "Nobody is taken off" @if pause.all { " or given back" } " until "
                (instant(pause.until)) ", says " (pause.by) ": " (pause.reason)
            }
        }
    }
}

fn hold_notice(hold: &HoldView) -> Markup {
    let (class, word) = if hold.blocks { ("warn", "Hold.") } else { ("", "Hold, lifted.") };
    html! {
        p.notice.(class) {
            strong { (word) }
            span {
                (hold.alertname) " (rule " (hold.rule) ") since " (instant(hold.since)) ": " (hold.note)
                @if let Some(until) = hold.blocks_until { "; until " (instant(until)) " at the latest" }
            }
        }
    }
}

/// The first names of a list.
fn enumerated(names: &[String]) -> String {
    let shown = names.iter().take(NAMES_SHOWN).cloned().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMES_SHOWN) {
        0 => shown,
        more => format!("{shown}, and {more} more"),
    }
}

fn figures(status: &Status) -> Markup {
    html! {
        dl.figures {
            div {
                dt { "Hosts" }
                dd.number { (status.hosts.on) " on" small { (status.hosts.off) " off" } }
                @if let Some(at) = status.last_round { dd { p { "last looked at " (instant(at)) } } }
            }
            div {
                dt { "Budget" }
                @if status.last_round.is_some() { (budget(&status.budget)) }
                @else { dd.soft { (unasked(status)) } }
            }
            div { dt { "Whitelist" } (whitelist(&status.whitelist)) }
        }
    }
}

fn budget(budget: &BudgetView) -> Markup {
    let used = (budget.away * 100).checked_div(budget.limit).unwrap_or(100).min(100);
    html! {
        dd {
            div.number { (budget.away) small { " of " (budget.limit) " that may be away" } }
            div.bar.full[budget.remaining == 0] { i style=(format!("--used:{used}%")) {} }
            p { (budget.remaining) " more may go now; " (budget.offs_last_hour) " of "
                (budget.max_off_per_hour) " taken off within the hour; " (budget.inventory) " hosts in all" }
        }
    }
}

fn whitelist(whitelist: &WhitelistView) -> Markup {
    html! {
        dd {
            @match whitelist.merged_at {
                Some(at) => {
                    div.number { (whitelist.hosts) small { " hosts" } }
                    p { "checked " (instant(at)) }
                },
                None => p { "not written since the start" },
            }
            p { code { (whitelist.file) } }
        }
    }
}

/// The hosts that are off, those that are on although something speaks against it, and
/// those that a person keeps on.
fn special_hosts(app: &App, now: Timestamp) -> Markup {
    let report = app.report();
    let documents = app.ledger.read();
    let outlook = |host: &HostName| report.outlook(host, &documents);
    // A person's word alone is nothing that speaks against a host.
    let speaks = |block: &Block| !matches!(block, Block::Manual { .. });
    let blocked = |host| outlook(host).is_some_and(|it| it.blocked_by.iter().any(speaks));
    let (mut off, mut kept, mut by_hand) = (Vec::new(), Vec::new(), Vec::new());
    for (host, document) in &documents.hosts {
        match document.verdict() {
            Verdict::Off => off.push((host, document)),
            Verdict::On if blocked(host) => kept.push((host, document)),
            Verdict::On if document.ruling_event().is_some() => by_hand.push((host, document)),
            Verdict::On => {}
        }
    }
    let told = |hosts: &[(&HostName, &HostDocument)]| {
        let shown = hosts.iter().take(HOSTS_SHOWN);
        let view = |host, document| hosts::view(host, document, outlook(host).as_ref(), None, now);
        html! {
            @for (host, document) in shown { (card(&view(host, document), now)) }
            @if hosts.len() > HOSTS_SHOWN {
                p.soft { "and " (hosts.len() - HOSTS_SHOWN) " more: " code { "satctl hosts" } }
            }
        }
    };
    html! {
        section {
            h2 { "Off " span { (off.len()) } }
            @if documents.hosts.is_empty() { p.soft { "No host is known yet." } }
            @else if off.is_empty() { p.good { "Every host is on." } }
            (told(&off))
        }
        @if !kept.is_empty() {
            section { h2 { "Kept on " span { "although something speaks against it" } } (told(&kept)) }
        }
        @if !by_hand.is_empty() {
            section { h2 { "On by hand " span { "whatever happens to them" } } (told(&by_hand)) }
        }
    }
}

/// One host, in the words of its explanation: a line that begins with a dash is
/// a reason, any other a heading for what follows it.
fn card(host: &hosts::HostView, now: Timestamp) -> Markup {
    html! {
        article.card {
            h3 {
                a.host href=(format!("/api/v1/hosts/{}", host.host)) { (host.host) }
                @if let Some(at) = host.off_since { span { "off for " (brief(since(at, now))) } }
            }
            @for line in host.explain.lines() {
                @match line.strip_prefix("  - ") {
                    Some(reason) => ul { li { (reason) } },
                    None => p { (line) },
                }
            }
        }
    }
}

/// Who went off or on lately, over all hosts.
fn transitions(app: &App) -> Markup {
    let documents = app.ledger.read();
    let changes = documents.hosts.iter().flat_map(|(host, document)| {
        let changes = document.transitions.iter();
        changes.filter(|it| matches!(it.what, What::On | What::Off)).map(move |it| (host, it))
    });
    let mut newest: Vec<(&HostName, &Record)> = changes.collect();
    let age = |(host, record): &(&HostName, &Record)| (Reverse(record.time), (*host).clone());
    if newest.len() > TRANSITIONS_SHOWN {
        // There may be a million of them, and a whole sort would hold up commands.
        newest.select_nth_unstable_by_key(TRANSITIONS_SHOWN, |(_, record)| Reverse(record.time));
        newest.truncate(TRANSITIONS_SHOWN);
    }
    newest.sort_by_cached_key(age);
    html! {
        section {
            h2 { "Last changes" }
            @if newest.is_empty() { p.soft { "None yet." } }
            table { @for (host, record) in newest {
                tr {
                    td { (instant(record.time)) }
                    td.host { (host) }
                    td.what { @if record.what == What::Off { span.bad { "off" } } @else { span.good { "on" } } }
                    td { (record.reason) " " span.soft { (record.by) } }
                }
            } }
        }
    }
}

/// Every source is asked in every round, so that the last one says how fresh it is.
fn sources(status: &Status, now: Timestamp) -> Markup {
    html! {
        section {
            h2 { "Sources" }
            ul.sources { @for source in &status.sources {
                @match (&source.reason, status.last_round) {
                    (Some(reason), _) => li.bad {
                        strong { (source.source) }
                        small { "blind" @if let Some(at) = source.since { " for " (brief(since(at, now))) }
                                ": " (reason) }
                    },
                    (None, Some(at)) => li.good {
                        strong { (source.source) } small { "seen " (brief(since(at, now))) " ago" }
                    },
                    (None, None) => li.soft { strong { (source.source) } small { (unasked(status)) } },
                }
            } }
        }
    }
}

fn unmatched(status: &Status) -> Markup {
    html! {
        @if !status.unmatched.is_empty() {
            section {
                h2 { "Alerts about no host that is known" }
                ul.sources { @for alert in status.unmatched.iter().take(HOSTS_SHOWN) {
                    li.warn {
                        strong { (alert.alertname) } small { "names " code { (alert.host) }
                        @if let Some(near) = &alert.near_miss { "; is it " code { (near) } "?" } }
                    }
                } }
            }
        }
    }
}

fn unlistable(status: &Status) -> Markup {
    html! {
        @if !status.unlistable.is_empty() {
            section {
                h2 { "Agents whose names cannot be listed" }
                ul.sources { @for hostname in status.unlistable.iter().take(HOSTS_SHOWN) {
                    li.warn { strong { (hostname) } small { "is no host name: it gets no offers" } }
                } }
            }
        }
    }
}
