//! DC/OS service accounts: one login, in time, and no more of them than needed.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    http::{StatusCode, header::LOCATION},
    response::{IntoResponse as _, Response},
};
use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use futures::future::join_all;
use satellite_mesos::{AccessError, Client, ClientError, limits};
use serde_json::{Value, json};

use crate::fake::{Files, PATIENT, Peer, RSA_PKCS8, advance, chain, get};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The first pause after a login that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Token number `number`, which ends after `life`.
fn token(number: usize, life: Duration) -> String {
    let now = since_1970();
    let claims = json!({"uid": "satellite", "exp": (now + life).as_secs(), "n": number});
    format!("e30.{}.c2ln", BASE64_URL_SAFE_NO_PAD.encode(claims.to_string()))
}

#[expect(clippy::disallowed_methods, reason = "it plays another machine, with a clock of its own")]
fn since_1970() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap()
}

/// The number of the token in a header.
fn number(authorization: &str) -> u64 {
    let token = authorization.strip_prefix("token=").unwrap();
    let claims = token.split('.').nth(1).unwrap();
    let claims: Value =
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    claims["n"].as_u64().unwrap()
}

/// A login service that gives out tokens 1, 2, … of this life.
async fn iam(life: Duration) -> Peer {
    let count = Arc::new(AtomicUsize::new(0));
    Peer::start(move |_| {
        let number = count.fetch_add(1, Ordering::Relaxed) + 1;
        json!({"token": token(number, life)}).to_string().into_response()
    })
    .await
}

/// A Mesos that refuses tokens of a smaller number.
async fn mesos(least: Arc<AtomicUsize>) -> Peer {
    Peer::start(move |request| {
        let number = request.authorization.as_deref().map(number).unwrap_or_default();
        if number < least.load(Ordering::Relaxed) as u64 {
            (StatusCode::UNAUTHORIZED, "").into_response()
        } else {
            "{}".into_response()
        }
    })
    .await
}

async fn open_mesos() -> Peer {
    mesos(Arc::new(AtomicUsize::new(1))).await
}

fn account(files: &Files, iam: &Peer) -> Client {
    let secret = json!({
        "uid": "satellite",
        "private_key": RSA_PKCS8,
        "login_endpoint": iam.url.join("/acs/api/v1/auth/login").unwrap(),
        "scheme": "RS256",
    });
    files.client(&secret.to_string())
}

fn numbers(mesos: &Peer) -> Vec<u64> {
    mesos.authorizations().iter().map(|sent| number(sent)).collect()
}

#[tokio::test]
async fn many_requests_at_once_make_one_login() {
    let (iam, mesos) = (iam(5 * DAY).await, open_mesos().await);
    let files = Files::new();
    let client = account(&files, &iam);
    let answers = join_all((0..50).map(|_| get(&client, &mesos.url))).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(numbers(&mesos), [1; 50]);
    let logins = iam.seen();
    assert_eq!(logins.len(), 1);
    assert_eq!(logins[0].path, "/acs/api/v1/auth/login");
    assert_eq!(logins[0].authorization, None);
    let body: Value = serde_json::from_slice(&logins[0].body).unwrap();
    assert_eq!(body["uid"], "satellite");
    let signed = body["token"].as_str().unwrap().split('.').collect::<Vec<_>>();
    let claims: Value =
        serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(signed[1]).unwrap()).unwrap();
    let life = claims["exp"].as_u64().unwrap() - since_1970().as_secs();
    assert!((240..=300).contains(&life), "it is meant for one login: {life}");
    assert_eq!(body.as_object().unwrap().len(), 2, "{body}");
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends_and_no_request_waits_for_it() {
    let (iam, mesos) = (iam(4 * DAY).await, open_mesos().await);
    let files = Files::new();
    let client = account(&files, &iam);
    get(&client, &mesos.url).await.unwrap();
    advance(2 * DAY).await;
    get(&client, &mesos.url).await.unwrap();
    assert_eq!(iam.seen().len(), 1);
    advance(DAY + PAUSE).await;
    // It has a day left, and goes with this request and those of the login's time.
    get(&client, &mesos.url).await.unwrap();
    while numbers(&mesos).last() == Some(&1) {
        get(&client, &mesos.url).await.unwrap();
    }
    assert_eq!(numbers(&mesos)[..3], [1; 3]);
    assert_eq!(iam.seen().len(), 2);
    // The new one has its own life.
    advance(2 * DAY).await;
    get(&client, &mesos.url).await.unwrap();
    assert_eq!((numbers(&mesos).last(), iam.seen().len()), (Some(&2), 2));
}

#[tokio::test]
async fn a_refused_token_makes_one_more_login_and_each_request_is_repeated_once() {
    let least = Arc::new(AtomicUsize::new(1));
    let (iam, mesos) = (iam(5 * DAY).await, mesos(Arc::clone(&least)).await);
    let files = Files::new();
    let client = account(&files, &iam);
    get(&client, &mesos.url).await.unwrap();
    // As after the keys of the login service were changed.
    least.store(2, Ordering::Relaxed);
    let answers = join_all((0..20).map(|_| get(&client, &mesos.url))).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(iam.seen().len(), 2);
    let sent = numbers(&mesos);
    assert_eq!(sent.iter().filter(|number| **number == 2).count(), 20);
    assert!(sent.len() <= 1 + 20 + 20, "{sent:?}");
}

#[tokio::test]
async fn a_token_that_is_refused_as_soon_as_it_comes_is_told_and_not_asked_for_for_ever() {
    let (iam, mesos) = (iam(5 * DAY).await, mesos(Arc::new(AtomicUsize::new(usize::MAX))).await);
    let files = Files::new();
    let client = account(&files, &iam);
    let error = get(&client, &mesos.url).await.unwrap_err();
    assert!(matches!(error, ClientError::Status { status: 401, .. }), "{error}");
    assert_eq!((numbers(&mesos), iam.seen().len()), (vec![1, 2], 2));
    for _ in 0..10 {
        get(&client, &mesos.url).await.unwrap_err();
    }
    assert!(iam.seen().len() <= 4, "{} logins", iam.seen().len());
    // A minute later it is tried again.
    let before = iam.seen().len();
    advance(Duration::from_secs(60)).await;
    get(&client, &mesos.url).await.unwrap_err();
    assert_eq!(iam.seen().len(), before + 1);
}

/// A login service that answers the first `failures` times as told.
async fn failing_iam(
    failures: usize,
    answer: impl Fn() -> Response + Clone + Send + Sync + 'static,
) -> Peer {
    let count = Arc::new(AtomicUsize::new(0));
    Peer::start(move |_| {
        let number = count.fetch_add(1, Ordering::Relaxed);
        if number < failures {
            return answer();
        }
        json!({"token": token(number, DAY)}).to_string().into_response()
    })
    .await
}

#[tokio::test]
async fn a_failed_login_fails_its_request_with_the_reason_and_a_later_one_logs_in() {
    let body = r#"{"title":"Busy","description":"try later","code":"ERR"}"#;
    let iam = failing_iam(1, move || (StatusCode::SERVICE_UNAVAILABLE, body).into_response()).await;
    let mesos = open_mesos().await;
    let files = Files::new();
    let client = account(&files, &iam);
    let error = get(&client, &mesos.url).await.unwrap_err();
    // No machine is too slow for what is said at once.
    tokio::time::pause();
    let told = chain(&error);
    let login = iam.url.join("/acs/api/v1/auth/login").unwrap();
    assert_eq!(
        told,
        format!(
            "no credentials for {}: logging in at {login} failed: answered 503: Busy: try later",
            mesos.url
        )
    );
    // At once nobody is asked again, and the reason is still told in the same words.
    let error = get(&client, &mesos.url).await.unwrap_err();
    assert!(matches!(error, ClientError::Access { source: AccessError::Login { .. }, .. }));
    assert_eq!(chain(&error), told);
    assert_eq!(iam.seen().len(), 1);
    assert_eq!(mesos.seen().len(), 0, "nothing goes without credentials");
    tokio::time::advance(PAUSE).await;
    tokio::time::resume();
    get(&client, &mesos.url).await.unwrap();
    assert_eq!((numbers(&mesos), iam.seen().len()), (vec![1], 2));
}

#[tokio::test]
async fn a_renewal_that_fails_fails_no_request_while_the_token_lives() {
    let count = Arc::new(AtomicUsize::new(0));
    let iam = Peer::start(move |_| match count.fetch_add(1, Ordering::Relaxed) {
        0 => json!({"token": token(1, 4 * DAY)}).to_string().into_response(),
        _ => StatusCode::BAD_GATEWAY.into_response(),
    })
    .await;
    let mesos = open_mesos().await;
    let files = Files::new();
    let client = account(&files, &iam);
    get(&client, &mesos.url).await.unwrap();
    advance(3 * DAY + PAUSE).await;
    while iam.seen().len() < 2 {
        get(&client, &mesos.url).await.unwrap();
    }
    get(&client, &mesos.url).await.unwrap();
    advance(DAY).await;
    let error = get(&client, &mesos.url).await.unwrap_err();
    assert!(chain(&error).ends_with("failed: answered 502: "), "{}", chain(&error));
    assert!(numbers(&mesos).iter().all(|number| *number == 1));
}

#[tokio::test]
async fn an_answer_without_a_token_that_can_be_sent_is_no_login() {
    let large = "x".repeat(65_537);
    for (answer, expected) in [
        ("", "the answer has no token that can be sent"),
        ("[]", "the answer has no token that can be sent"),
        (r#"{"token": ""}"#, "the answer has no token that can be sent"),
        (r#"{"token": "two words"}"#, "the answer has no token that can be sent"),
        (&large, "the answer is larger than 65536 bytes"),
    ] {
        let answer = answer.to_owned();
        let iam = Peer::start(move |_| answer.clone().into_response()).await;
        let mesos = open_mesos().await;
        let files = Files::new();
        let error = get(&account(&files, &iam), &mesos.url).await.unwrap_err();
        assert!(chain(&error).ends_with(expected), "{}", chain(&error));
        assert_eq!(mesos.seen().len(), 0);
    }
}

#[tokio::test]
async fn i28_a_login_does_not_follow_a_redirect_and_is_not_shown() {
    let elsewhere = Peer::start(|_| "{}".into_response()).await;
    let to = elsewhere.url.to_string();
    let iam = Peer::start(move |request| {
        let sent = String::from_utf8(request.body.to_vec()).unwrap();
        (StatusCode::TEMPORARY_REDIRECT, [(LOCATION, to.clone())], sent).into_response()
    })
    .await;
    let mesos = open_mesos().await;
    let files = Files::new();
    let error = get(&account(&files, &iam), &mesos.url).await.unwrap_err();
    assert!(chain(&error).contains("answered 307, a redirect"), "{}", chain(&error));
    assert_eq!((elsewhere.seen().len(), mesos.seen().len()), (0, 0));
    // A service that repeats what it was sent in its refusal.
    let iam = Peer::start(|request| {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let said = body["token"].as_str().unwrap().to_owned();
        (StatusCode::UNAUTHORIZED, json!({"title": "bad", "description": said}).to_string())
            .into_response()
    })
    .await;
    let client = account(&files, &iam);
    let error = get(&client, &mesos.url).await.unwrap_err();
    let body: Value = serde_json::from_slice(&iam.seen()[0].body).unwrap();
    let start = &body["token"].as_str().unwrap()[..60];
    for shown in [chain(&error), format!("{error:?}"), format!("{client:?}")] {
        assert!(!shown.contains(start) && !shown.contains("PRIVATE"), "{shown}");
    }
}

#[tokio::test]
async fn a_login_that_takes_longer_than_its_request_serves_the_next() {
    let (release, released) = std::sync::mpsc::channel::<()>();
    let released = Arc::new(std::sync::Mutex::new(released));
    let iam = Peer::start(move |_| {
        tokio::task::block_in_place(|| released.lock().unwrap().recv().unwrap());
        json!({"token": token(1, DAY)}).to_string().into_response()
    });
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let iam = runtime.spawn(iam).await.unwrap();
    let mesos = open_mesos().await;
    let files = Files::new();
    let client = account(&files, &iam);
    let short = Duration::from_millis(300);
    let error = client.get(&mesos.url, short, limits::SMALL).await.unwrap_err();
    assert!(
        chain(&error).ends_with("logging in took longer than the request had"),
        "{}",
        chain(&error)
    );
    assert_eq!(mesos.seen().len(), 0);
    release.send(()).unwrap();
    client.get(&mesos.url, PATIENT, limits::SMALL).await.unwrap();
    assert_eq!((numbers(&mesos), iam.seen().len()), (vec![1], 1));
    runtime.shutdown_background();
}

#[tokio::test]
async fn no_request_ever_has_an_empty_authorization() {
    // Logins that fail and succeed in turn, and a Mesos that refuses in turn.
    let count = Arc::new(AtomicUsize::new(0));
    let iam = Peer::start(move |_| match count.fetch_add(1, Ordering::Relaxed) {
        number if number % 2 == 0 => StatusCode::SERVICE_UNAVAILABLE.into_response(),
        number => json!({"token": token(number, DAY)}).to_string().into_response(),
    })
    .await;
    let turn = AtomicUsize::new(0);
    let turn = Arc::new(turn);
    let mesos = Peer::start(move |_| match turn.fetch_add(1, Ordering::Relaxed) % 3 {
        0 => StatusCode::UNAUTHORIZED.into_response(),
        _ => "{}".into_response(),
    })
    .await;
    let files = Files::new();
    let client = account(&files, &iam);
    for _ in 0..30 {
        get(&client, &mesos.url).await.ok();
        advance(Duration::from_secs(20)).await;
    }
    let seen = mesos.seen();
    assert!(seen.len() > 20 && iam.seen().len() > 4, "{} {}", seen.len(), iam.seen().len());
    for request in seen {
        let sent = request.authorization.expect("it has credentials");
        assert!(number(&sent) > 0);
    }
}
