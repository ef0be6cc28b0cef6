//! Checking a repository, with findings and numbers as documented JSON has them.

use repository::SnapshotId;
use repository::check::{self, CheckOptions, CheckStats, Finding, ReadData, Severity};
use serde::Serialize;

use crate::error::EngineError;
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

/// The numbers of a check.
#[derive(Clone, Debug, Serialize)]
pub struct CheckSummary {
    /// Objects of all kinds.
    pub objects: u64,
    /// Snapshots.
    pub snapshots: u64,
    /// Packs.
    pub packs: u64,
    /// Their bytes.
    pub pack_bytes: u64,
    /// Packs that no snapshot needs.
    pub unused_packs: u64,
    /// Their bytes.
    pub unused_bytes: u64,
    /// Packs read in full.
    pub packs_read: u64,
    /// Blobs verified.
    pub blobs_read: u64,
    /// Snapshots added up.
    pub digests: u64,
    /// Findings of damage.
    pub damage: u64,
    /// Other findings.
    pub notices: u64,
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
    show: &mut dyn FnMut(FindingReport),
) -> Result<CheckSummary, EngineError> {
    let stats = check::check(repo.repository(), options, &mut |finding| show(report(finding)))?;
    Ok(summary(&stats))
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

const fn summary(stats: &CheckStats) -> CheckSummary {
    CheckSummary {
        objects: stats.objects,
        snapshots: stats.snapshots,
        packs: stats.packs,
        pack_bytes: stats.pack_bytes,
        unused_packs: stats.unused_packs,
        unused_bytes: stats.unused_bytes,
        packs_read: stats.packs_read,
        blobs_read: stats.blobs_read,
        digests: stats.digests,
        damage: stats.damage,
        notices: stats.notices,
    }
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
