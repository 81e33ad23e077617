//! The YAML file:
//!
//! ```yaml
//! checks: [{name: disk, command: [..], interval: 1m, timeout: 10s}]
//! task_labels: [env, {prefix: "metrics_", strip: true}]
//! agent_attributes: [rack]
//! ```
//!
//! It is read strictly and as a whole: either every part of it is valid, or each problem
//! is named with its line and nothing of it is used.

use std::{collections::HashSet, path::Path, time::Duration};

use satellite_yaml::{Document, MAX_BYTES, Problem};
use serde::Deserialize;

use crate::{
    checks::CheckSpec,
    label_rules::{LabelRules, RawLabelRule},
};

/// How often a check runs where the file does not say.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);

/// How long a check may run where the file does not say; less if it runs more often.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// A check that runs more often would itself be the load it looks for.
const MIN_INTERVAL: Duration = Duration::from_millis(100);

/// A check that runs less often is not a watch; most alert rules would call it stale.
const MAX_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// Checks run side by side, each a process: this many are plenty for a host.
const MAX_CHECKS: usize = 100;

/// Characters of a check's name, which is a label value and part of alerts' texts.
const MAX_NAME: usize = 64;

/// What the file says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct FileConfig {
    pub(crate) checks: Vec<CheckSpec>,
    /// Which labels of tasks `mesos_container_info` bears.
    pub(crate) task_labels: LabelRules,
    /// Which attributes of agents `mesos_agent_info` and `mesos_cluster_agent_info` bear.
    pub(crate) agent_attributes: LabelRules,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    checks: Vec<RawCheck>,
    #[serde(default)]
    task_labels: Vec<RawLabelRule>,
    #[serde(default)]
    agent_attributes: Vec<RawLabelRule>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCheck {
    name: String,
    command: Vec<String>,
    interval: Option<String>,
    timeout: Option<String>,
}

impl FileConfig {
    /// Reads and judges the file. Every problem that it has is in the error.
    pub(crate) fn load(path: &Path) -> Result<Self, Vec<Problem>> {
        let document = Document::read(path, MAX_BYTES).map_err(|problem| vec![problem])?;
        Self::parse(&document)
    }

    fn parse(document: &Document) -> Result<Self, Vec<Problem>> {
        let raw: RawFile = document.parse()?;
        let mut problems = Vec::new();
        let mut refuse = |key: &str, message: String| {
            problems.push(document.problem(key, message));
        };
        if raw.checks.len() > MAX_CHECKS {
            refuse("checks", format!("at most {MAX_CHECKS} checks are allowed"));
        }
        let mut names = HashSet::new();
        let mut checks = Vec::new();
        for (at, check) in raw.checks.into_iter().enumerate() {
            let key = |field: &str| format!("checks[{at}].{field}");
            if !names.insert(check.name.clone()) {
                refuse(&key("name"), format!("{:?} is the name of an earlier check", check.name));
            }
            checks.push(check.judge(|field, message| refuse(&key(field), message)));
        }
        let mut rules = |key, raw| LabelRules::judge(key, raw, &mut refuse);
        let task_labels = rules("task_labels", raw.task_labels);
        let agent_attributes = rules("agent_attributes", raw.agent_attributes);
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self { checks, task_labels, agent_attributes })
    }
}

impl RawCheck {
    fn judge(self, mut refuse: impl FnMut(&str, String)) -> CheckSpec {
        let Self { name, command, interval, timeout } = self;
        if name.is_empty() || name.chars().count() > MAX_NAME || name.chars().any(char::is_control)
        {
            refuse("name", format!("must be 1 to {MAX_NAME} characters, none of them control"));
        }
        if command.first().is_none_or(String::is_empty) {
            refuse("command", "must be a program and its arguments".into());
        } else if command.iter().any(|word| word.contains('\0')) {
            refuse("command", "must not contain a NUL character".into());
        }
        let mut duration = |field, text: Option<String>, default: Duration| {
            let Some(text) = text else { return default };
            humantime::parse_duration(&text).unwrap_or_else(|error| {
                refuse(field, format!("{text:?} is not a duration such as 30s or 5m: {error}"));
                default
            })
        };
        let interval = duration("interval", interval, DEFAULT_INTERVAL);
        let timeout = duration("timeout", timeout, DEFAULT_TIMEOUT.min(interval));
        if !(MIN_INTERVAL..=MAX_INTERVAL).contains(&interval) {
            let min = humantime::format_duration(MIN_INTERVAL);
            let max = humantime::format_duration(MAX_INTERVAL);
            refuse("interval", format!("must be {min} to {max}"));
        }
        if timeout.is_zero() || timeout > interval {
            refuse("timeout", "must be above 0 and not above the interval".into());
        }
        CheckSpec { name, command, interval, timeout }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<FileConfig, Vec<String>> {
        FileConfig::parse(&Document::new("c.yml", text))
            .map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn a_check_has_defaults_and_a_short_interval_shortens_its_timeout() {
        let text = "checks:\n  - {name: a, command: [x, y]}\n  - name: b\n    command: [z]\n    interval: 2s\n";
        let checks = parse(text).unwrap().checks;
        let seconds = |d: Duration| d.as_secs();
        assert_eq!((seconds(checks[0].interval), seconds(checks[0].timeout)), (60, 10));
        assert_eq!((seconds(checks[1].interval), seconds(checks[1].timeout)), (2, 2));
        assert_eq!(checks[0].command, ["x", "y"]);
    }

    #[test]
    fn a_file_without_checks_is_valid() {
        assert_eq!(parse("checks: []\n").unwrap(), FileConfig::default());
    }

    #[test]
    fn every_problem_is_named_with_its_line() {
        let text = "checks:
  - name: \"\"
    command: []
  - name: a
    command: [\"\"]
    interval: soon
  - name: a
    command: [x]
    interval: 1s
    timeout: 2s
  - name: b
    command: [x]
    interval: 10ms
";
        let expected = [
            "c.yml:2:11: checks[0].name: must be 1 to 64 characters, none of them control",
            "c.yml:3:14: checks[0].command: must be a program and its arguments",
            "c.yml:5:14: checks[1].command: must be a program and its arguments",
            "c.yml:6:15: checks[1].interval: \"soon\" is not a duration such as 30s or 5m",
            "c.yml:7:11: checks[2].name: \"a\" is the name of an earlier check",
            "c.yml:10:14: checks[2].timeout: must be above 0 and not above the interval",
            "c.yml:13:15: checks[3].interval: must be 100ms to 1day",
        ];
        let found = parse(text).unwrap_err();
        assert_eq!(found.len(), expected.len(), "{found:#?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!(found.starts_with(expected), "{found}");
        }
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_line() {
        let found = parse("checks:\n  - name: a\n    comand: [x]\n").unwrap_err();
        assert!(found[0].starts_with("c.yml:3:5: checks[0].comand: unknown field"), "{found:?}");
    }
}
