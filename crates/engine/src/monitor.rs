//! How the engine tells what it is doing: the caller decides whether that is a bar, a line or nothing.

use std::sync::atomic::{AtomicBool, Ordering};

/// A step of a long operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Reading the source's files or nodes.
    Reading,
    /// Replaying transactions.
    Replaying,
    /// Comparing with the parent snapshot.
    Comparing,
    /// Encoding, compressing and sealing.
    Encoding,
    /// Writing to the repository.
    Uploading,
    /// Reading from the repository.
    Fetching,
    /// Writing what is restored.
    Writing,
    /// Reading back and comparing.
    Verifying,
    /// Looking through snapshots.
    Searching,
}

impl Phase {
    /// The word shown to people and in `--json`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reading => "reading",
            Self::Replaying => "replaying",
            Self::Comparing => "comparing",
            Self::Encoding => "encoding",
            Self::Uploading => "uploading",
            Self::Fetching => "fetching",
            Self::Writing => "writing",
            Self::Verifying => "verifying",
            Self::Searching => "searching",
        }
    }
}

/// What a phase counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Znodes.
    Nodes,
    /// Bytes.
    Bytes,
    /// Transactions.
    Transactions,
    /// Snapshots.
    Snapshots,
    /// Packs of the repository.
    Packs,
}

impl Unit {
    /// The word shown to people and in `--json`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nodes => "nodes",
            Self::Bytes => "bytes",
            Self::Transactions => "transactions",
            Self::Snapshots => "snapshots",
            Self::Packs => "packs",
        }
    }
}

/// Told what happens; asked whether to go on. Called from several threads.
pub trait Monitor: Send + Sync {
    /// A phase begins; `total` where it is known beforehand. A phase may begin again.
    fn begin(&self, phase: Phase, unit: Unit, total: Option<u64>);
    /// This much more of it is done.
    fn advance(&self, phase: Phase, done: u64);
    /// The phase is over.
    fn end(&self, phase: Phase);
    /// Something a person should know that is not an error.
    fn note(&self, text: &str);
    /// Whether the caller wants it to stop; asked between steps that leave nothing half-done.
    fn cancelled(&self) -> bool;

    /// [`Monitor::cancelled`] as an error to return with `?`.
    fn check(&self) -> Result<(), Cancelled> {
        if self.cancelled() { Err(Cancelled) } else { Ok(()) }
    }
}

/// The caller asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("interrupted")]
pub struct Cancelled;

/// Says nothing; stops when told.
#[derive(Debug, Default)]
pub struct Silent {
    stop: AtomicBool,
}

impl Silent {
    /// Asks the operation to stop.
    pub fn cancel(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Monitor for Silent {
    fn begin(&self, _: Phase, _: Unit, _: Option<u64>) {}
    fn advance(&self, _: Phase, _: u64) {}
    fn end(&self, _: Phase) {}
    fn note(&self, _: &str) {}
    fn cancelled(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
