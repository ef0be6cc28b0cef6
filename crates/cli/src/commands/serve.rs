//! `serve`: the daemon.

use std::io;

use engine::{EngineError, ErrorKind};
use server::config::{Config, LogFormat, Surroundings};
use server::serve::{self, ServeError};
use tracing_subscriber::EnvFilter;

use crate::commands::selection;
use crate::context::Context;
use crate::exit::{Exit, usage};

/// Takes backups on a schedule, keeps retention, checks, restores on request, and shows it: REST, figures, a web page.
///
/// All it needs is a configuration file, whose keys docs/operations/daemon.md explains. SIGTERM and SIGINT end it where
/// nothing is left half-done, a second one at once; SIGHUP reads the configuration, the tokens and the certificate again.
/// Its log goes to standard error.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:
  zooark serve --config /etc/zooark/zooark.toml
  zooark serve --config /etc/zooark/zooark.toml --check-config
  zooark serve --openapi > openapi.json")]
pub struct Args {
    /// Read and check the configuration, say what it leads to, and end
    #[arg(long)]
    check_config: bool,

    /// Print the description of the REST interface, and end
    #[arg(long, conflicts_with = "check_config")]
    openapi: bool,
}

/// Runs it.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    if args.openapi {
        context.output.document(&server::api::document())?;
        return Ok(Exit::Done);
    }
    let path = context
        .daemons_config
        .clone()
        .ok_or_else(|| usage("which configuration? give --config FILE or set ZOOARK_CONFIG"))?;
    let surroundings = Surroundings {
        variables: context.settings.environment.clone(),
        state_dir: context.settings.state_dir(),
        cache_dir: context.settings.cache_dir(),
        host: selection::host(context),
    };
    let config = serve::check(&path, &surroundings).map_err(failed)?;
    if args.check_config {
        say(&config, context)?;
        return Ok(Exit::Done);
    }
    log(&config)?;
    serve::run(&path, config, surroundings, |_| ()).map_err(failed)?;
    Ok(Exit::Done)
}

fn failed(error: ServeError) -> anyhow::Error {
    match error {
        ServeError::Config(error) => usage(error.to_string()),
        ServeError::System { what, source } => EngineError::with(ErrorKind::Failed, what, source).into(),
    }
}

fn say(config: &Config, context: &Context) -> anyhow::Result<()> {
    let out = &context.output;
    out.line(format_args!("listens on {}", config.server.address()))?;
    for cluster in &config.clusters {
        let next = cluster.when().and_then(|when| when.starting(cluster.start_at).next_after(engine::repo::now()));
        let next = next.map_or_else(|| "never".to_owned(), |next| format!("next at {next}"));
        out.line(format_args!("cluster {}: {}, {}, {next}", cluster.name, cluster.source, cluster.when_text()))?;
    }
    out.line("the configuration holds; repositories and ensembles were not asked")?;
    Ok(())
}

/// The log as the configuration wants it, on standard error.
fn log(config: &Config) -> anyhow::Result<()> {
    let level = config.log.level.as_deref().unwrap_or("info");
    let filter = EnvFilter::try_from_env("ZOOARK_LOG")
        .or_else(|_| EnvFilter::try_new(level))
        .map_err(|error| usage(format!("log.level {level:?}: {error}")))?;
    let lines =
        tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(false).with_target(false);
    // There is none yet: this command sets its own.
    let set = match config.log.format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().flatten_event(true).try_init(),
    };
    set.map_err(|error| EngineError::new(ErrorKind::Failed, format!("cannot set up the log: {error}")))?;
    Ok(())
}
