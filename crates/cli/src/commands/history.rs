//! `history`: the versions of one znode.

use engine::live::node::NodeNow;
use engine::reference::node_path;
use engine::{history, snapshots};
use serde::Serialize;
use zk_connect::Endpoint;

use crate::commands::selection::{self, ScopeArgs};
use crate::context::Context;
use crate::exit::{Exit, usage};
use crate::live::LiveArgs;
use crate::{opening, output, znode};

/// Shows each version of one znode across snapshots, oldest first, and the one that an ensemble has now.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:
  zooark history /controller_epoch
  zooark history /config/topics/orders --cluster prod --json
  zooark history /config/topics/orders zk://zk1:2181,zk2:2181,zk3:2181")]
pub struct Args {
    /// Absolute path of the znode
    path: String,

    /// Also the version that this ensemble has now: zk://HOST:PORT,…[/CHROOT]
    ensemble: Option<String>,

    #[command(flatten)]
    scope: ScopeArgs,

    #[command(flatten)]
    live: LiveArgs,
}

#[derive(Debug, Serialize)]
struct Version {
    /// `null` for the version that only the ensemble has.
    snapshot_id: Option<String>,
    time: jiff::Timestamp,
    exists: bool,
    node: Option<znode::ZnodeJson>,
}

/// Runs it.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let path = node_path(&args.path)?;
    let ensemble = args.ensemble.as_deref().map(|given| match selection::source(given)? {
        Endpoint::Live(spec) => Ok(spec),
        _ => Err(usage(format!("{given} is no live ensemble: write zk://host:2181"))),
    });
    let ensemble = ensemble.transpose()?;
    let repo = opening::repository(context)?;
    context.catch_interrupts()?;
    let all = snapshots::listing(&repo, &args.scope.scope(context), &context.monitor)?;
    let (exit, within) = (Exit::of_all(all.unreadable), all.snapshots);
    let live = args.live.settings(context)?;
    let now = ensemble.map(|spec| NodeNow::read(&spec, &live, &path)).transpose()?;
    let mut versions = 0_u64;
    let mut failed = None;
    history::run(&repo, &within, &path, now.as_ref(), &context.monitor, &mut |version| {
        versions += 1;
        let time = version.snapshot.as_ref().map_or_else(jiff::Timestamp::now, snapshots::time);
        let shown = if context.output.json {
            context.output.object(&Version {
                snapshot_id: version.snapshot.as_ref().map(|snapshot| snapshot.id().to_string()),
                time,
                exists: version.node.is_some(),
                node: version.node.as_ref().map(|node| znode::json(node, true)),
            })
        } else {
            let state = version.node.as_ref().map_or_else(
                || "does not exist".to_owned(),
                |node| {
                    format!(
                        "v{} a{} {} {}",
                        node.stat.version,
                        node.stat.aversion,
                        node.stat.mzxid,
                        preview(node.data.as_deref())
                    )
                },
            );
            let id = version.snapshot.as_ref().map_or_else(|| "now     ".to_owned(), |snapshot| snapshot.id().short());
            context.output.line(format_args!("{id}  {}  {state}", output::time(time)))
        };
        failed = failed.take().or(shown.err());
        Ok(())
    })?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    context.monitor.clear();
    context.output.say(format_args!("{versions} versions in {} snapshots", within.len()));
    Ok(exit)
}

/// The beginning of a value on one line.
fn preview(data: Option<&[u8]>) -> String {
    const SHOWN: usize = 60;
    let Some(data) = data else { return "null".to_owned() };
    match std::str::from_utf8(data) {
        Ok(text) if text.chars().count() <= SHOWN => output::plain(text),
        Ok(text) => format!("{}… ({} bytes)", output::plain(&text.chars().take(SHOWN).collect::<String>()), data.len()),
        Err(_) => format!("{} bytes", data.len()),
    }
}
