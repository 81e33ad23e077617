//! One reading of the file and of what it names, and whether another one is due.
//!
//! Beyond the format's own rules, an empty file is refused: to leave everybody in is no wish
//! to be read from a file that was cut to nothing.

use std::{
    fs::{self, File},
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use axum::http::HeaderMap;
use rustls::ServerConfig;
use satellite_yaml::{Complaints, Document, MAX_BYTES, Problem, Tree};

use super::{
    headers,
    rate::{self, Rate},
    raw::Raw,
    tls::{self, Tls},
    users::{self, Users},
};

/// A chain is a few kB, and the bundle of all public authorities is 250 kB.
const MAX_PEM_BYTES: u64 = 1024 * 1024;

/// What is in force as a whole.
#[derive(Debug, Default)]
pub(super) struct Settings {
    pub(super) tls: Option<Arc<ServerConfig>>,
    pub(super) headers: HeaderMap,
    pub(super) users: Option<Arc<Users>>,
    pub(super) rate: Option<Rate>,
    pub(super) protection: Protection,
}

/// The kinds of protection that there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Protection {
    pub(super) tls: bool,
    pub(super) client_certificates: bool,
    pub(super) client_names: bool,
    pub(super) users: bool,
}

impl Protection {
    /// The first kind that one has and the other lacks.
    pub(super) fn differs_from(self, other: Self) -> Option<&'static str> {
        let kinds = [
            (self.tls != other.tls, "TLS"),
            (self.client_certificates != other.client_certificates, "client certificates"),
            (self.client_names != other.client_names, "client_allowed_sans"),
            (self.users != other.users, "basic_auth_users"),
        ];
        kinds.into_iter().find_map(|(differs, kind)| differs.then_some(kind))
    }
}

/// What a reading brought, and the files that it depends on.
pub(super) struct Reading {
    pub(super) outcome: Result<Settings, Vec<Problem>>,
    pub(super) seen: Vec<Seen>,
}

/// Reads the file and all that it names.
pub(super) fn read(path: &Path) -> Reading {
    let mut files = Files::beside(path);
    let outcome = read_settings(path, &mut files);
    Reading { outcome, seen: files.seen }
}

fn read_settings(path: &Path, files: &mut Files) -> Result<Settings, Vec<Problem>> {
    files.note(path);
    let document = Document::read(path, MAX_BYTES).map_err(|problem| vec![problem])?;
    let tree: Tree = document.parse()?;
    let mut complaints = Complaints::default();
    let raw: Option<Raw> = tree.read_as(&mut complaints);
    // What stands in a wrong place may be a secret.
    let mut complaints = complaints.reworded(without_value);
    let settings = raw.map(|raw| judge(raw, files, &mut complaints));
    settings.filter(|_| complaints.is_empty()).ok_or_else(|| complaints.located(&document))
}

/// What the values mean. Of use only without complaints.
fn judge(raw: Raw, files: &mut Files, complaints: &mut Complaints) -> Settings {
    let Raw { tls_server_config, http_server_config, basic_auth_users, rate_limit } = raw;
    let tls = tls_server_config.and_then(|raw| tls::judge(raw, files, complaints));
    let headers = http_server_config.and_then(|raw| raw.headers).unwrap_or_default();
    let users = users::judge(basic_auth_users.unwrap_or_default(), complaints);
    let protection = Protection {
        tls: tls.is_some(),
        client_certificates: tls.as_ref().is_some_and(|tls| tls.demands_certificates),
        client_names: tls.as_ref().is_some_and(|tls| tls.demands_names),
        users: users.is_some(),
    };
    Settings {
        tls: tls.map(|Tls { config, .. }| Arc::new(config)),
        headers: headers::judge(headers, complaints),
        users: users.map(Arc::new),
        rate: rate_limit.and_then(|raw| rate::judge(raw, complaints)),
        protection,
    }
}

/// The parser's words without what it found: `invalid type, expected a string`.
fn without_value(message: String) -> String {
    let Some((kind @ ("invalid type" | "invalid value"), rest)) = message.split_once(": ") else {
        return message;
    };
    match rest.rsplit_once(", expected ") {
        Some((_, expected)) => format!("{kind}, expected {expected}"),
        None => kind.to_owned(),
    }
}

/// Reads files that the configuration names, and notes how each was.
pub(super) struct Files {
    /// Relative names begin here.
    folder: PathBuf,
    seen: Vec<Seen>,
}

impl Files {
    fn beside(path: &Path) -> Self {
        Self { folder: path.parent().unwrap_or(Path::new("")).to_owned(), seen: Vec::new() }
    }

    /// What a file holds, or why it cannot be had.
    pub(super) fn read(&mut self, name: &Path) -> Result<Vec<u8>, String> {
        let path = self.folder.join(name);
        self.note(&path);
        let mut bytes = Vec::new();
        File::open(&path)
            .and_then(|file| file.take(MAX_PEM_BYTES + 1).read_to_end(&mut bytes))
            .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
        if bytes.len() as u64 > MAX_PEM_BYTES {
            return Err(format!("{} is larger than {MAX_PEM_BYTES} bytes", path.display()));
        }
        Ok(bytes)
    }

    /// To be called before a file is read: if it changes meanwhile, it is read again.
    fn note(&mut self, path: &Path) {
        self.seen.push(Seen { path: path.to_owned(), stamp: Stamp::of(path) });
    }
}

/// A file as it was before it was read; without a stamp, it could not be looked at.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    path: PathBuf,
    stamp: Option<Stamp>,
}

/// Whether any of the files is no longer as it was.
pub(super) fn have_changed(seen: &[Seen]) -> bool {
    seen.iter().any(|Seen { path, stamp }| Stamp::of(path) != *stamp)
}

/// What differs when a file was written or another one was put in its place, also through a
/// symbolic link.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    file: (u64, u64),
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let found = fs::metadata(path).ok()?;
        Some(Self {
            file: (found.dev(), found.ino()),
            bytes: found.size(),
            modified: (found.mtime(), found.mtime_nsec()),
            changed: (found.ctime(), found.ctime_nsec()),
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.yml");
        fs::write(&path, text).unwrap();
        let outcome = read(&path).outcome;
        outcome.err().unwrap_or_default().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn nothing_that_may_be_a_secret_is_repeated() {
        for text in [
            "hushhush",
            "- hushhush",
            "basic_auth_users: hushhush",
            "basic_auth_users: {ada: hushhush}",
            "basic_auth_users: {ada: [hushhush]}",
            "basic_auth_users: {ada: 4711}",
            "tls_server_config: {key: hushhush, cert: hushhush}",
            "tls_server_config: hushhush",
            "tls_server_config: {key: 4711}",
            "http_server_config: {http2: hushhush}",
            "rate_limit: {interval: [hushhush]}",
        ] {
            let problems = problems(text);
            assert!(!problems.is_empty(), "{text}");
            for problem in problems {
                assert!(!problem.contains("hushhush") && !problem.contains("4711"), "{problem}");
            }
        }
    }

    const WHOLE: &str = include_str!("../../tests/web/whole.good.yml");

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String) {
            problems(&text);
        }

        /// Each problem stays on a line of its own, whatever was written.
        #[test]
        fn no_damage_to_a_good_file_makes_it_panic(
            place: prop::sample::Index,
            with in r#"[\[\]{}:,'"&*!|>%#$a-z0-9 \n-]{0,12}"#,
        ) {
            let mut text = WHOLE.to_owned();
            let start = place.index(text.len());
            let end = (start + with.len()).min(text.len());
            text.replace_range(start..end, &with);
            for problem in problems(&text) {
                prop_assert!(!problem.contains('\n'), "{problem}");
            }
        }
    }
}
