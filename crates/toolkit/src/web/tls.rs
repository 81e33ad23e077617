//! `tls_server_config`: what the listener speaks, and with which certificate.
//!
//! The names of versions, suites and curves are those of the format, which are Go's. rustls
//! speaks TLS 1.2 and 1.3, with authenticated suites and forward secrecy only: what goes
//! beyond that is refused by name, and never left out in silence.

use std::{path::PathBuf, sync::Arc};

use rustls::{
    NamedGroup, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion,
    crypto::{CryptoProvider, SupportedKxGroup, ring},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    version::{TLS12, TLS13},
};
use satellite_yaml::Complaints;

use super::{clients, raw, reading::Files};

/// All that is spoken within TLS.
const PROTOCOL: &[u8] = b"http/1.1";

/// The curves that ring has, by Go's names.
const CURVES: [(&str, NamedGroup); 3] = [
    ("X25519", NamedGroup::X25519),
    ("CurveP256", NamedGroup::secp256r1),
    ("CurveP384", NamedGroup::secp384r1),
];

/// TLS as the file wants it.
pub(super) struct Tls {
    pub(super) config: ServerConfig,
    /// Whether nobody gets in without a certificate.
    pub(super) demands_certificates: bool,
    /// Whether it must have one of certain names.
    pub(super) demands_names: bool,
}

/// Judges all keys before it gives up.
pub(super) fn judge(
    mut raw: raw::Tls,
    files: &mut Files,
    complaints: &mut Complaints,
) -> Option<Tls> {
    let versions = versions(&raw, complaints);
    let provider = Arc::new(CryptoProvider {
        cipher_suites: suites(raw.cipher_suites.as_deref().unwrap_or_default(), complaints),
        kx_groups: curves(raw.curve_preferences.as_deref().unwrap_or_default(), complaints),
        ..ring::default_provider()
    });
    let clients = clients::judge(&mut raw, &provider, files, complaints);
    let identity = identity(&mut raw, files, complaints);
    let builder = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&versions)
        .map_err(|_| {
            let problem = "leave no suite for the versions that are allowed";
            complaints.add("tls_server_config.cipher_suites", problem);
        })
        .ok();
    let (builder, (chain, key)) = (builder?, identity?);
    let demands_certificates = clients.as_ref().is_some_and(|clients| clients.mandatory);
    let demands_names = clients.as_ref().is_some_and(|clients| clients.named);
    let builder = match clients {
        Some(clients) => builder.with_client_cert_verifier(clients.verifier),
        None => builder.with_no_client_auth(),
    };
    let config = builder.with_single_cert(chain, key);
    let config = config.map_err(|error| {
        let problem = format!("the certificate and its key cannot be used: {error}");
        complaints.add("tls_server_config", problem);
    });
    let mut config = config.ok()?;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.ignore_client_order = raw.prefer_server_cipher_suites.unwrap_or(true);
    Some(Tls { config, demands_certificates, demands_names })
}

/// PEM that was given in one of two ways.
pub(super) struct Pem {
    /// The path of the key that gave it.
    pub(super) key: String,
    bytes: Vec<u8>,
}

/// What `name` or `name_file` gives, if either is there.
pub(super) fn pem(
    name: &str,
    inline: Option<String>,
    file: Option<PathBuf>,
    files: &mut Files,
    complaints: &mut Complaints,
) -> Option<Pem> {
    let inline = inline.filter(|text| !text.is_empty());
    let file = file.filter(|path| !path.as_os_str().is_empty());
    let key = format!("tls_server_config.{name}");
    match (inline, file) {
        (None, None) => None,
        (Some(text), None) => Some(Pem { key, bytes: text.into() }),
        (Some(_), Some(_)) => {
            complaints.add(key, format!("is given beside {name}_file; keep one of them"));
            None
        }
        (None, Some(path)) => {
            let key = format!("{key}_file");
            match files.read(&path) {
                Ok(bytes) => Some(Pem { key, bytes }),
                Err(problem) => {
                    complaints.add(key, problem);
                    None
                }
            }
        }
    }
}

/// The certificates of a PEM, of which there must be one at least.
pub(super) fn certificates(
    pem: &Pem,
    complaints: &mut Complaints,
) -> Option<Vec<CertificateDer<'static>>> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem.bytes).collect();
    let found = found.ok().filter(|found| !found.is_empty());
    if found.is_none() {
        complaints.add(pem.key.as_str(), "holds no certificate in PEM, or one that is damaged");
    }
    found
}

/// The daemon's own certificate, those that lead to it, and its key.
fn identity(
    raw: &mut raw::Tls,
    files: &mut Files,
    complaints: &mut Complaints,
) -> Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let mut required = |name, inline, file| {
        let found = pem(name, inline, file, files, complaints);
        let (key, key_of_file) =
            (format!("tls_server_config.{name}"), format!("tls_server_config.{name}_file"));
        if found.is_none() && !complaints.has(&key) && !complaints.has(&key_of_file) {
            complaints.add(key_of_file, "is required for TLS; give a path");
        }
        found
    };
    let chain = required("cert", raw.cert.take(), raw.cert_file.take());
    let key = required("key", raw.key.take(), raw.key_file.take());
    let chain = chain.and_then(|pem| certificates(&pem, complaints));
    let key = key.and_then(|pem| private_key(&pem, complaints));
    Some((chain?, key?))
}

fn private_key(pem: &Pem, complaints: &mut Complaints) -> Option<PrivateKeyDer<'static>> {
    let key = PrivateKeyDer::from_pem_slice(&pem.bytes).ok();
    if key.is_none() {
        complaints.add(pem.key.as_str(), "holds no private key in PEM, or one that is encrypted");
    }
    key
}

/// From `min_version` to `max_version`.
fn versions(raw: &raw::Tls, complaints: &mut Complaints) -> Vec<&'static SupportedProtocolVersion> {
    let mut read = |key: &str, written: Option<&String>, default| match written.map(String::as_str)
    {
        None | Some("") => default,
        Some("TLS12") => 12,
        Some("TLS13") => 13,
        Some(other) => {
            let problem = match other {
                "TLS10" | "TLS11" => "is not spoken, since it is broken: write TLS12 or TLS13",
                _ => "is no version of TLS: write TLS12 or TLS13",
            };
            complaints.add(format!("tls_server_config.{key}"), format!("{other:?} {problem}"));
            default
        }
    };
    let (lowest, highest) = (
        read("min_version", raw.min_version.as_ref(), 12),
        read("max_version", raw.max_version.as_ref(), 13),
    );
    if lowest > highest {
        complaints.add("tls_server_config.min_version", "is above max_version");
        return vec![&TLS12, &TLS13];
    }
    let both = [(12, &TLS12), (13, &TLS13)];
    let wanted = both.into_iter().filter(|(version, _)| (lowest..=highest).contains(version));
    wanted.map(|(_, version)| version).collect()
}

/// The suites in the order of the list. As in Go, it chooses among those of TLS 1.2 only: the
/// three of TLS 1.3 are all sound and always there.
fn suites(wanted: &[Option<String>], complaints: &mut Complaints) -> Vec<SupportedCipherSuite> {
    if wanted.is_empty() {
        return ring::DEFAULT_CIPHER_SUITES.to_vec();
    }
    let (mut suites, of_tls12): (Vec<_>, Vec<_>) =
        ring::ALL_CIPHER_SUITES.iter().partition(|suite| suite.tls13().is_some());
    for (index, name) in wanted.iter().enumerate() {
        let Some(name) = name else { continue };
        if let Some(suite) = of_tls12.iter().find(|suite| suite_name(suite) == *name) {
            suites.push(*suite);
        } else if !suites.iter().any(|suite| suite_name(suite) == *name) {
            let known: Vec<_> = of_tls12.iter().map(suite_name).collect();
            complaints.add(
                format!("tls_server_config.cipher_suites[{index}]"),
                format!("{name:?} is not offered; these are: {}", known.join(", ")),
            );
        }
    }
    suites
}

/// As Go names it: the suites of TLS 1.3 are `TLS13_…` to rustls and `TLS_…` to all others.
fn suite_name(suite: &SupportedCipherSuite) -> String {
    let name = suite.suite().as_str().unwrap_or_default();
    name.replacen("TLS13_", "TLS_", 1)
}

/// The curves in the order of the list.
fn curves(
    wanted: &[Option<String>],
    complaints: &mut Complaints,
) -> Vec<&'static dyn SupportedKxGroup> {
    if wanted.is_empty() {
        return ring::default_provider().kx_groups;
    }
    let mut groups = Vec::new();
    for (index, name) in wanted.iter().enumerate() {
        let Some(name) = name else { continue };
        let known = CURVES.iter().find(|(known, _)| known == name);
        let all = ring::ALL_KX_GROUPS.iter();
        match known.and_then(|(_, group)| all.copied().find(|it| it.name() == *group)) {
            Some(group) => groups.push(group),
            None => complaints.add(
                format!("tls_server_config.curve_preferences[{index}]"),
                format!("{name:?} is not offered; these are: {}", CURVES.map(|it| it.0).join(", ")),
            ),
        }
    }
    groups
}
