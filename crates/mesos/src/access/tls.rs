//! Whom Mesos's TLS is to be trusted by, and what is shown to it.
//!
//! With a CA of its own a cluster has nothing to do with the world's: then that CA alone
//! is trusted, and without one the machine's.

use std::path::{Path, PathBuf};

use reqwest::{Certificate, ClientBuilder, Identity};
use rustls::{
    RootCertStore,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    sign::CertifiedKey,
};
use satellite_yaml::{MAX_BYTES, Problem};

use super::files::{Reading, problem};

/// How a Mesos behind TLS is spoken to. The files are read again when they change.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// The one CA that is trusted, or several in one file, in PEM. Without it those of the
    /// machine are.
    pub ca_file: Option<PathBuf>,
    /// What is shown to a Mesos that wants a certificate
    /// (`LIBPROCESS_SSL_REQUIRE_CLIENT_CERT`).
    pub identity: Option<IdentityFiles>,
    /// Takes any certificate. Whoever can get in between then reads the credentials.
    pub insecure_skip_verify: bool,
}

/// A client certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityFiles {
    /// The certificate and what leads from it to a CA, in PEM.
    pub cert_file: PathBuf,
    /// Its key in PEM: PKCS#8, PKCS#1 or SEC1, not encrypted. May be the same file.
    pub key_file: PathBuf,
}

impl TlsOptions {
    pub(super) fn has_files(&self) -> bool {
        self.ca_file.is_some() || self.identity.is_some()
    }

    /// Applies all of it to a client that is being built.
    pub(super) fn apply(
        &self,
        mut builder: ClientBuilder,
        reading: &mut Reading,
    ) -> Result<ClientBuilder, Vec<Problem>> {
        let ca = self.ca_file.as_deref().map(|path| authorities(path, reading)).transpose();
        let identity = self.identity.as_ref().map(|files| files.read(reading)).transpose();
        let (ca, identity) = match (ca, identity) {
            (Ok(ca), Ok(identity)) => (ca, identity),
            (ca, identity) => {
                return Err([ca.err(), identity.err()].into_iter().flatten().collect());
            }
        };
        if let Some(ca) = ca {
            builder = builder.tls_certs_only(ca);
        }
        if let Some(identity) = identity {
            builder = builder.identity(identity);
        }
        if self.insecure_skip_verify {
            builder = builder.tls_danger_accept_invalid_certs(true);
        }
        Ok(builder)
    }

    /// The file to blame where all of them together are of no use.
    pub(super) fn a_file(&self) -> &Path {
        let cert = self.identity.as_ref().map(|files| &files.cert_file);
        cert.or(self.ca_file.as_ref()).map_or(Path::new(""), PathBuf::as_path)
    }
}

fn authorities(path: &Path, reading: &mut Reading) -> Result<Vec<Certificate>, Problem> {
    let pem = reading.bytes(path, MAX_BYTES)?;
    let mut authorities = Vec::new();
    for (number, certificate) in (1..).zip(certificates(path, &pem)?) {
        let unusable = |error: &dyn std::error::Error| {
            problem(path, format!("certificate {number} cannot be used: {error}"))
        };
        let der = certificate.clone();
        RootCertStore::empty().add(certificate).map_err(|error| unusable(&error))?;
        authorities.push(Certificate::from_der(&der).map_err(|error| unusable(&error))?);
    }
    Ok(authorities)
}

/// At least one certificate.
fn certificates(path: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let certificates =
        certificates.map_err(|error| problem(path, format!("is not PEM: {error}")))?;
    if certificates.is_empty() {
        return Err(problem(path, "has no certificate in PEM"));
    }
    Ok(certificates)
}

impl IdentityFiles {
    fn read(&self, reading: &mut Reading) -> Result<Identity, Problem> {
        let Self { cert_file, key_file } = self;
        let mut pem = reading.bytes(cert_file, MAX_BYTES)?;
        let key_pem = reading.bytes(key_file, MAX_BYTES)?;
        let chain = certificates(cert_file, &pem)?;
        // The parser's own words could repeat what it read, which may be half a key.
        let key = PrivateKeyDer::from_pem_slice(&key_pem)
            .map_err(|_| problem(key_file, "has no key in PEM, as PKCS#8, PKCS#1 or SEC1"))?;
        let provider = CryptoProvider::get_default()
            .ok_or_else(|| problem(key_file, "cannot be judged without a TLS provider"))?;
        CertifiedKey::from_der(chain, key, provider).map_err(|error| {
            let cert_file = cert_file.display();
            problem(key_file, format!("is not the key of the certificate in {cert_file}: {error}"))
        })?;
        if cert_file != key_file {
            pem.push(b'\n');
            pem.extend_from_slice(&key_pem);
        }
        Identity::from_pem(&pem)
            .map_err(|error| problem(cert_file, format!("cannot be used: {error}")))
    }
}
