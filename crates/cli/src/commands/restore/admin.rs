//! `restore` into all servers of an ensemble through their AdminServers: what would be done, the question, and what to do
//! afterwards.

use std::time::Duration;

use engine::repository::Snapshot;
use engine::restore_admin::{self, AdminOffer, AdminRestoreRequest, AdminRestoreSummary};
use engine::{EngineError, ErrorKind, Filter, Repo, repo};
use zk_connect::endpoint::AdminSpec;

use super::Args;
use super::live::ask;
use crate::commands::selection;
use crate::context::Context;
use crate::credentials::can_ask;
use crate::exit::{Exit, usage};
use crate::output::{self, Message};

/// Restores all of a snapshot into all of an ensemble's servers.
pub fn run(
    args: &Args,
    repo: &Repo,
    found: (Snapshot, Vec<u8>),
    target: AdminSpec,
    filter: &Filter,
    context: &Context,
) -> anyhow::Result<Exit> {
    let (snapshot, path) = found;
    if !args.experimental_admin_restore {
        return Err(usage(
            "a restore through AdminServers is an experiment: seeding the data directories is the better way (zooark restore \
             SNAPSHOT datadir:/path, docs/operations/restore-ensemble.md), and zk:// restores into a running ensemble; add \
             --experimental-admin-restore if neither will do",
        ));
    }
    if !path.is_empty() || !filter.is_empty() {
        return Err(usage(
            "a restore through AdminServers replaces the whole tree: leave the path and the filters out",
        ));
    }
    if !args.dry_run && !args.yes && (context.output.json || !can_ask()) {
        return Err(usage(
            "a restore through AdminServers has to be agreed to, and nobody can be asked: look at what it would do with \
             --dry-run, then add --yes",
        ));
    }
    let request = AdminRestoreRequest {
        snapshot,
        target,
        live: args.live.settings(context)?,
        safety_snapshot: !args.no_safety_snapshot,
        jute_max_buffer: args.jute_maxbuffer,
        dry_run: args.dry_run,
        yes_really: args.yes_really,
        host: selection::host(context),
        program: crate::PROGRAM.to_owned(),
        now: repo::now(),
    };
    let mut approve = |offer: &AdminOffer| approve(args, offer, context);
    let summary = restore_admin::run(repo, &request, &mut approve, &context.monitor)?;
    context.monitor.clear();
    if context.output.json {
        context.output.summary(&summary)?;
    } else {
        show(&summary, context)?;
    }
    Ok(Exit::Done)
}

fn approve(args: &Args, offer: &AdminOffer, context: &Context) -> Result<bool, EngineError> {
    context.monitor.clear();
    show_offer(offer, context)
        .map_err(|error| EngineError::with(ErrorKind::Failed, "cannot show what would be done", error))?;
    if args.dry_run || args.yes {
        return Ok(args.yes);
    }
    ask("all clients are kept away; replace the tree of all these servers?")
        .map_err(|error| EngineError::with(ErrorKind::Failed, "cannot ask whether to go on", error))
}

fn show_offer(offer: &AdminOffer, context: &Context) -> Result<(), output::OutputError> {
    let out = &context.output;
    if out.json {
        return out.object_now(&Message { message_type: "plan", body: offer });
    }
    for warning in &offer.warnings {
        out.warn(output::plain(warning));
    }
    out.line(format_args!(
        "snapshot {} of {} ({}), {} nodes, {}{}, would replace the tree of {} servers, all at {}:",
        offer.snapshot.short_id,
        output::time(offer.snapshot.time),
        offer.snapshot.zxid_high,
        output::count(offer.nodes),
        output::bytes(offer.bytes),
        if offer.ephemerals_skipped > 0 {
            format!(" ({} ephemeral nodes left out)", output::count(offer.ephemerals_skipped))
        } else {
            String::new()
        },
        offer.servers.len(),
        offer.zxid
    ))?;
    for server in &offer.servers {
        out.line(format_args!(
            "  {} {}, {}, {} clients",
            output::plain(&server.state),
            output::plain(&server.host),
            output::plain(&server.version),
            server.connections
        ))?;
    }
    out.line(
        "Everything written since the snapshot is lost. Whoever writes while this runs tears the ensemble apart:",
    )?;
    out.line("keep ALL clients away (a firewall on the client ports), from before this until after the last restart.")?;
    out.flush()
}

fn show(summary: &AdminRestoreSummary, context: &Context) -> anyhow::Result<()> {
    let out = &context.output;
    if summary.dry_run {
        out.line("dry run: nothing was changed")?;
        return Ok(());
    }
    if let Some(id) = &summary.safety_snapshot {
        out.line(format_args!("what was there before is snapshot {}", id.get(..8).unwrap_or(id)))?;
    }
    out.line(format_args!(
        "every server has the restored tree and wrote it to its disk, read back and equal, in {}",
        output::duration(Duration::from_millis(summary.duration_ms))
    ))?;
    out.line("")?;
    out.line("What to do now, with the clients still kept away:")?;
    for (number, server) in (1..).zip(&summary.offer.servers) {
        let last = if server.state == "leader" { ", the leader, last" } else { "" };
        out.line(format_args!(
            "  {number}. Restart {}{last}; wait until it serves (srvr shows {} nodes).",
            output::plain(&server.host),
            output::count(summary.offer.nodes)
        ))?;
    }
    let next = summary.offer.servers.len() + 1;
    out.line(format_args!("  {next}. Let the clients back in; their sessions are gone, and they register anew."))?;
    out.line(format_args!(
        "  {}. Take the next backup of a data directory with --full: the logs still tell of what was undone.",
        next + 1
    ))?;
    Ok(())
}
