//! `protect` and `unprotect`: whether a snapshot may be forgotten.

use engine::annotate;
use engine::reference::SnapshotPath;
use engine::retention::Span;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use serde_json::json;

use crate::commands::selection::{self, ScopeArgs};
use crate::context::Context;
use crate::exit::Exit;
use crate::{opening, output};

/// Keeps snapshots from being forgotten until a moment.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Examples:
  zooark protect 4f1c9a2b --until 2027-01-31
  zooark protect latest --until 90d")]
pub struct Args {
    /// The snapshots
    #[arg(required = true, value_parser = selection::snapshot_path, value_name = "SNAPSHOT")]
    snapshots: Vec<SnapshotPath>,

    /// Until when: a day, a moment (2027-01-31T12:00Z), or a span from now (1y5m7d2h)
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    until: Timestamp,

    /// Show what would change
    #[arg(long)]
    dry_run: bool,
}

/// Lets snapshots be forgotten again.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "Example:
  zooark unprotect 4f1c9a2b")]
pub struct UnArgs {
    /// The snapshots
    #[arg(required = true, value_parser = selection::snapshot_path, value_name = "SNAPSHOT")]
    snapshots: Vec<SnapshotPath>,

    /// Show what would change
    #[arg(long)]
    dry_run: bool,
}

/// Runs `protect`.
pub fn run(args: &Args, context: &Context) -> anyhow::Result<Exit> {
    change(&args.snapshots, Some(args.until), args.dry_run, context)
}

/// Runs `unprotect`.
pub fn run_un(args: &UnArgs, context: &Context) -> anyhow::Result<Exit> {
    change(&args.snapshots, None, args.dry_run, context)
}

fn change(given: &[SnapshotPath], until: Option<Timestamp>, dry_run: bool, context: &Context) -> anyhow::Result<Exit> {
    let repo = opening::repository(context)?;
    let scope = ScopeArgs::default().scope(context);
    // All are found before any is changed.
    let found = given
        .iter()
        .map(|given| Ok(selection::resolve(&repo, given, &scope, context)?.0))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut all = Vec::new();
    for snapshot in &found {
        let before = annotate::protect(&repo, snapshot, until, dry_run)?;
        if !context.output.json {
            let show = |moment: Option<Timestamp>| moment.map_or_else(|| "not protected".to_owned(), output::time);
            context.output.line(format_args!("{}: {} -> {}", snapshot.id().short(), show(before), show(until)))?;
        }
        all.push(json!({ "snapshot_id": snapshot.id().to_string(), "before": before, "protected_until": until }));
    }
    if context.output.json {
        context.output.document(&all)?;
    }
    if dry_run {
        context.output.say("dry run: nothing was changed");
    }
    Ok(Exit::Done)
}

/// A moment to come.
fn moment(given: &str) -> Result<Timestamp, String> {
    let now = Timestamp::now();
    let day = || given.parse::<jiff::civil::Date>().ok()?.to_zoned(TimeZone::UTC).ok().map(|day| day.timestamp());
    let found = match given.parse::<Span>() {
        Ok(span) => after(now, span),
        Err(_) => given.parse().ok().or_else(day),
    };
    let found = found.ok_or("write a day (2027-01-31), a moment (2027-01-31T12:00Z) or a span from now (90d)")?;
    if found <= now { Err("that moment has passed".to_owned()) } else { Ok(found) }
}

fn after(now: Timestamp, span: Span) -> Option<Timestamp> {
    let days = jiff::Span::new().try_days(span.days).ok()?.try_months(span.months).ok()?.try_years(span.years).ok()?;
    let later = now.to_zoned(TimeZone::UTC).checked_add(days).ok()?.timestamp();
    later.checked_add(SignedDuration::from_hours(span.hours.into())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_days_times_or_spans() {
        let now = Timestamp::now();
        let hours = |given: &str| moment(given).unwrap().duration_since(now).as_hours();
        assert!((89 * 24..=90 * 24).contains(&hours("90d")) && (1..=2).contains(&hours("2h")));
        assert_eq!(moment("2999-01-31").unwrap().to_string(), "2999-01-31T00:00:00Z");
        assert_eq!(moment("2999-01-31T12:00Z").unwrap().to_string(), "2999-01-31T12:00:00Z");
        for wrong in ["", "2020-01-01", "soon", "2999-13-01", "100000y"] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }
}
