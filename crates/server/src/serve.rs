//! From the configuration to the end of the process.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum_server::Handle;
use axum_server::tls_rustls::RustlsConfig;
use hyper_util::rt::TokioTimer;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

use crate::api;
use crate::config::{self, Config, ConfigError, LeaderMode, Surroundings};
use crate::daemon::{Daemon, Holding, Leading};
use crate::repos::Repos;
use crate::state::StateFile;
use crate::tokens::Tokens;
use crate::{driver, lag, leader};

/// How long jobs may take to stop where nothing is left half-done.
const JOBS_END_WITHIN: Duration = Duration::from_secs(20);
/// How long a client may take to say what it wants.
const HEADERS_WITHIN: Duration = Duration::from_secs(10);
/// How long giving the lease up may take.
const LEASE_GIVEN_UP_WITHIN: Duration = Duration::from_secs(3);
/// How long connections may take after that.
const CONNECTIONS_END_WITHIN: Duration = Duration::from_secs(2);

/// Why the daemon did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// It was told something that makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The system refused something.
    #[error("{what}")]
    System {
        /// What was done to what.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

fn system(what: impl Into<String>) -> impl FnOnce(io::Error) -> ServeError {
    let what = what.into();
    move |source| ServeError::System { what, source }
}

/// Reads everything that the configuration names but secrets of repositories and ensembles, which are read when they are used.
pub fn check(path: &Path, surroundings: &Surroundings) -> Result<Config, ServeError> {
    let config = config::load(path, surroundings)?;
    holding(config.clone(), surroundings)?;
    Ok(config)
}

fn holding(config: Config, surroundings: &Surroundings) -> Result<Holding, ServeError> {
    let tokens = config.auth.tokens_file.as_deref().map(Tokens::read).transpose()?.unwrap_or_default();
    let repos = Repos::new(&config, surroundings);
    Ok(Holding { config, repos, tokens })
}

/// Runs until it is told to stop. `listening` is told where.
pub fn run(
    path: &Path,
    config: Config,
    surroundings: Surroundings,
    listening: impl FnOnce(SocketAddr) + Send + 'static,
) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(system("cannot start the threads of the daemon"))?;
    let ended = runtime.block_on(live(path.to_owned(), config, surroundings, listening));
    // A job that does not stop must not keep the process: a backup that was not committed is not there.
    runtime.shutdown_timeout(Duration::from_secs(1));
    ended
}

async fn live(
    path: PathBuf,
    config: Config,
    surroundings: Surroundings,
    listening: impl FnOnce(SocketAddr),
) -> Result<(), ServeError> {
    let mut signals = Signals::new().map_err(system("cannot listen for signals"))?;
    let state_dir = config.server.state_dir.clone().unwrap_or_else(|| surroundings.state_dir.clone());
    let opening = system(format!("cannot keep state in {}: give [server] state_dir", state_dir.display()));
    let (state, wrong) = StateFile::open(&state_dir).map_err(opening)?;
    if let Some(wrong) = wrong {
        tracing::error!("{wrong}: times of last runs and pauses are forgotten");
    }
    let leading = if config.leader.mode == LeaderMode::None { Leading::Always } else { Leading::Not };
    let tls = match &config.server.tls {
        Some(tls) => Some(RustlsConfig::from_pem_file(&tls.cert, &tls.key).await.map_err(system(format!(
            "cannot read the certificate {} or its key {}",
            tls.cert.display(),
            tls.key.display()
        )))?),
        None => None,
    };
    let listener = bind(config.server.address())?;
    let metrics = config.server.metrics_listen.map(bind).transpose()?;
    let address = listener.local_addr().map_err(system("cannot tell where it listens"))?;

    let daemon = Daemon::new(holding(config, &surroundings)?, surroundings, state_dir, state, leading);
    let handle = Handle::new();
    let mut servers = vec![serve(listener, api::router(Arc::clone(&daemon)), tls.clone(), &handle)?];
    if let Some(listener) = metrics {
        servers.push(serve(listener, api::health_only(Arc::clone(&daemon)), None, &handle)?);
    }
    let driver = tokio::spawn(driver::run(Arc::clone(&daemon)));
    let leader = tokio::spawn(leader::run(Arc::clone(&daemon)));
    tokio::spawn(lag::run(Arc::clone(&daemon)));
    tracing::info!(%address, tls = tls.is_some(), clusters = daemon.holding().config.clusters.len(), "listening");
    listening(address);

    let (mut driver, mut leader) = (driver, leader);
    let mut broken = false;
    loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Signal::Reload => reload(&daemon, &path, tls.as_ref()).await,
                Signal::Stop => break,
            },
            // Without it nothing would ever be backed up again, and nobody would see it.
            _ = &mut driver => {
                broken = true;
                break;
            }
        }
    }
    tracing::info!("stopping: jobs end where nothing is left half-done");
    daemon.stop();
    let end = tokio::time::Instant::now() + JOBS_END_WITHIN;
    let mut asked_again = false;
    while daemon.jobs.cancel_all() && !asked_again && tokio::time::Instant::now() < end {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(50)) => {}
            Signal::Stop = signals.next() => asked_again = true,
        }
    }
    // The lease is given up when nothing is done under it any more.
    let patience = if asked_again { Duration::ZERO } else { LEASE_GIVEN_UP_WITHIN };
    if tokio::time::timeout(patience, &mut leader).await.is_err() {
        tracing::warn!("the lease was not given up in time; others wait until it is over");
    }
    handle.graceful_shutdown(Some(CONNECTIONS_END_WITHIN));
    for server in servers {
        let _ = server.await;
    }
    tracing::info!("stopped");
    if broken {
        let source = io::Error::other("it is said above what broke off");
        return Err(ServeError::System {
            what: "what begins jobs ended by itself, a fault of this program".to_owned(),
            source,
        });
    }
    Ok(())
}

fn bind(address: SocketAddr) -> Result<TcpListener, ServeError> {
    let listener = TcpListener::bind(address).map_err(system(format!("cannot listen on {address}")))?;
    listener.set_nonblocking(true).map_err(system("cannot prepare the listener"))?;
    Ok(listener)
}

fn serve(
    listener: TcpListener,
    router: Router,
    tls: Option<RustlsConfig>,
    handle: &Handle<SocketAddr>,
) -> Result<JoinHandle<io::Result<()>>, ServeError> {
    let service = router.into_make_service_with_connect_info::<SocketAddr>();
    let handle = handle.clone();
    if let Some(tls) = tls {
        let mut server = axum_server::from_tcp_rustls(listener, tls).map_err(system("cannot listen"))?;
        server.http_builder().http1().timer(TokioTimer::new()).header_read_timeout(HEADERS_WITHIN);
        return Ok(tokio::spawn(server.http1_only().handle(handle).serve(service)));
    }
    let mut server = axum_server::from_tcp(listener).map_err(system("cannot listen"))?;
    server.http_builder().http1().timer(TokioTimer::new()).header_read_timeout(HEADERS_WITHIN);
    Ok(tokio::spawn(server.http1_only().handle(handle).serve(service)))
}

/// Reads the configuration, the tokens and the certificate again. What cannot hold leaves all as it was.
async fn reload(daemon: &Arc<Daemon>, path: &Path, tls: Option<&RustlsConfig>) {
    let surroundings = daemon.surroundings.clone();
    let (path, read) = (path.to_owned(), move |path: PathBuf| {
        let config = config::load(&path, &surroundings)?;
        holding(config, &surroundings)
    });
    let next = tokio::task::spawn_blocking(move || read(path)).await;
    let next = match next {
        Ok(Ok(next)) => next,
        Ok(Err(error)) => {
            return tracing::error!("the configuration was not read again, what held before holds: {error}");
        }
        Err(error) => return tracing::error!("the configuration was not read again: {error}"),
    };
    if let (Some(own), Some(files)) = (tls, &next.config.server.tls)
        && let Err(error) = own.reload_from_pem_file(&files.cert, &files.key).await
    {
        return tracing::error!("the certificate was not read again, what held before holds: {error}");
    }
    daemon.replace(next);
    tracing::info!("the configuration was read again; where it listens is as it was");
}

enum Signal {
    Stop,
    Reload,
}

struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> Signal {
        tokio::select! {
            _ = self.interrupt.recv() => Signal::Stop,
            _ = self.terminate.recv() => Signal::Stop,
            _ = self.hangup.recv() => Signal::Reload,
        }
    }
}
