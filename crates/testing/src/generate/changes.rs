//! Transactions over a tree: what a minute, an hour or a bulk job of the applications does to it.

use zk_format::{Stat, Zxid};

use crate::random::Prng;
use crate::server_files::{LoggedTxn, TxnBody};

use super::shapes::stable_stream;
use super::tree::{Tree, Znode};
use super::values::Kind;

/// A number of changes, of which 80 in 100 set data, 10 create and 10 delete.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// Over the whole tree, each node as likely as any other.
    Random(usize),
    /// In runs of neighbours, as one application's bulk job does.
    Clustered(usize),
    /// Nothing but sets over the whole tree.
    Sets(usize),
}

const RUN: usize = 500;

impl Tree {
    /// Applies changes to the tree and gives the transactions that a server logs for them.
    pub fn change(&mut self, change: Change) -> Vec<LoggedTxn> {
        let mut random = self.random.clone();
        let mut txns = Vec::new();
        match change {
            Change::Random(count) => {
                while txns.len() < count {
                    let turn = random.below(10);
                    let txn = loop {
                        let at = self.any(&mut random);
                        if let Some(txn) = self.one_change(turn, at, &mut random) {
                            break txn;
                        }
                    };
                    txns.push(txn);
                }
            }
            Change::Sets(count) => {
                while txns.len() < count {
                    let at = self.any(&mut random);
                    txns.extend(self.set(at, &mut random));
                }
            }
            Change::Clustered(count) => {
                while txns.len() < count {
                    let start = self.any(&mut random);
                    let stop = (start as usize + RUN).min(self.nodes.len()) as u32;
                    for at in start..stop {
                        if txns.len() < count && self.nodes[at as usize].is_some() {
                            let turn = random.below(10);
                            txns.extend(self.one_change(turn, at, &mut random));
                        }
                    }
                }
            }
        }
        self.random = random;
        txns
    }

    /// A new leader: the next transaction begins the next epoch.
    pub fn next_epoch(&mut self) {
        self.zxid = Zxid::new(self.zxid.epoch() + 1, 0);
    }

    fn any(&self, random: &mut Prng) -> u32 {
        loop {
            let at = random.below(self.nodes.len() as u64) as u32;
            if self.nodes[at as usize].is_some() {
                return at;
            }
        }
    }

    /// One change at or beside a node, or none where the node is of a kind that stays as it is.
    fn one_change(&mut self, turn: u64, at: u32, random: &mut Prng) -> Option<LoggedTxn> {
        match turn {
            0 => self.create_beside(at, random),
            1 => self.delete(at, random),
            _ => self.set(at, random),
        }
    }

    fn set(&mut self, at: u32, random: &mut Prng) -> Option<LoggedTxn> {
        let kind = self.node(at).kind;
        if !kind.is_rewritten() {
            return None;
        }
        let (zxid, time) = self.tick(random);
        let before = self.hash(at);
        let mut stable = stable_stream(self.seed, at);
        let data = kind.value(&mut stable, random, time);
        let znode = self.node_mut(at);
        znode.data.clone_from(&data);
        znode.stat.mzxid = zxid;
        znode.stat.mtime = time;
        znode.stat.version += 1;
        let version = znode.stat.version;
        self.rehash(at, before);
        let path = self.path(at);
        Some(self.logged(zxid, time, random, TxnBody::SetData { path, data: data.map(Into::into), version }))
    }

    fn create_beside(&mut self, at: u32, random: &mut Prng) -> Option<LoggedTxn> {
        let sibling = self.node(at);
        if !sibling.kind.comes_and_goes() {
            return None;
        }
        let (parent, kind, acl) = (sibling.parent, sibling.kind, sibling.acl);
        let (zxid, time) = self.tick(random);
        let cversion = self.node(parent).stat.cversion;
        let name = match kind {
            Kind::LogEntry => format!("entry-{cversion:010}"),
            Kind::Ledger => format!("L{:08x}", zxid.counter()),
            Kind::Block | Kind::Part => format!("2026{:02}_{}_{}", random.between(1, 12), zxid.counter(), zxid.0),
            _ => format!("n{:x}", zxid.0),
        };
        let index = self.nodes.len() as u32;
        let mut stable = stable_stream(self.seed, index);
        let data = kind.value(&mut stable, random, time);
        let stat = Stat { czxid: zxid, mzxid: zxid, pzxid: zxid, ctime: time, mtime: time, ..Stat::default() };
        let before = self.hash(parent);
        let name = name.into_bytes().into_boxed_slice();
        self.nodes.push(Some(Znode { name, parent, children: Vec::new(), data: data.clone(), acl, kind, stat }));
        self.live += 1;
        let above = self.node_mut(parent);
        above.children.push(index);
        above.stat.cversion += 1;
        above.stat.pzxid = zxid;
        self.rehash(parent, before);
        self.digest = self.digest.wrapping_add(self.hash(index));
        let body = TxnBody::Create {
            path: self.path(index),
            data: data.map(Into::into),
            acl: self.acls[acl as usize].clone(),
            ephemeral: false,
            parent_cversion: cversion + 1,
        };
        Some(self.logged(zxid, time, random, body))
    }

    fn delete(&mut self, at: u32, random: &mut Prng) -> Option<LoggedTxn> {
        let znode = self.node(at);
        if !znode.kind.comes_and_goes() || !znode.children.is_empty() {
            return None;
        }
        let parent = znode.parent;
        let path = self.path(at);
        let (zxid, time) = self.tick(random);
        let before = self.hash(parent);
        self.digest = self.digest.wrapping_sub(self.hash(at));
        self.nodes[at as usize] = None;
        self.live -= 1;
        let above = self.node_mut(parent);
        above.children.retain(|&child| child != at);
        above.stat.pzxid = zxid;
        self.rehash(parent, before);
        Some(self.logged(zxid, time, random, TxnBody::Delete { path }))
    }

    fn rehash(&mut self, at: u32, before: i64) {
        self.digest = self.digest.wrapping_sub(before).wrapping_add(self.hash(at));
    }

    fn tick(&mut self, random: &mut Prng) -> (Zxid, i64) {
        self.zxid = Zxid(self.zxid.0 + 1);
        self.time_ms += random.below(600) as i64;
        (self.zxid, self.time_ms)
    }

    fn logged(&mut self, zxid: Zxid, time_ms: i64, random: &mut Prng, body: TxnBody) -> LoggedTxn {
        self.cxid += 1;
        let session = random.pick(&self.sessions).id;
        LoggedTxn { session, cxid: self.cxid, zxid, time_ms, body, digest: Some(self.digest) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_kept_by_changes_is_that_of_the_tree() {
        let mut tree = Tree::build(20_000, 3);
        let before = tree.zxid();
        for change in [Change::Random(500), Change::Clustered(2000), Change::Sets(100)] {
            let txns = tree.change(change);
            assert_eq!(txns.last().unwrap().digest, Some(tree.digest()));
            assert_eq!(tree.digest(), tree.full_digest());
        }
        assert_eq!(tree.zxid().0, before.0 + 2600);
    }

    #[test]
    fn eight_in_ten_set_and_the_rest_create_and_delete() {
        let mut tree = Tree::build(50_000, 3);
        let txns = tree.change(Change::Random(5000));
        let sets = txns.iter().filter(|txn| matches!(txn.body, TxnBody::SetData { .. })).count();
        let creates = txns.iter().filter(|txn| matches!(txn.body, TxnBody::Create { .. })).count();
        assert!((3800..4200).contains(&sets), "{sets} sets");
        assert!((380..620).contains(&creates), "{creates} creates");
    }
}
