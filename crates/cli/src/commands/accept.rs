//! `accept`: a suspect snapshot is right after all.

use engine::annotate;
use engine::reference::SnapshotPath;
use serde_json::json;

use crate::commands::selection::{self, ScopeArgs};
use crate::context::Context;
use crate::exit::Exit;
use crate::{opening, output};

/// Says that a suspect snapshot is right after all: from then on it counts as any other.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Example:
  zooark accept 4f1c")]
pub struct Args {
    /// The snapshot, by its id
    #[arg(value_parser = selection::snapshot_path)]
    snapshot: SnapshotPath,

    /// Show what it was held back for, and change nothing
    #[arg(long)]
    dry_run: bool,
}

/// Runs it.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let repo = opening::repository(context)?;
    let (snapshot, _) = selection::resolve(&repo, &args.snapshot, &ScopeArgs::default().scope(context), context)?;
    let reasons = annotate::accept(&repo, &snapshot, args.dry_run)?;
    if context.output.json {
        let id = snapshot.id().to_string();
        context.output.document(&json!({"snapshot_id": id, "accepted": !args.dry_run, "reasons": reasons}))?;
    } else if args.dry_run {
        context.output.line(format_args!("{} is held back: {}", snapshot.id().short(), output::plain(&reasons)))?;
    } else {
        let id = snapshot.id().short();
        context.output.line(format_args!("accepted {id}, which was held back: {}", output::plain(&reasons)))?;
    }
    Ok(Exit::Done)
}
