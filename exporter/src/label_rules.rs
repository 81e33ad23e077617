//! Which labels, of all that users put on their tasks, become labels of series.
//!
//! None do that are not named: what users write has no limit, and each new value is a new
//! series.

use std::collections::HashSet;

use satellite_toolkit::exposition::label_name;
use serde::Deserialize;

/// A list this long is a mistake.
const MAX_RULES: usize = 100;

/// Labels that a series gets by rules; further ones are left out. Whoever starts a task may
/// give it any number that a prefix fits.
const MAX_CHOSEN: usize = 64;

/// The labels that are chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct LabelRules(Vec<LabelRule>);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum LabelRule {
    Exact(String),
    Prefix { prefix: String, strip: bool },
}

/// The name of a label, or how it begins, as the file has it.
#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "a label's name, or {prefix: …, strip: true|false}")]
pub(crate) enum RawLabelRule {
    Exact(String),
    Prefix(RawPrefix),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RawPrefix {
    pub(crate) prefix: String,
    #[serde(default)]
    pub(crate) strip: bool,
}

impl LabelRules {
    /// Reads the list under `key` of the file, and tells `refuse` what is wrong, and where.
    pub(crate) fn judge(
        key: &str,
        raw: Vec<RawLabelRule>,
        refuse: &mut impl FnMut(&str, String),
    ) -> Self {
        if raw.len() > MAX_RULES {
            refuse(key, format!("at most {MAX_RULES} are allowed"));
        }
        let mut rules = Vec::new();
        for (at, raw) in raw.into_iter().enumerate() {
            match raw {
                RawLabelRule::Exact(name) if name.is_empty() => {
                    refuse(&format!("{key}[{at}]"), "must not be empty".into());
                }
                RawLabelRule::Prefix(RawPrefix { prefix, .. }) if prefix.is_empty() => {
                    let message = "must not be empty: every label that users invent would count";
                    refuse(&format!("{key}[{at}].prefix"), message.into());
                }
                RawLabelRule::Exact(name) => rules.push(LabelRule::Exact(name)),
                RawLabelRule::Prefix(RawPrefix { prefix, strip }) => {
                    rules.push(LabelRule::Prefix { prefix, strip });
                }
            }
        }
        Self(rules)
    }

    #[cfg(test)]
    pub(crate) fn exact<const N: usize>(names: [&str; N]) -> Self {
        Self(names.into_iter().map(|name| LabelRule::Exact(name.to_owned())).collect())
    }

    /// Those of `labels` that are chosen, under names that parse, that differ from each
    /// other, and from the names in `taken`, which series have already. Of a label that
    /// comes twice the first is taken, as Mesos does.
    pub(crate) fn chosen<'a>(
        &self,
        labels: impl Iterator<Item = (&'a str, &'a str)>,
        taken: &[&str],
    ) -> Vec<(String, String)> {
        let mut seen = HashSet::new();
        let mut chosen: Vec<(String, String)> = Vec::new();
        for (key, value) in labels {
            let Some(name) = self.0.iter().find_map(|rule| rule.name_of(key)) else { continue };
            if chosen.len() < MAX_CHOSEN && seen.insert(key) {
                let is_taken = |name: &str| {
                    taken.contains(&name) || chosen.iter().any(|(earlier, _)| earlier == name)
                };
                chosen.push((unique(&label_name(name), is_taken), value.to_owned()));
            }
        }
        chosen
    }
}

impl LabelRule {
    /// What a label of this key is called, if this rule chooses it.
    fn name_of<'a>(&self, key: &'a str) -> Option<&'a str> {
        match self {
            Self::Exact(name) => (key == name).then_some(key),
            Self::Prefix { prefix, strip: true } => key.strip_prefix(&**prefix),
            Self::Prefix { prefix, strip: false } => key.starts_with(&**prefix).then_some(key),
        }
    }
}

/// The name itself, or with the first number behind it under which it is not taken: `a.b`
/// and `a-b` both are `a_b` to Prometheus, and neither is to be lost.
fn unique(name: &str, is_taken: impl Fn(&str) -> bool) -> String {
    // The number may make it one that does not parse: "_" with a 2 begins with "__".
    let numbered = (2..).map(|number: usize| label_name(&format!("{name}_{number}")).into_owned());
    std::iter::once(name.to_owned())
        .chain(numbered)
        .find(|name| !is_taken(name))
        .expect("there are numbers without end")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(rules: &str, labels: &[(&str, &str)]) -> Vec<(String, String)> {
        let raw: Vec<RawLabelRule> = serde_yaml::from_str(rules).unwrap();
        let rules = LabelRules::judge("x", raw, &mut |key, problem| panic!("{key}: {problem}"));
        rules.chosen(labels.iter().copied(), &["role"])
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
    }

    #[test]
    fn only_what_is_named_is_chosen() {
        let labels = [("env", "prod"), ("team", "a"), ("env2", "x"), ("m_size", "1"), ("n_x", "2")];
        assert_eq!(chosen("[]", &labels), []);
        assert_eq!(chosen("[env]", &labels), pairs(&[("env", "prod")]));
        let rules = "[env, {prefix: m_, strip: true}, {prefix: n_}]";
        assert_eq!(chosen(rules, &labels), pairs(&[("env", "prod"), ("size", "1"), ("n_x", "2")]));
    }

    #[test]
    fn labels_that_would_get_one_name_get_two() {
        let labels = [("a.b", "1"), ("a-b", "2"), ("a.b", "3"), ("role", "4"), ("a_", "5")];
        let expected = pairs(&[("a_b", "1"), ("a_b_2", "2"), ("role_2", "4"), ("a_", "5")]);
        assert_eq!(chosen("[{prefix: a}, role]", &labels), expected);
        assert_eq!(chosen("[{prefix: a_, strip: true}]", &labels), pairs(&[("_", "5")]));
        let labels = [("m-", "1"), ("m.", "2"), ("m2", "3")];
        let expected = pairs(&[("_", "1"), ("_2", "2"), ("_2_2", "3")]);
        assert_eq!(chosen("[{prefix: m, strip: true}]", &labels), expected);
    }

    #[test]
    fn a_task_with_very_many_labels_gets_so_many_and_no_more() {
        // They all get the name m__ but for their numbers.
        let names: Vec<_> = ('一'..'龥').map(|it| format!("m_{it}")).collect();
        let labels: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
        assert_eq!(chosen("[{prefix: m_}]", &labels).len(), MAX_CHOSEN);
    }

    #[test]
    fn what_would_choose_everything_is_refused() {
        let raw = serde_yaml::from_str("['', {prefix: ''}, ok]").unwrap();
        let mut problems = Vec::new();
        LabelRules::judge("task_labels", raw, &mut |key, _| problems.push(key.to_owned()));
        assert_eq!(problems, ["task_labels[0]", "task_labels[1].prefix"]);
    }
}
