//! The client and leader discovery against masters that behave well, badly, or not at all.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

use std::convert::Infallible;
use std::error::Error;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use satellite_mesos::{
    AgentsError, Client, ClientError, ClientOptions, NoLeader, NotLeader, endpoint, find_leader,
    limits,
};
use tokio::net::TcpListener;
use url::Url;

/// Long enough for a busy machine; only tests that expect an answer use it.
const PATIENT: Duration = Duration::from_secs(20);
/// Short, for tests that expect no answer.
const SHORT: Duration = Duration::from_millis(200);

const GET_MASTER: &str = include_str!("fixtures/leader_v1_GET_MASTER.json");
const GET_AGENTS: &str = include_str!("fixtures/leader_v1_GET_AGENTS.json");

fn client() -> Client {
    // A second test of this process finds it installed already.
    let _already = rustls::crypto::ring::default_provider().install_default();
    Client::new(&ClientOptions::default()).unwrap()
}

async fn serve(app: Router) -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });
    url
}

/// An address where nobody listens.
async fn closed() -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    Url::parse(&format!("http://{}", listener.local_addr().unwrap())).unwrap()
}

/// A leading master with the given id.
async fn leader(id: &'static str) -> Url {
    let answer = move |headers: HeaderMap, body: Bytes| async move {
        // What Mesos insists on.
        assert_eq!(headers[header::CONTENT_TYPE], "application/json");
        assert_eq!(headers[header::ACCEPT], "application/json");
        match &body[..] {
            br#"{"type":"GET_MASTER"}"# => {
                GET_MASTER.replace("0bbad478-a866-46ba-b58d-3bbeae70e5e3", id).into_response()
            }
            br#"{"type":"GET_AGENTS"}"# => GET_AGENTS.into_response(),
            _ => StatusCode::BAD_REQUEST.into_response(),
        }
    };
    serve(Router::new().route("/api/v1", post(answer))).await
}

async fn follower() -> Url {
    let answer = async || {
        (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, "//127.0.1.3:5050/master/api/v1")])
    };
    serve(Router::new().route("/api/v1", post(answer))).await
}

/// A master of a version without `elected_time`, whose metrics say `elected`.
async fn old_master(elected: f64) -> Url {
    let answer = async || r#"{"type":"GET_MASTER","get_master":{"master_info":{"id":"old"}}}"#;
    let metrics = async move || format!(r#"{{"master/elected":{elected}}}"#);
    serve(
        Router::new()
            .route("/prefix/api/v1", post(answer))
            .route("/prefix/metrics/snapshot", get(metrics)),
    )
    .await
    .join("prefix/")
    .unwrap()
}

fn answering(status: StatusCode, body: &'static str) -> Router {
    Router::new().fallback(any(async move || (status, body)))
}

#[tokio::test]
async fn the_leader_is_found_among_followers_and_the_dead() {
    let masters = [follower().await, closed().await, leader("m3").await];
    let leader = find_leader(&client(), &masters, PATIENT).await.unwrap();
    assert_eq!(leader.url, masters[2]);
    assert_eq!(leader.id.as_deref(), Some("m3"));
    assert_eq!(leader.hostname.as_deref(), Some("127.0.1.3"));
    assert_eq!(leader.version.as_deref(), Some("1.11.0"));
    let elected_at = leader.elected_at.unwrap();
    assert_eq!(elected_at.as_second(), 1_795_297_011);
    let agents = leader.agents(&client(), PATIENT).await.unwrap();
    assert_eq!(agents.registered.len(), 4);
}

#[tokio::test]
async fn without_a_leader_each_master_has_its_reason() {
    let dumb = serve(Router::new().fallback(any(async || "hello"))).await;
    let unsettled = serve(answering(StatusCode::SERVICE_UNAVAILABLE, "No leader elected\n")).await;
    let hanging = serve(Router::new().fallback(any(std::future::pending::<Response>))).await;
    let masters = [follower().await, closed().await, dumb, unsettled, hanging];
    let error = find_leader(&client(), &masters, Duration::from_secs(2)).await.unwrap_err();
    let text = error.to_string();
    let NoLeader::NoneElected { masters: reasons } = error else { panic!("{text}") };
    let urls: Vec<_> = reasons.iter().map(|(url, _)| url.clone()).collect();
    assert_eq!(urls, masters);
    let reasons: Vec<_> = reasons.iter().map(|(_, reason)| reason).collect();
    assert!(matches!(reasons[0], NotLeader::Follower { to: Some(to) } if to.contains("127.0.1.3")));
    assert!(matches!(reasons[1], NotLeader::Failed(ClientError::Connect { .. })));
    assert!(matches!(reasons[2], NotLeader::Failed(ClientError::Unparsable { .. })));
    assert!(matches!(
        reasons[3],
        NotLeader::Failed(ClientError::Status { status: 503, body, .. }) if body == "No leader elected"
    ));
    assert!(matches!(reasons[4], NotLeader::Failed(ClientError::Timeout { .. })));
    assert!(text.contains("refused"), "the causes are told: {text}");
    assert!(!text.contains('\n'), "on one line: {text}");
}

#[tokio::test]
async fn no_configured_masters_is_an_error_of_its_own() {
    assert!(matches!(find_leader(&client(), &[], PATIENT).await, Err(NoLeader::NoMasters)));
}

#[tokio::test]
async fn two_masters_that_say_they_lead_are_ambiguous() {
    let masters = [leader("m1").await, follower().await, leader("m2").await];
    let error = find_leader(&client(), &masters, PATIENT).await.unwrap_err();
    let NoLeader::Ambiguous { leaders } = error else { panic!("{error}") };
    assert_eq!(leaders, [masters[0].clone(), masters[2].clone()]);
}

#[tokio::test]
async fn one_master_under_two_addresses_is_one_leader() {
    let by_ip = leader("m1").await;
    let mut by_name = by_ip.clone();
    by_name.set_host(Some("localhost")).unwrap();
    let leader = find_leader(&client(), &[by_ip.clone(), by_name], PATIENT).await.unwrap();
    assert_eq!(leader.url, by_ip);
}

#[tokio::test]
async fn a_master_without_an_election_time_is_asked_for_its_metrics() {
    let masters = [old_master(1.0).await];
    let leader = find_leader(&client(), &masters, PATIENT).await.unwrap();
    assert_eq!((leader.id.as_deref(), leader.elected_at), (Some("old"), None));

    let error = find_leader(&client(), &[old_master(0.0).await], PATIENT).await.unwrap_err();
    let NoLeader::NoneElected { masters } = error else { panic!("{error}") };
    assert!(matches!(masters[..], [(_, NotLeader::NotElected)]));
}

#[tokio::test]
async fn a_server_that_is_no_master_does_not_lead() {
    let url = serve(answering(StatusCode::OK, "{}")).await;
    let error = find_leader(&client(), &[url], PATIENT).await.unwrap_err();
    let NoLeader::NoneElected { masters } = error else { panic!("{error}") };
    assert!(matches!(masters[..], [(_, NotLeader::NotElected)]));
}

#[tokio::test]
async fn a_leader_that_lost_its_office_tells_no_agents() {
    // It answered as the leader, and redirects when it is asked for the agents.
    let answer = async |body: Bytes| match &body[..] {
        br#"{"type":"GET_MASTER"}"# => GET_MASTER.into_response(),
        _ => {
            (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, "//other/api/v1")]).into_response()
        }
    };
    let url = serve(Router::new().route("/api/v1", post(answer))).await;
    let leader = find_leader(&client(), &[url], PATIENT).await.unwrap();
    let error = leader.agents(&client(), PATIENT).await.unwrap_err();
    let AgentsError::Request(ClientError::Redirected { to, status: 307, .. }) = error else {
        panic!("{error}")
    };
    assert_eq!(to.as_deref(), Some("//other/api/v1"));
}

#[tokio::test]
async fn a_redirect_is_never_followed() {
    let target = serve(answering(StatusCode::OK, "{}")).await;
    let to = target.to_string();
    let url = serve(
        Router::new().fallback(any(async move || (StatusCode::FOUND, [(header::LOCATION, to)]))),
    )
    .await;
    let error = client().get(&url, PATIENT, limits::SMALL).await.unwrap_err();
    assert!(matches!(error, ClientError::Redirected { status: 302, .. }), "{error}");
}

#[tokio::test]
async fn requests_say_who_asks_and_ask_for_no_compression() {
    let echo = async |request: Request| {
        let headers = request.headers();
        let agent = headers[header::USER_AGENT].to_str().unwrap().to_owned();
        format!("{agent} {}", headers.contains_key(header::ACCEPT_ENCODING))
    };
    let url = serve(Router::new().route("/some/prefix/version", get(echo))).await;
    let url = endpoint(&url.join("some/prefix").unwrap(), "version");
    let body = client().get(&url, PATIENT, limits::SMALL).await.unwrap();
    assert_eq!(&body[..], format!("satellite/{} false", env!("CARGO_PKG_VERSION")).as_bytes());
}

#[tokio::test]
async fn a_body_up_to_its_limit_is_read_and_a_larger_one_refused() {
    let url = serve(answering(StatusCode::OK, "0123456789")).await;
    assert_eq!(client().get(&url, PATIENT, 10).await.unwrap().len(), 10);
    let error = client().get(&url, PATIENT, 9).await.unwrap_err();
    assert!(matches!(error, ClientError::TooLarge { limit: 9, .. }), "{error}");
}

#[tokio::test]
async fn an_endless_body_without_a_length_is_cut_off_at_its_limit() {
    let endless = async || {
        let chunks =
            futures::stream::repeat_with(|| Ok::<_, Infallible>(Bytes::from(vec![b' '; 4096])));
        Body::from_stream(chunks)
    };
    let url = serve(Router::new().fallback(any(endless))).await;
    let error = client().get(&url, PATIENT, limits::SMALL).await.unwrap_err();
    assert!(matches!(error, ClientError::TooLarge { limit: limits::SMALL, .. }), "{error}");
}

#[tokio::test]
async fn a_body_that_stalls_is_a_timeout() {
    let stalling = async || {
        let first = futures::stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"{"))]);
        Body::from_stream(futures::StreamExt::chain(first, futures::stream::pending()))
    };
    let url = serve(Router::new().fallback(any(stalling))).await;
    let error = client().get(&url, SHORT, limits::SMALL).await.unwrap_err();
    assert!(matches!(error, ClientError::Timeout { timeout: SHORT, .. }), "{error}");
}

#[tokio::test]
async fn an_error_never_shows_the_password_of_its_url() {
    let mut url = closed().await;
    url.set_username("me").unwrap();
    url.set_password(Some("secret")).unwrap();
    let error = client().get(&url, PATIENT, limits::SMALL).await.unwrap_err();
    let mut text = format!("{error} {error:?}");
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text} {cause} {cause:?}");
        source = cause.source();
    }
    assert!(!text.contains("secret"), "{text}");
}

#[tokio::test]
async fn an_error_answer_is_shown_short_and_on_one_line() {
    let long: &'static str = Box::leak("no\n".repeat(5000).into_boxed_str());
    let url = serve(answering(StatusCode::FORBIDDEN, long)).await;
    let error = client().get(&url, PATIENT, limits::SMALL).await.unwrap_err();
    let ClientError::Status { status: 403, body, .. } = &error else { panic!("{error}") };
    assert!(body.starts_with("no\\nno") && body.len() < 300, "{body}");
}
