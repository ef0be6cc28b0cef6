//! `repair`: mends what can be mended, and says what cannot.

use engine::reference::SnapshotPath;
use engine::repair::{self, IndexReport, MendedSnapshot, SnapshotsReport, SnapshotsRequest, UnreadableObject};

use crate::commands::selection::{self, ScopeArgs};
use crate::context::Context;
use crate::exit::Exit;
use crate::{opening, output};

/// Mends a damaged repository.
///
/// Run `zooark check` first: it says which of the two is needed, and whether. Make a copy of the store before, if that is
/// possible: a pack that comes back from elsewhere is better than any repair.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:
  zooark repair index
  zooark repair snapshots --read-data")]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    Index(IndexArgs),
    Snapshots(SnapshotsArgs),
}

/// Find out anew where everything is
///
/// Reads the footer of every pack and looks for every blob of every snapshot. What lies elsewhere than it should is found
/// from now on; indexes, catalogs and condemned lists that cannot be read are made anew. No snapshot and no pack is changed.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:
  zooark repair index --dry-run
  zooark repair index")]
struct IndexArgs {
    /// Change nothing and show what would be done
    #[arg(long)]
    dry_run: bool,
}

/// Save what is left of damaged snapshots
///
/// Beside each damaged snapshot another is written that holds everything that can be read, marked incomplete, with the
/// paths that are lost. The damaged one stays until --forget says that it may go.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:
  zooark repair snapshots --dry-run
  zooark repair snapshots
  zooark repair snapshots --read-data
  zooark repair snapshots --forget")]
struct SnapshotsArgs {
    /// Only these; all where none is given
    #[arg(value_parser = selection::snapshot_path, value_name = "SNAPSHOT")]
    snapshots: Vec<SnapshotPath>,

    /// Change nothing and show what would be done
    #[arg(long)]
    dry_run: bool,

    /// Read every chunk and value: finds what `zooark check --read-data` finds
    #[arg(long)]
    read_data: bool,

    /// Forget damaged snapshots once what is left of them is written, and delete manifests and notes that nothing can read
    #[arg(long)]
    forget: bool,

    #[command(flatten)]
    scope: ScopeArgs,
}

/// Runs it.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    match &args.what {
        What::Index(args) => index(args, context),
        What::Snapshots(args) => snapshots(args, context),
    }
}

fn index(args: &IndexArgs, context: &Context) -> anyhow::Result<Exit> {
    let repo = opening::repository(context)?;
    context.catch_interrupts()?;
    let report = repair::index(&repo, args.dry_run, &context.monitor)?;
    context.monitor.clear();
    if context.output.json {
        context.output.document(&report)?;
    } else {
        say_index(&report, context)?;
    }
    Ok(exit(report.damage_is_left(), report.refused))
}

fn exit(damage: bool, refused: u64) -> Exit {
    match (damage, refused) {
        (true, _) => Exit::Damage,
        (false, 1..) => Exit::Incomplete,
        (false, 0) => Exit::Done,
    }
}

fn list(context: &Context, what: &str, objects: &[UnreadableObject]) -> anyhow::Result<()> {
    for UnreadableObject { object, problem } in objects {
        context.output.line(format_args!("{what}: {object}: {}", output::plain(problem)))?;
    }
    Ok(())
}

fn say_index(report: &IndexReport, context: &Context) -> anyhow::Result<()> {
    let out = &context.output;
    let (was, would) = if report.dry_run { ("would be made anew", "would be ") } else { ("made anew", "") };
    out.line(format_args!("{} packs read", output::count(report.packs)))?;
    list(context, "cannot be read", &report.unreadable_packs)?;
    for found in &report.found_elsewhere {
        let blobs = output::count(found.blobs);
        out.line(format_args!("pack {}: {blobs} blobs {would}found in other packs from now on", found.pack))?;
    }
    list(context, was, &report.replaced)?;
    list(context, "LOST", &report.unreadable_manifests)?;
    if report.lost_blobs > 0 {
        let ids: Vec<&str> = report.damaged_snapshots.iter().map(|id| short(id)).collect();
        out.line(format_args!(
            "LOST: {} blobs are in no pack; snapshots {} need them",
            output::count(report.lost_blobs),
            ids.join(", ")
        ))?;
    }
    if report.damage_is_left() {
        out.line("`zooark repair snapshots` saves what is left")?;
    } else if report.replaced.is_empty() && report.found_elsewhere.is_empty() {
        out.line("nothing to mend: every blob is where it should be")?;
    }
    say_refusal(report.refused, report.refusal.as_deref(), context)
}

fn say_refusal(refused: u64, refusal: Option<&str>, context: &Context) -> anyhow::Result<()> {
    if refused > 0 {
        let refusal = output::plain(refusal.unwrap_or_default());
        context
            .output
            .line(format_args!("PENDING: the store refuses to delete {} objects: {refusal}", output::count(refused)))?;
    }
    Ok(())
}

fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

fn snapshots(args: &SnapshotsArgs, context: &Context) -> anyhow::Result<Exit> {
    let repo = opening::repository(context)?;
    let scope = args.scope.scope(context);
    let mut only = Vec::new();
    for given in &args.snapshots {
        only.push(selection::resolve(&repo, given, &scope, context)?.0);
    }
    let is_narrowed = args.scope.cluster.is_some() || !args.scope.tag.is_empty();
    if args.snapshots.is_empty() && is_narrowed {
        only = engine::snapshots::listing(&repo, &scope, &context.monitor)?.snapshots;
    }
    let only = (is_narrowed || !args.snapshots.is_empty()).then_some(only.as_slice());
    context.catch_interrupts()?;
    let request = SnapshotsRequest { dry_run: args.dry_run, read_data: args.read_data, forget: args.forget };
    let report = repair::snapshots(&repo, only, request, &context.monitor)?;
    context.monitor.clear();
    if context.output.json {
        context.output.document(&report)?;
    } else {
        say_snapshots(&report, context)?;
    }
    Ok(exit(report.damage_is_left(), report.refused))
}

fn say_snapshots(report: &SnapshotsReport, context: &Context) -> anyhow::Result<()> {
    let out = &context.output;
    out.line(format_args!("{} snapshots looked through", output::count(report.snapshots)))?;
    for path in &report.rewritten {
        let would = if report.dry_run { "would be " } else { "" };
        out.line(format_args!("{path} {would}written again as it was, from the local cache"))?;
    }
    for mended in &report.mended {
        say_mended(mended, report, context)?;
    }
    list(context, "LOST", &report.unreadable_manifests)?;
    list(context, "cannot be read", &report.unreadable_notes)?;
    if !report.avoided_packs.is_empty() && !report.mended.is_empty() {
        out.line(format_args!("no new snapshot names packs {}", report.avoided_packs.join(", ")))?;
    }
    if report.deleted > 0 {
        out.line(format_args!("{} damaged objects deleted", output::count(report.deleted)))?;
    } else if report.damage_is_left() && !report.dry_run && report.refused == 0 {
        out.line("what is damaged is still there; `zooark repair snapshots --forget` deletes it")?;
    }
    let found_nothing = report.mended.is_empty() && report.unreadable_manifests.is_empty();
    if found_nothing && report.unreadable_notes.is_empty() && report.rewritten.is_empty() {
        out.line("nothing to mend: every snapshot is whole")?;
    }
    say_refusal(report.refused, report.refusal.as_deref(), context)
}

fn say_mended(mended: &MendedSnapshot, report: &SnapshotsReport, context: &Context) -> anyhow::Result<()> {
    let out = &context.output;
    let (nodes, before) = (output::count(mended.nodes), output::count(mended.nodes_before));
    let result = match &mended.repaired_id {
        _ if report.dry_run && mended.repaired_id.is_none() => format!("about {nodes} of {before} znodes can be saved"),
        Some(id) if mended.earlier => format!("what is left of it was saved before, as {}", short(id)),
        Some(id) => format!("{nodes} of {before} znodes saved as {}", short(id)),
        None => "nothing of it can be read".to_owned(),
    };
    out.line(format_args!("DAMAGED {}: {result}", short(&mended.damaged_id)))?;
    for loss in &mended.losses {
        out.line(format_args!("  lost {}: {}", output::plain(&loss.path), output::plain(&loss.lost)))?;
    }
    Ok(())
}
