//! Files that change under a listener.

use std::fs;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::listener::{PLAIN, TLS, World, eventually, request_by, users};

const SUCCESSFUL: &str = "satellite_web_config_last_reload_successful 1";
const FAILED: &str = "satellite_web_config_last_reload_successful 0";

#[tokio::test]
async fn a_new_certificate_is_shown_without_a_restart() {
    let world = World::new(TLS);
    let listener = world.start_usual().await;
    let client = world.client();
    assert_eq!(listener.certificate(&client).await, world.server.der());
    let renewed = world.authority.server();
    // One after the other: in between they do not belong together.
    renewed.write(&world.folder());
    eventually(async || listener.certificate(&client).await == renewed.der()).await;
    assert!(listener.metrics().contains(SUCCESSFUL));
}

#[tokio::test]
async fn an_authority_that_is_no_longer_named_lets_nobody_in() {
    let mutual = TLS
        .replace(" }", ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem }");
    let world = World::new(&mutual);
    let listener = world.start_usual().await;
    let client = world.client_with(&world.authority.client(vec![]));
    assert!(listener.ask(&client, PLAIN).await.is_ok());
    let other = crate::certificates::Authority::new();
    fs::write(world.folder().join("ca.pem"), other.pem()).unwrap();
    // Also for the session that the client would rather resume.
    eventually(async || listener.ask(&client, PLAIN).await.is_err()).await;
    let client = world.client_with(&other.client(vec![]));
    assert!(listener.ask(&client, PLAIN).await.is_ok());
}

#[tokio::test]
async fn users_come_and_go_without_a_restart_also_on_a_kept_connection() {
    let world = World::new(&users(&["ada"]));
    let listener = world.start_usual().await;
    let kept = request_by("ada:ada's").replace("Connection: close\r\n", "");
    let mut stream = listener.connect().await;
    let mut status = async || {
        stream.write_all(kept.as_bytes()).await.unwrap();
        let mut answer = [0; 4096];
        let read = stream.read(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer[..read]).split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(status().await, "200");
    world.configure(&users(&["bob"]));
    eventually(async || status().await == "401").await;
    assert!(listener.ask_plainly(&request_by("bob:bob's")).await.ends_with("bob"));
}

#[tokio::test]
async fn an_invalid_file_keeps_the_old_one_in_force_and_says_so() {
    let good = format!("{TLS}{}", users(&["ada"]));
    let world = World::new(&good);
    let listener = world.start_usual().await;
    let client = world.client();
    let (right, gone) = (request_by("ada:ada's"), world.folder().join("server.key"));
    for bad in ["nonsense", "", "tls_server_config: {}\n"] {
        world.configure(bad);
        listener.wait_for_metric(FAILED).await;
        assert!(listener.ask(&client, &right).await.unwrap().ends_with("ada"));
        world.configure(&good);
        listener.wait_for_metric(SUCCESSFUL).await;
    }
    fs::remove_file(&gone).unwrap();
    listener.wait_for_metric(FAILED).await;
    assert!(listener.ask(&client, &right).await.unwrap().ends_with("ada"));
    world.server.write(&world.folder());
    listener.wait_for_metric(SUCCESSFUL).await;
}

#[tokio::test]
async fn no_kind_of_protection_comes_or_goes_without_a_restart() {
    let mutual = TLS
        .replace(" }", ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem }");
    let ada = users(&["ada"]);
    let named = mutual.replace(" }", ", client_allowed_sans: [a.example.com] }");
    let good = format!("{named}{ada}");
    let world = World::new(&good);
    let listener = world.start_usual().await;
    let name = rcgen::SanType::DnsName("a.example.com".try_into().unwrap());
    let client = world.client_with(&world.authority.client(vec![name]));
    // As the file would look, were it cut off while it is written.
    for cut in [named, format!("{mutual}{ada}"), format!("{TLS}{ada}"), ada] {
        world.configure(&cut);
        listener.wait_for_metric(FAILED).await;
        let answer = listener.ask(&client, PLAIN).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
        let nameless = world.client_with(&world.authority.client(vec![]));
        for stranger in [world.client(), nameless] {
            listener.ask(&stranger, PLAIN).await.unwrap_err();
        }
        world.configure(&good);
        listener.wait_for_metric(SUCCESSFUL).await;
    }
}
