//! The loop: gather the facts, have the core decide, write the documents.
//!
//! A round takes no input. A delivery or a command only wakes it; what it finds
//! then is what counts. Nothing is retried inside a round: the next one begins
//! from the facts of its own time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use satellite_config::Config;
use satellite_core::{
    Facts, HostName, Memory, Now, Plan,
    document::{Record, What},
    plan::{self, Blindness, Block, Budget, HoldStatus, Outlook, StormStatus, Unmatched},
    time::brief,
};
use satellite_toolkit::{exit::chain, lifecycle::Readiness};
use serde_json::json;
use tokio::{
    sync::{Notify, watch},
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::{
    clock::Clock,
    gather::Observer,
    hang::{self, watched},
    journal::{Entry, HOST_KIND, Journal, host_details},
    ledger::{Batch, Desk, Documents, Ledger, STORE},
    store::{Standing, StoreError, Writer},
};

/// The rest after a round, however often it is woken. It is as long as the round
/// itself if that was longer, so that no flood of deliveries can make the
/// remediator a burden to its sources.
const MIN_REST: Duration = Duration::from_millis(100);

/// How long ago the first of the facts may have been asked for. Sources that are as slow as
/// they may be take 22 s, and the desk 4 s; it takes longer only where whoever has the desk
/// waits for a disk, or this process was stopped.
const MAX_AGE: Duration = Duration::from_secs(30);

/// How often a round decides anew because people write at other remediators.
const MAX_CONFLICTS: usize = 10;

/// How many new oddities of a kind, and how many changes that put no host off or on, a
/// round logs, before it only counts them: a
/// wrong label is wrong in every alert.
const MAX_TOLD: usize = 20;

/// How often others are shown the whitelist here, until the store is begun.
const SHOW_EVERY: Duration = Duration::from_secs(5);

/// What readiness calls the wait for a round: before the first nobody knows which
/// sources are blind, and one that does not end is the last.
pub(crate) const ROUND: &str = "round";

/// What the last round found, for everybody who asks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Report {
    /// When it was; `None`: there was none yet.
    pub(crate) at: Option<Timestamp>,
    /// When it ended, by the clock that nobody sets.
    ended: Duration,
    /// The revision of the store that it left behind.
    revision: u64,
    /// How long it took.
    pub(crate) took: Duration,
    /// The leading master.
    pub(crate) leader: Option<String>,
    /// What is to be said of each host that is not simply on.
    outlooks: BTreeMap<HostName, Outlook>,
    /// Sources that cannot be believed.
    pub(crate) blind: Vec<Blindness>,
    /// The holds there are.
    pub(crate) holds: Vec<HoldStatus>,
    /// The storm, if there is one, and who takes part.
    pub(crate) storm: StormStatus,
    /// How many hosts may go.
    pub(crate) budget: Budget,
    /// Alerts that name no host.
    pub(crate) unmatched: BTreeSet<Unmatched>,
    /// Agents whose names cannot stand in a whitelist.
    pub(crate) unlistable: BTreeSet<String>,
    /// Why the last plan was not carried out, if so.
    pub(crate) failure: Option<String>,
}

impl Report {
    /// What is to be said of a host; `None` where no round has looked at its
    /// document as it is now: a command may have changed all that was said.
    pub(crate) fn outlook(&self, host: &HostName, documents: &Documents) -> Option<Outlook> {
        self.at?;
        let is_stale = documents.was_written_after(self.revision, host);
        (!is_stale).then(|| self.outlooks.get(host).cloned().unwrap_or_default())
    }

    /// Whether the next one should have ended by now: it begins after the interval at
    /// the latest.
    pub(crate) fn is_overdue(&self, interval: Duration, now: Now) -> bool {
        self.at.is_some() && now.uptime > self.ended + interval + hang::PATIENCE
    }

    /// The hosts that automation has given up: they fell sick too often, and wait for
    /// a person. As with an outlook, only where the document is still the same.
    pub(crate) fn given_up<'a>(
        &'a self,
        documents: &'a Documents,
    ) -> impl Iterator<Item = &'a HostName> {
        let is_given_up = |outlook: &Outlook| {
            outlook.blocked_by.iter().any(|block| matches!(block, Block::GaveUp { .. }))
        };
        let is_fresh = |host: &HostName| !documents.was_written_after(self.revision, host);
        let given_up = self.outlooks.iter().filter(move |(_, outlook)| is_given_up(outlook));
        given_up.map(|(host, _)| host).filter(move |host| is_fresh(host))
    }
}

/// Carries out rounds.
pub(crate) struct Reconciler {
    pub(crate) observer: Observer,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) journal: Journal,
    pub(crate) config: watch::Receiver<Arc<Config>>,
    pub(crate) readiness: Readiness,
    pub(crate) report: watch::Sender<Arc<Report>>,
    /// Something has come in here: a delivery, a command.
    pub(crate) wake: Arc<Notify>,
    /// Something has come in at another remediator.
    pub(crate) heard: Arc<Notify>,
    pub(crate) clock: Clock,
}

/// What a round decides on.
struct Seen {
    facts: Facts,
    /// When the first of them was asked for, by uptime.
    since: Duration,
    /// Whether the alerts are newer than the rest.
    alerts_were_read_again: bool,
}

/// A plan, and what came of writing it.
struct Written {
    plan: Plan,
    /// The revision of the store that it left behind.
    revision: u64,
    /// The versions that the documents had before.
    outcome: Result<BTreeMap<HostName, u64>, StoreError>,
}

/// What has to be asked again before anything is decided.
enum Again {
    /// A host would go off, and its alert may have ended while the other sources were
    /// asked.
    Alerts,
    /// What was seen is of another time: whoever had the desk kept it for long, or this process
    /// was stopped.
    Everything,
    /// What was seen, and what is remembered, is of another lead: the next round begins anew.
    Nothing,
}

/// What became of a plan.
struct Outcome {
    at: Timestamp,
    ended: Duration,
    took: Duration,
    revision: u64,
    failure: Option<String>,
}

impl Reconciler {
    /// Makes a round every `reconcile_interval`, whenever woken, and after a reload,
    /// until the token is cancelled; as long as this process leads. A follower asks nobody.
    pub(crate) async fn run(self, token: CancellationToken) {
        let mut memory = Memory::beginning(self.clock.now());
        let mut config = self.config.clone();
        let mut standing = self.ledger.standing();
        let mut term = None;
        loop {
            if *standing.borrow_and_update() != Standing::Leads {
                self.stop_judging();
                if self.wait_to_lead(&mut standing, &token).await.is_none() {
                    return;
                }
            }
            if term != self.ledger.term() {
                // As after a restart: what another has seen since is not known here.
                term = self.ledger.term();
                memory = Memory::beginning(self.clock.now());
                self.ledger.doubt();
            }
            config.mark_unchanged();
            let interval = self.config.borrow().reconcile_interval;
            let round = self.round(&mut memory, term.as_deref(), &token);
            let round = watched(round, |hangs| self.tell_hang(hangs));
            let Some(took) = round.await else { return };
            let rest = took.max(MIN_REST).min(interval);
            tokio::select! {
                biased;
                () = token.cancelled() => return,
                () = tokio::time::sleep(rest) => {}
            }
            tokio::select! {
                biased;
                () = token.cancelled() => return,
                () = self.wake.notified() => {}
                () = self.heard.notified() => {}
                Ok(()) = config.changed() => {}
                Ok(()) = standing.changed() => {}
                () = tokio::time::sleep(interval.saturating_sub(rest)) => {}
            }
        }
    }

    /// Waits until this process leads, and passes on to whoever does that something has
    /// come in here. `None`: the token was cancelled.
    async fn wait_to_lead(
        &self,
        standing: &mut watch::Receiver<Standing>,
        token: &CancellationToken,
    ) -> Option<()> {
        // It may have been heard of while the last round went on, or the rest after it.
        self.record_belated().await;
        let mut show = tokio::time::interval(SHOW_EVERY);
        show.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while *standing.borrow_and_update() != Standing::Leads {
            let follows = matches!(*standing.borrow(), Standing::Follows { .. });
            let is_shown = follows && !self.ledger.read().is_begun();
            tokio::select! {
                biased;
                () = token.cancelled() => return None,
                Ok(()) = standing.changed() => {}
                // Whoever leads does not begin a store before it knows what is here.
                _ = show.tick(), if is_shown => {
                    let config = Arc::clone(&self.config.borrow());
                    let find = self.observer.find_list(&config, &self.ledger);
                    let find = tokio::time::timeout(SHOW_EVERY, find);
                    match token.run_until_cancelled(find).await? {
                        Ok(Err(reason)) => debug!(reason, "The store is not begun yet"),
                        Ok(Ok(_)) => {}
                        Err(_) => debug!("The whitelist or the store does not answer"),
                    }
                }
                () = self.wake.notified() => {
                    self.ledger.wake_the_leader().await;
                    // No flood of deliveries may become one of transactions.
                    tokio::time::sleep(MIN_REST).await;
                }
                () = self.heard.notified() => self.record_belated().await,
            }
        }
        Some(())
    }

    /// What a follower does not look at cannot keep it from being ready.
    fn stop_judging(&self) {
        let former = self.report.send_replace(Arc::default());
        former.blind.iter().for_each(|it| self.readiness.set(&it.source, None));
        self.readiness.set(ROUND, None);
        self.readiness.set(STORE, self.ledger.absence());
    }

    fn tell_hang(&self, hangs: bool) {
        let patience = brief(hang::PATIENCE);
        self.readiness.set(ROUND, hangs.then(|| format!("one has not ended for over {patience}")));
        if hangs {
            error!("A round does not end: the store or the journal does not answer");
        }
    }

    /// One round. Returns how long it took; `None`: the token was cancelled while
    /// the sources were asked, which some of them make last long. Once something
    /// is decided, it is carried out and put on record.
    async fn round(
        &self,
        memory: &mut Memory,
        term: Option<&str>,
        token: &CancellationToken,
    ) -> Option<Duration> {
        let began = self.clock.now();
        let config = Arc::clone(&self.config.borrow());
        let mut seen = token.run_until_cancelled(self.look(&config)).await?;
        let mut conflicts = 0;
        let written = loop {
            match self.write(&seen, term, &config, memory).await {
                // Somebody said something at another remediator: decide on that, too.
                Ok(Written { outcome: Err(StoreError::Conflict { .. }), .. })
                    if conflicts < MAX_CONFLICTS =>
                {
                    conflicts += 1;
                }
                Ok(Written { outcome: Err(StoreError::Overtaken { seen }), .. })
                    if conflicts < MAX_CONFLICTS =>
                {
                    conflicts += 1;
                    self.ledger.catch_up(seen).await;
                }
                Ok(written) => break written,
                Err(Again::Alerts) => {
                    let look = self.observer.ask_alertmanagers(&config);
                    seen.facts.alertmanagers = token.run_until_cancelled(look).await?;
                    seen.alerts_were_read_again = true;
                }
                Err(Again::Everything) => {
                    seen = token.run_until_cancelled(self.look(&config)).await?;
                }
                Err(Again::Nothing) => {
                    info!("Another remediator may have led meanwhile: nothing was changed");
                    return Some(self.clock.now().uptime.saturating_sub(began.uptime));
                }
            }
        };
        let Written { plan, revision, outcome } = written;
        self.record_belated().await;
        let failure = match outcome {
            Ok(versions) => {
                self.put_on_record(&plan, &versions, began.wall, &config).await;
                None
            }
            Err(StoreError::NotLeading) => {
                info!("Another remediator leads by now: nothing was changed");
                None
            }
            Err(error) => {
                let reason = chain(&error);
                error!(reason, "Cannot write the store: nothing was changed");
                Some(reason)
            }
        };
        // What was seen was seen, written or not: a wait that a failing round broke
        // off may not count as one that went on.
        *memory = plan.memory.clone();
        let ended = self.clock.now().uptime;
        let took = ended.saturating_sub(began.uptime);
        self.publish(&seen.facts, plan, Outcome { at: began.wall, ended, took, revision, failure });
        Some(took)
    }

    /// Asks every source.
    async fn look(&self, config: &Config) -> Seen {
        let since = self.clock.now().uptime;
        let facts = self.observer.gather(config, &self.ledger).await;
        Seen { facts, since, alerts_were_read_again: false }
    }

    /// Decides at the desk, where nobody else changes anything, and writes. What was seen and
    /// is remembered is of the lead `term`.
    async fn write(
        &self,
        seen: &Seen,
        term: Option<&str>,
        config: &Config,
        memory: &Memory,
    ) -> Result<Written, Again> {
        let desk = self.ledger.desk().await;
        if self.ledger.term().as_deref() != term {
            return Err(Again::Nothing);
        }
        if self.clock.now().uptime.saturating_sub(seen.since) > MAX_AGE {
            return Err(Again::Everything);
        }
        let plan = {
            let documents = self.ledger.read();
            let now = self.clock.now();
            plan::plan(&seen.facts, documents.state(), &config.policy, memory, now)
        };
        if plan.takes_off() && !seen.alerts_were_read_again {
            return Err(Again::Alerts);
        }
        let desk = match desk {
            Ok(desk) => desk,
            Err(error) => {
                let revision = self.ledger.read().revision;
                return Ok(Written { plan, revision, outcome: Err(error) });
            }
        };
        let versions = versions(&desk, &plan);
        let outcome =
            desk.commit(&Batch::of_plan(&plan), Writer::Automation).await.map(|()| versions);
        let revision = desk.read().revision;
        Ok(Written { plan, revision, outcome })
    }

    /// Journals and logs what was done, or in a dry run what would have been.
    async fn put_on_record(
        &self,
        plan: &Plan,
        versions: &BTreeMap<HostName, u64>,
        now: Timestamp,
        config: &Config,
    ) {
        let dry_run = config.policy.dry_run;
        let entry_of = if dry_run { Entry::of_dry_run } else { Entry::new };
        let mut entries = Vec::new();
        let changed = plan.changes.iter();
        let changed = changed.flat_map(|(host, it)| it.records.iter().map(move |it| (host, it)));
        let records: Vec<(&HostName, &Record)> = changed.chain(&plan.retired).collect();
        log_all(&records, dry_run);
        for (host, record) in records {
            if !dry_run {
                self.ledger.tally.note(record);
            }
            let version = versions.get(host).copied().unwrap_or(0);
            entries.push(entry_of(
                record.time,
                HOST_KIND,
                host_details(host, record, Some(version)),
            ));
        }
        for note in &plan.notes {
            warn!(note, "Automation");
            entries.push(entry_of(now, "automation", json!({ "what": note })));
        }
        self.append(&entries).await;
    }

    /// Journals and logs what an earlier write has done that had seemed to fail, and
    /// journals what others have done.
    async fn record_belated(&self) {
        let belated = self.ledger.take_belated();
        let records: Vec<(&HostName, &Record)> = belated.iter().map(|(a, b)| (a, b)).collect();
        log_all(&records, false);
        let mut entries = Vec::new();
        for (host, record) in records {
            self.ledger.tally.note(record);
            let before = record.version.unwrap_or(1).saturating_sub(1);
            entries.push(Entry::of_host(host, record, before));
        }
        entries.extend(self.ledger.take_elsewhere());
        self.append(&entries).await;
    }

    async fn append(&self, entries: &[Entry]) {
        if entries.is_empty() {
            return;
        }
        if let Err(error) = self.journal.append(entries).await {
            error!(
                error = chain(&error),
                entries = entries.len(),
                "Changes are not in the journal yet: it is tried again"
            );
        }
    }

    fn publish(&self, facts: &Facts, plan: Plan, outcome: Outcome) {
        let Outcome { at, ended, took, revision, failure } = outcome;
        let former = Arc::clone(&self.report.borrow());
        self.tell_blindness(&former.blind, &plan.blind);
        self.tell_oddities(&former, &plan);
        self.readiness.set(STORE, self.ledger.absence().or_else(|| failure.clone()));
        self.readiness.set(ROUND, None);
        let report = Report {
            at: Some(at),
            ended,
            revision,
            took,
            leader: facts.mesos.as_ref().ok().map(|mesos| mesos.leader.clone()),
            outlooks: plan.outlooks,
            blind: plan.blind,
            holds: plan.holds,
            storm: plan.storm,
            budget: plan.budget,
            unmatched: plan.unmatched,
            unlistable: plan.unlistable,
            failure,
        };
        self.report.send_replace(Arc::new(report));
    }

    fn tell_blindness(&self, former: &[Blindness], blind: &[Blindness]) {
        let knows = |list: &[Blindness], source: &str| list.iter().any(|it| it.source == source);
        for Blindness { source, reason, .. } in blind {
            self.readiness.set(source, Some(reason.clone()));
            if !knows(former, source) {
                warn!(source, reason, "Blind: this source cannot be believed");
            }
        }
        for Blindness { source, .. } in former.iter().filter(|it| !knows(blind, &it.source)) {
            self.readiness.set(source, None);
            info!(source, "No longer blind");
        }
    }

    fn tell_oddities(&self, former: &Report, plan: &Plan) {
        let mut fresh = plan.unmatched.difference(&former.unmatched);
        for Unmatched { alertname, host, near_miss } in fresh.by_ref().take(MAX_TOLD) {
            let near_miss = near_miss.as_ref().map(HostName::as_str);
            warn!(alertname, host, near_miss, "An alert names no host of the inventory");
        }
        let more = fresh.count();
        if more > 0 {
            warn!(more, "More alerts name no host of the inventory; GET /api/v1/status lists them");
        }
        let mut fresh = plan.unlistable.difference(&former.unlistable);
        for hostname in fresh.by_ref().take(MAX_TOLD) {
            warn!(hostname, "An agent's name is no host name: it cannot be listed");
        }
        let more = fresh.count();
        if more > 0 {
            warn!(more, "More agents' names are no host names; GET /api/v1/status lists them");
        }
        let began = |it: &&HoldStatus| !former.holds.iter().any(|known| known.hold == it.hold);
        for status in plan.holds.iter().filter(began) {
            let (rule, alertname) = (&status.hold.rule, &status.hold.alertname);
            warn!(rule, alertname, "Hold begins: nothing is taken off");
        }
        let ended = |it: &&HoldStatus| !plan.holds.iter().any(|now| now.hold == it.hold);
        for status in former.holds.iter().filter(ended) {
            let (rule, alertname) = (&status.hold.rule, &status.hold.alertname);
            info!(rule, alertname, "Hold ended");
        }
    }
}

/// The versions of the documents that the plan is to change.
fn versions(desk: &Desk<'_>, plan: &Plan) -> BTreeMap<HostName, u64> {
    let documents = desk.read();
    let touched = plan.changes.keys().chain(plan.retired.keys());
    touched.map(|host| (host.clone(), documents.version(host))).collect()
}

/// Logs each host that went off or on, and of everything else the first few of a kind: a
/// first start has a new host for each that there is.
fn log_all(records: &[(&HostName, &Record)], dry_run: bool) {
    let is_always_told = |what| matches!(what, What::Off | What::On);
    let mut seen: BTreeMap<What, usize> = BTreeMap::new();
    for (host, record) in records {
        let count = seen.entry(record.what).or_default();
        *count += 1;
        if *count <= MAX_TOLD || is_always_told(record.what) {
            log(host, record, dry_run);
        }
    }
    seen.retain(|what, count| !is_always_told(*what) && *count > MAX_TOLD);
    for (what, count) in seen {
        info!(?what, more = count - MAX_TOLD, "More hosts, each in the journal");
    }
}

fn log(host: &HostName, record: &Record, dry_run: bool) {
    let Record { by, reason, .. } = record;
    let rule = record.rule.as_deref();
    // Only where it is one, the line says that nothing was done.
    let dry_run = dry_run.then_some(true);
    match record.what {
        What::Off => warn!(%host, rule, by, reason, dry_run, "Host off"),
        What::On => info!(%host, rule, by, reason, dry_run, "Host on"),
        What::Enrolled => info!(%host, by, reason, dry_run, "New host"),
        What::Cause => info!(%host, rule, by, reason, dry_run, "One more cause holds a host off"),
        What::Cleared => {
            info!(%host, rule, by, reason, dry_run, "No cause holds a host off any more");
        }
        What::Said => info!(%host, by, reason, dry_run, "A person said something of a host"),
        What::Retired => info!(%host, by, reason, dry_run, "A host left the store"),
        What::Expired => {
            info!(%host, by, reason, dry_run, "What a person said of a host has expired");
        }
    }
}
