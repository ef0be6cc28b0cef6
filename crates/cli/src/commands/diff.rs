//! `diff`: what differs between two states.

use engine::diff::{self, Change, DiffOptions, Difference, Side};
use engine::live::LiveSettings;
use engine::reference::{SnapshotPath, node_path};
use engine::repository::Snapshot;
use engine::znode_json::DifferenceJson;
use engine::{Filter, Repo};
use zk_connect::Endpoint;

use crate::commands::selection::{self, ScopeArgs};
use crate::context::Context;
use crate::exit::{Exit, usage};
use crate::live::LiveArgs;
use crate::{opening, output};

/// Shows what differs between any two of snapshots, data directories, live ensembles and AdminServers: created, changed,
/// deleted.
///
/// `+` created, `-` deleted, `M` data, `A` ACL, `T` type or owner, `R` deleted and created again.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:
  zooark diff latest~1 latest
  zooark diff latest:/brokers datadir:/var/lib/zookeeper
  zooark diff latest zk://zk1:2181,zk2:2181 --zk-auth-file /etc/zooark/zk-auth
  zooark diff latest~1 latest --stat --exit-code")]
pub struct Args {
    /// SNAPSHOT[:/path] or an endpoint
    before: String,

    /// SNAPSHOT or an endpoint
    after: String,

    /// Counts only
    #[arg(long)]
    stat: bool,

    /// End with 1 where anything differs
    #[arg(long)]
    exit_code: bool,

    /// Also nodes of which only the stat differs
    #[arg(long)]
    all_stats: bool,

    /// Only nodes that match; may be given several times
    #[arg(long, value_name = "GLOB")]
    include: Vec<String>,

    /// Not these nodes; may be given several times
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,

    #[command(flatten)]
    scope: ScopeArgs,

    #[command(flatten)]
    live: LiveArgs,
}

enum Given {
    Endpoint(Endpoint),
    Snapshot(SnapshotPath),
}

fn given(text: &str) -> anyhow::Result<Given> {
    if Endpoint::looks_like(text) {
        return Ok(Given::Endpoint(selection::source(text)?));
    }
    Ok(Given::Snapshot(selection::snapshot_path(text).map_err(usage)?))
}

/// Runs it.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let (before, after) = (given(&args.before)?, given(&args.after)?);
    let filter = Filter::new(&args.include, &args.exclude).map_err(|error| usage(error.to_string()))?;
    let mut path = Vec::new();
    for side in [&before, &after] {
        if let Given::Snapshot(snapshot) = side {
            let own = node_path(&snapshot.path)?;
            if !path.is_empty() && !own.is_empty() && path != own {
                return Err(usage("both sides name a path, and not the same: name it once"));
            }
            path = if own.is_empty() { path } else { own };
        }
    }
    let needs_repo = matches!(before, Given::Snapshot(_)) || matches!(after, Given::Snapshot(_));
    let repo = if needs_repo { Some(opening::repository(context)?) } else { None };
    context.catch_interrupts()?;
    let scope = args.scope.scope(context);
    let resolve = |given: &Given| -> anyhow::Result<Option<Snapshot>> {
        match (given, &repo) {
            (Given::Snapshot(snapshot), Some(repo)) => Ok(Some(selection::resolve(repo, snapshot, &scope, context)?.0)),
            _ => Ok(None),
        }
    };
    let (old, new) = (resolve(&before)?, resolve(&after)?);
    let options = DiffOptions { path, filter, stats: args.all_stats };
    let live = args.live.settings(context)?;
    let side = |given: &Given, snapshot| side(repo.as_ref(), given, snapshot, &live, &options, context);
    let (before, after) = (side(&before, old.as_ref())?, side(&after, new.as_ref())?);
    let mut failed = None;
    let summary = diff::run(&before, &after, &options, &context.monitor, &mut |difference| {
        if !args.stat {
            failed = failed.take().or(show(&difference, context).err());
        }
        Ok(())
    })?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    context.monitor.clear();
    let text = format!(
        "{} created, {} changed, {} deleted; of {} more only the stat differs",
        output::count(summary.created),
        output::count(summary.changed),
        output::count(summary.deleted),
        output::count(summary.stat_only)
    );
    match (context.output.json, args.stat) {
        (true, true) => context.output.document(&summary)?,
        (false, true) => context.output.line(text)?,
        (_, false) => context.output.say(text),
    }
    if summary.unread > 0 {
        let count = output::count(summary.unread);
        context.output.warn(format_args!("{count} nodes could not be read whole: what is missing was not compared"));
        return Ok(Exit::Incomplete);
    }
    Ok(if args.exit_code && !summary.is_equal() { Exit::Failed } else { Exit::Done })
}

fn side<'r>(
    repo: Option<&'r Repo>,
    given: &Given,
    snapshot: Option<&'r Snapshot>,
    live: &LiveSettings,
    options: &DiffOptions,
    context: &Context,
) -> anyhow::Result<Side<'r>> {
    match (given, repo, snapshot) {
        (Given::Endpoint(given), ..) => Ok(diff::endpoint(given, live, options, &context.monitor)?),
        (Given::Snapshot(_), Some(repo), Some(snapshot)) => Ok(Side::Snapshot(repo.tree(&snapshot.manifest)?)),
        (Given::Snapshot(given), ..) => Err(usage(format!("{given} needs a repository: give --repo"))),
    }
}

fn show(difference: &Difference, context: &Context) -> Result<(), output::OutputError> {
    if context.output.json {
        return context.output.object(&DifferenceJson::from(difference));
    }
    let path = zk_format::path::display(difference.path()).to_string();
    let signs = match difference.change {
        Change::Created => "+".to_owned(),
        Change::Deleted => "-".to_owned(),
        Change::Changed => {
            let flags =
                [(difference.data, 'M'), (difference.acl, 'A'), (difference.kind, 'T'), (difference.recreated, 'R')];
            let signs: String = flags.iter().filter(|(on, _)| *on).map(|(_, sign)| *sign).collect();
            if signs.is_empty() { "s".to_owned() } else { signs }
        }
    };
    context.output.line(format_args!("{signs:<4} {path}"))
}
