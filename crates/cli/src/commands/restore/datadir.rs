//! `restore` into a data directory that a server boots.

use engine::repository::Snapshot;
use engine::restore::{self, DatadirRequest, RestoreSummary, Server};
use engine::{Filter, Repo, repo};
use zk_connect::DataDirSpec;

use super::Args;
use crate::context::Context;
use crate::exit::Exit;
use crate::output;

/// Restores a snapshot, or a part of one, into these directories.
pub fn run(
    args: &Args,
    repo: &Repo,
    found: (Snapshot, Vec<u8>),
    target: DataDirSpec,
    filter: Filter,
    context: &Context,
) -> anyhow::Result<Exit> {
    let (snapshot, path) = found;
    let request = DatadirRequest {
        snapshot,
        path,
        target,
        force: args.force,
        bump_epoch: args.bump_epoch,
        file_zxid: None,
        seen_zxid: args.seen_zxid,
        keep_ephemerals: args.keep_ephemerals,
        filter,
        server: Server {
            version: args.server_version,
            jute_max_buffer: args.jute_maxbuffer,
            extended_types: args.extended_types,
        },
        yes_really: args.yes_really,
        now: repo::now(),
    };
    let summary = restore::run(repo, &request, args.dry_run, &context.monitor)?;
    context.monitor.clear();
    if context.output.json {
        context.output.summary(&summary)?;
    } else {
        report(&summary, context)?;
        if let Some(file) = &summary.file {
            next_steps(file, summary.plan.log_dir.as_deref(), context)?;
        }
    }
    Ok(if summary.plan.snapshot.incomplete { Exit::Incomplete } else { Exit::Done })
}

/// What was restored, or would be.
pub fn report(summary: &RestoreSummary, context: &Context) -> anyhow::Result<()> {
    let out = &context.output;
    let plan = &summary.plan;
    for warning in plan.warnings.iter().chain(&summary.notes) {
        out.warn(output::plain(warning));
    }
    let epochs = &plan.epochs;
    out.line(format_args!(
        "snapshot {} of {} ({}), {} nodes{}",
        plan.snapshot.short_id,
        output::time(plan.snapshot.time),
        plan.snapshot.zxid_high,
        output::count(summary.nodes),
        if summary.ephemerals_skipped > 0 {
            format!("; {} ephemeral nodes left out, their sessions are gone", output::count(summary.ephemerals_skipped))
        } else {
            String::new()
        }
    ))?;
    out.line(format_args!(
        "named for zxid {}: epochs seen are {} in the snapshot, {} in the cluster's snapshots, {} in the directories, {} \
         in the configuration, {} by --seen-zxid",
        plan.file_zxid, epochs.snapshot, epochs.cluster, epochs.directories, epochs.configuration, epochs.seen
    ))?;
    if summary.state_digest_verified == Some(true) {
        out.line("verified: the records add up to the snapshot's state digest")?;
    } else {
        out.line("verified: every chunk by its id (a part has no digest of its own)")?;
    }
    let Some(file) = &summary.file else {
        for path in &plan.moves_aside {
            out.line(format_args!("would move aside {}", path.display()))?;
        }
        out.line("dry run: nothing was written")?;
        return Ok(());
    };
    out.line(format_args!(
        "wrote {}, {}, read back and equal, in {}",
        file.display(),
        output::bytes(summary.bytes),
        output::duration(std::time::Duration::from_millis(summary.duration_ms))
    ))?;
    for path in &summary.moved_aside {
        out.line(format_args!("the old directory is now {}", path.display()))?;
    }
    Ok(())
}

/// What somebody has to do now, at three in the morning.
fn next_steps(file: &std::path::Path, log_dir: Option<&std::path::Path>, context: &Context) -> anyhow::Result<()> {
    let out = &context.output;
    let log = log_dir.map_or_else(String::new, |dir| format!(" and of {}", dir.display()));
    out.line("")?;
    out.line("What to do now:")?;
    out.line("  1. Stop ALL servers of the ensemble, observers too, if any still runs.")?;
    out.line(format_args!(
        "  2. Give EVERY voter this same file, alone in its version-2 ({}):",
        file.file_name().unwrap_or_default().to_string_lossy()
    ))?;
    out.line(format_args!(
        "     on each, move version-2 of the data directory{log} aside, make version-2 anew, copy the file into it, and"
    ))?;
    out.line(
        "     give both to the server's user. No old log, snapshot, currentEpoch or acceptedEpoch may remain: one",
    )?;
    out.line("     voter with older files of a higher zxid undoes the restore. Keep myid, beside version-2.")?;
    out.line("  3. Empty version-2 of every observer; it will copy the tree from the leader.")?;
    out.line("  4. Start the voters, then the observers. Check with `srvr` that all show the same node count.")?;
    out.line("  5. Clients reconnect, are told that their sessions expired, and register anew.")?;
    Ok(())
}
