//! TLS: whom the client trusts, what it shows, and that it notices new certificates.

use std::{io, net::SocketAddr, sync::Arc};

use axum::{response::IntoResponse as _, serve::Listener};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PKCS_ECDSA_P256_SHA256,
    PKCS_RSA_SHA256,
};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use satellite_mesos::{ClientError, IdentityFiles, TlsOptions};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::fake::{
    EC_PKCS8, EC_SEC1, Files, NEXT_LOOK, Peer, RSA_PKCS1, RSA_PKCS8, advance, chain, client, get,
    options, problems,
};

/// A CA of a test's own.
struct Ca {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    fn new(name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate of 127.0.0.1 for `key`.
    fn sign(&self, key: &KeyPair) -> String {
        let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        params.signed_by(key, &self.issuer).unwrap().pem()
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        roots
    }
}

struct TlsListener {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.tcp.accept().await.unwrap();
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}

/// A peer with a certificate of `ca`, which wants one of `clients` if that is given.
async fn peer(ca: &Ca, clients: Option<&Ca>, answer: impl Into<String>) -> Peer {
    let _already = rustls::crypto::ring::default_provider().install_default();
    let key = KeyPair::generate().unwrap();
    let chain = vec![CertificateDer::from_pem_slice(ca.sign(&key).as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    let config = match clients {
        None => ServerConfig::builder().with_no_client_auth(),
        Some(clients) => {
            let verifier = WebPkiClientVerifier::builder(Arc::new(clients.roots()));
            ServerConfig::builder().with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let config = config.with_single_cert(chain, key).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let listener = TlsListener { tcp, acceptor: TlsAcceptor::from(Arc::new(config)) };
    let answer = answer.into();
    Peer::serve("https", listener, move |_| answer.clone().into_response())
}

fn trusting(files: &Files, ca: &Ca) -> TlsOptions {
    TlsOptions { ca_file: Some(files.write("ca.pem", &ca.pem)), ..TlsOptions::default() }
}

#[tokio::test]
async fn only_the_given_ca_is_trusted() {
    let (ca, other) = (Ca::new("ours"), Ca::new("another"));
    let mesos = peer(&ca, None, "{}").await;
    let files = Files::new();
    get(&client(None, trusting(&files, &ca)), &mesos.url).await.unwrap();
    for tls in [trusting(&files, &other), TlsOptions::default()] {
        let error = get(&client(None, tls), &mesos.url).await.unwrap_err();
        assert!(matches!(error, ClientError::Connect { .. }), "{error}");
        assert!(chain(&error).contains("certificate"), "{}", chain(&error));
    }
    assert_eq!(mesos.seen().len(), 1, "credentials would not have gone to the others");
}

#[tokio::test]
async fn verification_can_be_skipped() {
    let mesos = peer(&Ca::new("nobody's"), None, "{}").await;
    let tls = TlsOptions { insecure_skip_verify: true, ..TlsOptions::default() };
    get(&client(None, tls), &mesos.url).await.unwrap();
}

#[tokio::test]
async fn a_client_certificate_is_shown_whatever_the_form_of_its_key() {
    let ca = Ca::new("ours");
    let mesos = peer(&ca, Some(&ca), "{}").await;
    let files = Files::new();
    let rsa = KeyPair::from_pem_and_sign_algo(RSA_PKCS8, &PKCS_RSA_SHA256).unwrap();
    let ec = KeyPair::from_pem_and_sign_algo(EC_PKCS8, &PKCS_ECDSA_P256_SHA256).unwrap();
    for (key, pem) in [(&rsa, RSA_PKCS8), (&rsa, RSA_PKCS1), (&ec, EC_PKCS8), (&ec, EC_SEC1)] {
        let identity = IdentityFiles {
            cert_file: files.write("cert.pem", ca.sign(key)),
            key_file: files.write("key.pem", pem),
        };
        let tls = TlsOptions { identity: Some(identity), ..trusting(&files, &ca) };
        get(&client(None, tls), &mesos.url).await.unwrap();
        let both = files.write("both.pem", format!("{}{pem}", ca.sign(key)));
        let identity = IdentityFiles { cert_file: both.clone(), key_file: both };
        let tls = TlsOptions { identity: Some(identity), ..trusting(&files, &ca) };
        get(&client(None, tls), &mesos.url).await.unwrap();
    }
    let error = get(&client(None, trusting(&files, &ca)), &mesos.url).await.unwrap_err();
    assert!(chain(&error).contains("CertificateRequired"), "{}", chain(&error));
    assert_eq!(mesos.seen().len(), 8);
}

#[tokio::test]
async fn new_certificates_are_used_without_a_restart() {
    let (ca, next) = (Ca::new("ours"), Ca::new("next year's"));
    let files = Files::new();
    let key = KeyPair::generate().unwrap();
    let identity = IdentityFiles {
        cert_file: files.write("cert.pem", ca.sign(&key)),
        key_file: files.write("key.pem", key.serialize_pem()),
    };
    let tls = TlsOptions { identity: Some(identity), ..trusting(&files, &ca) };
    let client = client(None, tls);
    get(&client, &peer(&ca, Some(&ca), "{}").await.url).await.unwrap();
    let mesos = peer(&next, Some(&next), "{}").await;
    get(&client, &mesos.url).await.unwrap_err();
    // Until the last of the three is there they do not fit, and the former stay in use.
    let key = KeyPair::generate().unwrap();
    files.write("cert.pem", next.sign(&key));
    advance(NEXT_LOOK).await;
    get(&client, &peer(&ca, Some(&ca), "{}").await.url).await.unwrap();
    files.write("key.pem", key.serialize_pem());
    files.write("ca.pem", &next.pem);
    advance(NEXT_LOOK).await;
    get(&client, &mesos.url).await.unwrap();
}

#[tokio::test]
async fn a_login_trusts_the_same_ca() {
    let (ca, other) = (Ca::new("ours"), Ca::new("another"));
    let files = Files::new();
    let mesos = peer(&ca, None, "{}").await;
    for (of, is_trusted) in [(&ca, true), (&other, false)] {
        let iam = peer(of, None, r#"{"token":"t"}"#).await;
        let secret = json!({
            "uid": "u",
            "private_key": RSA_PKCS8,
            "login_endpoint": iam.url,
            "scheme": "RS256",
        });
        let credentials = files.write("credentials", secret.to_string());
        let client = client(credentials, trusting(&files, &ca));
        assert_eq!(get(&client, &mesos.url).await.is_ok(), is_trusted);
        assert_eq!(iam.seen().len(), usize::from(is_trusted));
    }
    assert_eq!(mesos.authorizations(), ["token=t"]);
}

#[tokio::test]
async fn each_file_that_cannot_be_used_is_told() {
    let files = Files::new();
    let (key, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let cert = Ca::new("ours").sign(&key);
    let broken = cert.replace("MII", "AAA");
    let key = key.serialize_pem();
    let other = other.serialize_pem();
    let cases: [(&str, &str, &str, &[&str]); 8] = [
        ("", &cert, &key, &["ca.pem: has no certificate in PEM"]),
        ("s3cr3t", &cert, &key, &["ca.pem: has no certificate in PEM"]),
        (&broken, &cert, &key, &["ca.pem: certificate 1 cannot be used: "]),
        (&cert, "", &key, &["cert.pem: has no certificate in PEM"]),
        (&cert, &key, &key, &["cert.pem: has no certificate in PEM"]),
        (&cert, &cert, "s3cr3t", &["key.pem: has no key in PEM, as PKCS#8, PKCS#1 or SEC1"]),
        (&cert, &cert, &other, &["key.pem: is not the key of the certificate in "]),
        ("", "", &key, &["ca.pem: has no", "cert.pem: has no"]),
    ];
    let folder = format!("{}/", files.path("").display()).replace("//", "/");
    for (ca, cert, key, expected) in cases {
        let identity = IdentityFiles {
            cert_file: files.write("cert.pem", cert),
            key_file: files.write("key.pem", key),
        };
        let ca_file = Some(files.write("ca.pem", ca));
        let tls = TlsOptions { ca_file, identity: Some(identity), insecure_skip_verify: false };
        let found = problems(&options(None, tls));
        let found: Vec<_> = found.iter().map(|problem| problem.replace(&folder, "")).collect();
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (problem, expected) in found.iter().zip(expected) {
            assert!(problem.starts_with(expected), "{problem}");
            assert!(!problem.contains("s3cr3t"), "{problem}");
        }
    }
    let missing = TlsOptions { ca_file: Some(files.path("missing")), ..TlsOptions::default() };
    let found = problems(&options(None, missing));
    assert!(found.len() == 1 && found[0].contains("missing: cannot be read"), "{found:?}");
}
