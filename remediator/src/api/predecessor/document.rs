//! A host as the predecessor showed it.
//!
//! Its four keys, and `state`, which says what follows from the two flags. What is
//! known beyond that is at `/api/v1/hosts/{host}`: a list of thousands of hosts is not
//! made ten times as large for clients that would not know what to do with it.

use std::collections::BTreeMap;

use satellite_core::{
    Cause, HostDocument, HostName, Verdict, document::ManualEvent, explain::explain_cause,
};
use serde::Serialize;

/// One host.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Listed {
    state: Verdict,
    managed_events: BTreeMap<String, ManagedEvent>,
    manual_events: BTreeMap<String, ManualEvent>,
    /// What automation says: never null here, since every host has a default.
    managed_flag: Verdict,
    /// What people say; null: nothing.
    manual_flag: Option<Verdict>,
}

/// Why automation holds a host off. Where nothing does there is none.
#[derive(Serialize)]
struct ManagedEvent {
    host: HostName,
    service: String,
    state: &'static str,
    /// Seconds since 1970.
    time: f64,
    description: String,
}

impl Listed {
    pub(super) fn of(host: &HostName, document: &HostDocument) -> Self {
        let managed = document.causes.iter().map(|cause| {
            let event = ManagedEvent::of(host, cause);
            (event.service.clone(), event)
        });
        Self {
            state: document.verdict(),
            managed_events: managed.collect(),
            manual_events: document.manual_events.clone(),
            managed_flag: document.automatic_verdict(),
            manual_flag: document.ruling_event().map(|(_, event)| event.state),
        }
    }
}

impl ManagedEvent {
    fn of(host: &HostName, cause: &Cause) -> Self {
        let (service, since) = match cause {
            // A host has one cause of each rule and alert name.
            Cause::Alert { rule, since, evidence } => {
                (format!("{rule}/{}", evidence.alertname), since)
            }
            Cause::Imported { since } => ("imported".to_owned(), since),
        };
        Self {
            host: host.clone(),
            service,
            state: "critical",
            time: since.as_duration().as_secs_f64(),
            description: explain_cause(cause),
        }
    }
}
