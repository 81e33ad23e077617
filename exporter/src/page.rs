//! The page at `/`: what a person who opens the exporter in a browser wants to know.
//!
//! It shows what is known and asks Mesos for nothing. Commands of checks, which may hold
//! what is not for everybody, are not shown.

use std::{sync::Arc, time::Duration};

use axum::extract::State;
use maud::{DOCTYPE, Markup, html};

use crate::{
    checks::{CheckSpec, LastRun},
    http::App,
    scrape::Status,
};

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:60rem;\
    padding:0 1rem;color-scheme:light dark}table{border-collapse:collapse;width:100%}\
    th,td{text-align:left;padding:.3rem .8rem .3rem 0;border-bottom:1px solid #8884;\
    vertical-align:top}.bad{color:#c33;font-weight:600}.good{color:#383}\
    td{overflow-wrap:anywhere}";

pub(crate) async fn index(State(app): State<Arc<App>>) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width";
                title { "Satellite exporter" }
                style { (maud::PreEscaped(STYLE)) }
            }
            body {
                h1 { "Satellite exporter" }
                p { "Version " (env!("CARGO_PKG_VERSION")) }
                ul {
                    li { a href=(app.telemetry_path) { "Metrics" } }
                    li { a href="/-/healthy" { "Health" } ", " a href="/-/ready" { "readiness" } }
                }
                h2 { "Mesos" }
                @for (name, url) in app.scraper.targets() {
                    p { "The " (name) " at " code { (url) } }
                }
                (sources(app.scraper.last()))
                h2 { "Checks" }
                (checks(&app.checks.last_runs()))
            }
        }
    }
}

fn sources(last: Option<Vec<Status>>) -> Markup {
    let Some(last) = last else {
        return html! { p { "Nothing has been scraped yet." } };
    };
    html! {
        table {
            tr { th { "Source" } th { "At the last scrape" } th { "Took" } th { "From" } }
            @for Status { source, url, duration, error } in last {
                tr {
                    td { (source) }
                    td { (state(error.as_deref(), "up", "down")) }
                    td { (duration.map_or("not asked".to_owned(), short)) }
                    td { code { (url) } }
                }
            }
        }
    }
}

fn checks(runs: &[(CheckSpec, Option<LastRun>)]) -> Markup {
    if runs.is_empty() {
        return html! { p { "None. They are configured in the file given by " code { "--config.file" } "." } };
    }
    html! {
        table {
            tr { th { "Check" } th { "Last run" } th { "Ended" } th { "Took" } th { "Every" } }
            @for (spec, last) in runs {
                tr {
                    td { (spec.name) }
                    @if let Some(last) = last {
                        td { (state(last.problem.as_deref(), "well", "fails")) }
                        td { (last.ended.strftime("%Y-%m-%d %H:%M:%S UTC")) }
                        td { (short(last.duration)) }
                    } @else {
                        td { "has not ended yet" } td {} td {}
                    }
                    td { (humantime::format_duration(spec.interval)) }
                }
            }
        }
    }
}

fn state(problem: Option<&str>, good: &str, bad: &str) -> Markup {
    match problem {
        None => html! { span.good { (good) } },
        Some(problem) => html! { span.bad { (bad) } ": " (problem) },
    }
}

fn short(duration: Duration) -> String {
    format!("{:.3} s", duration.as_secs_f64())
}
