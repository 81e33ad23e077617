//! The cases. Each brings a real Alertmanager to say something wrong, late or
//! nothing at all, makes sure that it did, and then looks at the host.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use satellite_tests::wait::{holds_for, wait_for};

use crate::gate::{Delivery, Mood};
use crate::lab::{Alertmanagers, Lab, PATIENCE};
use crate::prometheus::{EXPIRY, check_failed};

const ONE: Alertmanagers = Alertmanagers::One { max_alerts: 0 };

/// `resend_delay`, of which an Alertmanager must have run two to be believed.
const RESEND_DELAY: SignedDuration = SignedDuration::from_secs(2);

/// Longer than Alertmanager takes from one delivery of a group to the next.
const NEXT_DELIVERY: Duration = Duration::from_secs(6);

/// No delivery ever says that the alert of `host` is over.
fn never_resolved(lab: &Lab, host: &str) -> Result<()> {
    holds_for(&format!("silence about the end of {host}"), NEXT_DELIVERY, || {
        let seen = lab.gate.seen();
        ensure!(!seen.iter().any(|it| it.says(host, "resolved")), "{seen:?}");
        Ok(())
    })
}

/// E2: `max_alerts` cuts the same alerts each time, and the end of one that was
/// cut is never delivered.
pub(crate) fn truncated(name: &str) -> Result<Lab> {
    let lab = Lab::start(name, Alertmanagers::One { max_alerts: 2 })?;
    let sick = ["h1.lab", "h2.lab", "h3.lab", "h4.lab"];
    lab.prometheus.fire(&sick.map(check_failed));
    lab.after_one_round(&sick)?;
    let cut = |it: &Delivery| it.truncated_alerts == 2 && !it.says("h4.lab", "firing");
    lab.wait_delivery("a delivery that lacks h4.lab", cut)?;
    lab.prometheus.resolve(&check_failed("h4.lab"));
    lab.after_an_end(&sick[..3])?;
    never_resolved(&lab, "h4.lab")?;
    lab.after_one_round(&sick[..3])?;
    lab.went("h4.lab", &["off", "on"])?;
    Ok(lab)
}

/// E4b: the receiver answers 503, the alert ends meanwhile, and the delivery that
/// says "firing" is repeated until it arrives.
pub(crate) fn stale(name: &str) -> Result<Lab> {
    let lab = Lab::start(name, ONE)?;
    lab.gate.set(Mood::Refuses);
    lab.prometheus.fire(&[check_failed("h1.lab")]);
    lab.after_one_round(&["h1.lab"])?;
    lab.wait_delivery("a delivery that is refused", |it| it.says("h1.lab", "firing"))?;
    lab.prometheus.resolve(&check_failed("h1.lab"));
    lab.after_an_end(&[])?;
    lab.gate.set(Mood::Passes);
    lab.wait_delivery("the old delivery to arrive", |it| {
        it.arrived() && it.says("h1.lab", "firing")
    })?;
    lab.after_one_round(&[])?;
    lab.wait_delivery("the end to arrive", |it| it.arrived() && it.says("h1.lab", "resolved"))?;
    lab.after_one_round(&[])?;
    lab.went("h1.lab", &["off", "on"])?;
    Ok(lab)
}

/// E5: Prometheus dies, Alertmanager lets the alert run out and delivers its end.
/// When Prometheus is back, it sends the same alert.
pub(crate) fn ran_out(name: &str) -> Result<Lab> {
    let lab = Lab::start(name, ONE)?;
    lab.prometheus.fire(&[check_failed("h1.lab")]);
    lab.after_one_round(&["h1.lab"])?;
    lab.wait_delivery("the alert to be delivered", |it| it.says("h1.lab", "firing"))?;
    let before = identity(&lab, "h1.lab")?;
    lab.prometheus.die();
    lab.wait_shown_by("h1.lab", 0)?;
    lab.after_one_round(&["h1.lab"])?;
    lab.wait_delivery("its end to be delivered", |it| {
        it.arrived() && it.says("h1.lab", "resolved")
    })?;
    lab.after_one_round(&["h1.lab"])?;
    lab.prometheus.revive();
    lab.after_one_round(&["h1.lab"])?;
    ensure!(identity(&lab, "h1.lab")? == before, "it is not the same alert");
    lab.wait_ready()?;
    lab.after_one_round(&["h1.lab"])?;
    lab.went("h1.lab", &["off"])?;
    Ok(lab)
}

/// E5: an alert that has ended fires once more with the same fingerprint and the
/// same `startsAt`: it counts.
pub(crate) fn same_again(name: &str) -> Result<Lab> {
    let lab = Lab::start(name, ONE)?;
    let sick = check_failed("h1.lab");
    lab.prometheus.fire(std::slice::from_ref(&sick));
    lab.after_one_round(&["h1.lab"])?;
    let (fingerprint, since) = identity(&lab, "h1.lab")?;
    lab.prometheus.forget(&sick);
    lab.wait_shown_by("h1.lab", 0)?;
    // The Watchdog has to come again, to say that Prometheus lives.
    wait_for("the host to be given back", PATIENCE, || lab.after_one_round(&[]))?;
    lab.prometheus.fire_since(&sick, since);
    lab.wait_shown_by("h1.lab", 1)?;
    lab.after_one_round(&["h1.lab"])?;
    ensure!(identity(&lab, "h1.lab")? == (fingerprint, since), "it is not the same alert");
    lab.went("h1.lab", &["off", "on", "off"])?;
    Ok(lab)
}

/// The fingerprint of the host's alert, and since when it fires.
fn identity(lab: &Lab, host: &str) -> Result<(String, Timestamp)> {
    let alerts = lab.alertmanager().alerts()?;
    let of_host =
        |labels: &crate::prometheus::Labels| labels.get("host").is_some_and(|it| it == host);
    let alert = alerts.into_iter().find(|it| of_host(&it.labels)).context("it is not shown")?;
    Ok((alert.fingerprint, alert.starts_at))
}

/// E6: the alert ends while a person's silence covers it, so its end is never
/// delivered.
pub(crate) fn silenced(name: &str) -> Result<Lab> {
    let lab = Lab::start(name, ONE)?;
    lab.prometheus.fire(&[check_failed("h1.lab")]);
    lab.after_one_round(&["h1.lab"])?;
    lab.wait_delivery("the alert to be delivered", |it| it.says("h1.lab", "firing"))?;
    let silence = lab.alertmanager().silence("host", "h1.lab", "a look at its disk")?;
    // The silence leaves the host as it is.
    wait_for("the silence to be seen", PATIENCE, || {
        let explain = lab.host("h1.lab")?.explain;
        ensure!(explain.contains("silenced"), "{explain}");
        Ok(())
    })?;
    lab.after_one_round(&["h1.lab"])?;
    lab.prometheus.resolve(&check_failed("h1.lab"));
    lab.after_an_end(&[])?;
    never_resolved(&lab, "h1.lab")?;
    // The silence outlasts Prometheus's repetitions, and the group's next look.
    lab.prometheus.repeat_no_ends();
    never_resolved(&lab, "h1.lab")?;
    lab.alertmanager().end_silence(&silence)?;
    never_resolved(&lab, "h1.lab")?;
    lab.after_one_round(&[])?;
    lab.went("h1.lab", &["off", "on"])?;
    Ok(lab)
}

/// E8: Alertmanager is killed after it delivered the alert, forgets it, and never
/// delivers its end.
pub(crate) fn killed(name: &str) -> Result<Lab> {
    let mut lab = Lab::start(name, ONE)?;
    lab.prometheus.fire(&[check_failed("h1.lab")]);
    lab.after_one_round(&["h1.lab"])?;
    let delivered = |it: &Delivery| it.arrived() && it.says("h1.lab", "firing");
    lab.wait_delivery("the alert to be delivered", delivered)?;
    // First with the alert still firing, which proves nothing either way.
    lab.alertmanagers[0].process.kill()?;
    lab.after_one_round(&["h1.lab"])?;
    lab.alertmanagers[0].restart()?;
    lab.after_one_round(&["h1.lab"])?;
    lab.wait_ready()?;
    lab.after_one_round(&["h1.lab"])?;

    lab.alertmanagers[0].process.kill()?;
    lab.prometheus.resolve(&check_failed("h1.lab"));
    lab.after_one_round(&["h1.lab"])?;
    let restarted = Timestamp::now();
    lab.alertmanagers[0].restart()?;
    wait_for("the host to be given back", PATIENCE, || lab.after_one_round(&[]))?;
    // It knows nothing for sure until it has run for a while.
    let back = lab.host("h1.lab")?.transitions.last().context("it went off and on")?.time;
    let waited = back.duration_since(restarted);
    ensure!(waited >= RESEND_DELAY * 2, "given back {waited:#} after the restart");
    never_resolved(&lab, "h1.lab")?;
    lab.after_one_round(&[])?;
    lab.went("h1.lab", &["off", "on"])?;
    Ok(lab)
}

/// H3: both members of a pair were refused for a while, and deliver the same
/// at once.
pub(crate) fn twice_at_once(name: &str) -> Result<Lab> {
    let lab = Lab::start(name, Alertmanagers::Pair)?;
    lab.gate.set(Mood::Refuses);
    lab.prometheus.fire(&[check_failed("h1.lab")]);
    lab.after_one_round(&["h1.lab"])?;
    for member in &lab.alertmanagers {
        let refused = |it: &Delivery| it.sender == member.url() && it.says("h1.lab", "firing");
        lab.wait_delivery(&format!("{} to try", member.url()), refused)?;
    }
    lab.gate.set(Mood::Pairs);
    for member in &lab.alertmanagers {
        let arrived = |it: &Delivery| {
            it.sender == member.url() && it.arrived() && it.says("h1.lab", "firing")
        };
        lab.wait_delivery(&format!("{} to deliver", member.url()), arrived)?;
    }
    lab.gate.set(Mood::Passes);
    lab.after_one_round(&["h1.lab"])?;
    lab.went("h1.lab", &["off"])?;
    lab.prometheus.resolve(&check_failed("h1.lab"));
    lab.after_an_end(&[])?;
    lab.went("h1.lab", &["off", "on"])?;
    Ok(lab)
}

/// H4: the end of the alert reaches one of a pair, which delivers it. The other
/// still has it firing.
pub(crate) fn told_to_one(name: &str) -> Result<Lab> {
    let lab = Lab::start(name, Alertmanagers::Pair)?;
    lab.prometheus.fire(&[check_failed("h1.lab")]);
    lab.wait_shown_by("h1.lab", 2)?;
    lab.after_one_round(&["h1.lab"])?;
    lab.wait_delivery("the alert to be delivered", |it| it.says("h1.lab", "firing"))?;
    lab.prometheus.lose(lab.alertmanager().url());
    lab.prometheus.resolve(&check_failed("h1.lab"));
    lab.wait_shown_by("h1.lab", 1)?;
    lab.after_one_round(&["h1.lab"])?;
    lab.wait_delivery("its end to be delivered", |it| {
        it.arrived() && it.says("h1.lab", "resolved")
    })?;
    lab.after_one_round(&["h1.lab"])?;
    // Also when the other one has let it run out: it may only be cut off.
    lab.wait_shown_by("h1.lab", 0)?;
    let long = EXPIRY / 2;
    holds_for("off while one is cut off", long, || lab.after_one_round(&["h1.lab"]))?;
    lab.prometheus.lose_none();
    wait_for("the host to be given back", PATIENCE, || lab.after_one_round(&[]))?;
    lab.went("h1.lab", &["off", "on"])?;
    Ok(lab)
}
