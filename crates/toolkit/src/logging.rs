//! Logs: one event, one line, on stderr, as logfmt in Prometheus's manner or as JSON.
//!
//! Values come from outside (labels, host names, what a peer answered), so every
//! value is escaped: no input can end a line or forge a field. Spans are not
//! printed: the fields that matter are written on the event itself.
//!
//! The formatter is our own because a line must read `msg="Listening"`, which
//! neither tracing-subscriber's JSON (`message`) nor its text offers.

use std::fmt::{self, Write as _};

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    EnvFilter,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

/// The logging flags that every daemon has.
#[derive(Args, Clone, Debug)]
pub struct LogArgs {
    /// Least severe level that is logged: error, warn, info, debug or trace.
    /// A filter such as `info,satellite_mesos=debug` sets it per part
    #[arg(
        long = "log.level",
        env = "SATELLITE_LOG_LEVEL",
        value_name = "LEVEL",
        default_value = "info",
        value_parser = parse_level
    )]
    level: String,

    /// How a line is written
    #[arg(
        long = "log.format",
        env = "SATELLITE_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "logfmt"
    )]
    format: LogFormat,
}

/// How a line is written.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// `ts=… level=info target=… msg="…" key=value`
    Logfmt,
    /// One JSON object a line: `ts`, `level`, `target`, `msg` and the fields.
    Json,
}

/// Checks a level early, so that a bad one is a usage error and not a silent default.
fn parse_level(text: &str) -> Result<String, String> {
    let bare = text.chars().all(char::is_alphanumeric);
    if bare && text.parse::<Level>().is_err() {
        return Err("not one of error, warn, info, debug, trace".into());
    }
    EnvFilter::try_new(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
}

/// Sends the process's events to stderr. A second call keeps the first subscriber,
/// which only tests that run a daemon in their own process ever see.
pub fn init(args: &LogArgs) {
    let LogArgs { level, format } = args;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(level))
        .with_writer(std::io::stderr)
        .event_format(Lines { format: *format });
    builder.try_init().ok();
}

/// Formats an event as one line.
struct Lines {
    format: LogFormat,
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let head = Head {
            time: Timestamp::now(),
            level: level_word(*event.metadata().level()),
            target: event.metadata().target(),
        };
        writer.write_str(&match self.format {
            LogFormat::Logfmt => logfmt(&head, &fields),
            LogFormat::Json => json(&head, &fields),
        })
    }
}

/// What every line starts with.
struct Head<'a> {
    time: Timestamp,
    level: &'a str,
    target: &'a str,
}

impl Head<'_> {
    fn time(&self) -> String {
        self.time.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
    }
}

fn level_word(level: Level) -> &'static str {
    match level {
        Level::ERROR => "error",
        Level::WARN => "warn",
        Level::INFO => "info",
        Level::DEBUG => "debug",
        Level::TRACE => "trace",
    }
}

fn logfmt(head: &Head<'_>, fields: &Fields) -> String {
    let mut line = format!("ts={} level={} target={} msg=", head.time(), head.level, head.target);
    push_quoted(&mut line, &fields.message);
    for (key, value) in &fields.others {
        line.push(' ');
        line.push_str(key);
        line.push('=');
        let text = match value {
            serde_json::Value::String(text) => text,
            number_or_bool => &number_or_bool.to_string(),
        };
        if needs_quotes(text) { push_quoted(&mut line, text) } else { line.push_str(text) }
    }
    line.push('\n');
    line
}

fn json(head: &Head<'_>, fields: &Fields) -> String {
    let mut object = serde_json::Map::new();
    // The head is written last, so that no field can take its place.
    object.extend(fields.others.iter().map(|(key, value)| ((*key).to_owned(), value.clone())));
    object.insert("ts".into(), head.time().into());
    object.insert("level".into(), head.level.into());
    object.insert("target".into(), head.target.into());
    object.insert("msg".into(), fields.message.clone().into());
    let mut line = serde_json::Value::Object(object).to_string();
    line.push('\n');
    line
}

/// An event's message and its other fields, in the order they were written.
#[derive(Default)]
struct Fields {
    message: String,
    others: Vec<(&'static str, serde_json::Value)>,
}

impl Fields {
    fn push(&mut self, field: &Field, value: impl Into<serde_json::Value>) {
        self.others.push((field.name(), value.into()));
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" { self.message = text } else { self.push(field, text) }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            self.message = value.to_owned();
        } else {
            self.push(field, value);
        }
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.push(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, value);
    }
}

/// Whether a reader of logfmt would misread the bare text.
fn needs_quotes(text: &str) -> bool {
    text.is_empty() || text.chars().any(|c| c == ' ' || c == '=' || must_escape(c))
}

/// Quotes, backslashes, and everything that could end a line or turn its direction.
fn must_escape(c: char) -> bool {
    matches!(c, '"' | '\\' | '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{feff}')
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
        || c.is_control()
}

fn push_quoted(line: &mut String, text: &str) {
    line.push('"');
    for c in text.chars() {
        match c {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            c if must_escape(c) => {
                write!(line, "\\u{:04x}", u32::from(c)).expect("writing to a string does not fail");
            }
            c => line.push(c),
        }
    }
    line.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::sync::{Arc, Mutex};

    /// Collects what a subscriber writes.
    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: LogFormat, log: impl FnOnce()) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(move || writer.clone())
            .event_format(Lines { format })
            .finish();
        tracing::subscriber::with_default(subscriber, log);
        let bytes = sink.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    fn without_time(line: &str) -> &str {
        let (time, rest) = line.split_once(' ').unwrap();
        let time = time.strip_prefix("ts=").unwrap();
        time.parse::<Timestamp>().unwrap();
        assert_eq!(time.len(), "2026-11-21T23:00:00.123Z".len());
        rest
    }

    #[test]
    fn a_line_reads_as_prometheus_writes_it() {
        let line = logged(LogFormat::Logfmt, || {
            tracing::info!(target: "t", address = "127.0.0.1:9105", tries = 3, ok = true, "Listening");
        });
        let expected =
            "level=info target=t msg=\"Listening\" address=127.0.0.1:9105 tries=3 ok=true\n";
        assert_eq!(without_time(&line), expected);
    }

    #[test]
    fn values_are_quoted_only_where_needed() {
        let line = logged(LogFormat::Logfmt, || {
            tracing::warn!(target: "t", a = "x y", b = "k=v", c = "", d = %"d\"q", "m");
        });
        let expected = r#"level=warn target=t msg="m" a="x y" b="k=v" c="" d="d\"q""#;
        assert_eq!(without_time(&line).trim_end(), expected);
    }

    #[test]
    fn json_has_its_fields_flat() {
        let line = logged(LogFormat::Json, || {
            tracing::error!(target: "t", host = "a\nb", level = "forged", n = 1.5, "Gone");
        });
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["level"], "error");
        assert_eq!(value["msg"], "Gone");
        assert_eq!(value["host"], "a\nb");
        assert_eq!(value["n"], 1.5);
        assert_eq!(line.lines().count(), 1);
    }

    #[test]
    fn a_bad_level_is_refused() {
        assert!(parse_level("loud").is_err());
        assert!(parse_level("info,a=[").is_err());
        assert!(parse_level("warn").is_ok());
        assert!(parse_level("info,satellite_mesos=debug").is_ok());
    }

    proptest! {
        #[test]
        fn no_value_can_end_a_line_or_forge_a_field(value in "\\PC*|[\\x00-\\x1f\"\\\\= ]*") {
            let line = logged(LogFormat::Logfmt, || {
                tracing::info!(target: "t", value = %value, "{value}");
            });
            prop_assert_eq!(line.matches('\n').count(), 1);
            // Outside quotes there are exactly the five keys.
            let mut inside = false;
            let mut escaped = false;
            let mut keys = 0;
            for c in line.chars() {
                match c {
                    _ if escaped => escaped = false,
                    '\\' if inside => escaped = true,
                    '"' => inside = !inside,
                    '=' if !inside => keys += 1,
                    _ => {}
                }
            }
            prop_assert!(!inside);
            prop_assert_eq!(keys, 5);
        }
    }
}
