//! Which nodes of a snapshot a restore is about, and where each of them goes.
//!
//! A node is **wanted** where it lies below the restored path and passes the filters, and **leads** to wanted ones
//! where it is their ancestor: that is created where it is missing and otherwise left alone. `/zookeeper` is the
//! server's own: of it only quotas are restored, and only between the same paths of whole ensembles. `/zooark` is ours, and
//! none of a restore's business.

use zk_format::path::{self, is_within};

use crate::error::{EngineError, ErrorKind};
use crate::filter::Filter;
use crate::own::is_own;

/// What is below `from` goes below `to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remap {
    /// A path of the snapshot; `""` is the root.
    pub from: Vec<u8>,
    /// A path of the target.
    pub to: Vec<u8>,
}

/// What a node of the snapshot is to a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// To be as in the snapshot.
    Wanted,
    /// To be there.
    Leads,
    /// The server's own, not restored.
    Reserved,
    /// None of its business.
    Outside,
}

/// See the module's head.
#[derive(Clone, Debug)]
pub struct Area {
    /// The restored path; `""` for everything.
    pub path: Vec<u8>,
    /// The most special first.
    remap: Vec<Remap>,
    filter: Filter,
    stored: Filter,
    /// Whether quotas mean the same here and there.
    quotas: bool,
}

impl Area {
    /// `stored` is the filter of the snapshot itself; `quotas` whether both sides are whole ensembles.
    pub fn new(path: Vec<u8>, mut remap: Vec<Remap>, filter: Filter, stored: Filter, quotas: bool) -> Self {
        remap.sort_by_key(|rule| std::cmp::Reverse(rule.from.len()));
        let quotas = quotas && remap.is_empty();
        Self { path, remap, filter, stored, quotas }
    }

    /// What a node of the snapshot is to the restore.
    pub fn part(&self, source: &[u8]) -> Part {
        if path::is_reserved(source) {
            return self.reserved_part(source);
        }
        if is_own(source) || (self.moves() && is_own(&self.target_of(source))) {
            return Part::Outside;
        }
        if is_within(source, &self.path) {
            if self.filter.selects(source) && self.stored.selects(source) {
                return Part::Wanted;
            }
            return if self.filter.leads_to(source) { Part::Leads } else { Part::Outside };
        }
        if is_within(&self.path, source) { Part::Leads } else { Part::Outside }
    }

    fn reserved_part(&self, source: &[u8]) -> Part {
        let asked = is_within(source, &self.path) && self.filter.selects(source);
        let limits = source.len() > path::QUOTA.len() && is_within(source, path::QUOTA);
        match (asked, limits && self.quotas) {
            (false, _) => Part::Outside,
            (true, false) => Part::Reserved,
            (true, true) => Part::Wanted,
        }
    }

    /// Where a node of the snapshot goes.
    pub fn target_of(&self, source: &[u8]) -> Vec<u8> {
        match self.remap.iter().find(|rule| is_within(source, &rule.from)) {
            Some(rule) => [&rule.to, source.get(rule.from.len()..).unwrap_or_default()].concat(),
            None => source.to_vec(),
        }
    }

    /// The path in the snapshot whose node would go there.
    pub fn source_of(&self, target: &[u8]) -> Option<Vec<u8>> {
        let mut rules = self.remap.iter().filter(|rule| is_within(target, &rule.to)).peekable();
        // Where a rule writes, nothing comes from the same path.
        let itself = rules.peek().is_none().then(|| target.to_vec());
        let mapped = rules.map(|rule| [&rule.from, target.get(rule.to.len()..).unwrap_or_default()].concat());
        // A more special rule may send that path elsewhere.
        mapped.chain(itself).find(|source| self.target_of(source) == target)
    }

    /// The subtrees of the target that the restore can change, ancestors aside.
    pub fn roots(&self) -> Vec<Vec<u8>> {
        let inner = self.remap.iter().filter(|rule| is_within(&rule.from, &self.path)).map(|rule| rule.to.clone());
        let mut roots: Vec<Vec<u8>> = inner.chain([self.target_of(&self.path)]).collect();
        roots.sort();
        roots.dedup();
        roots
    }

    /// Whether a node of the target has to be read: it may be restored, or leads there.
    pub fn reads(&self, target: &[u8]) -> bool {
        if is_own(target) {
            return false;
        }
        let roots = self.roots();
        if roots.iter().any(|root| is_within(root, target)) {
            return true;
        }
        if !roots.iter().any(|root| is_within(target, root)) {
            return false;
        }
        self.remap.iter().any(|rule| is_within(&rule.to, target))
            || self.source_of(target).is_some_and(|source| {
                path::is_reserved(&source) || self.filter.selects(&source) || self.filter.leads_to(&source)
            })
    }

    /// Whether a node of the target that the snapshot lacks counts as too much.
    pub fn rules_over(&self, target: &[u8]) -> bool {
        !path::is_reserved(target)
            && !is_own(target)
            && self.source_of(target).is_some_and(|source| source != self.path && self.part(&source) == Part::Wanted)
    }

    /// Refuses rules that send two nodes to one place, or anything into the server's own subtree.
    pub fn check(&self) -> Result<(), EngineError> {
        let ends = self.remap.iter().flat_map(|rule| [&rule.from, &rule.to]);
        if ends.chain([&self.path]).any(|path| is_own(path)) {
            let text = "/zooark is what restores themselves keep in an ensemble: nothing is restored from it or to it";
            return Err(EngineError::new(ErrorKind::Usage, text));
        }
        for (index, rule) in self.remap.iter().enumerate() {
            if self.remap.iter().skip(index + 1).any(|other| other.from == rule.from || other.to == rule.to) {
                return Err(EngineError::new(ErrorKind::Usage, "two rules of --remap begin or end at the same path"));
            }
            if path::is_reserved(&rule.to) || path::is_reserved(&rule.from) {
                return Err(EngineError::new(
                    ErrorKind::Usage,
                    "--remap cannot move anything into or out of /zookeeper",
                ));
            }
        }
        Ok(())
    }

    /// Whether paths change on the way.
    pub fn moves(&self) -> bool {
        !self.remap.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn area(path: &str, remap: &[(&str, &str)], include: &[&str]) -> Area {
        let remap = remap.iter().map(|(from, to)| Remap { from: from.as_bytes().into(), to: to.as_bytes().into() });
        let filter = Filter::new(include, &[]).unwrap();
        Area::new(path.as_bytes().to_vec(), remap.collect(), filter, Filter::default(), true)
    }

    #[test]
    fn ancestors_lead_and_what_lies_below_is_wanted() {
        let some = area("/a/b", &[], &[]);
        for (path, part) in [
            ("", Part::Leads),
            ("/a", Part::Leads),
            ("/a/b", Part::Wanted),
            ("/a/b/c", Part::Wanted),
            ("/a/bc", Part::Outside),
            ("/zookeeper/quota/a", Part::Outside),
        ] {
            assert_eq!(some.part(path.as_bytes()), part, "{path}");
        }
        let filtered = area("", &[], &["/x/*/y"]);
        assert_eq!(filtered.part(b"/x/1"), Part::Leads);
        assert_eq!(filtered.part(b"/x/1/y/z"), Part::Wanted);
        assert!(filtered.reads(b"/x/1") && !filtered.reads(b"/w"));
    }

    #[test]
    fn paths_go_there_and_back() {
        let moved = area("/a", &[("/a", "/new/a"), ("/a/x", "/x")], &[]);
        for (from, to) in [("/a", "/new/a"), ("/a/b", "/new/a/b"), ("/a/x", "/x"), ("/a/x/y", "/x/y"), ("/c", "/c")] {
            assert_eq!(moved.target_of(from.as_bytes()), to.as_bytes());
            assert_eq!(moved.source_of(to.as_bytes()).unwrap(), from.as_bytes());
        }
        assert_eq!(moved.source_of(b"/new/a/x"), None, "nothing goes there");
        assert_eq!(moved.roots(), [b"/new/a".to_vec(), b"/x".to_vec()]);
        assert!(moved.reads(b"/new") && moved.reads(b"/new/a/b") && !moved.reads(b"/a"));
        assert!(moved.rules_over(b"/new/a/b") && !moved.rules_over(b"/new/a") && !moved.rules_over(b"/new/b"));
    }

    #[test]
    fn of_the_servers_own_nodes_only_quotas_are_restored() {
        let all = area("", &[], &[]);
        assert_eq!(all.part(b"/zookeeper/quota/app/zookeeper_limits"), Part::Wanted);
        assert_eq!(all.part(b"/zookeeper/config"), Part::Reserved);
        assert_eq!(all.part(b"/zookeeper/quota"), Part::Reserved);
        let moved = area("", &[("/a", "/b")], &[]);
        assert_eq!(moved.part(b"/zookeeper/quota/a"), Part::Reserved);
        assert!(area("", &[("/a", "/c"), ("/b", "/c")], &[]).check().is_err());
        assert!(area("", &[("/a", "/zookeeper/x")], &[]).check().is_err());
    }

    #[test]
    fn of_our_own_nodes_nothing_is_restored() {
        let all = area("", &[], &[]);
        assert_eq!(all.part(b"/zooark/lock"), Part::Outside);
        assert!(!all.reads(b"/zooark") && !all.rules_over(b"/zooark") && all.rules_over(b"/zooarkive"));
        assert!(area("", &[("/a", "/zooark/a")], &[]).check().is_err());
        assert!(area("/zooark", &[], &[]).check().is_err());
        // Two moves that meet there.
        assert_eq!(area("", &[("/a/b", "/zooark")], &[]).part(b"/a/b/lock"), Part::Outside);
    }
}
