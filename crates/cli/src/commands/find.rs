//! `find`: where paths and values occur across snapshots.

use engine::find::{self, Pattern};
use engine::reference::SnapshotPath;
use engine::{Filter, snapshots};
use serde::Serialize;

use crate::commands::selection::{self, ScopeArgs};
use crate::context::Context;
use crate::exit::{Exit, usage};
use crate::{opening, output, znode};

/// Finds znodes by path and value across snapshots.
///
/// `*` and `?` stay within a name, `**` crosses slashes: `/a` is that node, `/a/*` its children, `/a/**` all below it.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:
  zooark find '/brokers/topics/*'
  zooark find '/config/**' --value 'retention.ms' --snapshot latest")]
pub struct Args {
    /// Pattern of absolute paths
    pattern: String,

    /// Only in this snapshot
    #[arg(long, value_parser = selection::snapshot_path)]
    snapshot: Option<SnapshotPath>,

    /// Only nodes whose value contains a match of this regular expression
    #[arg(long, value_name = "REGEX")]
    value: Option<String>,

    #[command(flatten)]
    scope: ScopeArgs,
}

#[derive(Debug, Serialize)]
struct Found {
    #[serde(flatten)]
    node: znode::ZnodeJson,
    first_snapshot: String,
    first_time: jiff::Timestamp,
    last_snapshot: String,
    last_time: jiff::Timestamp,
    snapshots: u64,
}

/// Runs it.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let paths = Filter::new(&[args.pattern.as_str()], &[]).map_err(|error| usage(error.to_string()))?;
    let value = args.value.as_deref().map(regex::bytes::Regex::new).transpose();
    let value = value.map_err(|error| usage(format!("--value is no regular expression: {error}")))?;
    let repo = opening::repository(context)?;
    context.catch_interrupts()?;
    let scope = args.scope.scope(context);
    let (exit, within) = if let Some(given) = &args.snapshot {
        (Exit::Done, vec![snapshots::resolve(&repo, &given.snapshot, &scope, &context.monitor)?])
    } else {
        let all = snapshots::listing(&repo, &scope, &context.monitor)?;
        (Exit::of_all(all.unreadable), all.snapshots)
    };
    let mut rows = 0_u64;
    let mut failed = None;
    find::run(&repo, &within, &Pattern { paths, value }, &context.monitor, &mut |found| {
        rows += 1;
        let shown = if context.output.json {
            context.output.object(&Found {
                node: znode::json(&found.node, false),
                first_snapshot: found.first.id().to_string(),
                first_time: snapshots::time(&found.first),
                last_snapshot: found.last.id().to_string(),
                last_time: snapshots::time(&found.last),
                snapshots: found.snapshots,
            })
        } else {
            context.output.line(format_args!(
                "{}  in {} snapshots, {} of {} to {} of {}",
                found.node.shown_path(),
                found.snapshots,
                found.first.id().short(),
                output::time(snapshots::time(&found.first)),
                found.last.id().short(),
                output::time(snapshots::time(&found.last)),
            ))
        };
        failed = failed.take().or(shown.err());
        Ok(())
    })?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    context.monitor.clear();
    context.output.say(format_args!("{rows} found in {} snapshots", within.len()));
    Ok(exit)
}
