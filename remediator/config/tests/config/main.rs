//! Configuration files, good and bad.
//!
//! Each `*.good.yml` beside this file loads. Each `*.bad.yml` has a `*.bad.txt`
//! with all of its problems, as they are printed. `UPDATE_GOLDEN=1` writes those
//! anew; read the difference before it is committed.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::{
    env, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use satellite_config::{self as config, Access, Config, EmbeddedStore, Identity, Store};
use satellite_core::{
    matcher::Labels,
    policy::{Action, MaxOff, MinHosts, NewHosts},
};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config")
}

fn files(suffix: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|path| path.to_string_lossy().ends_with(suffix)).collect();
    files.sort();
    assert!(!files.is_empty());
    files
}

fn good(name: &str) -> Config {
    config::load(&folder().join(name)).unwrap()
}

/// Loads a text that is written to a file for it.
fn load(text: &str) -> Result<Config, Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.yml");
    fs::write(&path, text).unwrap();
    config::load(&path).map_err(|problems| {
        let file = format!("{}:", path.display());
        problems.iter().map(|problem| problem.strip_prefix(&file).unwrap().to_owned()).collect()
    })
}

#[test]
fn every_good_file_loads() {
    for file in files(".good.yml") {
        if let Err(problems) = config::load(&file) {
            panic!("{problems:#?}");
        }
    }
}

#[test]
fn every_bad_file_is_refused_with_all_of_its_problems() {
    for file in files(".bad.yml") {
        let name = file.file_name().unwrap().to_str().unwrap();
        let folder = format!("{}/", file.parent().unwrap().display());
        let problems = config::load(&file).map(drop).expect_err(name);
        let found: String =
            problems.iter().map(|it| format!("{}\n", it.replace(&folder, ""))).collect();
        let golden = file.with_extension("txt");
        if env::var_os("UPDATE_GOLDEN").is_some() {
            fs::write(&golden, &found).unwrap();
        }
        assert_eq!(found, fs::read_to_string(&golden).unwrap(), "{name}");
    }
}

#[test]
fn the_shipped_configuration_loads() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../alerts/remediator.yml");
    let config = config::load(&shipped).unwrap();
    assert_eq!(config.policy.rules.len(), 3);
}

/// Whatever is not written has the value that the documented example shows.
#[test]
fn the_smallest_file_means_the_same_as_the_documented_example() {
    let (smallest, documented) = (good("smallest.good.yml"), good("documented.good.yml"));
    for config in [&smallest, &documented] {
        assert_eq!(config.listen, SocketAddr::from(([127, 0, 0, 1], 5001)));
        assert_eq!(config.cluster, "prod");
        let path = PathBuf::from("/var/lib/satellite");
        assert_eq!(config.store, Store::Embedded(EmbeddedStore { path, single_writer: false }));
        assert_eq!(config.masters[0].as_str(), "http://10.0.0.1:5050/");
        assert_eq!(config.reconcile_interval, Duration::from_secs(15));
        assert_eq!(config.exporter_port, 9105);
        assert_eq!(config.whitelist.merge_interval, Duration::from_secs(10));
        let policy = &config.policy;
        assert_eq!(policy.host_label, "host");
        assert_eq!(policy.clear_for, Duration::from_secs(120));
        assert_eq!(policy.resend_delay, Duration::from_secs(60));
        assert_eq!(policy.max_off, MaxOff { count: 10, share: "20%".parse().unwrap() });
        assert_eq!(policy.max_off_per_hour, 10);
        assert_eq!(policy.min_hosts, MinHosts::Share("50%".parse().unwrap()));
        assert_eq!(policy.new_hosts, NewHosts::On);
        assert_eq!(policy.retire_after, Duration::from_secs(604_800));
    }
    assert_eq!(format!("{:?}", smallest.policy), format!("{:?}", documented.policy));
}

#[test]
fn the_default_rules_take_a_sick_host_off_and_hold_for_a_cluster_in_trouble() {
    let policy = good("smallest.good.yml").policy;
    let rule = |pairs: &[(&str, &str)]| {
        let labels: Labels = pairs.iter().map(|&(k, v)| (k.into(), v.into())).collect();
        policy.rule_for(&labels).map(|rule| (rule.name.clone(), rule.action.clone()))
    };
    let off = Action::Off { fires_for: Duration::ZERO, min_off: Duration::from_secs(300) };
    assert_eq!(rule(&[("remediate", "host")]), Some(("host-check".into(), off)));
    let while_lost = Action::Hold { max_hold: Some(Duration::from_secs(600)) };
    let lost = [("remediate", "cluster"), ("alertname", "TasksLost")];
    assert_eq!(rule(&lost), Some(("tasks-lost".into(), while_lost)));
    let trouble = ("cluster-in-trouble".into(), Action::Hold { max_hold: None });
    assert_eq!(rule(&[("remediate", "cluster"), ("alertname", "Other")]), Some(trouble));
    assert_eq!(rule(&[("alertname", "Other")]), None);
}

#[test]
fn what_is_not_in_force_is_told() {
    let keys = |name: &str| -> Vec<&str> {
        good(name).not_in_force.into_iter().map(|item| item.key).collect()
    };
    let by_default = ["policy.rules[].rescind", "policy.manual_rescind"];
    assert_eq!(keys("smallest.good.yml"), by_default);
    assert_eq!(keys("documented.good.yml"), [&by_default[..], &["policy.drain"]].concat());
    // Whoever writes `rescind: false` everywhere misses nothing.
    assert_eq!(keys("demo.good.yml"), by_default[1..]);
}

#[test]
fn a_wanted_value_is_used() {
    let config = good("demo.good.yml");
    assert_eq!(config.listen.port(), 0);
    assert!(matches!(config.store, Store::Embedded(EmbeddedStore { single_writer: true, .. })));
    assert_eq!(config.masters.len(), 3);
    assert_eq!(config.policy.max_off.limit(4), 1);
    assert_eq!(config.policy.min_hosts, MinHosts::Count(2));
    assert_eq!(config.policy.new_hosts, NewHosts::Off);
    let min_off = Duration::from_millis(500);
    let wanted = Action::Off { fires_for: Duration::from_secs(2), min_off };
    assert_eq!(config.policy.rules[0].action, wanted);
    assert_eq!(config.policy.watchdogs.len(), 2);
}

#[test]
fn a_missing_file_an_empty_one_and_rubbish_are_refused_with_one_line() {
    let missing = config::load(Path::new("/nowhere/remediator.yml")).unwrap_err();
    assert!(missing[0].starts_with("/nowhere/remediator.yml: cannot be read: "), "{missing:?}");
    for (text, expected) in [
        ("# nothing\n", " the file is empty"),
        ("listen: [\n", "2:1: "),
        ("listen: {}\n---\n{}\n", ""),
        ("- listen\n", "1:1: invalid type: sequence"),
        ("just text\n", "1:1: invalid type: string"),
        ("listen: !secret x\n", ""),
    ] {
        let problems = load(text).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with(expected) && !problems[0].contains('\n'), "{problems:?}");
    }
}

#[test]
fn the_number_of_complaints_is_bounded() {
    let many: String = (0..1000).map(|n| format!("unknown{n}: 1\n")).collect();
    let problems = load(&many).unwrap_err();
    assert!((50..100).contains(&problems.len()), "{}", problems.len());
}

/// The advice on a text that is written to a file for it, without the file's name.
fn advice(text: &str) -> Vec<String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.yml");
    fs::write(&path, text).unwrap();
    let file = format!("{}:", path.display());
    let (_, lines) = config::advise(&path).unwrap();
    lines.iter().map(|line| line.strip_prefix(&file).unwrap().to_owned()).collect()
}

/// A file that leaves nothing to be advised.
const WISE: &str = r#"store: { embedded: { path: /var/lib/satellite } }
mesos: { masters: ["http://10.0.0.1:5050"] }
alertmanagers: ["http://10.0.0.1:9093", "http://10.0.0.2:9093"]
prometheus: ["http://10.0.0.1:9090"]
whitelist: { file: /var/lib/satellite/whitelist }
"#;

#[test]
fn a_wise_file_is_given_no_advice() {
    assert_eq!(advice(WISE), [] as [&str; 0]);
}

#[test]
fn what_is_legal_and_unwise_is_told_with_its_line() {
    for (added, expected) in [
        ("resend_delay: 30s", "6:15: resend_delay: is less than 1m"),
        ("reconcile_interval: 2m", "reconcile_interval: is 2m or 3 resend_delay, or more"),
        ("policy: { clear_for: 59s }", "policy.clear_for: is shorter than resend_delay"),
        (
            "policy: { budget: { max_off: { share: \"5%\" } } }",
            "policy.budget.max_off.share: rounds to none for fewer than 20 hosts",
        ),
        (
            "policy: { budget: { max_off: { count: 0 } } }",
            "policy.budget.max_off: is none, however many",
        ),
        (
            "policy: { relapse: { give_up_after: 0 } }",
            "policy.relapse.give_up_after: is 0: no host",
        ),
        (
            "policy: { budget: { max_off_per_hour: 0 } }",
            "policy.budget.max_off_per_hour: is 0: nobody",
        ),
        (
            "policy: { budget: { per_attribute: { rack: 0, room: 1 } } }",
            "policy.budget.per_attribute.rack: is 0: no host",
        ),
        ("policy: { storm: { threshold: \"100%\" } }", "policy.storm.threshold: is all hosts"),
        ("policy: { storm: { within: 14s } }", "policy.storm.within: is shorter than reconcile"),
        ("policy: { clear_for: 25h }", "policy.clear_for: is longer than 1d"),
        ("policy: { rules: [] }", "policy.rules: are none"),
        (&rules(&[HOLD, &off("min_off: 0s")]), "policy.rules[1].min_off: is 0s"),
        (&rules(&[HOLD, &off("for: 25h")]), "policy.rules[1].for: is longer than 1d"),
        (&rules(&[&off("for: 1m")]), "policy.rules: have none that holds"),
        (
            &rules(&[HOLD, r#"{ name: r, matchers: [sick=yes], action: "off" }"#]),
            "policy.rules[1].matchers: do not ask for `remediate`",
        ),
        (
            &rules(&[
                "{ name: all, matchers: [remediate=host], action: hold }",
                r#"{ name: r, matchers: [a=b, remediate=host], action: "off" }"#,
            ]),
            "policy.rules[1]: never applies: \"all\" before it takes all its alerts",
        ),
    ] {
        let found = advice(&format!("{WISE}{added}\n"));
        assert_eq!(found.len(), 1, "{added}: {found:?}");
        assert!(found[0].starts_with("6:") && found[0].contains(expected), "{added}: {found:?}");
    }
}

const HOLD: &str = "{ name: hold, matchers: [remediate=cluster], action: hold }";

fn off(more: &str) -> String {
    format!(r#"{{ name: off, matchers: [remediate=host], action: "off", {more} }}"#)
}

fn rules(rules: &[&str]) -> String {
    format!("policy: {{ rules: [{}] }}", rules.join(", "))
}

#[test]
fn a_whitelist_that_forgets_soon_or_lets_nobody_go_is_told() {
    for (added, expected) in [
        ("retire_after: 23h", "5:64: whitelist.retire_after: is less than 1d"),
        ("min_hosts: \"100%\"", "5:61: whitelist.min_hosts: is all of them"),
    ] {
        let found = advice(&WISE.replace("whitelist }", &format!("whitelist, {added} }}")));
        assert!(found.len() == 1 && found[0].starts_with(expected), "{found:?}");
    }
}

#[test]
fn whoever_verifies_no_certificate_is_told() {
    let tls = r#"5050"], tls: { insecure_skip_verify: true } }"#;
    let found = advice(&WISE.replace(r#"5050"] }"#, tls));
    let expected = "2:74: mesos.tls.insecure_skip_verify: is true: whoever gets in between";
    assert!(found.len() == 1 && found[0].starts_with(expected), "{found:?}");
}

#[test]
fn relative_files_of_credentials_and_tls_are_beside_the_configuration() {
    let access = good("access.good.yml").access;
    let expected = Access {
        credentials_file: Some(folder().join("mesos.credentials")),
        ca_file: Some("/etc/ssl/mesos-ca.pem".into()),
        identity: Some(Identity {
            cert_file: folder().join("tls/satellite.pem"),
            key_file: folder().join("tls/satellite.key"),
        }),
        insecure_skip_verify: false,
    };
    assert_eq!(access, expected);
    assert_eq!(good("smallest.good.yml").access, Access::default());
}

#[test]
fn a_relative_store_is_refused() {
    let problems = load(&WISE.replace("path: /var/lib/satellite", "path: satellite")).unwrap_err();
    let expected = "1:28: store.embedded.path: must be an absolute path";
    assert!(problems.len() == 1 && problems[0].starts_with(expected), "{problems:?}");
}

#[test]
fn one_alertmanager_and_too_few_watchdogs_are_told() {
    let one = WISE.replace(", \"http://10.0.0.2:9093\"", "");
    let found = advice(&one);
    assert!(
        found.len() == 1 && found[0].starts_with("3:16: alertmanagers: there is one"),
        "{found:?}"
    );
    let two = WISE.replace(
        "[\"http://10.0.0.1:9090\"]",
        "[\"http://10.0.0.1:9090\", \"http://10.0.0.2:9090\"]",
    );
    let found = advice(&two);
    assert!(
        found.len() == 1 && found[0].contains("fewer (1) than there are Prometheus (2)"),
        "{found:?}"
    );
}

#[test]
fn a_file_with_problems_is_given_them_and_no_advice() {
    let file = folder().join("values.bad.yml");
    assert_eq!(config::advise(&file).map(drop).unwrap_err(), config::load(&file).unwrap_err());
}
