//! What is written down of a snapshot: in its manifest, and for who asked for the backup.

use jiff::Timestamp;
use repository::codec::encode_body;
use repository::manifest::{self, BackupCounters, Manifest, SnapshotFields, SourceInfo};
use repository::session::Committed;
use zk_format::{Zxid, digest, load};

use super::prepare::Prepared;
use super::store::Stored;
use super::{BEFORE_RESTORE, BackupRequest, Purpose};
use crate::acls;
use crate::error::{EngineError, ErrorKind};
use crate::repo::now;
use crate::report::{BackupSummary, Consistency, Method, Proof, Tail};
use crate::snapshots::timestamp;

impl Prepared {
    /// Everything that the manifest says besides its tables.
    pub fn fields(&self, request: &BackupRequest, stored: &Stored) -> Result<SnapshotFields, EngineError> {
        let identity =
            encode_body("identity", &self.identity).map_err(|error| EngineError::wrapping(ErrorKind::Failed, error))?;
        let facts = &self.facts;
        Ok(SnapshotFields {
            cluster: request.cluster.clone(),
            time_ms: request.time.unwrap_or_else(now).as_millisecond(),
            state_time_ms: Some(facts.state_time_ms),
            host: request.host.clone(),
            tags: request.tags.clone(),
            program: request.program.clone(),
            source: SourceInfo {
                location: request.source.to_string(),
                kind: super::kind(&request.source).to_owned(),
                version: facts.version.clone(),
                method: method_name(facts.method).to_owned(),
                chroot: super::chroot(&request.source).to_owned(),
                filter: request.filter.canonical(),
                identity,
                anchor: facts.anchor.clone(),
            },
            zxid_low: facts.zxid_low.0,
            zxid_high: facts.zxid_high.0,
            consistency: stored_consistency(facts.consistency),
            acl_consistency: stored_consistency(facts.acl_consistency),
            proof: match facts.proof {
                load::Proof::Digest => manifest::Proof::Digest,
                load::Proof::Replay => manifest::Proof::Replay,
                load::Proof::None => manifest::Proof::None,
            },
            tail: match facts.tail {
                load::Tail::Confirmed => manifest::Tail::Confirmed,
                load::Tail::Unconfirmed => manifest::Tail::Unconfirmed,
            },
            suspect: self.suspect.clone(),
            incomplete: self.incomplete.clone(),
            state_digest: stored.digest.0,
            tree_digest: facts.tree_digest.map(|sum| (sum, digest::VERSION)),
            nodes: self.counts.nodes,
            sessions: self.counts.sessions,
            raw_bytes: self.counts.raw_bytes,
            counters: BackupCounters {
                nodes_created: self.counts.created,
                nodes_changed: self.counts.changed,
                nodes_deleted: self.counts.deleted,
                rebase: stored.rebase,
                ..BackupCounters::default()
            },
            original: None,
            extra: acls::entry(&self.acls)
                .into_iter()
                .chain(facts.acl_zxid.map(acl_zxid_entry))
                .chain((request.purpose == Purpose::BeforeRestore).then(|| (BEFORE_RESTORE.to_owned(), Vec::new())))
                .collect(),
        })
    }

    /// The documented summary; `committed` where a snapshot was stored.
    pub fn summary(
        &self,
        request: &BackupRequest,
        parent: Option<&Manifest>,
        committed: Option<(&Committed, bool)>,
    ) -> BackupSummary {
        let facts = &self.facts;
        let id = committed.map(|(committed, _)| committed.id());
        let time = committed.map_or_else(
            || request.time.unwrap_or_else(now),
            |(committed, _)| timestamp(committed.manifest.body.fields.time_ms),
        );
        let mut notes = facts.notes.clone();
        if self.counts.session_changes > 0 {
            notes.push(format!("{} sessions opened, closed or changed", self.counts.session_changes));
        }
        BackupSummary {
            snapshot_id: id.map(|id| id.to_string()),
            short_id: id.map(|id| id.short()),
            parent_id: parent.map(|parent| parent.id.to_string()),
            cluster: request.cluster.clone(),
            time,
            zxid_low: facts.zxid_low.to_string(),
            zxid_high: facts.zxid_high.to_string(),
            consistency: consistency(facts.consistency),
            acl_consistency: consistency(facts.acl_consistency),
            acl_zxid: facts.acl_zxid.map(|zxid| zxid.to_string()),
            proof: match facts.proof {
                load::Proof::Digest => Proof::Digest,
                load::Proof::Replay => Proof::Replay,
                load::Proof::None => Proof::None,
            },
            tail: match facts.tail {
                load::Tail::Confirmed => Tail::Confirmed,
                load::Tail::Unconfirmed => Tail::Unconfirmed,
            },
            suspect: (!self.suspect.is_empty()).then(|| self.suspect.join("; ")),
            state_time: Timestamp::from_millisecond(facts.state_time_ms).ok(),
            method: facts.method,
            full_reason: facts.full_reason.clone(),
            nodes: self.counts.nodes,
            nodes_created: self.counts.created,
            nodes_changed: self.counts.changed,
            nodes_deleted: self.counts.deleted,
            raw_bytes: self.counts.raw_bytes,
            uploaded_bytes: committed.map_or(0, |(committed, _)| committed.uploaded_bytes),
            objects_written: committed.map_or(0, |(committed, _)| committed.objects_written),
            rebase: committed.is_some_and(|(_, rebase)| rebase),
            digest_mismatch: facts.digest_mismatch,
            incomplete_paths: self
                .incomplete
                .iter()
                .map(|gap| zk_format::path::display(&gap.path).to_string())
                .collect(),
            notes,
            dry_run: request.dry_run,
            duration_ms: 0,
        }
    }
}

/// The manifest's entry of the state that every ACL is from, or a later one.
const ACL_ZXID: &str = "acl-zxid";

fn acl_zxid_entry(zxid: Zxid) -> (String, Vec<u8>) {
    (ACL_ZXID.to_owned(), zxid.0.to_be_bytes().to_vec())
}

/// What a manifest says of it.
pub fn stored_acl_zxid(fields: &SnapshotFields) -> Option<Zxid> {
    let (_, bytes) = fields.extra.iter().find(|(name, _)| name == ACL_ZXID)?;
    Some(Zxid(i64::from_be_bytes(bytes.as_slice().try_into().ok()?)))
}

const fn method_name(method: Method) -> &'static str {
    match method {
        Method::Log => "log",
        Method::Full => "full",
        Method::Scan => "scan",
        Method::Watch => "watch",
    }
}

const fn consistency(found: load::Consistency) -> Consistency {
    match found {
        load::Consistency::Exact => Consistency::Exact,
        load::Consistency::Fuzzy => Consistency::Fuzzy,
    }
}

const fn stored_consistency(found: load::Consistency) -> manifest::Consistency {
    match found {
        load::Consistency::Exact => manifest::Consistency::Exact,
        load::Consistency::Fuzzy => manifest::Consistency::Fuzzy,
    }
}
