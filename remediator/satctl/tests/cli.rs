//! The program as an operator runs it, against a remediator that remembers what it was asked.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers too")]

#[path = "cli/guard.rs"]
mod guard;
#[path = "cli/import.rs"]
mod import;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::{Command, Output, Stdio};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

/// One request as the remediator saw it.
#[derive(Debug, Clone)]
struct Seen {
    method: Method,
    uri: String,
    headers: HeaderMap,
    body: Value,
}

/// A remediator with the hosts `a` and `b`, `b` being off by an alert. It keeps manual events, and
/// refuses to turn off `a` unless it is forced.
#[derive(Default)]
struct Fake {
    seen: Vec<Seen>,
    /// By host and event id.
    events: BTreeMap<(String, String), Value>,
    pause: Value,
}

type Shared = Arc<Mutex<Fake>>;

impl Fake {
    fn host(&self, host: &str) -> Option<Value> {
        let alert = json!({"kind": "alert", "rule": "host-check", "since": "2026-11-21T10:00:00Z", "until": null, "evidence": {}});
        let mut causes = if host == "b" { vec![alert] } else { vec![] };
        let mut state = if host == "b" { "off" } else { "on" };
        let events: Vec<&Value> =
            self.events.iter().filter(|((of, _), _)| of == host).map(|(_, event)| event).collect();
        let newest = events.iter().max_by_key(|event| event["time"].to_string());
        if let Some(event) = newest {
            state = if event["state"] == "on" { "on" } else { "off" };
            let until = event["ttl"].as_str().map(|_| "2026-11-21T13:00:00Z");
            causes = vec![json!({"kind": "manual", "since": event["time"], "until": until})];
        }
        let known = ["a", "b", "odd/name?#"].contains(&host);
        known.then(|| {
            json!({
                "host": host, "state": state, "causes": causes, "blocked_by": [], "next": null,
                "explain": format!("{host} is {state}\nand here is why"),
                "events": events, "agents": [], "drain": null, "transitions": []
            })
        })
    }

    fn status(&self) -> Value {
        json!({
            "cluster": "lab", "mesos_leader": null,
            "sources": [{"source": "mesos", "blind": false, "reason": null, "since": null}],
            "hosts": {"on": 1, "off": 1},
            "budget": {"inventory": 2, "limit": 1, "away": 1, "remaining": 0, "offs_last_hour": 1, "max_off_per_hour": 10},
            "holds": [], "storm": null, "pause": self.pause, "dry_run": true,
            "whitelist": {"file": "/w", "hosts": 1, "merged_at": null, "failure": null},
            "last_round": null, "failure": null, "from_a_newer_remediator": 7
        })
    }

    fn answer(&mut self, seen: &Seen) -> Response {
        let (path, query) = seen.uri.split_once('?').unwrap_or((&seen.uri, ""));
        let path = path.strip_prefix("/prefix").unwrap_or(path);
        let segments: Vec<String> = path.split('/').skip(1).map(decoded).collect();
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        match (seen.method.as_str(), &segments[..]) {
            ("GET", ["api", "v1", "hosts"]) => {
                let hosts: Vec<_> = ["a", "b"].iter().filter_map(|host| self.host(host)).collect();
                ok(&json!({ "hosts": hosts }))
            }
            ("GET", ["api", "v1", "status"]) => ok(&self.status()),
            ("POST", ["api", "v1", "pause"]) => {
                self.pause = json!({
                    "all": seen.body["all"], "since": "2026-11-21T11:00:00Z",
                    "until": "2026-11-21T15:00:00Z", "by": "ann", "reason": seen.body["reason"],
                });
                ok(&self.status())
            }
            ("POST", ["api", "v1", "import"]) => ok(&json!({
                "dry_run": query.contains("dry_run=true"),
                "added": [{"host": "n1", "state": "off"}, {"host": "n2", "state": "on"}, {"host": "n3", "state": "on"}],
                "turned_on": ["c", "d"], "turned_off": ["b"], "amended": ["e"],
                "events": [{"host": "a", "id": "x/y", "state": "on"}, {"host": "b", "id": "t\u{1b}[2J", "state": "off"}],
                "unchanged": 7, "unnamed": 3,
                "left_out": [{"host": "a", "what": "event \"w\" says warn: neither on nor off"}],
            })),
            ("POST", ["api", "v1", "resume"]) => {
                self.pause = Value::Null;
                ok(&self.status())
            }
            ("DELETE", ["api", "v1", "hosts", "gone"]) => {
                ok(&json!({"host": "gone", "forgotten": true}))
            }
            ("DELETE", ["api", "v1", "hosts", "a"]) => {
                refusal(StatusCode::CONFLICT, "conflict", "the leading master lists a")
            }
            ("DELETE", ["api", "v1", "hosts", _]) => not_found(),
            ("GET", ["api", "v1", "journal"]) => ok(
                &json!({"records": [{"time": "2026-11-21T11:00:00Z", "host": "a", "what": "off", "by": "ann", "reason": "disk"}]}),
            ),
            ("GET", ["api", "v1", "hosts", host]) => {
                self.host(host).map_or_else(not_found, |host| ok(&host))
            }
            ("PUT", ["api", "v1", "hosts", "a", "events", _])
                if seen.body["state"] == "off" && query != "force=true" =>
            {
                refusal(StatusCode::CONFLICT, "conflict", "this would leave 0 hosts on")
            }
            ("PUT", ["api", "v1", "hosts", host, "events", id]) => {
                let mut event = seen.body.clone();
                event["id"] = json!(id);
                event["author"] = json!("ann");
                event["time"] = json!(format!("2026-11-21T11:00:{:02}Z", self.events.len()));
                self.events.insert(((*host).to_owned(), (*id).to_owned()), event);
                (StatusCode::CREATED, ok(&self.host(host).unwrap())).into_response()
            }
            ("DELETE", ["api", "v1", "hosts", host, "events", id]) => {
                let key = ((*host).to_owned(), (*id).to_owned());
                match self.events.remove(&key) {
                    Some(_) => ok(&self.host(host).unwrap()),
                    None => not_found(),
                }
            }
            _ => refusal(StatusCode::IM_A_TEAPOT, "teapot", "no such thing"),
        }
    }
}

fn ok(value: &Value) -> Response {
    ([("content-type", "application/json")], value.to_string()).into_response()
}

fn refusal(status: StatusCode, code: &str, message: &str) -> Response {
    (status, json!({"code": code, "message": message}).to_string()).into_response()
}

fn not_found() -> Response {
    refusal(StatusCode::NOT_FOUND, "not_found", "no such host\u{1b}[31m")
}

/// Percent-decodes one segment, by the same library that encodes queries.
fn decoded(segment: &str) -> String {
    let pair = format!("x={}", segment.replace('+', "%2B"));
    url::form_urlencoded::parse(pair.as_bytes()).next().unwrap().1.into_owned()
}

async fn handle(
    State(fake): State<Shared>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let seen = Seen { method, uri: uri.to_string(), headers, body };
    let mut fake = fake.lock().unwrap();
    fake.seen.push(seen.clone());
    fake.answer(&seen)
}

/// A running remediator. It ends with its runtime, when the test does.
struct Remediator {
    address: SocketAddr,
    fake: Shared,
    _runtime: tokio::runtime::Runtime,
}

impl Remediator {
    fn start() -> Self {
        let fake = Shared::default();
        let app = Router::new().fallback(handle).with_state(Arc::clone(&fake));
        Self { fake, ..Self::serving(app) }
    }

    fn serving(app: Router) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self { address, fake: Shared::default(), _runtime: runtime }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn satctl(&self, args: &[&str]) -> Output {
        satctl(args).env("SATCTL_URL", self.url()).output().unwrap()
    }

    fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.fake.lock().unwrap().seen)
    }

    /// What was asked, as `METHOD uri`.
    fn asked(&self) -> Vec<String> {
        self.seen().iter().map(|seen| format!("{} {}", seen.method, seen.uri)).collect()
    }
}

/// The program, with nothing of the tester's own environment but what it needs to start.
fn satctl(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_satctl"));
    command.args(args).env_clear().env("LOGNAME", "ann").stdin(Stdio::null());
    command
}

#[track_caller]
fn stdout(output: &Output) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    assert_eq!(stderr, "");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The one line of a command that failed.
#[track_caller]
fn complaint(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(output.stdout, b"");
    let stderr = String::from_utf8(output.stderr.clone()).unwrap();
    let line = stderr.strip_prefix("satctl: ").and_then(|line| line.strip_suffix('\n'));
    let line = line.unwrap_or_else(|| panic!("{stderr:?}"));
    assert!(!line.contains('\n'), "{line:?}");
    line.to_owned()
}

#[track_caller]
fn usage_error(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(64));
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[test]
fn hosts_are_listed_in_a_table_and_filtered_by_the_remediator() {
    let remediator = Remediator::start();
    assert_eq!(
        stdout(&remediator.satctl(&["hosts"])),
        "HOST  STATE  SINCE                 WHY\n\
         a     on     -                     -\n\
         b     off    2026-11-21T10:00:00Z  alert host-check\n"
    );
    stdout(&remediator.satctl(&["hosts", "--state", "off"]));
    assert_eq!(remediator.asked(), ["GET /api/v1/hosts", "GET /api/v1/hosts?state=off"]);
}

#[test]
fn explain_prints_the_text_of_the_remediator() {
    let remediator = Remediator::start();
    assert_eq!(stdout(&remediator.satctl(&["explain", "b"])), "b is off\nand here is why\n");
}

#[test]
fn json_prints_the_answer_as_it_came() {
    let remediator = Remediator::start();
    let text = stdout(&remediator.satctl(&["explain", "b", "--json"]));
    let expected = remediator.fake.lock().unwrap().host("b").unwrap();
    assert_eq!(text, format!("{expected}\n"));
}

#[test]
fn json_does_not_care_what_the_answer_is() {
    let odd = Remediator::serving(Router::new().fallback(async || "[7]"));
    assert_eq!(stdout(&odd.satctl(&["status", "--json"])), "[7]\n");
    assert!(complaint(&odd.satctl(&["status"])).contains("cannot be read"));
}

#[test]
fn on_is_an_event_with_reason_and_duration_and_says_what_is_now_in_force() {
    let remediator = Remediator::start();
    let output = remediator.satctl(&["on", "b", "--reason", " false alarm ", "--ttl", "90m"]);
    assert_eq!(stdout(&output), "host b is on (manual, until 2026-11-21T13:00:00Z)\n");
    let [seen] = &remediator.seen()[..] else { panic!("one request") };
    assert_eq!(seen.method, Method::PUT);
    assert_eq!(seen.body, json!({"state": "on", "reason": "false alarm", "ttl": "1h30m"}));
    let id = seen.uri.strip_prefix("/api/v1/hosts/b/events/satctl-").unwrap();
    assert_eq!(uuid::Uuid::parse_str(id).unwrap().get_version_num(), 7);
    assert_eq!(seen.headers["x-satellite-user"], "ann");
    assert!(!seen.headers.contains_key("authorization"));
}

#[test]
fn a_refusal_is_told_in_the_words_of_the_remediator_and_force_overrides_it() {
    let remediator = Remediator::start();
    let off = ["off", "a", "--reason", "r"];
    let output = remediator.satctl(&off);
    assert_eq!(complaint(&output), "this would leave 0 hosts on (409 Conflict)");
    let output = remediator.satctl(&[&off[..], &["--force"]].concat());
    assert_eq!(stdout(&output), "host a is off (manual, until it is cleared)\n");
}

#[test]
fn each_command_is_an_event_of_its_own_and_clear_takes_all_back_oldest_first() {
    let remediator = Remediator::start();
    stdout(&remediator.satctl(&["off", "b", "--reason", "first"]));
    stdout(&remediator.satctl(&["on", "b", "--reason", "second", "--ttl", "1h"]));
    let put: Vec<String> = remediator.seen().into_iter().map(|seen| seen.uri).collect();
    assert_ne!(put[0], put[1]);

    let output = remediator.satctl(&["clear", "b"]);
    assert_eq!(stdout(&output), "took back 2 commands\nhost b is off (alert host-check)\n");
    let expected = [
        "GET /api/v1/hosts/b".to_owned(),
        format!("DELETE {}", put[0]),
        format!("DELETE {}", put[1]),
        "GET /api/v1/hosts/b".to_owned(),
    ];
    assert_eq!(remediator.asked(), expected);

    let output = remediator.satctl(&["clear", "b"]);
    assert_eq!(stdout(&output), "nothing to take back\nhost b is off (alert host-check)\n");
}

#[test]
fn a_host_name_cannot_change_the_path() {
    let remediator = Remediator::start();
    let text = stdout(&remediator.satctl(&["explain", "odd/name?#"]));
    assert!(text.starts_with("odd/name?# is on"), "{text}");
    assert_eq!(remediator.asked(), ["GET /api/v1/hosts/odd%2Fname%3F%23"]);
    for name in ["", ".", ".."] {
        usage_error(&remediator.satctl(&["clear", name]));
    }
    assert_eq!(remediator.asked(), [""; 0]);
}

#[test]
fn status_is_a_readable_summary_with_a_dry_run_on_top() {
    let remediator = Remediator::start();
    let text = stdout(&remediator.satctl(&["status"]));
    assert!(text.starts_with("DRY RUN "), "{text}");
    assert!(text.contains("\nhosts       1 on, 1 off\n"), "{text}");
}

#[test]
fn a_pause_is_told_with_its_end_and_resume_ends_it() {
    let remediator = Remediator::start();
    let output = remediator.satctl(&["pause", "--reason", "swap", "--ttl", "90m"]);
    let told = "paused: nobody is taken off until 2026-11-21T15:00:00Z, says ann: swap\n";
    assert_eq!(stdout(&output), told);
    let output = remediator.satctl(&["pause", "--all", "--reason", "swap"]);
    assert!(stdout(&output).starts_with("paused: nobody is taken off or given back until"));
    assert_eq!(stdout(&remediator.satctl(&["resume"])), "automation is not paused\n");
    let asked: Vec<(String, Value)> = remediator
        .seen()
        .into_iter()
        .map(|seen| (format!("{} {}", seen.method, seen.uri), seen.body))
        .collect();
    let pause = |body| ("POST /api/v1/pause".to_owned(), body);
    assert_eq!(
        asked,
        [
            pause(json!({"all": false, "reason": "swap", "ttl": "1h30m"})),
            pause(json!({"all": true, "reason": "swap", "ttl": null})),
            ("POST /api/v1/resume".to_owned(), Value::Null),
        ]
    );
}

#[test]
fn a_host_is_forgotten_unless_it_is_listed_or_unknown() {
    let remediator = Remediator::start();
    assert_eq!(stdout(&remediator.satctl(&["forget", "gone"])), "host gone is forgotten\n");
    let line = complaint(&remediator.satctl(&["forget", "a"]));
    assert_eq!(line, "the leading master lists a (409 Conflict)");
    assert!(complaint(&remediator.satctl(&["forget", "zz"])).contains("404"));
    assert_eq!(
        remediator.asked(),
        ["gone", "a", "zz"].map(|host| format!("DELETE /api/v1/hosts/{host}"))
    );
}

#[test]
fn the_journal_is_asked_for_a_host_a_time_and_a_number() {
    let remediator = Remediator::start();
    let since = "2026-11-21T09:00:00+01:00";
    let output = remediator.satctl(&["journal", "--host", "a", "--since", since, "--limit", "5"]);
    assert_eq!(
        stdout(&output),
        "TIME                  HOST  WHAT  BY   REASON\n\
         2026-11-21T11:00:00Z  a     off   ann  disk\n"
    );
    stdout(&remediator.satctl(&["journal"]));
    assert_eq!(
        remediator.asked(),
        [
            "GET /api/v1/journal?host=a&since=2026-11-21T08%3A00%3A00Z&limit=5",
            "GET /api/v1/journal"
        ]
    );
}

#[test]
fn an_unknown_host_is_one_harmless_line_and_exit_1() {
    let remediator = Remediator::start();
    let line = complaint(&remediator.satctl(&["explain", "zz"]));
    assert_eq!(line, "no such host\\u{1b}[31m (404 Not Found)");
}

#[test]
fn a_url_may_have_a_prefix_and_the_flag_beats_the_environment() {
    let remediator = Remediator::start();
    let url = format!("{}/prefix/", remediator.url());
    let output = satctl(&["status", "--url", &url])
        .env("SATCTL_URL", "http://127.0.0.1:1")
        .output()
        .unwrap();
    stdout(&output);
    assert_eq!(remediator.asked(), ["GET /prefix/api/v1/status"]);
}

#[test]
fn a_proxy_of_the_environment_is_not_used() {
    let remediator = Remediator::start();
    let output = satctl(&["status", "--url", &remediator.url()])
        .env("http_proxy", "http://127.0.0.1:1")
        .output()
        .unwrap();
    stdout(&output);
}

#[test]
fn the_token_of_a_file_is_sent_and_the_login_name_then_is_not() {
    let remediator = Remediator::start();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "s3cret\n").unwrap();
    let path = file.path().to_str().unwrap();
    stdout(&remediator.satctl(&["status", "--token-file", path]));
    let [seen] = &remediator.seen()[..] else { panic!("one request") };
    assert_eq!(seen.headers["authorization"], "Bearer s3cret");
    assert!(!seen.headers.contains_key("x-satellite-user"));
}

#[test]
fn a_token_that_cannot_be_used_is_not_shown_and_nothing_is_asked() {
    let remediator = Remediator::start();
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    for content in ["", "\n", "s3cret\nsecond line", "s3 cret"] {
        std::fs::write(&path, content).unwrap();
        let line = complaint(&remediator.satctl(&["status", "--token-file", &path]));
        assert!(line.contains(&path) && !line.contains("s3"), "{line}");
    }
    file.close().unwrap();
    let line = complaint(&remediator.satctl(&["status", "--token-file", &path]));
    assert!(line.contains("cannot read the token file") && line.contains("No such file"), "{line}");
    assert_eq!(remediator.asked(), [""; 0]);
}

#[test]
fn a_user_is_told_with_the_password_of_a_file_and_the_login_name_then_is_not() {
    let remediator = Remediator::start();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), " ada's \n").unwrap();
    let path = file.path().to_str().unwrap();
    stdout(&remediator.satctl(&["status", "--user", "ada", "--password-file", path]));
    let mut by_environment = satctl(&["status", "--url", &remediator.url()]);
    by_environment.env("SATCTL_USER", "ada").env("SATCTL_PASSWORD_FILE", path);
    stdout(&by_environment.output().unwrap());
    let seen = remediator.seen();
    assert_eq!(seen.len(), 2);
    for seen in seen {
        assert_eq!(seen.headers["authorization"], "Basic YWRhOiBhZGEncyA=");
        assert!(!seen.headers.contains_key("x-satellite-user"));
    }
    for content in ["", "\n", "ada's\nsecond line"] {
        std::fs::write(path, content).unwrap();
        let line =
            complaint(&remediator.satctl(&["status", "--user=ada", "--password-file", path]));
        assert!(line.contains("does not hold a password") && !line.contains("ada's"), "{line}");
    }
    for flags in [
        &["status", "--user", "ada"][..],
        &["status", "--password-file", path],
        &["status", "--user", "ada", "--password-file", path, "--token-file", path],
    ] {
        usage_error(&remediator.satctl(flags));
    }
    assert_eq!(remediator.asked(), [""; 0]);
}

/// The password of `ada` is `ada's`.
const WEB: &str = "tls_server_config:
  cert_file: server.pem
  key_file: server.pem
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: server.pem
basic_auth_users:
  ada: $2b$04$um/YpR6.QP99uICHX5lA1.vjbFAK4Hamo93lAEvFMqJeU/51j6yJO
";

#[test]
fn a_remediator_that_demands_tls_a_certificate_and_a_user_is_served_with_all_of_them() {
    use satellite_toolkit::{
        serve::{Limits, ServerMetrics, bind, serve},
        web::Web,
    };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    std::fs::write(path("server.pem"), certificate + &key.serialize_pem()).unwrap();
    std::fs::write(path("web.yml"), WEB).unwrap();
    std::fs::write(path("password"), "ada's\n").unwrap();
    std::fs::write(path("text"), "text\n").unwrap();

    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let listener = runtime.block_on(bind("127.0.0.1:0")).unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let web = Web::load(std::path::Path::new(&path("web.yml"))).unwrap();
    let app = Router::new().fallback(handle).with_state(Shared::default());
    runtime.spawn(async move {
        let metrics =
            ServerMetrics::register(&mut prometheus_client::registry::Registry::default());
        let token = tokio_util::sync::CancellationToken::new();
        serve(listener, app, Limits::default(), &metrics, web, token).await
    });

    let pem = path("server.pem");
    let password = path("password");
    let all = ["--user=ada", "--password-file", &password, "--ca-file", &pem, "--cert-file", &pem];
    let ask = |flags: &[&str]| {
        let flags = [&["explain", "b", "--url", &url], flags].concat();
        satctl(&flags).output().unwrap()
    };
    assert_eq!(stdout(&ask(&all)), "b is off\nand here is why\n");
    let line = complaint(&ask(&all[3..]));
    assert!(line.contains("give the name and the password of a user"), "{line}");
    assert!(complaint(&ask(&all[..5])).contains("cannot reach the remediator"));
    assert!(complaint(&ask(&all[..3])).contains("cannot reach the remediator"));
    let text = path("text");
    assert!(complaint(&ask(&["--ca-file", &text])).contains("does not hold a certificate in PEM"));
    assert!(complaint(&ask(&["--cert-file", &text])).contains("a certificate and its key in PEM"));
}

#[test]
fn a_remediator_that_is_away_is_named_without_the_password_of_its_url() {
    let port = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap().port()
    };
    let url = format!("http://ann:s3cret@127.0.0.1:{port}");
    let line = complaint(&satctl(&["status", "--url", &url]).output().unwrap());
    assert!(line.starts_with("cannot reach the remediator at http://127.0.0.1:"), "{line}");
    assert!(line.contains("refused") && !line.contains("s3cret"), "{line}");
}

#[test]
fn a_remediator_that_hangs_is_given_up_after_the_timeout() {
    let hanging = Remediator::serving(
        Router::new().fallback(axum::routing::any(std::future::pending::<Response>)),
    );
    let line = complaint(&hanging.satctl(&["status", "--timeout", "1s"]));
    assert!(line.ends_with("did not answer within 1s"), "{line}");
}

#[test]
fn a_redirect_is_refused_and_the_token_goes_nowhere() {
    let target = Remediator::start();
    let to = format!("{}/api/v1/status", target.url());
    let redirecting = Remediator::serving(
        Router::new().fallback(async move || axum::response::Redirect::temporary(&to)),
    );
    let line = complaint(&redirecting.satctl(&["status"]));
    assert!(line.contains("307"), "{line}");
    assert_eq!(target.asked(), [""; 0]);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let remediator = Remediator::start();
    let mut child = satctl(&["hosts", "--url", &remediator.url()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), &output.stderr[..]), (Some(0), &b""[..]));
}

#[test]
fn a_wrong_command_line_is_exit_64_and_asks_nothing() {
    let remediator = Remediator::start();
    for (args, said) in [
        (&["off", "a"][..], "--reason"),
        (&["off", "a", "--reason", " "], "say why"),
        (&["off", "a", "--reason", "r", "--ttl", "soon"], "such as \"30s\""),
        (&["off", "a", "--reason", "r", "--ttl", "5M"], "such as \"30s\""),
        (&["off", "a", "--reason", "r", "--ttl", "0s"], "1s or more"),
        (&["pause"], "--reason"),
        (&["pause", "--reason", "r", "--ttl", "0s"], "1s or more"),
        (&["forget"], "HOST"),
        (&["forget", ".."], "not the name"),
        (&["hosts", "--state", "maybe"], "possible values"),
        (&["journal", "--since", "yesterday"], "duration"),
        (&["status", "--url", "ftp://h"], "such as http://"),
        (&["status", "--url", "h:5001"], "such as http://"),
        (&["guard-whitelist"], "FILE"),
        (&["guard-whitelist", "/nowhere", "--wait", "0s"], "1s or more"),
        (&["frobnicate"], "frobnicate"),
        (&[], "Usage"),
    ] {
        let text = usage_error(&remediator.satctl(args));
        assert!(text.contains(said), "{args:?}: {text}");
    }
    assert_eq!(remediator.asked(), [""; 0]);
}

#[test]
fn help_is_printed_to_stdout_and_never_shows_the_url_of_the_environment() {
    let output = satctl(&["--help"]).env("SATCTL_URL", "http://ann:s3cret@h").output().unwrap();
    let text = stdout(&output);
    assert!(text.contains("satctl hosts --state off") && !text.contains("s3cret"), "{text}");
}

#[test]
fn a_configuration_is_checked_without_asking_anyone() {
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/../../alerts/remediator.yml");
    let mut command = satctl(&["check-config", shipped]);
    let text = stdout(&command.env("SATCTL_URL", "http://127.0.0.1:1").output().unwrap());
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].contains("alertmanagers: there is one only"), "{text}");
    assert_eq!(lines[1..], [format!("{shipped} is in order")]);
    let smallest = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/tests/config/smallest.good.yml");
    let text = stdout(&satctl(&["check-config", smallest]).output().unwrap());
    let vain = format!("{smallest}: policy.rules[].rescind: is not yet in force: the whitelist");
    assert!(text.contains(&vain), "{text}");
}

#[test]
fn every_problem_of_a_configuration_is_a_line_of_stderr_and_exit_64() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "clutser: a\nlisten: nowhere\n").unwrap();
    let path = file.path().to_str().unwrap();
    let text = usage_error(&satctl(&["check-config", path]).output().unwrap());
    for problem in ["clutser", "2:9: listen:", "whitelist.file: is required"] {
        assert!(text.contains(problem), "{problem}: {text}");
    }
    assert!(text.lines().all(|line| line.starts_with(&format!("satctl: {path}:"))), "{text}");
    usage_error(&satctl(&["check-config", "/nowhere/remediator.yml"]).output().unwrap());
}
