//! What `/metrics` answers: the two text formats, and which of them a client gets.
//!
//! prometheus-client writes OpenMetrics only, and does not check what it writes: a
//! newline in a help text or a dash in a label name fails a whole scrape. So this
//! module also writes the classic format (0.0.4), and offers [`Families`]: plain data
//! that a source has gathered, which cannot produce a line that does not parse.
//!
//! It does not gather, cache or decide which series there are.

use std::{borrow::Cow, fmt::Write as _};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, header},
    response::Response,
};
use prometheus_client::{
    collector::Collector,
    encoding::{
        DescriptorEncoder, EncodeLabel as _, EncodeLabelSet, LabelSetEncoder, MetricEncoder,
        text::{encode_eof, encode_registry},
    },
    metrics::{MetricType, exemplar::Exemplar},
    registry::Registry,
};
use tower_http::{CompressionLevel, compression::CompressionLayer};

/// A text format of Prometheus.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// OpenMetrics 1.0.0.
    OpenMetrics,
    /// The classic text format, 0.0.4.
    Text,
}

impl Format {
    /// The format that `Accept` likes best; classic text when it is absent, names
    /// neither or cannot be read. OpenMetrics wins a tie and needs to be named, since a
    /// client that takes anything (curl, a browser) reads classic text more easily.
    pub fn negotiate(headers: &HeaderMap) -> Self {
        let mut open_metrics = 0.0;
        let mut text = 0.0;
        for value in headers.get_all(header::ACCEPT) {
            for range in value.to_str().unwrap_or_default().split(',').map(MediaRange::parse) {
                let liked = if range.is_open_metrics_1() { &mut open_metrics } else { &mut text };
                if range.is_open_metrics_1() || range.includes_text() {
                    *liked = f32::max(*liked, range.quality);
                }
            }
        }
        if open_metrics > 0.0 && open_metrics >= text { Self::OpenMetrics } else { Self::Text }
    }

    /// The `Content-Type` that Prometheus takes for this format.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// One element of an `Accept` header.
struct MediaRange<'a> {
    media_type: &'a str,
    version: Option<&'a str>,
    quality: f32,
}

impl<'a> MediaRange<'a> {
    fn parse(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default();
        let mut range = Self { media_type, version: None, quality: 1.0 };
        for (key, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim().trim_matches('"');
            match key.trim() {
                "version" => range.version = Some(value),
                // What cannot be read is not preferred.
                "q" => range.quality = value.parse().unwrap_or(0.0),
                _ => {}
            }
        }
        range
    }

    /// Version 0.0.1 is a draft with other rules; who asks for it alone gets text.
    fn is_open_metrics_1(&self) -> bool {
        self.media_type.eq_ignore_ascii_case("application/openmetrics-text")
            && self.version.is_none_or(|version| version == "1.0.0")
    }

    fn includes_text(&self) -> bool {
        ["text/plain", "text/*", "*/*"].iter().any(|t| self.media_type.eq_ignore_ascii_case(t))
    }
}

/// Writes every family of `registries`, in this order, as one complete exposition.
pub fn render(registries: &[&Registry], format: Format) -> String {
    let mut text = String::new();
    for registry in registries {
        encode_registry(&mut text, registry).expect("writing to a string does not fail");
    }
    match format {
        Format::OpenMetrics => {
            encode_eof(&mut text).expect("writing to a string does not fail");
            text
        }
        Format::Text => classic(&text),
    }
}

/// An answer with this exposition as its body.
pub fn response(format: Format, body: String) -> Response {
    let mut response = Response::new(Body::from(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    response
}

/// gzip where the client asks for it, at the fastest level: an exposition shrinks to a
/// tenth even so, and a scrape should cost the node little.
pub fn compression() -> CompressionLayer {
    CompressionLayer::new().quality(CompressionLevel::Fastest)
}

/// Turns an OpenMetrics exposition without its end into the classic format: the names
/// in HELP and TYPE are those of the samples, and the types are those it knows.
fn classic(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    // HELP comes before TYPE, which decides the name that both carry.
    let mut help: Option<(&str, &str)> = None;
    for line in open_metrics.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ').or(Some((rest, "")));
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                other => ("", other),
            };
            if let Some((_, help)) = help.take().filter(|(of, _)| *of == name) {
                push_line(&mut text, format_args!("# HELP {name}{suffix} {help}"));
            }
            push_line(&mut text, format_args!("# TYPE {name}{suffix} {kind}"));
        } else if !line.starts_with('#') {
            push_line(&mut text, format_args!("{line}"));
        }
    }
    text
}

fn push_line(text: &mut String, line: std::fmt::Arguments<'_>) {
    writeln!(text, "{line}").expect("writing to a string does not fail");
}

/// What a series' value means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Only grows, until its process starts anew. The name ends in `_total`.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Always 1; the labels are the information. The name ends in `_info`.
    Info,
    /// Nobody knows yet.
    Unknown,
}

/// One series' labels: names that parse, each at most once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(Vec<(Cow<'static, str>, String)>);

impl Labels {
    /// Labels from names and values; see [`push`](Self::push).
    pub fn new<N, V>(labels: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: Into<Cow<'static, str>>,
        V: Into<String>,
    {
        let mut all = Self::default();
        for (name, value) in labels {
            all.push(name, value);
        }
        all
    }

    /// Adds a label. Its name is made to parse by [`label_name`]; where it is then the
    /// name of an earlier label, that one stays.
    pub fn push(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) {
        let name = name.into();
        let name = match label_name(&name) {
            Cow::Borrowed(_) => name,
            Cow::Owned(clean) => Cow::Owned(clean),
        };
        if !self.0.iter().any(|(earlier, _)| *earlier == name) {
            self.0.push((name, value.into()));
        }
    }

    /// Names and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value.as_str()))
    }
}

impl EncodeLabelSet for Labels {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> std::fmt::Result {
        for label in self.iter() {
            label.encode(encoder.encode_label())?;
        }
        Ok(())
    }
}

/// All series of one name.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// The name as Prometheus stores it, with `_total` or `_info`.
    pub name: Cow<'static, str>,
    /// One or two sentences; any text is safe.
    pub help: Cow<'static, str>,
    /// What the values mean.
    pub kind: Kind,
    /// The series. A family without any is not written.
    pub samples: Vec<(Labels, f64)>,
}

impl Family {
    /// A family without series yet.
    pub fn new(
        name: impl Into<Cow<'static, str>>,
        help: impl Into<Cow<'static, str>>,
        kind: Kind,
    ) -> Self {
        Self { name: name.into(), help: help.into(), kind, samples: Vec::new() }
    }

    /// Adds a series. An info family's value is written as 1.
    pub fn push(&mut self, labels: Labels, value: f64) {
        self.samples.push((labels, value));
    }

    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        if self.samples.is_empty() {
            return Ok(());
        }
        let (suffix, metric_type) = match self.kind {
            Kind::Counter => ("_total", MetricType::Counter),
            Kind::Info => ("_info", MetricType::Info),
            Kind::Gauge => ("", MetricType::Gauge),
            Kind::Unknown => ("", MetricType::Unknown),
        };
        // prometheus-client adds the suffix itself.
        let name = self.name.strip_suffix(suffix).unwrap_or(&self.name);
        let mut family = encoder.encode_descriptor(name, &help(&self.help), None, metric_type)?;
        for (labels, value) in &self.samples {
            match self.kind {
                Kind::Info => family.encode_info(labels)?,
                // With labels that are none it would write `{}`.
                _ if labels.0.is_empty() => encode_value(self.kind, &mut family, *value)?,
                _ => encode_value(self.kind, &mut family.encode_family(labels)?, *value)?,
            }
        }
        Ok(())
    }
}

/// Whole numbers are written without a fraction, up to where every one is exact.
const EXACT: f64 = 9_007_199_254_740_992.0;

#[expect(clippy::cast_possible_truncation, reason = "checked to be a whole number within i64")]
fn whole(value: f64) -> Option<i64> {
    (value.fract() == 0.0 && value.abs() <= EXACT).then_some(value as i64)
}

fn encode_value(kind: Kind, encoder: &mut MetricEncoder<'_>, value: f64) -> std::fmt::Result {
    if kind == Kind::Counter {
        let no_exemplar: Option<&Exemplar<Labels, f64>> = None;
        return match whole(value).and_then(|value| u64::try_from(value).ok()) {
            Some(value) => encoder.encode_counter(&value, no_exemplar),
            None => encoder.encode_counter(&value, no_exemplar),
        };
    }
    match whole(value) {
        Some(value) => encoder.encode_gauge(&value),
        None => encoder.encode_gauge(&value),
    }
}

/// Families that were gathered for one scrape, as a prometheus-client collector: register
/// them in a registry that lives as long as the scrape.
#[derive(Clone, Debug, Default)]
pub struct Families(pub Vec<Family>);

impl Families {
    /// A registry that holds just these.
    pub fn into_registry(self) -> Registry {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self));
        registry
    }
}

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|family| family.encode(&mut encoder))
    }
}

/// The nearest label name that Prometheus accepts: `[a-zA-Z_][a-zA-Z0-9_]*`, not starting
/// with `__`, which Prometheus keeps for itself.
pub fn label_name(name: &str) -> Cow<'_, str> {
    let fits = |(at, c): (usize, char)| {
        c == '_' || c.is_ascii_alphabetic() || (at > 0 && c.is_ascii_digit())
    };
    if !name.is_empty() && !name.starts_with("__") && name.char_indices().all(fits) {
        return Cow::Borrowed(name);
    }
    let mut clean: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if clean.is_empty() || clean.starts_with(|c: char| c.is_ascii_digit()) {
        clean.insert(0, '_');
    }
    if clean.starts_with("__") {
        clean.replace_range(..clean.len() - clean.trim_start_matches('_').len(), "_");
    }
    Cow::Owned(clean)
}

/// A help text that both formats can carry: they escape backslashes and newlines alike;
/// a double quote, where they differ, becomes a single one.
fn help(text: &str) -> Cow<'_, str> {
    if !text.contains(['\\', '\n', '\r', '"']) {
        return Cow::Borrowed(text);
    }
    let escaped = text.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', " ");
    Cow::Owned(escaped.replace('"', "'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn negotiated(accept: &str) -> Format {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        Format::negotiate(&headers)
    }

    #[test]
    fn prometheus_gets_open_metrics_and_all_others_text() {
        let prometheus_2_42 = "application/openmetrics-text;version=1.0.0,\
             application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,\
             */*;q=0.1";
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,\
             text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,\
             */*;q=0.2";
        for accept in [prometheus_2_42, prometheus_3, "application/openmetrics-text"] {
            assert_eq!(negotiated(accept), Format::OpenMetrics, "{accept}");
        }
        let draft_only =
            "application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let text_first = "application/openmetrics-text;version=1.0.0;q=0.2,text/plain;q=0.9";
        let refused = "application/openmetrics-text;q=0,*/*";
        for accept in [draft_only, text_first, refused, "*/*", "text/html", "", ";;q=,"] {
            assert_eq!(negotiated(accept), Format::Text, "{accept}");
        }
        assert_eq!(Format::negotiate(&HeaderMap::new()), Format::Text);
    }

    #[test]
    fn both_formats_name_and_type_a_family_their_own_way() {
        let mut counter = Family::new("a_total", "A\\b\nc", Kind::Counter);
        counter.push(Labels::default(), 3.0);
        let mut info = Family::new("b_info", "B", Kind::Info);
        info.push(Labels::new([("x-y", "1"), ("x_y", "2"), ("q", "a\"\n\\")]), 7.0);
        let mut unknown = Family::new("c", "C", Kind::Unknown);
        unknown.push(Labels::default(), 0.5);
        let empty = Family::new("d", "D", Kind::Gauge);
        let registry = Families(vec![counter, info, unknown, empty]).into_registry();
        assert_eq!(
            render(&[&registry], Format::OpenMetrics),
            "# HELP a A\\\\b\\nc\n# TYPE a counter\na_total 3\n\
             # HELP b B\n# TYPE b info\nb_info{x_y=\"1\",q=\"a\\\"\\n\\\\\"} 1\n\
             # HELP c C\n# TYPE c unknown\nc 0.5\n# EOF\n"
        );
        assert_eq!(
            render(&[&registry], Format::Text),
            "# HELP a_total A\\\\b\\nc\n# TYPE a_total counter\na_total 3\n\
             # HELP b_info B\n# TYPE b_info gauge\nb_info{x_y=\"1\",q=\"a\\\"\\n\\\\\"} 1\n\
             # HELP c C\n# TYPE c untyped\nc 0.5\n"
        );
    }

    #[test]
    fn label_names_are_made_to_parse() {
        let cases = [
            ("a", "a"),
            ("_a", "_a"),
            ("", "_"),
            ("1a", "_1a"),
            ("a-b.c", "a_b_c"),
            ("__name__", "_name__"),
            ("é", "_"),
            ("--", "_"),
        ];
        for (raw, clean) in cases {
            assert_eq!(label_name(raw), clean, "{raw:?}");
        }
    }
}
