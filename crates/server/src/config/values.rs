//! Values that are text in the file and more than that here. Each says what is wrong with it where it stands, so that the error
//! has its line.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use engine::check::Subset;
use engine::retention::Span;
use jiff::tz::TimeZone;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

use crate::schedule::{self, Schedule};

/// Reads a string and parses it.
fn parsed<'de, D: Deserializer<'de>, T>(
    from: D,
    what: &'static str,
    parse: impl FnOnce(&str) -> Result<T, String>,
) -> Result<T, D::Error> {
    struct Text<F>(&'static str, F);
    impl<T, F: FnOnce(&str) -> Result<T, String>> Visitor<'_> for Text<F> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            (self.1)(text).map_err(E::custom)
        }
    }
    from.deserialize_str(Text(what, parse))
}

/// A duration: `30s`, `2h30m`, `7d`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lasting(pub Duration);

impl<'de> Deserialize<'de> for Lasting {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        parsed(from, "a duration such as \"30s\" or \"2h30m\"", |text| schedule::duration(text).map(Self))
    }
}

/// A span of calendar time, as retention counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpanText(pub Span);

impl<'de> Deserialize<'de> for SpanText {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        parsed(from, "a span such as \"14d\" or \"1y6m\"", |text| {
            text.parse().map(Self).map_err(|error: <Span as FromStr>::Err| error.to_string())
        })
    }
}

/// Which packs a check reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SubsetText(pub Subset);

impl<'de> Deserialize<'de> for SubsetText {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        parsed(from, "a part such as \"1/7\", \"5%\" or \"500M\"", |text| text.parse().map(Self))
    }
}

/// When something is run, without the zone it is in.
#[derive(Clone, Debug)]
pub struct Pattern(String);

impl Pattern {
    /// The schedule, in a zone.
    pub fn schedule(&self, zone: &Zone) -> Option<Schedule> {
        Schedule::parse(&self.0, &zone.0).ok()
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        parsed(from, "\"@every 10m\" or a cron pattern such as \"0 4 * * *\"", |text| {
            Schedule::parse(text, &TimeZone::UTC).map(|_| Self(text.to_owned()))
        })
    }
}

/// A time zone; UTC unless one is named.
#[derive(Clone, Debug)]
pub struct Zone(pub TimeZone);

impl Default for Zone {
    fn default() -> Self {
        Self(TimeZone::UTC)
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        parsed(from, "a time zone such as \"Europe/Berlin\"", |text| {
            let zone = if text == "local" { TimeZone::try_system() } else { TimeZone::get(text) };
            zone.map(Self)
                .map_err(|_| format!("{text:?} is no time zone that is known here: write one as Europe/Berlin"))
        })
    }
}

/// What becomes of a run whose time passed while nothing could run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnMissed {
    /// However many were missed, one is run.
    #[default]
    RunOnce,
    /// The next is waited for.
    Skip,
}

/// Which backups read everything again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Full {
    /// Only those that have to.
    #[default]
    Never,
    /// All.
    EveryTime,
    /// Every n-th.
    Every(u32),
}

impl Full {
    /// Whether the backup with this number, counted from 0, does.
    pub const fn is_due(self, number: u64) -> bool {
        match self {
            Self::Never => false,
            Self::EveryTime => true,
            Self::Every(n) => number.is_multiple_of(n as u64),
        }
    }
}

impl<'de> Deserialize<'de> for Full {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Word(String),
            Every { every: u32 },
        }
        match Written::deserialize(from) {
            Ok(Written::Word(word)) if word == "never" => Ok(Self::Never),
            Ok(Written::Word(word)) if word == "every-time" => Ok(Self::EveryTime),
            Ok(Written::Every { every }) if every > 0 => Ok(Self::Every(every)),
            _ => Err(D::Error::custom("write \"never\", \"every-time\" or { every = 7 }")),
        }
    }
}
