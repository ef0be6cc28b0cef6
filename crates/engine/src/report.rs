//! What operations report: the documented fields of `--json`, shared by every caller.

use jiff::Timestamp;
use serde::Serialize;

/// Whether a snapshot is the state at one zxid or spans a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Consistency {
    /// The state at one zxid.
    Exact,
    /// Something between two zxids.
    Fuzzy,
}

/// What proves an exact state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Proof {
    /// The server's own digest of the whole tree.
    Digest,
    /// Strict replay from an exact base.
    Replay,
    /// Neither.
    None,
}

/// Whether the end of the log is known to be committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Tail {
    /// The server itself said so.
    Confirmed,
    /// Taken from the log alone.
    Unconfirmed,
}

/// How the state was obtained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// The log since the parent.
    Log,
    /// Everything read again.
    Full,
    /// A scan over the client protocol.
    Scan,
    /// Changed paths told by watches.
    Watch,
}

/// The summary of a backup.
#[derive(Clone, Debug, Serialize)]
pub struct BackupSummary {
    /// `None` when nothing changed or on a dry run.
    pub snapshot_id: Option<String>,
    /// First eight digits.
    pub short_id: Option<String>,
    /// The snapshot compared with; it still stands where nothing changed.
    pub parent_id: Option<String>,
    /// The cluster's name.
    pub cluster: String,
    /// The snapshot's time.
    pub time: Timestamp,
    /// Lowest zxid of the state, `0x…`.
    pub zxid_low: String,
    /// Highest zxid of the state, `0x…`.
    pub zxid_high: String,
    /// Exact or fuzzy.
    pub consistency: Consistency,
    /// The same of ACLs, which may differ for live sources.
    pub acl_consistency: Consistency,
    /// Every ACL is from this state or a later one, where clients read them.
    pub acl_zxid: Option<String>,
    /// What proves it.
    pub proof: Proof,
    /// Whether the end of the log is committed.
    pub tail: Tail,
    /// Why the snapshot is held back, if it is.
    pub suspect: Option<String>,
    /// Time of the last transaction.
    pub state_time: Option<Timestamp>,
    /// How it was read.
    pub method: Method,
    /// Why everything was read although the log was asked for.
    pub full_reason: Option<String>,
    /// Znodes of the state.
    pub nodes: u64,
    /// Against the parent.
    pub nodes_created: u64,
    /// Against the parent.
    pub nodes_changed: u64,
    /// Against the parent.
    pub nodes_deleted: u64,
    /// Bytes of paths, stats, ACLs and values.
    pub raw_bytes: u64,
    /// Bytes written to the repository.
    pub uploaded_bytes: u64,
    /// Objects written to the repository.
    pub objects_written: u64,
    /// Whether the base was written anew.
    pub rebase: bool,
    /// The server's digest is not the tree's, though the log leads to it; the notes say where.
    pub digest_mismatch: bool,
    /// Paths that could not be read.
    pub incomplete_paths: Vec<String>,
    /// What a person should know.
    pub notes: Vec<String>,
    /// Nothing was written because nothing should be.
    pub dry_run: bool,
    /// Wall time in milliseconds.
    pub duration_ms: u64,
}

/// One snapshot as listed.
#[derive(Clone, Debug, Serialize)]
pub struct SnapshotInfo {
    /// 64 hex digits.
    pub id: String,
    /// The first eight.
    pub short_id: String,
    /// Information only: no snapshot needs another.
    pub parent_id: Option<String>,
    /// Number within its lineage.
    pub seq: u64,
    /// The snapshot's time.
    pub time: Timestamp,
    /// The cluster's name.
    pub cluster: String,
    /// The host that took it.
    pub host: String,
    /// Sorted.
    pub tags: Vec<String>,
    /// The endpoint.
    pub source: String,
    /// Lowest zxid, `0x…`.
    pub zxid_low: String,
    /// Highest zxid, `0x…`.
    pub zxid_high: String,
    /// Exact or fuzzy.
    pub consistency: Consistency,
    /// Whether some of the source could not be read.
    pub incomplete: bool,
    /// Why it is held back, if it is.
    pub suspect: Option<String>,
    /// Znodes.
    pub nodes: u64,
    /// Bytes of paths, stats, ACLs and values.
    pub raw_bytes: u64,
    /// Bytes this backup added to the repository.
    pub added_bytes: u64,
    /// Hex.
    pub state_digest: String,
    /// Until when it must not be forgotten.
    pub protected_until: Option<Timestamp>,
    /// When it was last restored and compared.
    pub verified_at: Option<Timestamp>,
}

impl SnapshotInfo {
    /// What whoever restores it should know before.
    pub fn warnings(&self) -> Vec<String> {
        let suspect = self.suspect.as_ref().map(|why| format!("the snapshot is suspect: {why}"));
        let incomplete =
            self.incomplete.then(|| "the snapshot is incomplete: some of its source could not be read".to_owned());
        let fuzzy = (self.consistency == Consistency::Fuzzy).then(|| {
            let (low, high) = (&self.zxid_low, &self.zxid_high);
            format!("the snapshot is fuzzy: its nodes are of different moments between {low} and {high}")
        });
        [suspect, incomplete, fuzzy].into_iter().flatten().collect()
    }
}
