//! The page at `/`: what a person wants to see first. No script, no request but
//! its own.

use axum::extract::State;
use maud::{DOCTYPE, Markup, html};
use satellite_core::Verdict;

use super::{App, hosts, status};

const STYLE: &str = "
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif; }
body { max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 small { font-weight: normal; opacity: .6; font-size: .6em; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0; border-bottom: 1px solid #8884; }
.bad { color: #c22; font-weight: 600; } .good { color: #283; }
pre { white-space: pre-wrap; margin: 0; font: inherit; }
";

/// Shows the page.
pub(super) async fn show(State(app): State<App>) -> Markup {
    let status = status::status(&app);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width";
                meta http-equiv="refresh" content="15";
                title { "Satellite " (status.cluster) }
                style { (maud::PreEscaped(STYLE)) }
            }
            body {
                h1 { "Satellite " small { (status.cluster) } }
                (overview(&status))
                (special_hosts(&app))
                (sources(&status))
                p { a href="/metrics" { "metrics" } " · " a href="/api/v1/status" { "status" }
                    " · " a href="/api/v1/hosts" { "hosts" } " · " a href="/api/v1/journal" { "journal" } }
            }
        }
    }
}

fn overview(status: &status::Status) -> Markup {
    let budget = &status.budget;
    html! {
        table {
            tr { th { "Hosts" } td { (status.hosts.on) " on, " (status.hosts.off) " off" } }
            tr { th { "Leading master" } td {
                @match &status.mesos_leader {
                    Some(leader) => (leader),
                    None if status.last_round.is_none() => "not asked yet",
                    None => span.bad { "none known: nothing is taken off and nothing given back" },
                }
            } }
            @if status.last_round.is_some() {
                tr { th { "Budget" } td {
                    (budget.away) " of " (budget.inventory) " hosts are away, " (budget.limit)
                    " may be; " (budget.remaining) " more may go now"
                } }
            }
            tr { th { "Whitelist" } td { (whitelist(&status.whitelist)) } }
            @for hold in &status.holds {
                tr { th { "Hold" } td {
                    span.bad[hold.blocks] { (hold.alertname) } " (rule " (hold.rule) ") since "
                    (format!("{:.0}", hold.since)) ": " (hold.note)
                } }
            }
            @if let Some(failure) = &status.failure {
                tr { th { "Store" } td.bad { (failure) } }
            }
            @for alert in &status.unmatched {
                tr { th { "Unmatched" } td {
                    (alert.alertname) " names " code { (alert.host) } ", which is not in the inventory"
                    @if let Some(near) = &alert.near_miss { "; this host is " code { (near) } }
                } }
            }
        }
    }
}

fn whitelist(whitelist: &status::WhitelistView) -> Markup {
    html! {
        code { (whitelist.file) }
        @match whitelist.merged_at {
            Some(at) => { ": " (whitelist.hosts) " hosts, checked " (format!("{at:.0}")) },
            None => { ": not written since the start" },
        }
        @if let Some(failure) = &whitelist.failure { ". " span.bad { (failure) } }
    }
}

/// The hosts that are off, and those that are on although something speaks
/// against it.
fn special_hosts(app: &App) -> Markup {
    let now = app.clock.now().wall;
    let report = app.report();
    let documents = app.ledger.read();
    let blocked = |host| report.outlooks.get(host).is_some_and(|it| !it.blocked_by.is_empty());
    let (mut off, mut kept) = (Vec::new(), Vec::new());
    for (host, document) in &documents.hosts {
        match document.verdict() {
            Verdict::Off => off.push(hosts::view(host, document, &report, now)),
            Verdict::On if blocked(host) => kept.push(hosts::view(host, document, &report, now)),
            Verdict::On => {}
        }
    }
    html! {
        h2 { "Off" }
        @if documents.hosts.is_empty() { p { "No host is known yet." } }
        @else if off.is_empty() { p.good { "Every host is on." } }
        @else { (told(&off)) }
        @if !kept.is_empty() { h2 { "Kept on" } (told(&kept)) }
    }
}

fn told(hosts: &[hosts::HostView]) -> Markup {
    html! {
        table {
            @for host in hosts {
                tr {
                    th { a href=(format!("/api/v1/hosts/{}", host.host)) { (host.host) } }
                    td { pre { (host.explain) } }
                }
            }
        }
    }
}

fn sources(status: &status::Status) -> Markup {
    html! {
        h2 { "Sources" }
        table {
            @for source in &status.sources {
                tr { th { (source.source) } td {
                    @match &source.reason {
                        Some(reason) => {
                            span.bad { "blind" }
                            @if let Some(since) = source.since { " since " (format!("{since:.0}")) }
                            ": " (reason)
                        },
                        None => span.good { "sees" },
                    }
                } }
            }
        }
    }
}
