//! The values that are written as text: durations, shares, URLs, matchers.
//!
//! Each is read into its type where it stands in the file, so that what is wrong
//! with it is said with its line.

use std::{
    fmt::{self, Write as _},
    marker::PhantomData,
    net::SocketAddr,
    str::FromStr,
    time::Duration,
};

use satellite_core::{
    matcher::{Matcher, MatcherSet},
    policy::{MinHosts, Share},
};
use serde::{
    Deserialize, Deserializer,
    de::{Error, Visitor},
};
use url::Url;

/// No wait is longer. It also keeps every sum and product of waits far from the
/// end of what can be represented.
const MAX_WAIT: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// The units of Prometheus's durations. The parser knows more (`M` is a month to
/// it), which would be read differently elsewhere.
const UNITS: [&str; 7] = ["ms", "s", "m", "h", "d", "w", "y"];

/// Reads a duration as Prometheus writes it: what a command says of one and what the
/// configuration says mean the same.
///
/// # Errors
/// What is wrong, and what to write instead.
pub fn read_duration(text: &str) -> Result<Duration, String> {
    Duration::read(text)
}

/// A duration as it is read again, to the millisecond: `1d2h30m`.
pub fn write_duration(duration: Duration) -> String {
    let mut rest = duration.as_millis();
    let mut text = String::new();
    for (unit, millis) in
        [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)]
    {
        let count = rest / millis;
        rest %= millis;
        if count > 0 {
            write!(text, "{count}{unit}").expect("writing to a string does not fail");
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// A value that is written as text.
#[derive(Debug)]
pub(super) struct Text<T>(pub(super) T);

/// What a text is expected to be, and how it is read.
pub(super) trait Written: Sized {
    /// Completes "expected …".
    const FORM: &'static str;

    /// Reads it, or says what is wrong and what to write instead.
    fn read(text: &str) -> Result<Self, String>;
}

impl<'de, T: Written> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);

        impl<T: Written> Visitor<'_> for Reader<T> {
            type Value = Text<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(T::FORM)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text<T>, E> {
                T::read(text).map(Text).map_err(E::custom)
            }
        }

        deserializer.deserialize_str(Reader(PhantomData))
    }
}

impl Written for Duration {
    const FORM: &'static str = "a duration such as \"30s\", \"5m\" or \"1h30m\"";

    fn read(text: &str) -> Result<Self, String> {
        let invalid = || format!("{text:?} is not {}", Self::FORM);
        let is_unit = |unit: &str| unit.is_empty() || UNITS.contains(&unit);
        let ends_in_unit = text.ends_with(|last: char| last.is_ascii_lowercase());
        if !ends_in_unit || !text.split(|c: char| c.is_ascii_digit()).all(is_unit) {
            return Err(invalid());
        }
        let wait = humantime::parse_duration(text).map_err(|_| invalid())?;
        if wait > MAX_WAIT {
            return Err(format!("{text:?} is longer than ten years"));
        }
        Ok(wait)
    }
}

impl Written for Share {
    const FORM: &'static str = "a share such as \"20%\"";

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error: <Self as FromStr>::Err| error.to_string())
    }
}

impl Written for SocketAddr {
    const FORM: &'static str = "an IP address and a port, such as \"127.0.0.1:5001\"";

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| format!("{text:?} is not {}", Self::FORM))
    }
}

impl Written for Url {
    const FORM: &'static str = "a URL such as \"http://10.0.0.1:5050\"";

    /// What was written is not repeated, for it may hold a password.
    fn read(text: &str) -> Result<Self, String> {
        let url: Self = text.parse().map_err(|error| format!("is not {} ({error})", Self::FORM))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err("is neither http:// nor https://".into());
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err("has a user or a password in it, and URLs are logged and shown; \
                        write it without"
                .into());
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(
                "has a query (`?`) or a fragment (`#`); write the base of the server alone".into(),
            );
        }
        Ok(url)
    }
}

impl Written for Matcher {
    const FORM: &'static str = "a matcher such as 'remediate=\"host\"'";

    fn read(text: &str) -> Result<Self, String> {
        let matcher: Self = text.parse().map_err(|error| one_line(&error))?;
        // `a=b,c=d` is one matcher with an odd value to the core, and two to
        // Alertmanager: only what both read alike is taken.
        let set = MatcherSet::read(text)?;
        if set.to_string() != format!("{{{matcher}}}") {
            return Err(format!("{text:?} is more than one matcher; write each as its own entry"));
        }
        Ok(matcher)
    }
}

impl Written for MatcherSet {
    const FORM: &'static str = "matchers such as 'alertname=\"Watchdog\"'";

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|error| one_line(&error))
    }
}

fn one_line(error: &satellite_core::matcher::InvalidMatcher) -> String {
    format!("{error}; write it as Alertmanager does, such as 'remediate=\"host\"'")
}

/// A count, or a port.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whole<T>(pub(super) T);

impl<'de, T: TryFrom<u64>> Deserialize<'de> for Whole<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader<T>(PhantomData<T>);

        impl<T: TryFrom<u64>> Visitor<'_> for Reader<T> {
            type Value = Whole<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a whole number")
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Whole<T>, E> {
                let fits = T::try_from(number);
                fits.map(Whole).map_err(|_| E::custom(format!("{number} is too large")))
            }
        }

        deserializer.deserialize_any(Reader(PhantomData))
    }
}

/// How many hosts must stay: a count or a share.
#[derive(Debug)]
pub(super) struct Floor(pub(super) MinHosts);

impl<'de> Deserialize<'de> for Floor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;

        impl Visitor<'_> for Reader {
            type Value = Floor;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a count of hosts, or a share such as \"50%\"")
            }

            fn visit_u64<E: Error>(self, count: u64) -> Result<Floor, E> {
                let count = usize::try_from(count).map_err(E::custom)?;
                Ok(Floor(MinHosts::Count(count)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Floor, E> {
                Share::read(text).map(|share| Floor(MinHosts::Share(share))).map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Reader)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_prometheuss() {
        let seconds = |text: &str| Duration::read(text).map(|wait| wait.as_secs_f64());
        assert_eq!(seconds("0s"), Ok(0.0));
        assert_eq!(seconds("500ms"), Ok(0.5));
        assert_eq!(seconds("1h30m"), Ok(5400.0));
        assert_eq!(seconds("7d"), Ok(604_800.0));
        for text in ["", "5", "m", "-1s", "1.5h", "1M", "5 m", "5min", "1h 30m", "11y", "1h30"] {
            assert!(Duration::read(text).is_err(), "{text:?}");
        }
        let endless = format!("{}y", u64::MAX);
        assert!(Duration::read(&endless).is_err());
    }

    #[test]
    fn a_duration_is_written_as_it_is_read() {
        for text in ["0s", "500ms", "1s", "5m", "1h30m", "7d", "1d2h3m4s", "400d1ms"] {
            assert_eq!(write_duration(read_duration(text).unwrap()), text);
        }
    }

    #[test]
    fn a_refused_url_is_never_repeated() {
        for text in ["http://me:secret@h:1", "http://h:1/?token=secret", "secret", "ftp://secret"] {
            let refusal = Url::read(text).unwrap_err();
            assert!(!refusal.contains("secret"), "{refusal}");
        }
        assert!(Url::read("https://proxy/mesos/").is_ok());
    }

    #[test]
    fn several_matchers_in_one_entry_are_refused() {
        assert!(Matcher::read("remediate=host,rack=r1").unwrap_err().contains("more than one"));
        assert!(Matcher::read(r#"note="a,b""#).is_ok());
    }
}
