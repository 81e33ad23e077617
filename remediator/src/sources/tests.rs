use super::{
    fake::{Answer, Fake, http, ok},
    *,
};

const SMALL: Endpoint = Endpoint { path: "/x", limit: 16 };

async fn got(answer: Answer) -> Result<Bytes, String> {
    let fake = Fake::start([("/x", answer)]).await;
    let get = async { Ok(get(&http(), &fake.url, SMALL, None).await?.body) };
    look_within(Duration::from_millis(300), get).await
}

async fn raw(bytes: &str) -> Result<Bytes, String> {
    got(Answer::Bytes(bytes.into())).await
}

#[tokio::test]
async fn an_answer_of_up_to_the_limit_is_taken() {
    assert_eq!(got(ok("0123456789abcdef")).await.unwrap(), "0123456789abcdef");
}

#[tokio::test]
async fn a_larger_answer_is_refused_announced_or_not() {
    let too_large = "/x: the answer is larger than 16 bytes";
    assert_eq!(got(ok("0123456789abcdefg")).await.unwrap_err(), too_large);
    let endless = "HTTP/1.1 200 OK\r\n\r\n0123456789abcdefg";
    assert_eq!(raw(endless).await.unwrap_err(), too_large);
    let huge = "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n";
    assert!(raw(huge).await.is_err());
}

#[tokio::test]
async fn a_redirect_is_no_answer() {
    let redirect = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\
                    Content-Length: 0\r\n\r\n";
    let reason = raw(redirect).await.unwrap_err();
    assert!(reason.starts_with("/x: answered 302, a redirect"), "{reason}");
}

#[tokio::test]
async fn an_error_is_told_with_the_beginning_of_its_text_on_one_line() {
    let body = format!("no\nroom\x1b[31m{}", "x".repeat(10_000));
    let error = format!("HTTP/1.1 500 Oh\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let reason = raw(&error).await.unwrap_err();
    assert!(reason.starts_with("/x: answered 500: no\\nroom\\u{1b}[31mxx"), "{reason}");
    assert!(reason.len() < 400);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_no_answer() {
    let reason = raw("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n01234").await.unwrap_err();
    assert!(reason.starts_with("/x: the request failed: "), "{reason}");
}

#[tokio::test]
async fn silence_ends_at_the_deadline() {
    assert_eq!(got(Answer::Silence).await.unwrap_err(), "no whole answer within 300ms");
}

#[tokio::test]
async fn nobody_there_is_told_without_the_url() {
    let url = Fake::start([]).await.url.clone();
    let get = async { get(&http(), &url, SMALL, None).await.map(drop) };
    let reason = look_within(DEADLINE, get).await.unwrap_err();
    assert!(reason.starts_with("/x: the request failed: "), "{reason}");
    assert!(!reason.contains("http://"), "{reason}");
}

#[test]
fn a_base_keeps_its_own_path() {
    for (base, whole) in [
        ("http://h:1", "http://h:1/x?q=up%7Ba%3D%22b%22%7D"),
        ("http://h:1/prometheus", "http://h:1/prometheus/x?q=up%7Ba%3D%22b%22%7D"),
        ("http://h:1/prometheus/", "http://h:1/prometheus/x?q=up%7Ba%3D%22b%22%7D"),
    ] {
        let url = url_of(&base.parse().unwrap(), "/x", Some(("q", r#"up{a="b"}"#)));
        assert_eq!(url.as_str(), whole);
    }
}

#[test]
fn what_is_unreadable_is_located() {
    let reason = |body: &[u8]| {
        let error = parse::<Vec<jiff::Timestamp>>("/x", body).unwrap_err();
        chain(&error)
    };
    let good = r#""2026-11-22T00:03:45+01:00""#;
    let second = reason(format!("[{good},7]").as_bytes());
    assert!(second.starts_with("/x: the answer is not readable at [1]: "), "{second}");
    let html = reason(b"<html>");
    assert!(html.starts_with("/x: the answer is not readable at .: expected value"), "{html}");
    let more = reason(format!("[{good}] and more").as_bytes());
    assert!(more.starts_with("/x: the answer is not readable at its end: trailing"), "{more}");
}
