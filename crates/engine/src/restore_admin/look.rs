//! Whether the servers named are the ensemble, stand at one zxid, and nobody writes: what must hold before their trees are
//! replaced. Each reason says what to do.

use std::collections::BTreeSet;

use serde::Serialize;
use zk_connect::admin::{Member, Version};
use zk_format::{Zxid, path};

use super::AdminRestoreRequest;
use crate::error::{EngineError, ErrorKind};
use crate::repo::Repo;
use crate::restore_live::members_of;
use crate::snapshots;

/// A server as people and programs see it.
#[derive(Clone, Debug, Serialize)]
pub struct Standing {
    /// `host:port` of its `AdminServer`.
    pub host: String,
    /// `leader`, `follower`, `observer`, `standalone`.
    pub state: String,
    /// Its version.
    pub version: String,
    /// Its last transaction.
    pub zxid: String,
    /// Its clients.
    pub connections: u64,
}

/// Followers and observers first, the leader last: one election is enough.
pub fn in_order_of_restart(members: &[Member]) -> Vec<Standing> {
    let mut ordered: Vec<&Member> = members.iter().collect();
    ordered.sort_by_key(|member| member.server.state == "leader");
    let standing = |member: &Member| {
        let server = &member.server;
        Standing {
            host: server.host.clone(),
            state: server.state.clone(),
            version: server.version.map_or_else(|| server.printed.clone(), |version| version.to_string()),
            zxid: server.zxid.to_string(),
            connections: server.connections,
        }
    };
    ordered.into_iter().map(standing).collect()
}

/// Where all stand.
pub fn common_zxid(members: &[Member]) -> Option<Zxid> {
    let first = members.first()?.server.zxid;
    members.iter().all(|member| member.server.zxid == first).then_some(first)
}

/// Who is connected, or was and may still be cleaned up after.
pub fn busy(members: &[Member]) -> Option<String> {
    let connections: u64 = members.iter().map(|member| member.server.connections).sum();
    let sessions = members.iter().map(|member| member.sessions).max().unwrap_or(0);
    (connections + sessions > 0).then(|| {
        format!(
            "{connections} clients are connected and {sessions} sessions are open: what they write while the servers are \
             restored one after the other tears the ensemble apart; keep clients away and wait until their sessions \
             have expired, or add --yes-really if none of them writes"
        )
    })
}

/// All reasons not to restore.
pub fn refusals(repo: &Repo, request: &AdminRestoreRequest, members: &[Member]) -> Result<Vec<String>, EngineError> {
    let mut why = Vec::new();
    for member in members {
        let server = &member.server;
        let host = &server.host;
        if server.version.is_none_or(|version| version < Version::SAFE) {
            why.push(format!(
                "{host} runs {}: restore over HTTP needs 3.9.4 or later (ZOOKEEPER-4872, CVE-2025-58457); seed the data \
                 directories instead",
                server.printed
            ));
        }
        if server.read_only {
            why.push(format!("{host} is read-only: it has lost its quorum; wait for one"));
        }
        if !member.last_zxid {
            why.push(format!(
                "{host} runs with zookeeper.serializeLastProcessedZxid.enabled=false and takes no restore: enable it, or \
                 seed the data directories"
            ));
        }
    }
    why.extend(not_the_ensemble(members));
    let zxids: BTreeSet<Zxid> = members.iter().map(|member| member.server.zxid).collect();
    let stored = Zxid(request.snapshot.manifest.body.fields.zxid_high);
    match zxids.first() {
        Some(lowest) if zxids.len() == 1 && *lowest < stored => why.push(format!(
            "the servers stand at {lowest} and the snapshot is of {stored}, which they have not reached: nodes would be newer \
             than the ensemble; seed the data directories instead (zooark restore … datadir:)"
        )),
        Some(lowest) if zxids.len() > 1 => why.push(format!(
            "the servers stand at different transactions, from {lowest} on: something is being written, or a server lags; \
             keep all clients away and wait until they agree"
        )),
        _ => {}
    }
    let digests: BTreeSet<bool> = members.iter().map(|member| member.digest).collect();
    if digests.len() > 1 {
        why.push("zookeeper.digest.enabled is not the same on all servers, and one file must do for all".to_owned());
    }
    let info = snapshots::info(&request.snapshot);
    if info.incomplete {
        why.push("the snapshot is incomplete: what it lacks would be gone from the ensemble".to_owned());
    }
    if !request.snapshot.manifest.body.fields.source.filter.is_empty()
        || !request.snapshot.manifest.body.fields.source.chroot.is_empty()
    {
        why.push(
            "the snapshot has a part of a tree only, and all of the ensemble's would be replaced by it".to_owned(),
        );
    }
    if !request.yes_really {
        why.extend(busy(members));
        why.extend(another_ensemble(repo, request, members)?);
    }
    Ok(why)
}

/// Whether the servers named are all there are, each once.
fn not_the_ensemble(members: &[Member]) -> Option<String> {
    if let [alone] = members
        && alone.id.is_none()
    {
        return None;
    }
    let ids: BTreeSet<Option<i64>> = members.iter().map(|member| member.id).collect();
    if ids.contains(&None) || ids.len() < members.len() {
        return Some("the servers named are not one ensemble, each named once: name every server once".to_owned());
    }
    let leaders = members.iter().filter(|member| member.server.state == "leader").count();
    let views: BTreeSet<BTreeSet<i64>> = members.iter().map(Member::voter_ids).collect();
    let (Some(voters), 1, 1) = (views.first(), views.len(), leaders) else {
        return Some(format!(
            "{leaders} of the servers named lead, and {} lists of voters are in use: name all servers of one ensemble, and \
             wait until it is at rest",
            views.len()
        ));
    };
    let named: BTreeSet<i64> = ids.into_iter().flatten().collect();
    let missing: Vec<String> = voters.difference(&named).map(ToString::to_string).collect();
    let observers: u64 = members.iter().map(|member| member.observers).sum();
    let watching = named.difference(voters).count() as u64;
    if !missing.is_empty() || observers != watching {
        let missing = if missing.is_empty() { String::new() } else { format!("; myid {} missing", missing.join(", ")) };
        return Some(format!(
            "{} servers are named and the ensemble has {} voters and {observers} observers{missing}: one that keeps its old \
             tree brings it back; name all",
            members.len(),
            voters.len()
        ));
    }
    None
}

/// Members that the snapshot's ensemble never had.
fn another_ensemble(
    repo: &Repo,
    request: &AdminRestoreRequest,
    members: &[Member],
) -> Result<Option<String>, EngineError> {
    let now: BTreeSet<Vec<u8>> =
        members.iter().flat_map(|member| member.voters.values().map(|address| address.clone().into_bytes())).collect();
    let config = repo.tree(&request.snapshot.manifest)?.node(path::CONFIG)?.and_then(|node| node.data);
    let then = config.map(|config| members_of(&config)).unwrap_or_default();
    if now.is_empty() || then.is_empty() || !now.is_disjoint(&then) {
        return Ok(None);
    }
    let shown = |members: &BTreeSet<Vec<u8>>| {
        let names: Vec<_> = members.iter().take(5).map(|name| String::from_utf8_lossy(name)).collect();
        names.join(", ")
    };
    Ok(Some(format!(
        "the target may be another ensemble: none of its members ({}) was one of the snapshot's ({}); add --yes-really if it \
         is the right one",
        shown(&now),
        shown(&then)
    )))
}

/// What a person should know before going on.
pub fn warnings(request: &AdminRestoreRequest, members: &[Member], notes: &[String]) -> Vec<String> {
    let mut warnings = snapshots::info(&request.snapshot).warnings();
    warnings.extend(notes.iter().cloned());
    warnings.extend(busy(members));
    warnings
}

/// The reasons as an error.
pub fn refused(reasons: &[String]) -> EngineError {
    EngineError::new(ErrorKind::Refused, format!("nothing was restored: {}", reasons.join("; ")))
}
