//! restic's rules, in UTC. What each does is in `docs/operations/retention.md`; that they decide as restic does is
//! tested against restic itself.

use jiff::civil::DateTime;
use jiff::{Timestamp, tz::TimeZone};

use super::Span;

/// How many of what to keep.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The newest so many.
    pub last: u32,
    /// The newest of each of the last so many hours that have one.
    pub hourly: u32,
    /// The same of days.
    pub daily: u32,
    /// The same of ISO weeks.
    pub weekly: u32,
    /// The same of months.
    pub monthly: u32,
    /// The same of years.
    pub yearly: u32,
    /// Everything so long before the newest.
    pub within: Span,
    /// One an hour so long before the newest.
    pub within_hourly: Span,
    /// One a day.
    pub within_daily: Span,
    /// One an ISO week.
    pub within_weekly: Span,
    /// One a month.
    pub within_monthly: Span,
    /// One a year.
    pub within_yearly: Span,
    /// Everything that has all tags of one of these lists.
    pub tags: Vec<Vec<String>>,
}

impl Policy {
    /// Whether it names nothing to keep.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What a period of time is: two snapshots of one period have the same number.
type Period = fn(DateTime, usize) -> i64;

fn single(_: DateTime, place: usize) -> i64 {
    i64::try_from(place).unwrap_or(i64::MAX)
}

fn year(time: DateTime, _: usize) -> i64 {
    time.year().into()
}

fn month(time: DateTime, place: usize) -> i64 {
    year(time, place) * 100 + i64::from(time.month())
}

fn week(time: DateTime, _: usize) -> i64 {
    let week = time.date().iso_week_date();
    i64::from(week.year()) * 100 + i64::from(week.week())
}

fn day(time: DateTime, place: usize) -> i64 {
    month(time, place) * 100 + i64::from(time.day())
}

fn hour(time: DateTime, place: usize) -> i64 {
    day(time, place) * 100 + i64::from(time.hour())
}

/// One rule on its way through the snapshots, newest first.
struct Rule {
    name: &'static str,
    period: Period,
    limit: Limit,
    /// The period kept last.
    seen: Option<i64>,
}

enum Limit {
    /// So many more.
    Count(u32),
    /// Those after a moment, which is so long before the newest.
    After(Timestamp, Span),
}

impl Rule {
    /// The reason to keep, if there is one.
    fn judge(&mut self, time: Timestamp, local: DateTime, place: usize, is_oldest: bool) -> Option<String> {
        let in_force = match self.limit {
            Limit::Count(left) => left > 0,
            Limit::After(moment, _) => time > moment,
        };
        let period = (self.period)(local, place);
        let is_new = self.seen != Some(period);
        // A rule with room takes the oldest as well: the history kept is as long as it can be.
        if !in_force || !(is_new || is_oldest) {
            return None;
        }
        self.seen = Some(period);
        let oldest = if is_new { "" } else { "oldest " };
        Some(match &mut self.limit {
            Limit::Count(left) => {
                *left -= 1;
                format!("{oldest}{} snapshot", self.name)
            }
            Limit::After(_, span) => format!("{oldest}{} within {span}", self.name),
        })
    }
}

/// For each snapshot the reasons to keep it; none where it may go. Times with their tags come newest first.
///
/// `newest` is what spans are counted back from.
pub fn keep(snapshots: &[(Timestamp, &[String])], policy: &Policy, newest: Timestamp) -> Vec<Vec<String>> {
    let counts = [
        ("last", single as Period, policy.last),
        ("hourly", hour, policy.hourly),
        ("daily", day, policy.daily),
        ("weekly", week, policy.weekly),
        ("monthly", month, policy.monthly),
        ("yearly", year, policy.yearly),
    ];
    let spans = [
        ("hourly", hour as Period, policy.within_hourly),
        ("daily", day, policy.within_daily),
        ("weekly", week, policy.within_weekly),
        ("monthly", month, policy.within_monthly),
        ("yearly", year, policy.within_yearly),
    ];
    let counted =
        counts.into_iter().map(|(name, period, count)| Rule { name, period, limit: Limit::Count(count), seen: None });
    let spanned = spans.into_iter().filter(|(.., span)| !span.is_zero()).map(|(name, period, span)| Rule {
        name,
        period,
        limit: Limit::After(span.before(newest), span),
        seen: None,
    });
    let mut rules: Vec<Rule> = counted.chain(spanned).collect();
    let within = (!policy.within.is_zero()).then(|| policy.within.before(newest));
    let mut all = Vec::with_capacity(snapshots.len());
    for (place, (time, tags)) in snapshots.iter().enumerate() {
        let local = time.to_zoned(TimeZone::UTC).datetime();
        let is_oldest = place + 1 == snapshots.len();
        let mut reasons = Vec::new();
        for list in policy.tags.iter().filter(|list| list.iter().all(|tag| tags.contains(tag))) {
            reasons.push(format!("has tags [{}]", list.join(", ")));
        }
        if within.is_some_and(|moment| *time > moment) {
            reasons.push(format!("within {}", policy.within));
        }
        reasons.extend(rules.iter_mut().filter_map(|rule| rule.judge(*time, local, place, is_oldest)));
        all.push(reasons);
    }
    all
}

#[cfg(test)]
#[path = "rules/tests.rs"]
mod tests;
