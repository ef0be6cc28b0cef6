use super::*;
use crate::crypto::Keyring;
use crate::ids::{BlobId, BlobKind, RepositoryId};
use crate::table::TableKind;

fn fields() -> SnapshotFields {
    SnapshotFields {
        cluster: "prod".to_owned(),
        time_ms: 1_000,
        state_time_ms: Some(999),
        host: "h".to_owned(),
        tags: vec!["t".to_owned()],
        program: "zooark 0.1.0".to_owned(),
        source: SourceInfo { location: "datadir:/d".to_owned(), kind: "datadir".to_owned(), ..SourceInfo::default() },
        zxid_low: 5,
        zxid_high: 6,
        consistency: Consistency::Exact,
        acl_consistency: Consistency::Fuzzy,
        proof: Proof::Digest,
        tail: Tail::Unconfirmed,
        suspect: vec![],
        incomplete: vec![Gap { path: b"/x".to_vec(), reason: "no auth".to_owned() }],
        state_digest: [3; 32],
        tree_digest: Some((-1, 2)),
        nodes: 7,
        sessions: 1,
        raw_bytes: 300,
        counters: BackupCounters { nodes_created: 1, ..BackupCounters::default() },
        original: None,
        extra: vec![],
    }
}

fn body() -> ManifestBody {
    let pack = PackId(ulid::Ulid(9));
    let root = TableRoot {
        kind: TableKind::Base,
        root: Some(BlobId([6; 32])),
        height: 0,
        zxid_low: 0,
        zxid_high: 6,
        records: 7,
        tombstones: 0,
        chunks: 1,
        chunk_bytes: 300,
        value_blobs: 0,
        value_bytes: 0,
        first_key: vec![],
        last_key: vec![1],
        refs: vec![],
    };
    let blobs = vec![BlobEntry { id: BlobId([6; 32]), kind: BlobKind::Leaf, len: 40, raw_len: 300 }];
    ManifestBody::Snapshot(Box::new(SnapshotManifest {
        parent: Some(SnapshotId([2; 32])),
        fields: fields(),
        stack: vec![StackTable { root, packs: vec![pack] }],
        new_packs: vec![NewPack {
            pack,
            size: 500,
            wrapped: vec![0; WRAPPED_KEY_LEN],
            place: IndexPlace::Inline(blobs),
        }],
    }))
}

#[test]
fn a_manifest_comes_back_and_its_id_is_that_of_its_bytes() {
    let repository = RepositoryId([1; 16]);
    for crypto in [Crypto::unencrypted(repository), Crypto::encrypted(repository, &Keyring::generate().unwrap())] {
        let path = manifest_path(LineageId([0xab; 16]), 3);
        for body in [body(), ManifestBody::Tombstone { time_ms: 4 }] {
            let object = encode_manifest(&crypto, &path, &body).unwrap();
            let (id, found) = decode_manifest(&crypto, &path, &object).unwrap();
            assert_eq!((id, found), (crypto.identity().snapshot_id(&object), body.clone()));
            let again = encode_manifest(&crypto, &path, &body).unwrap();
            assert_ne!(again, object, "no two writers make the same bytes");
            let other = manifest_path(LineageId([0xab; 16]), 4);
            assert!(decode_manifest(&crypto, &other, &object).is_err(), "a manifest under another number");
            for at in 0..object.len() {
                let mut changed = object.clone();
                changed[at] ^= 1;
                assert!(decode_manifest(&crypto, &path, &changed).is_err(), "byte {at}");
                assert!(decode_manifest(&crypto, &path, &object[..at]).is_err(), "cut to {at}");
            }
        }
    }
}

#[test]
fn paths_name_lineage_and_number() {
    let lineage = LineageId([0xab; 16]);
    let path = manifest_path(lineage, 42);
    assert_eq!(path, "snapshots/abababababababababababababababab/00000000000000000042");
    assert_eq!(parse_path(&path), Some((lineage, 42)));
    let shared = shared_manifest_path(lineage, 42, ulid::Ulid(7));
    assert_eq!(shared, format!("{path}-00000000000000000000000007"));
    assert_eq!(parse_path(&shared), Some((lineage, 42)));
    for wrong in ["snapshots/ab/1", "snapshots/x", "config", &format!("{path}0"), &format!("{path}-x")] {
        assert_eq!(parse_path(wrong), None, "{wrong}");
    }
}

#[test]
fn small_indexes_go_inline_and_large_ones_by_position() {
    let pack = |n: u128, blobs: usize| {
        let entry = BlobEntry { id: BlobId([1; 32]), kind: BlobKind::Leaf, len: 11_000, raw_len: 64_000 };
        let index = PackIndex {
            pack: PackId(ulid::Ulid(n)),
            size: 1,
            wrapped: [0; WRAPPED_KEY_LEN],
            blobs: vec![entry; blobs],
        };
        (index, (5_u64, 6_u32))
    };
    let placed = place_indexes(&[pack(1, 2000), pack(2, 3), pack(3, 350)]).unwrap();
    let inline: Vec<bool> = placed.iter().map(|p| matches!(p.place, IndexPlace::Inline(_))).collect();
    assert_eq!(inline, [true, true, false]);
    assert_eq!(placed[2].place, IndexPlace::Footer(5, 6));
    assert_eq!(placed[2].index(), None);
    assert_eq!(placed[0].index(), Some(pack(2, 3).0));
}

#[test]
fn golden_body() {
    let bytes = encode_body("manifest", &body()).unwrap();
    let hex = bytes.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    assert_eq!(
        hex,
        "000102020202020202020202020202020202020202020202020202020202020202020470726f64fbd00701fbce0701680101\
         740c7a6f6f61726b20302e312e300a646174616469723a2f6407646174616469720000000000000a0c000102010001022f78\
         076e6f206175746803030303030303030303030303030303030303030303030303030303030303030101040701fb2c010100\
         00000000000000010001000100010c010101000100010001010101000100010701fb2c010101000000000000000000000000\
         0000000901010606060606060606060606060606060606060606060606060606060606060606010000000000000000000000\
         0000000009fbf4014c0000000000000000000000000000000000000000000000000000000000000000000000000000000000\
         0000000000000000000000000000000000000000000000000000000000000000000000000106060606060606060606060606\
         060606060606060606060606060606060606060128fb2c0100"
    );
    crate::golden::assert_documented("manifest", &bytes);
    let tombstone = encode_body("manifest", &ManifestBody::Tombstone { time_ms: 4 }).unwrap();
    assert_eq!(tombstone, [1, 8, 0]);
    crate::golden::assert_documented("tombstone", &tombstone);
}
