use super::*;
use crate::ids::{BlobKind, IdentityKeys};
use crate::record::{Change, MAX_INLINE_VALUE, Record, Value};
use crate::test_records::{Prng, key, record, tree};

fn encode<R: SortedRecords + ?Sized>(records: &R) -> Vec<u8> {
    let keys = IdentityKeys::public();
    ChunkEncoder::new(&keys).encode(records, 0..records.len()).unwrap().bytes.to_vec()
}

fn changes(seed: u64, len: usize) -> Vec<Change> {
    let mut prng = Prng(seed);
    (0..len)
        .map(|i| {
            let key = key(i * 3);
            if prng.below(4) == 0 { Change::Delete(key.into()) } else { Change::Put(record(&mut prng, &key)) }
        })
        .collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

#[test]
fn golden_bytes() {
    let stat =
        RecordStat { czxid: 16, mzxid: 18, pzxid: 16, ctime: 1000, mtime: 1200, version: 1, ..RecordStat::default() };
    let put = |key: &[u8], stat, acl: &[u8], value| {
        Change::Put(Record { key: key.into(), stat, flags: RecordFlags(0), acl: acl.into(), value })
    };
    let records = [
        put(b"", RecordStat::default(), b"B", Value::Null),
        put(b"\x01\x00aa", stat, b"A", Value::Bytes((*b"v1").into())),
        Change::Delete((*b"\x01\x00ab").into()),
        put(b"\x01\x00b", stat, b"B", Value::Blob { id: BlobId([9; 32]), len: 5000 }),
    ];
    let bytes = encode(&records[..]);
    crate::golden::assert_documented("chunk", &bytes);
    assert_eq!(
        hex(&bytes),
        "0104010104040604040005050400000000040503220204000003020004010101006161626200002020000004040100d00f000100e0120000000202000200020201410142000401090909090909090909090909090909090909090909090909090909090909090988277631"
    );
}

#[test]
fn what_was_encoded_comes_back() {
    for seed in 0..30 {
        let all = changes(seed, 1 + usize::try_from(seed).unwrap() * 17);
        let bytes = encode(&all[..]);
        let chunk = Chunk::decode(bytes.clone().into()).unwrap();
        assert_eq!(chunk.len(), all.len());
        let keys = IdentityKeys::public();
        for (i, change) in all.iter().enumerate() {
            assert_eq!(chunk.key(i), change.key(), "seed {seed}");
            assert_eq!(chunk.search(change.key()), Ok(i));
            match change {
                Change::Delete(_) => assert!(chunk.get(i).is_none() && SortedRecords::is_tombstone(&chunk, i)),
                Change::Put(record) => {
                    let expected = record.as_ref();
                    let expected = RecordRef { value: expected.value.stored(&keys), ..expected };
                    assert_eq!(chunk.get(i), Some(expected), "seed {seed}");
                }
            }
        }
        assert_eq!(chunk.search(b""), Err(0));
        assert_eq!(chunk.search(b"\xff"), Err(all.len()));
        assert_eq!(encode(&chunk), bytes, "a decoded chunk encodes to the same bytes, seed {seed}");
    }
}

#[test]
fn extremes_come_back() {
    let stat = RecordStat {
        czxid: i64::MIN,
        mzxid: i64::MAX,
        pzxid: -1,
        ctime: i64::MAX,
        mtime: i64::MIN,
        version: i32::MIN,
        cversion: i32::MAX,
        aversion: -1,
        ephemeral_owner: i64::MIN,
    };
    let at = |key: &[u8], value| Record {
        key: key.into(),
        stat,
        flags: RecordFlags(u32::MAX),
        acl: [0; 3000].into(),
        value,
    };
    let records = [at(b"", Value::Bytes(vec![1; MAX_INLINE_VALUE].into())), at(&vec![b'k'; 1 << 20], Value::Null)];
    let chunk = Chunk::decode(encode(&records[..]).into()).unwrap();
    assert_eq!([chunk.get(0), chunk.get(1)], [Some(records[0].as_ref()), Some(records[1].as_ref())]);
    assert_eq!(Chunk::decode(encode(&records[..0]).into()).unwrap().len(), 0);
}

#[test]
fn what_cannot_be_stored_is_refused() {
    let keys = IdentityKeys::public();
    let mut encoder = ChunkEncoder::new(&keys);
    let mut records = tree(1, 3);
    records.swap(0, 1);
    assert!(matches!(encoder.encode(&records[..], 0..3), Err(ChunkError::Unsorted { position: 1 })));
    records[1] = records[0].clone();
    assert!(matches!(encoder.encode(&records[..], 0..3), Err(ChunkError::Unsorted { position: 1 })));
    records[0].key = vec![1; crate::record::MAX_KEY + 1].into();
    assert!(matches!(encoder.encode(&records[..], 0..1), Err(ChunkError::TooLong { part: "key", .. })));
}

#[test]
fn large_values_are_reported() {
    let keys = IdentityKeys::public();
    let mut records = tree(1, 3);
    let large = vec![5; MAX_INLINE_VALUE + 1];
    records[1].value = Value::Bytes(large.clone().into());
    let mut encoder = ChunkEncoder::new(&keys);
    let chunk = encoder.encode(&records[..], 0..3).unwrap();
    let id = keys.blob_id(BlobKind::Value, &large);
    assert!(chunk.out_of_line.contains(&OutOfLine { position: 1, id, len: large.len() as u64 }));
}

/// Truncated anywhere and with any byte changed, a chunk is refused or decodes to something: never a panic.
#[test]
fn damage_never_panics() {
    let bytes = encode(&changes(5, 40)[..]);
    for cut in 0..bytes.len() {
        assert!(Chunk::decode(bytes[..cut].to_vec().into()).is_err(), "cut at {cut}");
    }
    for at in 0..bytes.len() {
        for flip in [1, 0x80, 0xff] {
            let mut bad = bytes.clone();
            bad[at] ^= flip;
            if let Ok(chunk) = Chunk::decode(bad.into()) {
                (0..chunk.len()).for_each(|i| _ = chunk.get(i));
            }
        }
    }
    let mut prng = Prng(99);
    for _ in 0..2000 {
        let len = usize::try_from(prng.below(80)).unwrap();
        let mut noise: Vec<u8> = (0..len).map(|_| prng.next().to_le_bytes()[0] & 0x8f).collect();
        noise.insert(0, VERSION);
        let _ = Chunk::decode(noise.into());
    }
}
