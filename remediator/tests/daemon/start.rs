//! How it starts, and how it says that it cannot.

use std::{fs, net::TcpListener, os::unix::fs::MetadataExt as _, path::Path, process::Stdio};

use serde_json::json;

use super::{
    remediator::{code_and_lines, command, run_to_end},
    world::{HOSTS, World},
};

const NAME: &str = "satellite-remediator: ";

async fn fails(config: &Path, flags: &[&str]) -> (Option<i32>, Vec<String>) {
    let mut command = command(config);
    let output = run_to_end({
        command.args(flags);
        command
    })
    .await;
    assert!(output.stdout.is_empty(), "{output:?}");
    let (code, lines) = code_and_lines(&output);
    // What goes wrong after the start stands among the log.
    let (_, problems): (Vec<_>, Vec<_>) = lines.into_iter().partition(|it| it.starts_with("ts="));
    for line in &problems {
        assert!(line.starts_with(NAME), "{line}");
    }
    let problems = problems.iter().map(|line| line.trim_start_matches(NAME).to_owned());
    (code, problems.collect())
}

#[tokio::test]
async fn a_flag_that_nobody_knows_is_one_line_and_exit_64() {
    let world = World::new().await;
    let (code, lines) = fails(&world.config_file(), &["--config.fil=x"]).await;
    assert_eq!(code, Some(64));
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("--config.fil") && lines[0].contains("--config.file"), "{lines:?}");

    let (code, lines) = fails(&world.config_file(), &["--log.level=loud"]).await;
    assert_eq!(code, Some(64));
    assert!(lines.len() == 1 && lines[0].contains("--log.level"), "{lines:?}");
}

#[tokio::test]
async fn a_configuration_that_is_not_there_is_one_line_and_exit_64() {
    let world = World::new().await;
    let (code, lines) = fails(&world.path("nothing.yml"), &[]).await;
    assert_eq!(code, Some(64));
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("nothing.yml") && lines[0].contains("No such file"), "{lines:?}");
}

#[tokio::test]
async fn what_is_no_yaml_is_one_line_with_its_place_and_exit_64() {
    let world = World::new().await;
    world.configure(|config| format!("{config}  - [\n"));
    let (code, lines) = fails(&world.config_file(), &[]).await;
    assert_eq!(code, Some(64));
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("remediator.yml:"), "{lines:?}");
}

#[tokio::test]
async fn every_problem_is_a_line_of_its_own_before_anything_is_bound_or_made() {
    let world = World::new().await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    world.configure(|config| {
        config
            .replace("127.0.0.1:0", &address)
            .replace("cluster: lab", "clutser: lab")
            .replace("clear_for: 300ms", "clear_for: soon")
            .replace("min_hosts: 1", "min_hosts: 120%")
    });
    let (code, lines) = fails(&world.config_file(), &[]).await;
    // The taken port would have been exit 1.
    assert_eq!(code, Some(64));
    assert_eq!(lines.len(), 3, "{lines:#?}");
    for (line, part) in lines.iter().zip([":2:", "min_hosts", "clear_for"]) {
        assert!(line.contains(part), "{line}");
    }
    assert!(!world.path("store").exists());
}

#[tokio::test]
async fn credentials_and_certificates_that_cannot_be_used_are_exit_64_each_with_its_line() {
    let world = World::new().await;
    fs::write(world.path("mesos.credentials"), "principal: remediator\n").unwrap();
    let files = "mesos: { credentials_file: mesos.credentials, tls: { ca_file: ca.pem },";
    world.configure(|config| config.replace("mesos: {", files));
    let (code, lines) = fails(&world.config_file(), &[]).await;
    assert_eq!(code, Some(64));
    assert_eq!(lines.len(), 2, "{lines:#?}");
    let ca = format!("{}: cannot be read: ", world.path("ca.pem").display());
    assert!(lines[0].starts_with(&ca), "{lines:#?}");
    let credentials = world.path("mesos.credentials");
    let credentials = format!("{}:1:12: principal: wants secret", credentials.display());
    assert!(lines[1].starts_with(&credentials), "{lines:#?}");
    assert!(!world.path("store").exists());
}

#[tokio::test]
async fn a_port_in_use_is_one_line_that_names_it_and_exit_1() {
    let world = World::new().await;
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    world.configure(|config| config.replace("127.0.0.1:0", &address));
    let (code, lines) = fails(&world.config_file(), &[]).await;
    assert_eq!(code, Some(1));
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains(&address) && lines[0].contains("in use"), "{lines:?}");
    assert_eq!(world.whitelist(), None);
}

#[tokio::test]
async fn i32_a_second_one_on_the_same_store_is_told_what_to_do_and_harms_nobody() {
    let world = World::new().await;
    let first = world.start_ready().await;
    let before = world.whitelist();
    let (code, lines) = fails(&world.config_file(), &[]).await;
    assert_eq!(code, Some(1));
    assert_eq!(lines.len(), 1, "{lines:?}");
    let line = &lines[0];
    assert!(line.contains("store.redb"), "it names the file: {line}");
    assert!(line.contains("another process"), "it says who is in the way: {line}");
    assert!(line.contains("store.embedded.path"), "it says what to change: {line}");
    first.rounds(2).await;
    first.ready().await;
    assert_eq!(world.whitelist(), before);
}

#[tokio::test]
async fn a_store_that_is_no_store_is_one_line_that_names_it_and_exit_1() {
    let world = World::new().await;
    fs::create_dir(world.path("store")).unwrap();
    fs::write(world.path("store/store.redb"), "this is a letter to somebody\n".repeat(400))
        .unwrap();
    let (code, lines) = fails(&world.config_file(), &[]).await;
    assert_eq!(code, Some(1));
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("store.redb"), "{lines:?}");
}

#[tokio::test]
async fn i23_without_a_store_that_can_be_read_the_file_stays_as_it_is() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    let off = json!({"state": "off", "reason": "a new disk"});
    assert_eq!(remediator.put("/api/v1/hosts/h1.lab/events/e", &off).await.status, 201);
    world.wait_for_whitelist(&HOSTS[1..]).await;
    remediator.kill().await;
    let store = world.path("store/store.redb");
    let (whole, file) = (fs::read(&store).unwrap(), fs::metadata(world.whitelist_file()).unwrap());
    for damaged in [&b"this is a letter to somebody\n".repeat(400)[..], &whole[..whole.len() / 2]] {
        fs::write(&store, damaged).unwrap();
        let (code, lines) = fails(&world.config_file(), &[]).await;
        assert_eq!(code, Some(1), "{lines:?}");
        let now = fs::metadata(world.whitelist_file()).unwrap();
        assert_eq!((now.ino(), now.modified().unwrap()), (file.ino(), file.modified().unwrap()));
    }
    fs::write(&store, whole).unwrap();
    let remediator = world.start_ready().await;
    assert_eq!(remediator.host("h1.lab").await["state"], "off");
    world.wait_for_whitelist(&HOSTS[1..]).await;
}

#[tokio::test]
async fn a_journal_that_cannot_be_opened_is_one_line_that_names_it_and_exit_1() {
    let world = World::new().await;
    fs::create_dir_all(world.journal_file()).unwrap();
    let (code, lines) = fails(&world.config_file(), &[]).await;
    assert_eq!(code, Some(1));
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains("journal.jsonl"), "{lines:?}");
}

#[tokio::test]
async fn help_says_what_it_is_for_and_names_every_flag_with_its_variable() {
    let world = World::new().await;
    let mut help = command(&world.config_file());
    help.arg("--help").stdout(Stdio::piped());
    let output = run_to_end(help).await;
    assert_eq!(output.status.code(), Some(0));
    let text = String::from_utf8(output.stdout).unwrap();
    for part in [
        "whitelist",
        "--config.file",
        "SATELLITE_CONFIG_FILE",
        "--log.level",
        "SATELLITE_LOG_LEVEL",
        "--log.format",
        "SATELLITE_LOG_FORMAT",
        "--version",
    ] {
        assert!(text.contains(part), "{part}\n{text}");
    }
}

#[tokio::test]
async fn the_first_line_says_what_starts_with_which_configuration() {
    let world = World::new().await;
    let remediator = world.start().await;
    let first = &remediator.log()[0];
    let config = world.config_file();
    for part in [r#"msg="Starting""#, "version=0.", "cluster=lab", config.to_str().unwrap()] {
        assert!(first.contains(part), "{part} in {first}");
    }
}
