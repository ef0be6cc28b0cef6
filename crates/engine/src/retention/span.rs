//! Spans of calendar time as restic writes them: `1y5m7d2h`, months and not minutes.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp, tz::TimeZone};

/// Years, months, days and hours. Zero is no span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Years.
    pub years: u32,
    /// Months.
    pub months: u32,
    /// Days.
    pub days: u32,
    /// Hours.
    pub hours: u32,
}

/// Most of one unit: more than any calendar here has.
const MOST: u32 = 100_000;

/// Text that is no span.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no span of time: write years, months, days and hours as in 1y5m7d2h")]
pub struct SpanError(String);

impl Span {
    /// Whether it spans nothing.
    pub fn is_zero(self) -> bool {
        self == Self::default()
    }

    /// The moment this long before another, in UTC. A day that its month does not have counts on into the next month, as
    /// restic's calendar does: a month before 31 March is 3 March.
    pub fn before(self, moment: Timestamp) -> Timestamp {
        let local = moment.to_zoned(TimeZone::UTC).datetime();
        let months = i64::from(local.year()) * 12 + i64::from(local.month()) - 1;
        let months = months - i64::from(self.years) * 12 - i64::from(self.months);
        let first = i16::try_from(months.div_euclid(12))
            .ok()
            .zip(i8::try_from(months.rem_euclid(12) + 1).ok())
            .and_then(|(year, month)| Date::new(year, month, 1).ok());
        let days = i64::from(local.day()) - 1 - i64::from(self.days);
        let days = jiff::Span::new().try_days(days).ok();
        let date = first.zip(days).and_then(|(first, days)| first.checked_add(days).ok());
        let moment = date
            .and_then(|date| date.to_datetime(local.time()).to_zoned(TimeZone::UTC).ok())
            .and_then(|day| day.timestamp().checked_sub(SignedDuration::from_hours(self.hours.into())).ok());
        moment.unwrap_or(Timestamp::MIN)
    }
}

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(given: &str) -> Result<Self, SpanError> {
        let wrong = || SpanError(given.to_owned());
        let mut span = Self::default();
        let mut rest = given;
        while !rest.is_empty() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            let (number, after) = rest.split_at(digits);
            let number: u32 = number.parse().map_err(|_| wrong())?;
            let mut unit = after.chars();
            let slot = match unit.next() {
                Some('y') => &mut span.years,
                Some('m') => &mut span.months,
                Some('d') => &mut span.days,
                Some('h') => &mut span.hours,
                _ => return Err(wrong()),
            };
            if number > MOST || *slot != 0 {
                return Err(wrong());
            }
            *slot = number;
            rest = unit.as_str();
        }
        if span.is_zero() { Err(wrong()) } else { Ok(span) }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, unit) in [(self.years, 'y'), (self.months, 'm'), (self.days, 'd'), (self.hours, 'h')] {
            if number > 0 {
                write!(f, "{number}{unit}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_and_written() {
        let span: Span = "1y5m7d2h".parse().unwrap();
        assert_eq!(span, Span { years: 1, months: 5, days: 7, hours: 2 });
        assert_eq!(span.to_string(), "1y5m7d2h");
        assert_eq!("2h".parse::<Span>().unwrap().to_string(), "2h");
        for wrong in ["", "5", "d", "1w", "1d2", "0d", "1d1d", "-1d", "99999999999d", "100001d", "1 d", "1é"] {
            assert!(wrong.parse::<Span>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn days_that_a_month_lacks_count_on() {
        let before = |span: &str, moment: &str| {
            let moment: Timestamp = moment.parse().unwrap();
            span.parse::<Span>().unwrap().before(moment).to_string()
        };
        assert_eq!(before("1m", "2026-03-31T10:00:00Z"), "2026-03-03T10:00:00Z");
        assert_eq!(before("1y", "2024-02-29T00:00:00Z"), "2023-03-01T00:00:00Z");
        assert_eq!(before("2h", "2026-01-01T01:00:00Z"), "2025-12-31T23:00:00Z");
        assert_eq!(before("1y1m1d1h", "2026-01-01T00:00:00Z"), "2024-11-29T23:00:00Z");
        assert_eq!("100000y".parse::<Span>().unwrap().before(Timestamp::UNIX_EPOCH), Timestamp::MIN);
    }
}
