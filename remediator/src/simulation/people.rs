//! What people and Alertmanagers send to the remediator, and what they are told.

use std::path::Path;

use axum::{
    Router,
    body::{Body, to_bytes},
};
use http::{Method, Request as HttpRequest, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::{
    chaos,
    process::Condition,
    world::{Event, Millis, Request, Shared, WHITELIST, World},
};

/// What a person says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Command {
    Say { host: String, id: &'static str, on: bool, reason: String, ttl: Option<&'static str> },
    TakeBack { host: String, id: &'static str },
    Forget { host: String },
    Pause { all: bool, ttl: &'static str },
    Resume,
}

impl Command {
    /// The host that it is about.
    pub(super) fn host(&self) -> Option<&str> {
        match self {
            Self::Say { host, .. } | Self::TakeBack { host, .. } | Self::Forget { host } => {
                Some(host)
            }
            Self::Pause { .. } | Self::Resume => None,
        }
    }

    fn request(&self) -> HttpRequest<Body> {
        let event = |host: &str, id: &str| format!("/api/v1/hosts/{host}/events/{id}");
        let (method, path, body) = match self {
            Self::Say { host, id, on, reason, ttl } => {
                let state = if *on { "on" } else { "off" };
                let said = json!({"state": state, "reason": reason, "ttl": ttl});
                (Method::PUT, event(host, id), said)
            }
            Self::TakeBack { host, id } => (Method::DELETE, event(host, id), Value::Null),
            Self::Forget { host } => (Method::DELETE, format!("/api/v1/hosts/{host}"), Value::Null),
            Self::Pause { all, ttl } => {
                let pause = json!({"all": all, "reason": "we look", "ttl": ttl});
                (Method::POST, "/api/v1/pause".to_owned(), pause)
            }
            Self::Resume => (Method::POST, "/api/v1/resume".to_owned(), Value::Null),
        };
        request(method, &path, body.to_string())
    }
}

fn request(method: Method, path: &str, body: String) -> HttpRequest<Body> {
    let request = HttpRequest::builder().method(method).uri(path);
    let request = request.header("content-type", "application/json");
    request.body(body.into()).expect("the path and the body are plain")
}

/// How soon after one person another speaks of the same host: a round that the
/// first has woken is under way then.
const SOON: std::ops::RangeInclusive<Millis> = 0..=80;

/// A person says something of a host, and often another person does, too.
pub(super) fn command(world: &mut World) {
    let host = world.dice.usize(0..world.hosts.len());
    let host = world.hosts[host].name.to_string();
    for _ in 0..world.dice.u8(1..=3) {
        let command = about(world, host.clone());
        let (soon, who) = (world.dice.u64(SOON), world.anybody());
        world.after(soon, Event::Say { who, command });
    }
}

fn about(world: &mut World, host: String) -> Command {
    let id = ["a", "b"][world.dice.usize(0..2)];
    let number = world.chaos.number();
    match world.dice.u8(0..10) {
        0..=5 => Command::Say {
            host,
            id,
            on: world.dice.bool(),
            reason: format!("number {number}"),
            ttl: [None, Some("1m"), Some("10m")][world.dice.usize(0..3)],
        },
        6..=8 => Command::TakeBack { host, id },
        _ => Command::Forget { host },
    }
}

/// A person lets automation rest, or go on.
pub(super) fn pause_or_resume(world: &mut World, who: usize) {
    let command = if world.dice.bool() {
        let ttl = ["2m", "10m"][world.dice.usize(0..2)];
        Command::Pause { all: world.dice.bool(), ttl }
    } else {
        Command::Resume
    };
    world.ask(who, Request::Command(command));
}

/// A person lets automation go on.
pub(super) fn resume(world: &mut World) {
    let who = world.anybody();
    world.ask(who, Request::Command(Command::Resume));
}

/// A person edits a whitelist by hand.
pub(super) fn edit_file(world: &mut World, who: usize) {
    let number = world.chaos.number();
    let edits = [String::new(), format!("by-hand-{number}.lab\n"), format!("# {number}\nh1.lab")];
    let edit = &edits[world.dice.usize(0..edits.len())];
    write_by_hand(world, who, edit);
}

fn write_by_hand(world: &mut World, who: usize, content: &str) {
    world.note(format_args!("somebody writes {content:?} into the whitelist of {who}"));
    world.oracle.edited_by_hand(who, content.into());
    world.instances[who].files.put(Path::new(WHITELIST), content.as_bytes());
    world.look_at_whitelist(who);
}

/// A person puts the same whitelist beside every master, as `/-/ready` asks for where they
/// differ and the store is not begun.
pub(super) fn put_one_list_everywhere(world: &mut World) {
    let list = chaos::names(world).join("\n") + "\n";
    for who in 0..world.instances.len() {
        write_by_hand(world, who, &list);
    }
}

/// An Alertmanager delivers something: late, repeated, out of order, as it comes.
pub(super) fn deliver(world: &mut World, who: usize) {
    let host = world.dice.usize(0..world.hosts.len());
    let status = if world.dice.bool() { "firing" } else { "resolved" };
    let number = world.chaos.number();
    let alert = json!({
        "status": status,
        "labels": {
            "alertname": "HostCheckFailed", "remediate": "host",
            "host": world.hosts[host].name.as_str(),
        },
        "annotations": {},
        "startsAt": world.true_time().to_string(), "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "", "fingerprint": "9bab7d594e680f32",
    });
    let body = json!({
        "version": "4", "groupKey": format!("delivery-{number}."), "truncatedAlerts": 0,
        "status": status, "receiver": "satellite", "groupLabels": {}, "commonLabels": {},
        "commonAnnotations": {}, "externalURL": "", "alerts": [alert],
    });
    world.ask(who, Request::Webhook { number, body: body.to_string() });
}

/// Sends it, and tells the oracle what was answered, unless nobody lives any more
/// to have answered.
pub(super) async fn send(shared: Shared, router: Router, wanted: Request) {
    let (who, process) = (shared.who, &shared.process);
    process.until(Condition::Running).await;
    match wanted {
        Request::Webhook { number, body } => {
            let (status, _) = ask(&router, request(Method::POST, "/webhook", body)).await;
            process.until(Condition::Running).await;
            shared.with(|world| world.delivered(who, number, status));
        }
        Request::Command(command) => {
            let token = shared.with(|world| world.said(who, command.clone()));
            let (status, _) = ask(&router, command.request()).await;
            process.until(Condition::Running).await;
            shared.with(|world| world.answered(token, status));
        }
        Request::Stop => {}
    }
}

/// What the remediator says at a path.
pub(super) async fn get(router: &Router, path: &str) -> (StatusCode, Value) {
    ask(router, request(Method::GET, path, String::new())).await
}

/// What the remediator shows at a path.
pub(super) async fn text(router: &Router, path: &str) -> String {
    answer(router, request(Method::GET, path, String::new())).await.1
}

async fn ask(router: &Router, request: HttpRequest<Body>) -> (StatusCode, Value) {
    let (status, text) = answer(router, request).await;
    (status, serde_json::from_str(&text).unwrap_or_default())
}

async fn answer(router: &Router, request: HttpRequest<Body>) -> (StatusCode, String) {
    let answer = router.clone().oneshot(request).await;
    let Ok(answer) = answer;
    let status = answer.status();
    let body = to_bytes(answer.into_body(), usize::MAX).await.unwrap_or_default();
    (status, String::from_utf8_lossy(&body).into_owned())
}
