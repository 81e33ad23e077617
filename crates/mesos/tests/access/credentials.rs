//! Credentials that are the same with each request, and where they do not go.

use axum::{
    http::{StatusCode, header::LOCATION},
    response::IntoResponse as _,
};
use satellite_mesos::{ClientError, TlsOptions};

use crate::fake::{
    Files, NEXT_LOOK, PATIENT, Peer, advance, chain, client, get, options, problems,
};

const BASIC: &str = r#"{"principal": "prom", "secret": "scrape"}"#;
/// `prom:scrape`, as it goes over the wire.
const BASIC_HEADER: &str = "Basic cHJvbTpzY3JhcGU=";

/// A Mesos that lets in whoever sends `wanted`, with the words of the true one.
async fn mesos(wanted: &'static str) -> Peer {
    Peer::start(move |request| match request.authorization.as_deref() {
        Some(sent) if sent == wanted => "{}".into_response(),
        _ => (StatusCode::UNAUTHORIZED, "Basic vs invalid credentials").into_response(),
    })
    .await
}

#[tokio::test]
async fn without_a_file_nothing_is_sent() {
    let mesos = mesos(BASIC_HEADER).await;
    let error = get(&client(None, TlsOptions::default()), &mesos.url).await.unwrap_err();
    assert!(matches!(error, ClientError::Status { status: 401, .. }), "{error}");
    assert_eq!(mesos.seen().len(), 1);
    assert_eq!(mesos.authorizations(), [] as [&str; 0]);
}

#[tokio::test]
async fn a_principal_and_its_secret_go_with_every_request() {
    let mesos = mesos(BASIC_HEADER).await;
    let files = Files::new();
    let client = files.client(BASIC);
    get(&client, &mesos.url).await.unwrap();
    let call = serde_json::json!({"type": "GET_AGENTS"});
    client.post_operator(&mesos.url, &call, PATIENT, 100).await.unwrap();
    assert_eq!(mesos.authorizations(), [BASIC_HEADER; 2]);
    assert_eq!(mesos.seen()[1].path, "/api/v1");
}

#[tokio::test]
async fn a_wrong_secret_is_refused_and_not_tried_twice() {
    let mesos = mesos(BASIC_HEADER).await;
    let files = Files::new();
    let client = files.client(r#"{"principal": "prom", "secret": "wrong"}"#);
    let error = get(&client, &mesos.url).await.unwrap_err();
    assert!(matches!(error, ClientError::Status { status: 401, .. }), "{error}");
    assert_eq!(mesos.seen().len(), 1);
}

#[tokio::test]
async fn a_bearer_token_has_its_own_word() {
    let mesos = mesos("Bearer a.b").await;
    let files = Files::new();
    get(&files.client("bearer_token: a.b"), &mesos.url).await.unwrap();
}

#[tokio::test]
async fn the_file_of_a_token_is_read_again_when_it_changes() {
    let mesos = mesos("token=second").await;
    let files = Files::new();
    files.write("token", "first\n");
    let client = files.client(r#"{"dcos_token_file": "token"}"#);
    get(&client, &mesos.url).await.unwrap_err();
    files.write("token", "second\n");
    advance(NEXT_LOOK).await;
    get(&client, &mesos.url).await.unwrap();
    // What is no token is not taken, and the file that names it stays what it is.
    files.write("token", "");
    advance(NEXT_LOOK).await;
    get(&client, &mesos.url).await.unwrap();
    std::fs::remove_file(files.path("token")).unwrap();
    advance(NEXT_LOOK).await;
    get(&client, &mesos.url).await.unwrap();
    let expected = ["token=first", "token=second", "token=second", "token=second"];
    assert_eq!(mesos.authorizations(), expected);
}

#[tokio::test]
async fn other_credentials_in_the_file_are_used_without_a_restart() {
    let mesos = mesos("Bearer a.b").await;
    let files = Files::new();
    let client = files.client(BASIC);
    get(&client, &mesos.url).await.unwrap_err();
    files.write("credentials", "{}");
    advance(NEXT_LOOK).await;
    get(&client, &mesos.url).await.unwrap_err();
    files.write("credentials", "bearer_token: a.b");
    advance(NEXT_LOOK).await;
    get(&client, &mesos.url).await.unwrap();
    assert_eq!(mesos.authorizations(), [BASIC_HEADER, BASIC_HEADER, "Bearer a.b"]);
}

#[tokio::test]
async fn i28_credentials_do_not_follow_a_redirect() {
    let elsewhere = Peer::start(|_| "{}".into_response()).await;
    let to = elsewhere.url.to_string();
    let mesos = Peer::start(move |_| {
        (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, to.clone())]).into_response()
    })
    .await;
    let files = Files::new();
    for text in [BASIC, "bearer_token: a.b", "dcos_token: a.b"] {
        let client = files.client(text);
        let error = get(&client, &mesos.url).await.unwrap_err();
        assert!(matches!(error, ClientError::Redirected { status: 307, .. }), "{error}");
        let call = serde_json::json!({"type": "GET_MASTER"});
        client.post_operator(&mesos.url, &call, PATIENT, 100).await.unwrap_err();
    }
    assert_eq!(mesos.authorizations().len(), 6);
    assert_eq!(elsewhere.seen().len(), 0);
}

#[tokio::test]
async fn i28_no_error_and_no_debug_output_shows_credentials() {
    // A peer that repeats what it was sent, in its answer and in an address.
    let mesos = Peer::start(|request| {
        let sent = request.authorization.clone().unwrap();
        match request.path.as_str() {
            "/redirect" => {
                let to = format!("http://other/?{}", sent.replace(' ', "+"));
                (StatusCode::FOUND, [(LOCATION, to)]).into_response()
            }
            _ => (StatusCode::FORBIDDEN, format!("not with {sent}")).into_response(),
        }
    })
    .await;
    let files = Files::new();
    // One is longer than what is kept of an answer.
    let long = format!("bearer_token: {}", "s3cr3t".repeat(100));
    for text in [BASIC, "bearer_token: s3cr3t", "dcos_token: s3cr3t", &long] {
        let client = files.client(text);
        for path in ["/state", "/redirect"] {
            let error = get(&client, &mesos.url.join(path).unwrap()).await.unwrap_err();
            for shown in [chain(&error), format!("{error:?}"), format!("{client:?}")] {
                let secrets = ["s3cr3t", "scrape", "cHJvbTpzY3JhcGU="];
                assert!(!secrets.iter().any(|secret| shown.contains(secret)), "{shown}");
            }
        }
    }
    assert_eq!(mesos.seen().len(), 8);
}

#[tokio::test]
async fn files_that_cannot_be_used_are_all_told_before_anything_is_asked() {
    let files = Files::new();
    let credentials = files.write("credentials", "principal: prom\n");
    let tls = TlsOptions { ca_file: Some(files.write("ca", "")), ..TlsOptions::default() };
    let folder = format!("{}/", files.path("").display()).replace("//", "/");
    let found = problems(&options(Some(credentials), tls));
    let found: Vec<_> = found.iter().map(|problem| problem.replace(&folder, "")).collect();
    let expected =
        ["ca: has no certificate in PEM", "credentials:1:12: principal: wants secret beside it"];
    assert_eq!(found, expected);
}
