//! A Mesos master, an Alertmanager and a Prometheus whose content a test sets.
//!
//! Each answers what the real one answers, as recorded from Mesos 1.11,
//! Alertmanager 0.25 and Prometheus 2.42, cut down to what is read of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::fake::{Fake, Mood, Reply, Request};

/// What the tests' configuration says, too.
pub(crate) const RESEND_DELAY: Duration = Duration::from_millis(200);

/// A Mesos master. It leads unless told otherwise.
pub(crate) struct Master {
    pub(crate) fake: Fake,
    state: Arc<Mutex<MasterState>>,
}

struct MasterState {
    leads: Leads,
    agents: Vec<Value>,
    /// The `Authorization` without which it answers 401.
    wants: Option<String>,
}

/// What a master says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Leads {
    /// It was elected.
    Yes,
    /// It redirects to this one.
    Another(String),
    /// It knows no leader.
    Nobody,
}

impl Master {
    pub(crate) async fn start() -> Self {
        let state = MasterState { leads: Leads::Yes, agents: Vec::new(), wants: None };
        let state = Arc::new(Mutex::new(state));
        let seen = Arc::clone(&state);
        let fake = Fake::start(move |request| seen.lock().unwrap().answer(request)).await;
        Self { fake, state }
    }

    pub(crate) fn leads(&self, leads: Leads) {
        self.state.lock().unwrap().leads = leads;
    }

    /// From now on it lets in only who sends this `Authorization`.
    pub(crate) fn wants(&self, authorization: &str) {
        self.state.lock().unwrap().wants = Some(authorization.to_owned());
    }

    /// From now on these hosts have an agent each, at 10.0.0.1 and so on.
    pub(crate) fn lists(&self, hosts: &[&str]) {
        let agent = |(index, host): (usize, &&str)| {
            json!({
                "agent_info": {
                    "id": {"value": format!("agent-of-{host}")},
                    "hostname": host,
                    "port": 5051,
                    "attributes": [{"name": "rack", "type": "TEXT", "text": {"value": "r1"}}],
                },
                "active": true,
                "deactivated": false,
                "pid": format!("slave(1)@10.0.0.{}:5051", index + 1),
                "version": "1.11.0",
            })
        };
        self.state.lock().unwrap().agents = hosts.iter().enumerate().map(agent).collect();
    }
}

impl MasterState {
    fn answer(&self, request: &Request) -> Reply {
        if request.path != "/api/v1" {
            return Reply::text(404, "");
        }
        if self.wants.is_some() && self.wants != request.authorization {
            return Reply::text(401, "");
        }
        match &self.leads {
            Leads::Yes => {}
            Leads::Another(url) => {
                let location = Some(format!("{url}/api/v1"));
                return Reply { status: 307, body: String::new(), location };
            }
            Leads::Nobody => return Reply::text(503, "No leader elected"),
        }
        let call: Value = serde_json::from_str(&request.body).unwrap();
        match call["type"].as_str() {
            Some("GET_MASTER") => Reply::json(&json!({
                "type": "GET_MASTER",
                "get_master": {
                    "master_info": {"id": "m1", "hostname": "master1.lab", "version": "1.11.0"},
                    "start_time": 1_795_297_000.5, "elected_time": 1_795_297_011.25,
                },
            })),
            Some("GET_AGENTS") => Reply::json(&json!({
                "type": "GET_AGENTS",
                "get_agents": {"agents": self.agents, "recovered_agents": []},
            })),
            _ => Reply::text(400, "unknown call"),
        }
    }
}

/// An alert, by its labels.
pub(crate) type Labels = BTreeMap<String, String>;

pub(crate) fn labels<const N: usize>(labels: [(&str, &str); N]) -> Labels {
    labels.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The alert that takes `host` off.
pub(crate) fn check_failed(host: &str) -> Labels {
    labels([
        ("alertname", "HostCheckFailed"),
        ("check", "disk"),
        ("host", host),
        ("remediate", "host"),
    ])
}

/// An Alertmanager that has run for an hour and holds the Watchdog.
pub(crate) struct Alertmanager {
    pub(crate) fake: Fake,
    firing: Arc<Mutex<BTreeSet<Labels>>>,
}

impl Alertmanager {
    pub(crate) async fn start() -> Self {
        let watchdog = labels([("alertname", "Watchdog"), ("severity", "info")]);
        let firing = Arc::new(Mutex::new(BTreeSet::from([watchdog])));
        let seen = Arc::clone(&firing);
        let started = Timestamp::now() - Duration::from_secs(3600);
        let fake = Fake::start(move |request| match request.path.as_str() {
            "/api/v2/status" => Reply::json(&json!({
                "cluster": {"peers": [], "status": "disabled"},
                "uptime": started.to_string(),
                "versionInfo": {"version": "0.25.0"},
            })),
            "/api/v2/alerts" => {
                let firing = seen.lock().unwrap();
                Reply::json(&firing.iter().map(|labels| shown(labels, started)).collect())
            }
            _ => Reply::text(404, ""),
        })
        .await;
        Self { fake, firing }
    }

    pub(crate) fn fire(&self, alert: Labels) {
        self.firing.lock().unwrap().insert(alert);
    }

    /// The alert ends before it would have run out, as at a real resolution.
    pub(crate) fn end(&self, alert: &Labels) {
        assert!(self.firing.lock().unwrap().remove(alert), "it does not fire");
    }
}

/// Sent again just now, as if Prometheus were always on time.
fn shown(labels: &Labels, started: Timestamp) -> Value {
    let now = Timestamp::now();
    json!({
        "annotations": {"summary": "a test"},
        "fingerprint": format!("{:016x}", labels.len()),
        "labels": labels,
        "receivers": [{"name": "satellite"}],
        "startsAt": started.to_string(),
        "updatedAt": now.to_string(),
        "endsAt": (now + RESEND_DELAY * 4).to_string(),
        "status": {"state": "active", "silencedBy": [], "inhibitedBy": []},
    })
}

/// A Prometheus that scrapes every host with success until told otherwise.
pub(crate) struct Prometheus {
    pub(crate) fake: Fake,
    state: Arc<Mutex<PrometheusState>>,
}

#[derive(Default)]
struct PrometheusState {
    up: BTreeMap<String, bool>,
    active: BTreeSet<Labels>,
}

impl Prometheus {
    pub(crate) async fn start() -> Self {
        let state = Arc::<Mutex<PrometheusState>>::default();
        let seen = Arc::clone(&state);
        let fake = Fake::start(move |request| {
            let state = seen.lock().unwrap();
            match request.path.split('?').next() {
                Some("/api/v1/query") => state.scrapes(),
                Some("/api/v1/rules") => state.rules(),
                _ => Reply::text(404, ""),
            }
        })
        .await;
        Self { fake, state }
    }

    fn state(&self) -> MutexGuard<'_, PrometheusState> {
        self.state.lock().unwrap()
    }

    pub(crate) fn scrapes(&self, host: &str, up: bool) {
        self.state().up.insert(host.to_owned(), up);
    }

    /// The alert fires in its rules.
    pub(crate) fn finds(&self, alert: Labels) {
        self.state().active.insert(alert);
    }

    pub(crate) fn finds_no_more(&self, alert: &Labels) {
        self.state().active.remove(alert);
    }
}

impl PrometheusState {
    /// The instant of the last scrape, negative where it failed, and an element
    /// without labels.
    fn scrapes(&self) -> Reply {
        let now = seconds(Timestamp::now());
        let mut result = vec![json!({"metric": {}, "value": [now, "0"]})];
        for (host, up) in &self.up {
            let value = format!("{}{now:.3}", if *up { "" } else { "-" });
            let metric = json!({"host": host, "job": "satellite-exporter"});
            result.push(json!({"metric": metric, "value": [now, value]}));
        }
        Reply::json(&json!({
            "status": "success",
            "data": {"resultType": "vector", "result": result},
        }))
    }

    fn rules(&self) -> Reply {
        let now = Timestamp::now().to_string();
        let alert = |labels: &Labels| {
            json!({
                "labels": labels, "annotations": {}, "state": "firing",
                "activeAt": now, "value": "0e+00",
            })
        };
        let rule = json!({
            "type": "alerting", "name": "HostCheckFailed", "query": "satellite_check_ok == 0",
            "labels": {"remediate": "host"}, "health": "ok", "lastEvaluation": now,
            "alerts": self.active.iter().map(alert).collect::<Vec<_>>(),
        });
        Reply::json(&json!({
            "status": "success",
            "data": {"groups": [{"name": "hosts", "interval": 1, "lastEvaluation": now, "rules": [rule]}]},
        }))
    }
}

fn seconds(instant: Timestamp) -> f64 {
    instant.as_duration().as_secs_f64()
}

/// Every peer of a remediator, by the name of its source.
pub(crate) struct Peers {
    pub(crate) master: Master,
    pub(crate) alertmanager: Alertmanager,
    pub(crate) prometheus: Prometheus,
}

impl Peers {
    pub(crate) async fn start() -> Self {
        Self {
            master: Master::start().await,
            alertmanager: Alertmanager::start().await,
            prometheus: Prometheus::start().await,
        }
    }

    /// The sources as the remediator names them, each with its server.
    pub(crate) fn sources(&self) -> [(String, &Fake); 3] {
        let named = |kind: &str, fake: &Fake| format!("{kind}/{}", fake.url());
        let (alertmanager, prometheus) = (&self.alertmanager.fake, &self.prometheus.fake);
        [
            ("mesos".to_owned(), &self.master.fake),
            (named("alertmanager", alertmanager), alertmanager),
            (named("prometheus", prometheus), prometheus),
        ]
    }

    pub(crate) fn all_are(&self, mood: Mood) {
        for (_, fake) in self.sources() {
            fake.is(mood);
        }
    }
}
