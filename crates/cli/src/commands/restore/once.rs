//! `restore --once`: a data directory is restored once for a number, before a member of an ensemble starts.

use engine::reference::SnapshotPath;
use engine::repo;
use engine::restore::Server;
use engine::restore_once::{self, Decision, OnceRequest, OnceSummary};
use zk_connect::Endpoint;

use super::{ADMIN_ONLY, Args, LIVE_ONLY, datadir};
use crate::commands::selection;
use crate::context::Context;
use crate::exit::{Exit, usage};
use crate::opening;
use crate::output;

/// Decides, and restores where that is due. What the directory itself settles needs no repository.
pub fn run(args: &Args, number: u64, target: Endpoint, context: &Context) -> anyhow::Result<Exit> {
    let request = request(args, number, target, context)?;
    let summary = if let Some(summary) = restore_once::settled(&request)? {
        summary
    } else {
        let repo = opening::repository(context)?;
        context.catch_interrupts()?;
        restore_once::run(&repo, &request, &context.monitor)?
    };
    context.monitor.clear();
    if context.output.json {
        context.output.summary(&summary)?;
    } else {
        show(&summary, context)?;
    }
    let incomplete = summary.restore.as_ref().is_some_and(|restored| restored.plan.snapshot.incomplete);
    Ok(if incomplete { Exit::Incomplete } else { Exit::Done })
}

fn request(args: &Args, number: u64, target: Endpoint, context: &Context) -> anyhow::Result<OnceRequest> {
    let Endpoint::DataDir(target) = target else {
        return Err(usage("--once restores into a data directory, before its server starts: give datadir:/path"));
    };
    args.refuse("a data directory", LIVE_ONLY)?;
    args.refuse("a data directory", ADMIN_ONLY)?;
    let Some(member) = args.member.clone() else {
        return Err(usage("--once needs --member NAME: which member's directory it is, such as the pod's name"));
    };
    let SnapshotPath { snapshot, path } = args.snapshot.clone();
    if !path.is_empty() || !args.include.is_empty() || !args.exclude.is_empty() {
        return Err(usage("--once restores whole snapshots: leave out the path, --include and --exclude"));
    }
    if args.force {
        return Err(usage("--once knows itself what may move aside: leave out --force"));
    }
    Ok(OnceRequest {
        number,
        cluster: selection::cluster(args.scope.cluster.as_deref(), context),
        member,
        snapshot,
        scope: args.scope.scope(context),
        target,
        bump_epoch: args.bump_epoch,
        seen_zxid: args.seen_zxid,
        keep_ephemerals: args.keep_ephemerals,
        server: Server {
            version: args.server_version,
            jute_max_buffer: args.jute_maxbuffer,
            extended_types: args.extended_types,
        },
        yes_really: args.yes_really,
        dry_run: args.dry_run,
        now: repo::now(),
    })
}

fn show(summary: &OnceSummary, context: &Context) -> anyhow::Result<()> {
    let out = &context.output;
    for note in &summary.notes {
        out.warn(output::plain(note));
    }
    out.line(output::plain(&format!(
        "{}, member {} of cluster {}, number {}: {}",
        summary.data_dir.display(),
        summary.member,
        summary.cluster,
        summary.number,
        summary.reason
    )))?;
    match (summary.decision, &summary.restore) {
        (_, Some(restored)) => datadir::report(restored, context)?,
        (Decision::Restored, None) if summary.dry_run => out.line("dry run: nothing was written")?,
        (Decision::Restored, None) => out.line("said so")?,
        (_, None) => out.line("nothing was restored")?,
    }
    Ok(())
}
