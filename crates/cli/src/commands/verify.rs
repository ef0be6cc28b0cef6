//! `verify`: whether snapshots would restore.

use engine::reference::SnapshotPath;
use engine::verify;

use crate::commands::selection::{self, ScopeArgs};
use crate::context::Context;
use crate::exit::Exit;
use crate::{opening, output};

/// Reads whole snapshots as a restore would, compares them with what was backed up, and notes when.
///
/// Every chunk and value is fetched, opened and decoded, and all records are added up to the state digest. Nothing is
/// written but the note that `zooark snapshots` shows.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:
  zooark verify latest
  zooark verify 4f1c9a2b latest~1 --no-cache")]
pub struct Args {
    /// The snapshots
    #[arg(required = true, value_parser = selection::snapshot_path, value_name = "SNAPSHOT")]
    snapshots: Vec<SnapshotPath>,

    /// Verify, and note nothing
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    scope: ScopeArgs,
}

/// Runs it.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let repo = opening::repository(context)?;
    let scope = args.scope.scope(context);
    let mut all = Vec::new();
    for given in &args.snapshots {
        let (snapshot, _) = selection::resolve(&repo, given, &scope, context)?;
        let verified = verify::run(&repo, &snapshot, args.dry_run, &context.monitor)?;
        if !context.output.json {
            context.output.line(format_args!(
                "{}: {} nodes, {} of values, as backed up",
                snapshot.id().short(),
                output::count(verified.nodes),
                output::bytes(verified.value_bytes)
            ))?;
        }
        all.push(verified);
    }
    if context.output.json {
        context.output.document(&all)?;
    }
    Ok(Exit::Done)
}
