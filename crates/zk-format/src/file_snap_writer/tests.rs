use proptest::prelude::*;

use super::*;
use crate::file_snap::ReadLimits;
use crate::tree::FlatTree;
use crate::types::{Acl, Stat, Zxid};

const LIMITS: WriteLimits = WriteLimits { jute_max_buffer: 100 };

fn node<'a>(path: &'a [u8], data: Option<&'a [u8]>, acl: &'a AclList, owner: i64) -> NodeRef<'a> {
    NodeRef { path, data, acl: Some(acl), stat: Stat { ephemeral_owner: owner, czxid: Zxid(7), ..Stat::default() } }
}

fn outcome(paths: &[&[u8]]) -> Result<Vec<u8>, SnapWriteError> {
    let world = AclList::world();
    let mut writer = SnapWriter::new(Vec::new(), &[], [], LIMITS)?;
    for path in paths {
        writer.node(&node(path, None, &world, 0))?;
    }
    writer.finish().map(|(file, _)| file)
}

#[test]
fn what_is_written_is_read_again() {
    let world = AclList::world();
    let own = AclList::encode(&[Acl { perms: 3, scheme: b"sasl".to_vec(), id: b"me".to_vec() }]);
    let sessions = [Session { id: 0x10, timeout_ms: 4000 }, Session { id: -3, timeout_ms: 1 }];
    let mut writer = SnapWriter::new(Vec::new(), &sessions, [&own, &own, &world], LIMITS).unwrap();
    let nodes = [
        node(b"", Some(b""), &world, 0),
        node(b"/zookeeper", None, &world, 0),
        node(b"/zookeeper/quota", Some(b""), &own, 0),
        node(b"/e", Some(b"x"), &own, 0x10),
        node(b"/c", None, &world, i64::MIN),
    ];
    for node in &nodes {
        writer.node(node).unwrap();
    }
    let (file, written) = writer.finish().unwrap();
    assert_eq!((written.nodes, written.bytes), (5, file.len() as u64));
    let tree = FlatTree::parse(file, Zxid(9), &ReadLimits::default()).unwrap();
    assert_eq!(tree.sessions(), sessions);
    assert_eq!(tree.acls(), [world.clone(), own.clone()]);
    assert_eq!(tree.len(), nodes.len());
    for node in &nodes {
        let read = tree.node(tree.find(node.path).unwrap());
        assert_eq!((read.path, read.data, read.acl, read.stat), (node.path, node.data, node.acl, node.stat));
    }
    assert_eq!(tree.ephemerals().get(&0x10), Some(&vec![u32::try_from(tree.find(b"/e").unwrap()).unwrap()]));
    assert_eq!(tree.ephemerals().len(), 1);
}

#[test]
fn what_a_server_would_not_load_is_refused() {
    use SnapWriteError as E;
    assert!(outcome(&[b"", b"/zookeeper", b"/zookeeper/quota"]).is_ok());
    assert!(matches!(outcome(&[b"/a"]), Err(E::NoParent { .. })));
    assert!(matches!(outcome(&[b"", b"/a/b", b"/a"]), Err(E::NoParent { .. })));
    assert!(matches!(outcome(&[b"", b"/a", b"/a"]), Err(E::Duplicate { .. })));
    assert!(matches!(outcome(&[b"", b""]), Err(E::Duplicate { .. })));
    assert!(matches!(outcome(&[b"", b"/a", b"/a/.."]), Err(E::BadPath { why: PathProblem::Dots, .. })));
    assert!(matches!(outcome(&[b"", b"a"]), Err(E::BadPath { why: PathProblem::Relative, .. })));
    assert!(matches!(outcome(&[b"", b"/zookeeper"]), Err(E::MissingReserved { path: path::QUOTA })));

    let world = AclList::world();
    let own = AclList::encode(&[]);
    let mut writer = SnapWriter::new(Vec::new(), &[], [], LIMITS).unwrap();
    let mut refused = |node: &NodeRef<'_>| writer.node(node).unwrap_err();
    assert!(matches!(refused(&node(b"", Some(&[0; 101]), &world, 0)), E::TooLarge { what: "data", bytes: 101, .. }));
    let mut writer = SnapWriter::new(Vec::new(), &[], [], LIMITS).unwrap();
    assert!(matches!(writer.node(&node(b"", None, &own, 0)), Err(E::UnknownAcl { .. })));
    let mut writer = SnapWriter::new(Vec::new(), &[], [], LIMITS).unwrap();
    assert!(matches!(writer.node(&node(b"", None, &world, 5)), Err(E::UnknownSession { session: 5, .. })));
    assert!(matches!(SnapWriter::new(Vec::new(), &[], [&AclList::null()], LIMITS), Err(E::BadAcl { index: 0 })));
}

#[test]
fn a_failing_output_is_reported() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let world = AclList::world();
    assert!(matches!(SnapWriter::new(Full, &[], [&world], LIMITS), Err(SnapWriteError::Io(_))));
}

const OWN: [&[u8]; 3] = [path::ROOT, path::ZOOKEEPER, path::QUOTA];

/// The server's nodes one by one, then a part for each list of paths.
fn in_parts<W: Write>(out: W, parts: &[&[&[u8]]]) -> Result<(W, Written), SnapWriteError> {
    let world = AclList::world();
    let mut writer = SnapWriter::new(out, &[], [], LIMITS)?;
    let maker = writer.parts();
    for path in OWN {
        writer.node(&node(path, None, &world, 0))?;
    }
    for paths in parts {
        let mut part = maker.part();
        for path in *paths {
            part.node(&node(path, Some(path), &world, 0))?;
        }
        writer.append(part.finish())?;
    }
    writer.finish()
}

#[test]
fn parts_make_the_same_file_as_single_nodes() {
    let parts: [&[&[u8]]; 3] = [&[b"/a", b"/a/b", b"/c"], &[], &[b"/a/b/d", b"/c/e", b"/f"]];
    let (file, written) = in_parts(Vec::new(), &parts).unwrap();
    let world = AclList::world();
    let mut writer = SnapWriter::new(Vec::new(), &[], [], LIMITS).unwrap();
    for path in OWN {
        writer.node(&node(path, None, &world, 0)).unwrap();
    }
    for path in parts.concat() {
        writer.node(&node(path, Some(path), &world, 0)).unwrap();
    }
    let (single, alone) = writer.finish().unwrap();
    assert_eq!(file, single);
    assert_eq!((written.nodes, written.bytes), (alone.nodes, alone.bytes));
    assert_eq!(FlatTree::parse(file, Zxid(9), &ReadLimits::default()).unwrap().len(), 9);
}

#[test]
fn parts_are_checked_against_each_other() {
    use SnapWriteError as E;
    let orphan = in_parts(Vec::new(), &[&[b"/a"], &[b"/b/c"]]);
    assert!(matches!(orphan, Err(E::NoParent { path }) if path == b"/b/c"));
    let late = in_parts(Vec::new(), &[&[b"/a/b", b"/a"]]);
    assert!(matches!(late, Err(E::NoParent { path }) if path == b"/a/b"));
    let twice = in_parts(Vec::new(), &[&[b"/a", b"/b"], &[b"/c", b"/b"]]);
    assert!(matches!(twice, Err(E::Duplicate { path }) if path == b"/b"));
}

#[test]
fn every_flipped_bit_is_found_when_it_is_read_back() {
    use std::os::unix::fs::FileExt;
    let file = tempfile::tempfile().unwrap();
    let (_, written) = in_parts(&file, &[&[b"/a", b"/a/b"], &[b"/c"]]).unwrap();
    read_back(&file, &written).unwrap();
    for offset in 0..written.bytes {
        let mut byte = [0];
        file.read_exact_at(&mut byte, offset).unwrap();
        file.write_all_at(&[byte[0] ^ 4], offset).unwrap();
        assert!(matches!(read_back(&file, &written), Err(ReadBackError::Bytes { .. })), "byte {offset}");
        file.write_all_at(&byte, offset).unwrap();
    }
    file.set_len(written.bytes - 1).unwrap();
    assert!(matches!(read_back(&file, &written), Err(ReadBackError::Bytes { .. })));
}

/// What is wrong with nodes in this order, by the rule itself.
fn naive(paths: &[Vec<u8>]) -> Option<(bool, &[u8])> {
    let mut seen = HashSet::new();
    for path in paths {
        if crate::key::parent(path).is_some_and(|parent| !seen.contains(parent)) {
            return Some((false, path));
        }
        if !seen.insert(path.as_slice()) {
            return Some((true, path));
        }
    }
    None
}

fn tree() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let path = prop::collection::vec(prop::sample::select(vec!["a", "b", "ab", "a-", "c"]), 1..4);
    prop::collection::vec(path, 0..25).prop_map(|all| {
        let mut paths: Vec<Vec<u8>> = OWN.iter().map(|path| path.to_vec()).collect();
        for names in all {
            for depth in 1..=names.len() {
                paths.push(format!("/{}", names[..depth].join("/")).into_bytes());
            }
        }
        paths.sort_by(|a, b| crate::key::compare(a, b));
        paths.dedup();
        paths
    })
}

proptest! {
    /// Parts in key order and parts in any other are judged alike.
    #[test]
    fn parents_and_twins_are_found_in_every_order(
        mut paths in tree(),
        lost in prop::option::of(any::<prop::sample::Index>()),
        again in prop::option::of(any::<(prop::sample::Index, prop::sample::Index)>()),
        swapped in prop::option::of(any::<(prop::sample::Index, prop::sample::Index)>()),
        size in 1_usize..9,
        single in any::<bool>(),
    ) {
        if let Some((from, to)) = again {
            let path = from.get(&paths).clone();
            paths.insert(to.index(paths.len()), path);
        }
        if let Some((a, b)) = swapped {
            let len = paths.len();
            paths.swap(a.index(len), b.index(len));
        }
        if let Some(lost) = lost {
            paths.remove(lost.index(paths.len()));
        }
        let world = AclList::world();
        let mut writer = SnapWriter::new(Vec::new(), &[], [], LIMITS).unwrap();
        let maker = writer.parts();
        let mut write = || {
            for (index, paths) in paths.chunks(size).enumerate() {
                let mut part = maker.part();
                for path in paths {
                    let node = node(path, None, &world, 0);
                    if single && index % 2 == 0 { writer.node(&node)? } else { part.node(&node)? }
                }
                writer.append(part.finish())?;
            }
            Ok(())
        };
        let found = match write() {
            Ok(()) => None,
            Err(SnapWriteError::NoParent { path }) => Some((false, path)),
            Err(SnapWriteError::Duplicate { path }) => Some((true, path)),
            Err(other) => panic!("{other}"),
        };
        prop_assert_eq!(found.as_ref().map(|(twin, path)| (*twin, path.as_slice())), naive(&paths));
    }
}
