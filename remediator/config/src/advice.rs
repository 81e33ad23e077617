//! What is legal and unwise: no reason to refuse a file, and worth a sentence to
//! whoever wrote it.
//!
//! Only what the file alone shows. Whether a budget suits the cluster depends on
//! how many hosts there are, which the file does not say; so only a share that is
//! nothing for more than a handful of them is mentioned.

use std::time::Duration;

use satellite_core::{
    Policy,
    plan::longest_gap,
    policy::{Action, MaxOff, MinHosts, REMEDIATE_LABEL, Rule, Share},
};

use super::{Complaints, Config};

/// Fewer hosts are a trial, and 20 %, the default, is none of them.
const A_HANDFUL: usize = 5;

/// No cluster has more; a share that is nothing of so many is nothing.
const EVERY_CLUSTER: usize = 1_000_000;

/// What Prometheus repeats a firing alert after, unless told by
/// `--rules.alert.resend-delay`.
const PROMETHEUS_RESEND_DELAY: Duration = Duration::from_secs(60);

/// A host that is lost over a night is still one of the cluster, and an alert that has
/// to wait, or to be gone, for longer is one that nobody waits for.
const A_DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Everything that is unwise about a configuration that is in order.
pub(super) fn advise(config: &Config) -> Complaints {
    let mut advice = Complaints::default();
    if config.alertmanagers.len() == 1 {
        let say = "there is one only: while it is away no host is taken off or given back. Two, \
                   clustered, and both listed, outlive one of them";
        advice.add("alertmanagers", say);
    }
    if config.access.insecure_skip_verify {
        let say = "is true: whoever gets in between the remediator and a master reads the \
                   credentials, and says which hosts there are";
        advice.add("mesos.tls.insecure_skip_verify", say);
    }
    advise_on_clocks(config, &mut advice);
    advise_on_watchdogs(config, &mut advice);
    advise_on_budget(config.policy.max_off, &mut advice);
    advise_on_nobody(&config.policy, &mut advice);
    advise_on_storm(config, &mut advice);
    advise_on_rules(&config.policy, &mut advice);
    if config.policy.retire_after < A_DAY {
        let say = "is less than 1d: a host that is under repair over night is forgotten, and back \
                   as a new one";
        advice.add("whitelist.retire_after", say);
    }
    if config.policy.relapse.give_up_after == 0 {
        let say = "is 0: no host that automation takes off ever returns by itself";
        advice.add("policy.relapse.give_up_after", say);
    }
    advice
}

/// Where nobody is ever taken off.
fn advise_on_nobody(policy: &Policy, advice: &mut Complaints) {
    let say = "is 0: nobody is ever taken off";
    if policy.max_off_per_hour == 0 {
        advice.add("policy.budget.max_off_per_hour", say);
    }
    for (attribute, _) in policy.per_attribute.iter().filter(|(_, limit)| **limit == 0) {
        let say = "is 0: no host that has this attribute is ever taken off";
        advice.add(format!("policy.budget.per_attribute.{attribute}"), say);
    }
    if policy.min_hosts == MinHosts::Share(Share::ALL) {
        advice.add("whitelist.min_hosts", "is all of them: nobody is ever taken off");
    }
}

fn advise_on_storm(config: &Config, advice: &mut Complaints) {
    let storm = config.policy.storm;
    if storm.threshold == Share::ALL {
        let say = "is all hosts: what fells all of them but one makes no storm";
        advice.add("policy.storm.threshold", say);
    }
    if storm.within < config.reconcile_interval {
        let say = "is shorter than reconcile_interval: hosts that fall silent within it may be seen in two \
                   rounds, and make no storm";
        advice.add("policy.storm.within", say);
    }
}

fn advise_on_rules(policy: &Policy, advice: &mut Complaints) {
    if policy.rules.is_empty() {
        return advice.add("policy.rules", "are none: no alert does anything");
    }
    if !policy.rules.iter().any(|rule| matches!(rule.action, Action::Hold { .. })) {
        let say =
            "have none that holds: hosts are taken off from a cluster that is headless or full";
        advice.add("policy.rules", say);
    }
    for (index, rule) in policy.rules.iter().enumerate() {
        let key = format!("policy.rules[{index}]");
        let covers = |former: &&Rule| rule.matchers.includes(&former.matchers);
        if let Some(former) = policy.rules[..index].iter().find(covers) {
            let say = format!("never applies: {:?} before it takes all its alerts", former.name);
            advice.add(&key, say);
        }
        let Action::Off { fires_for, min_off } = rule.action else { continue };
        if !rule.matchers.mentions(REMEDIATE_LABEL) {
            let say = "do not ask for `remediate`: an alert that nobody has made for this takes \
                       hosts off";
            advice.add(format!("{key}.matchers"), say);
        }
        if fires_for > A_DAY {
            advice
                .add(format!("{key}.for"), "is longer than 1d: a sick host gets tasks for so long");
        }
        if min_off.is_zero() {
            let say = "is 0s: a host whose alert comes and goes is put on and off all the time";
            advice.add(format!("{key}.min_off"), say);
        }
    }
}

fn advise_on_clocks(config: &Config, advice: &mut Complaints) {
    let policy = &config.policy;
    if config.reconcile_interval >= longest_gap(policy) {
        let say = "is 2m or 3 resend_delay, or more: an alert may come and run out between two \
                   rounds, so that no host is ever given back";
        advice.add("reconcile_interval", say);
    }
    if policy.resend_delay < PROMETHEUS_RESEND_DELAY {
        let say = "is less than 1m, after which Prometheus repeats an alert unless its flag \
                   --rules.alert.resend-delay says less: an alert that is late would count as gone";
        advice.add("resend_delay", say);
    }
    if policy.clear_for > A_DAY {
        let say = "is longer than 1d: a host that is well gets no tasks for so long";
        advice.add("policy.clear_for", say);
    }
    if policy.clear_for < policy.resend_delay {
        let say = "is shorter than resend_delay: a host returns before its alert would have been \
                   repeated";
        advice.add("policy.clear_for", say);
    }
}

fn advise_on_watchdogs(config: &Config, advice: &mut Complaints) {
    let (watchdogs, prometheus) = (config.policy.watchdogs.len(), config.prometheus.len());
    if watchdogs < prometheus {
        advice.add(
            "policy.watchdogs",
            format!(
                "are fewer ({watchdogs}) than there are Prometheus ({prometheus}): one that is \
                 dead is not missed. Give each an external label and a matcher set with it"
            ),
        );
    }
}

fn advise_on_budget(max_off: MaxOff, advice: &mut Complaints) {
    // The limit never falls as the cluster grows, so that halving finds where it begins.
    let (mut none_of, mut some_of) = (0, EVERY_CLUSTER);
    if max_off.limit(some_of) == 0 {
        let say = "is none, however many hosts there are: nobody is ever taken off";
        return advice.add("policy.budget.max_off", say);
    }
    while some_of - none_of > 1 {
        let middle = usize::midpoint(none_of, some_of);
        if max_off.limit(middle) == 0 {
            none_of = middle;
        } else {
            some_of = middle;
        }
    }
    if some_of > A_HANDFUL {
        let say =
            format!("rounds to none for fewer than {some_of} hosts: nobody is taken off then");
        advice.add("policy.budget.max_off.share", say);
    }
}
