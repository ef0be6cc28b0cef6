//! `ls`: the children of a znode.

use std::ops::ControlFlow;

use engine::reference::SnapshotPath;
use engine::znode::Znode;

use crate::commands::selection::{self, ScopeArgs};
use crate::context::Context;
use crate::exit::Exit;
use crate::output::OutputError;
use crate::{opening, output, znode};

/// Lists the children of a znode in a snapshot.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:
  zooark ls latest
  zooark ls -l latest~1:/brokers/topics
  zooark ls -R 4f1c:/config --json")]
pub struct Args {
    /// SNAPSHOT[:/path]
    #[arg(value_parser = selection::snapshot_path)]
    target: SnapshotPath,

    /// With type, versions, size and time
    #[arg(short, long)]
    long: bool,

    /// Everything below, as whole paths
    #[arg(short = 'R', long)]
    recursive: bool,

    #[command(flatten)]
    scope: ScopeArgs,
}

/// Runs it.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let repo = opening::repository(context)?;
    context.catch_interrupts()?;
    let (snapshot, path) = selection::resolve(&repo, &args.target, &args.scope.scope(context), context)?;
    let tree = repo.tree(&snapshot.manifest)?;
    let mut failed: Option<OutputError> = None;
    let mut any = false;
    let mut show = |node: Znode| {
        any = true;
        if args.recursive && node.path == path {
            return ControlFlow::Continue(());
        }
        match line(&node, args, context) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    };
    if args.recursive {
        tree.walk(&path, &mut show)?;
    } else {
        tree.children(&path, &mut show)?;
    }
    if let Some(error) = failed {
        return Err(error.into());
    }
    // A node without children and no node at all look alike so far.
    if !any && !path.is_empty() && tree.node(&path)?.is_none() {
        return Err(selection::missing(&snapshot, &path));
    }
    Ok(Exit::Done)
}

fn line(node: &Znode, args: &Args, context: &Context) -> Result<(), OutputError> {
    if context.output.json {
        return context.output.object(&znode::json(node, false));
    }
    let name = if args.recursive { node.shown_path() } else { znode::name(node) };
    if !args.long {
        return context.output.line(name);
    }
    let size = node.data.as_ref().map_or_else(|| "null".to_owned(), |data| data.len().to_string());
    context.output.line(format_args!(
        "{:10} v{:<5} c{:<5} a{:<3} {size:>9}  {}  {name}",
        node.kind().name(),
        node.stat.version,
        node.stat.cversion,
        node.stat.aversion,
        output::time_of_millis(node.stat.mtime),
    ))
}
