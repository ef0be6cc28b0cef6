//! `stats`: where the bytes are.

use engine::reference::SnapshotPath;
use engine::{snapshots, stats};

use crate::commands::selection::{self, ScopeArgs};
use crate::context::Context;
use crate::exit::Exit;
use crate::{opening, output};

/// Shows sizes: of a snapshot's tree by prefix, or of the whole repository.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:
  zooark stats
  zooark stats latest --depth 2 --top 10")]
pub struct Args {
    /// SNAPSHOT; the repository where none is given
    #[arg(value_parser = selection::snapshot_path)]
    snapshot: Option<SnapshotPath>,

    /// Sum up subtrees this many levels deep
    #[arg(long, value_name = "N", default_value_t = 1)]
    depth: usize,

    /// Show this many of them, the largest first
    #[arg(long, value_name = "N", default_value_t = 20)]
    top: usize,

    #[command(flatten)]
    scope: ScopeArgs,
}

/// Runs it.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let repo = opening::repository(context)?;
    context.catch_interrupts()?;
    let scope = args.scope.scope(context);
    let out = &context.output;
    let Some(given) = &args.snapshot else {
        let all = snapshots::listing(&repo, &scope, &context.monitor)?;
        let (exit, found) = (Exit::of_all(all.unreadable), stats::repository(&all.snapshots));
        if out.json {
            out.document(&found)?;
            return Ok(exit);
        }
        out.line(format_args!("snapshots   {}", output::count(found.snapshots)))?;
        out.line(format_args!("clusters    {}", output::count(found.clusters)))?;
        out.line(format_args!("packs       {}", output::count(found.packs)))?;
        out.line(format_args!("stored      {}", output::bytes(found.added_bytes)))?;
        out.line(format_args!("restorable  {}", output::bytes(found.raw_bytes)))?;
        return Ok(exit);
    };
    let (snapshot, _) = selection::resolve(&repo, given, &scope, context)?;
    let found = stats::tree(&repo.tree(&snapshot.manifest)?, args.depth, args.top, &context.monitor)?;
    context.monitor.clear();
    if out.json {
        out.document(&found)?;
        return Ok(Exit::Done);
    }
    let mut table = output::table(
        &["Path", "Nodes", "Values", "Paths", "Largest", "Ephemeral", "Container", "TTL"],
        &[1, 2, 3, 4, 5, 6, 7],
    );
    for prefix in std::iter::once(&found.total).chain(&found.prefixes) {
        table.add_row([
            output::plain(&prefix.path),
            output::count(prefix.nodes),
            output::bytes(prefix.data_bytes),
            output::bytes(prefix.path_bytes),
            output::bytes(prefix.largest_bytes),
            output::count(prefix.ephemerals),
            output::count(prefix.containers),
            output::count(prefix.ttls),
        ]);
    }
    out.table(&table)?;
    out.say(format_args!(
        "{} sessions; {} tables of {}; this backup added {}",
        found.sessions,
        found.tables,
        output::bytes(found.table_bytes),
        output::bytes(found.added_bytes)
    ));
    Ok(Exit::Done)
}
