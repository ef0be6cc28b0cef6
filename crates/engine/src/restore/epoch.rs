//! The zxid a restored file is named for.
//!
//! Clients that saw a newer zxid than the restored tree's are refused for ever, and a configuration whose
//! version is above it makes later reconfigurations stale. A file named for a higher epoch loads with the
//! tree unchanged, so the restored ensemble starts above everything that anybody can have seen.

use serde::Serialize;
use zk_format::Zxid;

/// Added to the highest epoch known: elections that nobody told us of use up a few.
pub const EPOCH_MARGIN: u32 = 1000;

/// What `--bump-epoch` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BumpEpoch {
    /// [`EPOCH_MARGIN`] above everything known.
    Auto,
    /// This epoch.
    To(u32),
    /// The snapshot's own zxid.
    Off,
}

/// Everything that tells which epochs clients and members can have seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct EpochInputs {
    /// Of the snapshot restored.
    pub snapshot: u32,
    /// Highest of all snapshots of the cluster.
    pub cluster: u32,
    /// Highest of file names and epoch files in the directories replaced.
    pub directories: u32,
    /// Of the dynamic configuration's version.
    pub configuration: u32,
    /// Of `--seen-zxid`.
    pub seen: u32,
}

impl EpochInputs {
    /// The highest of them.
    pub fn highest(&self) -> u32 {
        self.snapshot.max(self.cluster).max(self.directories).max(self.configuration).max(self.seen)
    }
}

/// Why no zxid could be chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EpochError {
    /// The server keeps the epoch in a signed 32-bit number.
    #[error(
        "the highest epoch seen is {highest}, so close to the largest a server can hold (2147483647) that nothing \
         can be restored above it; name an epoch with --bump-epoch N"
    )]
    TooHigh {
        /// The highest of the inputs.
        highest: u32,
    },
    /// The epoch asked for is not above what is known.
    #[error("epoch {asked} is not above {highest}, the highest one seen: clients and members would refuse it")]
    TooLow {
        /// As asked.
        asked: u32,
        /// The highest of the inputs.
        highest: u32,
    },
    /// The epoch that others agreed upon is not above what is known here.
    #[error(
        "the other members' file is named for epoch {agreed}, and {highest} was seen here: members and clients would \
         refuse it; restore all members again with a higher number"
    )]
    Overtaken {
        /// As agreed upon.
        agreed: u32,
        /// The highest seen here.
        highest: u32,
    },
}

/// The zxid for the restored file's name.
pub fn file_zxid(bump: BumpEpoch, inputs: &EpochInputs, snapshot: Zxid) -> Result<Zxid, EpochError> {
    let highest = inputs.highest();
    let epoch = match bump {
        BumpEpoch::Off => return Ok(snapshot),
        BumpEpoch::To(asked) if asked <= highest => return Err(EpochError::TooLow { asked, highest }),
        BumpEpoch::To(asked) => asked,
        BumpEpoch::Auto => highest.checked_add(EPOCH_MARGIN).ok_or(EpochError::TooHigh { highest })?,
    };
    if epoch > i32::MAX.unsigned_abs() - EPOCH_MARGIN {
        return Err(EpochError::TooHigh { highest: highest.max(epoch) });
    }
    Ok(Zxid::new(epoch, 0))
}

/// The zxid that others named their file for, where it will do here too. What was backed up meanwhile counts for nothing, it
/// may be of the restored ensemble; nor does the restored file itself.
pub fn agreed_zxid(agreed: Zxid, bump: BumpEpoch, inputs: &EpochInputs) -> Result<Zxid, EpochError> {
    let clients = inputs.seen.max(inputs.configuration);
    let epoch = agreed.epoch();
    if bump != BumpEpoch::Off && (epoch <= clients || epoch < inputs.directories) {
        return Err(EpochError::Overtaken { agreed: epoch, highest: clients.max(inputs.directories) });
    }
    Ok(agreed)
}

/// The epoch of the version in the data of `/zookeeper/config` or of a dynamic configuration file.
pub fn configuration_epoch(data: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(data).ok()?;
    let version = text.lines().find_map(|line| line.trim().strip_prefix("version="))?;
    let zxid = u64::from_str_radix(version.trim(), 16).ok()?;
    u32::try_from(zxid >> 32).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_goes_above_everything_known() {
        let inputs = EpochInputs { snapshot: 3, cluster: 9, directories: 4, configuration: 2, seen: 1 };
        assert_eq!(file_zxid(BumpEpoch::Auto, &inputs, Zxid::new(3, 7)), Ok(Zxid::new(1009, 0)));
        assert_eq!(file_zxid(BumpEpoch::Off, &inputs, Zxid::new(3, 7)), Ok(Zxid::new(3, 7)));
        assert_eq!(file_zxid(BumpEpoch::To(10), &inputs, Zxid(0)), Ok(Zxid::new(10, 0)));
        assert!(matches!(file_zxid(BumpEpoch::To(9), &inputs, Zxid(0)), Err(EpochError::TooLow { highest: 9, .. })));
    }

    #[test]
    fn what_others_agreed_upon_holds_unless_more_was_seen_here() {
        let inputs = EpochInputs { snapshot: 3, cluster: 2000, directories: 1003, configuration: 2, seen: 1 };
        let agreed = Zxid::new(1003, 0);
        assert_eq!(agreed_zxid(agreed, BumpEpoch::Auto, &inputs), Ok(agreed));
        for seen_here in [
            EpochInputs { directories: 1004, ..inputs },
            EpochInputs { configuration: 1003, ..inputs },
            EpochInputs { seen: 1003, ..inputs },
        ] {
            assert!(matches!(agreed_zxid(agreed, BumpEpoch::Auto, &seen_here), Err(EpochError::Overtaken { .. })));
            assert_eq!(agreed_zxid(agreed, BumpEpoch::Off, &seen_here), Ok(agreed));
        }
    }

    #[test]
    fn an_epoch_no_server_can_hold_is_refused() {
        for seen in [u32::MAX, i32::MAX.unsigned_abs()] {
            let inputs = EpochInputs { seen, ..EpochInputs::default() };
            assert!(file_zxid(BumpEpoch::Auto, &inputs, Zxid(0)).is_err());
        }
    }

    #[test]
    fn the_version_of_a_configuration_is_hex() {
        let data = b"server.1=h1:2888:3888:participant;2181\nversion=500000003";
        assert_eq!(configuration_epoch(data), Some(5));
        assert_eq!(configuration_epoch(b"server.1=x"), None);
        assert_eq!(configuration_epoch(b"version=zz"), None);
    }
}
