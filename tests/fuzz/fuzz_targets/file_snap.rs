//! Snapshot files from any bytes. A seal is a checksum that random bytes do not have, so the bytes are taken as what
//! comes after a header, and are sealed here; then as a whole file. What is read must hold its promises: key order,
//! every parent there, every node found, and the same tree again once written and read back.

#![no_main]

use libfuzzer_sys::fuzz_target;
use zk_format::file_snap::ReadLimits;
use zk_format::file_snap_writer::{SnapWriter, WriteLimits};
use zk_format::tree::FlatTree;
use zk_format::{Zxid, key};

fuzz_target!(|bytes: &[u8]| {
    let limits = ReadLimits { file_bytes: 1 << 20, ..ReadLimits::default() };
    let _ = FlatTree::parse(bytes.to_vec(), Zxid(1), &limits);

    let mut file = b"ZKSN\0\0\0\x02\xff\xff\xff\xff\xff\xff\xff\xff".to_vec();
    file.extend_from_slice(bytes);
    let mut sealed = file.clone();
    sealed.extend_from_slice(b"\0\0\0\x01/");
    for mut file in [file, sealed] {
        let adler = simd_adler32::adler32(&&file[..]);
        file.extend_from_slice(&i64::from(adler).to_be_bytes());
        file.extend_from_slice(b"\0\0\0\x01/");
        if let Ok(tree) = FlatTree::parse(file, Zxid(1), &limits) {
            check(&tree);
        }
    }
});

fn check(tree: &FlatTree) {
    assert_eq!(tree.path(0), b"");
    for (index, node) in tree.iter().enumerate() {
        assert_eq!(tree.find(node.path), Some(index));
        if index > 0 {
            assert!(key::encode(tree.path(index - 1)) < key::encode(node.path));
            assert!(tree.children(key::parent(node.path).expect("not the root")).contains(&index));
        }
    }
    tree.check_digest();
    let limits = WriteLimits { jute_max_buffer: u32::MAX };
    let Ok(mut writer) = SnapWriter::new(Vec::new(), tree.sessions(), tree.acls(), limits) else { return };
    for node in tree.iter() {
        // Refused are unresolved ACL lists and ephemeral nodes without a session.
        if writer.node(&node).is_err() {
            return;
        }
    }
    let Ok((file, written)) = writer.finish() else { return };
    assert_eq!(written.nodes, tree.len() as u64);
    let again = FlatTree::parse(file, Zxid(1), &ReadLimits::default()).expect("what is written is read");
    assert_eq!((again.len(), again.digest()), (tree.len(), tree.digest()));
    for (a, b) in again.iter().zip(tree.iter()) {
        assert_eq!((a.path, a.data, a.acl, a.stat), (b.path, b.data, b.acl, b.stat));
    }
}
