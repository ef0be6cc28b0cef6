//! `restore`: a snapshot, or a part of one, into a data directory that a server boots, or into a running ensemble, over the
//! client protocol or, as an experiment, through its servers' AdminServers.

mod admin;
mod datadir;
mod live;
mod once;

use clap::ValueEnum;
use engine::Filter;
use engine::reference::{SnapshotPath, parse_zxid};
use engine::restore::{BumpEpoch, ServerVersion};
use engine::restore_live::{Policy, Remap};
use zk_connect::Endpoint;
use zk_format::Zxid;
use zk_format::file_snap_writer::DEFAULT_JUTE_MAX_BUFFER;

use crate::commands::selection::{self, ScopeArgs};
use crate::context::Context;
use crate::exit::{Exit, usage};
use crate::live::LiveArgs;
use crate::opening;

/// Restores a snapshot into a data directory that a stock server boots, or into a running ensemble.
///
/// Into a data directory every stat comes back as it was. The directories must be empty or absent; --force moves what is
/// there aside, and nothing is ever deleted. The file is named for a higher epoch than anybody can have seen, so that old
/// clients reconnect. Read what it prints at the end: which servers to seed, and which files to remove.
///
/// Into an ensemble a plan is made first and shown; -v names every node. Nodes are created closed to everybody else, read
/// back over a fresh session, and get their ACLs last. Zxids and times are the target's own.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:
  zooark restore latest datadir:/var/lib/zookeeper
  zooark restore latest 'datadir:/var/lib/zookeeper?log=/var/log/zookeeper' --force
  zooark restore 4f1c:/brokers datadir:/tmp/brokers --dry-run
  zooark restore latest datadir:/data --cluster prod --once 1 --member zk-0
  zooark restore latest:/app zk://zk1:2181,zk2:2181 --zk-auth-file /etc/zooark/zk-auth --dry-run -v
  zooark restore latest:/app zk://zk1:2181 --remap /app=/app-restored --yes
  zooark restore latest:/app zk://zk1:2181 --conflict overwrite --delete
  zooark restore 4f1c admin+https://zk1,zk2,zk3 --experimental-admin-restore --zk-auth-file auth")]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own that a person sets")]
pub struct Args {
    /// SNAPSHOT[:/path]; a path restores that subtree with its ancestors
    #[arg(value_parser = selection::snapshot_path)]
    snapshot: SnapshotPath,

    /// zk://HOST:PORT,…[/CHROOT], datadir:PATH[?log=DIR|log=same|cfg=FILE], a plain path, or admin+http://HOST:PORT,… with
    /// every server of the ensemble
    target: String,

    /// Read and check everything, and write nothing
    #[arg(long)]
    dry_run: bool,

    /// Only nodes that match, with all below them and what leads there; may be given several times
    #[arg(long, value_name = "GLOB")]
    include: Vec<String>,

    /// Not these nodes, nor what is below them; may be given several times
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,

    /// jute.maxbuffer of the server, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = DEFAULT_JUTE_MAX_BUFFER)]
    jute_maxbuffer: u32,

    /// Go on where only a person can know that it is right
    #[arg(long)]
    yes_really: bool,

    /// Move what is in the directories aside
    #[arg(long, help_heading = DATADIR)]
    force: bool,

    /// The epoch the file is named for: auto, a number, or off
    #[arg(long, value_name = "EPOCH", default_value = "auto", value_parser = bump, help_heading = DATADIR)]
    bump_epoch: BumpEpoch,

    /// The highest zxid that a client is known to have seen
    #[arg(long, value_name = "ZXID", value_parser = zxid, help_heading = DATADIR)]
    seen_zxid: Option<Zxid>,

    /// Restore ephemeral nodes and their sessions too
    #[arg(long, help_heading = DATADIR)]
    keep_ephemerals: bool,

    /// Version of the server that will load the file
    #[arg(long, value_name = "VERSION", default_value = "3.9", help_heading = DATADIR)]
    server_version: ServerVersion,

    /// Whether that server runs with zookeeper.extendedTypesEnabled=true, which TTL nodes need
    #[arg(long, value_name = "BOOL", help_heading = DATADIR)]
    extended_types: Option<bool>,

    /// Restore this member's directory once for this number, and every member the same snapshot; to be run before each
    /// start of its server
    #[arg(
        long,
        value_name = "NUMBER",
        value_parser = clap::value_parser!(u64).range(1..),
        requires = "member",
        help_heading = DATADIR
    )]
    once: Option<u64>,

    /// Whose directory it is, such as the pod's name; with --once
    #[arg(long, value_name = "NAME", requires = "once", help_heading = DATADIR)]
    member: Option<String>,

    /// Apply the plan without asking; needed where nobody can be asked
    #[arg(long, help_heading = ENSEMBLE)]
    yes: bool,

    /// What happens to nodes that exist with other data, ACL or type
    #[arg(long, value_enum, default_value_t = Conflict::Fail, help_heading = ENSEMBLE)]
    conflict: Conflict,

    /// Delete what the snapshot lacks below the restored path; live ephemeral nodes and their ancestors stay
    #[arg(long, help_heading = ENSEMBLE)]
    delete: bool,

    /// Restore what lies below FROM below TO; may be given several times
    #[arg(long, value_name = "FROM=TO", value_parser = remap, help_heading = ENSEMBLE)]
    remap: Vec<Remap>,

    /// Leave the ACLs of nodes that exist as they are
    #[arg(long, help_heading = ENSEMBLE)]
    data_only: bool,

    /// Whether the next sequential name is the snapshot's
    #[arg(
        long,
        value_name = "BOOL",
        default_value_t = true,
        action = clap::ArgAction::Set,
        num_args = 0..=1,
        default_missing_value = "true",
        require_equals = true,
        help_heading = ENSEMBLE
    )]
    preserve_counters: bool,

    /// Steps that a counter of sequential names may take to get there
    #[arg(long, value_name = "STEPS", default_value_t = 1_000_000, help_heading = ENSEMBLE)]
    counter_limit: u32,

    /// Let counters in use end lower than in the snapshot
    #[arg(long, help_heading = ENSEMBLE)]
    accept_lower_counters: bool,

    /// Raise the data versions below this path to the snapshot's by writing repeatedly; may be given several times
    #[arg(long, value_name = "PATH", help_heading = ENSEMBLE)]
    preserve_versions: Vec<String>,

    /// Go on with a restore that was interrupted
    #[arg(long, help_heading = ENSEMBLE)]
    resume: bool,

    /// Do not read back what was written
    #[arg(long, help_heading = ENSEMBLE)]
    no_verify: bool,

    /// Who reads back what was written
    #[arg(long, value_enum, default_value_t = Reader::Own, conflicts_with = "no_verify", help_heading = ENSEMBLE)]
    verify_with: Reader,

    /// Do not back up first what the restore will change
    #[arg(long, help_heading = ENSEMBLE)]
    no_safety_snapshot: bool,

    /// Restore through AdminServers; read docs/operations/restore-ensemble.md first
    #[arg(long, help_heading = ADMIN)]
    experimental_admin_restore: bool,

    #[command(flatten)]
    live: LiveArgs,

    #[command(flatten)]
    scope: ScopeArgs,
}

const DATADIR: &str = "Into a data directory";
const ENSEMBLE: &str = "Into a live ensemble";
const ADMIN: &str = "Through AdminServers";

/// Who reads back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Reader {
    /// Our own client, over a fresh session
    Own,
    /// That one and a client written by others; plain and digest connections only, one read at a time
    SecondClient,
}

/// What happens to nodes that differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Conflict {
    /// Nothing is restored
    Fail,
    /// They stay as they are
    Skip,
    /// They become as in the snapshot
    Overwrite,
    /// They become as in the snapshot where that was written later
    Newer,
}

impl From<Conflict> for Policy {
    fn from(given: Conflict) -> Self {
        match given {
            Conflict::Fail => Self::Fail,
            Conflict::Skip => Self::Skip,
            Conflict::Overwrite => Self::Overwrite,
            Conflict::Newer => Self::Newer,
        }
    }
}

/// A flag's name and whether it was given.
type Given = (&'static str, fn(&Args) -> bool);

const LIVE_ONLY: &[Given] = &[
    ("--conflict", |args| args.conflict != Conflict::Fail),
    ("--delete", |args| args.delete),
    ("--remap", |args| !args.remap.is_empty()),
    ("--data-only", |args| args.data_only),
    ("--preserve-versions", |args| !args.preserve_versions.is_empty()),
    ("--resume", |args| args.resume),
    ("--no-verify", |args| args.no_verify),
    ("--verify-with", |args| args.verify_with != Reader::Own),
];
const DATADIR_ONLY: &[Given] = &[
    ("--force", |args| args.force),
    ("--bump-epoch", |args| args.bump_epoch != BumpEpoch::Auto),
    ("--seen-zxid", |args| args.seen_zxid.is_some()),
    ("--keep-ephemerals", |args| args.keep_ephemerals),
    ("--extended-types", |args| args.extended_types.is_some()),
];
const ADMIN_ONLY: &[Given] = &[("--experimental-admin-restore", |args| args.experimental_admin_restore)];

impl Args {
    /// A flag without meaning for the target is a misunderstanding.
    fn refuse(&self, target: &str, flags: &[Given]) -> anyhow::Result<()> {
        match flags.iter().find(|(_, given)| given(self)) {
            Some((flag, _)) => Err(usage(format!("{flag} means nothing for a restore into {target}"))),
            None => Ok(()),
        }
    }
}

fn remap(given: &str) -> Result<Remap, String> {
    let wrong = || "write two paths as /from=/to".to_owned();
    let (from, to) = given.split_once('=').ok_or_else(wrong)?;
    let path = |text: &str| zk_format::path::parse(text).map_err(|error| format!("{text:?} is no path: {error}"));
    Ok(Remap { from: path(from)?, to: path(to)? })
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
    let target = selection::source(&args.target)?;
    let filter = Filter::new(&args.include, &args.exclude).map_err(|error| usage(error.to_string()))?;
    if let Some(number) = args.once {
        return once::run(args, number, target, context);
    }
    let repo = opening::repository(context)?;
    context.catch_interrupts()?;
    let (snapshot, path) = selection::resolve(&repo, &args.snapshot, &args.scope.scope(context), context)?;
    if !path.is_empty() && repo.tree(&snapshot.manifest)?.node(&path)?.is_none() {
        return Err(selection::missing(&snapshot, &path));
    }
    match target {
        Endpoint::DataDir(target) => {
            args.refuse("a data directory", LIVE_ONLY)?;
            args.refuse("a data directory", ADMIN_ONLY)?;
            datadir::run(args, &repo, (snapshot, path), target, filter, context)
        }
        Endpoint::Live(target) => {
            args.refuse("a live ensemble", DATADIR_ONLY)?;
            args.refuse("a live ensemble", ADMIN_ONLY)?;
            live::run(args, &repo, (snapshot, path), target, filter, context)
        }
        Endpoint::Admin(target) => {
            args.refuse("AdminServers", LIVE_ONLY)?;
            args.refuse("AdminServers", DATADIR_ONLY)?;
            admin::run(args, &repo, (snapshot, path), target, &filter, context)
        }
    }
}
