//! `tag`: changes the tags of snapshots.

use engine::annotate::{self, TagChange};
use engine::reference::SnapshotPath;

use crate::commands::selection::{self, ScopeArgs};
use crate::context::Context;
use crate::exit::{Exit, usage};
use crate::{opening, output};

/// Changes the tags of snapshots.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:
  zooark tag 4f1c --add before-upgrade
  zooark tag latest --set nightly,kept --dry-run")]
pub struct Args {
    /// The snapshots
    #[arg(required = true, value_parser = selection::snapshot_path)]
    snapshots: Vec<SnapshotPath>,

    /// Add these tags
    #[arg(long, value_name = "TAG", value_delimiter = ',')]
    add: Vec<String>,

    /// Remove these tags
    #[arg(long, value_name = "TAG", value_delimiter = ',')]
    remove: Vec<String>,

    /// These tags instead of all present ones
    #[arg(long, value_name = "TAG", value_delimiter = ',', conflicts_with_all = ["add", "remove"])]
    set: Option<Vec<String>>,

    /// Show what would change
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    scope: SnapshotScope,
}

/// `--tag` would be taken for a change here.
#[derive(Debug, clap::Args)]
struct SnapshotScope {
    /// Only snapshots of this cluster [env: ZOOARK_CLUSTER]
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
}

/// Runs it.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    if args.add.is_empty() && args.remove.is_empty() && args.set.is_none() {
        return Err(usage("nothing to change: give --add, --remove or --set"));
    }
    let change = TagChange { set: args.set.clone(), add: args.add.clone(), remove: args.remove.clone() };
    let repo = opening::repository(context)?;
    let scope = ScopeArgs { cluster: args.scope.cluster.clone(), tag: Vec::new() }.scope(context);
    // All are found before any is changed.
    let found = args
        .snapshots
        .iter()
        .map(|given| Ok(selection::resolve(&repo, given, &scope, context)?.0))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut all = Vec::new();
    for snapshot in &found {
        let tagged = annotate::tag(&repo, snapshot, &change, args.dry_run)?;
        if !context.output.json {
            context.output.line(format_args!(
                "{}: {} -> {}",
                snapshot.id().short(),
                output::plain(&tagged.before.join(",")),
                output::plain(&tagged.after.join(","))
            ))?;
        }
        all.push(tagged);
    }
    if context.output.json {
        context.output.document(&all)?;
    }
    if args.dry_run {
        context.output.say("dry run: nothing was changed");
    }
    Ok(Exit::Done)
}
