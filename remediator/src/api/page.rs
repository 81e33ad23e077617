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
                (off_hosts(&app))
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
                    None => span.bad { "none known: nothing is taken off and nothing given back" },
                }
            } }
            tr { th { "Budget" } td {
                (budget.away) " of " (budget.inventory) " hosts are away, " (budget.limit)
                " may be; " (budget.remaining) " more may go now"
            } }
            tr { th { "Whitelist" } td {
                (status.whitelist.hosts) " hosts in " code { (status.whitelist.file) }
                @if let Some(at) = status.whitelist.merged_at { ", checked " (format!("{at:.0}")) }
            } }
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

fn off_hosts(app: &App) -> Markup {
    let now = app.clock.now().wall;
    let report = app.report();
    let documents = app.ledger.read();
    let off: Vec<_> = documents
        .hosts
        .iter()
        .filter(|(_, document)| document.verdict() == Verdict::Off)
        .map(|(host, document)| hosts::view(host, document, &report, now))
        .collect();
    html! {
        h2 { "Off" }
        @if off.is_empty() { p.good { "Every host is on." } }
        @else {
            table {
                @for host in &off {
                    tr { th { (host.host) } td { pre { (host.explain) } } }
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
