//! What a restore will do, node by node; making it changes nothing.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher as _};

use serde::Serialize;
use zk_format::path::display;
use zk_format::{AclList, NodeRef, OwnerKind, key, path};

use super::area::{Area, Part};
use super::counters::{Counters, Low, Raise};
use super::decide::{Differs, Rules, Verdict, decide};
use super::found::Found;
use super::wanted::{self, Wanted};
use crate::error::EngineError;
use crate::monitor::{Monitor, Phase, Unit};
use crate::tree::SnapshotTree;

/// What happens to one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Change {
    /// It is created; `closed` with the temporary ACL first.
    Create {
        /// Whether its ACL is set at the end.
        closed: bool,
    },
    /// An ephemeral node of this version is replaced by it.
    Replace {
        /// That node's version.
        version: i32,
        /// Whether its ACL is set at the end.
        closed: bool,
    },
    /// Its data where that has this version, its ACL where that has this one.
    Update {
        /// The version of the data.
        data: Option<i32>,
        /// The version of the ACL.
        acl: Option<i32>,
    },
    /// It is deleted where it has this version.
    Delete {
        /// The version.
        version: i32,
    },
}

/// One node of a plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Its path in the snapshot.
    pub source: Box<[u8]>,
    /// Its path in the target, where that is another one.
    moved: Option<Box<[u8]>>,
    /// What happens.
    pub change: Change,
}

impl Step {
    /// Its path in the target.
    pub fn target(&self) -> &[u8] {
        self.moved.as_deref().unwrap_or(&self.source)
    }

    /// Whether it is created with the temporary ACL.
    pub const fn is_closed(&self) -> bool {
        matches!(self.change, Change::Create { closed: true } | Change::Replace { closed: true, .. })
    }

    /// The version of the ACL that is replaced at the end, where one is.
    pub const fn acl_version(&self) -> Option<i32> {
        match self.change {
            Change::Create { closed: true } | Change::Replace { closed: true, .. } => Some(0),
            Change::Update { acl, .. } => acl,
            _ => None,
        }
    }
}

/// A data version to be raised.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RaiseVersion {
    /// The node's path in the snapshot.
    pub source: Box<[u8]>,
    /// Its path in the target.
    pub target: Box<[u8]>,
    /// The version it is to have.
    pub to: i32,
}

/// A node and what is said about it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Said {
    /// The node's path in the target.
    pub path: String,
    /// What.
    pub why: String,
}

impl Said {
    /// Says it of a node.
    pub fn of(path: &[u8], why: impl Into<String>) -> Self {
        Self { path: display(path).to_string(), why: why.into() }
    }
}

/// The numbers of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Nodes to create.
    pub create: u64,
    /// Nodes whose data is to be set.
    pub set: u64,
    /// Nodes that exist and get another ACL.
    pub acl: u64,
    /// Ephemeral nodes to be replaced by lasting ones.
    pub type_change: u64,
    /// Nodes to delete.
    pub delete: u64,
    /// Nodes that differ and forbid the restore.
    pub conflict: u64,
    /// Nodes that differ and stay as they are.
    pub skip: u64,
    /// Nodes that are as they should be.
    pub equal: u64,
    /// Ephemeral nodes of the snapshot, which are left out.
    pub ephemeral: u64,
    /// The server's own nodes, which are left out.
    pub reserved: u64,
    /// Bytes of data to write.
    pub bytes: u64,
    /// Counters of sequential names to raise.
    pub counters: u64,
    /// Steps that takes.
    pub counter_steps: u64,
    /// Nodes whose data version is raised to the snapshot's.
    pub versions: u64,
    /// Nodes whose data version will be another one than in the snapshot.
    pub versions_differ: u64,
    /// Container nodes to create.
    pub containers: u64,
    /// TTL nodes to create.
    pub ttls: u64,
    /// Nodes to delete below each first-level path.
    pub deletes: BTreeMap<String, u64>,
}

/// See the module's head.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// Creates and changes in key order, parents first.
    pub steps: Vec<Step>,
    /// Quotas, which come after all data.
    pub quotas: Vec<Step>,
    /// The root, which comes last.
    pub root: Option<Step>,
    /// Deletes, leaves first.
    pub deletes: Vec<Step>,
    /// Counters to raise.
    pub raises: Vec<Raise>,
    /// Data versions to raise.
    pub versions: Vec<RaiseVersion>,
    /// Nodes that forbid it.
    pub conflicts: Vec<Said>,
    /// Nodes that differ and stay.
    pub left: Vec<Said>,
    /// Nodes that `--delete` spares.
    pub kept: Vec<Said>,
    /// Ephemeral nodes left out.
    pub ephemerals: Vec<String>,
    /// What the snapshot itself does not know.
    pub unknown: Vec<Said>,
    /// Counters that end lower, whatever is done.
    pub low: Vec<Said>,
    /// Nodes larger than the target takes.
    pub too_large: Vec<Said>,
    /// Containers that nothing lasting lies below: the server removes them soon.
    pub empty_containers: u64,
    /// The numbers.
    pub counts: Counts,
    /// Of every step, the node as it was found among it.
    steps_hash: DefaultHasher,
}

/// What a plan is made by.
#[derive(Clone, Debug)]
pub struct Wishes {
    /// See [`Rules`].
    pub rules: Rules,
    /// Delete what the snapshot lacks.
    pub delete: bool,
    /// Whether to raise counters, and by how many steps at most; `None` for not at all.
    pub counter_limit: Option<u32>,
    /// Let counters in use end lower.
    pub accept_lower_counters: bool,
    /// Subtrees whose data versions are raised.
    pub preserve_versions: Vec<Vec<u8>>,
    /// `jute.maxbuffer` of the target, bytes.
    pub jute_max_buffer: usize,
}

impl Plan {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        let steps = self.steps.len() + self.quotas.len() + self.deletes.len() + usize::from(self.root.is_some());
        steps + self.raises.len() + self.versions.len() == 0
    }

    /// The same, within one process, for the same steps on the same nodes at the same versions.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = self.steps_hash.clone();
        (&self.raises, &self.versions).hash(&mut hasher);
        hasher.finish()
    }

    /// Every step, in the order of its application.
    pub fn all_steps(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().chain(&self.deletes).chain(&self.quotas).chain(&self.root)
    }

    /// Makes a plan.
    pub fn make(
        tree: &SnapshotTree<'_>,
        area: &Area,
        found: &Found,
        wishes: &Wishes,
        monitor: &dyn Monitor,
    ) -> Result<Self, EngineError> {
        let mut making =
            Making { area, found, wishes, plan: Self::default(), counters: Counters::default(), seen: HashSet::new() };
        monitor.begin(Phase::Comparing, Unit::Nodes, None);
        wanted::each(tree, area, &mut |node| {
            monitor.check()?;
            monitor.advance(Phase::Comparing, 1);
            making.node(&node);
            Ok(())
        })?;
        monitor.end(Phase::Comparing);
        Ok(making.finish())
    }
}

struct Making<'a> {
    area: &'a Area,
    found: &'a Found,
    wishes: &'a Wishes,
    plan: Plan,
    counters: Counters,
    /// Paths of the target that the snapshot has, for deletes.
    seen: HashSet<Vec<u8>>,
}

impl Making<'_> {
    fn node(&mut self, wanted: &Wanted) {
        let live = self.found.node(&wanted.target);
        let verdict = decide(wanted, live, self.found.unreadable(&wanted.target), &self.wishes.rules);
        let creates = matches!(verdict, Verdict::Create | Verdict::Replace { .. });
        if self.wishes.delete && live.is_some() {
            self.seen.insert(wanted.target.clone());
        }
        if !path::is_reserved(&wanted.source) {
            self.counters.child(&wanted.target, creates);
            let stands = if creates { Some(0) } else { live.map(|live| live.stat.cversion) };
            let counts = wanted.part == Part::Wanted && !wanted.is_ephemeral();
            if let Some(stands) = stands.filter(|_| counts && self.wishes.counter_limit.is_some()) {
                self.counters.node(wanted, stands);
            }
        }
        match verdict {
            Verdict::Same => self.plan.counts.equal += 1,
            Verdict::Create => self.step(wanted, live, Change::Create { closed: is_closed(wanted) }),
            Verdict::Replace { version } => {
                self.step(wanted, live, Change::Replace { version, closed: is_closed(wanted) });
            }
            Verdict::Update { data, acl } => self.step(wanted, live, Change::Update { data, acl }),
            Verdict::Pending { acl } => self.step(wanted, live, Change::Update { data: None, acl: Some(acl) }),
            Verdict::Conflict(differs) => self.plan.conflicts.push(Said::of(&wanted.target, words(differs))),
            Verdict::Left(differs) => self.plan.left.push(Said::of(&wanted.target, words(differs))),
            Verdict::Ephemeral => self.plan.ephemerals.push(display(&wanted.target).to_string()),
            Verdict::Reserved => self.plan.counts.reserved += 1,
        }
        let version = match verdict {
            Verdict::Create | Verdict::Replace { .. } => 0,
            Verdict::Update { data: Some(version), .. } => version.wrapping_add(1),
            Verdict::Same | Verdict::Pending { .. } => live.map_or(0, |live| live.stat.version),
            _ => return,
        };
        self.version(wanted, version);
    }

    fn version(&mut self, wanted: &Wanted, will_be: i32) {
        let asked = self.wishes.preserve_versions.iter().any(|path| zk_format::path::is_within(&wanted.source, path));
        if wanted.part != Part::Wanted || path::is_volatile(&wanted.target) || wanted.stat.version == will_be {
            return;
        }
        if asked && wanted.stat.version > will_be {
            self.plan.versions.push(RaiseVersion {
                source: wanted.source.as_slice().into(),
                target: wanted.target.as_slice().into(),
                to: wanted.stat.version,
            });
        } else if asked {
            let why = format!("its version is {will_be} and cannot be lowered to {}", wanted.stat.version);
            self.plan.low.push(Said::of(&wanted.target, why));
        } else {
            self.plan.counts.versions_differ += 1;
        }
    }

    fn step(&mut self, wanted: &Wanted, live: Option<NodeRef<'_>>, change: Change) {
        self.hash(&wanted.target, live, change);
        let counts = &mut self.plan.counts;
        let bytes = wanted.data.as_ref().map_or(0, |data| data.len() as u64);
        match change {
            Change::Create { .. } => counts.create += 1,
            Change::Replace { .. } => counts.type_change += 1,
            Change::Update { data, acl } => {
                counts.set += u64::from(data.is_some());
                counts.acl += u64::from(acl.is_some());
            }
            Change::Delete { .. } => {}
        }
        let creates = matches!(change, Change::Create { .. } | Change::Replace { .. });
        if creates || matches!(change, Change::Update { data: Some(_), .. }) {
            counts.bytes += bytes;
        }
        if creates {
            counts.containers += u64::from(wanted.stat.kind() == OwnerKind::Container);
            counts.ttls += u64::from(matches!(wanted.stat.kind(), OwnerKind::Ttl { .. }));
            if wanted.data_unknown {
                self.plan.unknown.push(Said::of(&wanted.target, "the snapshot lacks its data: it could not be read"));
            }
            if wanted.acl.is_none() {
                let why = "the snapshot lacks its ACL or knows it only with hidden digests: it stays closed to all but \
                           the restorer";
                self.plan.unknown.push(Said::of(&wanted.target, why));
            }
        }
        let size = wanted.bytes();
        if size > self.wishes.jute_max_buffer {
            let why =
                format!("it needs a request of {size} bytes, over jute.maxbuffer {}", self.wishes.jute_max_buffer);
            self.plan.too_large.push(Said::of(&wanted.target, why));
        }
        let moved = (wanted.target != wanted.source).then(|| wanted.target.as_slice().into());
        let step = Step { source: wanted.source.as_slice().into(), moved, change };
        if wanted.target.is_empty() {
            self.plan.root = Some(step);
        } else if path::is_reserved(&wanted.target) {
            self.plan.quotas.push(step);
        } else {
            self.plan.steps.push(step);
        }
    }

    /// A node that was deleted and created again has the same versions and is another one.
    fn hash(&mut self, target: &[u8], live: Option<NodeRef<'_>>, change: Change) {
        let found = live.map(|live| (live.stat.czxid, live.stat.version, live.stat.aversion));
        (target, found, change).hash(&mut self.plan.steps_hash);
    }

    fn finish(mut self) -> Plan {
        if self.wishes.delete {
            self.deletes();
        }
        let Self { mut plan, counters, wishes, area, .. } = self;
        let (raises, low) = counters.finish(wishes.counter_limit.unwrap_or(0));
        plan.counts.counters = raises.len() as u64;
        plan.counts.counter_steps = raises.iter().map(|raise| u64::from(raise.from.abs_diff(raise.to))).sum();
        plan.raises = raises;
        for low in low {
            let said = Said::of(&low.target, low_counter(&low));
            if low.in_use && !wishes.accept_lower_counters { plan.conflicts.push(said) } else { plan.low.push(said) }
        }
        if area.moves() {
            plan.steps.sort_by(|a, b| key::compare(a.target(), b.target()));
        }
        let counts = &mut plan.counts;
        counts.versions = plan.versions.len() as u64;
        counts.delete = plan.deletes.len() as u64;
        counts.conflict = plan.conflicts.len() as u64;
        counts.skip = plan.left.len() as u64;
        counts.ephemeral = plan.ephemerals.len() as u64;
        plan
    }

    /// What the target has and the snapshot lacks, leaves first. A node stays where something below it stays.
    fn deletes(&mut self) {
        let mut stays: BTreeSet<Vec<u8>> = BTreeSet::new();
        for node in self.found.nodes().rev() {
            let kept = if self.seen.contains(node.path) || !self.area.rules_over(node.path) {
                // Nobody asked for it; it only keeps its ancestors.
                None
            } else if matches!(node.stat.kind(), OwnerKind::Ephemeral { .. }) {
                Some("it is ephemeral: its session lives")
            } else if self.found.unreadable(node.path).children {
                Some("what lies below it may not be read")
            } else if stays.contains(node.path) {
                Some("something below it stays")
            } else {
                let top = node.path.get(1..).and_then(|rest| rest.split(|byte| *byte == b'/').next());
                let top = display(&[b"/", top.unwrap_or_default()].concat()).to_string();
                *self.plan.counts.deletes.entry(top).or_default() += 1;
                let change = Change::Delete { version: node.stat.version };
                self.hash(node.path, Some(node), change);
                self.plan.deletes.push(Step { source: node.path.into(), moved: None, change });
                continue;
            };
            if let Some(parent) = key::parent(node.path) {
                stays.insert(parent.to_vec());
            }
            self.plan.kept.extend(kept.map(|why| Said::of(node.path, why)));
        }
    }
}

/// Whether a node is created with a temporary ACL: all but those that anybody may do anything with at the end.
fn is_closed(wanted: &Wanted) -> bool {
    wanted.acl.as_ref() != Some(&AclList::world())
}

fn low_counter(low: &Low) -> String {
    format!(
        "its counter of sequential names would end at {} instead of {}, more steps away than --counter-limit allows: \
         names already given out would come again; raise it, or add --accept-lower-counters",
        low.ends, low.wanted
    )
}

/// How a node differs, in words.
pub fn words(differs: Differs) -> String {
    let parts = [
        (differs.data, "other data"),
        (differs.acl, "another ACL"),
        (differs.kind, "ephemeral there, lasting in the snapshot"),
        (differs.closed, "its data may not be read"),
    ];
    let parts: Vec<&str> = parts.iter().filter(|(holds, _)| *holds).map(|(_, word)| *word).collect();
    parts.join(", ")
}
