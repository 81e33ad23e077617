//! One function per command: what is asked, in which order, and what is shown of the answer.

use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use satellite_config::write_duration;
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use crate::answer::{Host, Hosts, Imported, Journal};
use crate::api::{Answer, Api, ApiError};
use crate::args::{Import, Order, Request, Since, State};
use crate::source::{Found, Reading};
use crate::{output, source, text};

/// What a command came to: the last answer, and how it is told to people. With `--json` the answer
/// is printed as it came, without a look inside.
struct Report {
    answer: Answer,
    preface: String,
    tell: fn(&Answer) -> Result<String, ApiError>,
}

impl Report {
    fn new(answer: Answer, tell: fn(&Answer) -> Result<String, ApiError>) -> Self {
        Self { answer, preface: String::new(), tell }
    }
}

/// Asks the remediator, and prints its answer: with `json` as it came.
pub(crate) async fn ask(api: &Api, request: Request, json: bool) -> anyhow::Result<()> {
    let Report { answer, preface, tell } = match request {
        Request::Hosts { state } => hosts(api, state).await?,
        Request::Explain { host } => explain(api, &host).await?,
        Request::Off { order, force } => say(api, State::Off, &order, force).await?,
        Request::On { order } => say(api, State::On, &order, false).await?,
        Request::Clear { host, force } => clear(api, &host, force).await?,
        Request::Pause { all, reason, ttl } => pause(api, all, &reason, ttl).await?,
        Request::Resume => resume(api).await?,
        Request::Forget { host } => forget(api, &host).await?,
        Request::Import(order) => import(api, &order).await?,
        Request::Status => status(api).await?,
        Request::Journal { host, since, limit } => journal(api, host, since, limit).await?,
    };
    let printed = if json {
        output::print(&answer.body)
    } else {
        output::print((preface + &tell(&answer)?).as_bytes())
    };
    printed.context("cannot write to stdout")
}

async fn hosts(api: &Api, state: Option<State>) -> Result<Report, ApiError> {
    let query: Vec<_> = state.iter().map(|state| ("state", state.as_str().to_owned())).collect();
    let answer = api.get(&["hosts"], &query).await?;
    Ok(Report::new(answer, |answer| answer.read().map(|Hosts { hosts }| text::hosts(&hosts))))
}

async fn explain(api: &Api, host: &str) -> Result<Report, ApiError> {
    let answer = api.get(&["hosts", host], &[]).await?;
    Ok(Report::new(answer, |answer| answer.read().map(|host| text::explanation(&host))))
}

/// Each command is an event of its own: when it ends, an older one that is still valid applies again.
async fn say(api: &Api, state: State, order: &Order, force: bool) -> Result<Report, ApiError> {
    let Order { host, reason, ttl } = order;
    let id = format!("satctl-{}", Uuid::now_v7());
    let event = json!({
        "state": state.as_str(),
        "reason": reason,
        "ttl": ttl.map(write_duration),
    });
    let answer = api.put(&["hosts", host, "events", &id], force, &event).await?;
    Ok(Report::new(answer, tell_in_force))
}

/// Deletes the events oldest first, so that the one in force stays in force until the last step and
/// the host changes once at most.
async fn clear(api: &Api, host: &str, force: bool) -> anyhow::Result<Report> {
    let path = ["hosts", host];
    let before: Host = api.get(&path, &[]).await?.read()?;
    let mut events = before.events;
    events.sort_by(|a, b| a.order().cmp(&b.order()));
    for event in &events {
        let deleted = api.delete(&["hosts", host, "events", &event.id], force).await;
        match deleted {
            // Somebody else was faster, or it has just expired.
            Ok(_) | Err(ApiError::Refused { status: reqwest::StatusCode::NOT_FOUND, .. }) => {}
            Err(error) => {
                let context = format!("cannot take back \"{}\" of {}", event.reason, event.author);
                return Err(anyhow::Error::new(error).context(context));
            }
        }
    }
    let answer = api.get(&path, &[]).await?;
    let preface = match events.len() {
        0 => "nothing to take back\n".to_owned(),
        1 => "took back 1 command\n".to_owned(),
        many => format!("took back {many} commands\n"),
    };
    Ok(Report { answer, preface, tell: tell_in_force })
}

async fn pause(
    api: &Api,
    all: bool,
    reason: &str,
    ttl: Option<Duration>,
) -> Result<Report, ApiError> {
    let body = json!({"all": all, "reason": reason, "ttl": ttl.map(write_duration)});
    let answer = api.post(&["pause"], Some(&body)).await?;
    Ok(Report::new(answer, tell_resting))
}

async fn resume(api: &Api) -> Result<Report, ApiError> {
    let answer = api.post(&["resume"], None).await?;
    Ok(Report::new(answer, tell_resting))
}

async fn forget(api: &Api, host: &str) -> Result<Report, ApiError> {
    let answer = api.delete(&["hosts", host], false).await?;
    Ok(Report::new(answer, |answer| answer.read().map(|gone| text::forgotten(&gone))))
}

/// What is asked of the remediator: one way to say what is on, and why.
#[derive(Serialize)]
struct Bring<'a> {
    reason: &'a str,
    #[serde(flatten)]
    found: Option<&'a Found>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    all_on: bool,
}

/// All is read before anything is asked, and asked at once: it is done as a whole, or not at all.
async fn import(api: &Api, order: &Import) -> anyhow::Result<Report> {
    let Import { source, all_on, dry_run, force, reason, zookeeper_auth_file } = order;
    let reading = match source {
        Some(source) => Some(source::read(source, zookeeper_auth_file.as_deref()).await?),
        None => None,
    };
    let reason = reason.clone().or_else(|| source.as_ref().map(|it| format!("from {it}")));
    let found = reading.as_ref().map(|reading| &reading.found);
    let bring = Bring { reason: &reason.unwrap_or_default(), found, all_on: *all_on };
    let answer = api.import(&bring, *dry_run, *force).await?;
    let preface = text::keyed(reading.as_ref().map_or(&[], |Reading { told, .. }| told));
    let tell: fn(&Answer) -> _ = |answer| answer.read().map(|done: Imported| text::imported(&done));
    Ok(Report { answer, preface, tell })
}

async fn status(api: &Api) -> Result<Report, ApiError> {
    let answer = api.get(&["status"], &[]).await?;
    Ok(Report::new(answer, |answer| answer.read().map(|status| text::status(&status))))
}

async fn journal(
    api: &Api,
    host: Option<String>,
    since: Option<Since>,
    limit: Option<u32>,
) -> Result<Report, ApiError> {
    let since = since.map(|since| since.timestamp(Timestamp::now()).to_string());
    let limit = limit.map(|limit| limit.to_string());
    let query: Vec<_> = [("host", host), ("since", since), ("limit", limit)]
        .into_iter()
        .filter_map(|(key, value)| Some((key, value?)))
        .collect();
    let answer = api.get(&["journal"], &query).await?;
    Ok(Report::new(answer, |answer| answer.read().map(|journal: Journal| text::journal(&journal))))
}

fn tell_in_force(answer: &Answer) -> Result<String, ApiError> {
    answer.read().map(|host| text::in_force(&host))
}

fn tell_resting(answer: &Answer) -> Result<String, ApiError> {
    answer.read().map(|status| text::resting(&status))
}

/// Who sits at the terminal, as far as the environment knows: behind sudo it is who called it.
pub(crate) fn login_name() -> Option<String> {
    ["SUDO_USER", "LOGNAME", "USER"]
        .into_iter()
        .filter_map(|variable| std::env::var(variable).ok())
        .find(|name| !name.is_empty())
}
