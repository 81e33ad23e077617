//! What stands between the Alertmanagers and the remediator's webhook: it lets
//! deliveries through, refuses them, or has two of them arrive at once, and
//! remembers each.

use std::net::Ipv4Addr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use anyhow::{Context, Result};
use satellite_tests::http;
use serde::Deserialize;

use crate::prometheus::Labels;
use crate::server::{Reply, Server};

/// How long one delivery waits for another to go with.
const COMPANY_WITHIN: Duration = Duration::from_secs(20);

/// What becomes of deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mood {
    /// They go to the remediator.
    Passes,
    /// 503, as from a remediator that cannot write.
    Refuses,
    /// They wait until both members of a pair have one, and go at once.
    Pairs,
}

/// A delivery, as far as the lab reads it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Delivery {
    /// Which Alertmanager it is from.
    #[serde(rename = "externalURL")]
    pub(crate) sender: String,
    pub(crate) truncated_alerts: u64,
    pub(crate) alerts: Vec<DeliveredAlert>,
    /// What was answered.
    #[serde(skip)]
    pub(crate) status: u16,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct DeliveredAlert {
    pub(crate) status: String,
    pub(crate) labels: Labels,
}

impl Delivery {
    /// Whether it says this of the host.
    pub(crate) fn says(&self, host: &str, status: &str) -> bool {
        let says = |it: &DeliveredAlert| it.labels["host"] == host && it.status == status;
        self.alerts.iter().any(says)
    }

    /// Whether the remediator took it.
    pub(crate) fn arrived(&self) -> bool {
        self.status == 200
    }
}

pub(crate) struct Gate {
    inner: Arc<Inner>,
    server: Server,
}

struct Inner {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    webhook: String,
    mood: Mood,
    /// The senders that wait for company.
    waiting: Vec<String>,
    seen: Vec<Delivery>,
}

impl Gate {
    /// `webhook` is where deliveries go.
    pub(crate) fn start(ip: Ipv4Addr, webhook: String) -> Result<Self> {
        let state = State { webhook, mood: Mood::Passes, waiting: Vec::new(), seen: Vec::new() };
        let inner = Arc::new(Inner { state: Mutex::new(state), changed: Condvar::new() });
        let asked = Arc::clone(&inner);
        let server = Server::start(ip, move |request| {
            asked.take(&request.body).unwrap_or_else(|error| (400, format!("{error:#}")))
        })?;
        Ok(Self { inner, server })
    }

    pub(crate) fn url(&self) -> String {
        format!("{}/webhook", self.server.url())
    }

    pub(crate) fn set(&self, mood: Mood) {
        self.inner.lock().mood = mood;
        self.inner.changed.notify_all();
    }

    /// Every delivery so far, in the order of the answers.
    pub(crate) fn seen(&self) -> Vec<Delivery> {
        self.inner.lock().seen.clone()
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }

    fn take(&self, body: &str) -> Result<Reply> {
        let mut delivery: Delivery = serde_json::from_str(body).context("read a delivery")?;
        // Not in the `match`, which would hold the lock to its end.
        let mood = self.lock().mood;
        let (status, said) = match mood {
            Mood::Refuses => (503, String::new()),
            Mood::Passes => self.forward(body)?,
            Mood::Pairs if self.has_company(&delivery.sender) => self.forward(body)?,
            Mood::Pairs => (503, String::new()),
        };
        delivery.status = status;
        self.lock().seen.push(delivery);
        Ok((status, said))
    }

    /// Waits until deliveries of two senders are here.
    fn has_company(&self, sender: &str) -> bool {
        let mut state = self.lock();
        if !state.waiting.iter().any(|it| it == sender) {
            state.waiting.push(sender.to_owned());
        }
        self.changed.notify_all();
        let alone = |state: &mut State| state.waiting.len() < 2 && state.mood == Mood::Pairs;
        let waited = self.changed.wait_timeout_while(state, COMPANY_WITHIN, alone);
        let (state, _) = waited.expect("no holder of this lock panics");
        state.waiting.len() >= 2
    }

    fn forward(&self, body: &str) -> Result<Reply> {
        let url = self.lock().webhook.clone();
        let request = http::client().post(&url).header("Content-Type", "application/json");
        let response = request.body(body.to_owned()).send().context("forward a delivery")?;
        let status = response.status().as_u16();
        Ok((status, response.text().context("read the remediator's answer")?))
    }
}
