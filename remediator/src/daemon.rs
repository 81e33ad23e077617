//! Puts the parts together, starts them, and ends them.
//!
//! Order at the start: configuration (every problem at once, no port bound),
//! store and journal, port, tasks. At the end every task is told at once; a round
//! that has decided something carries it out and puts it on record first.

use std::{path::Path, sync::Arc, time::Duration};

use anyhow::Context as _;
use futures::{
    FutureExt,
    future::{BoxFuture, select_all},
};
use prometheus_client::registry::Registry;
use satellite_config::{Access, Config, Digest, Identity};
use satellite_mesos::{
    AccessOptions, Client, ClientBuildError, ClientOptions, IdentityFiles, TlsOptions,
};
use satellite_toolkit::{
    browser,
    exit::{Failure, chain},
    lifecycle::{self, Readiness, Reload, Reloader},
    serve::{self, Limits, ServerMetrics},
    shutdown::{self, Shutdown, Threads},
    web::Web,
};
use tokio::{
    net::TcpListener,
    sync::{Notify, watch},
    task::JoinHandle,
};
use tracing::{error, info, warn};

use crate::{
    Args, api,
    clock::Clock,
    disk::{Disk, OsDisk},
    gather::Observer,
    journal::{Journal, Recorded},
    ledger::Ledger,
    merge::{FileStatus, MERGE, Merger},
    reconcile::{ROUND, Reconciler, Report},
    sources::{Network, Sources},
    store::{EmbeddedStore, ShadowStore, Store, ZooKeeperStore},
};

/// A source that does not take a connection for so long is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Runs the remediator until it is told to end.
///
/// # Errors
/// [`Failure::Usage`] with every problem of the configuration, before any port
/// is bound; [`Failure::Runtime`] where the store, the journal or the port
/// cannot be had.
pub fn run(args: &Args) -> Result<(), Failure> {
    let config = satellite_config::load(&args.config_file).map_err(Failure::Usage)?;
    info!(
        version = env!("CARGO_PKG_VERSION"),
        config = %args.config_file.display(),
        cluster = config.cluster,
        "Starting"
    );
    tell_not_in_force(&config);
    let web = load_web(&config)?;
    // Another provider would only be there if something else had put it there.
    rustls_provider()?;
    let mesos = mesos(&config)?;
    let daemon = run_daemon(args, config, web, mesos);
    shutdown::block_on(Threads::Many, daemon).context("cannot start the runtime")?
}

/// TLS and users. Only with users may it be reached from elsewhere, which the
/// configuration by itself cannot tell.
fn load_web(config: &Config) -> Result<Web, Failure> {
    let Some(file) = &config.web_config_file else { return Ok(Web::default()) };
    let web = Web::load(file)
        .map_err(|problems| Failure::Usage(problems.iter().map(ToString::to_string).collect()))?;
    let (listen, file) = (config.listen, file.display());
    let is_open = !listen.ip().to_canonical().is_loopback();
    if is_open && !web.has_users() {
        return Err(Failure::usage(format!(
            "listen: {listen} is not a loopback address, and {file} has no basic_auth_users: \
             whoever reaches it may turn hosts off and on; add users, or listen on 127.0.0.1:{}",
            listen.port()
        )));
    }
    if is_open && !web.has_tls() {
        warn!(%listen, %file, "Passwords cross the network as they are: add tls_server_config");
    }
    Ok(web)
}

fn tell_not_in_force(config: &Config) {
    for item in &config.not_in_force {
        warn!(key = item.key, why = item.why, "Not yet in force");
    }
}

fn rustls_provider() -> Result<(), Failure> {
    let installed = rustls::crypto::ring::default_provider().install_default();
    installed.map_err(|_| anyhow::anyhow!("a TLS provider is installed already").into())
}

/// The client for the masters, with what it is let in by.
fn mesos(config: &Config) -> Result<Client, Failure> {
    let Access { credentials_file, ca_file, identity, insecure_skip_verify } =
        config.access.clone();
    let identity =
        identity.map(|Identity { cert_file, key_file }| IdentityFiles { cert_file, key_file });
    let tls = TlsOptions { ca_file, identity, insecure_skip_verify };
    let mut options = ClientOptions::default();
    options.access = AccessOptions { credentials_file, tls };
    Client::new(&options).map_err(|error| match error {
        ClientBuildError::Files(problems) => {
            Failure::Usage(problems.iter().map(ToString::to_string).collect())
        }
        error => anyhow::Error::from(error).context("cannot set up the client for Mesos").into(),
    })
}

async fn run_daemon(args: &Args, config: Config, web: Web, mesos: Client) -> Result<(), Failure> {
    let shutdown = Shutdown::on_signals().context("cannot listen for signals")?;
    mesos.warn_of_exposure(&config.masters).await;
    let daemon = Daemon::prepare(config, web, mesos).await?;
    let ledger = Arc::clone(&daemon.parts.ledger);
    let listener = serve::bind(&daemon.listen).await.map_err(anyhow::Error::from)?;
    let tasks = daemon.start(args, &shutdown, listener);
    // Each runs until the end is asked for. One that ends before has failed, and
    // without it the rest would only look as if it worked.
    let (first, _, others) = select_all(tasks).await;
    shutdown.drain(shutdown::GRACE).await;
    ledger.close().await;
    // What has not ended by now is cut off.
    let others = others.into_iter().filter_map(FutureExt::now_or_never);
    for outcome in std::iter::once(first).chain(others) {
        outcome.context("a part of the remediator failed; please report this")??;
    }
    Ok(())
}

/// The store, or in a dry run its shadow, so that nothing is written.
async fn open_store(config: &Config) -> Result<Box<dyn Store>, Failure> {
    let listen = config.listen;
    let store = match &config.store {
        satellite_config::Store::ZooKeeper(config) => {
            let credentials = config.auth_file.as_deref().map(read_digest).transpose()?;
            let name = format!("{} ({listen})", machine());
            return Ok(Box::new(ZooKeeperStore::open(config, credentials, &name)));
        }
        satellite_config::Store::Embedded(config) => open_embedded(&config.path)?,
    };
    if !config.policy.dry_run {
        return Ok(Box::new(store));
    }
    warn!("Dry run: everything is decided, and neither store nor whitelist is written");
    let contents = store.load().await.map_err(anyhow::Error::from)?;
    Ok(Box::new(ShadowStore::new(contents)))
}

/// The name of this machine, for people.
fn machine() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn open_embedded(path: &Path) -> anyhow::Result<EmbeddedStore> {
    Ok(EmbeddedStore::open(path)?)
}

/// What the remediator is let in with by ZooKeeper.
fn read_digest(file: &Path) -> Result<Digest, Failure> {
    Digest::read(file).map_err(|problem| {
        Failure::usage(format!("store.zookeeper.auth_file: {}: {problem}", file.display()))
    })
}

/// Opens the journal and puts on record what an earlier process did and died before
/// it could write down; or sees to it that this is done, once the documents are read.
async fn open_journal(
    disk: &Arc<dyn Disk>,
    folder: &Path,
    ledger: &Ledger,
) -> anyhow::Result<Journal> {
    let recorded = Recorded::read(disk.as_ref(), folder).await?;
    let journal = Journal::open(Arc::clone(disk), folder).await?;
    if !ledger.is_read() {
        ledger.remember(recorded);
        return Ok(journal);
    }
    let missing = recorded.missing(&ledger.read().hosts);
    if missing.is_empty() {
        return Ok(journal);
    }
    info!(entries = missing.len(), "Putting on record what was done right before the last end");
    if let Err(error) = journal.append(&missing).await {
        error!(error = chain(&error), "It is not in the journal yet: it is tried again");
    }
    Ok(journal)
}

/// The sources over the network.
fn network(mesos: Client) -> anyhow::Result<Network> {
    let http = reqwest::Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        // Sources are named in the configuration; nobody stands in between.
        .no_proxy()
        .user_agent(concat!("satellite/", env!("CARGO_PKG_VERSION")))
        .build()?;
    Ok(Network { http, mesos })
}

/// All that lies outside of this process.
pub(crate) struct Outside {
    pub(crate) store: Box<dyn Store>,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) sources: Arc<dyn Sources>,
    pub(crate) clock: Clock,
    /// The name of the machine, for people.
    pub(crate) machine: String,
}

/// The parts that decide and act, put together and not yet started.
pub(crate) struct Parts {
    pub(crate) app: api::App,
    pub(crate) reconciler: Reconciler,
    pub(crate) merger: Merger,
    pub(crate) config: watch::Sender<Arc<Config>>,
    pub(crate) readiness: Readiness,
    pub(crate) ledger: Arc<Ledger>,
    /// Told of what others have written.
    pub(crate) heard: Arc<Notify>,
}

impl Parts {
    /// Loads what the store has, opens the journal, and ties the parts together.
    pub(crate) async fn assemble(
        config: Config,
        outside: Outside,
        registry: Registry,
    ) -> anyhow::Result<Self> {
        let Outside { store, disk, sources, clock, machine } = outside;
        let readiness = Readiness::new([
            (ROUND, "the first round is not over yet"),
            (MERGE, "waits until it is known which hosts there are"),
        ]);
        let ledger = if store.is_shared() {
            // It may be away, and is waited for.
            Ledger::unread(store, readiness.clone())
        } else {
            Ledger::load(store, readiness.clone()).await?
        };
        let ledger = Arc::new(ledger);
        let journal = open_journal(&disk, config.store.folder(), &ledger).await?;
        let config = watch::Sender::new(Arc::new(config));
        let status = watch::Sender::new(FileStatus::default());
        let report = watch::Sender::new(Arc::new(Report::default()));
        let (wake, heard) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let app = api::App::new(api::Parts {
            ledger: Arc::clone(&ledger),
            journal: journal.clone(),
            config: config.subscribe(),
            report: report.subscribe(),
            file: status.subscribe(),
            wake: Arc::clone(&wake),
            registry,
            clock: clock.clone(),
        });
        let merger = Merger {
            ledger: Arc::clone(&ledger),
            journal: journal.clone(),
            config: config.subscribe(),
            readiness: readiness.clone(),
            status,
            disk: Arc::clone(&disk),
            clock: clock.clone(),
        };
        let reconciler = Reconciler {
            observer: Observer { sources, disk, machine },
            ledger: Arc::clone(&ledger),
            journal,
            config: config.subscribe(),
            readiness: readiness.clone(),
            report,
            wake,
            heard: Arc::clone(&heard),
            clock,
        };
        Ok(Self { app, reconciler, merger, config, readiness, ledger, heard })
    }
}

/// A task that runs until the end.
type Task = JoinHandle<anyhow::Result<()>>;

/// Everything that is needed before a port is bound.
struct Daemon {
    listen: String,
    parts: Parts,
    reload: Reload,
    reloader: Reloader,
    server_metrics: ServerMetrics,
    web: Web,
}

impl Daemon {
    async fn prepare(config: Config, web: Web, mesos: Client) -> Result<Self, Failure> {
        let clock = Clock::start();
        let mut registry = Registry::default();
        let server_metrics = ServerMetrics::register(&mut registry);
        web.register(&mut registry);
        let (reload, reloader) = lifecycle::reload(&mut registry, clock.now().wall)
            .context("cannot listen for SIGHUP")?;
        let listen = config.listen.to_string();
        let outside = Outside {
            store: open_store(&config).await?,
            disk: Arc::new(OsDisk),
            sources: Arc::new(network(mesos)?),
            clock,
            machine: machine(),
        };
        let parts = Parts::assemble(config, outside, registry).await?;
        Ok(Self { listen, parts, reload, reloader, server_metrics, web })
    }

    /// Starts every task.
    fn start(self, args: &Args, shutdown: &Shutdown, listener: TcpListener) -> Vec<Task> {
        let token = shutdown.token();
        let Parts { app, reconciler, merger, config, readiness, ledger, heard } = self.parts;
        let file = args.config_file.clone();
        let load = move || {
            let outcome = reload(&file, &config);
            async move { outcome }
        };
        let follower = token.clone();
        let loops: [BoxFuture<'static, ()>; 4] = [
            async move { ledger.follow(&heard, follower).await }.boxed(),
            reconciler.run(token.clone()).boxed(),
            merger.run(token.clone()).boxed(),
            self.reloader.run(token.clone(), load).boxed(),
        ];
        let mut router = api::router(app).merge(lifecycle::routes(readiness, self.reload));
        let web = self.web;
        if !web.has_users() {
            // Nobody is asked who they are, and it listens on loopback alone.
            router = router.layer(axum::middleware::from_fn(browser::refuse_other_hosts));
        }
        let limits = Limits { body_bytes: api::MAX_BODY_BYTES, ..Limits::default() };
        let metrics = self.server_metrics;
        let serve = async move {
            let served = serve::serve(listener, router, limits, &metrics, web, token).await;
            served.context("cannot serve")
        };
        let loops = loops.map(|run| shutdown.spawn(run.map(Ok)));
        loops.into_iter().chain([shutdown.spawn(serve)]).collect()
    }
}

/// Puts a valid file in force; what cannot change without a restart may not differ.
fn reload(file: &Path, current: &watch::Sender<Arc<Config>>) -> Result<(), String> {
    let fresh = satellite_config::load(file).map_err(|problems| problems.join("\n"))?;
    let former = Arc::clone(&current.borrow());
    for (key, same) in [
        ("listen", fresh.listen == former.listen),
        ("web_config_file", fresh.web_config_file == former.web_config_file),
        ("mesos.credentials_file or mesos.tls", fresh.access == former.access),
        ("store", fresh.store == former.store),
        ("policy.dry_run", fresh.policy.dry_run == former.policy.dry_run),
        ("whitelist.file", fresh.whitelist.file == former.whitelist.file),
    ] {
        if !same {
            return Err(format!("{key} cannot change while the remediator runs: restart it"));
        }
    }
    tell_not_in_force(&fresh);
    current.send_replace(Arc::new(fresh));
    Ok(())
}
