//! Who may ask, and what every answer carries.

use satellite_toolkit::serve::Limits;
use tokio::{io::AsyncWriteExt as _, task::JoinSet};

use crate::listener::{PLAIN, TLS, World, read_all, request_by, router, users};

const HEADERS: &str = "http_server_config:
  headers: { X-Frame-Options: deny, Content-Security-Policy: \"default-src 'self'\" }
";

#[tokio::test]
async fn a_handler_learns_who_asks_and_not_the_password() {
    let world = World::new(&users(&["ada", "bob"]));
    let listener = world.start_usual().await;
    for name in ["ada", "bob", "ada"] {
        let answer = listener.ask_plainly(&request_by(&format!("{name}:{name}'s"))).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(name), "{answer}");
    }
}

#[tokio::test]
async fn who_is_not_known_is_asked_who_it_is_whatever_was_wrong() {
    let world = World::new(&users(&["ada"]));
    let listener = world.start_usual().await;
    let unauthenticated = listener.ask_plainly(PLAIN).await;
    assert!(unauthenticated.starts_with("HTTP/1.1 401 "), "{unauthenticated}");
    let asked = "www-authenticate: Basic realm=\"satellite\", charset=\"UTF-8\"\r\n";
    assert!(unauthenticated.contains(asked), "{unauthenticated}");
    assert!(unauthenticated.contains(r#""code":"unauthorized""#), "{unauthenticated}");
    let without_date = |answer: &str| -> Vec<String> {
        answer.lines().filter(|it| !it.starts_with("date:")).map(str::to_owned).collect()
    };
    for wrong in ["ada:bob's", "eve:ada's", "ada", "", "ada:"] {
        let answer = listener.ask_plainly(&request_by(wrong)).await;
        assert_eq!(without_date(&answer), without_date(&unauthenticated), "{wrong}");
    }
    listener.wait_for_metric("satellite_web_requests_refused_total 6").await;
}

#[tokio::test]
async fn every_answer_has_the_headers() {
    let world = World::new(&format!("{TLS}{HEADERS}{}", users(&["ada"])));
    let limits =
        Limits { request_timeout: std::time::Duration::from_millis(200), ..Limits::default() };
    let listener = world.start(router(), limits).await;
    let right = request_by("ada:ada's");
    let to = |path: &str| right.replace("GET /", &format!("GET {path}"));
    for (request, status) in [
        (right.clone(), "200"),
        (PLAIN.to_owned(), "401"),
        (to("/nothing"), "404"),
        (to("/never"), "503"),
        (right.replace("GET", "POST"), "405"),
    ] {
        let answer = listener.ask(&world.client(), &request).await.unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        assert!(answer.contains("x-frame-options: deny\r\n"), "{answer}");
        assert!(answer.contains("content-security-policy: default-src 'self'\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn very_many_wrong_passwords_at_once_keep_nobody_out_who_is_known() {
    let world = World::new(&users(&["ada", "bob"]));
    let listener = std::sync::Arc::new(world.start_usual().await);
    let right = request_by("ada:ada's");
    assert!(listener.ask_plainly(&right).await.ends_with("ada"));
    let mut guesses = JoinSet::new();
    for number in 0..1000 {
        let listener = std::sync::Arc::clone(&listener);
        guesses.spawn(
            async move { listener.ask_plainly(&request_by(&format!("bob:{number}"))).await },
        );
    }
    for _ in 0..10 {
        assert!(listener.ask_plainly(&right).await.ends_with("ada"));
    }
    for answer in guesses.join_all().await {
        let is_busy = answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 1\r\n");
        assert!(answer.starts_with("HTTP/1.1 401 ") || is_busy, "{answer}");
    }
    assert!(listener.ask_plainly(&request_by("bob:bob's")).await.ends_with("bob"));
}

#[tokio::test]
async fn more_requests_than_the_limit_are_429() {
    let world = World::new("rate_limit: { interval: 1h, burst: 2 }\n");
    let listener = world.start_usual().await;
    for status in ["200", "200", "429"] {
        let answer = listener.ask_plainly(PLAIN).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
}

#[tokio::test]
async fn credentials_are_asked_for_with_every_request_of_a_connection() {
    let world = World::new(&users(&["ada"]));
    let listener = world.start_usual().await;
    let mut stream = listener.connect().await;
    let first = request_by("ada:ada's").replace("Connection: close\r\n", "");
    stream.write_all(format!("{first}{PLAIN}").as_bytes()).await.unwrap();
    let answers = read_all(&mut stream).await.unwrap();
    assert!(answers.starts_with("HTTP/1.1 200 ") && answers.contains("HTTP/1.1 401 "), "{answers}");
}
