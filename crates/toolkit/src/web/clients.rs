//! `client_auth_type` and what belongs to it: certificates that clients show.
//!
//! The format has two types that ask for a certificate and do not verify it. Neither keeps
//! anybody out, since everybody can make a certificate of their own with any name in it; so
//! both are refused with the type that does what was probably meant.

use std::{collections::HashSet, fmt, net::IpAddr, sync::Arc};

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore,
    SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, UnixTime},
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use satellite_yaml::Complaints;
use x509_cert::{
    Certificate,
    der::Decode as _,
    ext::pkix::{SubjectAltName, name::GeneralName},
};

use super::{
    raw::{self, List},
    reading::Files,
    tls::{certificates, pem},
};

const TYPES: &str = "NoClientCert, VerifyClientCertIfGiven, RequireAndVerifyClientCert";

/// How the certificates of clients are judged.
pub(super) struct Clients {
    pub(super) verifier: Arc<dyn ClientCertVerifier>,
    /// Whether nobody gets in without one.
    pub(super) mandatory: bool,
    /// Whether it must have one of certain names.
    pub(super) named: bool,
}

/// Whether clients are asked for a certificate.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    No,
    /// One that is shown is verified.
    IfTheyLike,
    Demanded,
}

/// Takes its keys out of `raw`; `None` where no client is asked for a certificate.
pub(super) fn judge(
    raw: &mut raw::Tls,
    provider: &Arc<CryptoProvider>,
    files: &mut Files,
    complaints: &mut Complaints,
) -> Option<Clients> {
    let authority =
        pem("client_ca", raw.client_ca.take(), raw.client_ca_file.take(), files, complaints);
    let has_authority = authority.is_some()
        || complaints.has("tls_server_config.client_ca")
        || complaints.has("tls_server_config.client_ca_file");
    let names = raw.client_allowed_sans.take().unwrap_or_default();
    let asked = asked(raw.client_auth_type.take().as_deref().unwrap_or_default());
    let mut refuse = |problem: &str| {
        complaints.add("tls_server_config.client_auth_type", problem);
    };
    match &asked {
        Err(problem) => refuse(problem),
        Ok(Asked::No) if has_authority || !names.is_empty() => refuse(
            "must be RequireAndVerifyClientCert where client_ca or client_allowed_sans is given: \
             without it nobody is asked for a certificate",
        ),
        Ok(Asked::IfTheyLike) if !names.is_empty() => refuse(
            "must be RequireAndVerifyClientCert, with client_ca_file, where client_allowed_sans is \
             given: who shows no certificate has no name",
        ),
        Ok(Asked::IfTheyLike | Asked::Demanded) if !has_authority => {
            refuse("needs client_ca_file, whose certificates sign those of clients");
        }
        Ok(_) => {}
    }
    let (asked, authority) = (asked.ok().filter(|it| *it != Asked::No)?, authority?);
    let roots = roots(&certificates(&authority, complaints)?, &authority.key, complaints)?;
    let builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider));
    let mandatory = asked == Asked::Demanded;
    let builder = if mandatory { builder } else { builder.allow_unauthenticated() };
    match builder.build() {
        Ok(verifier) => {
            let named = !names.is_empty();
            Some(Clients { verifier: with_names(verifier, names), mandatory, named })
        }
        Err(error) => {
            complaints.add(authority.key, error.to_string());
            None
        }
    }
}

fn asked(written: &str) -> Result<Asked, String> {
    match written {
        "" | "NoClientCert" => Ok(Asked::No),
        "VerifyClientCertIfGiven" => Ok(Asked::IfTheyLike),
        "RequireAndVerifyClientCert" => Ok(Asked::Demanded),
        "RequestClientCert" => Err("RequestClientCert asks for a certificate and does nothing \
                                    with it: write NoClientCert"
            .into()),
        "RequireAnyClientCert" => Err("RequireAnyClientCert lets in whoever makes a certificate \
                                       of their own: write RequireAndVerifyClientCert and give \
                                       client_ca_file"
            .into()),
        other => Err(format!("{other:?} is not one of {TYPES}")),
    }
}

fn roots(
    certificates: &[CertificateDer<'static>],
    key: &str,
    complaints: &mut Complaints,
) -> Option<Arc<RootCertStore>> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        if let Err(error) = roots.add(certificate.clone()) {
            complaints.add(key, format!("holds a certificate that cannot be used: {error}"));
            return None;
        }
    }
    Some(Arc::new(roots))
}

/// The verifier, and beyond it one of the names, if there are any.
fn with_names(
    verifier: Arc<dyn ClientCertVerifier>,
    names: List<String>,
) -> Arc<dyn ClientCertVerifier> {
    let allowed: HashSet<_> = names.into_iter().flatten().map(canonical).collect();
    if allowed.is_empty() { verifier } else { Arc::new(Named { verifier, allowed }) }
}

/// An address may be written in several ways.
fn canonical(name: String) -> String {
    name.parse::<IpAddr>().map_or(name, |address| address.to_string())
}

/// Wants a certificate to be valid, and to have one of these names (`client_allowed_sans`):
/// a DNS name, an address, an e-mail address or a URI, to the letter and without wildcards.
struct Named {
    verifier: Arc<dyn ClientCertVerifier>,
    allowed: HashSet<String>,
}

impl fmt::Debug for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Named").field("allowed", &self.allowed).finish_non_exhaustive()
    }
}

impl ClientCertVerifier for Named {
    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.verifier.verify_client_cert(certificate, intermediates, now)?;
        let names = alternative_names(certificate).ok_or(CertificateError::BadEncoding)?;
        if names.iter().any(|name| self.allowed.contains(name)) {
            return Ok(verified);
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn client_auth_mandatory(&self) -> bool {
        self.verifier.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifier.root_hint_subjects()
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifier.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}

/// The names that a certificate has beside its subject; `None` where it cannot be read.
fn alternative_names(certificate: &CertificateDer<'_>) -> Option<Vec<String>> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let names = certificate.tbs_certificate().get_extension::<SubjectAltName>().ok()?;
    let names = names.map(|(_, SubjectAltName(names))| names).unwrap_or_default();
    Some(names.iter().filter_map(written).collect())
}

/// A name of one of the four kinds as it is written in the file.
fn written(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name)
        | GeneralName::Rfc822Name(name)
        | GeneralName::UniformResourceIdentifier(name) => Some(name.to_string()),
        GeneralName::IpAddress(octets) => {
            let octets = octets.as_bytes();
            let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
            let address = v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from));
            address.ok().map(|address| address.to_string())
        }
        _ => None,
    }
}
