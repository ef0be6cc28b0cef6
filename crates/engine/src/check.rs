//! Checking a repository, with findings and numbers as documented JSON has them.

use repository::check::{self, CheckOptions, CheckStats, Finding, ReadData, Severity, Stage};
use repository::{RepositoryError, SnapshotId};
use serde::Serialize;

use crate::error::{EngineError, ErrorKind};
use crate::monitor::{Cancelled, Monitor, Phase, Unit};
use crate::repo::{Repo, now};

/// Something that is not as it should be.
#[derive(Clone, Debug, Serialize)]
pub struct FindingReport {
    /// `damage` or `notice`.
    pub severity: &'static str,
    /// The object.
    pub object: String,
    /// What is wrong.
    pub problem: String,
    /// What that means.
    pub meaning: String,
    /// What mends it.
    pub remedy: String,
    /// Snapshots that it harms.
    pub snapshots: Vec<String>,
}

/// Which packs are read in full.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Subset {
    /// Part n of t.
    Part(u32, u32),
    /// A share, percent.
    Percent(f64),
    /// An amount, bytes.
    Bytes(u64),
}

impl std::str::FromStr for Subset {
    type Err = String;

    fn from_str(given: &str) -> Result<Self, String> {
        let wrong = || "write 1/7, 5% or 500M".to_owned();
        if let Some((part, of)) = given.split_once('/') {
            let (part, of): (u32, u32) = (part.parse().map_err(|_| wrong())?, of.parse().map_err(|_| wrong())?);
            return if (1..=of).contains(&part) { Ok(Self::Part(part, of)) } else { Err(wrong()) };
        }
        if let Some(percent) = given.strip_suffix('%') {
            let percent: f64 = percent.parse().map_err(|_| wrong())?;
            return if percent > 0.0 && percent <= 100.0 { Ok(Self::Percent(percent)) } else { Err(wrong()) };
        }
        given.parse::<bytesize::ByteSize>().map(|size| Self::Bytes(size.as_u64())).map_err(|_| wrong())
    }
}

impl Subset {
    /// Which packs a share or an amount means differs from day to day, so that in time all are read.
    pub fn today(self) -> ReadData {
        let seed = u64::try_from(now().as_second() / 86_400).unwrap_or(0);
        match self {
            Self::Part(part, of) => ReadData::Part { part, of },
            Self::Percent(percent) => ReadData::Percent { percent, seed },
            Self::Bytes(bytes) => ReadData::Bytes { bytes, seed },
        }
    }
}

/// Checks the repository; every finding is shown as it is found.
pub fn run(
    repo: &Repo,
    options: &CheckOptions,
    monitor: &dyn Monitor,
    show: &mut dyn FnMut(FindingReport),
) -> Result<CheckStats, EngineError> {
    let mut told = Told { monitor, stage: None, done: 0 };
    let checked = check::check_stepped(
        repo.repository(),
        options,
        &mut |finding| show(report(finding)),
        &mut |stage, done, total| told.step(stage, done, total),
    );
    told.end();
    match checked {
        Err(RepositoryError::Stopped) => Err(EngineError::with(
            ErrorKind::Interrupted,
            "the check was stopped: what it found until then is said, and nothing of the rest",
            Cancelled,
        )),
        checked => Ok(checked?),
    }
}

/// How far it is, as monitors are told.
struct Told<'m> {
    monitor: &'m dyn Monitor,
    stage: Option<Stage>,
    done: u64,
}

impl Told<'_> {
    const fn phase(stage: Stage) -> Phase {
        match stage {
            Stage::Footers => Phase::Searching,
            Stage::Packs => Phase::Reading,
            Stage::Snapshots => Phase::Verifying,
        }
    }

    fn step(&mut self, stage: Stage, done: u64, total: u64) -> Result<(), RepositoryError> {
        if self.stage != Some(stage) {
            self.end();
            (self.stage, self.done) = (Some(stage), 0);
            let unit = if stage == Stage::Snapshots { Unit::Snapshots } else { Unit::Packs };
            self.monitor.begin(Self::phase(stage), unit, Some(total));
        }
        self.monitor.advance(Self::phase(stage), done.saturating_sub(self.done));
        self.done = done;
        self.monitor.check().map_err(|Cancelled| RepositoryError::Stopped)
    }

    fn end(&mut self) {
        if let Some(stage) = self.stage.take() {
            self.monitor.end(Self::phase(stage));
        }
    }
}

fn report(finding: Finding) -> FindingReport {
    let severity = match finding.severity {
        Severity::Damage => "damage",
        Severity::Notice => "notice",
    };
    let Finding { object, problem, meaning, remedy, snapshots, .. } = finding;
    let snapshots = snapshots.iter().map(SnapshotId::to_string).collect();
    FindingReport { severity, object, problem, meaning, remedy, snapshots }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subsets_are_parts_shares_or_amounts() {
        assert_eq!("2/7".parse(), Ok(Subset::Part(2, 7)));
        assert_eq!("2.5%".parse(), Ok(Subset::Percent(2.5)));
        assert_eq!("1MiB".parse(), Ok(Subset::Bytes(1 << 20)));
        for wrong in ["0/7", "8/7", "0%", "101%", "x", "1/x"] {
            assert!(wrong.parse::<Subset>().is_err(), "{wrong}");
        }
    }
}
