//! When something is due, as a pure function of a moment.

use std::fmt;
use std::time::Duration;

use croner::Cron;
use croner::parser::CronParser;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

/// Shorter periods would only wait for themselves.
const SHORTEST: Duration = Duration::from_secs(1);

/// When something is due, again and again.
#[derive(Clone)]
pub enum Schedule {
    /// So long after one another, counted from a moment where there is one.
    Every {
        /// From one to the next.
        period: SignedDuration,
        /// The first.
        from: Option<Timestamp>,
    },
    /// By the calendar of a zone.
    Cron {
        /// Which minutes.
        pattern: Box<Cron>,
        /// Whose calendar.
        zone: TimeZone,
        /// Not before.
        from: Option<Timestamp>,
    },
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every { period, .. } => write!(f, "@every {period:#}"),
            Self::Cron { pattern, .. } => f.write_str(pattern.as_str()),
        }
    }
}

impl Schedule {
    /// Reads `@every 2h30m`, or a cron pattern of five fields, or of six with seconds first.
    pub fn parse(text: &str, zone: &TimeZone) -> Result<Self, String> {
        if let Some(period) = text.trim().strip_prefix("@every") {
            return Self::every(duration(period)?).ok_or_else(|| "the shortest period is 1s".to_owned());
        }
        let pattern = CronParser::new()
            .parse(text)
            .map_err(|error| format!("{text:?} is neither \"@every 10m\" nor a cron pattern: {error}"))?;
        let schedule = Self::Cron { pattern: Box::new(pattern), zone: zone.clone(), from: None };
        if schedule.next_after(Timestamp::UNIX_EPOCH).is_none() {
            return Err(format!("{text:?} names a day that never comes"));
        }
        Ok(schedule)
    }

    /// One period after another; `None` where it is shorter than a second.
    pub fn every(period: Duration) -> Option<Self> {
        let period = SignedDuration::try_from(period).ok().filter(|_| period >= SHORTEST)?;
        Some(Self::Every { period, from: None })
    }

    /// The same, and nothing before this moment.
    #[must_use]
    pub fn starting(mut self, at: Option<Timestamp>) -> Self {
        match &mut self {
            Self::Every { from, .. } | Self::Cron { from, .. } => *from = at,
        }
        self
    }

    /// This moment, or the first one where that is later.
    pub fn not_before(&self, moment: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Every { from, .. } => Some(from.map_or(moment, |from| from.max(moment))),
            Self::Cron { from: Some(from), .. } if *from > moment => self.next_after(moment),
            Self::Cron { .. } => Some(moment),
        }
    }

    /// The first moment after this one; `None` at the end of the calendar.
    pub fn next_after(&self, after: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Every { period, from: Some(from) } if after >= *from => {
                let periods = after.duration_since(*from).as_nanos() / period.as_nanos() + 1;
                from.checked_add(period.checked_mul(i32::try_from(periods).ok()?)?).ok()
            }
            Self::Every { from: Some(from), .. } => Some(*from),
            Self::Every { period, from: None } => after.checked_add(*period).ok(),
            Self::Cron { pattern, zone, from } => {
                // A moment that is exactly the first one counts.
                let just_before = from.and_then(|from| from.checked_sub(SignedDuration::from_nanos(1)).ok());
                let after = just_before.map_or(after, |from| from.max(after));
                let next = pattern.find_next_occurrence(&after.to_zoned(zone.clone()), false).ok()?;
                Some(next.timestamp())
            }
        }
    }
}

/// A duration as people write it: `30s`, `2h30m`, `7d`.
pub fn duration(given: &str) -> Result<Duration, String> {
    let wrong = || format!("{given:?} is no duration: write one as 30s, 2h30m or 7d");
    let span: jiff::Span = given.trim().parse().map_err(|_| wrong())?;
    let length = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    Duration::try_from(length).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// The next moments after one, as text.
    fn next(pattern: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let schedule = Schedule::parse(pattern, &TimeZone::get(zone).unwrap()).unwrap();
        let mut now = at(after);
        let mut found = Vec::new();
        for _ in 0..count {
            now = schedule.next_after(now).unwrap();
            found.push(now.to_string());
        }
        found
    }

    #[test]
    fn a_pattern_means_the_calendar_of_its_zone() {
        assert_eq!(
            next("*/10 * * * *", "UTC", "2026-11-21T10:05:30Z", 3),
            ["2026-11-21T10:10:00Z", "2026-11-21T10:20:00Z", "2026-11-21T10:30:00Z"]
        );
        assert_eq!(next("0 4 * * *", "Asia/Tokyo", "2026-11-21T00:00:00Z", 1), ["2026-11-21T19:00:00Z"]);
        assert_eq!(next("0 5 * * 0", "UTC", "2026-11-21T00:00:00Z", 1), ["2026-11-22T05:00:00Z"]);
    }

    /// At 2 o'clock of 29 March 2026 clocks in Berlin go to 3, at 3 o'clock of 25 October back to 2.
    #[test]
    fn the_hour_that_is_not_there_and_the_one_that_is_there_twice() {
        // Daily at 02:30: on the day without that time it is run right after the gap, on the day with two of them once.
        let spring = next("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 2);
        assert_eq!(spring[1], "2026-03-30T00:30:00Z", "{spring:?}");
        assert!(
            spring[0].as_str() >= "2026-03-29T01:00:00Z" && spring[0].as_str() <= "2026-03-29T01:30:00Z",
            "{spring:?}"
        );
        let autumn = next("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 2);
        assert_eq!(autumn, ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
        // Every ten minutes: neither more nor fewer than time that passes.
        for (after, end) in
            [("2026-03-29T00:00:00Z", "2026-03-29T04:00:00Z"), ("2026-10-24T23:00:00Z", "2026-10-25T03:00:00Z")]
        {
            assert_eq!(next("*/10 * * * *", "Europe/Berlin", after, 24).last().unwrap(), end);
        }
    }

    #[test]
    fn periods_are_counted_from_the_start() {
        let start = at("2026-12-01T02:00:00Z");
        let schedule = Schedule::parse("@every 2h30m", &TimeZone::UTC).unwrap().starting(Some(start));
        assert_eq!(schedule.next_after(at("2026-11-21T00:00:00Z")), Some(start));
        assert_eq!(schedule.next_after(start), Some(at("2026-12-01T04:30:00Z")));
        assert_eq!(schedule.next_after(at("2026-12-01T12:01:00Z")), Some(at("2026-12-01T14:30:00Z")));
        let cron = Schedule::parse("0 2 * * *", &TimeZone::UTC).unwrap().starting(Some(start));
        assert_eq!(cron.next_after(at("2026-11-21T00:00:00Z")), Some(start));
    }

    #[test]
    fn what_is_no_schedule_says_so() {
        for wrong in
            ["", "@every", "@every 0s", "@every -1h", "@every 10ms", "* * *", "61 * * * *", "0 0 30 2 *", "soon"]
        {
            assert!(Schedule::parse(wrong, &TimeZone::UTC).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_are_as_people_write_them() {
        assert_eq!(duration("2h30m"), Ok(Duration::from_mins(150)));
        assert_eq!(duration("7d"), Ok(Duration::from_hours(168)));
        for wrong in ["", "-1h", "soon", "7"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
