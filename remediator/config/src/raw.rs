//! The configuration file as it is written: every key that the remediator knows,
//! all of them optional, each value in its type.
//!
//! Also here are the keys of what this version cannot do yet: whoever writes one
//! is told so, and not that it does not exist. An element of a list is `None`
//! where something was wrong with it as a whole, which has been complained of.
//! What only later versions act upon is private: it is parsed, and that is all.

use std::{collections::BTreeMap, net::SocketAddr, path::PathBuf, time::Duration};

use satellite_core::{
    matcher::{Matcher, MatcherSet},
    policy::Share,
};
use serde::Deserialize;
use url::Url;

use super::value::{Floor, Text, Whole};

pub(super) type Wait = Text<Duration>;
pub(super) type List<T> = Vec<Option<T>>;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Raw {
    pub(super) listen: Option<Text<SocketAddr>>,
    pub(super) web_config_file: Option<PathBuf>,
    pub(super) tokens_file: Option<PathBuf>,
    pub(super) cluster: Option<String>,
    pub(super) store: Option<Store>,
    pub(super) mesos: Option<Mesos>,
    pub(super) alertmanagers: Option<List<Text<Url>>>,
    pub(super) prometheus: Option<List<Text<Url>>>,
    pub(super) resend_delay: Option<Wait>,
    pub(super) reconcile_interval: Option<Wait>,
    pub(super) exporter_port: Option<Whole<u16>>,
    pub(super) whitelist: Option<Whitelist>,
    pub(super) policy: Option<Policy>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Store {
    pub(super) embedded: Option<Embedded>,
    pub(super) zookeeper: Option<ZooKeeper>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Embedded {
    pub(super) path: Option<PathBuf>,
    pub(super) single_writer: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ZooKeeper {
    pub(super) servers: Option<List<String>>,
    pub(super) root: Option<String>,
    pub(super) session_timeout: Option<Wait>,
    pub(super) auth_file: Option<PathBuf>,
    pub(super) journal_path: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Mesos {
    pub(super) masters: Option<List<Text<Url>>>,
    pub(super) credentials_file: Option<PathBuf>,
    pub(super) tls: Option<Tls>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Tls {
    pub(super) ca_file: Option<PathBuf>,
    pub(super) cert_file: Option<PathBuf>,
    pub(super) key_file: Option<PathBuf>,
    pub(super) insecure_skip_verify: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Whitelist {
    pub(super) file: Option<PathBuf>,
    pub(super) merge_interval: Option<Wait>,
    pub(super) new_hosts: Option<NewHosts>,
    pub(super) min_hosts: Option<Floor>,
    pub(super) retire_after: Option<Wait>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum NewHosts {
    On,
    Off,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Policy {
    pub(super) dry_run: Option<bool>,
    pub(super) host_label: Option<String>,
    pub(super) watchdogs: Option<List<Text<MatcherSet>>>,
    pub(super) clear_for: Option<Wait>,
    pub(super) budget: Option<Budget>,
    pub(super) storm: Option<Storm>,
    pub(super) relapse: Option<Relapse>,
    pub(super) manual_rescind: Option<bool>,
    pub(super) drain: Option<Drain>,
    pub(super) limits: Option<List<Limit>>,
    pub(super) stateful: Option<BTreeMap<String, Stateful>>,
    pub(super) rules: Option<List<Rule>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Budget {
    pub(super) max_off: Option<MaxOff>,
    pub(super) max_off_per_hour: Option<Whole<usize>>,
    pub(super) per_attribute: Option<BTreeMap<String, Whole<usize>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct MaxOff {
    pub(super) count: Option<Whole<usize>>,
    pub(super) share: Option<Text<Share>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Storm {
    pub(super) threshold: Option<Text<Share>>,
    pub(super) within: Option<Wait>,
    pub(super) calm: Option<Wait>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Relapse {
    pub(super) double_up_to: Option<Wait>,
    pub(super) give_up_after: Option<Whole<usize>>,
    pub(super) within: Option<Wait>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Drain {
    grace: Option<Wait>,
    deadline: Option<Wait>,
    on_deadline: Option<OnDeadline>,
    mechanism: Option<Mechanism>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum OnDeadline {
    Wait,
    GiveBack,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Mechanism {
    Auto,
    Drain,
    Maintenance,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Limit {
    framework: Option<String>,
    role: Option<String>,
    constraints: Option<List<List<serde_yaml::Value>>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Stateful {
    Drain,
    OffOnly,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Rule {
    pub(super) name: Option<String>,
    pub(super) matchers: Option<List<Text<Matcher>>>,
    pub(super) action: Option<Action>,
    #[serde(rename = "for")]
    pub(super) fires_for: Option<Wait>,
    pub(super) min_off: Option<Wait>,
    pub(super) max_hold: Option<Wait>,
    pub(super) rescind: Option<bool>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Action {
    Off,
    Drain,
    Hold,
}
