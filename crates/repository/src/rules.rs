//! The rules that make it safe to use a repository from many places at once (`docs/concurrency.md`), each by a name, where the
//! code follows it. All of them hold; a test can take one away, to see that it is missed.

/// A rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// A writer reads the lists before it looks for its parent (1).
    ListsFirst,
    /// A writer names no pack that is on a list (2).
    AvoidListed,
    /// A writer takes less than half the grace period (3).
    BoundedWriter,
    /// A writer looks for new lists after its manifest's PUT (5).
    LookAfterwards,
    /// A tombstone takes the number after the highest before that goes (6).
    TombstoneFirst,
    /// `forget` writes a list before it deletes (7).
    ListBeforeForgetting,
    /// `prune` lists manifests after packs and lists (8).
    ManifestsLast,
    /// A pack is deleted a grace period after it was condemned (10).
    Grace,
    /// A pack that is named when it is to be deleted stays (10).
    Rescue,
    /// A list stays for as long as a manifest names one of its packs (11).
    ListsStay,
    /// What replaced a named pack counts as named (12).
    MarkSuccessors,
    /// A replaced pack that is named goes only when all that is needed of it is in packs that stay (13).
    WholeSuccessors,
    /// After a list that cannot be read comes a further one with every pack.
    FurtherList,
}

/// The rules that hold.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Rules {
    #[cfg(any(test, feature = "conformance"))]
    without: Option<Rule>,
}

#[cfg(any(test, feature = "conformance"))]
impl Rules {
    /// All but one.
    pub(crate) fn without(rule: Rule) -> Self {
        Self { without: Some(rule) }
    }

    pub(crate) fn have(self, rule: Rule) -> bool {
        self.without != Some(rule)
    }
}

#[cfg(not(any(test, feature = "conformance")))]
impl Rules {
    #[allow(clippy::unused_self, reason = "tests have other rules")]
    pub(crate) fn have(self, _: Rule) -> bool {
        true
    }
}
