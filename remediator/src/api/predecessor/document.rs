//! A host as the predecessor showed it.
//!
//! Its four keys, and `state`, which says what follows from the two flags. What is
//! known beyond that is at `/api/v1/hosts/{host}`: a list of thousands of hosts is not
//! made ten times as large for clients that would not know what to do with it.

use std::collections::BTreeMap;

use satellite_core::{
    HostDocument, HostName, Verdict,
    document::ManualEvent,
    predecessor::{ManagedEvent, managed_events},
};
use serde::Serialize;

/// One host.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Listed {
    state: Verdict,
    managed_events: BTreeMap<String, Told>,
    manual_events: BTreeMap<String, ManualEvent>,
    /// What automation says: never null here, since every host has a default.
    managed_flag: Verdict,
    /// What people say; null: nothing.
    manual_flag: Option<Verdict>,
}

/// Why automation holds a host off. Where nothing does there is none.
#[derive(Serialize)]
struct Told {
    host: HostName,
    #[serde(flatten)]
    event: ManagedEvent,
}

impl Listed {
    pub(super) fn of(host: &HostName, document: &HostDocument) -> Self {
        let managed = managed_events(&document.causes).into_iter();
        let managed = managed.map(|(service, event)| (service, Told { host: host.clone(), event }));
        Self {
            state: document.verdict(),
            managed_events: managed.collect(),
            manual_events: document.manual_events.clone(),
            managed_flag: document.automatic_verdict(),
            manual_flag: document.ruling_event().map(|(_, event)| event.state),
        }
    }
}
