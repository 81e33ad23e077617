//! What is legal and unwise: no reason to refuse a file, and worth a sentence to
//! whoever wrote it.
//!
//! Only what the file alone shows. Whether a budget suits the cluster depends on
//! how many hosts there are, which the file does not say; so only a share that is
//! nothing for more than a handful of them is mentioned.

use std::time::Duration;

use satellite_core::{
    Policy,
    policy::{Action, MaxOff},
};

use super::{Complaints, Config};

/// Fewer hosts are a trial, and 20 %, the default, is none of them.
const A_HANDFUL: usize = 5;

/// No cluster has more; a share that is nothing of so many is nothing.
const EVERY_CLUSTER: usize = 1_000_000;

/// What Prometheus repeats a firing alert after, unless told by
/// `--rules.alert.resend-delay`.
const PROMETHEUS_RESEND_DELAY: Duration = Duration::from_secs(60);

/// Everything that is unwise about a configuration that is in order.
pub(super) fn advise(config: &Config) -> Complaints {
    let mut advice = Complaints::default();
    if config.alertmanagers.len() == 1 {
        let say = "there is one only: while it is away no host is taken off or given back. Two, \
                   clustered, and both listed, outlive one of them";
        advice.add("alertmanagers", say);
    }
    advise_on_clocks(&config.policy, &mut advice);
    advise_on_watchdogs(config, &mut advice);
    advise_on_budget(config.policy.max_off, &mut advice);
    if config.policy.relapse.give_up_after == 0 {
        let say = "is 0: no host that automation takes off ever returns by itself";
        advice.add("policy.relapse.give_up_after", say);
    }
    for (index, rule) in config.policy.rules.iter().enumerate() {
        if matches!(rule.action, Action::Off { min_off: Duration::ZERO, .. }) {
            let say = "is 0s: a host whose alert comes and goes is put on and off all the time";
            advice.add(format!("policy.rules[{index}].min_off"), say);
        }
    }
    advice
}

fn advise_on_clocks(policy: &Policy, advice: &mut Complaints) {
    if policy.resend_delay < PROMETHEUS_RESEND_DELAY {
        let say = "is less than 1m, after which Prometheus repeats an alert unless its flag \
                   --rules.alert.resend-delay says less: an alert that is late would count as gone";
        advice.add("resend_delay", say);
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
