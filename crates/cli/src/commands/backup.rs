//! `backup`: takes one snapshot, or one after the other.

mod watch;

use std::time::Duration;

use engine::Filter;
use engine::backup::suspect::DEFAULT_MAX_SHRINK;
use engine::backup::{self, BackupRequest, WatchPlan};
use engine::live::LiveSettings;
use engine::reference::{parse_time, parse_zxid};
use engine::report::{BackupSummary, Consistency, Method, Proof, Tail};
use jiff::Timestamp;
use zk_format::Zxid;

use crate::commands::selection;
use crate::context::Context;
use crate::exit::{Exit, usage};
use crate::live::LiveArgs;
use crate::{opening, output};

/// Takes one snapshot of a data directory, live or cold, of a live ensemble, or of a server's AdminServer.
///
/// From a data directory the state is one that the server was in, at one zxid, and the summary says what proves it.
/// Where the transaction log leads on from the last snapshot only what changed is read. From an ensemble every znode is
/// read through the client protocol; where it changed meanwhile the snapshot says so. An AdminServer (ZooKeeper 3.9.4 and
/// later) hands out all its server has as one file, container and TTL types with it: exact where the file's own digest
/// proves it, else fuzzy. It writes a snapshot file on its own disk for that, and does so once in 5 minutes unless
/// configured otherwise. When nothing changed, nothing is written.
///
/// With --watch it stays, and each further snapshot reads only what the ensemble told of its changes. Everything is read
/// again at --scan-every and whenever something may have been missed. It ends at SIGINT or SIGTERM with exit code 0, and
/// at a suspect snapshot with 5; what else goes wrong after the first snapshot is said and tried again.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:
  zooark backup datadir:/var/lib/zookeeper --cluster prod
  zooark backup zk://zk1:2181,zk2:2181,zk3:2181/kafka --cluster prod --zk-auth-file /etc/zooark/zk-auth
  zooark backup zk://zk1:2181,zk2:2181,zk3:2181 --cluster prod --watch --interval 30s
  zooark backup 'datadir:/var/lib/zookeeper?log=/var/log/zookeeper&srvr=127.0.0.1:2181'
  zooark backup admin+https://zk1:8080,zk2:8080 --zk-auth-file /etc/zooark/zk-auth --tls-ca ca.pem
  zooark backup 'datadir:/var/lib/zookeeper?cfg=/etc/zookeeper/zoo.cfg' --tag nightly --exclude '/tmp/**'")]
pub struct Args {
    /// zk://HOST:PORT,…[/CHROOT], datadir:PATH[?log=DIR|log=same|cfg=FILE][&srvr=HOST:PORT], a plain path, or
    /// admin+http://HOST:PORT,…
    source: Option<String>,

    /// Name of the ensemble; groups its snapshots [default: default] [env: ZOOARK_CLUSTER]
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,

    /// Name of this host in the snapshot [default: the system's] [env: ZOOARK_HOST]
    #[arg(long, value_name = "NAME")]
    host: Option<String>,

    /// Tag of the snapshot; may be given several times
    #[arg(long)]
    tag: Vec<String>,

    /// Only nodes that match, with all below them and what leads there; may be given several times
    #[arg(long, value_name = "GLOB")]
    include: Vec<String>,

    /// Not these nodes, nor what is below them; may be given several times
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,

    /// The snapshot's time instead of now
    #[arg(long, value_name = "TIME", value_parser = moment)]
    time: Option<Timestamp>,

    /// Read and compare, and write nothing
    #[arg(long)]
    dry_run: bool,

    /// Write a snapshot although nothing changed
    #[arg(long)]
    force: bool,

    /// Store a snapshot marked incomplete where some nodes could not be read whole
    #[arg(long)]
    allow_partial: bool,

    /// Read everything again and write a new base
    #[arg(long)]
    full: bool,

    /// Ask an AdminServer of 3.9.0 to 3.9.3, or of a version that nobody knows, too: its snapshot command can change the
    /// live tree (ZOOKEEPER-4872)
    #[arg(long)]
    yes_really: bool,

    /// Share of the nodes that may be gone before the snapshot is held back as suspect, 0 to 1 [default: 0.5]
    #[arg(long, value_name = "SHARE", value_parser = share)]
    max_shrink: Option<f64>,

    /// The state right after this transaction instead of the newest
    #[arg(long, value_name = "ZXID", value_parser = zxid)]
    to_zxid: Option<Zxid>,

    /// Compression level of zstd, 1 to 19 [default: 3]
    #[arg(long, value_name = "LEVEL", value_parser = clap::value_parser!(i32).range(1..=19))]
    compression: Option<i32>,

    /// Stay, and take a snapshot at each interval from what the ensemble tells of its changes; ZooKeeper 3.6 or later
    #[arg(long, conflicts_with_all = ["dry_run", "time", "to_zxid", "full"])]
    watch: bool,

    /// From one snapshot of --watch to the next; where nothing changed none is stored
    #[arg(long, value_name = "DURATION", value_parser = interval, default_value = "60s", requires = "watch")]
    interval: Duration,

    /// From one scan of everything under --watch to the next: no event tells of ACLs
    #[arg(long, value_name = "DURATION", value_parser = selection::duration, default_value = "1h", requires = "watch")]
    scan_every: Duration,

    #[command(flatten)]
    live: LiveArgs,
}

fn moment(given: &str) -> Result<Timestamp, String> {
    parse_time(given).ok_or_else(|| "write a time as 2026-11-20T10:00:00Z".to_owned())
}

fn zxid(given: &str) -> Result<Zxid, String> {
    parse_zxid(given).ok_or_else(|| "write a zxid as 0x500000021".to_owned())
}

fn interval(given: &str) -> Result<Duration, String> {
    let interval = selection::duration(given)?;
    if interval.is_zero() { Err("write an interval such as 10s or 5m".to_owned()) } else { Ok(interval) }
}

fn share(given: &str) -> Result<f64, String> {
    given
        .parse()
        .ok()
        .filter(|share| (0.0..=1.0).contains(share))
        .ok_or_else(|| "write a number from 0 to 1".to_owned())
}

/// Runs it.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let settings = &context.settings;
    let source = args
        .source
        .clone()
        .or_else(|| settings.get(|layer| layer.source.clone()))
        .ok_or_else(|| usage("no source given: write datadir:/path, zk://host:2181 or admin+http://host:8080"))?;
    let source = selection::source(&source)?;
    let either = |given: &[String], configured: Option<Vec<String>>| {
        if given.is_empty() { configured.unwrap_or_default() } else { given.to_vec() }
    };
    let include = either(&args.include, settings.get(|layer| layer.include.clone()));
    let exclude = either(&args.exclude, settings.get(|layer| layer.exclude.clone()));
    let request = BackupRequest {
        source,
        live: LiveSettings { unsafe_admin_servers: args.yes_really, ..args.live.settings(context)? },
        cluster: selection::cluster(args.cluster.as_deref(), context),
        host: args.host.clone().unwrap_or_else(|| selection::host(context)),
        tags: either(&args.tag, settings.get(|layer| layer.tags.clone())),
        filter: Filter::new(&include, &exclude).map_err(|error| usage(error.to_string()))?,
        time: args.time,
        dry_run: args.dry_run,
        force: args.force,
        allow_partial: args.allow_partial,
        full: args.full,
        max_shrink: args.max_shrink.or_else(|| settings.get(|layer| layer.max_shrink)).unwrap_or(DEFAULT_MAX_SHRINK),
        to_zxid: args.to_zxid,
        compression: args.compression.or_else(|| settings.get(|layer| layer.compression)),
        program: crate::PROGRAM.to_owned(),
        purpose: backup::Purpose::Regular,
    };
    let repo = opening::repository(context)?;
    context.catch_interrupts()?;
    if args.watch {
        return watch::run(
            &repo,
            &request,
            WatchPlan { interval: args.interval, full_every: args.scan_every },
            context,
        );
    }
    let summary = backup::run(&repo, &request, &context.monitor)?;
    context.monitor.clear();
    if context.output.json {
        context.output.summary(&summary)?;
    } else {
        show(&summary, context)?;
    }
    Ok(if summary.suspect.is_some() {
        Exit::Refused
    } else if !summary.incomplete_paths.is_empty() || summary.digest_mismatch {
        Exit::Incomplete
    } else {
        Exit::Done
    })
}

fn show(summary: &BackupSummary, context: &Context) -> anyhow::Result<()> {
    let output = &context.output;
    for note in &summary.notes {
        output.say(format_args!("note: {}", output::plain(note)));
    }
    let state = if summary.consistency == Consistency::Exact {
        let proof = match summary.proof {
            Proof::Digest => "proven by the server's digest",
            Proof::Replay => "proven by strict replay",
            Proof::None => "not proven",
        };
        if summary.method == Method::Scan {
            // Nothing else can prove what a client sees.
            format!("exact at {}, every answer named it", summary.zxid_high)
        } else {
            format!("exact at {}, {proof}", summary.zxid_high)
        }
    } else {
        format!("FUZZY: nodes of different moments between {} and {}", summary.zxid_low, summary.zxid_high)
    };
    let tail = if summary.tail == Tail::Unconfirmed { "; tail: unconfirmed" } else { "" };
    let method = match summary.method {
        Method::Log => "from the transaction log",
        Method::Full => "everything read",
        Method::Scan => "scanned",
        Method::Watch => "from watches",
    };
    let line = |text: String| output.line(text);
    line(format!("{} nodes, {state}{tail} ({method})", output::count(summary.nodes)))?;
    line(format!(
        "{} created, {} changed, {} deleted",
        output::count(summary.nodes_created),
        output::count(summary.nodes_changed),
        output::count(summary.nodes_deleted)
    ))?;
    for path in summary.incomplete_paths.iter().take(20) {
        output.warn(format_args!("could not be read whole: {}", output::plain(path)));
    }
    match (&summary.short_id, &summary.parent_id) {
        (Some(id), _) => {
            line(format!(
                "snapshot {id} of cluster {} saved: {} in {} objects, {}",
                output::plain(&summary.cluster),
                output::bytes(summary.uploaded_bytes),
                summary.objects_written,
                output::duration(Duration::from_millis(summary.duration_ms))
            ))?;
        }
        (None, _) if summary.dry_run => line("dry run: nothing was written".to_owned())?,
        (None, Some(parent)) => {
            line(format!("nothing changed since snapshot {}; nothing was written", parent.get(..8).unwrap_or(parent)))?;
        }
        (None, None) => line("nothing was written".to_owned())?,
    }
    if let Some(why) = &summary.suspect {
        output.warn(format_args!(
            "SUSPECT: {}. It is held back: never `latest`, never counted by retention. If it is right, say \
             `zooark accept {}`",
            output::plain(why),
            summary.short_id.as_deref().unwrap_or("SNAPSHOT")
        ));
    }
    Ok(())
}
