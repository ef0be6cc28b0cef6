//! `prune`: space that no snapshot needs.

use std::time::Duration;

use engine::prune::{self, Packs, PruneReport, PruneRequest};

use crate::commands::selection;
use crate::context::Context;
use crate::exit::Exit;
use crate::{opening, output};

/// Gives back the space that no snapshot needs.
///
/// Takes no lock: backups and restores go on meanwhile. What nothing needs is first put on a list, and deleted by a prune
/// that runs at least the grace period later; so let it run regularly, for example once a day.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:
  zooark prune
  zooark prune --dry-run
  zooark prune --max-repack 10G
  zooark prune --grace 0s        everything at once; only while nothing else uses the repository")]
pub struct Args {
    /// Change nothing and show what would be done
    #[arg(long)]
    dry_run: bool,

    /// Wait longer than the repository's grace period (48h, 7d), or not at all (0s): then nothing else may use the
    /// repository until prune has ended
    #[arg(long, value_name = "DURATION", value_parser = selection::duration)]
    grace: Option<Duration>,

    /// Copy the needed rest of packs that are mostly garbage, up to this size of packs together (500M); 0 for none
    #[arg(long, value_name = "SIZE", value_parser = size)]
    max_repack: Option<u64>,
}

pub(super) fn size(given: &str) -> Result<u64, String> {
    given.parse::<bytesize::ByteSize>().map(|size| size.as_u64()).map_err(|_| "write a size such as 500M".to_owned())
}

/// Runs it.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let repo = opening::repository(context)?;
    context.catch_interrupts()?;
    let request = PruneRequest { dry_run: args.dry_run, grace: args.grace, max_repack_bytes: args.max_repack };
    let report = prune::prune(&repo, &request, &context.monitor)?;
    context.monitor.clear();
    if context.output.json {
        context.output.document(&report)?;
    } else {
        say(&report, context)?;
    }
    Ok(if report.refused > 0 { Exit::Incomplete } else { Exit::Done })
}

pub(super) fn say(report: &PruneReport, context: &Context) -> anyhow::Result<()> {
    let out = &context.output;
    let packs = |Packs { packs, bytes }: Packs| format!("{} packs of {}", output::count(packs), output::bytes(bytes));
    let would = if report.dry_run { "would be " } else { "" };
    out.line(format_args!(
        "{} snapshots need {} of {}",
        output::count(report.snapshots),
        packs(report.needed),
        packs(report.found)
    ))?;
    let grace = output::count(report.grace_seconds);
    let condemned = if report.grace_seconds > 0 {
        format!("{would}condemned: a prune in {grace} seconds or later deletes them")
    } else {
        format!("{would}condemned, to be deleted at once")
    };
    let lines: [(Packs, String); 6] = [
        (report.deleted, format!("{would}deleted")),
        (report.repacked, format!("{would}copied where they are needed, into {}", packs(report.rewritten))),
        (report.condemned, condemned),
        (report.waiting, format!("wait on a list until they were there for {grace} seconds")),
        (report.young, "are needed by nothing, but so young that a backup may be using them".to_owned()),
        (report.rescued, "were condemned and are needed again; they stay".to_owned()),
    ];
    for (amount, text) in lines.into_iter().filter(|(amount, _)| amount.packs > 0) {
        out.line(format_args!("{} {text}", packs(amount)))?;
    }
    if report.refused > 0 {
        let refusal = report.refusal.as_deref().unwrap_or_default();
        out.line(format_args!(
            "PENDING: the store refuses to delete {} objects: {}",
            output::count(report.refused),
            output::plain(refusal)
        ))?;
    }
    Ok(())
}
