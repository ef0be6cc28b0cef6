//! `copy`: snapshots to another repository.

use engine::copy::{self, CopyReport};
use engine::reference::SnapshotPath;
use engine::repository::Snapshot;
use engine::snapshots;

use crate::commands::selection::{self, ScopeArgs};
use crate::context::Context;
use crate::exit::Exit;
use crate::opening::{self, Other};
use crate::output;

/// Copies snapshots to another repository, which may have another password and lie in another store.
///
/// Time, tags, protection and everything else that is known of a snapshot go with it; when it was verified does not. What was
/// copied before is left out, so that the command can be repeated, for example after every backup. Into a repository made with
/// `zooark init --like` chunks are sealed anew and keep their ids; into any other they are cut anew as well.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:
  zooark init --repo s3://elsewhere/zookeeper --new-key-file second.key --like /srv/zooark --like-key-file first.key
  zooark copy --repo /srv/zooark --key-file first.key --to-repo s3://elsewhere/zookeeper --to-key-file second.key
  zooark copy --to-repo /mnt/disk/zooark --to-password-file p --last 1 --cluster prod")]
pub struct Args {
    /// The repository to copy to
    #[arg(long, value_name = "URL")]
    to_repo: String,

    /// Read the target's password from this file [env: ZOOARK_TO_PASSWORD holds the password itself]
    #[arg(long, value_name = "FILE", conflicts_with_all = ["to_password_command", "to_key_file"])]
    to_password_file: Option<std::path::PathBuf>,

    /// Run this with `sh -c` and take its first line of output for the target's password
    #[arg(long, value_name = "COMMAND", conflicts_with = "to_key_file")]
    to_password_command: Option<String>,

    /// Open the target with this key file
    #[arg(long, value_name = "FILE")]
    to_key_file: Option<std::path::PathBuf>,

    /// A setting of the target's object store; may be given several times
    #[arg(long, value_name = "KEY=VALUE", value_parser = crate::args::key_value)]
    to_option: Vec<(String, String)>,

    /// Snapshots to copy; without them all that --cluster, --tag and --last leave
    #[arg(value_parser = selection::snapshot_path, value_name = "SNAPSHOT", conflicts_with = "last")]
    snapshots: Vec<SnapshotPath>,

    /// Only the newest N of each cluster
    #[arg(long, value_name = "N")]
    last: Option<usize>,

    /// Change nothing and show what would be copied
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    scope: ScopeArgs,
}

/// Runs it.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let from = opening::repository(context)?;
    let to = opening::other(
        context,
        &Other {
            what: "the target",
            location: args.to_repo.clone(),
            password_file: args.to_password_file.clone(),
            password_command: args.to_password_command.clone(),
            key_file: args.to_key_file.clone(),
            variable: "ZOOARK_TO_PASSWORD",
            options: args.to_option.clone(),
        },
    )?;
    let scope = args.scope.scope(context);
    let mut unreadable = 0;
    let chosen = if args.snapshots.is_empty() {
        let listing = snapshots::listing(&from, &scope, &context.monitor)?;
        unreadable = listing.unreadable;
        newest(listing.snapshots, args.last)
    } else {
        let mut chosen: Vec<Snapshot> = Vec::new();
        for given in &args.snapshots {
            let snapshot = selection::resolve(&from, given, &scope, context)?.0;
            if chosen.iter().all(|other| other.id() != snapshot.id()) {
                chosen.push(snapshot);
            }
        }
        chosen
    };
    context.catch_interrupts()?;
    let report = copy::run(&from, &to, &chosen, args.dry_run, &context.monitor)?;
    context.monitor.clear();
    if context.output.json {
        context.output.summary(&report)?;
    } else {
        say(&report, context)?;
    }
    Ok(Exit::of_all(unreadable))
}

/// The newest of each cluster; all where no number is given. They come oldest first.
fn newest(mut all: Vec<Snapshot>, last: Option<usize>) -> Vec<Snapshot> {
    let Some(last) = last else { return all };
    let mut seen: std::collections::HashMap<String, usize> = std::collections::HashMap::new();
    all.reverse();
    all.retain(|snapshot| {
        let count = seen.entry(snapshot.manifest.body.fields.cluster.clone()).or_default();
        *count += 1;
        *count <= last
    });
    all.reverse();
    all
}

fn say(report: &CopyReport, context: &Context) -> anyhow::Result<()> {
    let out = &context.output;
    let short = |id: &str| id.get(..8).unwrap_or(id).to_owned();
    for copied in &report.copied {
        let original = short(&copied.original_id);
        let cluster = output::plain(&copied.cluster);
        match &copied.snapshot_id {
            Some(id) => out.line(format_args!(
                "{original} of cluster {cluster} copied as {}: {} in {} objects",
                short(id),
                output::bytes(copied.uploaded_bytes),
                copied.objects_written
            ))?,
            None => out.line(format_args!("{original} of cluster {cluster} would be copied"))?,
        }
    }
    let would = if report.dry_run { "would be " } else { "" };
    out.line(format_args!(
        "{} snapshots {would}copied, {} were there already",
        output::count(report.copied.len() as u64),
        output::count(report.present)
    ))?;
    Ok(())
}
