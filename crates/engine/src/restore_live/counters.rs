//! Counters of sequential names: a parent's persisted child version is the next suffix. A client can only raise it, by
//! one with every child it creates, so steps are made by creating a child and deleting it in one transaction.

use std::collections::HashMap;

use zk_format::{OwnerKind, key};

use super::wanted::Wanted;

/// Digits of a sequential name.
const DIGITS: usize = 10;

/// A counter to be raised.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Raise {
    /// The parent.
    pub target: Box<[u8]>,
    /// Where it stands before its missing children are created.
    pub from: i32,
    /// Where it has to stand then, so that the children take it to the end.
    pub to: i32,
    /// Where it stands at the end.
    pub end: i32,
    /// Whether it is raised before its first new child. A container would be empty and could go.
    pub first: bool,
}

/// A counter that will end lower than in the snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Low {
    /// The parent.
    pub target: Box<[u8]>,
    /// In the snapshot.
    pub wanted: i32,
    /// Where it will end.
    pub ends: i32,
    /// Whether names are likely to be drawn from it.
    pub in_use: bool,
}

#[derive(Debug, Default)]
struct Children {
    created: i32,
    any: bool,
    sequential: bool,
}

#[derive(Debug)]
struct Candidate {
    target: Box<[u8]>,
    wanted: i32,
    stands: i32,
    container: bool,
}

/// Collects what decides about counters while a plan is made.
#[derive(Debug, Default)]
pub struct Counters {
    candidates: Vec<Candidate>,
    children: HashMap<Box<[u8]>, Children>,
}

impl Counters {
    /// A node of the snapshot; `stands` is its counter in the target, 0 where it is to be created.
    pub fn node(&mut self, wanted: &Wanted, stands: i32) {
        if wanted.stat.cversion > stands {
            self.candidates.push(Candidate {
                target: wanted.target.as_slice().into(),
                wanted: wanted.stat.cversion,
                stands,
                container: wanted.stat.kind() == OwnerKind::Container,
            });
        }
    }

    /// A child of the snapshot, and whether it will be created.
    pub fn child(&mut self, target: &[u8], created: bool) {
        let Some(parent) = key::parent(target) else { return };
        if !self.children.contains_key(parent) {
            self.children.insert(parent.into(), Children::default());
        }
        if let Some(of) = self.children.get_mut(parent) {
            of.any = true;
            of.created = of.created.saturating_add(i32::from(created));
            of.sequential |= is_sequential(target);
        }
    }

    /// The counters to raise, and those that end lower because that would take more than `limit` steps.
    pub fn finish(self, limit: u32) -> (Vec<Raise>, Vec<Low>) {
        let (mut raises, mut low) = (Vec::new(), Vec::new());
        let none = Children::default();
        for candidate in self.candidates {
            let of = self.children.get(&candidate.target).unwrap_or(&none);
            let steps = candidate.wanted.saturating_sub(candidate.stands).saturating_sub(of.created);
            if steps <= 0 {
                continue;
            }
            if steps.unsigned_abs() > limit {
                low.push(Low {
                    wanted: candidate.wanted,
                    ends: candidate.stands.saturating_add(of.created),
                    in_use: of.sequential || !of.any,
                    target: candidate.target,
                });
            } else {
                raises.push(Raise {
                    from: candidate.stands,
                    to: candidate.stands.saturating_add(steps),
                    end: candidate.wanted,
                    first: !candidate.container,
                    target: candidate.target,
                });
            }
        }
        (raises, low)
    }
}

/// Whether a name ends like one that a server counted.
fn is_sequential(path: &[u8]) -> bool {
    let name = key::split(path).map_or(path, |(_, name)| name);
    name.len() >= DIGITS && name.iter().rev().take(DIGITS).all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use zk_format::Stat;

    use super::*;
    use crate::restore_live::area::Part;

    fn node(target: &str, cversion: i32) -> Wanted {
        Wanted {
            source: target.into(),
            target: target.into(),
            part: Part::Wanted,
            data: None,
            acl: None,
            stat: Stat { cversion, ..Stat::default() },
            data_unknown: false,
        }
    }

    #[test]
    fn children_to_be_created_count_and_nothing_is_lowered() {
        let mut counters = Counters::default();
        counters.node(&node("/q", 9), 0);
        counters.node(&node("/here", 5), 7);
        counters.node(&node("/enough", 2), 0);
        for child in ["/q/n-0000000004", "/q/n-0000000008", "/enough/a", "/enough/b"] {
            counters.child(child.as_bytes(), true);
        }
        counters.child(b"/q/there", false);
        let (raises, low) = counters.finish(100);
        assert_eq!(raises, [Raise { target: (*b"/q").into(), from: 0, to: 7, end: 9, first: true }]);
        assert!(low.is_empty());
    }

    #[test]
    fn too_many_steps_leave_a_counter_low() {
        let mut counters = Counters::default();
        counters.node(&node("/busy", 1000), 0);
        counters.node(&node("/plain", 1000), 0);
        counters.node(&node("/empty", 1000), 0);
        counters.child(b"/busy/x0000000999", true);
        counters.child(b"/plain/x", true);
        let (raises, low) = counters.finish(500);
        assert!(raises.is_empty());
        let found: Vec<_> = low.iter().map(|low| (&*low.target, low.ends, low.in_use)).collect();
        assert_eq!(found, [(&b"/busy"[..], 1, true), (b"/plain", 1, false), (b"/empty", 0, true)]);
    }
}
