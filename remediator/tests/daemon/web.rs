//! Users of the web configuration: who they are to the remediator, and where it may listen.

use std::fs;

use reqwest::RequestBuilder;
use serde_json::json;

use super::{
    remediator::{Answer, Remediator, code_and_lines, command, eventually, run_to_end},
    world::World,
};

/// The password of `ada` is `ada's`.
const USERS: &str = "basic_auth_users:
  ada: $2b$04$um/YpR6.QP99uICHX5lA1.vjbFAK4Hamo93lAEvFMqJeU/51j6yJO
";

/// A world whose remediator obeys a web configuration.
async fn world_with(web: &str) -> World {
    let world = World::new().await;
    fs::write(world.path("web.yml"), web).unwrap();
    world.configure(|config| format!("web_config_file: web.yml\n{config}"));
    world
}

fn by_ada(request: RequestBuilder) -> RequestBuilder {
    request.basic_auth("ada", Some("ada's"))
}

async fn ask(remediator: &Remediator, method: &str, path: &str) -> Answer {
    remediator.send(by_ada(remediator.request(method, path))).await
}

async fn ready(remediator: &Remediator) {
    eventually(async || {
        let answer = ask(remediator, "GET", "/-/ready").await;
        if answer.status == 200 { Ok(()) } else { Err(answer.text) }
    })
    .await;
}

#[tokio::test]
async fn a_user_is_the_author_and_is_marked_by_nothing() {
    let world = world_with(USERS).await;
    let remediator = world.start().await;
    ready(&remediator).await;
    let path = "/api/v1/hosts/h1.lab/events/e";
    let off = json!({"state": "off", "reason": "r"});
    let put = || remediator.request("PUT", path).header("X-Satellite-User", "eve").json(&off);
    let answer = remediator.send(by_ada(put())).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.json()["events"][0]["author"], "ada");
    let journal = ask(&remediator, "GET", "/api/v1/journal?host=h1.lab").await.json();
    assert_eq!(journal["records"][0]["by"], "ada");
    assert_eq!(ask(&remediator, "PUT", "/whitelist/host/h1.lab/off").await.status, 201);
    let host = ask(&remediator, "GET", "/api/v1/hosts/h1.lab").await.json();
    assert_eq!(host["events"][1]["author"], "ada");
    let pause = by_ada(remediator.request("POST", "/api/v1/pause").json(&json!({"reason": "r"})));
    assert_eq!(remediator.send(pause).await.json()["pause"]["by"], "ada");
}

#[tokio::test]
async fn who_is_no_user_is_refused_everywhere_and_changes_nothing() {
    let world = world_with(USERS).await;
    let remediator = world.start().await;
    ready(&remediator).await;
    for (method, path) in [
        ("GET", "/"),
        ("GET", "/metrics"),
        ("GET", "/-/healthy"),
        ("POST", "/-/reload"),
        ("POST", "/webhook"),
        ("GET", "/api/v1/hosts"),
        ("PUT", "/api/v1/hosts/h1.lab/events/e"),
        ("PUT", "/whitelist/host/h1.lab/off"),
    ] {
        let request = remediator.request(method, path).basic_auth("ada", Some("eve's"));
        let answer = remediator.send(request).await;
        answer.error(401);
        assert!(answer.headers["www-authenticate"].to_str().unwrap().starts_with("Basic "));
    }
    let host = ask(&remediator, "GET", "/api/v1/hosts/h1.lab").await.json();
    assert_eq!(host["events"], json!([]));
    assert!(remediator.log().iter().all(|line| !line.contains("eve's") && !line.contains("$2b$")));
}

#[tokio::test]
async fn with_users_it_listens_on_every_address_and_by_every_name() {
    let world = world_with(USERS).await;
    let config = fs::read_to_string(world.config_file()).unwrap();
    fs::write(world.config_file(), config.replace("127.0.0.1:0", "0.0.0.0:0")).unwrap();
    let remediator = world.start().await;
    remediator.wait_for_log("Passwords cross the network as they are").await;
    let request = remediator.request("GET", "/-/healthy").header("Host", "remediator.example.com");
    assert_eq!(remediator.send(by_ada(request)).await.status, 200);
}

#[tokio::test]
async fn without_users_it_listens_on_loopback_and_an_author_is_unverified() {
    let world = world_with("http_server_config: { headers: { X-Frame-Options: deny } }\n").await;
    let remediator = world.start_ready().await;
    let event = "/api/v1/hosts/h1.lab/events/e";
    let off = json!({"state": "off", "reason": "r"});
    let answer = remediator.put(event, &off).await;
    assert_eq!(answer.json()["events"][0]["author"], "somebody on this machine (unverified)");
    assert_eq!(answer.headers["x-frame-options"], "deny");
    let request = remediator.request("GET", "/-/healthy").header("Host", "remediator.example.com");
    remediator.send(request).await.error(403);
    drop(remediator);

    let config = fs::read_to_string(world.config_file()).unwrap();
    fs::write(world.config_file(), config.replace("127.0.0.1:0", "0.0.0.0:0")).unwrap();
    let output = run_to_end(command(&world.config_file())).await;
    let (code, lines) = code_and_lines(&output);
    assert_eq!(code, Some(64));
    let refusal = lines.last().unwrap();
    assert!(refusal.contains("listen: 0.0.0.0:0 is not a loopback address"), "{lines:?}");
    assert!(refusal.contains("web.yml has no basic_auth_users"), "{lines:?}");
}

#[tokio::test]
async fn every_problem_of_the_web_configuration_is_a_line_and_exit_64() {
    let world = world_with("basic_auth_users: { ada: plain }\nrate_limit: { burst: many }\n").await;
    let output = run_to_end(command(&world.config_file())).await;
    let (code, lines) = code_and_lines(&output);
    assert_eq!(code, Some(64));
    let problems: Vec<_> = lines.iter().filter(|line| line.contains("web.yml:")).collect();
    assert_eq!(problems.len(), 2, "{lines:?}");
    assert!(problems[0].contains("web.yml:1:26: basic_auth_users.ada: is not a bcrypt hash"));
    assert!(problems[1].contains("web.yml:2:22: rate_limit.burst: invalid type"), "{problems:?}");
    assert!(!world.path("store").exists());
}
