//! What is to be done about one node: how it should be against how it is.

use serde::Serialize;
use zk_connect::live::scan::{Unreadable, is_masked};
use zk_format::{AclList, NodeRef, OwnerKind, path};

use super::area::Part;
use super::wanted::Wanted;

/// What happens to a node that exists and is not as in the snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Nothing is restored at all.
    #[default]
    Fail,
    /// It stays as it is.
    Skip,
    /// It becomes as in the snapshot.
    Overwrite,
    /// It becomes as in the snapshot where that was written later.
    Newer,
}

/// What holds for every node.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// See [`Policy`].
    pub policy: Policy,
    /// ACLs of nodes that exist stay as they are.
    pub data_only: bool,
    /// The ACL that an earlier run of this restore left where it did not come to the final one.
    pub temporary: Option<AclList>,
    /// Whether an earlier run of this restore had already begun to set final ACLs.
    pub tightening: bool,
}

/// How a node that exists is not as in the snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "each tells one way to differ, and they combine")]
pub struct Differs {
    /// Other data.
    pub data: bool,
    /// Another ACL.
    pub acl: bool,
    /// Ephemeral there, not in the snapshot.
    pub kind: bool,
    /// Its data may not be read.
    pub closed: bool,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is as it should be.
    Same,
    /// It is to be created.
    Create,
    /// It is to be changed: data where it has this version, ACL where that has this one.
    Update {
        /// The version of the data to replace.
        data: Option<i32>,
        /// The version of the ACL to replace.
        acl: Option<i32>,
    },
    /// An ephemeral node of this version is in its place.
    Replace {
        /// That node's version.
        version: i32,
    },
    /// An earlier run created it, and only its ACL is not final yet.
    Pending {
        /// The version of the ACL to replace.
        acl: i32,
    },
    /// It differs, and the policy demands that nothing happens.
    Conflict(Differs),
    /// It differs and stays as it is.
    Left(Differs),
    /// It went with its session.
    Ephemeral,
    /// The server's own.
    Reserved,
}

/// Decides.
pub fn decide(wanted: &Wanted, live: Option<NodeRef<'_>>, unreadable: Unreadable, rules: &Rules) -> Verdict {
    match wanted.part {
        Part::Reserved | Part::Outside => return Verdict::Reserved,
        Part::Leads if live.is_some() => return Verdict::Same,
        Part::Leads | Part::Wanted => {}
    }
    if wanted.is_ephemeral() {
        return Verdict::Ephemeral;
    }
    let Some(live) = live else { return Verdict::Create };
    let differs = compare(wanted, &live, unreadable, rules);
    if differs == Differs::default() {
        return Verdict::Same;
    }
    let (version, aversion) = (live.stat.version, live.stat.aversion);
    if differs == (Differs { acl: true, ..Differs::default() })
        && live.acl.is_some()
        && live.acl == rules.temporary.as_ref()
    {
        return Verdict::Pending { acl: aversion };
    }
    if differs == (Differs { closed: true, ..Differs::default() }) && rules.tightening && wanted.acl.is_some() {
        // Its data was verified before the ACL that hides it was set.
        return Verdict::Same;
    }
    let change = if differs.kind {
        Verdict::Replace { version }
    } else {
        Verdict::Update {
            data: (differs.data || differs.closed).then_some(version),
            acl: differs.acl.then_some(aversion),
        }
    };
    let overwrites = rules.policy == Policy::Overwrite;
    if wanted.target.is_empty() || path::is_reserved(&wanted.target) {
        return if overwrites { change } else { Verdict::Left(differs) };
    }
    match rules.policy {
        Policy::Fail => Verdict::Conflict(differs),
        Policy::Overwrite => change,
        Policy::Newer if wanted.stat.mtime > live.stat.mtime => change,
        Policy::Skip | Policy::Newer => Verdict::Left(differs),
    }
}

fn compare(wanted: &Wanted, live: &NodeRef<'_>, unreadable: Unreadable, rules: &Rules) -> Differs {
    let data_counts = !wanted.data_unknown && !path::is_volatile(&wanted.target);
    Differs {
        kind: matches!(live.stat.kind(), OwnerKind::Ephemeral { .. }),
        closed: unreadable.data && data_counts,
        data: !unreadable.data && data_counts && live.data != wanted.data.as_deref(),
        acl: match (&wanted.acl, live.acl) {
            (Some(wanted), Some(live)) => !rules.data_only && !unreadable.acl && !same_acl(wanted, live),
            _ => false,
        },
    }
}

/// Whether a list that the target shows may be the wanted one: without ADMIN permission it hides digests.
pub fn same_acl(wanted: &AclList, shown: &AclList) -> bool {
    if wanted == shown {
        return true;
    }
    if !is_masked(shown) {
        return false;
    }
    let (Ok(wanted), Ok(shown)) = (wanted.decode(), shown.decode()) else { return false };
    let user = |id: &[u8]| id.iter().position(|byte| *byte == b':').map(|at| id.split_at(at).0.to_vec());
    wanted.len() == shown.len()
        && wanted.iter().zip(&shown).all(|(a, b)| {
            let hidden = b.scheme == b"digest" && b.id.ends_with(b":x") && user(&a.id) == user(&b.id);
            a.perms == b.perms && a.scheme == b.scheme && (a.id == b.id || hidden)
        })
}

#[cfg(test)]
mod tests {
    use zk_format::{Acl, Stat};

    use super::*;

    fn acl(id: &str) -> AclList {
        AclList::encode(&[Acl { perms: 31, scheme: b"digest".to_vec(), id: id.as_bytes().to_vec() }])
    }

    fn wanted(target: &str) -> Wanted {
        Wanted {
            source: target.into(),
            target: target.into(),
            part: Part::Wanted,
            data: Some(b"new".to_vec()),
            acl: Some(acl("a:h")),
            stat: Stat { mtime: 50, ..Stat::default() },
            data_unknown: false,
        }
    }

    fn verdict(target: &str, data: &[u8], list: &AclList, mtime: i64, rules: &Rules) -> Verdict {
        let stat = Stat { version: 4, aversion: 2, mtime, ..Stat::default() };
        let live = NodeRef { path: target.as_bytes(), data: Some(data), acl: Some(list), stat };
        decide(&wanted(target), Some(live), Unreadable::default(), rules)
    }

    fn rules(policy: Policy) -> Rules {
        Rules { policy, ..Rules::default() }
    }

    #[test]
    fn what_differs_is_decided_by_the_policy() {
        let data = Differs { data: true, ..Differs::default() };
        let update = Verdict::Update { data: Some(4), acl: None };
        for (policy, mtime, expected) in [
            (Policy::Fail, 0, Verdict::Conflict(data)),
            (Policy::Skip, 0, Verdict::Left(data)),
            (Policy::Overwrite, 99, update),
            (Policy::Newer, 49, update),
            (Policy::Newer, 50, Verdict::Left(data)),
        ] {
            assert_eq!(verdict("/a", b"old", &acl("a:h"), mtime, &rules(policy)), expected, "{policy:?}");
        }
        let both = Verdict::Update { data: Some(4), acl: Some(2) };
        assert_eq!(verdict("/a", b"old", &acl("b:h"), 0, &rules(Policy::Overwrite)), both);
        assert_eq!(verdict("/a", b"new", &acl("a:h"), 99, &rules(Policy::Fail)), Verdict::Same);
        let data_only = Rules { data_only: true, ..rules(Policy::Fail) };
        assert_eq!(verdict("/a", b"new", &acl("b:h"), 99, &data_only), Verdict::Same);
        assert_eq!(decide(&wanted("/a"), None, Unreadable::default(), &rules(Policy::Fail)), Verdict::Create);
    }

    #[test]
    fn the_root_and_the_servers_own_nodes_never_conflict() {
        for path in ["", "/zookeeper/quota/a/zookeeper_limits"] {
            let left = verdict(path, b"old", &acl("a:h"), 0, &rules(Policy::Fail));
            assert_eq!(left, Verdict::Left(Differs { data: true, ..Differs::default() }));
            assert!(matches!(verdict(path, b"old", &acl("a:h"), 0, &rules(Policy::Overwrite)), Verdict::Update { .. }));
        }
        let stats = "/zookeeper/quota/a/zookeeper_stats";
        assert_eq!(verdict(stats, b"count=7", &acl("a:h"), 0, &rules(Policy::Fail)), Verdict::Same);
    }

    #[test]
    fn what_an_earlier_run_left_is_pending() {
        let resumed = Rules { temporary: Some(acl("own:h")), ..rules(Policy::Fail) };
        assert_eq!(verdict("/a", b"new", &acl("own:h"), 0, &resumed), Verdict::Pending { acl: 2 });
        assert!(matches!(verdict("/a", b"old", &acl("own:h"), 0, &resumed), Verdict::Conflict(_)));
        assert!(matches!(verdict("/a", b"new", &acl("own:h"), 0, &rules(Policy::Fail)), Verdict::Conflict(_)));
    }

    #[test]
    fn a_hidden_digest_may_be_the_wanted_one() {
        assert!(same_acl(&acl("a:h"), &acl("a:x")) && !same_acl(&acl("b:h"), &acl("a:x")));
        assert!(!same_acl(&acl("a:h"), &acl("a:other")));
    }

    #[test]
    fn an_ephemeral_in_the_way_is_another_type() {
        let stat = Stat { version: 3, ephemeral_owner: 0x1000, ..Stat::default() };
        let list = acl("a:h");
        let live = NodeRef { path: b"/a", data: Some(b"new"), acl: Some(&list), stat };
        let found = decide(&wanted("/a"), Some(live), Unreadable::default(), &rules(Policy::Overwrite));
        assert_eq!(found, Verdict::Replace { version: 3 });
    }
}
