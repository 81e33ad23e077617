//! Series as plain data, which cannot become a line that does not parse.

use std::{borrow::Cow, sync::Arc};

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
///
/// They are kept as they are written, so that the many series of one container or agent
/// share one text, which is made once and copied into each line.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Arc<str>);

impl Labels {
    /// Labels from names and values. A name is made to parse by [`label_name`]; where it is
    /// then the name of an earlier label, that one stays.
    pub fn new<N: AsRef<str>, V: AsRef<str>>(labels: impl IntoIterator<Item = (N, V)>) -> Self {
        Self::default().with(labels)
    }

    /// Labels whose names stand in the code, parse and differ. That is not looked at in a
    /// release, where a scrape makes tens of thousands of them.
    pub fn fixed<const N: usize>(names: [&'static str; N], values: [&str; N]) -> Self {
        let length = |texts: [&str; N]| texts.iter().map(|text| text.len()).sum::<usize>();
        let mut text = String::with_capacity(length(names) + length(values) + 4 * N);
        for (name, value) in names.into_iter().zip(values) {
            append(&mut text, name, value);
        }
        debug_assert_eq!(*text, *Self::new(names.into_iter().zip(values)).0);
        Self(text.into())
    }

    /// These labels and more, by the same rules.
    #[must_use]
    pub fn with<N: AsRef<str>, V: AsRef<str>>(
        &self,
        labels: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        let mut text = String::from(&*self.0);
        for (name, value) in labels {
            let name = label_name(name.as_ref());
            if !has(&text, &name) {
                append(&mut text, &name, value.as_ref());
            }
        }
        Self(text.into())
    }

    /// These labels and those of `more`, none of which may be called the same.
    #[must_use]
    pub fn and(&self, more: &Self) -> Self {
        match (&*self.0, &*more.0) {
            (_, "") => self.clone(),
            ("", _) => more.clone(),
            (these, those) => Self([these, those].join(",").into()),
        }
    }

    /// As they stand between the braces: `a="1",b="2"`; empty where there are none.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a label of this name is in `text`. What precedes a name there is the start or
/// a comma after a quote, and a quote within a value has a backslash before it.
fn has(text: &str, name: &str) -> bool {
    let starts = |at: usize| at == 0 || text[..at].ends_with("\",");
    text.match_indices(name).any(|(at, _)| starts(at) && text[at + name.len()..].starts_with("=\""))
}

fn append(text: &mut String, name: &str, value: &str) {
    if !text.is_empty() {
        text.push(',');
    }
    text.push_str(name);
    text.push_str("=\"");
    escape(text, value);
    text.push('"');
}

/// Both formats escape these three alike.
fn escape(text: &mut String, value: &str) {
    let mut rest = value;
    while let Some(at) = rest.bytes().position(|byte| matches!(byte, b'\\' | b'"' | b'\n')) {
        text.push_str(&rest[..at]);
        text.push_str(match rest.as_bytes()[at] {
            b'\n' => "\\n",
            b'"' => "\\\"",
            _ => "\\\\",
        });
        rest = &rest[at + 1..];
    }
    text.push_str(rest);
}

/// Series of one name.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    /// The name as Prometheus stores it, with `_total` or `_info`.
    pub name: Cow<'static, str>,
    /// One or two sentences; any text is safe.
    pub help: Cow<'static, str>,
    /// What the values mean.
    pub kind: Kind,
    /// What every series has behind its own labels, none of which may be called the same.
    pub labels: Labels,
    /// The series. A family without any is not written.
    pub samples: Vec<(Labels, f64)>,
}

impl Family {
    /// A family without series yet. A counter whose name lacks `_total`, or an info whose
    /// name lacks `_info`, would not parse as such in OpenMetrics: its kind is unknown.
    pub fn new(
        name: impl Into<Cow<'static, str>>,
        help: impl Into<Cow<'static, str>>,
        kind: Kind,
    ) -> Self {
        let name = name.into();
        let kind = match kind {
            Kind::Counter if !name.ends_with("_total") => Kind::Unknown,
            Kind::Info if !name.ends_with("_info") => Kind::Unknown,
            kind => kind,
        };
        Self { name, help: help.into(), kind, labels: Labels::default(), samples: Vec::new() }
    }

    /// The same, all of whose series have these labels. Families of one name may have
    /// different ones: then they are written as one.
    #[must_use]
    pub fn labelled(self, labels: Labels) -> Self {
        Self { labels, ..self }
    }

    /// Adds a series. An info family's value is written as 1, and a counter that is below
    /// zero or no number is not written. Labels that came before fail a scrape.
    pub fn push(&mut self, labels: Labels, value: f64) {
        self.samples.push((labels, value));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_labels_that_get_the_same_name_the_first_stays() {
        let labels = Labels::new([("x-y", "1"), ("x_y", "2"), ("q", "a\"\n\\")]);
        assert_eq!(labels.as_str(), "x_y=\"1\",q=\"a\\\"\\n\\\\\"");
        assert_eq!(
            labels.with([("q", "3"), ("y", "4")]).as_str(),
            format!("{},y=\"4\"", labels.as_str())
        );
    }

    #[test]
    fn a_value_that_reads_like_a_label_is_not_taken_for_one() {
        let labels = Labels::new([("a", "\",b=\"")]);
        assert_eq!(
            labels.with([("b", "1"), ("a", "2")]).as_str(),
            format!("{},b=\"1\"", labels.as_str())
        );
    }

    #[test]
    fn a_name_that_does_not_fit_its_kind_has_none() {
        let kind = |name, kind| Family::new(name, "", kind).kind;
        assert_eq!(kind("a_total", Kind::Counter), Kind::Counter);
        assert_eq!(kind("a_count", Kind::Counter), Kind::Unknown);
        assert_eq!(kind("a", Kind::Info), Kind::Unknown);
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
