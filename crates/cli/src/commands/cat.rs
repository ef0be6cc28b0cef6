//! `cat`: the raw value of a znode.

use engine::reference::SnapshotPath;
use engine::{EngineError, ErrorKind};

use crate::commands::selection::{self, ScopeArgs};
use crate::context::Context;
use crate::exit::Exit;
use crate::{opening, znode};

/// Writes a znode's value to standard output, byte for byte.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Example:
  zooark cat latest:/config/topics/orders > orders.json")]
pub struct Args {
    /// SNAPSHOT:/path
    #[arg(value_parser = selection::snapshot_path)]
    target: SnapshotPath,

    #[command(flatten)]
    scope: ScopeArgs,
}

/// Runs it.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let repo = opening::repository(context)?;
    let (snapshot, path) = selection::resolve(&repo, &args.target, &args.scope.scope(context), context)?;
    let node = repo.tree(&snapshot.manifest)?.node(&path)?.ok_or_else(|| selection::missing(&snapshot, &path))?;
    if context.output.json {
        context.output.document(&znode::json(&node, true))?;
        return Ok(Exit::Done);
    }
    let data = node.data.ok_or_else(|| {
        EngineError::new(
            ErrorKind::Failed,
            format!("{} has no value: it is null, which is not the same as empty", zk_format::path::display(&path)),
        )
    })?;
    context.output.raw(&data)?;
    Ok(Exit::Done)
}
