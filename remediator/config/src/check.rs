//! What the values mean together: defaults, required keys, bounds, and what this
//! version cannot do yet.
//!
//! A function that returns `None` has said why among the complaints. Where a
//! value was unreadable and has been complained of, its default stands in, so
//! that the rest can still be judged; such a configuration is never used.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use satellite_core::{
    matcher::{MatcherSet, is_label_name},
    policy::{Action, MaxOff, MinHosts, NewHosts, Policy, RelapsePolicy, Rule, Share, StormPolicy},
};
use url::Url;

use super::{
    Access, Complaints, Config, Identity, NotInForce, WhitelistConfig,
    raw::{self, List, Raw, Wait},
    store::{Store, store},
    value::{Text, Whole, Written},
};

/// Why the listed keys are refused.
const UNSUPPORTED: &str = "not supported by this version yet";

/// A loop that runs more often would only burden its peers.
const MIN_INTERVAL: Duration = Duration::from_millis(100);
/// A loop that runs less often would be no reaction any more.
const MAX_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// Masters fail over and machines are rebooted: what is not listed for less is no host
/// that is gone for good, and all that is remembered of it would be forgotten.
const MIN_RETIRE_AFTER: Duration = Duration::from_secs(60 * 60);

const DEFAULT_LISTEN: ([u8; 4], u16) = ([127, 0, 0, 1], 5001);
const DEFAULT_CLUSTER: &str = "prod";
const DEFAULT_RESEND_DELAY: Duration = Duration::from_secs(60);
const DEFAULT_RECONCILE_INTERVAL: Duration = Duration::from_secs(15);
const DEFAULT_EXPORTER_PORT: u16 = 9105;
const DEFAULT_MERGE_INTERVAL: Duration = Duration::from_secs(10);
const DEFAULT_MIN_HOSTS: &str = "50%";
const DEFAULT_RETIRE_AFTER: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const DEFAULT_HOST_LABEL: &str = "host";
const DEFAULT_WATCHDOG: &str = r#"alertname="Watchdog""#;
const DEFAULT_CLEAR_FOR: Duration = Duration::from_secs(2 * 60);
const DEFAULT_MAX_OFF_COUNT: usize = 10;
const DEFAULT_MAX_OFF_SHARE: &str = "20%";
const DEFAULT_MAX_OFF_PER_HOUR: usize = 10;
const DEFAULT_STORM_THRESHOLD: &str = "30%";
const DEFAULT_STORM_WITHIN: Duration = Duration::from_secs(5 * 60);
const DEFAULT_STORM_CALM: Duration = Duration::from_secs(10 * 60);
/// Of both `relapse.within` and `relapse.double_up_to`.
const DEFAULT_RELAPSE_SPAN: Duration = Duration::from_secs(24 * 60 * 60);
const DEFAULT_GIVE_UP_AFTER: usize = 4;
const DEFAULT_MIN_OFF: Duration = Duration::from_secs(5 * 60);
const DEFAULT_MAX_HOLD_OF_TASKS_LOST: Duration = Duration::from_secs(10 * 60);

/// The whole configuration.
pub(super) fn config(raw: Raw, complaints: &mut Complaints) -> Option<Config> {
    refuse_files(&raw, complaints);
    let not_in_force = not_in_force(&raw);
    let mesos = raw.mesos.unwrap_or_default();
    let access = access(mesos.credentials_file, mesos.tls.unwrap_or_default(), complaints);
    let masters = urls("mesos.masters", mesos.masters, complaints);
    let store = store(raw.store, masters.as_deref(), complaints);
    let dry_run = raw.policy.as_ref().and_then(|policy| policy.dry_run) == Some(true);
    if dry_run && matches!(store, Some(Store::ZooKeeper(_))) {
        complaints.add(
            "policy.dry_run",
            "cannot be had with store.zookeeper yet: what is decided would be written there, for \
             every remediator that shares it; use store.embedded with a folder of its own for a \
             dry run, or write false",
        );
    }
    let whitelist = raw.whitelist.unwrap_or_default();
    let reconcile_interval = interval(
        "reconcile_interval",
        raw.reconcile_interval,
        DEFAULT_RECONCILE_INTERVAL,
        complaints,
    );
    let resend_delay =
        above_zero("resend_delay", raw.resend_delay, DEFAULT_RESEND_DELAY, complaints);
    let policy = policy(raw.policy.unwrap_or_default(), &whitelist, resend_delay, complaints);
    let whitelist = whitelist_file(whitelist, store.as_ref(), complaints);
    let alertmanagers = urls("alertmanagers", raw.alertmanagers, complaints);
    let prometheus = urls("prometheus", raw.prometheus, complaints);
    let exporter_port = exporter_port(raw.exporter_port, complaints);
    let listen = raw.listen.map_or_else(|| DEFAULT_LISTEN.into(), |Text(address)| address);
    if raw.web_config_file.is_none() {
        refuse_strangers(listen, complaints);
    }
    // Everything has been judged before the first `?` ends this.
    Some(Config {
        listen,
        web_config_file: raw.web_config_file,
        cluster: raw.cluster.unwrap_or_else(|| DEFAULT_CLUSTER.into()),
        store: store?,
        masters: masters?,
        access,
        alertmanagers: alertmanagers?,
        prometheus: prometheus?,
        reconcile_interval,
        exporter_port,
        whitelist: whitelist?,
        policy: policy?,
        not_in_force,
    })
}

fn unsupported(key: &str, instead: &str, complaints: &mut Complaints) {
    complaints.add(key, format!("{UNSUPPORTED}: {instead}; remove the key"));
}

fn refuse_files(raw: &Raw, complaints: &mut Complaints) {
    if raw.web_config_file.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
        complaints.add("web_config_file", "is empty; give a path or remove the key");
    }
    if raw.tokens_file.is_some() {
        let instead = "the users of web_config_file are operators, and without it everyone on \
                       loopback is";
        unsupported("tokens_file", instead, complaints);
    }
}

/// Without users, only this machine may reach it.
fn refuse_strangers(listen: SocketAddr, complaints: &mut Complaints) {
    if !listen.ip().to_canonical().is_loopback() {
        complaints.add(
            "listen",
            format!(
                "{listen} is not a loopback address, and without web_config_file there are no \
                 users: whoever reaches it may turn hosts off and on; name one with \
                 basic_auth_users, or listen on 127.0.0.1:{}",
                listen.port()
            ),
        );
    }
}

/// What is understood, in effect by its default even where it is not written,
/// and not acted upon.
fn not_in_force(raw: &Raw) -> Vec<NotInForce> {
    let policy = raw.policy.as_ref();
    let rules = policy.and_then(|policy| policy.rules.as_ref());
    // By default a rule that takes off rescinds, and the default rules have one.
    let rescinds = rules.is_none_or(|rules| {
        rules
            .iter()
            .flatten()
            .any(|rule| matches!(rule.action, Some(raw::Action::Off)) && rule.rescind.is_none())
    });
    let rescinds_by_hand = policy.and_then(|policy| policy.manual_rescind) != Some(false);
    let drains = policy.is_some_and(|policy| policy.drain.is_some());
    let items = [
        (
            rescinds,
            "policy.rules[].rescind",
            "the whitelist alone is used, so that offers which are already out stay usable",
        ),
        (
            rescinds_by_hand,
            "policy.manual_rescind",
            "the whitelist alone is used, so that offers which are already out stay usable",
        ),
        (drains, "policy.drain", "no host is drained"),
    ];
    let applies = items.into_iter().filter(|(applies, ..)| *applies);
    applies.map(|(_, key, why)| NotInForce { key, why }).collect()
}

fn access(credentials_file: Option<PathBuf>, raw: raw::Tls, complaints: &mut Complaints) -> Access {
    let raw::Tls { ca_file, cert_file, key_file, insecure_skip_verify } = raw;
    let paths = [
        ("mesos.credentials_file", &credentials_file),
        ("mesos.tls.ca_file", &ca_file),
        ("mesos.tls.cert_file", &cert_file),
        ("mesos.tls.key_file", &key_file),
    ];
    for (key, path) in paths {
        if path.as_ref().is_some_and(|path| path.as_os_str().is_empty()) {
            complaints.add(key, "is empty; give a path, or remove the key");
        }
    }
    let identity = match (cert_file, key_file) {
        (Some(cert_file), Some(key_file)) => Some(Identity { cert_file, key_file }),
        (None, None) => None,
        (Some(_), None) => {
            complaints.add("mesos.tls.cert_file", "wants key_file beside it");
            None
        }
        (None, Some(_)) => {
            complaints.add("mesos.tls.key_file", "wants cert_file beside it");
            None
        }
    };
    let insecure_skip_verify = insecure_skip_verify.unwrap_or(false);
    Access { credentials_file, ca_file, identity, insecure_skip_verify }
}

fn required_path(key: &str, path: Option<PathBuf>, complaints: &mut Complaints) -> Option<PathBuf> {
    let path = path.filter(|path| !path.as_os_str().is_empty());
    if path.is_none() && !complaints.has(key) {
        complaints.add(key, "is required; give a path");
    }
    path
}

fn whitelist_file(
    raw: raw::Whitelist,
    store: Option<&Store>,
    complaints: &mut Complaints,
) -> Option<WhitelistConfig> {
    let merge_interval = interval(
        "whitelist.merge_interval",
        raw.merge_interval,
        DEFAULT_MERGE_INTERVAL,
        complaints,
    );
    let file = required_path("whitelist.file", raw.file, complaints)?;
    if !file.is_absolute() {
        let say = "must be an absolute path, the same that the masters' --whitelist names";
        complaints.add("whitelist.file", say);
    } else if !names_a_file(&file) {
        complaints.add("whitelist.file", "names a folder; name the file in it");
    } else if store.is_some_and(|store| store.keeps(&file)) {
        let say = "is a file that the store itself keeps; give it a name of its own";
        complaints.add("whitelist.file", say);
    }
    Some(WhitelistConfig { file, merge_interval })
}

fn names_a_file(path: &Path) -> bool {
    path.file_name().is_some() && !path.to_string_lossy().ends_with('/')
}

/// A list of servers: at least one, each once.
fn urls(key: &str, raw: Option<List<Text<Url>>>, complaints: &mut Complaints) -> Option<Vec<Url>> {
    let raw = raw.unwrap_or_default();
    if raw.is_empty() && !complaints.has(key) {
        complaints.add(key, "is required; list at least one URL such as \"http://10.0.0.1:5050\"");
        return None;
    }
    let mut urls = Vec::new();
    for (index, url) in raw.into_iter().enumerate() {
        let Some(Text(url)) = url else { continue };
        if urls.iter().any(|it| base(it) == base(&url)) {
            complaints.add(format!("{key}[{index}]"), "is listed twice; keep one");
        }
        urls.push(url);
    }
    Some(urls)
}

/// A server is the same with and without a slash at its end.
fn base(url: &Url) -> &str {
    url.as_str().trim_end_matches('/')
}

fn interval(
    key: &str,
    raw: Option<Wait>,
    default: Duration,
    complaints: &mut Complaints,
) -> Duration {
    let wait = raw.map_or(default, |Text(wait)| wait);
    if !(MIN_INTERVAL..=MAX_INTERVAL).contains(&wait) {
        complaints.add(key, "must be from 100ms to 5m");
    }
    wait
}

fn above_zero(
    key: &str,
    raw: Option<Wait>,
    default: Duration,
    complaints: &mut Complaints,
) -> Duration {
    let wait = raw.map_or(default, |Text(wait)| wait);
    if wait.is_zero() {
        complaints.add(key, "must be longer than 0s");
    }
    wait
}

fn count(raw: Option<Whole<usize>>, default: usize) -> usize {
    raw.map_or(default, |Whole(count)| count)
}

fn exporter_port(raw: Option<Whole<u16>>, complaints: &mut Complaints) -> u16 {
    let port = raw.map_or(DEFAULT_EXPORTER_PORT, |Whole(port)| port);
    if port == 0 {
        complaints.add("exporter_port", "must be the port that the exporters listen on, not 0");
    }
    port
}

fn policy(
    raw: raw::Policy,
    whitelist: &raw::Whitelist,
    resend_delay: Duration,
    complaints: &mut Complaints,
) -> Option<Policy> {
    refuse_policy(&raw, complaints);
    let host_label = raw.host_label.unwrap_or_else(|| DEFAULT_HOST_LABEL.into());
    if !is_label_name(&host_label) {
        let say =
            format!("{host_label:?} is not a label name: letters, digits and `_`, no digit first");
        complaints.add("policy.host_label", say);
    }
    let watchdogs = watchdogs(raw.watchdogs, complaints);
    let rules = raw.rules.map_or_else(|| Some(default_rules()), |raw| rules(raw, complaints));
    let budget = raw.budget.unwrap_or_default();
    let max_off = budget.max_off.unwrap_or_default();
    let default_share = || Share::read(DEFAULT_MAX_OFF_SHARE).expect("the default is a share");
    let default_floor =
        || MinHosts::Share(Share::read(DEFAULT_MIN_HOSTS).expect("the default is a share"));
    let new_hosts = match whitelist.new_hosts {
        None | Some(raw::NewHosts::On) => NewHosts::On,
        Some(raw::NewHosts::Off) => NewHosts::Off,
    };
    let retire_after = whitelist.retire_after.as_ref();
    let retire_after = retire_after.map_or(DEFAULT_RETIRE_AFTER, |Text(wait)| *wait);
    if retire_after < MIN_RETIRE_AFTER {
        let say = "must be 1h or longer: a host that is not listed for so long is forgotten, with \
                   all that was known of it";
        complaints.add("whitelist.retire_after", say);
    }
    Some(Policy {
        host_label,
        watchdogs,
        clear_for: raw.clear_for.map_or(DEFAULT_CLEAR_FOR, |Text(wait)| wait),
        resend_delay,
        max_off: MaxOff {
            count: count(max_off.count, DEFAULT_MAX_OFF_COUNT),
            share: max_off.share.map_or_else(default_share, |Text(share)| share),
        },
        dry_run: raw.dry_run.unwrap_or(false),
        per_attribute: budget
            .per_attribute
            .unwrap_or_default()
            .into_iter()
            .map(|(attribute, Whole(limit))| (attribute, limit))
            .collect(),
        max_off_per_hour: count(budget.max_off_per_hour, DEFAULT_MAX_OFF_PER_HOUR),
        min_hosts: whitelist.min_hosts.as_ref().map_or_else(default_floor, |floor| floor.0),
        new_hosts,
        retire_after,
        storm: storm(raw.storm.unwrap_or_default(), complaints),
        relapse: relapse(raw.relapse.unwrap_or_default()),
        rules: rules?,
    })
}

fn storm(raw: raw::Storm, complaints: &mut Complaints) -> StormPolicy {
    let default = || Share::read(DEFAULT_STORM_THRESHOLD).expect("the default is a share");
    StormPolicy {
        threshold: raw.threshold.map_or_else(default, |Text(share)| share),
        within: above_zero("policy.storm.within", raw.within, DEFAULT_STORM_WITHIN, complaints),
        calm: raw.calm.map_or(DEFAULT_STORM_CALM, |Text(wait)| wait),
    }
}

fn relapse(raw: raw::Relapse) -> RelapsePolicy {
    RelapsePolicy {
        double_up_to: raw.double_up_to.map_or(DEFAULT_RELAPSE_SPAN, |Text(wait)| wait),
        give_up_after: count(raw.give_up_after, DEFAULT_GIVE_UP_AFTER),
        within: raw.within.map_or(DEFAULT_RELAPSE_SPAN, |Text(wait)| wait),
    }
}

fn refuse_policy(raw: &raw::Policy, complaints: &mut Complaints) {
    if raw.limits.as_ref().is_some_and(|limits| !limits.is_empty()) {
        unsupported("policy.limits", "no limit per framework or role is kept", complaints);
    }
    if raw.stateful.as_ref().is_some_and(|stateful| !stateful.is_empty()) {
        unsupported("policy.stateful", "no host is drained", complaints);
    }
}

fn watchdogs(raw: Option<List<Text<MatcherSet>>>, complaints: &mut Complaints) -> Vec<MatcherSet> {
    let Some(raw) = raw else {
        return vec![MatcherSet::read(DEFAULT_WATCHDOG).expect("the default is a matcher")];
    };
    if raw.is_empty() {
        complaints.add(
            "policy.watchdogs",
            "is empty; without an alert that always fires nothing tells a healed host from a \
             dead Prometheus. Give one matcher set for each Prometheus",
        );
    }
    let mut watchdogs: Vec<MatcherSet> = Vec::new();
    for (index, watchdog) in raw.into_iter().enumerate() {
        let Some(Text(watchdog)) = watchdog else { continue };
        if watchdogs.iter().any(|it| it.to_string() == watchdog.to_string()) {
            let say = "is listed twice, and one Prometheus that is dead would not be missed; give \
                       each an external label and a matcher set with it";
            complaints.add(format!("policy.watchdogs[{index}]"), say);
        }
        watchdogs.push(watchdog);
    }
    watchdogs
}

/// The rules that apply where none are written.
fn default_rules() -> Vec<Rule> {
    let rule = |name: &str, matchers: &str, action| Rule {
        name: name.into(),
        matchers: MatcherSet::read(matchers).expect("the default matchers are valid"),
        action,
    };
    let off = Action::Off { fires_for: Duration::ZERO, min_off: DEFAULT_MIN_OFF };
    let while_tasks_are_lost = Action::Hold { max_hold: Some(DEFAULT_MAX_HOLD_OF_TASKS_LOST) };
    vec![
        rule("host-check", r#"remediate="host""#, off),
        rule("tasks-lost", r#"remediate="cluster",alertname="TasksLost""#, while_tasks_are_lost),
        rule("cluster-in-trouble", r#"remediate="cluster""#, Action::Hold { max_hold: None }),
    ]
}

fn rules(raw: List<raw::Rule>, complaints: &mut Complaints) -> Option<Vec<Rule>> {
    let mut first_of_name = BTreeMap::new();
    let rules = raw.into_iter().enumerate().filter_map(|(index, raw)| Some((index, raw?)));
    let rules: Vec<Option<Rule>> = rules
        .map(|(index, raw)| {
            if let Some(name) = raw.name.clone().filter(|name| !name.is_empty())
                && let Some(first) = first_of_name.insert(name, index)
            {
                let say = format!("policy.rules[{first}] has this name too; each needs its own");
                complaints.add(format!("policy.rules[{index}].name"), say);
            }
            rule(&format!("policy.rules[{index}]"), raw, complaints)
        })
        .collect();
    rules.into_iter().collect()
}

fn rule(key: &str, raw: raw::Rule, complaints: &mut Complaints) -> Option<Rule> {
    let of = |field: &str| format!("{key}.{field}");
    let action = action(key, &raw, complaints);
    let raw::Rule { name, matchers, .. } = raw;
    let name = name.filter(|name| !name.trim().is_empty());
    if name.is_none() && !complaints.has(&of("name")) {
        complaints.add(of("name"), "is required; give the rule a name of its own");
    }
    let matchers: Vec<_> = matchers.into_iter().flatten().flatten().map(|Text(it)| it).collect();
    let matchers = MatcherSet::new(matchers);
    if matchers.is_err() && !complaints.has(&of("matchers")) {
        let say = "is required; without a matcher the rule would match every alert";
        complaints.add(of("matchers"), say);
    }
    Some(Rule { name: name?, matchers: matchers.ok()?, action: action? })
}

fn action(key: &str, raw: &raw::Rule, complaints: &mut Complaints) -> Option<Action> {
    let of = |field: &str| format!("{key}.{field}");
    let wait = |raw: &Option<Wait>| raw.as_ref().map(|Text(wait)| *wait);
    match raw.action {
        None => {
            if !complaints.has(&of("action")) {
                complaints.add(of("action"), "is required; write \"off\" or hold");
            }
            None
        }
        Some(raw::Action::Hold) => {
            let misplaced = [
                ("for", raw.fires_for.is_some()),
                ("min_off", raw.min_off.is_some()),
                ("rescind", raw.rescind.is_some()),
            ];
            for (field, _) in misplaced.iter().filter(|(_, is_set)| *is_set) {
                let say = "means nothing to a rule that holds; remove the key";
                complaints.add(of(field), say);
            }
            Some(Action::Hold { max_hold: wait(&raw.max_hold) })
        }
        Some(action @ (raw::Action::Off | raw::Action::Drain)) => {
            if matches!(action, raw::Action::Drain) {
                let say = format!("{UNSUPPORTED}: no task is moved; write action: \"off\"");
                complaints.add(of("action"), say);
            }
            if raw.max_hold.is_some() {
                let say = "means nothing to a rule that takes a host off; remove the key";
                complaints.add(of("max_hold"), say);
            }
            if raw.rescind == Some(true) {
                let say = format!("{UNSUPPORTED}: the whitelist alone is used; remove the key");
                complaints.add(of("rescind"), say);
            }
            Some(Action::Off {
                fires_for: wait(&raw.fires_for).unwrap_or(Duration::ZERO),
                min_off: wait(&raw.min_off).unwrap_or(DEFAULT_MIN_OFF),
            })
        }
    }
}
