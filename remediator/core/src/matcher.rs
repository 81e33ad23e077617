//! Matchers in Alertmanager's syntax: `name="value"`, `!=`, `=~`, `!~`.
//!
//! A regular expression is anchored at both ends, and a label that is not there
//! is the empty text, both as in Prometheus.

use std::{collections::BTreeMap, fmt, str::FromStr};

use regex::Regex;

/// The labels of an alert.
pub type Labels = BTreeMap<String, String>;

/// One comparison of one label.
#[derive(Debug, Clone)]
pub struct Matcher {
    name: String,
    text: String,
    test: Test,
}

#[derive(Debug, Clone)]
enum Test {
    Equal,
    NotEqual,
    Match(Regex),
    NoMatch(Regex),
}

/// Why a text is not a matcher.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMatcher {
    /// Nothing in it compares.
    #[error("{0:?} has none of the operators =, !=, =~, !~")]
    NoOperator(String),
    /// What stands before the operator is not a label name.
    #[error("{0:?} is not a label name")]
    LabelName(String),
    /// A value begins with a quote and does not end with one, or the other way round.
    #[error("the quotes of {0:?} do not match")]
    Quotes(String),
    /// A pattern does not compile.
    #[error("{pattern:?} is not a regular expression: {reason}")]
    Pattern {
        /// The pattern as written.
        pattern: String,
        /// What the regex parser says, on one line.
        reason: String,
    },
    /// A set with nothing in it would match every alert.
    #[error("the set of matchers is empty, which would match every alert")]
    Empty,
}

impl Matcher {
    /// Whether the labels pass.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.name).map_or("", String::as_str);
        match &self.test {
            Test::Equal => value == self.text,
            Test::NotEqual => value != self.text,
            Test::Match(regex) => regex.is_match(value),
            Test::NoMatch(regex) => !regex.is_match(value),
        }
    }
}

impl FromStr for Matcher {
    type Err = InvalidMatcher;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let at = text.find(['=', '!']).ok_or_else(|| InvalidMatcher::NoOperator(text.into()))?;
        let (name, rest) = (text[..at].trim(), &text[at..]);
        let operator = ["=~", "!~", "!=", "="]
            .into_iter()
            .find(|operator| rest.starts_with(operator))
            .ok_or_else(|| InvalidMatcher::NoOperator(text.into()))?;
        if !is_label_name(name) {
            return Err(InvalidMatcher::LabelName(name.into()));
        }
        let value = unquote(rest[operator.len()..].trim())?;
        let test = match operator {
            "=" => Test::Equal,
            "!=" => Test::NotEqual,
            "=~" => Test::Match(anchored(&value)?),
            _ => Test::NoMatch(anchored(&value)?),
        };
        Ok(Self { name: name.to_owned(), text: value, test })
    }
}

impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operator = match self.test {
            Test::Equal => "=",
            Test::NotEqual => "!=",
            Test::Match(_) => "=~",
            Test::NoMatch(_) => "!~",
        };
        write!(f, "{}{operator}{:?}", self.name, self.text)
    }
}

/// Whether Prometheus takes the text as the name of a label.
#[must_use]
pub fn is_label_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn unquote(value: &str) -> Result<String, InvalidMatcher> {
    let quotes = || InvalidMatcher::Quotes(value.into());
    let Some(inner) = value.strip_prefix('"') else {
        return if value.contains('"') { Err(quotes()) } else { Ok(value.to_owned()) };
    };
    let inner = inner.strip_suffix('"').ok_or_else(quotes)?;
    let mut plain = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => return Err(quotes()),
            '\\' => match characters.next().ok_or_else(quotes)? {
                'n' => plain.push('\n'),
                escaped @ ('"' | '\\') => plain.push(escaped),
                other => plain.extend(['\\', other]),
            },
            other => plain.push(other),
        }
    }
    Ok(plain)
}

fn anchored(pattern: &str) -> Result<Regex, InvalidMatcher> {
    Regex::new(&format!("^(?:{pattern})$")).map_err(|error| InvalidMatcher::Pattern {
        pattern: pattern.to_owned(),
        reason: error.to_string().lines().last().unwrap_or_default().trim().to_owned(),
    })
}

/// Matchers that must all pass.
#[derive(Debug, Clone)]
pub struct MatcherSet(Vec<Matcher>);

impl MatcherSet {
    /// A set of at least one matcher.
    ///
    /// # Errors
    /// [`InvalidMatcher::Empty`] for none.
    pub fn new(matchers: Vec<Matcher>) -> Result<Self, InvalidMatcher> {
        if matchers.is_empty() { Err(InvalidMatcher::Empty) } else { Ok(Self(matchers)) }
    }

    /// Whether it has every matcher of the other set, so that the other one matches all
    /// that this one does.
    #[must_use]
    pub fn includes(&self, other: &Self) -> bool {
        let has = |wanted: &Matcher| self.0.iter().any(|it| it.to_string() == wanted.to_string());
        other.0.iter().all(has)
    }

    /// Whether one of the matchers is about this label.
    #[must_use]
    pub fn mentions(&self, label: &str) -> bool {
        self.0.iter().any(|matcher| matcher.name == label)
    }

    /// Whether the labels pass every matcher.
    #[must_use]
    pub fn matches(&self, labels: &Labels) -> bool {
        self.0.iter().all(|matcher| matcher.matches(labels))
    }
}

impl FromStr for MatcherSet {
    type Err = InvalidMatcher;

    /// Reads `a="b",c=~"d"`, with or without braces around it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let inner = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(text);
        let parts = split_outside_quotes(inner);
        Self::new(parts.into_iter().map(str::parse).collect::<Result<_, _>>()?)
    }
}

impl fmt::Display for MatcherSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.0.iter().map(Matcher::to_string).collect();
        write!(f, "{{{}}}", parts.join(", "))
    }
}

/// Splits at commas that stand outside quotes; a last, empty part is dropped.
fn split_outside_quotes(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, character) in text.char_indices() {
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => {
                parts.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    if !text[start..].trim().is_empty() {
        parts.push(&text[start..]);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|&(name, value)| (name.into(), value.into())).collect()
    }

    #[test]
    fn each_operator_compares_as_prometheus_does() {
        let host = labels(&[("remediate", "host"), ("rack", "r12")]);
        let cases = [
            (r#"remediate="host""#, true),
            ("remediate=host", true),
            (r#"remediate!="host""#, false),
            (r#"rack=~"r1.""#, true),
            (r#"rack=~"r1""#, false),
            (r#"rack!~"r1""#, true),
            (r#"missing="""#, true),
            (r#"missing!="""#, false),
            (r#"{remediate="host", rack=~"r.*"}"#, true),
            (r#"remediate="host",rack="r,13""#, false),
        ];
        for (text, wanted) in cases {
            assert_eq!(text.parse::<MatcherSet>().unwrap().matches(&host), wanted, "{text}");
        }
    }

    #[test]
    fn escapes_are_read_and_shown_alike() {
        let matcher: Matcher = r#"a="x\"y\\z\n""#.parse().unwrap();
        assert!(matcher.matches(&labels(&[("a", "x\"y\\z\n")])));
        assert_eq!(matcher.to_string(), r#"a="x\"y\\z\n""#);
    }

    #[test]
    fn rubbish_is_refused_with_what_is_wrong() {
        for text in ["", "{}", "host", r#"a="b"#, r#"a=b""#, r#"1a="b""#, r#"a=~"(""#, r#"a="b"c""#]
        {
            assert!(text.parse::<MatcherSet>().is_err(), "{text:?}");
        }
    }
}
