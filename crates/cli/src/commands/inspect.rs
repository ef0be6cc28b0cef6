//! `inspect`: a summary of ZooKeeper's own files, without a repository.

use std::ops::ControlFlow;

use engine::inspect::{DirectoryReport, FileReport, Inspection, LogReport, SnapshotReport, StateReport, Transaction};

use crate::commands::selection;
use crate::context::Context;
use crate::exit::Exit;
use crate::output::{self, Output, OutputError};

/// Summarises ZooKeeper's own files: a snapshot file, a transaction log, or a server's directories.
///
/// Of a directory it also says which state a backup would take from there, and how sure that is. Damage is told and
/// ends with exit code 4; a log that ends in a partial record, as a killed server leaves it, is no damage.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:
  zooark inspect /var/lib/zookeeper
  zooark inspect 'datadir:/var/lib/zookeeper?log=/var/log/zookeeper' --json
  zooark inspect /var/lib/zookeeper/version-2/log.100000001 --transactions")]
pub struct Args {
    /// A file, or datadir:PATH[?log=DIR|cfg=FILE], or a plain path
    path: String,

    /// List every transaction of the logs; with --json one object a line
    #[arg(long)]
    transactions: bool,
}

/// Runs it.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let spec = selection::datadir(&args.path, "inspect")?;
    context.catch_interrupts()?;
    let output = &context.output;
    let mut failed: Option<OutputError> = None;
    let mut list = |transaction: &Transaction<'_>| {
        let shown = if output.json { output.object(transaction) } else { output.line(transaction_line(transaction)) };
        match shown {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                failed = Some(error);
                ControlFlow::Break(())
            }
        }
    };
    let inspection = if args.transactions {
        engine::inspect::run(&spec, Some(&mut list), &context.monitor)?
    } else {
        engine::inspect::run(&spec, None, &context.monitor)?
    };
    if let Some(error) = failed {
        return Err(error.into());
    }
    context.monitor.clear();
    if output.json && args.transactions {
        output.summary(&inspection)?;
    } else if output.json {
        output.document(&inspection)?;
    } else {
        show(&inspection, output)?;
    }
    Ok(if inspection.has_problems() { Exit::Damage } else { Exit::Done })
}

fn transaction_line(transaction: &Transaction<'_>) -> String {
    let mut text =
        format!("{} {} {:13}", transaction.zxid, output::time_of_millis(transaction.time_ms), transaction.kind);
    if let Some(path) = &transaction.path {
        text = format!("{text} {path}");
    }
    if let Some(parts) = transaction.parts {
        text = format!("{text} ({parts} parts)");
    }
    if let Some(bytes) = transaction.data_bytes {
        text = format!("{text} {bytes} bytes");
    }
    text
}

fn show(inspection: &Inspection, output: &Output) -> anyhow::Result<()> {
    for file in &inspection.files {
        match file {
            FileReport::Snapshot(report) => show_snapshot(report, output)?,
            FileReport::Log(report) => show_log(report, output)?,
        }
    }
    if let Some(directory) = &inspection.directory {
        show_directory(directory, output)?;
    }
    Ok(())
}

fn show_snapshot(report: &SnapshotReport, output: &Output) -> anyhow::Result<()> {
    let size = output::bytes(report.bytes);
    output.line(format_args!("{}: snapshot file at {}, {size}", report.path.display(), report.zxid))?;
    if let Some(problem) = &report.problem {
        output.line(format_args!("  DAMAGED: {}", output::plain(problem)))?;
        return Ok(());
    }
    output.line(format_args!(
        "  {} nodes ({} ephemeral), {} of values, {} sessions, {} ACL lists",
        output::count(report.nodes),
        output::count(report.ephemerals),
        output::bytes(report.data_bytes),
        output::count(report.sessions),
        output::count(report.acls),
    ))?;
    match (&report.digest_zxid, report.digest) {
        (Some(zxid), "matches") => output.line(format_args!("  digest: matches, so it is exact at {zxid}"))?,
        (Some(zxid), "differs") => {
            output.line(format_args!("  digest: differs at {zxid}: it was written while transactions were applied"))?;
        }
        (Some(zxid), other) => output.line(format_args!("  digest: {other} at {zxid}"))?,
        (None, _) => {}
    }
    if report.unresolved_acls > 0 {
        let nodes = output::count(report.unresolved_acls);
        output.line(format_args!("  {nodes} nodes have ACLs that only the log that follows tells"))?;
    }
    Ok(())
}

fn show_log(report: &LogReport, output: &Output) -> anyhow::Result<()> {
    let size = output::bytes(report.bytes);
    output.line(format_args!("{}: transaction log, {size}", report.path.display()))?;
    match (&report.first_zxid, &report.last_zxid) {
        (Some(first), Some(last)) => {
            let time = |millis: Option<i64>| millis.map_or_else(String::new, output::time_of_millis);
            output.line(format_args!(
                "  {} transactions, {first} of {} to {last} of {}",
                output::count(report.transactions),
                time(report.first_time_ms),
                time(report.last_time_ms),
            ))?;
            let types: Vec<String> =
                report.by_type.iter().map(|(kind, number)| format!("{kind} {}", output::count(*number))).collect();
            output.line(format_args!("  {}", types.join(", ")))?;
        }
        _ => output.line("  no transactions")?,
    }
    if let Some(end) = &report.torn_end {
        output.line(format_args!("  ends in a partial record {}", output::plain(end)))?;
    }
    if let Some(problem) = &report.problem {
        output.line(format_args!("  DAMAGED: {}", output::plain(problem)))?;
    }
    Ok(())
}

fn show_directory(report: &DirectoryReport, output: &Output) -> anyhow::Result<()> {
    let number = |value: Option<u32>| value.map_or_else(|| "none".to_owned(), |value| value.to_string());
    output.line(format_args!(
        "myid {}, accepted epoch {}, current epoch {}",
        number(report.my_id),
        number(report.accepted_epoch),
        number(report.current_epoch),
    ))?;
    if let Some(problem) = &report.problem {
        output.line(format_args!("NO STATE can be taken from here: {}", output::plain(problem)))?;
    }
    if let Some(state) = &report.state {
        output.line(state_line(state))?;
        for note in &state.notes {
            output.line(format_args!("  note: {}", output::plain(note)))?;
        }
    }
    Ok(())
}

fn state_line(state: &StateReport) -> String {
    let span = if state.zxid_low == state.zxid_high {
        format!("at {}", state.zxid_high)
    } else {
        format!("between {} and {}", state.zxid_low, state.zxid_high)
    };
    let proof = if state.proof == "none" { "not proven".to_owned() } else { format!("proven by {}", state.proof) };
    format!(
        "a backup would take {} nodes, {} {span}, {proof}, of {}",
        output::count(state.nodes),
        state.consistency,
        output::time_of_millis(state.state_time_ms),
    )
}
