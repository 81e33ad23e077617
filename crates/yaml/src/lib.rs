//! Configuration files: read under a cap, parsed strictly, and every problem named
//! with its place, as `FILE:LINE:COL: message`.
//!
//! Strict means: one document, no duplicate keys, and no unknown keys where the type
//! says `deny_unknown_fields` (each of ours does). What a value means is the daemon's
//! to judge; [`Document::problem`] gives its verdicts a line, too.
//!
//! [`Document::parse`] into a type stops at the first problem. Who wants all of them
//! parses a [`Tree`] and reads the type from that, noting [`Complaints`].

mod complaints;
mod tree;

use std::{
    fmt::{self, Write as _},
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use serde::de::{
    DeserializeOwned, DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

pub use self::{complaints::Complaints, tree::Tree};

/// A configuration file never needs more; what is larger is not one.
pub const MAX_BYTES: u64 = 1024 * 1024;

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file as it was named.
    pub file: PathBuf,
    /// Line and column, from 1; `None` where the file as a whole is meant.
    pub place: Option<(usize, usize)>,
    /// What is wrong, with the path of the key.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.file.display())?;
        if let Some((line, column)) = self.place {
            write!(f, "{line}:{column}:")?;
        }
        f.write_str(" ")?;
        // A key may be any text, and a problem is one line.
        self.message.chars().try_for_each(|c| match c.is_control() {
            true => write!(f, "{}", c.escape_default()),
            false => f.write_char(c),
        })
    }
}

/// A file's text, kept so that what is found wrong later still has a line.
#[derive(Clone, Debug)]
pub struct Document {
    file: PathBuf,
    text: String,
}

impl Document {
    /// A document whose text is already at hand.
    pub fn new(file: impl Into<PathBuf>, text: impl Into<String>) -> Self {
        Self { file: file.into(), text: text.into() }
    }

    /// Reads a file of at most `limit_bytes` ([`MAX_BYTES`] is usual).
    pub fn read(path: &Path, limit_bytes: u64) -> Result<Self, Problem> {
        let problem = |message: String| Problem { file: path.to_owned(), place: None, message };
        let mut bytes = Vec::new();
        File::open(path)
            .and_then(|file| file.take(limit_bytes.saturating_add(1)).read_to_end(&mut bytes))
            .map_err(|error| problem(format!("cannot be read: {error}")))?;
        if bytes.len() as u64 > limit_bytes {
            return Err(problem(format!("is larger than {limit_bytes} bytes")));
        }
        let text = String::from_utf8(bytes).map_err(|_| problem("is not UTF-8".into()))?;
        Ok(Self::new(path, text))
    }

    /// Parses the text as exactly one document.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, Vec<Problem>> {
        if self.is_empty() {
            // Each key may have a default, but a file cut to nothing is no wish for them.
            let message = "the file is empty".to_owned();
            return Err(vec![Problem { file: self.file.clone(), place: None, message }]);
        }
        let deserializer = serde_yaml::Deserializer::from_str(&self.text);
        serde_path_to_error::deserialize(deserializer).map_err(|error| {
            let key = error.path().to_string();
            vec![self.refused(&key, error.inner())]
        })
    }

    /// What is wrong with the value at `key`, written like `policy.rules[0].for`. The
    /// place is that of the value, or of the nearest part of the path that exists.
    pub fn problem(&self, key: &str, message: impl fmt::Display) -> Problem {
        let place = enclosing(key).find_map(|path| self.locate(path));
        Problem { file: self.file.clone(), place, message: format!("{key}: {message}") }
    }

    /// Nothing but comments and document marks.
    fn is_empty(&self) -> bool {
        let mut lines = self.text.lines().map(str::trim);
        lines.all(|line| line.is_empty() || line.starts_with('#') || line == "---")
    }

    fn refused(&self, key: &str, error: &serde_yaml::Error) -> Problem {
        let mut message = error.to_string();
        let place = error.location().map(|at| (at.line(), at.column()));
        if let Some((line, column)) = place {
            // The place is already at the start of the line.
            let said = format!(" at line {line} column {column}");
            message = message.replace(&said, "");
        }
        // The parser names the mapping, the path the key in it: one is enough.
        if let Some((outer, rest)) = message.split_once(": ")
            && key.starts_with(outer)
        {
            message = rest.to_owned();
        }
        if key != "." {
            message = format!("{key}: {message}");
        }
        Problem { file: self.file.clone(), place, message }
    }

    /// Walks to a value and fails there on purpose: the parser's error has the place.
    fn locate(&self, path: &str) -> Option<(usize, usize)> {
        let deserializer = serde_yaml::Deserializer::from_str(&self.text);
        let error = Walk(path).deserialize(deserializer).err()?;
        error.to_string().contains(ARRIVED).then_some(())?;
        error.location().map(|at| (at.line(), at.column()))
    }
}

/// What [`Walk`] fails with where it was sent.
const ARRIVED: &str = "here is the value that was looked for";

/// A path, then that of what it is in, and so on to the file as a whole.
fn enclosing(key: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(key), |path| {
        (!path.is_empty()).then(|| path.rfind(['.', '[']).map_or("", |end| &path[..end]))
    })
}

/// Ends with [`ARRIVED`] at the value this path leads to, and well if there is none.
///
/// The path is not taken apart beforehand: a key may itself have a dot in it.
struct Walk<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl Walk<'_> {
    fn scalar<E: serde::de::Error>(&self) -> Result<(), E> {
        if self.0.is_empty() { Err(E::custom(ARRIVED)) } else { Ok(()) }
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        if self.0.is_empty() {
            return Err(A::Error::custom(ARRIVED));
        }
        let path = self.0.strip_prefix('.').unwrap_or(self.0);
        while let Some(key) = map.next_key::<String>()? {
            let rest = path.strip_prefix(key.as_str());
            match rest.filter(|rest| rest.is_empty() || rest.starts_with(['.', '['])) {
                Some(rest) => map.next_value_seed(Walk(rest))?,
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        if self.0.is_empty() {
            return Err(A::Error::custom(ARRIVED));
        }
        for index in 0.. {
            let more = match self.0.strip_prefix(&format!("[{index}]")) {
                Some(rest) => seq.next_element_seed(Walk(rest))?.is_some(),
                None => seq.next_element::<IgnoredAny>()?.is_some(),
            };
            if !more {
                break;
            }
        }
        Ok(())
    }

    fn visit_bool<E: serde::de::Error>(self, _: bool) -> Result<(), E> {
        self.scalar()
    }

    fn visit_i64<E: serde::de::Error>(self, _: i64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_u64<E: serde::de::Error>(self, _: u64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_f64<E: serde::de::Error>(self, _: f64) -> Result<(), E> {
        self.scalar()
    }

    fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<(), E> {
        self.scalar()
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.scalar()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        #[serde(default)]
        #[expect(dead_code, reason = "only whether it parses is of interest")]
        rules: Vec<Rule>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Rule {
        #[expect(dead_code, reason = "only whether it parses is of interest")]
        name: String,
        #[serde(default)]
        #[expect(dead_code, reason = "only whether it parses is of interest")]
        count: u8,
    }

    fn problems(text: &str) -> Vec<String> {
        let problems = Document::new("x.yml", text).parse::<Config>().unwrap_err();
        problems.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_problem_is_one_line_whatever_the_key() {
        let found = problems("\"a\\nb\": 1\n");
        assert!(found[0].contains("a\\nb") && !found[0].contains('\n'), "{found:?}");
    }

    #[test]
    fn each_bad_file_is_refused_with_its_place() {
        let cases = [
            (
                "rules:\n  - name: a\n    nam: b\n",
                "x.yml:3:5: rules[0].nam: unknown field `nam`, expected `name` or `count`",
            ),
            (
                "rules:\n  - name: a\n    count: many\n",
                "x.yml:3:12: rules[0].count: invalid type: string \"many\", expected u8",
            ),
            ("rules: []\nrules: []\n", "x.yml:1:1: duplicate field `rules`"),
            ("rules:\n  - count: 1\n", "x.yml:2:5: rules[0]: missing field `name`"),
            ("rules: [\n", "x.yml:2:1: rules: did not find expected node content"),
        ];
        for (text, expected) in cases {
            let found = problems(text);
            assert_eq!(found.len(), 1);
            assert!(found[0].starts_with(expected), "{text:?}: {found:?}");
        }
    }

    #[test]
    fn a_second_document_is_refused() {
        assert!(problems("rules: []\n---\nrules: []\n")[0].contains("more than one document"));
    }

    #[test]
    fn an_empty_file_is_refused() {
        assert_eq!(problems("---\n# nothing\n"), ["x.yml: the file is empty"]);
    }

    #[test]
    fn a_file_over_the_cap_or_missing_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.yml");
        let message = |limit| Document::read(&path, limit).unwrap_err().message;
        assert!(message(8).starts_with("cannot be read: "));
        std::fs::write(&path, "rules: []").unwrap();
        assert_eq!(message(8), "is larger than 8 bytes");
        assert!(Document::read(&path, 9).unwrap().parse::<Config>().is_ok());
    }

    #[test]
    fn a_later_verdict_has_the_place_of_its_value() {
        let text = "a: 1\nrules:\n  - name: x\n  - name: y\n    count: 300\n\
                    users: {ada: 1,\n  ada.l: 2}\n";
        let document = Document::new("x.yml", text);
        let places = [
            ("rules[1].count", Some((5, 12))),
            ("rules[1]", Some((4, 5))),
            ("rules[1].missing", Some((4, 5))),
            ("rules[7].name", Some((3, 3))),
            ("missing.entirely", Some((1, 1))),
            ("a", Some((1, 4))),
            ("users.ada.l", Some((7, 10))),
            ("users.ada", Some((6, 14))),
        ];
        for (key, place) in places {
            assert_eq!(document.problem(key, "bad").place, place, "{key}");
        }
        assert_eq!(
            document.problem("rules[1].count", "too many").to_string(),
            "x.yml:5:12: rules[1].count: too many"
        );
    }
}
