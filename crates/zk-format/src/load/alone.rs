//! A snapshot file as a server hands it out over HTTP, without the log that would make it exact.

use super::{Consistency, Loaded, Note, Proof, Tail, state};
use crate::digest::DigestCheck;
use crate::replay::MergedTree;
use crate::tree::FlatTree;
use crate::types::Zxid;

/// The state that a file alone shows.
///
/// It is exact only where its own digest shows it, at the digest's zxid, or where nothing was ever changed. Otherwise
/// its nodes are of moments from the zxid in its name to that of its last trailer. A server writes such a file from
/// what it has applied, so all of it is committed.
pub fn alone(tree: FlatTree) -> Loaded {
    let snapshot = tree.zxid();
    let check = tree.check_digest();
    let proven = matches!(check, DigestCheck::Matches | DigestCheck::MatchesAscii);
    let ascii = check == DigestCheck::MatchesAscii;
    let initial = tree.is_initial();
    let stated = tree.stated_digest().map_or(snapshot, |stated| stated.zxid).max(snapshot);
    let end = stated.max(tree.last_zxid().unwrap_or(snapshot));
    let mut notes = Vec::new();
    if ascii {
        notes.push(Note::AsciiDigest);
    }
    let (zxid_low, zxid_high) = match (proven, initial) {
        (true, _) => (stated, stated),
        (false, true) => (Zxid(0), Zxid(0)),
        (false, false) => (snapshot, end),
    };
    let exact = proven || initial;
    if !exact {
        notes.push(Note::Alone { snapshot, end, digest: check != DigestCheck::Absent });
    } else if zxid_high > snapshot {
        notes.push(Note::SessionsIncomplete { snapshot });
    }
    let digest = if ascii { tree.digest_ascii() } else { tree.digest() };
    let sessions = tree.sessions().to_vec();
    let tree = MergedTree::new(tree, Vec::new());
    Loaded {
        sessions,
        zxid_low,
        zxid_high,
        consistency: if exact { Consistency::Exact } else { Consistency::Fuzzy },
        proof: if proven { Proof::Digest } else { Proof::None },
        tail: Tail::Confirmed,
        anchor: None,
        place: None,
        digest,
        state_time_ms: state::newest_time_ms(&tree),
        unresolved_acls: state::unresolved(&tree),
        transactions: 0,
        notes,
        tree,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file_snap::ReadLimits;
    use crate::file_snap_writer::{SnapWriter, WriteLimits};
    use crate::path;
    use crate::types::{AclList, NodeRef, Stat};

    const NAME: Zxid = Zxid(0x5_0000_0021);
    const LATER: Zxid = Zxid(0x5_0000_0028);

    fn base(changed: Zxid) -> Vec<u8> {
        let world = AclList::world();
        let mut writer = SnapWriter::new(Vec::new(), &[], [], WriteLimits::default()).unwrap();
        for path in [path::ROOT, path::ZOOKEEPER, path::QUOTA, path::CONFIG, b"/a"] {
            let stat =
                if path == b"/a" { Stat { mzxid: changed, mtime: 77, ..Stat::default() } } else { Stat::default() };
            writer.node(&NodeRef { path, data: Some(b""), acl: Some(&world), stat }).unwrap();
        }
        writer.finish().unwrap().0
    }

    fn sealed(mut file: Vec<u8>) -> Vec<u8> {
        let mut adler = simd_adler32::Adler32::new();
        adler.write(&file);
        file.extend(i64::from(adler.finish()).to_be_bytes());
        file.extend(b"\0\0\0\x01/");
        file
    }

    /// A file with both trailers, as 3.9 writes it.
    fn streamed(digest_zxid: Zxid, off_by: i64, last: Zxid) -> Loaded {
        let plain = base(NAME);
        let digest = FlatTree::parse(plain.clone(), NAME, &ReadLimits::default()).unwrap().digest();
        let mut trailer = crate::jute::Writer::new();
        trailer.i64(digest_zxid.0).i32(crate::digest::VERSION).i64(digest.wrapping_add(off_by));
        let with_digest = sealed([plain, trailer.into_bytes()].concat());
        let file = sealed([with_digest, last.0.to_be_bytes().to_vec()].concat());
        alone(FlatTree::parse(file, NAME, &ReadLimits::default()).unwrap())
    }

    #[test]
    fn a_digest_that_holds_makes_it_exact_where_the_digest_is() {
        let quiet = streamed(NAME, 0, NAME);
        assert_eq!((quiet.zxid_low, quiet.zxid_high), (NAME, NAME));
        assert_eq!((quiet.consistency, quiet.proof, quiet.tail), (Consistency::Exact, Proof::Digest, Tail::Confirmed));
        assert!(quiet.notes.is_empty() && quiet.state_time_ms == 77);
        let busy = streamed(LATER, 0, LATER);
        assert_eq!((busy.zxid_low, busy.zxid_high, busy.consistency), (LATER, LATER, Consistency::Exact));
        assert_eq!(busy.notes, [Note::SessionsIncomplete { snapshot: NAME }]);
    }

    #[test]
    fn otherwise_it_is_fuzzy_up_to_its_last_trailer() {
        let fuzzy = streamed(NAME, 1, LATER);
        assert_eq!((fuzzy.zxid_low, fuzzy.zxid_high), (NAME, LATER));
        assert_eq!((fuzzy.consistency, fuzzy.proof), (Consistency::Fuzzy, Proof::None));
        assert_eq!(fuzzy.notes, [Note::Alone { snapshot: NAME, end: LATER, digest: true }]);
        let plain = alone(FlatTree::parse(base(NAME), NAME, &ReadLimits::default()).unwrap());
        assert_eq!((plain.consistency, plain.zxid_high), (Consistency::Fuzzy, NAME));
        assert_eq!(plain.notes, [Note::Alone { snapshot: NAME, end: NAME, digest: false }]);
    }

    #[test]
    fn of_a_server_without_any_transaction_nothing_can_be_fuzzy() {
        let fresh = alone(FlatTree::empty());
        assert_eq!((fresh.zxid_high, fresh.consistency, fresh.proof), (Zxid(0), Consistency::Exact, Proof::None));
    }
}
