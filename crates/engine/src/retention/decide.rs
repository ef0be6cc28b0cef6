//! The decision about every snapshot of a repository, with its reasons.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use repository::{LineageId, Snapshot, SnapshotId};
use serde::Serialize;

use super::{Policy, keep};
use crate::snapshots;

/// What the policy looks at of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The snapshot.
    pub id: SnapshotId,
    /// Its time.
    pub time: Timestamp,
    /// Its cluster.
    pub cluster: String,
    /// The host that took it.
    pub host: String,
    /// Sorted.
    pub tags: Vec<String>,
    /// The view it is of.
    pub lineage: LineageId,
    /// Its number there.
    pub seq: u64,
    /// Whether it may be the wrong tree, and nobody said otherwise.
    pub suspect: bool,
    /// Whether something could not be read.
    pub incomplete: bool,
    /// Until when it must stay.
    pub protected_until: Option<Timestamp>,
}

impl From<&Snapshot> for Candidate {
    fn from(snapshot: &Snapshot) -> Self {
        let info = snapshots::info(snapshot);
        Self {
            id: snapshot.id(),
            time: info.time,
            cluster: info.cluster,
            host: info.host,
            tags: info.tags,
            lineage: snapshot.manifest.lineage,
            seq: info.seq,
            suspect: info.suspect.is_some(),
            incomplete: info.incomplete,
            protected_until: info.protected_until,
        }
    }
}

/// What makes snapshots one group, each with its own counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GroupBy {
    /// The cluster.
    Cluster,
    /// All tags together.
    Tags,
    /// The host.
    Host,
}

/// What is asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// What to keep.
    pub policy: Policy,
    /// Groups.
    pub group_by: Vec<GroupBy>,
    /// Also the last complete snapshot of a lineage may go.
    pub may_remove_all: bool,
    /// Clusters with a suspect snapshot that is not among the candidates.
    pub waiting: BTreeSet<String>,
}

/// One snapshot's fate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// The snapshot.
    pub id: String,
    /// Its time.
    pub time: Timestamp,
    /// Why it stays; empty where it goes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// The same id, for callers.
    #[serde(skip)]
    pub snapshot: SnapshotId,
}

/// A group and what becomes of it, newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Group {
    /// What its snapshots have in common.
    pub group: BTreeMap<&'static str, String>,
    /// What stays.
    pub keep: Vec<Decision>,
    /// What goes.
    pub remove: Vec<Decision>,
    /// Why nothing of it goes, where somebody has to decide first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
}

/// What the snapshots of a group have in common.
type Name = BTreeMap<&'static str, String>;
/// A candidate and the reasons to keep it.
type Judged<'c> = (&'c Candidate, Vec<String>);

/// Decides about every candidate. Depends on nothing but its arguments.
pub fn decide(candidates: &[Candidate], request: &Request, now: Timestamp) -> Vec<Group> {
    let mut groups: BTreeMap<Vec<(GroupBy, String)>, Vec<&Candidate>> = BTreeMap::new();
    for candidate in candidates {
        let key = request.group_by.iter().map(|by| (*by, part(candidate, *by))).collect();
        groups.entry(key).or_default().push(candidate);
    }
    let suspect = candidates.iter().filter(|c| c.suspect).map(|c| c.cluster.as_str());
    let waiting: BTreeSet<&str> = suspect.chain(request.waiting.iter().map(String::as_str)).collect();
    let mut decided: Vec<(Name, Vec<Judged<'_>>)> = groups
        .into_iter()
        .map(|(key, mut members)| {
            members.sort_by_key(|c| std::cmp::Reverse((c.time, c.seq, c.id)));
            let name = key.into_iter().map(|(by, value)| (label(by), value)).collect();
            (name, reasons(&members, request, now, &waiting))
        })
        .collect();
    if !request.may_remove_all {
        keep_last_of_lineages(&mut decided);
    }
    decided
        .into_iter()
        .map(|(group, members)| {
            let held = members.iter().find(|(c, _)| waiting.contains(c.cluster.as_str())).map(|(c, _)| {
                format!(
                    "cluster {} has a suspect snapshot: accept it with `zooark accept`, or forget it by its id",
                    c.cluster
                )
            });
            let (keep, remove) = members.into_iter().partition(|(_, reasons)| !reasons.is_empty());
            let list = |members: Vec<(&Candidate, Vec<String>)>| members.into_iter().map(decision).collect();
            Group { group, keep: list(keep), remove: list(remove), held }
        })
        .collect()
}

fn decision((candidate, reasons): (&Candidate, Vec<String>)) -> Decision {
    Decision { id: candidate.id.to_string(), time: candidate.time, reasons, snapshot: candidate.id }
}

const fn label(by: GroupBy) -> &'static str {
    match by {
        GroupBy::Cluster => "cluster",
        GroupBy::Tags => "tags",
        GroupBy::Host => "host",
    }
}

fn part(candidate: &Candidate, by: GroupBy) -> String {
    match by {
        GroupBy::Cluster => candidate.cluster.clone(),
        GroupBy::Tags => candidate.tags.join(","),
        GroupBy::Host => candidate.host.clone(),
    }
}

/// Reasons to keep each member of a group, newest first. Incomplete snapshots are counted among themselves, and those of
/// the future not at all: neither takes the place of a complete one.
fn reasons<'c>(
    members: &[&'c Candidate],
    request: &Request,
    now: Timestamp,
    waiting: &BTreeSet<&str>,
) -> Vec<Judged<'c>> {
    let of_the_past = |candidate: &&&Candidate| candidate.time <= now && !candidate.suspect;
    let mut by_policy: BTreeMap<SnapshotId, Vec<String>> = BTreeMap::new();
    for incomplete in [false, true] {
        let counted: Vec<&&Candidate> =
            members.iter().filter(of_the_past).filter(|c| c.incomplete == incomplete).collect();
        let Some(newest) = counted.first().map(|c| c.time) else { continue };
        let times: Vec<(Timestamp, &[String])> = counted.iter().map(|c| (c.time, c.tags.as_slice())).collect();
        by_policy.extend(counted.iter().map(|c| c.id).zip(keep(&times, &request.policy, newest)));
    }
    let all = members.iter().map(|candidate| {
        let mut reasons = by_policy.remove(&candidate.id).unwrap_or_default();
        if let Some(until) = candidate.protected_until.filter(|until| *until > now) {
            reasons.push(format!("protected until {until}"));
        }
        if candidate.time > now {
            reasons.push("dated in the future".to_owned());
        }
        if candidate.suspect {
            reasons.push("suspect, and nobody has decided about it".to_owned());
        }
        if waiting.contains(candidate.cluster.as_str()) && reasons.is_empty() {
            reasons.push("another snapshot of the cluster is suspect".to_owned());
        }
        (*candidate, reasons)
    });
    all.collect()
}

/// Of each lineage that would lose its last complete snapshot, the newest stays.
fn keep_last_of_lineages(decided: &mut [(Name, Vec<Judged<'_>>)]) {
    let counts = |candidate: &Candidate| !candidate.incomplete && !candidate.suspect;
    let mut newest: BTreeMap<LineageId, (Timestamp, u64, SnapshotId)> = BTreeMap::new();
    let mut safe = BTreeSet::new();
    for (candidate, reasons) in decided.iter().flat_map(|(_, members)| members) {
        if counts(candidate) {
            let order = (candidate.time, candidate.seq, candidate.id);
            let best = newest.entry(candidate.lineage).or_insert(order);
            *best = (*best).max(order);
            if !reasons.is_empty() {
                safe.insert(candidate.lineage);
            }
        }
    }
    for (candidate, reasons) in decided.iter_mut().flat_map(|(_, members)| members) {
        let is_newest = newest.get(&candidate.lineage).is_some_and(|(.., id)| *id == candidate.id);
        if is_newest && !safe.contains(&candidate.lineage) {
            reasons.push("last complete snapshot of its lineage".to_owned());
        }
    }
}

#[cfg(test)]
#[path = "decide/tests.rs"]
mod tests;
