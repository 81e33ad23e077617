//! A Prometheus whose alerts a test sets. It tells them to the Alertmanagers as
//! the real one does, and to whoever asks for its rules.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use satellite_tests::http;
use serde_json::{Value, json};

use crate::server::{Reply, Server};

/// An alert is sent with an end so far ahead: four of the remediator's
/// `resend_delay`, as Prometheus does.
pub(crate) const EXPIRY: Duration = Duration::from_secs(8);

/// How often everything is sent again.
const RESEND: Duration = Duration::from_secs(1);

pub(crate) type Labels = BTreeMap<String, String>;

/// The alert that takes `host` off.
pub(crate) fn check_failed(host: &str) -> Labels {
    let labels = [("alertname", "HostCheckFailed"), ("host", host), ("remediate", "host")];
    labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

/// It lives until it is dropped.
pub(crate) struct Prometheus {
    state: Arc<Mutex<State>>,
    server: Server,
    sender: Option<(Sender<()>, JoinHandle<()>)>,
}

#[derive(Default)]
struct State {
    dead: bool,
    alertmanagers: Vec<String>,
    /// The Alertmanagers that nothing reaches.
    cut_off: BTreeSet<String>,
    hosts: Vec<String>,
    /// Since when.
    firing: BTreeMap<Labels, Timestamp>,
    /// From when to when.
    resolved: BTreeMap<Labels, (Timestamp, Timestamp)>,
}

impl Prometheus {
    /// It scrapes `hosts`, all of them with success.
    pub(crate) fn start(ip: Ipv4Addr, hosts: &[&str]) -> Result<Self> {
        let hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
        let watchdog = Labels::from([("alertname".to_owned(), "Watchdog".to_owned())]);
        let firing = BTreeMap::from([(watchdog, Timestamp::now())]);
        let state = Arc::new(Mutex::new(State { hosts, firing, ..State::default() }));
        let asked = Arc::clone(&state);
        let server = Server::start(ip, move |request| lock(&asked).answer(&request.path))?;
        let sent = Arc::clone(&state);
        let (stop, stopped) = channel();
        let thread = std::thread::spawn(move || {
            while stopped.recv_timeout(RESEND) == Err(RecvTimeoutError::Timeout) {
                lock(&sent).send();
            }
        });
        Ok(Self { state, server, sender: Some((stop, thread)) })
    }

    pub(crate) fn url(&self) -> String {
        self.server.url()
    }

    /// Whom it sends to.
    pub(crate) fn alerts_to(&self, alertmanagers: Vec<String>) {
        let mut state = lock(&self.state);
        state.alertmanagers = alertmanagers;
        state.send();
    }

    /// The alerts fire from now on.
    pub(crate) fn fire(&self, alerts: &[Labels]) {
        let now = Timestamp::now();
        for alert in alerts {
            self.fire_since(alert, now);
        }
        lock(&self.state).send();
    }

    /// The alert fires, and has done so since `since`.
    pub(crate) fn fire_since(&self, alert: &Labels, since: Timestamp) {
        let mut state = lock(&self.state);
        state.resolved.remove(alert);
        state.firing.insert(alert.clone(), since);
    }

    /// The alert is over, which is told.
    pub(crate) fn resolve(&self, alert: &Labels) {
        let mut state = lock(&self.state);
        if let Some(since) = state.firing.remove(alert) {
            state.resolved.insert(alert.clone(), (since, Timestamp::now()));
        }
        state.send();
    }

    /// The alert is over, which nobody is told.
    pub(crate) fn forget(&self, alert: &Labels) {
        lock(&self.state).firing.remove(alert);
    }

    /// The time for which it repeats the ends of alerts is over.
    pub(crate) fn repeat_no_ends(&self) {
        lock(&self.state).resolved.clear();
    }

    /// It sends and answers nothing any more.
    pub(crate) fn die(&self) {
        lock(&self.state).dead = true;
    }

    /// It is there again, with the alerts that it had.
    pub(crate) fn revive(&self) {
        let mut state = lock(&self.state);
        state.dead = false;
        state.send();
    }

    /// From now on nothing reaches this Alertmanager.
    pub(crate) fn lose(&self, alertmanager: &str) {
        lock(&self.state).cut_off.insert(alertmanager.to_owned());
    }

    /// Everything is reached again.
    pub(crate) fn lose_none(&self) {
        let mut state = lock(&self.state);
        state.cut_off.clear();
        state.send();
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.sender.take() {
            drop(stop);
            thread.join().ok();
        }
    }
}

impl State {
    /// The lock is held meanwhile, so that nothing older arrives after it.
    fn send(&self) {
        if self.dead {
            return;
        }
        let told = |labels: &Labels, from: Timestamp, to: Timestamp| {
            json!({
                "labels": labels, "annotations": {},
                "startsAt": from.to_string(), "endsAt": to.to_string(),
            })
        };
        let end = Timestamp::now() + EXPIRY;
        let firing = self.firing.iter().map(|(labels, from)| told(labels, *from, end));
        let resolved = self.resolved.iter().map(|(labels, (from, to))| told(labels, *from, *to));
        let alerts: Value = firing.chain(resolved).collect();
        for url in self.alertmanagers.iter().filter(|url| !self.cut_off.contains(*url)) {
            // One that is down is told when it is there again, as by the real one.
            http::post(&format!("{url}/api/v2/alerts"), &alerts).ok();
        }
    }

    fn answer(&self, path: &str) -> Reply {
        if self.dead {
            return (503, String::new());
        }
        let data = match path {
            "/api/v1/query" => self.scrapes(),
            "/api/v1/rules" => self.rules(),
            _ => return (404, String::new()),
        };
        (200, json!({ "status": "success", "data": data }).to_string())
    }

    /// For each host the instant of its last scrape, positive for a good one, and
    /// an element without labels.
    fn scrapes(&self) -> Value {
        let now = Timestamp::now().as_duration().as_secs_f64();
        let mut result = vec![json!({ "metric": {}, "value": [now, "0"] })];
        result.extend(self.hosts.iter().map(|host| {
            let metric = json!({ "host": host, "job": "satellite-exporter" });
            json!({ "metric": metric, "value": [now, format!("{now:.3}")] })
        }));
        json!({ "resultType": "vector", "result": result })
    }

    fn rules(&self) -> Value {
        let now = Timestamp::now().to_string();
        let alerts = self.firing.iter().filter(|(labels, _)| labels.contains_key("host"));
        let alerts: Vec<Value> = alerts
            .map(|(labels, since)| {
                json!({
                    "labels": labels, "annotations": {}, "state": "firing",
                    "activeAt": since.to_string(), "value": "0e+00",
                })
            })
            .collect();
        json!({ "groups": [{ "name": "hosts", "interval": 1, "lastEvaluation": now, "rules": [{
            "type": "alerting", "name": "HostCheckFailed", "query": "satellite_check_ok == 0",
            "labels": { "remediate": "host" }, "health": "ok", "lastEvaluation": now,
            "alerts": alerts,
        }] }] })
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("no holder of this lock panics")
}
