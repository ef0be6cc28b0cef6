//! Puts the nodes of a file into key order (see [`crate::key`]) without comparing whole keys a million times.
//!
//! Key order is: all children of one node by name, then, child by child, their children. So only names within one
//! parent are compared, and the rest is a walk over parents. A file written depth first has had its nodes grouped by
//! parent while it was read. Any other order (key order itself, in a file restored from here) leaves groups whose
//! parent is not known yet; those are sorted by parent path, joined where equal, and their parents looked up.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use rayon::prelude::*;

use crate::file_snap::{Entry, Group, NO_NODE, SnapProblem, entry_path, shortened};
use crate::key;

/// Below this many nodes, threads cost more than they bring.
const SEQUENTIAL_NODES: usize = 4096;
const FEW: usize = 12;

/// A file's nodes as they were walked.
pub(super) struct Walked<'a> {
    pub file: &'a [u8],
    pub entries: Vec<Entry>,
    pub group_of: Vec<u32>,
    pub groups: Vec<Group>,
}

/// The entries in key order. Finds duplicates and nodes without a parent before them.
pub(super) fn into_key_order(walked: Walked<'_>) -> Result<Vec<Entry>, SnapProblem> {
    let Walked { file, entries, mut group_of, mut groups } = walked;
    let nodes = Nodes { file, entries: &entries };
    let unknown_parents = groups.iter().any(|group| group.parent == NO_NODE);
    if unknown_parents {
        (groups, group_of) = nodes.join_groups(&groups, &group_of);
    }
    let (mut members, ranges) = gather(&group_of, &groups);
    drop(group_of);
    nodes.sort_names(&mut members, &ranges)?;
    if unknown_parents {
        nodes.find_parents(&mut groups, &members, &ranges)?;
    }
    let ordered = nodes.emit(&groups, &members, &ranges);
    debug_assert_eq!(ordered.len(), entries.len());
    Ok(ordered)
}

/// The indices of the nodes, group after group, and where each group's end: group `g` is `ranges[g]..ranges[g + 1]`.
fn gather(group_of: &[u32], groups: &[Group]) -> (Vec<u32>, Vec<u32>) {
    let mut ranges = Vec::with_capacity(groups.len().saturating_add(1));
    let mut total = 0u32;
    ranges.push(0);
    for group in groups {
        total = total.saturating_add(group.count);
        ranges.push(total);
    }
    let mut next = ranges.clone();
    let mut members = vec![NO_NODE; total as usize];
    for (node, &group) in (0u32..).zip(group_of) {
        let Some(at) = next.get_mut(group as usize) else { continue };
        if let Some(member) = members.get_mut(*at as usize) {
            *member = node;
        }
        *at = at.saturating_add(1);
    }
    (members, ranges)
}

fn slice<'a>(members: &'a [u32], ranges: &[u32], group: usize) -> &'a [u32] {
    let at = |index: usize| ranges.get(index).map_or(0, |&at| at as usize);
    members.get(at(group)..at(group.saturating_add(1))).unwrap_or_default()
}

#[derive(Clone, Copy)]
struct Nodes<'a> {
    file: &'a [u8],
    entries: &'a [Entry],
}

impl<'a> Nodes<'a> {
    fn path(self, node: u32) -> &'a [u8] {
        self.entries.get(node as usize).map_or(b"", |&entry| entry_path(self.file, entry))
    }

    fn name(self, node: u32) -> &'a [u8] {
        key::split(self.path(node)).map_or(b"", |(_, name)| name)
    }

    fn parent_path(self, group: &Group) -> &'a [u8] {
        key::parent(self.path(group.first)).unwrap_or_default()
    }

    fn no_parent(self, node: u32) -> SnapProblem {
        let offset = self.entries.get(node as usize).map_or(0, |entry| entry.offset);
        SnapProblem::NoParent { offset, path: shortened(self.path(node)) }
    }

    fn duplicate(self, a: u32, b: u32) -> SnapProblem {
        let offset = self.entries.get(a.max(b) as usize).map_or(0, |entry| entry.offset);
        SnapProblem::Duplicate { offset, path: shortened(self.path(a)) }
    }

    /// Sorts groups by their parents' paths and joins those with the same one.
    fn join_groups(self, groups: &[Group], group_of: &[u32]) -> (Vec<Group>, Vec<u32>) {
        let mut order: Vec<u32> = (0u32..).zip(groups).map(|(index, _)| index).collect();
        let parent_path = |index: u32| groups.get(index as usize).map_or(&b""[..], |group| self.parent_path(group));
        order.par_sort_by(|&a, &b| key::compare_parents(parent_path(a), parent_path(b)));
        let mut joined: Vec<Group> = Vec::new();
        let mut new_index = vec![NO_NODE; groups.len()];
        let mut last_path: &[u8] = b"";
        for old in order {
            let Some(group) = groups.get(old as usize) else { continue };
            let path = self.parent_path(group);
            match joined.last_mut() {
                Some(last) if path == last_path => {
                    last.count = last.count.saturating_add(group.count);
                    last.first = last.first.min(group.first);
                    last.parent = last.parent.min(group.parent);
                }
                _ => joined.push(*group),
            }
            last_path = path;
            if let Some(slot) = new_index.get_mut(old as usize) {
                *slot = u32::try_from(joined.len()).unwrap_or(NO_NODE).saturating_sub(1);
            }
        }
        let group_of = group_of.iter().map(|&old| new_index.get(old as usize).copied().unwrap_or(NO_NODE)).collect();
        (joined, group_of)
    }

    /// Finds the parents of groups that lack one. The groups are in the order of their parents' paths, so those of a
    /// node's ancestors come before its own and are on the stack.
    fn find_parents(self, groups: &mut [Group], members: &[u32], ranges: &[u32]) -> Result<(), SnapProblem> {
        let mut above: Vec<(usize, &[u8])> = Vec::new();
        for (index, group) in groups.iter_mut().enumerate() {
            let path = self.parent_path(group);
            if path.is_empty() {
                group.parent = 0;
            } else {
                let (grandparent, name) = key::split(path).unwrap_or_default();
                let grandparent = if grandparent == b"/" { &b""[..] } else { grandparent };
                while above.last().is_some_and(|&(_, above)| above != grandparent && !is_below(grandparent, above)) {
                    above.pop();
                }
                let Some(&(siblings, _)) = above.last().filter(|&&(_, above)| above == grandparent) else {
                    return Err(self.no_parent(group.first));
                };
                let siblings = slice(members, ranges, siblings);
                let found = siblings.binary_search_by(|&node| self.name(node).cmp(name));
                group.parent = found.ok().and_then(|at| siblings.get(at)).copied().unwrap_or(NO_NODE);
                if group.parent >= group.first {
                    return Err(self.no_parent(group.first));
                }
            }
            above.push((index, path));
        }
        Ok(())
    }

    /// Sorts each group's members by name, groups in parallel.
    fn sort_names(self, members: &mut [u32], ranges: &[u32]) -> Result<(), SnapProblem> {
        let groups = ranges.len().saturating_sub(1);
        if groups > 1 && members.len() > SEQUENTIAL_NODES {
            let start = ranges.first().copied().unwrap_or(0);
            // Splits where half of the nodes are, not half of the groups.
            let half = start.saturating_add(u32::try_from(members.len() / 2).unwrap_or(u32::MAX));
            let middle = ranges.partition_point(|&at| at < half).clamp(1, groups.saturating_sub(1));
            let cut = ranges.get(middle).map_or(0, |at| at.saturating_sub(start)) as usize;
            if let Some((left, right)) = members.split_at_mut_checked(cut) {
                let left_ranges = ranges.get(..=middle).unwrap_or_default();
                let right_ranges = ranges.get(middle..).unwrap_or_default();
                let (a, b) =
                    rayon::join(|| self.sort_names(left, left_ranges), || self.sort_names(right, right_ranges));
                return a.and(b);
            }
        }
        let mut rest = members;
        for pair in ranges.windows(2) {
            let &[from, to] = pair else { continue };
            let Some((group, after)) = rest.split_at_mut_checked(to.saturating_sub(from) as usize) else { break };
            self.sort_group(group)?;
            rest = after;
        }
        Ok(())
    }

    fn sort_group(self, group: &mut [u32]) -> Result<(), SnapProblem> {
        if group.len() > FEW {
            return self.sort_many(group);
        }
        if group.len() > 1 {
            group.sort_unstable_by(|&a, &b| self.name(a).cmp(self.name(b)));
        }
        match group.windows(2).find_map(|pair| self.same_name(pair)) {
            Some((a, b)) => Err(self.duplicate(a, b)),
            None => Ok(()),
        }
    }

    fn same_name(self, pair: &[u32]) -> Option<(u32, u32)> {
        let &[a, b] = pair else { return None };
        (self.name(a) == self.name(b)).then_some((a, b))
    }

    /// Sorts by the sixteen bytes after what all names share; whole names are looked at again only where those are
    /// equal, since each look is likely to miss every cache.
    fn sort_many(self, group: &mut [u32]) -> Result<(), SnapProblem> {
        let mut keyed = self.keyed(group);
        let order = |a: &(u128, u32), b: &(u128, u32)| a.0.cmp(&b.0).then_with(|| self.name(a.1).cmp(self.name(b.1)));
        if keyed.is_sorted_by(|a, b| a.0 < b.0) {
            // As in a file that was written in key order; no two are the same.
            return Ok(());
        }
        if keyed.len() > SEQUENTIAL_NODES {
            keyed.par_sort_unstable_by(order);
        } else {
            keyed.sort_unstable_by(order);
        }
        for pair in keyed.windows(2) {
            let &[(a_key, a), (b_key, b)] = pair else { continue };
            if a_key == b_key && self.name(a) == self.name(b) {
                return Err(self.duplicate(a, b));
            }
        }
        for (slot, (_, node)) in group.iter_mut().zip(keyed) {
            *slot = node;
        }
        Ok(())
    }

    /// The members with their keys: what follows the prefix that all names share. A few names tell that prefix nearly
    /// always; all of them are asked only where a name does not have it, so none is looked at three times.
    fn keyed(self, group: &[u32]) -> Vec<(u128, u32)> {
        let few = group.iter().step_by(group.len().div_ceil(FEW).max(1));
        let shared = self.shared_prefix(few);
        let prefix = shared.len();
        let keys = |prefix: usize| group.iter().map(move |&node| (word(self.name(node), prefix), node));
        let mut keyed = Vec::with_capacity(group.len());
        let all_share = group.iter().zip(keys(prefix)).all(|(&node, key)| {
            keyed.push(key);
            self.name(node).starts_with(shared)
        });
        if all_share {
            return keyed;
        }
        let prefix = self.shared_prefix(group.iter()).len();
        keyed.clear();
        keyed.extend(keys(prefix));
        keyed
    }

    fn shared_prefix<'n>(self, mut nodes: impl Iterator<Item = &'n u32>) -> &'a [u8] {
        let first = nodes.next().map_or(&b""[..], |&node| self.name(node));
        let shared = nodes.fold(first.len(), |shared, &node| {
            first.iter().zip(self.name(node)).take(shared).take_while(|(a, b)| a == b).count()
        });
        first.get(..shared).unwrap_or_default()
    }

    /// Walks from the root down and gives the entries group by group.
    fn emit(self, groups: &[Group], members: &[u32], ranges: &[u32]) -> Vec<Entry> {
        let mut children = vec![NO_NODE; self.entries.len()];
        for (index, group) in (0u32..).zip(groups) {
            if let Some(slot) = children.get_mut(group.parent as usize) {
                *slot = index;
            }
        }
        let children_of = |node: u32| children.get(node as usize).copied().filter(|&group| group != NO_NODE);
        let mut ordered = Vec::with_capacity(self.entries.len());
        ordered.extend(self.entries.first());
        let mut pending: Vec<u32> = children_of(0).into_iter().collect();
        while let Some(group) = pending.pop() {
            let group = slice(members, ranges, group as usize);
            ordered.extend(group.iter().filter_map(|&node| self.entries.get(node as usize)));
            pending.extend(group.iter().rev().filter_map(|&node| children_of(node)));
        }
        ordered
    }
}

/// Sixteen bytes of a name from `from` on, as a number that orders as they do; names have no zero bytes.
fn word(name: &[u8], from: usize) -> u128 {
    let rest = name.get(from..).unwrap_or_default();
    if let Some(word) = rest.first_chunk::<16>() {
        return u128::from_be_bytes(*word);
    }
    let mut bytes = [0; 16];
    for (slot, byte) in bytes.iter_mut().zip(rest) {
        *slot = *byte;
    }
    u128::from_be_bytes(bytes)
}

/// Whether `path` lies below `above`; both as nodes carry them.
fn is_below(path: &[u8], above: &[u8]) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.starts_with(b"/"))
}
