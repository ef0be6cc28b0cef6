//! `forget`: removes snapshots, by policy or by id.

use clap::ValueEnum;
use engine::forget::{self, ForgetReport};
use engine::prune::{self, PruneRequest};
use engine::reference::SnapshotPath;
use engine::retention::{Decision, GroupBy, Policy, Request, Span};

use crate::commands::selection::{self, ScopeArgs};
use crate::context::Context;
use crate::exit::{Exit, usage};
use crate::{opening, output};

/// Removes snapshots: all but what a policy keeps, or those named.
///
/// The rules are restic's, in UTC: each keeps the newest snapshot of each of its periods, and what any rule keeps
/// stays. Never removed are protected snapshots, the last complete one of what is backed up, and anything of a cluster
/// with a suspect snapshot until somebody has decided about that. The space comes back with `zooark prune`.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:
  zooark forget --keep-hourly 48 --keep-daily 30 --keep-monthly 12 --dry-run
  zooark forget --cluster prod --keep-within 14d --keep-within-weekly 1y
  zooark forget 4f1c9a2b")]
pub struct Args {
    /// Snapshots to forget; without them the policy decides
    #[arg(value_parser = selection::snapshot_path, value_name = "SNAPSHOT")]
    snapshots: Vec<SnapshotPath>,

    #[command(flatten)]
    keep: KeepArgs,

    /// What makes snapshots one group, each with counts of its own; nothing after `=` makes all one group
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "cluster", hide_possible_values = false)]
    group_by: Vec<By>,

    /// Show what would go, and change nothing
    #[arg(long)]
    dry_run: bool,

    /// Prune afterwards: give back space that nothing needs any more
    #[arg(long)]
    prune: bool,

    /// With --prune: copy the needed rest of packs that are mostly garbage, up to this size of packs together; 0 for none
    #[arg(long, value_name = "SIZE", requires = "prune", value_parser = super::prune::size)]
    max_repack: Option<u64>,

    /// Also forget protected snapshots that are named, and the last complete one of what is backed up
    #[arg(long)]
    unsafe_allow_remove_all: bool,

    #[command(flatten)]
    scope: ScopeArgs,
}

/// restic's rules.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "What to keep")]
#[allow(clippy::struct_field_names, reason = "they are the names of the flags")]
struct KeepArgs {
    /// The newest N
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    keep_last: u32,

    /// The newest of each of the last N hours that have one
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    keep_hourly: u32,

    /// The same of days
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    keep_daily: u32,

    /// The same of weeks, which begin on Monday
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    keep_weekly: u32,

    /// The same of months
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    keep_monthly: u32,

    /// The same of years
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    keep_yearly: u32,

    /// Everything so long before the newest, as in 1y5m7d2h
    #[arg(long, value_name = "SPAN")]
    keep_within: Option<Span>,

    /// One an hour so long before the newest
    #[arg(long, value_name = "SPAN")]
    keep_within_hourly: Option<Span>,

    /// One a day
    #[arg(long, value_name = "SPAN")]
    keep_within_daily: Option<Span>,

    /// One a week
    #[arg(long, value_name = "SPAN")]
    keep_within_weekly: Option<Span>,

    /// One a month
    #[arg(long, value_name = "SPAN")]
    keep_within_monthly: Option<Span>,

    /// One a year
    #[arg(long, value_name = "SPAN")]
    keep_within_yearly: Option<Span>,

    /// Everything with all of these tags, separated by commas; may be given several times
    #[arg(long, value_name = "TAGS")]
    keep_tag: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum By {
    /// The cluster
    Cluster,
    /// All tags together
    Tags,
    /// The host
    Host,
}

impl KeepArgs {
    fn policy(&self) -> Policy {
        Policy {
            last: self.keep_last,
            hourly: self.keep_hourly,
            daily: self.keep_daily,
            weekly: self.keep_weekly,
            monthly: self.keep_monthly,
            yearly: self.keep_yearly,
            within: self.keep_within.unwrap_or_default(),
            within_hourly: self.keep_within_hourly.unwrap_or_default(),
            within_daily: self.keep_within_daily.unwrap_or_default(),
            within_weekly: self.keep_within_weekly.unwrap_or_default(),
            within_monthly: self.keep_within_monthly.unwrap_or_default(),
            within_yearly: self.keep_within_yearly.unwrap_or_default(),
            tags: self.keep_tag.iter().map(|list| list.split(',').map(ToOwned::to_owned).collect()).collect(),
        }
    }
}

/// Runs it.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    let policy = args.keep.policy();
    match (policy.is_empty(), args.snapshots.is_empty()) {
        (true, true) => return Err(usage("nothing to do: name snapshots, or say what to keep (--keep-daily 30, …)")),
        (false, false) => return Err(usage("name snapshots or say what to keep, not both: nothing was forgotten")),
        _ => {}
    }
    let repo = opening::repository(context)?;
    let scope = args.scope.scope(context);
    let mut report = if args.snapshots.is_empty() {
        let group_by = args.group_by.iter().map(|by| match by {
            By::Cluster => GroupBy::Cluster,
            By::Tags => GroupBy::Tags,
            By::Host => GroupBy::Host,
        });
        let may_remove_all = args.unsafe_allow_remove_all;
        let request = Request { policy, group_by: group_by.collect(), may_remove_all, ..Request::default() };
        forget::by_policy(&repo, &scope, request, args.dry_run, &context.monitor)?
    } else {
        let named = args.snapshots.iter().map(|given| Ok(selection::resolve(&repo, given, &scope, context)?.0));
        let named = named.collect::<anyhow::Result<Vec<_>>>()?;
        forget::by_id(&repo, &named, args.unsafe_allow_remove_all, args.dry_run, &context.monitor)?
    };
    if args.prune {
        context.catch_interrupts()?;
        let request = PruneRequest { dry_run: args.dry_run, grace: None, max_repack_bytes: args.max_repack };
        report.prune = Some(prune::prune(&repo, &request, &context.monitor)?);
        context.monitor.clear();
    }
    show(&report, context)?;
    let pending = report.prune.as_ref().is_some_and(|pruned| pruned.refused > 0);
    Ok(if !report.refused.is_empty() || pending {
        Exit::Incomplete
    } else if report.groups.iter().any(|group| group.held.is_some()) {
        Exit::Refused
    } else {
        Exit::Done
    })
}

fn show(report: &ForgetReport, context: &Context) -> anyhow::Result<()> {
    let out = &context.output;
    if out.json {
        out.document(report)?;
    }
    let would = if report.dry_run { "would forget" } else { "forgot" };
    for group in &report.groups {
        let name: Vec<String> =
            group.group.iter().map(|(by, value)| format!("{by} {}", output::plain(value))).collect();
        let name = if name.is_empty() { "all snapshots".to_owned() } else { name.join(", ") };
        if !out.json {
            let (keep, remove) = (group.keep.len(), group.remove.len());
            out.line(format_args!("{name}: {keep} kept, {would} {remove}"))?;
            let mut table = output::table(&["", "ID", "Time", "Why"], &[]);
            for (mark, decision) in
                group.keep.iter().map(|d| ("keep", d)).chain(group.remove.iter().map(|d| ("forget", d)))
            {
                table.add_row(row(mark, decision));
            }
            out.table(&table)?;
        }
        if let Some(held) = &group.held {
            out.warn(format_args!("{name}: nothing is forgotten: {}", output::plain(held)));
        }
    }
    if let Some(refusal) = &report.refusal {
        let count = report.refused.len();
        out.warn(format_args!("the store keeps {count} snapshots that were to go: {}", output::plain(refusal)));
    }
    if report.dry_run {
        out.say("dry run: nothing was changed");
    } else if report.forgotten > 0 && report.prune.is_none() {
        out.say(format_args!("{} snapshots forgotten; `zooark prune` gives the space back", report.forgotten));
    }
    if let Some(pruned) = report.prune.as_ref().filter(|_| !out.json) {
        super::prune::say(pruned, context)?;
    }
    Ok(())
}

fn row(mark: &str, decision: &Decision) -> [String; 4] {
    let id: String = decision.id.chars().take(8).collect();
    [mark.to_owned(), id, output::time(decision.time), output::plain(&decision.reasons.join(", "))]
}
