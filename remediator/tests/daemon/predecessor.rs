//! The predecessor's paths: what is asked, and what its README promises for an answer.

use serde_json::{Value, json};

use super::{
    fake::Mood,
    peers::check_failed,
    remediator::{Answer, Remediator},
    world::{HOSTS, World},
};

/// The id of the event that a `PUT` is.
const PUT_EVENT: &str = "whitelist-put";

async fn ask(remediator: &Remediator, method: &str, path: &str, body: &Value) -> Answer {
    let request = remediator.request(method, path);
    let request = if body.is_null() { request } else { request.json(body) };
    remediator.send(request).await
}

/// A `PUT` of on or off, which has no body.
async fn turn(remediator: &Remediator, path: &str) -> Answer {
    ask(remediator, "PUT", &format!("/whitelist/host/{path}"), &Value::Null).await
}

fn critical() -> Value {
    serde_json::from_str(SWAP).unwrap()
}

const SWAP: &str = r#"{"state": "critical", "description": "disk swap", "ttl": "2hours"}"#;
const NOT_THERE: &str = "is not in the inventory";
const NO_EVENT: &str = "no manual event of that id";

/// What is asked, with which body, and what comes of it: the status, and of an error a
/// part of its message, else some members of the body. In this order, of one remediator.
const TABLE: &[(&str, &str, u16, &str)] = &[
    (
        "GET /metrics/snapshot",
        "",
        200,
        r#"{"num-hosts-up": 4, "num-available-hosts": 4, "prop-available-hosts": 1.0}"#,
    ),
    ("GET /whitelist/all", "", 200, r#"{"h1.lab": {"state": "on"}, "h4.lab": {"state": "on"}}"#),
    ("GET /whitelist/host/h1.lab", "", 200, r#"{"managed-events": {}, "manual-events": {}}"#),
    ("GET /whitelist/host/h1.lab", "", 200, r#"{"managed-flag": "on", "manual-flag": null}"#),
    ("GET /whitelist/off", "", 200, "{}"),
    ("GET /whitelist/maybe", "", 400, "on, off or all"),
    ("GET /whitelist/host", "", 400, "on, off or all"),
    ("GET /whitelist/host/h9.lab", "", 404, NOT_THERE),
    ("GET /whitelist/host/H1.lab", "", 404, "did you mean h1.lab"),
    ("GET /whitelist/host/h_1", "", 400, "host name"),
    ("GET /whitelist", "", 404, "nothing at this path"),
    // A manual event is new, replaced, deleted, unknown.
    ("POST /whitelist/host/h1.lab/event/swap", SWAP, 201, r#"{"host": "h1.lab", "state": "off"}"#),
    ("POST /whitelist/host/h1.lab/event/swap", SWAP, 201, r#"{"state": "off"}"#),
    ("GET /whitelist/host/h1.lab", "", 200, r#"{"managed-flag": "on", "manual-flag": "off"}"#),
    ("GET /whitelist/off", "", 200, r#"{"h1.lab": {"state": "off"}}"#),
    (
        "GET /metrics/snapshot",
        "",
        200,
        r#"{"num-hosts-up": 3, "num-available-hosts": 4, "prop-available-hosts": 0.75}"#,
    ),
    ("GET /whitelist/host/h1.lab/event/swap", "", 405, "Allow"),
    ("DELETE /whitelist/host/h1.lab/event/other", "", 404, NO_EVENT),
    (
        "DELETE /whitelist/host/h1.lab/event/swap",
        "",
        200,
        r#"{"host": "h1.lab", "state": "on", "message": "The event swap of h1.lab is deleted."}"#,
    ),
    ("DELETE /whitelist/host/h1.lab/event/swap", "", 404, NO_EVENT),
    // That makes no host of it.
    ("DELETE /whitelist/host/h9.lab/event/swap", "", 404, NOT_THERE),
    ("GET /whitelist/host/h9.lab", "", 404, NOT_THERE),
    // Event ids have blanks and slashes.
    ("POST /whitelist/host/h1.lab/event/a%2Fb%20c", SWAP, 201, r#"{"state": "off"}"#),
    (
        "GET /whitelist/host/h1.lab",
        "",
        200,
        r#"{"manual-events": {"a/b c": {"state": "critical"}}}"#,
    ),
    ("DELETE /whitelist/host/h1.lab/event/a%2Fb%20c", "", 200, r#"{"state": "on"}"#),
    // On and off for short.
    (
        "PUT /whitelist/host/h2.lab/off",
        "",
        201,
        r#"{"host": "h2.lab", "state": "off", "message": "h2.lab is now off."}"#,
    ),
    ("PUT /whitelist/host/h2.lab/off", "", 201, r#"{"state": "off"}"#),
    ("PUT /whitelist/host/h2.lab/on", "", 201, r#"{"message": "h2.lab is now on."}"#),
    ("PUT /whitelist/host/h2.lab/maybe", "", 400, "on or off"),
    ("PUT /whitelist/host/h2_lab/off", "", 400, "host name"),
    ("PUT /whitelist/host/h9.lab/on", "", 404, NOT_THERE),
    ("POST /whitelist/host/h9.lab/event/e", r#"{"state": "ok"}"#, 404, NOT_THERE),
    // A host that has gone, or not come yet, can be turned off and deleted.
    ("PUT /whitelist/host/h9.lab/off", "", 201, r#"{"state": "off"}"#),
    ("GET /whitelist/host/h9.lab", "", 200, r#"{"manual-flag": "off"}"#),
    ("DELETE /whitelist/host/h9.lab", "", 200, r#"{"host": "h9.lab"}"#),
    ("DELETE /whitelist/host/h9.lab", "", 404, NOT_THERE),
    ("DELETE /whitelist/host/h2.lab", "", 409, "event by event"),
    ("DELETE /whitelist/host/h_2", "", 400, "host name"),
    ("GET /state.json", "", 400, "?task=ID"),
    ("GET /state.json?task=", "", 400, "?task=ID"),
    ("GET /state.json?task=t1", "", 501, "no task store is configured"),
];

#[tokio::test]
async fn every_path_answers_as_the_readme_of_the_predecessor_promises() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    for (asked, body, status, wanted) in TABLE {
        let (method, path) = asked.split_once(' ').unwrap();
        let body = serde_json::from_str(body).unwrap_or_default();
        let answer = ask(&remediator, method, path, &body).await;
        if *status >= 400 {
            let message = answer.error(*status);
            assert!(message.contains(wanted), "{asked}: {message}");
        } else {
            assert_eq!(answer.status, *status, "{asked}: {answer:?}");
            assert_eq!(answer.headers["content-type"], "application/json", "{asked}");
            let wanted = serde_json::from_str(wanted).unwrap();
            assert!(is_part_of(&wanted, &answer.json()), "{asked}: {answer:?}");
        }
    }
    world.wait_for_whitelist(&HOSTS).await;
}

/// Whether all that is wanted is there; where nothing is wanted, nothing is.
fn is_part_of(wanted: &Value, found: &Value) -> bool {
    match (wanted.as_object(), found.as_object()) {
        (Some(wanted), Some(found)) if wanted.is_empty() => found.is_empty(),
        (Some(wanted), Some(found)) => wanted
            .iter()
            .all(|(key, wanted)| found.get(key).is_some_and(|found| is_part_of(wanted, found))),
        _ => wanted == found,
    }
}

#[tokio::test]
async fn a_wrong_method_is_405_with_allow_and_head_is_answered_where_get_is() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    for (path, allowed, wrong) in [
        ("/whitelist/on", "GET,HEAD", "PUT"),
        ("/whitelist/host/h1.lab", "GET,HEAD,DELETE", "POST"),
        ("/whitelist/host/h1.lab/on", "PUT", "GET"),
        ("/whitelist/host/h1.lab/event/e", "POST,DELETE", "PUT"),
        ("/metrics/snapshot", "GET,HEAD", "DELETE"),
        ("/state.json", "GET,HEAD", "POST"),
    ] {
        for wrong in [wrong, "OPTIONS", "PATCH"] {
            let answer = ask(&remediator, wrong, path, &Value::Null).await;
            let sorted = |methods: &str| {
                let mut methods: Vec<String> = methods.split(',').map(str::to_owned).collect();
                methods.sort();
                methods
            };
            let allow = answer.headers["allow"].to_str().unwrap();
            assert_eq!(sorted(allow), sorted(allowed), "{wrong} {path}");
            answer.error(405);
        }
        let head = ask(&remediator, "HEAD", path, &Value::Null).await;
        let wanted = match path {
            "/state.json" => 400,
            path if allowed.contains("HEAD") => {
                ask(&remediator, "GET", path, &Value::Null).await.status
            }
            _ => 405,
        };
        assert_eq!((head.status, head.text.as_str()), (wanted, ""), "HEAD {path}");
    }
}

#[tokio::test]
async fn what_is_said_here_is_a_manual_event_like_any_other() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    let mut said = critical();
    let ignored = json!({
        "time": 1, "host": "h2.lab", "service": "other", "tags": ["a"], "metric": 0.5,
        "ticket": "CHG-1", "nothing": null, "number": 7,
    });
    said.as_object_mut().unwrap().extend(ignored.as_object().unwrap().clone());
    let request = remediator.request("POST", "/whitelist/host/h1.lab/event/swap").json(&said);
    let answer = remediator.send(request.header("X-Satellite-User", "ada")).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let event = remediator.host("h1.lab").await["events"][0].clone();
    for (key, wanted) in [
        ("id", "swap"),
        ("state", "off"),
        ("reason", "disk swap"),
        ("author", "ada (unverified)"),
        ("ttl", "2h"),
    ] {
        assert_eq!(event[key], wanted, "{event}");
    }
    assert!(event["time"].as_str().unwrap() > "2020", "{event}");
    let records = remediator.journal("?host=h1.lab&limit=1").await;
    assert_eq!(
        (&records[0]["what"], &records[0]["by"]),
        (&json!("off"), &json!("ada (unverified)"))
    );
    let shown = remediator.get("/whitelist/host/h1.lab").await.json();
    let event = &shown["manual-events"]["swap"];
    assert_eq!((&event["state"], &event["ttl"]), (&json!("critical"), &json!(7200.0)), "{shown}");

    // And the other way round.
    let native = json!({"state": "on", "reason": "it is fine"});
    let path = "/api/v1/hosts/h1.lab/events/fine";
    assert_eq!(remediator.put(path, &native).await.status, 201);
    let shown = remediator.get("/whitelist/host/h1.lab").await.json();
    assert_eq!(shown["manual-events"]["fine"]["state"], "ok", "{shown}");
    assert_eq!((&shown["manual-flag"], &shown["state"]), (&json!("on"), &json!("on")), "{shown}");
    assert_eq!(remediator.delete("/whitelist/host/h1.lab/event/fine").await.status, 200);
    world.wait_for_whitelist(&HOSTS[1..]).await;
}

#[tokio::test]
async fn a_put_without_a_reason_lasts_until_its_one_event_is_deleted() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    for flag in ["on", "off"] {
        assert_eq!(turn(&remediator, &format!("h1.lab/{flag}")).await.status, 201);
    }
    let events = remediator.host("h1.lab").await["events"].clone();
    assert_eq!(events.as_array().unwrap().len(), 1, "{events}");
    assert_eq!((&events[0]["id"], &events[0]["ttl"]), (&json!(PUT_EVENT), &Value::Null));
    assert!(events[0]["reason"].as_str().unwrap().contains("without a reason"), "{events}");
    world.wait_for_whitelist(&HOSTS[1..]).await;
    let path = format!("/whitelist/host/h1.lab/event/{PUT_EVENT}");
    assert_eq!(remediator.delete(&path).await.json()["state"], "on");
    world.wait_for_whitelist(&HOSTS).await;
}

#[tokio::test]
async fn what_cannot_be_meant_is_400_and_says_what_to_send() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    let event = "/whitelist/host/h1.lab/event/e";
    let long_id = format!("/whitelist/host/h1.lab/event/{}", "x".repeat(129));
    let with = |key: &str, value: Value| json!({"state": "critical", key: value});
    for (path, said, part) in [
        (event, json!({"state": "warn"}), "`ok` or `critical`"),
        (event, json!({"state": "expired"}), "`ok` or `critical`"),
        (event, json!({"state": "off"}), "`ok` or `critical`"),
        (event, json!({"description": "no state"}), "state"),
        (event, json!([]), ""),
        (event, with("ttl", json!(3600)), "a text with its unit, such as \"90s\""),
        (event, with("ttl", json!("3600")), "ttl: \"3600\" is not"),
        (event, with("ttl", json!("0minute")), "ttl: \"0minute\" is not"),
        (event, with("ttl", json!("53weeks")), "up to 366d"),
        (event, with("description", json!("two\nlines")), "description: say why, on one line"),
        (event, with("description", json!(7)), "description"),
        (&long_id, critical(), "event id"),
        ("/whitelist/host/h1.lab/event/a%0Ab", critical(), "event id"),
        ("/whitelist/host/h1.lab%20/event/e", critical(), "host name"),
        ("/whitelist/host/%FF/event/e", critical(), ""),
        ("/whitelist/host/h1.lab/event/e?forced=true", critical(), "force=true"),
    ] {
        let message = ask(&remediator, "POST", path, &said).await.error(400);
        assert!(message.contains(part), "{path} {said}: {message}");
    }
    // curl's own content type, which the predecessor took for a form and lost the body.
    for content_type in [None, Some("application/x-www-form-urlencoded")] {
        let mut request = remediator.request("POST", event).body(critical().to_string());
        if let Some(content_type) = content_type {
            request = request.header("Content-Type", content_type);
        }
        let message = remediator.send(request).await.error(400);
        assert!(message.contains("Content-Type: application/json"), "{message}");
    }
    assert_eq!(remediator.host("h1.lab").await["events"], json!([]));
}

#[tokio::test]
async fn an_off_below_min_hosts_is_409_here_too_unless_forced() {
    let world = World::new().await;
    world.configure(|config| config.replace("min_hosts: 1", "min_hosts: 4"));
    let remediator = world.start_ready().await;
    for (method, path, body) in [
        ("PUT", "/whitelist/host/h1.lab/off", Value::Null),
        ("POST", "/whitelist/host/h1.lab/event/e", critical()),
    ] {
        let message = ask(&remediator, method, path, &body).await.error(409);
        assert!(message.contains("min_hosts") && message.contains("force=true"), "{message}");
        assert_eq!(remediator.host("h1.lab").await["events"], json!([]));
    }
    assert_eq!(turn(&remediator, "h1.lab/off?force=true").await.status, 201);
    // An `on` that is deleted may be what keeps the floor.
    let ok = json!({"state": "ok"});
    let event = "/whitelist/host/h1.lab/event/e";
    assert_eq!(ask(&remediator, "POST", event, &ok).await.status, 201);
    remediator.delete(event).await.error(409);
    assert_eq!(remediator.get("/whitelist/host/h1.lab").await.json()["state"], "on");
    assert_eq!(remediator.delete(&format!("{event}?force=true")).await.json()["state"], "off");
}

#[tokio::test]
async fn what_automation_holds_off_is_shown_as_managed_and_no_delete_puts_it_back() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    world.fire(&check_failed("h1.lab"));
    remediator.wait_for_host("h1.lab", "off").await;
    let shown = remediator.get("/whitelist/off").await.json()["h1.lab"].clone();
    assert_eq!((&shown["managed-flag"], &shown["manual-flag"]), (&json!("off"), &Value::Null));
    let event = &shown["managed-events"]["host-check/HostCheckFailed"];
    assert_eq!(
        (&event["state"], &event["host"]),
        (&json!("critical"), &json!("h1.lab")),
        "{shown}"
    );
    assert!(event["description"].as_str().unwrap().contains("HostCheckFailed"), "{shown}");
    assert!(event["time"].as_f64().unwrap() > 1.6e9, "{shown}");

    // The host itself stays, with every reason why it is off.
    let message = remediator.delete("/whitelist/host/h1.lab").await.error(409);
    assert!(message.contains("the leading master lists h1.lab"), "{message}");
    assert_eq!(turn(&remediator, "h1.lab/off").await.status, 201);
    let path = format!("/whitelist/host/h1.lab/event/{PUT_EVENT}");
    assert_eq!(remediator.delete(&path).await.json()["state"], "off");
    remediator.rounds(2).await;
    let shown = remediator.get("/whitelist/host/h1.lab").await.json();
    assert_eq!((&shown["state"], &shown["managed-flag"]), (&json!("off"), &json!("off")));
    world.wait_for_whitelist(&HOSTS[1..]).await;
}

#[tokio::test]
async fn a_host_that_is_gone_can_be_deleted_whatever_held_it_off() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    world.fire(&check_failed("h4.lab"));
    remediator.wait_for_host("h4.lab", "off").await;
    assert_eq!(turn(&remediator, "h4.lab/off").await.status, 201);
    world.peers.master.lists(&HOSTS[..3]);
    remediator.rounds(2).await;
    assert_eq!(remediator.delete("/whitelist/host/h4.lab").await.status, 200);
    remediator.get("/whitelist/host/h4.lab").await.error(404);
    world.wait_for_whitelist(&HOSTS[..3]).await;
    let record = remediator.journal("?host=h4.lab&limit=1").await[0].clone();
    assert_eq!(record["what"], "retired", "{record}");
}

#[tokio::test]
async fn before_anything_is_known_no_list_is_empty_and_nobody_is_counted() {
    let world = World::new().await;
    world.peers.master.fake.is(Mood::Away);
    let remediator = world.start().await;
    remediator.rounds(1).await;
    for path in ["/whitelist/all", "/whitelist/on", "/whitelist/host/h1.lab"] {
        let message = remediator.get(path).await.error(503);
        assert!(message.contains("not begun"), "{path}: {message}");
    }
    turn(&remediator, "h1.lab/off").await.error(503);
    let snapshot = remediator.get("/metrics/snapshot").await.json();
    assert_eq!(snapshot, json!({"num-hosts-up": 0, "num-available-hosts": 0}));
    world.peers.master.fake.is(Mood::Well);
    world.wait_for_whitelist(&HOSTS).await;
    assert_eq!(remediator.get("/whitelist/on").await.json().as_object().unwrap().len(), 4);
}

#[tokio::test]
async fn a_dry_run_takes_no_command_of_the_predecessors_paths() {
    let world = World::new().await;
    world.configure(|config| config.replace("policy:", "policy:\n  dry_run: true"));
    let remediator = world.start().await;
    remediator.wait_for_host("h1.lab", "on").await;
    for (method, path, body) in [
        ("PUT", "/whitelist/host/h1.lab/off", Value::Null),
        ("POST", "/whitelist/host/h1.lab/event/e", critical()),
        ("DELETE", "/whitelist/host/h1.lab/event/e", Value::Null),
        ("DELETE", "/whitelist/host/h1.lab", Value::Null),
    ] {
        let message = ask(&remediator, method, path, &body).await.error(409);
        assert!(message.contains("dry run"), "{method} {path}: {message}");
    }
}
