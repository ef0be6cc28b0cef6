//! `check`: is everything in the repository as it was written?

use engine::check::{self, FindingReport, Subset};
use engine::repository::check::{CheckOptions, CheckStats, ReadData};
use serde::Serialize;

use crate::context::Context;
use crate::exit::Exit;
use crate::{opening, output};

/// Checks the repository and lists every finding, with what it means and what mends it.
///
/// Without more it checks every object, footer and manifest. --read-data also reads every chunk and adds up every
/// snapshot.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:
  zooark check
  zooark check --read-data
  zooark check --read-data-subset 1/7
  zooark check --read-data-subset 5%")]
pub struct Args {
    /// Read and verify all data, and add up every snapshot's digest
    #[arg(long, conflicts_with = "read_data_subset")]
    read_data: bool,

    /// Read part n of t (1/7), a share (5%) or an amount (500M) of the packs
    #[arg(long, value_name = "SUBSET", value_parser = str::parse::<Subset>)]
    read_data_subset: Option<Subset>,
}

#[derive(Debug, Serialize)]
struct FindingMessage<'a> {
    message_type: &'static str,
    #[serde(flatten)]
    finding: &'a FindingReport,
}

/// Runs it.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let read_data = match args.read_data_subset {
        _ if args.read_data => ReadData::All,
        None => ReadData::None,
        Some(subset) => subset.today(),
    };
    let repo = opening::repository(context)?;
    context.catch_interrupts()?;
    let mut failed = None;
    let options = CheckOptions { read_data, digests: args.read_data };
    let stats = check::run(&repo, &options, &context.monitor, &mut |finding| {
        failed = failed.take().or(show(&finding, context).err());
    })?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    if context.output.json {
        context.output.summary(&stats)?;
    } else {
        say(&stats, context)?;
    }
    Ok(if stats.damage > 0 { Exit::Damage } else { Exit::Done })
}

fn show(finding: &FindingReport, context: &Context) -> Result<(), output::OutputError> {
    if context.output.json {
        return context.output.object_now(&FindingMessage { message_type: "finding", finding });
    }
    let out = &context.output;
    out.line(format_args!(
        "{}: {}: {}",
        finding.severity.to_uppercase(),
        finding.object,
        output::plain(&finding.problem)
    ))?;
    out.line(format_args!("  it means: {}", output::plain(&finding.meaning)))?;
    out.line(format_args!("  to do:    {}", output::plain(&finding.remedy)))?;
    if !finding.snapshots.is_empty() {
        let ids: Vec<String> = finding.snapshots.iter().map(|id| id.chars().take(8).collect()).collect();
        out.line(format_args!("  harms snapshots {}", ids.join(", ")))?;
    }
    Ok(())
}

fn say(stats: &CheckStats, context: &Context) -> anyhow::Result<()> {
    let out = &context.output;
    out.line(format_args!(
        "{} objects, {} snapshots, {} packs of {} checked",
        output::count(stats.objects),
        output::count(stats.snapshots),
        output::count(stats.packs),
        output::bytes(stats.pack_bytes)
    ))?;
    if stats.packs_read > 0 {
        out.line(format_args!(
            "{} packs read in full, {} blobs verified, {} snapshots added up",
            output::count(stats.packs_read),
            output::count(stats.blobs_read),
            output::count(stats.digests)
        ))?;
    }
    if stats.unused_packs > 0 {
        let size = output::bytes(stats.unused_bytes);
        out.line(format_args!("{} packs of {size} are needed by no snapshot", output::count(stats.unused_packs)))?;
    }
    if stats.damage == 0 {
        out.line("no damage found")?;
    } else {
        out.line(format_args!("{} findings of DAMAGE", output::count(stats.damage)))?;
    }
    Ok(())
}
