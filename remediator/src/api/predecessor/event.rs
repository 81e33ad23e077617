//! The body of a manual event, in the predecessor's words.
//!
//! `state` is required; `ttl` and `description` are taken. Whatever else the
//! predecessor's clients send (`time`, `host`, `service`, `tags`, `metric`, attributes
//! of their own) is neither looked at nor kept: the path says which host and event are
//! meant, and the time is that of the command.

use std::time::Duration;

use satellite_core::Verdict;
use serde::Deserialize;
use serde_json::Value;

use crate::api::{
    command::{judge_ttl, parse_reason},
    error::ApiError,
};

/// The body as it came.
#[derive(Debug, Deserialize)]
pub(super) struct SaidEvent {
    state: State,
    description: Option<String>,
    /// A text; what else it is, is told better than serde would.
    ttl: Option<Value>,
}

/// `warn` and `expired`, which the predecessor took as well, said neither on nor off.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum State {
    Ok,
    Critical,
}

impl SaidEvent {
    /// The verdict, the reason if one was given, and for how long.
    pub(super) fn read(self) -> Result<(Verdict, Option<String>, Option<Duration>), ApiError> {
        let state = match self.state {
            State::Ok => Verdict::On,
            State::Critical => Verdict::Off,
        };
        let reason = self.description.filter(|text| !text.trim().is_empty());
        let reason = reason.map(|text| parse_reason("description", text)).transpose()?;
        Ok((state, reason, self.ttl.as_ref().map(read_ttl).transpose()?))
    }
}

fn read_ttl(ttl: &Value) -> Result<Duration, ApiError> {
    let Some(text) = ttl.as_str() else {
        let how = "ttl: write a text with its unit, such as \"90s\" or \"15minutes\"";
        return Err(ApiError::Bad(how.into()));
    };
    judge_ttl(text, &in_prometheus_units(text))
}

/// `15minutes` as `15m`: digits, one of four units, with or without an `s`. Anything else
/// is left as it is, and may be a duration of Prometheus's.
fn in_prometheus_units(text: &str) -> String {
    let rest = text.trim_start_matches(|it: char| it.is_ascii_digit());
    let (digits, unit) = text.split_at(text.len() - rest.len());
    let unit = match unit.strip_suffix('s').unwrap_or(unit) {
        "minute" => "m",
        "hour" => "h",
        "day" => "d",
        "week" => "w",
        _ => unit,
    };
    format!("{digits}{unit}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_ttl_is_written_as_the_predecessor_had_it_or_as_prometheus_has_it() {
        for (text, seconds) in [
            ("1minute", 60),
            ("15minutes", 15 * 60),
            ("1hour", 3600),
            ("24hours", 24 * 3600),
            ("7day", 7 * 86_400),
            ("2days", 2 * 86_400),
            ("2week", 14 * 86_400),
            ("52weeks", 364 * 86_400),
            ("90s", 90),
            ("1h30m", 5400),
            ("7d", 7 * 86_400),
            ("366d", 366 * 86_400),
        ] {
            let read = read_ttl(&json!(text)).unwrap();
            assert_eq!(read, Duration::from_secs(seconds), "{text}");
        }
    }

    #[test]
    fn a_ttl_that_cannot_be_meant_is_refused_in_the_words_that_were_sent() {
        for text in [
            "",
            "15",
            "minute",
            "15 minute",
            "-1minute",
            "1.5hour",
            "15min",
            "15MINUTE",
            "15minutess",
            "1second",
            "0minute",
            "1hour30minute",
            "1h30minutes",
            "53week",
            "99999999999999999999day",
            "soon",
            "١٥minute",
            "day7",
        ] {
            let said = read_ttl(&json!(text)).unwrap_err().to_string();
            assert!(said.starts_with(&format!("ttl: {text:?} is not")), "{text}: {said}");
        }
        for other in [json!(3600), json!(0.5), json!(true), json!(["1h"]), json!({})] {
            let said = read_ttl(&other).unwrap_err().to_string();
            assert!(said.contains("a text with its unit, such as \"90s\""), "{other}: {said}");
        }
    }
}
