//! `snapshots`: lists them.

use std::collections::BTreeMap;

use engine::report::{Consistency, SnapshotInfo};
use engine::snapshots;

use crate::commands::selection::ScopeArgs;
use crate::context::Context;
use crate::exit::Exit;
use crate::{opening, output};

/// Lists snapshots, oldest first.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:
  zooark snapshots
  zooark snapshots --cluster prod --latest 5
  zooark snapshots --json")]
pub struct Args {
    #[command(flatten)]
    scope: ScopeArgs,

    /// Only the newest N of each group
    #[arg(long, value_name = "N")]
    latest: Option<usize>,

    /// What makes a group for --latest: cluster, host, tags, or several of them
    #[arg(long, value_name = "BY", value_delimiter = ',', default_value = "cluster")]
    group_by: Vec<GroupBy>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum GroupBy {
    Cluster,
    Host,
    Tags,
}

/// Runs it.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let repo = opening::repository(context)?;
    let found = snapshots::listing(&repo, &args.scope.scope(context), &context.monitor)?;
    let exit = Exit::of_all(found.unreadable);
    let mut infos: Vec<SnapshotInfo> = found.snapshots.iter().map(snapshots::info).collect();
    if let Some(latest) = args.latest {
        infos = newest(infos, latest, &args.group_by);
    }
    if context.output.json {
        context.output.document(&infos)?;
        return Ok(exit);
    }
    let mut table =
        output::table(&["ID", "Time (UTC)", "Cluster", "zxid", "Nodes", "Added", "Tags", "Remarks"], &[4, 5]);
    for info in &infos {
        table.add_row([
            info.short_id.clone(),
            output::time(info.time),
            output::plain(&info.cluster),
            info.zxid_high.clone(),
            output::count(info.nodes),
            output::bytes(info.added_bytes),
            output::plain(&info.tags.join(",")),
            remarks(info),
        ]);
    }
    context.output.table(&table)?;
    context.output.say(format_args!("{} snapshots", infos.len()));
    Ok(exit)
}

fn newest(infos: Vec<SnapshotInfo>, latest: usize, by: &[GroupBy]) -> Vec<SnapshotInfo> {
    let group = |info: &SnapshotInfo| -> Vec<String> {
        by.iter()
            .map(|by| match by {
                GroupBy::Cluster => info.cluster.clone(),
                GroupBy::Host => info.host.clone(),
                GroupBy::Tags => info.tags.join(","),
            })
            .collect()
    };
    let mut seen: BTreeMap<Vec<String>, usize> = BTreeMap::new();
    let mut kept: Vec<SnapshotInfo> = infos
        .into_iter()
        .rev()
        .filter(|info| {
            let count = seen.entry(group(info)).or_default();
            *count += 1;
            *count <= latest
        })
        .collect();
    kept.reverse();
    kept
}

fn remarks(info: &SnapshotInfo) -> String {
    let mut remarks = Vec::new();
    if info.suspect.is_some() {
        remarks.push("SUSPECT".to_owned());
    }
    if info.incomplete {
        remarks.push("INCOMPLETE".to_owned());
    }
    if info.consistency == Consistency::Fuzzy {
        remarks.push("fuzzy".to_owned());
    }
    if let Some(until) = info.protected_until {
        remarks.push(format!("protected until {}", output::time(until)));
    }
    if info.verified_at.is_some() {
        remarks.push("verified".to_owned());
    }
    remarks.join(", ")
}
