//! The shipped alert rules, sped up.
//!
//! An alert that takes a quarter of an hour cannot be waited for in a test. The
//! rules are rendered from the shipped files by one factor, which divides every
//! duration in them: `for`, `keep_firing_for`, the groups' `interval`, and in
//! the expressions the windows, sub-query steps and offsets. Nothing else
//! changes, so what the tests see is what is shipped, only sooner. The unscaled
//! rules are tested by promtool.

use anyhow::{Context, Result, bail};
use serde_yaml::Value;

/// A window stays at least this long: with a sample every second, it must hold a
/// few for a rate.
const SHORTEST_WINDOW_MS: u64 = 4_000;

/// A group is not evaluated more often than targets are scraped.
const SHORTEST_INTERVAL_MS: u64 = 1_000;

/// The keys of a rule whose values are durations.
const RULE_KEYS: [&str; 2] = ["for", "keep_firing_for"];

/// The rule file `text` with every duration divided by `factor`.
pub fn sped_up(text: &str, factor: u32) -> Result<String> {
    let mut file: Value = serde_yaml::from_str(text).context("read the rule file")?;
    let groups = file.get_mut("groups").and_then(Value::as_sequence_mut);
    for group in groups.context("a rule file has groups")? {
        if let Some(interval) = group.get_mut("interval") {
            let ms = parse_ms(interval.as_str().context("an interval is text")?)?;
            let faster = (ms / u64::from(factor)).max(SHORTEST_INTERVAL_MS);
            *interval = Value::String(format_ms(faster));
        }
        let rules = group.get_mut("rules").and_then(Value::as_sequence_mut);
        for rule in rules.context("a group has rules")? {
            speed_up_keys(rule, &RULE_KEYS, factor)?;
            let expression = rule.get_mut("expr").context("a rule has an expr")?;
            let faster =
                speed_up_expression(expression.as_str().context("an expr is text")?, factor)?;
            *expression = Value::String(faster);
        }
    }
    serde_yaml::to_string(&file).context("write the rule file")
}

/// Divides the durations under `keys`, wherever they are below `value`.
pub(crate) fn speed_up_keys(value: &mut Value, keys: &[&str], factor: u32) -> Result<()> {
    match value {
        Value::Mapping(mapping) => {
            for (key, value) in mapping {
                let key = key.as_str().context("a key is text")?;
                if !keys.contains(&key) {
                    speed_up_keys(value, keys, factor)?;
                    continue;
                }
                let text = value.as_str().with_context(|| format!("`{key}` is text"))?;
                *value = Value::String(format_ms(parse_ms(text)? / u64::from(factor)));
            }
            Ok(())
        }
        Value::Sequence(values) => {
            values.iter_mut().try_for_each(|value| speed_up_keys(value, keys, factor))
        }
        _ => Ok(()),
    }
}

/// Divides the durations of a PromQL expression: those in `[…]` and after
/// `offset`. Text in quotes is passed over, so no label value is changed.
fn speed_up_expression(expression: &str, factor: u32) -> Result<String> {
    let mut faster = String::with_capacity(expression.len());
    let mut rest = expression;
    while let Some(at) = rest.find(['"', '\'', '`', '[', 'o']) {
        let (before, from) = rest.split_at(at);
        faster.push_str(before);
        let after_word = before.chars().next_back().or(faster.chars().next_back());
        let starts_word = !after_word.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':');
        let taken = match from.as_bytes()[0] {
            b'[' => {
                let end = from.find(']').context("a `[` without `]`")?;
                faster.push('[');
                faster.push_str(&speed_up_range(&from[1..end], factor)?);
                faster.push(']');
                end + 1
            }
            b'o' if starts_word && from.starts_with("offset ") => {
                let value = from["offset ".len()..].trim_start();
                let start = from.len() - value.len();
                let negative = value.starts_with('-');
                let digits = &value[usize::from(negative)..];
                let end = digits.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(digits.len());
                let faster_ms = parse_ms(&digits[..end])? / u64::from(factor);
                faster.push_str("offset ");
                faster.push_str(if negative { "-" } else { "" });
                faster.push_str(&format_ms(faster_ms));
                start + usize::from(negative) + end
            }
            b'o' => {
                faster.push('o');
                1
            }
            quote => {
                let end = end_of_string(from, quote).context("a text without closing quote")?;
                faster.push_str(&from[..end]);
                end
            }
        };
        rest = &from[taken..];
    }
    faster.push_str(rest);
    Ok(faster)
}

/// `5m`, or `1h:1m` of a sub-query.
fn speed_up_range(range: &str, factor: u32) -> Result<String> {
    let (window, step) = match range.split_once(':') {
        Some((window, step)) => (window, Some(step)),
        None => (range, None),
    };
    let window = (parse_ms(window)? / u64::from(factor)).max(SHORTEST_WINDOW_MS);
    Ok(match step.map(str::trim) {
        None => format_ms(window),
        Some("") => format!("{}:", format_ms(window)),
        Some(step) => {
            format!("{}:{}", format_ms(window), format_ms(parse_ms(step)? / u64::from(factor)))
        }
    })
}

/// Where the quoted text that `text` begins with ends, its quote included.
fn end_of_string(text: &str, quote: u8) -> Option<usize> {
    let mut escaped = false;
    for (index, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quote != b'`' => escaped = true,
            _ if byte == quote => return Some(index + 1),
            _ => {}
        }
    }
    None
}

/// A duration as Prometheus writes it, `1h30m`, in milliseconds.
fn parse_ms(text: &str) -> Result<u64> {
    let (mut total, mut rest) = (0, text.trim());
    if rest.is_empty() {
        bail!("an empty duration");
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let number: u64 =
            rest[..digits].parse().with_context(|| format!("not a duration: {text:?}"))?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            "y" => 31_536_000_000,
            // Prometheus lets a lone 0 do without a unit.
            "" if number == 0 => 0,
            _ => bail!("not a duration: {text:?}"),
        };
        rest = &rest[letters..];
        total += number * unit;
    }
    Ok(total)
}

fn format_ms(ms: u64) -> String {
    if ms.is_multiple_of(1_000) { format!("{}s", ms / 1_000) } else { format!("{ms}ms") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_of_a_rule_file_is_divided_and_nothing_else_changes() {
        let faster = sped_up(
            r#"
groups:
  - name: hosts
    interval: 2m
    rules:
      - alert: CheckFailing
        expr: satellite_check_ok{note="[5m] offset 5m"} == 0
        for: 2m
        keep_firing_for: 1h30m
        labels: {severity: warning}
        annotations: {summary: "failing for 2m"}
      - record: job:lost:rate
        expr: rate(mesos_master_tasks_lost_total[10m] offset 5m) > on (instance) 0
"#,
            30,
        )
        .unwrap();
        let faster: Value = serde_yaml::from_str(&faster).unwrap();
        let group = &faster["groups"][0];
        assert_eq!(group["interval"], "4s");
        let alert = &group["rules"][0];
        assert_eq!(alert["expr"], r#"satellite_check_ok{note="[5m] offset 5m"} == 0"#);
        assert_eq!(alert["for"], "4s");
        assert_eq!(alert["keep_firing_for"], "180s");
        assert_eq!(alert["annotations"]["summary"], "failing for 2m");
        assert_eq!(
            group["rules"][1]["expr"],
            "rate(mesos_master_tasks_lost_total[20s] offset 10s) > on (instance) 0"
        );
    }

    #[test]
    fn windows_keep_room_for_a_few_samples() {
        assert_eq!(speed_up_expression("rate(a[1m])", 60).unwrap(), "rate(a[4s])");
    }

    #[test]
    fn subqueries_negative_offsets_and_escaped_quotes_are_understood() {
        assert_eq!(
            speed_up_expression(r#"max_over_time(f{a="\"[1h]"}[2h:10m])"#, 60).unwrap(),
            r#"max_over_time(f{a="\"[1h]"}[120s:10s])"#
        );
        assert_eq!(speed_up_expression("a[1h:] offset -1h", 60).unwrap(), "a[60s:] offset -60s");
        assert_eq!(
            speed_up_expression("my_offset + no_offset", 60).unwrap(),
            "my_offset + no_offset"
        );
    }

    #[test]
    fn what_is_no_duration_is_an_error_and_not_a_guess() {
        for bad in ["", "5", "m", "5x", "1.5h"] {
            assert!(parse_ms(bad).is_err(), "{bad:?} was read as a duration");
        }
        assert_eq!(parse_ms("1h30m").unwrap(), 5_400_000);
        assert_eq!(parse_ms("0").unwrap(), 0);
    }
}
