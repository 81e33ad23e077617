//! Sources that are away, hang, or answer rubbish: nothing changes wrongly, it is
//! said which source is blind, and it heals by itself.

use super::{
    fake::Mood,
    peers::{Leads, Master, check_failed},
    remediator::Remediator,
    world::{HOSTS, World},
};

fn blind(source: &str) -> String {
    format!("satellite_source_blind{{source=\"{source}\"}}")
}

/// The source is blind, and all who ask are told so.
async fn is_told_blind(remediator: &Remediator, source: &str) {
    let text = remediator.not_ready(&format!("{source}: ")).await;
    assert!(text.lines().all(|line| line.len() > source.len() + 4), "with a reason: {text}");
    remediator.wait_for_metric(&blind(source), 1.0).await;
    let status = remediator.status().await;
    let view = status["sources"].as_array().unwrap().iter().find(|it| it["source"] == source);
    let view = view.unwrap();
    assert_eq!(view["blind"], true, "{view}");
    assert!(view["reason"].is_string() && view["since"].is_string(), "{view}");
}

/// Makes one source blind in each way that is noticed at once; while it is,
/// `unchanged` must hold.
async fn each_way_to_be_blind(
    world: &World,
    remediator: &Remediator,
    kind: &str,
    unchanged: impl AsyncFn(),
) {
    let sources = world.peers.sources();
    let (source, fake) = sources.iter().find(|(name, _)| name.starts_with(kind)).unwrap();
    for mood in [Mood::Away, Mood::Broken, Mood::Page] {
        fake.is(mood);
        is_told_blind(remediator, source).await;
        remediator.rounds(3).await;
        unchanged().await;
        fake.is(Mood::Well);
        remediator.wait_for_metric(&blind(source), 0.0).await;
        remediator.ready().await;
    }
}

#[tokio::test]
async fn without_mesos_nothing_is_taken_off_and_nothing_given_back() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    let (sick, healed) = (check_failed("h1.lab"), check_failed("h2.lab"));
    world.fire(&healed);
    world.wait_for_whitelist(&["h1.lab", "h3.lab", "h4.lab"]).await;
    world.peers.master.fake.is(Mood::Away);
    is_told_blind(&remediator, "mesos").await;
    world.fire(&sick);
    world.heal(&healed);
    remediator.rounds(8).await;
    for (host, state) in [("h1.lab", "on"), ("h2.lab", "off")] {
        let host = remediator.host(host).await;
        assert_eq!(host["state"], state, "{host}");
        assert!(host["explain"].as_str().unwrap().contains("no leading master"), "{host}");
    }
    world.wait_for_whitelist(&["h1.lab", "h3.lab", "h4.lab"]).await;
    world.peers.master.fake.is(Mood::Well);
    world.wait_for_whitelist(&["h2.lab", "h3.lab", "h4.lab"]).await;
    remediator.ready().await;
    world.heal(&sick);
    world.wait_for_whitelist(&HOSTS).await;
    each_way_to_be_blind(&world, &remediator, "mesos", async || {
        assert_eq!(remediator.status().await["hosts"]["on"], 4);
    })
    .await;
}

#[tokio::test]
async fn without_alertmanager_nothing_is_taken_off_and_nothing_given_back() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    let sick = check_failed("h1.lab");
    world.fire(&sick);
    remediator.wait_for_host("h1.lab", "off").await;
    // Prometheus and Mesos say that it is well, and its alert is nowhere to be seen.
    world.heal(&sick);
    world.peers.alertmanager.fake.is(Mood::Away);
    each_way_to_be_blind(&world, &remediator, "alertmanager", async || {
        let host = remediator.host("h1.lab").await;
        assert_eq!(host["state"], "off", "{host}");
        assert_eq!(remediator.status().await["hosts"]["on"], 3);
        // It must not come back in between either.
        world.peers.alertmanager.fire(check_failed("h1.lab"));
    })
    .await;
}

#[tokio::test]
async fn without_prometheus_nothing_is_given_back() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    let sick = check_failed("h1.lab");
    world.peers.alertmanager.fire(sick.clone());
    remediator.wait_for_host("h1.lab", "off").await;
    world.peers.prometheus.fake.is(Mood::Away);
    remediator.rounds(2).await;
    world.peers.alertmanager.end(&sick);
    remediator.rounds(10).await;
    let host = remediator.host("h1.lab").await;
    assert_eq!(host["state"], "off", "{host}");
    assert!(host["explain"].as_str().unwrap().contains("no Prometheus says"), "{host}");
    world.peers.prometheus.fake.is(Mood::Well);
    remediator.wait_for_host("h1.lab", "on").await;
    each_way_to_be_blind(&world, &remediator, "prometheus", async || {
        assert_eq!(remediator.status().await["hosts"]["on"], 4);
    })
    .await;
}

#[tokio::test]
async fn sources_that_hang_are_given_up_named_and_heal() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    let file = world.whitelist();
    world.peers.all_are(Mood::Hangs);
    for (source, _) in world.peers.sources() {
        is_told_blind(&remediator, &source).await;
    }
    // Who asks is answered meanwhile.
    assert_eq!(remediator.host("h1.lab").await["state"], "on");
    assert_eq!(world.whitelist(), file);
    world.peers.all_are(Mood::Well);
    remediator.ready().await;
    world.wait_for_whitelist(&HOSTS).await;
}

#[tokio::test]
async fn a_master_that_never_answers_delays_a_round_by_seconds_only() {
    let world = World::new().await;
    let hole = Master::start().await;
    hole.fake.is(Mood::Hangs);
    let (leader, hole_url) = (world.peers.master.fake.url(), hole.fake.url());
    world.configure(|config| {
        let one = format!("masters: [\"{leader}\"]");
        let config = config.replace(&one, &format!("masters: [\"{leader}\", \"{hole_url}\"]"));
        config.replace("/store }", "/store, single_writer: true }")
    });
    let remediator = world.start_ready().await;
    let status = remediator.status().await;
    assert_eq!(status["mesos_leader"], leader.as_str());
    let took = status["last_round_seconds"].as_f64().unwrap();
    assert!((1.0..8.0).contains(&took), "{took}");
}

#[tokio::test]
async fn a_master_that_follows_or_knows_no_leader_is_no_leader() {
    let world = World::new().await;
    let remediator = world.start_ready().await;
    let other = Master::start().await;
    other.lists(&["h5.lab"]);
    for (leads, reason) in
        [(Leads::Another(other.fake.url()), "follows"), (Leads::Nobody, "No leader elected")]
    {
        world.peers.master.leads(leads);
        let text = remediator.not_ready("mesos: ").await;
        assert!(text.contains(reason), "{text}");
        remediator.rounds(3).await;
        // The other was never configured, and nobody is lost.
        assert_eq!(remediator.get("/api/v1/hosts/h5.lab").await.status, 404);
        assert_eq!(remediator.host("h1.lab").await["listing"]["state"], "registered");
        world.peers.master.leads(Leads::Yes);
        remediator.ready().await;
    }
}

#[tokio::test]
async fn masters_that_want_credentials_are_asked_with_those_of_the_file_as_it_is_now() {
    let world = World::new().await;
    // `remediator:s3cr3t`, as it goes over the wire.
    world.peers.master.wants("Basic cmVtZWRpYXRvcjpzM2NyM3Q=");
    // Whole at any instant, as whoever issues secrets writes them.
    let write = |secret: &str| {
        let text = format!(r#"{{"principal": "remediator", "secret": "{secret}"}}"#);
        std::fs::write(world.path("new"), text).unwrap();
        std::fs::rename(world.path("new"), world.path("mesos.credentials")).unwrap();
    };
    write("wr0ng");
    world.configure(|config| {
        config.replace("mesos: {", "mesos: { credentials_file: mesos.credentials,")
    });
    let remediator = world.start().await;
    let text = remediator.not_ready("mesos: ").await;
    assert!(text.contains("answered 401"), "{text}");
    write("s3cr3t");
    remediator.ready().await;
    world.wait_for_whitelist(&HOSTS).await;
    for line in remediator.log() {
        assert!(!["wr0ng", "s3cr3t"].iter().any(|secret| line.contains(secret)), "{line}");
    }
}
