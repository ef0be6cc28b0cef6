//! A naive server for tests: keeps its tree in a map, writes every transaction it applies, and can be asked for a
//! snapshot file at any moment, also one written while it goes on. It shares no rule with [`crate::replay`].

use crate::digest::node_hash;
use crate::file_txn_log::LogWriter;
use crate::jute::Writer;
use crate::replay::MergedTree;
use crate::tree::FlatTree;
use crate::txn::{self, Body, Create, CreateKind, Part, Txn, TxnDigest, TxnHeader};
use crate::types::{Acl, AclList, CONTAINER_OWNER, Node, Stat, Zxid};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// One thing a client asks for. Numbers choose among what is there.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    Create { parent: usize, name: u8, kind: u8, session: u8, data: Option<Vec<u8>> },
    Delete(usize),
    SetData(usize, Option<Vec<u8>>),
    SetAcl(usize, u8),
    Open(u8),
    Close(u8, bool),
    Failed,
    Multi(Vec<Op>),
    Epoch,
}

pub(crate) fn ops(count: usize) -> impl Strategy<Value = Vec<Op>> {
    let data = prop::option::weighted(0.9, prop::collection::vec(any::<u8>(), 0..20));
    let single = prop_oneof![
        6 => (any::<usize>(), 0u8..12, 0u8..7, 0u8..3, data.clone())
            .prop_map(|(parent, name, kind, session, data)| Op::Create { parent, name, kind, session, data }),
        3 => any::<usize>().prop_map(Op::Delete),
        3 => (any::<usize>(), data).prop_map(|(at, data)| Op::SetData(at, data)),
        1 => (any::<usize>(), 0u8..4).prop_map(|(at, acl)| Op::SetAcl(at, acl)),
    ];
    let op = prop_oneof![
        20 => single.clone(),
        2 => (0u8..3).prop_map(Op::Open),
        2 => (0u8..3, any::<bool>()).prop_map(|(session, list)| Op::Close(session, list)),
        1 => Just(Op::Failed),
        3 => prop::collection::vec(single, 1..5).prop_map(Op::Multi),
        1 => Just(Op::Epoch),
    ];
    prop::collection::vec(op, 1..count)
}

#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) nodes: BTreeMap<Vec<u8>, Node>,
    pub(crate) sessions: BTreeMap<i64, i32>,
    pub(crate) zxid: Zxid,
    pub(crate) digests: bool,
    /// Every record so far: its zxid and payload.
    pub(crate) log: Vec<(Zxid, Vec<u8>)>,
    new_epoch: bool,
}

/// A payload's parts that own their bytes.
enum Done {
    Create(Vec<u8>, Option<Vec<u8>>, AclList, CreateKind, i32),
    Delete(Vec<u8>),
    SetData(Vec<u8>, Option<Vec<u8>>, i32),
    SetAcl(Vec<u8>, AclList, i32),
}

impl Done {
    fn body(&self) -> Body<'_> {
        match self {
            Self::Create(path, data, acl, kind, parent_cversion) => Body::Create(Create {
                path,
                data: data.as_deref(),
                acl: &acl.0,
                kind: *kind,
                parent_cversion: *parent_cversion,
            }),
            Self::Delete(path) => Body::Delete { path, reaped: false },
            Self::SetData(path, data, version) => {
                Body::SetData { path, data: data.as_deref(), version: *version, reconfig: false }
            }
            Self::SetAcl(path, acl, version) => Body::SetAcl { path, acl: &acl.0, version: *version },
        }
    }
}

impl Model {
    pub(crate) fn new() -> Self {
        let empty = FlatTree::empty();
        let nodes = empty.iter().map(|node| {
            let owned = Node { data: node.data.map(Into::into), acl: node.acl.cloned(), stat: node.stat };
            (node.path.to_vec(), owned)
        });
        Self {
            nodes: nodes.collect(),
            sessions: BTreeMap::new(),
            zxid: Zxid(0),
            digests: true,
            log: Vec::new(),
            new_epoch: false,
        }
    }

    pub(crate) fn digest(&self) -> i64 {
        let hashes = self.nodes.iter().map(|(path, node)| node_hash(path, node.data.as_deref(), &node.stat));
        hashes.fold(0, i64::wrapping_add)
    }

    pub(crate) fn time(&self) -> i64 {
        1_700_000_000_000 + i64::from(self.zxid.counter())
    }

    pub(crate) fn run_all(&mut self, ops: &[Op]) {
        for op in ops {
            self.run(op);
        }
    }

    pub(crate) fn create(&mut self, path: &str) {
        let (parent, _) = path.rsplit_once('/').unwrap();
        self.next();
        let done = self.make(parent.as_bytes(), path.as_bytes().to_vec(), 0, 0, Some(b"data".to_vec())).unwrap();
        self.write(0, &done.body());
    }

    pub(crate) fn set(&mut self, path: &str, data: &str) {
        self.next();
        let done = self.set_data(path.as_bytes().to_vec(), Some(data.into())).unwrap();
        self.write(0, &done.body());
    }

    pub(crate) fn run(&mut self, op: &Op) {
        match op {
            Op::Epoch => self.new_epoch = true,
            Op::Failed => {
                self.next();
                self.write(0, &Body::Error { code: -101 });
            }
            Op::Open(session) => {
                self.next();
                let id = 0x1000 + i64::from(*session);
                self.sessions.insert(id, 4000);
                self.write(id, &Body::CreateSession { timeout_ms: 4000 });
            }
            Op::Close(session, list) => {
                self.next();
                let id = 0x1000 + i64::from(*session);
                self.sessions.remove(&id);
                let owned: Vec<Vec<u8>> = self
                    .nodes
                    .iter()
                    .filter(|(_, node)| node.stat.ephemeral_owner == id)
                    .map(|(path, _)| path.clone())
                    .collect();
                for path in &owned {
                    self.remove(path);
                }
                let paths = list.then(|| owned.iter().map(Vec::as_slice).collect());
                self.write(id, &Body::CloseSession { paths });
            }
            Op::Multi(parts) => {
                self.next();
                let before = self.nodes.clone();
                let mut done = Vec::new();
                let mut session = 0;
                for part in parts {
                    if let Op::Create { session: owner, .. } = part {
                        session = 0x1000 + i64::from(*owner);
                    }
                }
                for part in parts {
                    let mut part = part.clone();
                    if let Op::Create { session: owner, .. } = &mut part {
                        *owner = u8::try_from(session - 0x1000).unwrap();
                    }
                    let Some(part) = self.single(&part) else {
                        self.nodes = before;
                        let parts = vec![Part { kind: -1, body: Body::Error { code: -2 } }; parts.len()];
                        self.write(session, &Body::Multi { parts });
                        return;
                    };
                    done.push(part);
                }
                let parts = done.iter().map(|done| Part { kind: done.body().kind(), body: done.body() }).collect();
                self.write(session, &Body::Multi { parts });
            }
            op => {
                self.next();
                let session = if let Op::Create { session, .. } = op { 0x1000 + i64::from(*session) } else { 7 };
                match self.single(op) {
                    Some(done) => self.write(session, &done.body()),
                    None => self.write(session, &Body::Error { code: -110 }),
                }
            }
        }
    }

    fn single(&mut self, op: &Op) -> Option<Done> {
        match op {
            Op::Create { parent, name, kind, session, data } => {
                let parent = self.pick(*parent);
                let mut path = parent.clone();
                path.extend_from_slice(format!("/n{name}é").as_bytes());
                self.make(&parent, path, *kind, *session, data.clone())
            }
            Op::Delete(at) => {
                let path = self.pick(*at);
                let mut below = path.clone();
                below.push(b'/');
                if path.is_empty() || self.nodes.keys().any(|other| other.starts_with(&below)) {
                    return None;
                }
                self.remove(&path);
                Some(Done::Delete(path))
            }
            Op::SetData(at, data) => {
                let path = self.pick(*at);
                self.set_data(path, data.clone())
            }
            Op::SetAcl(at, acl) => {
                let path = self.pick(*at);
                let list = acl_list(*acl);
                let node = self.nodes.get_mut(&path)?;
                node.acl = Some(list.clone());
                node.stat.aversion += 1;
                Some(Done::SetAcl(path.clone(), list, node.stat.aversion))
            }
            _ => None,
        }
    }

    fn make(&mut self, parent: &[u8], path: Vec<u8>, kind: u8, session: u8, data: Option<Vec<u8>>) -> Option<Done> {
        let (zxid, time) = (self.zxid, self.time());
        if self.nodes.contains_key(&path) || self.nodes.get(parent)?.stat.kind().is_ephemeral() {
            return None;
        }
        let session = 0x1000 + i64::from(session);
        let (kind, owner) = match kind {
            0 | 1 => (CreateKind::Plain { ephemeral: false }, 0),
            2 => (CreateKind::WithStat { ephemeral: false }, 0),
            3 => (CreateKind::Plain { ephemeral: true }, session),
            4 => (CreateKind::WithStat { ephemeral: true }, session),
            5 => (CreateKind::Container, CONTAINER_OWNER),
            _ => (CreateKind::Ttl { ttl_ms: 1234 }, 0xff00_0000_0000_04d2_u64.cast_signed()),
        };
        let above = self.nodes.get_mut(parent)?;
        above.stat.cversion += 1;
        above.stat.pzxid = zxid;
        let parent_cversion = above.stat.cversion;
        let stat = Stat {
            czxid: zxid,
            mzxid: zxid,
            pzxid: zxid,
            ctime: time,
            mtime: time,
            version: 0,
            cversion: 0,
            aversion: 0,
            ephemeral_owner: owner,
        };
        let acl = acl_list(u8::try_from(path.len() % 3).unwrap());
        self.nodes.insert(path.clone(), Node { data: data.as_deref().map(Into::into), acl: Some(acl.clone()), stat });
        Some(Done::Create(path, data, acl, kind, parent_cversion))
    }

    fn set_data(&mut self, path: Vec<u8>, data: Option<Vec<u8>>) -> Option<Done> {
        let (zxid, time) = (self.zxid, self.time());
        let node = self.nodes.get_mut(&path)?;
        node.data = data.as_deref().map(Into::into);
        node.stat.version += 1;
        node.stat.mzxid = zxid;
        node.stat.mtime = time;
        Some(Done::SetData(path, data, node.stat.version))
    }

    fn remove(&mut self, path: &[u8]) {
        self.nodes.remove(path).unwrap();
        let parent = &path[..path.iter().rposition(|&byte| byte == b'/').unwrap()];
        self.nodes.get_mut(parent).unwrap().stat.pzxid = self.zxid;
    }

    /// Any node but the server's own.
    fn pick(&self, at: usize) -> Vec<u8> {
        let paths: Vec<_> = self.nodes.keys().filter(|path| !path.starts_with(b"/zookeeper")).collect();
        paths[at % paths.len()].clone()
    }

    fn next(&mut self) {
        self.zxid = if self.new_epoch { Zxid::new(self.zxid.epoch() + 1, 1) } else { Zxid(self.zxid.0 + 1) };
        self.new_epoch = false;
    }

    fn write(&mut self, session: i64, body: &Body<'_>) {
        let failed = matches!(body, Body::Error { .. });
        let digest =
            (self.digests && !failed).then(|| TxnDigest { version: txn::DIGEST_VERSION, digest: self.digest() });
        let header = TxnHeader { session, cxid: 3, zxid: self.zxid, time_ms: self.time(), kind: body.kind() };
        self.log.push((self.zxid, txn::encode(&Txn { header, body: body.clone(), digest })));
    }

    /// Whether a loaded tree is this one, node by node and in key order.
    pub(crate) fn assert_same(&self, tree: &MergedTree) {
        let mut own: Vec<_> = self.nodes.iter().collect();
        own.sort_by(|a, b| crate::key::compare(a.0, b.0));
        assert_eq!(tree.len(), own.len(), "number of nodes");
        for (index, ((path, node), found)) in own.into_iter().zip(tree.iter()).enumerate() {
            assert_eq!(String::from_utf8_lossy(found.path), String::from_utf8_lossy(path));
            assert_eq!(found.data, node.data.as_deref(), "data of {}", String::from_utf8_lossy(path));
            assert_eq!(found.acl, node.acl.as_ref(), "ACL of {}", String::from_utf8_lossy(path));
            assert_eq!(found.stat, node.stat, "stat of {}", String::from_utf8_lossy(path));
            assert_eq!(tree.node(index).path, found.path);
            assert_eq!(tree.find(path).map(|node| node.stat), Some(node.stat));
        }
    }

    /// A snapshot file of this moment.
    pub(crate) fn snapshot(&self, trailers: Trailers) -> Vec<u8> {
        let mut writing = Writing::start(self);
        while !writing.step(self) {}
        writing.finish(self, trailers)
    }
}

pub(crate) fn acl_list(number: u8) -> AclList {
    if number == 0 {
        return AclList::world();
    }
    AclList::encode(&[Acl { perms: i32::from(number), scheme: b"digest".to_vec(), id: vec![b'u', number] }])
}

/// Writes the records to `log.<first>` in `folder`.
pub(crate) fn write_log(folder: &Path, records: &[(Zxid, Vec<u8>)]) -> std::path::PathBuf {
    let path = folder.join(crate::file_txn_log::name(records[0].0));
    let mut writer = LogWriter::new(Vec::new()).unwrap();
    for (_, payload) in records {
        writer.append(payload).unwrap();
    }
    std::fs::write(&path, writer.pad(4096).unwrap()).unwrap();
    path
}

/// What a server appends to its snapshot files.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Trailers {
    None,
    Digest,
    LastZxid,
}

/// A snapshot file being written, node by node, as the server walks: each node and its list of children as they are
/// when it comes to them.
pub(crate) struct Writing {
    out: Writer,
    acls: BTreeMap<AclList, i64>,
    stack: Vec<Vec<u8>>,
    pub(crate) zxid: Zxid,
}

impl Writing {
    pub(crate) fn start(model: &Model) -> Self {
        let mut out = Writer::new();
        out.raw(b"ZKSN").i32(2).i64(-1);
        out.vector(Some(model.sessions.len()));
        for (id, timeout) in &model.sessions {
            out.i64(*id).i32(*timeout);
        }
        let known: BTreeSet<AclList> = model.nodes.values().filter_map(|node| node.acl.clone()).collect();
        let mut acls = BTreeMap::new();
        let listed: Vec<_> = known.into_iter().filter(|list| *list != AclList::world()).collect();
        out.vector(Some(listed.len()));
        for (id, list) in (1..).zip(listed) {
            out.i64(id).raw(&list.0);
            acls.insert(list, id);
        }
        acls.insert(AclList::world(), -1);
        Self { out, acls, stack: vec![Vec::new()], zxid: model.zxid }
    }

    /// Writes one node; says whether all are written.
    pub(crate) fn step(&mut self, model: &Model) -> bool {
        let Some(path) = self.stack.pop() else { return true };
        let Some(node) = model.nodes.get(&path) else { return self.stack.is_empty() };
        let next = i64::try_from(self.acls.len()).unwrap() + 1000;
        // A list that came up after the table was written has an id that nothing resolves.
        let acl = *self.acls.entry(node.acl.clone().unwrap()).or_insert(next);
        let stat = &node.stat;
        self.out.ustring(Some(&path)).buffer(node.data.as_deref()).i64(acl);
        self.out.i64(stat.czxid.0).i64(stat.mzxid.0).i64(stat.ctime).i64(stat.mtime);
        self.out.i32(stat.version).i32(stat.cversion).i32(stat.aversion).i64(stat.ephemeral_owner).i64(stat.pzxid.0);
        let mut below = path.clone();
        below.push(b'/');
        let is_child = |other: &&Vec<u8>| {
            other.strip_prefix(below.as_slice()).is_some_and(|name| !name.is_empty() && !name.contains(&b'/'))
        };
        self.stack.extend(model.nodes.keys().filter(is_child).cloned());
        self.stack.is_empty()
    }

    pub(crate) fn finish(mut self, model: &Model, trailers: Trailers) -> Vec<u8> {
        self.out.ustring(Some(b"/"));
        self.seal();
        match trailers {
            Trailers::None => {}
            Trailers::Digest => {
                self.out.i64(model.zxid.0).i32(2).i64(model.digest());
                self.seal();
            }
            Trailers::LastZxid => {
                self.out.i64(model.zxid.0);
                self.seal();
            }
        }
        self.out.into_bytes()
    }

    fn seal(&mut self) {
        let adler = simd_adler32::adler32(&self.out.bytes());
        self.out.i64(i64::from(adler)).ustring(Some(b"/"));
    }
}
