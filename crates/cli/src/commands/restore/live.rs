//! `restore` into a running ensemble: the plan as people and programs see it, the question, and what came of it.

use std::io::{self, BufRead as _, Write as _};

use engine::reference::node_path;
use engine::repository::Snapshot;
use engine::restore_live::plan::{Plan, Said};
use engine::restore_live::{self, LiveRequest, LiveRestoreSummary, Offer, ReadBack};
use engine::{EngineError, ErrorKind, Filter, Repo, repo};
use zk_connect::endpoint::LiveSpec;

use super::{Args, Reader};
use crate::commands::selection;
use crate::context::Context;
use crate::credentials::can_ask;
use crate::exit::{Exit, usage};
use crate::output::{self, Message};

/// Nodes that are named without `-v`.
const SHOWN: usize = 20;

/// Restores a snapshot, or a part of one, into an ensemble.
pub fn run(
    args: &Args,
    repo: &Repo,
    found: (Snapshot, Vec<u8>),
    target: LiveSpec,
    filter: Filter,
    context: &Context,
) -> anyhow::Result<Exit> {
    let (snapshot, path) = found;
    if !args.dry_run && !args.yes && (context.output.json || !can_ask()) {
        return Err(usage(
            "a restore into a live ensemble has to be agreed to, and nobody can be asked: look at the plan with --dry-run \
             -v, then add --yes",
        ));
    }
    let preserve_versions = args.preserve_versions.iter().map(|path| node_path(path)).collect::<Result<_, _>>()?;
    let request = LiveRequest {
        snapshot,
        path,
        target,
        // Its writes press the servers more than anything it reads.
        live: args.live.settings_or(context, 0)?,
        filter,
        remap: args.remap.clone(),
        policy: args.conflict.into(),
        delete: args.delete,
        data_only: args.data_only,
        counter_limit: args.preserve_counters.then_some(args.counter_limit),
        accept_lower_counters: args.accept_lower_counters,
        preserve_versions,
        resume: args.resume,
        verify: match (args.no_verify, args.verify_with) {
            (true, _) => ReadBack::No,
            (false, Reader::Own) => ReadBack::Own,
            (false, Reader::SecondClient) => ReadBack::Both,
        },
        safety_snapshot: !args.no_safety_snapshot,
        dry_run: args.dry_run,
        yes_really: args.yes_really,
        jute_max_buffer: args.jute_maxbuffer,
        state_dir: context.settings.state_dir(),
        host: selection::host(context),
        program: crate::PROGRAM.to_owned(),
        now: repo::now(),
    };
    let mut approve = |offer: &Offer, plan: &Plan| approve(args, offer, plan, context);
    let summary = restore_live::run(repo, &request, &mut approve, &context.monitor)?;
    context.monitor.clear();
    if context.output.json {
        context.output.summary(&summary)?;
    } else {
        show(&summary, context)?;
    }
    Ok(if !summary.offer.refusals.is_empty() {
        Exit::Refused
    } else if summary.is_incomplete() {
        Exit::Incomplete
    } else {
        Exit::Done
    })
}

/// Shows the plan and asks.
fn approve(args: &Args, offer: &Offer, plan: &Plan, context: &Context) -> Result<bool, EngineError> {
    context.monitor.clear();
    show_plan(args, offer, plan, context)
        .map_err(|error| EngineError::with(ErrorKind::Failed, "cannot show the plan", error))?;
    if args.dry_run || args.yes || offer.empty || !offer.refusals.is_empty() {
        return Ok(args.yes);
    }
    ask("apply this plan?").map_err(|error| EngineError::with(ErrorKind::Failed, "cannot ask whether to go on", error))
}

/// Asks whoever sits at the terminal.
pub(super) fn ask(question: &str) -> io::Result<bool> {
    let mut terminal = io::stderr().lock();
    write!(terminal, "{question} [y/N] ")?;
    terminal.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn show_plan(args: &Args, offer: &Offer, plan: &Plan, context: &Context) -> Result<(), output::OutputError> {
    let out = &context.output;
    if out.json {
        for item in plan.items() {
            out.object(&Message { message_type: "item", body: &item })?;
        }
        return out.object_now(&Message { message_type: "plan", body: offer });
    }
    for warning in &offer.warnings {
        out.warn(output::plain(warning));
    }
    if context.verbose {
        for item in plan.items() {
            let from = item.from.map_or_else(String::new, |from| format!("  (from {})", output::plain(&from)));
            out.line(format_args!("{:<12} {}{from}", item.action, output::plain(&item.path)))?;
        }
    }
    let counts = &offer.plan;
    if let Some(info) = &offer.snapshot {
        out.line(format_args!(
            "snapshot {} of {} ({}), {} into {}",
            info.short_id,
            output::time(info.time),
            info.zxid_high,
            output::plain(&offer.path),
            output::plain(&offer.target)
        ))?;
    }
    out.line(format_args!(
        "plan: {} to create, {} to set, {} ACLs to change, {} to change type, {} to delete; {} conflicts, {} stay as they \
         are, {} equal; {} to write",
        output::count(counts.create),
        output::count(counts.set),
        output::count(counts.acl),
        output::count(counts.type_change),
        output::count(counts.delete),
        output::count(counts.conflict),
        output::count(counts.skip),
        output::count(counts.equal),
        output::bytes(counts.bytes)
    ))?;
    for (top, nodes) in &counts.deletes {
        out.line(format_args!("  deletes {} nodes of {}", output::count(*nodes), output::plain(top)))?;
    }
    if counts.counters > 0 {
        out.line(format_args!(
            "  raises {} counters of sequential names in {} steps",
            output::count(counts.counters),
            output::count(counts.counter_steps)
        ))?;
    }
    if counts.versions > 0 {
        out.line(format_args!("  raises {} data versions", output::count(counts.versions)))?;
    }
    if counts.versions_differ > 0 {
        out.line(format_args!(
            "  {} data versions will be other ones than in the snapshot (--preserve-versions PATH where they are read)",
            output::count(counts.versions_differ)
        ))?;
    }
    list("ephemeral, left out", offer.ephemerals_skipped.iter().map(String::as_str), context)?;
    for (what, nodes) in [
        ("conflict", &offer.conflicts),
        ("stays as it is", &offer.skipped),
        ("not deleted", &offer.kept),
        ("cannot be as it was", &offer.not_reproducible),
    ] {
        said(what, nodes, context)?;
    }
    let connections = offer.connections.map_or_else(
        || "servers do not tell how many clients they have (srvr is not allowed)".to_owned(),
        |count| format!("{} client connections, ours among them", output::count(count)),
    );
    out.line(format_args!(
        "target: {connections}; {} ephemeral nodes of {} sessions where the restore goes",
        output::count(offer.live_ephemerals),
        output::count(offer.live_sessions)
    ))?;
    // Otherwise they become the error.
    for refusal in offer.refusals.iter().filter(|_| args.dry_run) {
        out.warn(format_args!("refused: {}", output::plain(refusal)));
    }
    out.flush()
}

fn said(what: &str, nodes: &[Said], context: &Context) -> Result<(), output::OutputError> {
    let lines: Vec<String> = nodes.iter().map(|said| format!("{}: {}", said.path, said.why)).collect();
    list(what, lines.iter().map(String::as_str), context)
}

fn list<'t>(
    what: &str,
    lines: impl ExactSizeIterator<Item = &'t str>,
    context: &Context,
) -> Result<(), output::OutputError> {
    let most = if context.verbose { usize::MAX } else { SHOWN };
    let more = lines.len().saturating_sub(most);
    for line in lines.take(most) {
        context.output.line(format_args!("  {what}: {}", output::plain(line)))?;
    }
    if more > 0 {
        context.output.line(format_args!("  {what}: {} more; -v names all", output::count(more as u64)))?;
    }
    Ok(())
}

fn show(summary: &LiveRestoreSummary, context: &Context) -> anyhow::Result<()> {
    let out = &context.output;
    if summary.dry_run {
        out.line("dry run: nothing was written")?;
        return Ok(());
    }
    if summary.offer.empty {
        out.line("nothing to do: the target is as in the snapshot")?;
        return Ok(());
    }
    if let Some(id) = &summary.safety_snapshot {
        out.line(format_args!("what was there before is snapshot {}", id.get(..8).unwrap_or(id)))?;
    }
    for (what, nodes) in [("could not be written", &summary.failures), ("differs", &summary.differences)] {
        for said in nodes {
            out.warn(format_args!("{what}: {}: {}", output::plain(&said.path), output::plain(&said.why)));
        }
    }
    let took = |ms| output::duration(std::time::Duration::from_millis(ms));
    out.line(format_args!(
        "restored with {} writes in {}: plan {}, data {}, ACLs {}, reading back {}",
        output::count(summary.writes),
        took(summary.duration_ms),
        took(summary.plan_ms),
        took(summary.write_ms),
        took(summary.acl_ms),
        took(summary.verify_ms)
    ))?;
    match (summary.verified, summary.differences.len()) {
        (false, _) => out.line("not verified: --no-verify")?,
        (true, 0) => out.line("verified: read back over a fresh session and equal in data, ACLs and counters")?,
        (true, count) => out.line(format_args!("verified: {} differences are left", output::count(count as u64)))?,
    }
    if summary.acls_unreadable > 0 {
        out.line(format_args!(
            "{} ACLs keep even the restorer from reading them back; the servers confirmed them",
            output::count(summary.acls_unreadable)
        ))?;
    }
    Ok(())
}
