//! Keys of Mesos with variable parts, such as
//! `master/frameworks/<framework_name%>/<framework_id>/calls/<call>`.
//!
//! | placeholder | what it takes |
//! |---|---|
//! | `<x>` | a segment or a part of one: any text without `/`, perhaps none |
//! | `<x%>` | the same, which Mesos has percent-encoded |
//! | `<x*>` | any text, `/` included: roles and principals, which Mesos writes as they are |
//!
//! Of two placeholders in one segment the first takes all it can, so that a resource
//! provider's type and name part at their last dot. One that takes `/` is the last of its
//! pattern, so that there is one way to match.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// A compiled pattern.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pattern {
    /// The text before the first placeholder.
    prefix: String,
    parts: Vec<Part>,
}

/// A placeholder and the text after it.
#[derive(Clone, Debug, PartialEq)]
struct Part {
    name: String,
    takes: Takes,
    literal: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    Segment,
    Encoded,
    Anything,
}

impl Part {
    /// What it takes of `rest`, in which another placeholder follows, and what comes after
    /// its literal. It is greedy within the segment, and past it only by the literal itself.
    fn split<'k>(&self, rest: &'k str) -> Option<(&'k str, &'k str)> {
        let segment = rest.find('/').unwrap_or(rest.len());
        if self.literal.starts_with('/') {
            return Some((&rest[..segment], rest[segment..].strip_prefix(&*self.literal)?));
        }
        let end = (segment + self.literal.len()).min(rest.len());
        let found = rest.get(..end)?.rfind(&*self.literal)?;
        Some((&rest[..found], &rest[found + self.literal.len()..]))
    }
}

impl Pattern {
    /// Reads a pattern. The error says what is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut pieces = text.split('<');
        let prefix = pieces.next().unwrap_or_default().to_owned();
        let mut parts: Vec<Part> = Vec::new();
        for piece in pieces {
            let (name, literal) =
                piece.split_once('>').ok_or_else(|| format!("{text}: a placeholder has no end"))?;
            let (name, takes) = match name.strip_suffix('%') {
                Some(name) => (name, Takes::Encoded),
                None => name
                    .strip_suffix('*')
                    .map_or((name, Takes::Segment), |name| (name, Takes::Anything)),
            };
            if parts
                .last()
                .is_some_and(|part| part.takes == Takes::Anything || part.literal.is_empty())
            {
                return Err(format!("{text}: <{name}> cannot be told from what is before it"));
            }
            parts.push(Part { name: name.to_owned(), takes, literal: literal.to_owned() });
        }
        Ok(Self { prefix, parts })
    }

    /// A key without placeholders, whatever brackets it has.
    pub(super) fn literal(key: &str) -> Self {
        Self { prefix: key.to_owned(), parts: Vec::new() }
    }

    pub(super) fn is_literal(&self) -> bool {
        self.parts.is_empty()
    }

    /// The names of its placeholders, in order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().map(|part| part.name.as_str())
    }

    /// What the placeholders took of `key`, in order; `None` if it is another key.
    pub(super) fn matches<'k>(&self, key: &'k str) -> Option<Vec<Cow<'k, str>>> {
        // Most keys are other ones, which shows before anything is decoded or kept.
        self.take(key, |_, _| ())?;
        let mut taken = Vec::with_capacity(self.parts.len());
        self.take(key, |takes, text| {
            taken.push(match takes {
                Takes::Encoded => percent_decode_str(text).decode_utf8_lossy(),
                Takes::Segment | Takes::Anything => Cow::Borrowed(text),
            });
        })?;
        Some(taken)
    }

    /// Tells `each` what a placeholder takes of `key`, up to where it is another key.
    fn take<'k>(&self, key: &'k str, mut each: impl FnMut(Takes, &'k str)) -> Option<()> {
        let mut rest = key.strip_prefix(&*self.prefix)?;
        for (at, part) in self.parts.iter().enumerate() {
            let is_last = at + 1 == self.parts.len();
            let (text, after) =
                if is_last { (rest.strip_suffix(&*part.literal)?, "") } else { part.split(rest)? };
            if part.takes != Takes::Anything && text.contains('/') {
                return None;
            }
            each(part.takes, text);
            rest = after;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(pattern: &str, key: &str) -> Option<Vec<String>> {
        let taken = Pattern::parse(pattern).unwrap().matches(key)?;
        Some(taken.into_iter().map(Cow::into_owned).collect())
    }

    #[test]
    fn a_framework_s_name_is_decoded_and_its_id_is_not() {
        let pattern = "master/frameworks/<name%>/<id>/calls/<call>";
        let key = "master/frameworks/team%2Fetl%20job/a%2Fb-0001/calls/accept";
        assert_eq!(taken(pattern, key).unwrap(), ["team/etl job", "a%2Fb-0001", "accept"]);
        assert_eq!(taken(pattern, "master/frameworks//x/calls/y").unwrap(), ["", "x", "y"]);
        assert_eq!(taken(pattern, "master/frameworks/a/b/calls"), None);
        assert_eq!(taken(pattern, "master/frameworks/a/b/calls/c/d"), None);
        assert_eq!(taken(pattern, "master/frameworks/%ff/b/calls/c").unwrap()[0], "\u{fffd}");
    }

    #[test]
    fn a_role_may_hold_slashes_be_a_star_or_be_empty() {
        let pattern = "allocator/mesos/quota/roles/<role*>/resources/cpus/limit";
        for role in ["eng/web", "*", "", "a/resources/cpus/limit"] {
            let key = format!("allocator/mesos/quota/roles/{role}/resources/cpus/limit");
            assert_eq!(taken(pattern, &key).unwrap(), [role]);
        }
        assert_eq!(taken(pattern, "allocator/mesos/quota/roles/a/resources/mem/limit"), None);
        assert_eq!(taken(pattern, "allocator/mesos/quota/roles/resources/cpus/limit"), None);
    }

    #[test]
    fn a_provider_s_type_and_name_part_at_the_last_dot() {
        let pattern = "resource_providers/<type>.<name>/operations/<op>/pending";
        let key =
            "resource_providers/org.apache.mesos.rp.local.storage.lvm/operations/reserve/pending";
        assert_eq!(
            taken(pattern, key).unwrap(),
            ["org.apache.mesos.rp.local.storage", "lvm", "reserve"]
        );
        assert_eq!(taken(pattern, "resource_providers/lvm/operations/a.b/pending"), None);
    }

    #[test]
    fn parts_of_one_segment_are_told_apart_by_the_text_between_them() {
        let pattern = "master/task_<state>/source_<source>/reason_<reason>";
        let key = "master/task_lost/source_slave/reason_executor_terminated";
        assert_eq!(taken(pattern, key).unwrap(), ["lost", "slave", "executor_terminated"]);
        assert_eq!(taken(pattern, "master/tasks_lost"), None);
    }

    #[test]
    fn a_pattern_that_could_match_in_two_ways_is_refused() {
        for pattern in ["a/<b", "a/<b><c>", "a/<b*>/<c>"] {
            assert!(Pattern::parse(pattern).is_err(), "{pattern}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_key_is_matched_or_not_without_a_panic(key in "[a-z/.%é<>]{0,40}") {
            for pattern in ["a/<b>/c", "<b>.<c>/<d>", "<b*>", "a<b%>é<c>"] {
                Pattern::parse(pattern).unwrap().matches(&key);
            }
        }
    }
}
