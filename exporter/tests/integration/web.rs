//! A scrape through the web configuration.

use std::fs;

use rcgen::{CertificateParams, KeyPair};
use reqwest::{Certificate, Client};

use crate::exporter::{Exporter, PATIENCE};

/// The password of `ada` is `ada's`.
const WEB: &str = "tls_server_config: { cert_file: server.pem, key_file: server.key }
basic_auth_users:
  ada: $2b$04$um/YpR6.QP99uICHX5lA1.vjbFAK4Hamo93lAEvFMqJeU/51j6yJO
";

#[tokio::test]
async fn a_scrape_is_answered_over_tls_and_to_users_alone() {
    let folder = tempfile::tempdir().unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    fs::write(folder.path().join("server.pem"), &certificate).unwrap();
    fs::write(folder.path().join("server.key"), key.serialize_pem()).unwrap();
    let web = folder.path().join("web.yml");
    fs::write(&web, WEB).unwrap();

    let web = format!("--web.config.file={}", web.display());
    let exporter = Exporter::start(&["--mesos.agent=http://127.0.0.1:1", &web]).await;
    let trusted = Certificate::from_pem(certificate.as_bytes()).unwrap();
    let client = Client::builder().no_proxy().timeout(PATIENCE).tls_certs_only([trusted]);
    let client = client.build().unwrap();
    let metrics = format!("{}/metrics", exporter.url.replace("http://", "https://"));
    let scrape = client.get(&metrics).basic_auth("ada", Some("ada's")).send().await.unwrap();
    assert_eq!(scrape.status(), 200);
    let text = scrape.text().await.unwrap();
    assert!(text.contains("satellite_web_config_last_reload_successful 1\n"), "{text}");

    assert_eq!(client.get(&metrics).send().await.unwrap().status(), 401);
    let wrong = client.get(&metrics).basic_auth("ada", Some("bob's")).send().await.unwrap();
    assert_eq!(wrong.status(), 401);
    client.get(format!("{}/metrics", exporter.url)).send().await.unwrap_err();
    let log = exporter.log().join("\n");
    assert!(!log.contains("ada's") && !log.contains("$2b$"), "{log}");
}
