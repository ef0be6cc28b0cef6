#![allow(clippy::arithmetic_side_effects)]

use std::collections::BTreeMap;
use std::io::Write as _;

use proptest::prelude::*;
use rstest::rstest;

use super::*;
use crate::file_snap::{Compression, Section, UnsealedAt};
use crate::jute::{JuteError, Writer};
use crate::path::PathProblem;
use crate::types::{Acl, Stat};

/// A file made by hand, so that reader and writer cannot share a mistake.
struct Made {
    bytes: Writer,
}

impl Made {
    fn start(sessions: &[(i64, i32)], acls: &[(i64, AclList)]) -> Self {
        let mut bytes = Writer::new();
        bytes.raw(b"ZKSN").i32(2).i64(-1).vector(Some(sessions.len()));
        for &(id, timeout) in sessions {
            bytes.i64(id).i32(timeout);
        }
        bytes.vector(Some(acls.len()));
        for (id, list) in acls {
            bytes.i64(*id).raw(&list.0);
        }
        Self { bytes }
    }

    fn node(mut self, path: &[u8], data: Option<&[u8]>, acl: i64, stat: &Stat) -> Self {
        self.bytes.ustring(Some(path)).buffer(data).i64(acl);
        self.bytes.i64(stat.czxid.0).i64(stat.mzxid.0).i64(stat.ctime).i64(stat.mtime);
        self.bytes.i32(stat.version).i32(stat.cversion).i32(stat.aversion);
        self.bytes.i64(stat.ephemeral_owner).i64(stat.pzxid.0);
        self
    }

    fn plain(self, path: &[u8]) -> Self {
        self.node(path, None, -1, &Stat::default())
    }

    fn end(mut self) -> Self {
        self.bytes.ustring(Some(b"/"));
        self.seal()
    }

    fn seal(mut self) -> Self {
        let adler = simd_adler32::adler32(&self.bytes.bytes());
        self.bytes.i64(adler.into()).ustring(Some(b"/"));
        self
    }

    fn digest(mut self, zxid: i64, version: i32, digest: i64) -> Self {
        self.bytes.i64(zxid).i32(version).i64(digest);
        self.seal()
    }

    fn last_zxid(mut self, zxid: i64) -> Self {
        self.bytes.i64(zxid);
        self.seal()
    }

    fn done(self) -> Vec<u8> {
        self.bytes.into_bytes()
    }
}

fn parse(bytes: &[u8]) -> Result<FlatTree, SnapProblem> {
    FlatTree::parse(bytes.to_vec(), Zxid(0x5), &ReadLimits::default())
}

fn stat(seed: i64) -> Stat {
    Stat { czxid: Zxid(seed), mzxid: Zxid(seed + 1), pzxid: Zxid(seed + 2), ctime: 3, mtime: 4, ..Stat::default() }
}

fn own_acl() -> AclList {
    AclList::encode(&[Acl { perms: 9, scheme: b"digest".to_vec(), id: b"u:p".to_vec() }])
}

/// Depth first, as servers write.
fn small_base() -> Made {
    Made::start(&[(0x77, 4000)], &[(2, own_acl()), (3, own_acl())])
        .node(b"", Some(b""), -1, &stat(0))
        .node(b"/b", None, 2, &stat(10))
        .node(b"/b/y", Some(b"yy"), 3, &Stat { ephemeral_owner: 0x77, ..stat(20) })
        .node(b"/b/x", Some(b"x"), -1, &stat(30))
        .node(b"/zookeeper", Some(b""), -1, &stat(40))
        .node(b"/zookeeper/quota", Some(b""), -1, &stat(50))
        .node("/a\u{e9}".as_bytes(), Some(b""), 2, &stat(60))
        .end()
}

fn small_digest() -> i64 {
    parse(&small_base().done()).unwrap().digest()
}

type Content = (Vec<u8>, Option<Vec<u8>>, Option<AclList>, Stat);

fn content(tree: &FlatTree) -> Vec<Content> {
    tree.iter().map(|node| (node.path.to_vec(), node.data.map(<[u8]>::to_vec), node.acl.cloned(), node.stat)).collect()
}

#[rstest]
#[case::none(false, false)]
#[case::digest(true, false)]
#[case::last_zxid(false, true)]
#[case::both(true, true)]
fn every_combination_of_trailers_is_read(#[case] digest: bool, #[case] last_zxid: bool) {
    let mut made = small_base();
    if digest {
        made = made.digest(0x6, 2, small_digest());
    }
    if last_zxid {
        made = made.last_zxid(0x7);
    }
    let bytes = made.done();
    let tree = parse(&bytes).unwrap();
    assert_eq!(tree.zxid(), Zxid(5));
    assert_eq!(tree.last_zxid(), last_zxid.then_some(Zxid(7)));
    assert_eq!(tree.stated_digest().map(|stated| stated.zxid), digest.then_some(Zxid(6)));
    assert_eq!(tree.check_digest(), if digest { DigestCheck::Matches } else { DigestCheck::Absent });
    assert_eq!(content(&tree), content(&parse(&small_base().done()).unwrap()));
}

#[test]
fn a_tree_is_in_key_order_with_everything_as_written() {
    let tree = parse(&small_base().done()).unwrap();
    let paths: Vec<_> = tree.iter().map(|node| node.path.to_vec()).collect();
    let expected: [&[u8]; 7] =
        [b"", "/a\u{e9}".as_bytes(), b"/b", b"/zookeeper", b"/b/x", b"/b/y", b"/zookeeper/quota"];
    assert_eq!(paths, expected);
    assert_eq!(tree.acls(), [AclList::world(), own_acl()]);
    assert_eq!(tree.children(b"/b"), 4..6);
    assert_eq!(tree.children(b"/"), 1..4);
    assert!(tree.children(b"/b/x").is_empty() && tree.children(b"/none").is_empty());
    assert_eq!((tree.find(b"/"), tree.find(b"/b/y"), tree.find(b"/b/z")), (Some(0), Some(5), None));
    let y = tree.node(5);
    assert_eq!((y.data, y.acl, y.stat.mzxid), (Some(&b"yy"[..]), Some(&own_acl()), Zxid(21)));
    assert_eq!((tree.node(2).data, tree.node(3).data), (None, Some(&b""[..])));
    assert_eq!(tree.ephemerals(), &BTreeMap::from([(0x77, vec![5])]));
    assert_eq!(tree.sessions(), [Session { id: 0x77, timeout_ms: 4000 }]);
    let sum = tree.iter().map(|node| digest::node_hash(node.path, node.data, &node.stat)).fold(0, i64::wrapping_add);
    assert_eq!(tree.digest(), sum);
}

#[test]
fn digests_are_compared_as_the_servers_locale_has_them() {
    let tree = parse(&small_base().done()).unwrap();
    let ascii = tree.digest_ascii();
    assert_ne!(ascii, tree.digest());
    let check = |version, digest| parse(&small_base().digest(6, version, digest).done()).unwrap().check_digest();
    assert_eq!(check(2, ascii), DigestCheck::MatchesAscii);
    assert_eq!(check(2, 1), DigestCheck::Differs { computed: tree.digest() });
    assert_eq!(check(3, tree.digest()), DigestCheck::UnknownVersion(3));
}

/// Files that a 3.9.4 server wrote: a fresh one, and one with work behind it.
#[test]
fn recorded_files_match_the_digest_their_server_stated() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/recorded/after/version-2");
    let read = |name: &str| FlatTree::read_file(&folder.join(name), &ReadLimits::default()).unwrap();
    let fresh = read("snapshot.0");
    assert_eq!(fresh.stated_digest(), Some(StatedDigest { zxid: Zxid(0), version: 2, digest: 0 }));
    assert_eq!(fresh.check_digest(), DigestCheck::Absent);
    assert_eq!(fresh.digest(), FlatTree::empty().digest());
    let later = read("snapshot.a1");
    assert_eq!(later.check_digest(), DigestCheck::Matches);
    assert_eq!(later.last_zxid(), Some(Zxid(0xa1)));
    assert!(later.len() > 100 && later.unresolved_acls().is_empty());
}

#[test]
fn nodes_with_an_acl_id_that_the_table_lacks_are_listed() {
    let bytes = Made::start(&[], &[]).plain(b"").node(b"/a", None, 9, &stat(1)).node(b"/b", None, 9, &stat(1)).end();
    let tree = parse(&bytes.done()).unwrap();
    assert_eq!(tree.unresolved_acls(), [UnresolvedAcl { id: 9, nodes: 2 }]);
    assert!(tree.node(1).acl.is_none() && tree.acl_index(1).is_none() && tree.node(0).acl.is_some());
}

#[test]
fn the_empty_tree_is_that_of_a_fresh_server() {
    let tree = FlatTree::empty();
    assert_eq!(content(&tree).len(), 3);
    assert_eq!(tree.digest(), 1_371_985_504);
    assert_eq!(tree.zxid(), Zxid(0));
}

#[rstest]
#[case::magic(b"ABCDEFGHIJKLMNOPQRST".to_vec(), |p: &_| matches!(p, SnapProblem::BadMagic { found: [b'A', ..] }))]
#[case::log(b"ZKLG\0\0\0\x02\0\0\0\0\0\0\0\0".to_vec(), |p: &_| matches!(p, SnapProblem::BadMagic { .. }))]
#[case::before_3_0(
    Writer::new().i32(1).i64(5).i32(4000).ustring(Some(b"")).clone().into_bytes(),
    |p: &_| matches!(p, SnapProblem::BeforeVersion3)
)]
#[case::version(
    Writer::new().raw(b"ZKSN").i32(3).i64(-1).clone().into_bytes(),
    |p: &_| matches!(p, SnapProblem::UnknownVersion { found: 3 })
)]
#[case::nothing(vec![], |p: &_| matches!(
    p, SnapProblem::Unsealed { offset: 0, inside: UnsealedAt::Section(Section::Header) }
))]
#[case::negative_sessions(
    Writer::new().raw(b"ZKSN").i32(2).i64(-1).i32(-5).clone().into_bytes(),
    |p: &_| matches!(
        p, SnapProblem::Length { section: Section::Sessions, jute: JuteError::BadLength { offset: 16, length: -5 } }
    )
)]
#[case::null_acl_list(
    Made::start(&[], &[(1, AclList::null())]).plain(b"").end().done(),
    |p: &_| matches!(p, SnapProblem::NullAclList { offset: 24 })
)]
#[case::absurd_path(
    Writer::onto(Made::start(&[], &[]).done()).i32(i32::MAX).clone().into_bytes(),
    |p: &_| matches!(p, SnapProblem::Length { section: Section::Nodes, jute: JuteError::TooLong { offset: 24, .. } })
)]
#[case::absurd_data(
    Writer::onto(Made::start(&[], &[]).done()).i32(0).i32(65 << 20).clone().into_bytes(),
    |p: &_| matches!(p, SnapProblem::Length { section: Section::Nodes, jute: JuteError::TooLong { offset: 28, .. } })
)]
#[case::null_path(
    Writer::onto(Made::start(&[], &[]).done()).i32(-1).clone().into_bytes(),
    |p: &_| matches!(p, SnapProblem::BadPath { why: PathProblem::Null, .. })
)]
#[case::no_nodes(Made::start(&[], &[]).end().done(), |p: &_| matches!(p, SnapProblem::NoRoot { offset: 24 }))]
#[case::no_root(Made::start(&[], &[]).plain(b"/a").end().done(), |p: &_| matches!(p, SnapProblem::NoRoot { .. }))]
#[case::relative(
    Made::start(&[], &[]).plain(b"").plain(b"a").end().done(),
    |p: &_| matches!(p, SnapProblem::BadPath { why: PathProblem::Relative, .. })
)]
#[case::dots(
    Made::start(&[], &[]).plain(b"").plain(b"/a").plain(b"/a/..").end().done(),
    |p: &_| matches!(p, SnapProblem::BadPath { why: PathProblem::Dots, .. })
)]
#[case::control(
    Made::start(&[], &[]).plain(b"").plain(b"/a\x01").end().done(),
    |p: &_| matches!(p, SnapProblem::BadPath { why: PathProblem::Character(1), .. })
)]
#[case::orphan(
    Made::start(&[], &[]).plain(b"").plain(b"/a/b").end().done(),
    |p: &_| matches!(p, SnapProblem::NoParent { path, .. } if path == b"/a/b")
)]
#[case::deep_orphan(
    Made::start(&[], &[]).plain(b"").plain(b"/a").plain(b"/a/b/c").plain(b"/b").plain(b"/b/d").end().done(),
    |p: &_| matches!(p, SnapProblem::NoParent { path, .. } if path == b"/a/b/c")
)]
#[case::child_first(
    Made::start(&[], &[]).plain(b"").plain(b"/a/b").plain(b"/a").end().done(),
    |p: &_| matches!(p, SnapProblem::NoParent { path, .. } if path == b"/a/b")
)]
#[case::duplicate(
    Made::start(&[], &[]).plain(b"").plain(b"/a").plain(b"/b").plain(b"/a").end().done(),
    |p: &_| matches!(p, SnapProblem::Duplicate { path, .. } if path == b"/a")
)]
#[case::duplicate_apart(
    Made::start(&[], &[]).plain(b"").plain(b"/a").plain(b"/a/x").plain(b"/b").plain(b"/b/x").plain(b"/a/x").end().done(),
    |p: &_| matches!(p, SnapProblem::Duplicate { path, .. } if path == b"/a/x")
)]
#[case::two_roots(
    Made::start(&[], &[]).plain(b"").plain(b"").end().done(),
    |p: &_| matches!(p, SnapProblem::Duplicate { .. })
)]
#[case::trailing(
    Writer::onto(small_base().done()).raw(&[0; 55]).clone().into_bytes(),
    |p: &_| matches!(p, SnapProblem::UnknownTrailer { extra: 55, .. })
)]
fn what_is_wrong_is_named(#[case] bytes: Vec<u8>, #[case] expected: fn(&SnapProblem) -> bool) {
    let problem = parse(&bytes).unwrap_err();
    assert!(expected(&problem), "{problem:?}");
}

#[test]
fn a_file_cut_anywhere_is_unsealed_or_ends_at_a_seal() {
    let base = small_base().done().len();
    let digest = small_digest();
    let whole = small_base().digest(0x6, 2, digest).last_zxid(0x7).done();
    let expected = content(&parse(&whole).unwrap());
    for cut in 0..whole.len() {
        match parse(&whole[..cut]) {
            Ok(tree) => {
                assert!([base, base + 33].contains(&cut), "cut at {cut}");
                assert_eq!(content(&tree), expected);
            }
            Err(problem) => assert!(problem.is_unsealed(), "cut at {cut}: {problem:?}"),
        }
    }
}

#[test]
fn no_flipped_bit_gives_another_tree() {
    for whole in [small_base().done(), small_base().digest(0x6, 2, small_digest()).last_zxid(0x7).done()] {
        for at in 0..whole.len() {
            for bit in 0..8 {
                let mut bytes = whole.clone();
                bytes[at] ^= 1 << bit;
                assert!(parse(&bytes).is_err(), "bit {bit} of byte {at}");
            }
        }
    }
}

#[test]
fn wrong_seals_are_told_apart() {
    let mut bytes = small_base().digest(0x6, 2, 1).done();
    let at = bytes.len() - 20;
    bytes[at] ^= 1;
    assert!(matches!(
        parse(&bytes).unwrap_err(),
        SnapProblem::WrongSeal { after: Section::DigestTrailer, offset, .. } if offset == bytes.len() as u64 - 13
    ));
    let mut bytes = small_base().done();
    *bytes.last_mut().unwrap() = b'x';
    assert!(matches!(parse(&bytes).unwrap_err(), SnapProblem::NoSealMark { after: Section::Nodes, .. }));
}

fn compress(bytes: &[u8], compression: Compression) -> Vec<u8> {
    match compression {
        Compression::None => bytes.to_vec(),
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Snappy => {
            let mut file = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
            for block in bytes.chunks(100) {
                let block = snap::raw::Encoder::new().compress_vec(block).unwrap();
                file.extend(u32::try_from(block.len()).unwrap().to_be_bytes());
                file.extend(block);
            }
            file
        }
    }
}

#[rstest]
fn compressed_files_are_read_and_their_damage_noticed(
    #[values(Compression::None, Compression::Gzip, Compression::Snappy)] compression: Compression,
) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(crate::file_snap::name(Zxid(0xabc), compression));
    let read = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        FlatTree::read_file(&path, &ReadLimits::default())
    };
    let plain = small_base().digest(0x6, 2, small_digest()).done();
    let whole = compress(&plain, compression);
    let tree = read(&whole).unwrap();
    assert_eq!(tree.zxid(), Zxid(0xabc));
    assert_eq!(content(&tree), content(&parse(&plain).unwrap()));
    let base_only = content(&parse(&small_base().done()).unwrap());
    for cut in 0..whole.len() {
        match read(&whole[..cut]) {
            Ok(tree) => assert_eq!(content(&tree), base_only, "cut at {cut}"),
            Err(error) => assert!(error.is_unsealed(), "cut at {cut}: {error:?}"),
        }
    }
    for at in 0..whole.len() {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        if let Ok(tree) = read(&bytes) {
            assert_eq!(content(&tree), content(&parse(&plain).unwrap()), "byte {at}");
        }
    }
}

#[test]
fn errors_name_the_file_and_what_inflates_too_much_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("snapshot.1.gz");
    std::fs::write(&path, compress(&vec![0; 65 << 20], Compression::Gzip)).unwrap();
    let error = FlatTree::read_file(&path, &ReadLimits::default()).unwrap_err();
    assert!(matches!(error.problem, SnapProblem::TooLarge { limit: 0x0400_0000 }), "{error:?}");
    assert!(error.to_string().contains("snapshot.1.gz"));
    let named_wrong = FlatTree::read_file(&folder.path().join("x"), &ReadLimits::default()).unwrap_err();
    assert!(matches!(named_wrong.problem, SnapProblem::Name));
    let missing = FlatTree::read_file(&folder.path().join("snapshot.2"), &ReadLimits::default()).unwrap_err();
    assert!(matches!(missing.problem, SnapProblem::Io { action: "open", .. }));
    let limits = ReadLimits { file_bytes: 10, ..ReadLimits::default() };
    let plain = folder.path().join("snapshot.3");
    std::fs::write(&plain, small_base().done()).unwrap();
    assert!(matches!(FlatTree::read_file(&plain, &limits).unwrap_err().problem, SnapProblem::TooLarge { limit: 10 }));
}

/// Files larger than one step of the reader, with groups that are sorted in parallel.
#[test]
fn a_file_of_many_steps_is_read_as_its_bytes_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("snapshot.1");
    let mut made = Made::start(&[], &[]).plain(b"").plain(b"/many");
    for index in 0..30_000u32 {
        let scattered = index.wrapping_mul(2_654_435_761);
        made = made.node(format!("/many/node-{scattered:010}").as_bytes(), Some(&[7; 200]), -1, &stat(index.into()));
        if index % 3 == 0 {
            made = made.plain(format!("/many/node-{scattered:010}/child").as_bytes());
        }
    }
    let bytes = made.end().done();
    std::fs::write(&path, &bytes).unwrap();
    let tree = FlatTree::read_file(&path, &ReadLimits::default()).unwrap();
    assert_eq!(content(&tree), content(&parse(&bytes).unwrap()));
    assert!((1..tree.len()).all(|index| key::encode(tree.path(index - 1)) < key::encode(tree.path(index))));
    assert_eq!(tree.children(b"/many").len(), 30_000);
}

/// Trees as paths from few names, so that siblings, prefixes of names and deep nodes all come up.
fn any_paths() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let name = prop::sample::select(vec!["a", "b", "a-b", "a.b", "aa", "\u{e9}", "abcdefghi", "abcdefghj", "abcdefgh"]);
    let path = prop::collection::vec(name, 1..5);
    prop::collection::vec(path, 0..60).prop_map(|paths| {
        let mut all: std::collections::BTreeSet<Vec<u8>> = [Vec::new()].into();
        for path in paths {
            for depth in 1..=path.len() {
                all.insert(format!("/{}", path[..depth].join("/")).into_bytes());
            }
        }
        all.into_iter().collect()
    })
}

/// An order in which parents come before children: what is ready, taken by chance.
fn parents_first(paths: &[Vec<u8>], picks: &[prop::sample::Index]) -> Vec<Vec<u8>> {
    let mut ready = vec![Vec::new()];
    let mut order = Vec::new();
    let mut pick = picks.iter().cycle();
    while !ready.is_empty() {
        let next = ready.swap_remove(pick.next().unwrap().index(ready.len()));
        ready.extend(paths.iter().filter(|path| key::parent(path) == Some(&next)).cloned());
        order.push(next);
    }
    order
}

proptest! {
    #[test]
    fn the_order_is_that_of_keys_whatever_the_files_is(
        paths in any_paths(),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 1..40),
    ) {
        let mut by_key = paths.clone();
        by_key.sort_by_key(|path| key::encode(path));
        let depth_first = paths.clone();
        for order in [depth_first, by_key.clone(), parents_first(&paths, &picks)] {
            let made = order.iter().fold(Made::start(&[], &[]), |made, path| made.node(path, Some(path), -1, &stat(1)));
            let tree = parse(&made.end().done()).unwrap();
            let read: Vec<_> = tree.iter().map(|node| node.path.to_vec()).collect();
            prop_assert_eq!(&read, &by_key);
            for (index, path) in by_key.iter().enumerate() {
                prop_assert_eq!(tree.find(path), Some(index));
                let children: Vec<_> = tree.children(path).map(|child| tree.path(child).to_vec()).collect();
                let expected: Vec<_> = by_key.iter().filter(|p| key::parent(p) == Some(path)).cloned().collect();
                prop_assert_eq!(children, expected);
            }
        }
    }

    /// Enough siblings to be sorted by parts of their names: some with a prefix that most share, many with long equal
    /// parts, and one name that may be there twice.
    #[test]
    fn many_siblings_are_sorted_and_twins_found(
        names in prop::collection::hash_set("(shared-prefix-){0,2}[ab]{1,24}", 13..120),
        twin: Option<prop::sample::Index>,
    ) {
        let mut paths: Vec<_> = names.iter().map(|name| format!("/{name}").into_bytes()).collect();
        if let Some(twin) = twin {
            paths.push(paths[twin.index(paths.len())].clone());
        }
        let made = paths.iter().fold(Made::start(&[], &[]).plain(b""), |made, path| made.plain(path));
        let read = parse(&made.end().done());
        if twin.is_some() {
            let found = matches!(read, Err(SnapProblem::Duplicate { ref path, .. }) if Some(path) == paths.last());
            prop_assert!(found, "{:?}", read);
        } else {
            paths.sort_by_key(|path| key::encode(path));
            let tree = read.unwrap();
            let read: Vec<_> = tree.iter().skip(1).map(|node| node.path.to_vec()).collect();
            prop_assert_eq!(read, paths);
        }
    }

    #[test]
    fn a_node_lost_from_the_middle_is_noticed(paths in any_paths(), lost: prop::sample::Index) {
        let lost = &paths[lost.index(paths.len())];
        let has_children = paths.iter().any(|path| key::parent(path) == Some(lost));
        let left = paths.iter().filter(|path| *path != lost);
        let made = left.fold(Made::start(&[], &[]), |made, path| made.plain(path));
        prop_assert_eq!(parse(&made.end().done()).is_err(), has_children || lost.is_empty());
    }

    #[test]
    fn random_bytes_never_panic(bytes: Vec<u8>, at: prop::sample::Index) {
        let mut file = small_base().done();
        let at = at.index(file.len());
        file.truncate(at);
        file.extend(bytes);
        prop_assert!(parse(&file).is_err() || at == small_base().done().len());
    }
}
