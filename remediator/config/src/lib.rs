//! The configuration file: read, checked in full, and complete.
//!
//! It takes three steps. [`Tree`] reads the YAML and notes what no reader may guess at (a key given twice, a key without a value).
//! [`raw`] is the shape of the file, every key optional, every value in its type.
//! [`check()`] fills in the defaults and judges what a value means.
//!
//! Each step goes on after a problem, so that a person sees all of them at once
//! and not one with each attempt. What this version cannot do yet is refused,
//! or, where it changes nothing about which hosts go off, told at the start
//! ([`Config::not_in_force`]). It is never silently ignored.
//!
//! What is legal and unwise is no problem, and [`advise`] says it to who asks.
//!
//! Nothing here but [`Digest`] looks at the machine: whether a folder exists, a peer
//! answers, or the file with the users is in order shows at run time, and may change
//! without the file.

mod advice;
mod check;
mod digest;
mod raw;
mod store;
mod value;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use satellite_core::Policy;
use satellite_yaml::{Complaints, Document, Problem, Tree};
use url::Url;

pub use self::digest::Digest;
pub use self::store::{EmbeddedStore, Store, ZooKeeperStore};
pub use self::value::{read_duration, write_duration};

/// Everything that the remediator is told, with no default left to fill in.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it listens; without a [`Config::web_config_file`] a loopback address.
    pub listen: SocketAddr,
    /// The file with TLS and users. What is relative in the file begins at its own folder.
    pub web_config_file: Option<PathBuf>,
    /// What people call the cluster. Selects nothing.
    pub cluster: String,
    /// Where its documents are kept.
    pub store: Store,
    /// Every configured Mesos master.
    pub masters: Vec<Url>,
    /// What the masters are asked with.
    pub access: Access,
    /// Every peer of Alertmanager.
    pub alertmanagers: Vec<Url>,
    /// Every Prometheus that may say that a host is well.
    pub prometheus: Vec<Url>,
    /// How often a round runs without a cause; 100 ms to 5 m.
    pub reconcile_interval: Duration,
    /// The port of every exporter, for service discovery.
    pub exporter_port: u16,
    /// The file that the masters read.
    pub whitelist: WhitelistConfig,
    /// What is done about alerts.
    pub policy: Policy,
    /// What the file asks for, by itself or by default, and this version does
    /// not do yet. Said at the start.
    pub not_in_force: Vec<NotInForce>,
}

/// Credentials and TLS for the masters. Whoever opens the files judges what is in them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// The credentials; none are sent without it.
    pub credentials_file: Option<PathBuf>,
    /// The only CA that is trusted; those of the machine without it.
    pub ca_file: Option<PathBuf>,
    /// What is shown to the masters.
    pub identity: Option<Identity>,
    /// Whether any certificate of a master's is taken.
    pub insecure_skip_verify: bool,
}

/// A client certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate.
    pub cert_file: PathBuf,
    /// Its key.
    pub key_file: PathBuf,
}

impl Access {
    /// Makes each path one that holds wherever the daemon was started: what is relative is
    /// so to `folder`, the configuration's.
    fn relative_to(&mut self, folder: &Path) {
        let identity = self.identity.as_mut();
        let identity = identity.map(|it| [&mut it.cert_file, &mut it.key_file]);
        let paths = self.credentials_file.iter_mut().chain(&mut self.ca_file);
        for path in paths.chain(identity.into_iter().flatten()) {
            *path = folder.join(&path);
        }
    }
}

/// The file that the masters read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WhitelistConfig {
    /// Its absolute path.
    pub file: PathBuf,
    /// How often it is compared with the store; 100 ms to 5 m.
    pub merge_interval: Duration,
}

/// A key whose value is understood and not acted upon yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotInForce {
    /// Its path, such as `policy.storm`.
    pub key: &'static str,
    /// What does not happen therefore.
    pub why: &'static str,
}

/// Reads and checks a configuration file.
///
/// # Errors
/// Every problem of the file, in the order of its lines, each as one line that
/// is ready to be printed: `FILE:LINE:COL: key: what is wrong, what to do`.
pub fn load(path: &Path) -> Result<Config, Vec<String>> {
    read(path).map(|(config, _)| config)
}

/// Reads and checks a configuration file, and says beside it what in it is legal and
/// unwise: each as one line, like the problems of [`load`]. A key that is not written
/// has the place of what it would be in.
///
/// # Errors
/// As [`load`]. A file with problems is given no advice.
pub fn advise(path: &Path) -> Result<(Config, Vec<String>), Vec<String>> {
    let (config, document) = read(path)?;
    let advice = lines(&advice::advise(&config).located(&document));
    Ok((config, advice))
}

fn read(path: &Path) -> Result<(Config, Document), Vec<String>> {
    let document =
        Document::read(path, satellite_yaml::MAX_BYTES).map_err(|problem| lines(&[problem]))?;
    let mut config = check(&document).map_err(|problems| lines(&problems))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    config.web_config_file = config.web_config_file.map(|file| folder.join(file));
    config.access.relative_to(folder);
    config.store.relative_to(folder);
    Ok((config, document))
}

fn lines(problems: &[Problem]) -> Vec<String> {
    problems.iter().map(ToString::to_string).collect()
}

fn check(document: &Document) -> Result<Config, Vec<Problem>> {
    let tree: Tree = document.parse()?;
    let mut complaints = Complaints::default();
    let raw = tree.read_as::<raw::Raw>(&mut complaints);
    let config = raw.and_then(|raw| check::config(raw, &mut complaints));
    config.filter(|_| complaints.is_empty()).ok_or_else(|| complaints.located(document))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = include_str!("../tests/config/documented.good.yml");

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String) {
            check(&Document::new("x.yml", text)).ok();
        }

        /// Each problem stays on a line of its own, whatever was written.
        #[test]
        fn no_damage_to_a_good_file_makes_it_panic(
            place: prop::sample::Index,
            with in r#"[\[\]{}:,'"&*!|>%#a-z0-9 \n-]{0,12}"#,
        ) {
            let mut text = GOOD.to_owned();
            let start = place.index(text.len());
            let end = (start + with.len()).min(text.len());
            text.replace_range(start..end, &with);
            for problem in check(&Document::new("x.yml", text)).err().unwrap_or_default() {
                prop_assert!(!problem.to_string().contains('\n'), "{problem}");
            }
        }
    }
}
