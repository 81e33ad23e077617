//! What the operator wants: rules, budget, waits.
//!
//! Everything is parsed, checked and complete: defaults are filled in before a
//! [`Policy`] exists, so that no decision has to know them.

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use crate::{
    document::Verdict,
    matcher::{Labels, MatcherSet},
};

/// The label that marks an alert as one that Satellite may act upon.
pub const REMEDIATE_LABEL: &str = "remediate";

/// Whether the labels say that Satellite may act upon the alert.
#[must_use]
pub fn is_remediated(labels: &Labels) -> bool {
    labels.get(REMEDIATE_LABEL).is_some_and(|value| !value.is_empty())
}

/// The whole of what the operator wants.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The label that carries the agent's registered host name.
    pub host_label: String,
    /// One set for each Prometheus: its always-firing alert.
    pub watchdogs: Vec<MatcherSet>,
    /// How long an absence must be believed before it counts.
    pub clear_for: Duration,
    /// How long at most until a firing alert is sent again: the larger of
    /// Prometheus's `--rules.alert.resend-delay` and its longest evaluation interval.
    pub resend_delay: Duration,
    /// Whether everything is decided and nothing is done.
    pub dry_run: bool,
    /// How many hosts may be away at once.
    pub max_off: MaxOff,
    /// How many hosts with the same value of an attribute may be away at once.
    pub per_attribute: BTreeMap<String, usize>,
    /// How many hosts automation may take off within an hour.
    pub max_off_per_hour: usize,
    /// How many hosts automation must leave on.
    pub min_hosts: MinHosts,
    /// What a host gets that is seen for the first time.
    pub new_hosts: NewHosts,
    /// How long a lost host counts as part of the inventory.
    pub retire_after: Duration,
    /// When many hosts that fall sick together stop everything.
    pub storm: StormPolicy,
    /// What becomes of a host that falls sick again and again.
    pub relapse: RelapsePolicy,
    /// The first rule that matches an alert is its rule.
    pub rules: Vec<Rule>,
}

impl Policy {
    /// The rule for an alert with these labels.
    #[must_use]
    pub fn rule_for(&self, labels: &Labels) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.matchers.matches(labels))
    }

    /// What an alert says of its host, if a rule would take a host off for it;
    /// empty where the label is missing.
    #[must_use]
    pub fn accused<'a>(&self, labels: &'a Labels) -> Option<&'a str> {
        let takes_off = |rule: &Rule| matches!(rule.action, Action::Off { .. });
        self.rule_for(labels).filter(|rule| takes_off(rule))?;
        Some(self.host_of(labels))
    }

    /// What an alert says of its host; empty where the label is missing.
    pub(crate) fn host_of<'a>(&self, labels: &'a Labels) -> &'a str {
        labels.get(&self.host_label).map_or("", String::as_str)
    }

    /// Whether alerts of this name with these labels, as far as a rule of
    /// Prometheus tells, are made to be acted upon or would be.
    #[must_use]
    pub fn concerns(&self, alertname: &str, labels: &Labels) -> bool {
        let mut labels = labels.clone();
        labels.insert("alertname".to_owned(), alertname.to_owned());
        is_remediated(&labels) || self.rule_for(&labels).is_some()
    }

    /// The rule of that name, which a reload may have taken away.
    #[must_use]
    pub fn rule_named(&self, name: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.name == name)
    }
}

/// When many hosts that fall sick together stop everything: then the trouble is
/// probably not theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StormPolicy {
    /// This share of the inventory, rounded up, and two hosts at least.
    pub threshold: Share,
    /// How close together they fall sick.
    pub within: Duration,
    /// How long no further host may fall sick before it is over.
    pub calm: Duration,
}

/// A storm of one host would be no storm.
const MIN_STORM: usize = 2;

impl StormPolicy {
    /// How many hosts of an inventory of `hosts` make a storm.
    #[must_use]
    pub fn hosts(&self, hosts: usize) -> usize {
        self.threshold.of_rounded_up(hosts).max(MIN_STORM)
    }
}

/// What becomes of a host that falls sick again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RelapsePolicy {
    /// `min_off` doubles with each relapse, up to this.
    pub double_up_to: Duration,
    /// After so many relapses it stays off until a person says otherwise.
    pub give_up_after: usize,
    /// For how long an off counts.
    pub within: Duration,
}

impl RelapsePolicy {
    /// How long a host stays off that has relapsed so often.
    #[must_use]
    pub fn min_off(&self, min_off: Duration, relapses: usize) -> Duration {
        let doublings = u32::try_from(relapses).unwrap_or(u32::MAX);
        let factor = 2_u32.checked_pow(doublings).unwrap_or(u32::MAX);
        // The cap never shortens what the rule itself wants.
        min_off.saturating_mul(factor).min(self.double_up_to.max(min_off))
    }
}

/// What is done when an alert fires.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Shown wherever the rule acts; unique.
    pub name: String,
    /// Which alerts it is for.
    pub matchers: MatcherSet,
    /// What it does.
    pub action: Action,
}

/// What a rule does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Takes the alert's host out of the whitelist.
    Off {
        /// How long the alert must fire, counted in rounds that were not blind.
        fires_for: Duration,
        /// How long the host stays off at least.
        min_off: Duration,
    },
    /// Takes nothing off while the alert fires.
    Hold {
        /// After this the hold no longer blocks, and says so; `None`: never.
        max_hold: Option<Duration>,
    },
}

/// The smaller of a count and a share of the inventory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxOff {
    /// At most so many hosts.
    pub count: usize,
    /// At most this share of the inventory, rounded down.
    pub share: Share,
}

impl MaxOff {
    /// The limit for an inventory of `hosts`.
    #[must_use]
    pub fn limit(&self, hosts: usize) -> usize {
        self.count.min(self.share.of_rounded_down(hosts))
    }
}

/// How many hosts must stay on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MinHosts {
    /// So many.
    Count(usize),
    /// This share of the inventory, rounded up.
    Share(Share),
}

impl MinHosts {
    /// The floor for an inventory of `hosts`.
    #[must_use]
    pub fn floor(&self, hosts: usize) -> usize {
        match self {
            Self::Count(count) => *count,
            Self::Share(share) => share.of_rounded_up(hosts),
        }
    }
}

/// What a host gets that is seen for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewHosts {
    /// It is listed at once.
    On,
    /// It waits for a person.
    Off,
}

impl NewHosts {
    /// The same as the default of its document.
    #[must_use]
    pub fn verdict(self) -> Verdict {
        match self {
            Self::On => Verdict::On,
            Self::Off => Verdict::Off,
        }
    }
}

/// A share from 0% to 100%, exact to a thousandth of a percent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share {
    /// In thousandths of a percent, so that no rounding is left to floats.
    millipercent: u32,
}

/// What [`Share`] counts in: 100%.
const WHOLE: u32 = 100_000;

impl Share {
    /// All of it.
    pub const ALL: Self = Self { millipercent: WHOLE };

    fn of_rounded_down(self, hosts: usize) -> usize {
        hosts * self.millipercent as usize / WHOLE as usize
    }

    fn of_rounded_up(self, hosts: usize) -> usize {
        (hosts * self.millipercent as usize).div_ceil(WHOLE as usize)
    }
}

/// A text that is not a share.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a share between 0% and 100%, such as \"20%\" or \"12.5%\"")]
pub struct InvalidShare(String);

impl FromStr for Share {
    type Err = InvalidShare;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidShare(text.to_owned());
        let number = text.strip_suffix('%').ok_or_else(invalid)?;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(fraction) || whole.len() > 3 || fraction.len() > 3 {
            return Err(invalid());
        }
        let whole: u32 = whole.parse().map_err(|_| invalid())?;
        let fraction: u32 = format!("{fraction:0<3}").parse().map_err(|_| invalid())?;
        let millipercent = whole * 1000 + fraction;
        if millipercent > WHOLE { Err(invalid()) } else { Ok(Self { millipercent }) }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.millipercent / 1000, self.millipercent % 1000);
        match fraction {
            0 => write!(f, "{whole}%"),
            _ => write!(f, "{whole}.{}%", format!("{fraction:03}").trim_end_matches('0')),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_the_smaller_of_both_rounded_down() {
        let limit = |count, share: &str, hosts| {
            MaxOff { count, share: share.parse().unwrap() }.limit(hosts)
        };
        assert_eq!(limit(10, "20%", 100), 10);
        assert_eq!(limit(10, "20%", 49), 9);
        assert_eq!(limit(10, "20%", 4), 0);
        assert_eq!(limit(1, "100%", 4), 1);
        assert_eq!(limit(9, "12.5%", 16), 2);
    }

    #[test]
    fn a_floor_is_rounded_up() {
        assert_eq!(MinHosts::Share("50%".parse().unwrap()).floor(5), 3);
        assert_eq!(MinHosts::Share("0%".parse().unwrap()).floor(5), 0);
        assert_eq!(MinHosts::Count(7).floor(5), 7);
    }

    #[test]
    fn shares_are_read_strictly_and_shown_as_written() {
        for text in ["0%", "20%", "100%", "12.5%", "0.001%"] {
            assert_eq!(text.parse::<Share>().unwrap().to_string(), text);
        }
        for text in
            ["", "%", "20", "101%", "100.001%", "-1%", "1e1%", "1.%", ".5%", "1.2345%", " 1%"]
        {
            assert!(text.parse::<Share>().is_err(), "{text:?}");
        }
    }
}
