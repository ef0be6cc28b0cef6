//! Whether a snapshot could be restored: all of it is read, decoded and added up, and nothing is written but a note.

use std::time::Instant;

use jiff::Timestamp;
use repository::record::session_of;
use repository::{DigestSum, Snapshot, StateDigest};
use serde::Serialize;

use crate::error::{EngineError, ErrorKind};
use crate::monitor::{Monitor, Phase, Unit};
use crate::repo::{Repo, now};
use crate::snapshots::hex;
use crate::tree::PieceReader;

/// A snapshot that would restore.
#[derive(Clone, Debug, Serialize)]
pub struct Verified {
    /// The snapshot.
    pub snapshot_id: String,
    /// Znodes read.
    pub nodes: u64,
    /// Sessions read.
    pub sessions: u64,
    /// Bytes of their values.
    pub value_bytes: u64,
    /// What they add up to, which is what was stored.
    pub state_digest: String,
    /// When; noted with the snapshot. `None` on a dry run.
    pub verified_at: Option<Timestamp>,
    /// Wall time in milliseconds.
    pub duration_ms: u64,
}

#[derive(Default)]
struct Counts {
    nodes: u64,
    sessions: u64,
    value_bytes: u64,
    digest: StateDigest,
}

/// Reads every record and value of a snapshot and compares counts and digest with what its manifest says. Damage is an
/// error.
pub fn run(repo: &Repo, snapshot: &Snapshot, dry_run: bool, monitor: &dyn Monitor) -> Result<Verified, EngineError> {
    let started = Instant::now();
    let manifest = &snapshot.manifest;
    let fields = &manifest.body.fields;
    let tree = repo.tree(manifest)?;
    let mut all = Counts::default();
    monitor.begin(Phase::Verifying, Unit::Nodes, Some(fields.nodes));
    tree.in_order(count, |piece: Counts| {
        monitor.check()?;
        monitor.advance(Phase::Verifying, piece.nodes);
        all.nodes += piece.nodes;
        all.sessions += piece.sessions;
        all.value_bytes += piece.value_bytes;
        all.digest = all.digest.plus(piece.digest);
        Ok(())
    })?;
    monitor.end(Phase::Verifying);
    if all.digest.0 != fields.state_digest || (all.nodes, all.sessions) != (fields.nodes, fields.sessions) {
        return Err(EngineError::new(
            ErrorKind::Damage,
            format!(
                "snapshot {} holds {} nodes and {} sessions that add up to {}, and was stored with {}, {} and {}: do not \
                 restore it; run `zooark check --read-data` and use another snapshot",
                manifest.id.short(),
                all.nodes,
                all.sessions,
                hex(&all.digest.0),
                fields.nodes,
                fields.sessions,
                hex(&fields.state_digest)
            ),
        ));
    }
    let verified_at = (!dry_run).then(now);
    if let Some(at) = verified_at {
        repo.annotate(snapshot.id(), |note| note.verified_at_ms = Some(at.as_millisecond()))?;
    }
    Ok(Verified {
        snapshot_id: manifest.id.to_string(),
        nodes: all.nodes,
        sessions: all.sessions,
        value_bytes: all.value_bytes,
        state_digest: hex(&all.digest.0),
        verified_at,
        duration_ms: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
    })
}

fn count(piece: &PieceReader<'_, '_>) -> Result<Counts, EngineError> {
    let tree = piece.tree();
    let mut sum = DigestSum::new(tree.stack().keys());
    let mut counts = Counts::default();
    piece.read(&mut |record| {
        sum.add(record);
        // Values that lie apart are read too: a restore needs them.
        let value = tree.value(record.value)?;
        if session_of(record.key).is_some() {
            counts.sessions += 1;
        } else {
            counts.nodes += 1;
            counts.value_bytes += value.map_or(0, |bytes| bytes.len() as u64);
        }
        Ok(())
    })?;
    counts.digest = sum.take();
    Ok(counts)
}
