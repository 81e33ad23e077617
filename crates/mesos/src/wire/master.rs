//! `/version` and `/flags`, which masters and agents answer alike, and followers too.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde::de::MapAccess;

use super::lenient::{Field, Key, Lenient, lenient, lenient_or_empty, object};
use super::{ParseError, parse};

/// The path of [`Version`].
pub const VERSION_PATH: &str = "version";
/// The path of [`Flags`].
pub const FLAGS_PATH: &str = "flags";

/// Reads `/version`.
pub fn parse_version(body: &[u8]) -> Result<Version<'_>, ParseError> {
    parse("version", body)
}

/// Reads `/flags`.
pub fn parse_flags(body: &[u8]) -> Result<Flags<'_>, ParseError> {
    parse("list of flags", body)
}

/// Which build of Mesos answers.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Version<'a> {
    /// `1.11.0`.
    #[serde(borrow, default, deserialize_with = "lenient")]
    pub version: Option<Cow<'a, str>>,
}

/// The flags it was started with.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[non_exhaustive]
pub struct Flags<'a> {
    /// Every flag with its value, defaults included; all values are text. `hostname`, `cluster`,
    /// `zk`, `quorum`; `whitelist` without its `file://`.
    #[serde(borrow, default, deserialize_with = "lenient_or_empty")]
    pub flags: FlagMap<'a>,
}

/// Flags by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FlagMap<'a>(pub BTreeMap<Cow<'a, str>, Cow<'a, str>>);

object!(Version<'a>, Flags<'a>);

impl<'de: 'a, 'a> Field<'de> for FlagMap<'a> {
    fn from_object<A: MapAccess<'de>>(mut object: A) -> Result<Option<Self>, A::Error> {
        let mut flags = BTreeMap::new();
        while let Some((Key(name), Lenient(value))) =
            object.next_entry::<_, Lenient<Cow<'de, str>>>()?
        {
            if let Some(value) = value {
                flags.entry(name).or_insert(value);
            }
        }
        Ok(Some(FlagMap(flags)))
    }
}
