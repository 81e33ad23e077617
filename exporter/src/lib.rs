//! Mesos master, agent and task container metrics for Prometheus.
//!
//! One exporter runs on every node, beside the master, the agent or both. A scrape goes
//! `http` → `scrape` → `sources` (ask Mesos, decode) → `families` (pure, by the
//! `catalogue`) → the toolkit's exposition. Nothing is gathered between scrapes save the
//! results of the host `checks`, and no number of Mesos is kept after one: only who the
//! agent is and who owns its containers.

mod access;
mod args;
mod catalogue;
mod checks;
mod config;
mod families;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod groups;
mod http;
mod label_rules;
mod page;
mod scrape;
mod sources;

use std::{path::PathBuf, sync::Arc, time::Duration};

use anyhow::Context as _;
use jiff::Timestamp;
use prometheus_client::registry::Registry;
use satellite_toolkit::{
    exit::Failure,
    lifecycle::{self, Readiness},
    serve::{self, Limits, ServerMetrics},
    shutdown::{self, Shutdown, Threads},
};
use tracing::info;

pub use args::Args;
use args::Config;
use checks::Checks;
use config::FileConfig;
use http::App;
use scrape::Scraper;
use sources::agent::Rules;

/// What a request may take beyond Mesos's time.
const RESPONSE_MARGIN: Duration = Duration::from_secs(5);

/// Runs the exporter until SIGTERM or SIGINT.
pub fn run(args: Args) -> Result<(), Failure> {
    let config = args.into_config()?;
    let ended = shutdown::block_on(Threads::One, daemon(config));
    let ended = ended.context("cannot start the runtime")?;
    ended.map_err(Failure::Runtime)
}

async fn daemon(config: Config) -> anyhow::Result<()> {
    let Config {
        master,
        agent,
        timeout,
        client,
        listen_address,
        telemetry_path,
        web,
        config_file,
        file,
        wanted,
    } = config;
    let shutdown = Shutdown::on_signals().context("cannot listen for signals")?;
    let mut own = Registry::default();
    let server_metrics = ServerMetrics::register(&mut own);
    web.register(&mut own);
    let (reload, reloader) =
        lifecycle::reload(&mut own, Timestamp::now()).context("cannot listen for SIGHUP")?;
    let listener = serve::bind(&listen_address).await?;

    info!(version = env!("CARGO_PKG_VERSION"), "Starting satellite-exporter");
    let targets: Vec<_> = master.iter().chain(&agent).cloned().collect();
    client.warn_of_exposure(&targets).await;
    let checks = Arc::new(Checks::new(shutdown.tracker(), shutdown.token()));
    let scraper = Arc::new(Scraper::new(&client, master, agent, timeout));
    apply(file, &checks, &scraper).await;
    let (checks_too, scraper_too) = (Arc::clone(&checks), Arc::clone(&scraper));
    shutdown.spawn(reloader.run(shutdown.token(), move || {
        load(config_file.clone(), Arc::clone(&checks_too), Arc::clone(&scraper_too))
    }));
    let turns = App::all_turns();
    let app = Arc::new(App { scraper, checks, own, timeout, telemetry_path, wanted, turns });
    let router = http::routes(app).merge(lifecycle::routes(Readiness::default(), reload));
    let mut limits = Limits::default();
    limits.request_timeout = limits.request_timeout.max(timeout + RESPONSE_MARGIN);
    let token = shutdown.token();
    let mut server = shutdown.spawn(async move {
        serve::serve(listener, router, limits, &server_metrics, web, token).await
    });
    // Ends before it is told to only if it fails.
    let failed = tokio::select! {
        () = shutdown.token().cancelled_owned() => None,
        ended = &mut server => ended.context("the listener panicked")?.err(),
    };
    shutdown.drain(shutdown::GRACE).await;
    failed.map_or(Ok(()), |error| Err(error).context("the listener failed"))
}

/// A reload: the file is read and judged as a whole, then it is in force as a whole.
async fn load(
    path: Option<PathBuf>,
    checks: Arc<Checks>,
    scraper: Arc<Scraper>,
) -> Result<(), String> {
    let Some(path) = path else { return Ok(()) };
    // On a thread that may block: the file may lie on a disk that is slow or gone.
    let read = tokio::task::spawn_blocking(move || FileConfig::load(&path));
    let file = read.await.map_err(|error| error.to_string())?.map_err(|problems| {
        problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    })?;
    apply(file, &checks, &scraper).await;
    Ok(())
}

async fn apply(file: FileConfig, checks: &Checks, scraper: &Scraper) {
    let FileConfig { checks: specs, task_labels, agent_attributes } = file;
    scraper.apply(Rules { task_labels, agent_attributes: Arc::new(agent_attributes) });
    checks.apply(specs).await;
}
