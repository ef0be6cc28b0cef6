//! `dump`: every znode as one line of JSON.

use std::ops::ControlFlow;

use engine::reference::SnapshotPath;

use crate::commands::selection::{self, ScopeArgs};
use crate::context::Context;
use crate::exit::Exit;
use crate::{opening, znode};

/// Writes every znode of a snapshot as one JSON object a line, values included, parents first.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:
  zooark dump latest > tree.ndjson
  zooark dump latest:/brokers

Fields: path, data (base64 or null), data_bytes, acl [{perms, scheme, id}], czxid, mzxid, pzxid, ctime, mtime,
version, cversion (persisted), aversion, ephemeral_owner, kind, ttl_ms; path_base64 where a path is no plain text.")]
pub struct Args {
    /// SNAPSHOT[:/path]
    #[arg(value_parser = selection::snapshot_path)]
    target: SnapshotPath,

    #[command(flatten)]
    scope: ScopeArgs,
}

/// Runs it.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let repo = opening::repository(context)?;
    context.catch_interrupts()?;
    let (snapshot, path) = selection::resolve(&repo, &args.target, &args.scope.scope(context), context)?;
    let tree = repo.tree(&snapshot.manifest)?;
    let mut result = Ok(());
    let mut any = false;
    tree.walk(&path, &mut |node| {
        any = true;
        result = context.output.object(&znode::json(&node, true));
        if result.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    result?;
    if any { Ok(Exit::Done) } else { Err(selection::missing(&snapshot, &path)) }
}
