//! Host names: exactly what an agent registers with and what Mesos compares.

use std::{fmt, net::IpAddr, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// The longest name DNS can carry (RFC 1035 §2.3.4).
const MAX_LENGTH: usize = 253;
/// The longest label between two dots (RFC 1035 §2.3.4).
const MAX_LABEL_LENGTH: usize = 63;

/// An RFC 1123 host name or an IP address.
///
/// Kept verbatim: Mesos compares a line of its whitelist with the agent's
/// registered name byte by byte, so nothing is trimmed and no case is folded.
/// Shared, since a round writes the same name into many maps.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostName(Arc<str>);

/// Why a text is not a host name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is neither an RFC 1123 host name nor an IP address")]
pub struct InvalidHostName {
    text: String,
}

impl HostName {
    /// The name as Mesos compares it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for HostName {
    type Err = InvalidHostName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.parse::<IpAddr>().is_ok() || is_rfc1123(text) {
            return Ok(Self(text.into()));
        }
        // A message must not become as long as somebody's request.
        let shown: String = text.chars().take(80).collect();
        Err(InvalidHostName { text: shown })
    }
}

fn is_rfc1123(text: &str) -> bool {
    let label = |label: &str| {
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        !label.is_empty()
            && label.len() <= MAX_LABEL_LENGTH
            && label.bytes().all(inner)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= MAX_LENGTH && text.split('.').all(label)
}

impl TryFrom<String> for HostName {
    type Error = InvalidHostName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<HostName> for String {
    fn from(host: HostName) -> Self {
        host.0.as_ref().to_owned()
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Lets maps keyed by host be asked with what a label says.
impl std::borrow::Borrow<str> for HostName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_kept_verbatim() {
        for name in ["h1", "H1.Lab", "10.0.0.1", "::1", "a-b.c-d", "1.example"] {
            assert_eq!(name.parse::<HostName>().unwrap().as_str(), name);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let long = "a".repeat(64);
        for name in ["", " h1", "h1 ", "h1\r", "#h1", "*", "-a", "a-", "a..b", "a/b", "a_b", &long]
        {
            assert!(name.parse::<HostName>().is_err(), "{name:?}");
        }
    }
}
