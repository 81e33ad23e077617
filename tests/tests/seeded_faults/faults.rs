//! The faults: what somebody could write who does not know better.

/// One fault.
pub(crate) struct Fault {
    /// What is wrong, as the name of its case.
    pub(crate) name: &'static str,
    /// In which file.
    pub(crate) file: &'static str,
    /// What stands there, exactly once.
    pub(crate) text: &'static str,
    /// What stands there instead.
    pub(crate) instead: &'static str,
    /// The invariants that may be seen broken first.
    pub(crate) breaks: &'static [&'static str],
}

const MERGE: &str = "remediator/src/merge.rs";
const DAEMON: &str = "remediator/src/daemon.rs";
const JOURNAL: &str = "remediator/src/journal/writer.rs";
const LEDGER: &str = "remediator/src/ledger/mod.rs";
const FOLLOWING: &str = "remediator/src/ledger/following.rs";
const RECONCILE: &str = "remediator/src/reconcile.rs";
const GATHER: &str = "remediator/src/gather.rs";
const WEBHOOK: &str = "remediator/src/api/webhook.rs";
const EVENTS: &str = "remediator/src/api/events.rs";
const STORM: &str = "remediator/core/src/plan/storm.rs";
const WATCHING: &str = "remediator/core/src/plan/watching.rs";
const STORE: &str = "remediator/src/store/mod.rs";
const DOCUMENTS: &str = "remediator/src/ledger/documents.rs";
const CLOCK: &str = "remediator/src/clock.rs";
const MANUAL: &str = "remediator/core/src/manual.rs";

pub(crate) const FAULTS: &[Fault] = &[
    Fault {
        name: "the_file_is_written_in_place",
        file: MERGE,
        text: r#"let fresh = folder.join(format!(".{name}.satellite"));"#,
        instead: "let fresh = folder.join(name.as_ref());",
        breaks: &["I20"],
    },
    Fault {
        name: "the_file_is_not_synced_before_it_is_renamed",
        file: MERGE,
        text: "    file.sync().await.map(|()| given)",
        instead: "    Ok(given)",
        breaks: &["I20", "I22"],
    },
    Fault {
        name: "the_folder_is_not_synced_after_the_rename",
        file: MERGE,
        text: "let synced = sync_folder(disk, path).await;",
        instead: "let synced = Ok(());",
        breaks: &["I20", "I22"],
    },
    Fault {
        name: "a_file_that_looks_right_is_taken_for_durable",
        file: MERGE,
        text: "None if !dry_run && !last.is_durable => make_durable(disk, path).await?,",
        instead: "None if false => make_durable(disk, path).await?,",
        breaks: &["I22"],
    },
    Fault {
        name: "what_this_process_wrote_is_taken_for_what_is_there",
        file: MERGE,
        text: "(found != Some(list.content.as_bytes())).then(",
        instead: "(last.list.as_ref().is_none_or(|it| it.hosts != list.hosts)).then(",
        breaks: &["I22"],
    },
    Fault {
        name: "the_file_is_written_before_the_store_is_begun",
        file: MERGE,
        text: "if !documents.is_begun() {",
        instead: "if false {",
        breaks: &["I20"],
    },
    Fault {
        name: "a_dry_run_writes_the_file",
        file: MERGE,
        text: "let dry_run = config.policy.dry_run;\n        let found",
        instead: "let dry_run = false;\n        let found",
        breaks: &["I20"],
    },
    Fault {
        name: "the_journal_is_not_synced",
        file: JOURNAL,
        text: "self.file.append(lines).await?;\n        self.file.sync().await",
        instead: "self.file.append(lines).await",
        breaks: &["I10"],
    },
    Fault {
        name: "a_delivery_is_answered_before_it_is_on_record",
        file: WEBHOOK,
        text: "    app.journal.take(&entry).await.map_err(ApiError::Journal)?;",
        instead: "    let journal = app.journal.clone();
    tokio::spawn(async move { journal.take(&entry).await });",
        breaks: &["I10"],
    },
    Fault {
        name: "a_resolved_alert_in_a_delivery_gives_its_host_back",
        file: WEBHOOK,
        text: "    note_unmatched(app, &delivery, now);\n    debug!",
        instead: r#"    for alert in delivery.alerts.iter().filter(|alert| alert.status == Status::Resolved) {
        let host: satellite_core::HostName = alert.labels["host"].parse().unwrap();
        let desk = app.ledger.desk().await.map_err(ApiError::Store)?;
        let document = desk.read().hosts.get(&host).cloned();
        if let Some(mut document) = document {
            document.causes.clear();
            let batch = crate::ledger::Batch::of_host(&host, &document);
            desk.commit(&batch, crate::store::Writer::Person).await.ok();
        }
    }
    note_unmatched(app, &delivery, now);
    debug!"#,
        breaks: &["I15", "I34"],
    },
    Fault {
        name: "a_command_is_answered_before_it_is_written",
        file: EVENTS,
        text: "desk.commit(&Batch::of_host(host, &document), Writer::Person).await.map_err(ApiError::Store)?;",
        instead: r"drop(desk);
    let (later, name, written) = (app.clone(), host.clone(), document.clone());
    tokio::spawn(async move {
        let Ok(desk) = later.ledger.desk().await else { return };
        desk.commit(&Batch::of_host(&name, &written), Writer::Person).await.ok();
    });
    let desk = app.ledger.desk().await.map_err(ApiError::Store)?;",
        breaks: &["I6"],
    },
    Fault {
        name: "a_word_that_is_put_before_another_ends_early",
        file: MANUAL,
        text: "event.ttl = event.ttl.map(|ttl| ttl.saturating_add(since(time, event.time)));",
        instead: "let _ = since;",
        breaks: &["I6"],
    },
    Fault {
        name: "alerts_are_not_read_again_before_a_host_goes",
        file: RECONCILE,
        text: "if plan.takes_off() && !seen.alerts_were_read_again {",
        instead: "if false {",
        breaks: &["I18"],
    },
    Fault {
        name: "a_plan_is_written_over_what_a_person_said_meanwhile",
        file: RECONCILE,
        text: r"        let desk = self.ledger.desk().await;
        if self.ledger.term().as_deref() != term {
            return Err(Again::Nothing);
        }
        if self.clock.now().uptime.saturating_sub(seen.since) > MAX_AGE {
            return Err(Again::Everything);
        }
        let plan = {",
        instead: r"        let early = {
            let documents = self.ledger.read();
            let now = self.clock.now();
            plan::plan(&seen.facts, documents.state(), &config.policy, memory, now)
        };
        let desk = self.ledger.desk().await;
        let plan = if !early.takes_off() { early } else {",
        breaks: &["I6", "I34"],
    },
    Fault {
        name: "what_a_round_has_watched_is_forgotten",
        file: RECONCILE,
        text: "*memory = plan.memory.clone();",
        instead: "*memory = Memory::default();",
        breaks: &["I37"],
    },
    Fault {
        name: "an_alertmanager_that_is_silent_is_left_out",
        file: GATHER,
        text:
            "let ask = |url| self.sources.alertmanager(url).map(move |answer| (shown(url), answer));
        join_all(config.alertmanagers.iter().map(ask)).await.into_iter().collect()",
        instead:
            "let ask = |url| self.sources.alertmanager(url).map(move |answer| (shown(url), answer));
        let answers = join_all(config.alertmanagers.iter().map(ask)).await;
        answers.into_iter().filter(|(_, answer)| answer.is_ok()).collect()",
        breaks: &["I16"],
    },
    Fault {
        name: "after_a_failed_write_the_store_is_not_read_again",
        file: LEDGER,
        text: "if !self.is_in_doubt() {",
        instead: "if true {",
        breaks: &["I6", "I20", "I21", "I22", "I34", "I37"],
    },
    Fault {
        name: "what_the_journal_refused_is_forgotten",
        file: JOURNAL,
        text: "self.owed.extend_from_slice(lines);",
        instead: "let _ = lines;",
        breaks: &["I34"],
    },
    Fault {
        name: "what_a_killed_process_did_not_write_down_is_forgotten",
        file: DAEMON,
        text: "let missing = recorded.missing(&ledger.read().hosts);",
        instead: "let missing = recorded.missing(&std::collections::BTreeMap::new());",
        breaks: &["I34"],
    },
    Fault {
        name: "what_a_failed_write_did_after_all_is_not_put_on_record",
        file: RECONCILE,
        text: "let belated = self.ledger.take_belated();",
        instead: "let mut belated = self.ledger.take_belated();
        belated.clear();",
        breaks: &["I34"],
    },
    Fault {
        name: "a_storm_that_nobody_saw_begin_is_none",
        file: STORM,
        text: "falls.sort();",
        instead: "falls.retain(|(fell, _)| fell.age(self.now) < self.policy.storm.within);
        falls.sort();",
        breaks: &["I3"],
    },
    Fault {
        name: "what_people_say_ends_by_the_time_of_day",
        file: WATCHING,
        text: "Some(&Some(began)) => return (key, Some(began)),",
        instead: "_ if true => Some(since(key.1, self.now.wall)),
                Some(&Some(began)) => return (key, Some(began)),",
        breaks: &["I2", "I4", "I6"],
    },
    Fault {
        name: "waits_run_on_the_wall_clock",
        file: CLOCK,
        text: "Now { wall, uptime: self.started.elapsed() }",
        instead: "let since = wall.as_second() - 1_799_990_000;
        Now { wall, uptime: std::time::Duration::from_secs(since.unsigned_abs()) }",
        breaks: &["I6", "I15", "I19"],
    },
];

/// Those that show only where several share a store.
pub(crate) const FAULTS_OF_SEVERAL: &[Fault] = &[
    Fault {
        name: "automation_writes_as_people_do",
        file: RECONCILE,
        text: "desk.commit(&Batch::of_plan(&plan), Writer::Automation)",
        instead: "desk.commit(&Batch::of_plan(&plan), Writer::Person)",
        breaks: &["I32"],
    },
    Fault {
        name: "who_leads_anew_goes_on_as_if_it_had_led_all_the_time",
        file: RECONCILE,
        text: "memory = Memory::beginning(self.clock.now());\n                self.ledger.doubt();",
        instead: "self.ledger.doubt();",
        breaks: &["I15", "I19"],
    },
    Fault {
        name: "what_is_heard_before_all_was_read_is_taken_for_all",
        file: FOLLOWING,
        text: "if self.is_in_doubt() {",
        instead: "if false {",
        breaks: &["I20", "I34"],
    },
    Fault {
        name: "a_list_follows_from_a_part_of_the_documents",
        file: MERGE,
        text: "if step.is_whole || step.difference.is_none() {",
        instead: "if true {",
        breaks: &["I20"],
    },
    Fault {
        name: "what_others_have_done_is_not_put_on_record",
        file: DOCUMENTS,
        text: "it.version.is_some() && !known.contains(&key(it))",
        instead: "it.version.is_some() && known.is_empty()",
        breaks: &["I34"],
    },
    Fault {
        name: "what_was_decided_on_an_older_revision_is_written",
        file: STORE,
        text: "if seen != self.revision {",
        instead: "if false {",
        breaks: &["I1", "I2", "I3", "I6", "I15", "I20", "I24", "I32"],
    },
    Fault {
        name: "what_may_have_been_missed_is_not_read_again",
        file: FOLLOWING,
        text: "        self.doubt();\n        let desk = self.desk().await;",
        instead: "        let desk = self.desk().await;",
        breaks: &["I20", "I24", "I34"],
    },
];
