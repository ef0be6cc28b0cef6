//! `check`: is everything in the repository as it was written?

use engine::repository::check::{self, CheckOptions, CheckStats, Finding, ReadData, Severity};
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
    #[arg(long, value_name = "SUBSET", value_parser = subset)]
    read_data_subset: Option<Subset>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Subset {
    Part(u32, u32),
    Percent(f64),
    Bytes(u64),
}

fn subset(given: &str) -> Result<Subset, String> {
    let wrong = || "write 1/7, 5% or 500M".to_owned();
    if let Some((part, of)) = given.split_once('/') {
        let (part, of): (u32, u32) = (part.parse().map_err(|_| wrong())?, of.parse().map_err(|_| wrong())?);
        return if (1..=of).contains(&part) { Ok(Subset::Part(part, of)) } else { Err(wrong()) };
    }
    if let Some(percent) = given.strip_suffix('%') {
        let percent: f64 = percent.parse().map_err(|_| wrong())?;
        return if percent > 0.0 && percent <= 100.0 { Ok(Subset::Percent(percent)) } else { Err(wrong()) };
    }
    given.parse::<bytesize::ByteSize>().map(|size| Subset::Bytes(size.as_u64())).map_err(|_| wrong())
}

#[derive(Debug, Serialize)]
struct FindingJson {
    message_type: &'static str,
    severity: &'static str,
    object: String,
    problem: String,
    meaning: String,
    remedy: String,
    snapshots: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Summary {
    objects: u64,
    snapshots: u64,
    packs: u64,
    pack_bytes: u64,
    unused_packs: u64,
    unused_bytes: u64,
    packs_read: u64,
    blobs_read: u64,
    digests: u64,
    damage: u64,
    notices: u64,
}

/// Runs it.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    // Which packs a share or an amount means differs from day to day, so that in time all are read.
    let seed = u64::try_from(engine::repo::now().as_second() / 86_400).unwrap_or(0);
    let read_data = match args.read_data_subset {
        _ if args.read_data => ReadData::All,
        None => ReadData::None,
        Some(Subset::Part(part, of)) => ReadData::Part { part, of },
        Some(Subset::Percent(percent)) => ReadData::Percent { percent, seed },
        Some(Subset::Bytes(bytes)) => ReadData::Bytes { bytes, seed },
    };
    let repo = opening::repository(context)?;
    let mut failed = None;
    let options = CheckOptions { read_data, digests: args.read_data };
    let stats = check::check(repo.repository(), &options, &mut |finding| {
        failed = failed.take().or(show(&finding, context).err());
    })
    .map_err(engine::EngineError::from)?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    if context.output.json {
        context.output.summary(&summary(&stats))?;
    } else {
        say(&stats, context)?;
    }
    Ok(if stats.damage > 0 { Exit::Damage } else { Exit::Done })
}

fn show(finding: &Finding, context: &Context) -> Result<(), output::OutputError> {
    let severity = match finding.severity {
        Severity::Damage => "damage",
        Severity::Notice => "notice",
    };
    if context.output.json {
        return context.output.object_now(&FindingJson {
            message_type: "finding",
            severity,
            object: finding.object.clone(),
            problem: finding.problem.clone(),
            meaning: finding.meaning.clone(),
            remedy: finding.remedy.clone(),
            snapshots: finding.snapshots.iter().map(ToString::to_string).collect(),
        });
    }
    let out = &context.output;
    out.line(format_args!("{}: {}: {}", severity.to_uppercase(), finding.object, output::plain(&finding.problem)))?;
    out.line(format_args!("  it means: {}", output::plain(&finding.meaning)))?;
    out.line(format_args!("  to do:    {}", output::plain(&finding.remedy)))?;
    if !finding.snapshots.is_empty() {
        let ids: Vec<String> = finding.snapshots.iter().map(engine::repository::SnapshotId::short).collect();
        out.line(format_args!("  harms snapshots {}", ids.join(", ")))?;
    }
    Ok(())
}

fn summary(stats: &CheckStats) -> Summary {
    Summary {
        objects: stats.objects,
        snapshots: stats.snapshots,
        packs: stats.packs,
        pack_bytes: stats.pack_bytes,
        unused_packs: stats.unused_packs,
        unused_bytes: stats.unused_bytes,
        packs_read: stats.packs_read,
        blobs_read: stats.blobs_read,
        digests: stats.digests,
        damage: stats.damage,
        notices: stats.notices,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subsets_are_parts_shares_or_amounts() {
        assert_eq!(subset("2/7"), Ok(Subset::Part(2, 7)));
        assert_eq!(subset("2.5%"), Ok(Subset::Percent(2.5)));
        assert_eq!(subset("1MiB"), Ok(Subset::Bytes(1 << 20)));
        for wrong in ["0/7", "8/7", "0%", "101%", "x", "1/x"] {
            assert!(subset(wrong).is_err(), "{wrong}");
        }
    }
}
