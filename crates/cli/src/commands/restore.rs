//! `restore`: a snapshot, or a part of one, into a data directory that a server boots.

use engine::reference::{SnapshotPath, parse_zxid};
use engine::restore::{self, BumpEpoch, DatadirRequest, RestoreSummary, Server, ServerVersion};
use engine::{Filter, repo};
use zk_connect::Endpoint;
use zk_format::Zxid;
use zk_format::file_snap_writer::DEFAULT_JUTE_MAX_BUFFER;

use crate::commands::selection::{self, ScopeArgs};
use crate::context::Context;
use crate::exit::{Exit, usage};
use crate::{opening, output};

/// Restores a snapshot into a data directory that a stock server boots, with every stat as it was.
///
/// The directories must be empty or absent; --force moves what is there aside, and nothing is ever deleted. The file
/// is named for a higher epoch than anybody can have seen, so that old clients reconnect. Read what it prints at the
/// end: which servers to seed, and which files to remove.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:
  zooark restore latest datadir:/var/lib/zookeeper
  zooark restore latest 'datadir:/var/lib/zookeeper?log=/var/log/zookeeper' --force
  zooark restore 4f1c:/brokers datadir:/tmp/brokers --dry-run")]
pub struct Args {
    /// SNAPSHOT[:/path]; a path restores that subtree with its ancestors
    #[arg(value_parser = selection::snapshot_path)]
    snapshot: SnapshotPath,

    /// datadir:PATH[?log=DIR|log=same|cfg=FILE], or a plain path
    target: String,

    /// Read and check everything, and write nothing
    #[arg(long)]
    dry_run: bool,

    /// Move what is in the directories aside
    #[arg(long)]
    force: bool,

    /// The epoch the file is named for: auto, a number, or off
    #[arg(long, value_name = "EPOCH", default_value = "auto", value_parser = bump)]
    bump_epoch: BumpEpoch,

    /// The highest zxid that a client is known to have seen
    #[arg(long, value_name = "ZXID", value_parser = zxid)]
    seen_zxid: Option<Zxid>,

    /// Restore ephemeral nodes and their sessions too
    #[arg(long)]
    keep_ephemerals: bool,

    /// Version of the server that will load the file
    #[arg(long, value_name = "VERSION", default_value = "3.9")]
    server_version: ServerVersion,

    /// jute.maxbuffer of that server, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_JUTE_MAX_BUFFER)]
    jute_maxbuffer: u32,

    /// Whether that server runs with zookeeper.extendedTypesEnabled=true, which TTL nodes need
    #[arg(long, value_name = "BOOL")]
    extended_types: Option<bool>,

    /// Only nodes that match, with all below them and what leads there; may be given several times
    #[arg(long, value_name = "GLOB")]
    include: Vec<String>,

    /// Not these nodes, nor what is below them; may be given several times
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,

    /// Go on where only a person can know that it is right
    #[arg(long)]
    yes_really: bool,

    #[command(flatten)]
    scope: ScopeArgs,
}

fn bump(given: &str) -> Result<BumpEpoch, String> {
    match given {
        "auto" => Ok(BumpEpoch::Auto),
        "off" => Ok(BumpEpoch::Off),
        number => number.parse().map(BumpEpoch::To).map_err(|_| "write auto, off or a number".to_owned()),
    }
}

fn zxid(given: &str) -> Result<Zxid, String> {
    parse_zxid(given).ok_or_else(|| "write a zxid as 0x500000021".to_owned())
}

/// Runs it.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let Endpoint::DataDir(target) = selection::endpoint(&args.target, "restore into")? else {
        return Err(usage("restore writes data directories"));
    };
    let filter = Filter::new(&args.include, &args.exclude).map_err(|error| usage(error.to_string()))?;
    let repo = opening::repository(context)?;
    context.catch_interrupts()?;
    let (snapshot, path) = selection::resolve(&repo, &args.snapshot, &args.scope.scope(context), context)?;
    if !path.is_empty() && repo.tree(&snapshot.manifest)?.node(&path)?.is_none() {
        return Err(selection::missing(&snapshot, &path));
    }
    let request = DatadirRequest {
        snapshot,
        path,
        target,
        force: args.force,
        bump_epoch: args.bump_epoch,
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
    let summary = restore::run(&repo, &request, args.dry_run, &context.monitor)?;
    context.monitor.clear();
    if context.output.json {
        context.output.summary(&summary)?;
    } else {
        show(&summary, context)?;
    }
    Ok(if summary.plan.snapshot.incomplete { Exit::Incomplete } else { Exit::Done })
}

fn show(summary: &RestoreSummary, context: &Context) -> anyhow::Result<()> {
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
    next_steps(file, plan.log_dir.as_deref(), context)
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
