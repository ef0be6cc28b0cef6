#![allow(clippy::arithmetic_side_effects, clippy::indexing_slicing)]

use super::*;
use rstest::rstest;
use std::fs;
use std::os::unix::fs::FileExt;
use tempfile::TempDir;

/// A payload of this many bytes whose header names the transaction.
fn payload(zxid: i64, bytes: usize) -> Vec<u8> {
    let mut payload = vec![0x5a; bytes.max(32)];
    payload[12..20].copy_from_slice(&zxid.to_be_bytes());
    payload[20..28].copy_from_slice(&(1000 + zxid).to_be_bytes());
    payload
}

fn file(payloads: &[Vec<u8>]) -> Vec<u8> {
    let mut writer = LogWriter::new(Vec::new()).unwrap();
    for payload in payloads {
        writer.append(payload).unwrap();
    }
    writer.into_inner()
}

/// Every transaction read, and how it ended.
fn read(bytes: &[u8]) -> Result<(Vec<i64>, LogEnd), LogError> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("log.1");
    fs::write(&path, bytes).unwrap();
    let mut reader = LogReader::open(&path)?;
    let mut zxids = Vec::new();
    let mut at = HEADER_BYTES;
    while let Some(record) = reader.next()? {
        assert_eq!((record.offset, record.time_ms()), (at, 1000 + record.zxid.0));
        assert_eq!(record.adler, simd_adler32::adler32(&record.payload));
        at = record.end;
        zxids.push(record.zxid.0);
    }
    Ok((zxids, reader.end().unwrap()))
}

#[test]
fn records_of_any_size_come_back() {
    let payloads: Vec<_> = (1..40).map(|zxid| payload(zxid, 1 << (zxid / 2))).collect();
    let expected: Vec<i64> = (1..40).collect();
    let bytes = file(&payloads);
    assert_eq!(read(&bytes).unwrap(), (expected.clone(), LogEnd::Clean));
    let mut padded = bytes;
    padded.resize(padded.len().next_multiple_of(1 << 20), 0);
    assert_eq!(read(&padded).unwrap(), (expected, LogEnd::Clean));
}

#[rstest]
#[case::nothing(b"", LogEnd::Clean)]
#[case::half_a_header(b"ZKLG\0\0", LogEnd::Torn { offset: 0, problem: BadRecord::Short })]
#[case::zeros(&[0; 100], LogEnd::Torn { offset: 0, problem: BadRecord::Short })]
#[case::header_only(b"ZKLG\0\0\0\x02\0\0\0\0\0\0\0\0", LogEnd::Clean)]
fn a_file_without_records_is_empty(#[case] bytes: &[u8], #[case] end: LogEnd) {
    assert_eq!(read(bytes).unwrap(), (vec![], end));
}

#[rstest]
#[case(b"ZKSN\0\0\0\x02\0\0\0\0\0\0\0\0")]
#[case(b"ZKLG\0\0\0\x03\0\0\0\0\0\0\0\0")]
#[case(b"hello, world, this is no log")]
fn another_file_is_refused(#[case] bytes: &[u8]) {
    assert!(matches!(read(bytes), Err(LogError::NotALog { .. })));
}

type Spoil = fn(&mut [u8]);

#[test]
fn a_bad_last_record_is_an_end_and_a_bad_one_before_whole_ones_is_damage() {
    let payloads: Vec<_> = (1..=4).map(|zxid| payload(zxid, 200)).collect();
    let bytes = file(&payloads);
    let zxids_by_place: Vec<Zxid> = (1..=4).map(Zxid).collect();
    let record = 213;
    let starts: Vec<usize> = (0..4).map(|index| 16 + index * record).collect();
    let spoil: [(&str, Spoil); 6] = [
        ("adler", |record| record[7] ^= 1),
        ("negative length", |record| record[8] = 0x80),
        ("absurd length", |record| record[8] = 0x7f),
        ("shorter length", |record| record[11] -= 1),
        ("payload", |record| record[100] ^= 4),
        ("mark", |record| record[212] = b'C'),
    ];
    for (what, spoil) in spoil {
        for (index, &start) in starts.iter().enumerate() {
            let mut bytes = bytes.clone();
            spoil(&mut bytes[start..start + record]);
            match read(&bytes) {
                Ok((zxids, LogEnd::Torn { offset, .. })) => {
                    assert_eq!((index, zxids, offset), (3, vec![1, 2, 3], start as u64), "{what}");
                }
                Err(LogError::Corrupt { offset, next_offset, next_zxid, .. }) => {
                    let next = (start + record) as u64;
                    assert_eq!(
                        (offset, next_offset, next_zxid),
                        (start as u64, next, zxids_by_place[index + 1]),
                        "{what}"
                    );
                }
                other => panic!("{what} of record {index}: {other:?}"),
            }
        }
    }
}

/// A lost page reads as zeros, which is what padding looks like.
#[rstest]
#[case(4096)]
#[case(3 << 20)]
fn zeros_before_whole_records_are_damage(#[case] lost: usize) {
    let mut bytes = file(&[payload(1, 50)]);
    let after = bytes.len() as u64;
    bytes.resize(bytes.len() + lost, 0);
    let next = bytes.len() as u64;
    bytes.extend_from_slice(&file(&[payload(9, 2 << 20)])[16..]);
    match read(&bytes) {
        Err(LogError::Corrupt { offset, problem: BadRecord::Zero, next_offset, next_zxid, .. }) => {
            assert_eq!((offset, next_offset, next_zxid), (after, next, Zxid(9)));
        }
        other => panic!("{other:?}"),
    }
}

/// Holes are not read, yet a record's first bytes are zeros and can lie in one.
#[rstest]
#[case(0)]
#[case(3)]
#[case(4096)]
fn a_record_at_the_end_of_a_hole_is_found(#[case] before: u64) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("log.1");
    fs::write(&path, file(&[payload(1, 50)])).unwrap();
    let next = (40 << 20) - before;
    let log = fs::OpenOptions::new().write(true).open(&path).unwrap();
    log.write_all_at(&file(&[payload(9, 70)])[16 + 4..], next + 4).unwrap();
    log.set_len(64 << 20).unwrap();

    let mut reader = LogReader::open(&path).unwrap();
    reader.next().unwrap();
    match reader.next() {
        Err(LogError::Corrupt { next_offset, next_zxid, .. }) => assert_eq!((next_offset, next_zxid), (next, Zxid(9))),
        other => panic!("{other:?}"),
    }
    // Without it there is nothing behind, and that is no damage.
    log.set_len(next).unwrap();
    log.set_len(64 << 20).unwrap();
    let mut reader = LogReader::open(&path).unwrap();
    while reader.next().unwrap().is_some() {}
    assert_eq!(reader.end(), Some(LogEnd::Clean));
}

/// Between a look at the end of a file and a look behind it a server may write records: they are no damage.
#[test]
fn records_written_under_the_reader_are_read() {
    let mut bytes = file(&[payload(1, 50)]);
    let written = bytes.len();
    bytes.resize(written + (1 << 20), 0);
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("log.1");
    fs::write(&path, &bytes).unwrap();
    let mut reader = LogReader::open(&path).unwrap();
    assert_eq!(reader.next().unwrap().unwrap().zxid, Zxid(1));

    let later = file(&[payload(2, 300), payload(3, 70), payload(4, 5000)]);
    bytes[written..written + later.len() - 16].copy_from_slice(&later[16..]);
    fs::write(&path, &bytes).unwrap();
    for zxid in 2..5 {
        assert_eq!(reader.next().unwrap().unwrap().zxid, Zxid(zxid));
    }
    assert!(reader.next().unwrap().is_none());
    assert_eq!(reader.end(), Some(LogEnd::Clean));
}

#[test]
fn a_length_is_bounded_by_the_file_before_anything_is_allocated() {
    let mut bytes = file(&[payload(1, 50)]);
    bytes.extend_from_slice(&[0, 0, 0, 0, 1, 2, 3, 4]);
    bytes.extend_from_slice(&i32::try_from(PAYLOAD_LIMIT_BYTES).unwrap().to_be_bytes());
    assert!(matches!(read(&bytes).unwrap(), (zxids, LogEnd::Torn { problem: BadRecord::Short, .. }) if zxids == [1]));
}

#[test]
fn names_are_read_and_made() {
    assert_eq!(parse_name("log.100000000a"), Some(Zxid(0x10_0000_000a)));
    assert_eq!(parse_name(&name(Zxid::new(3, 4))), Some(Zxid::new(3, 4)));
    for wrong in ["log.", "log.x", "log.+1", "log.1.bak", "snapshot.1", "log.11112222333344445"] {
        assert_eq!(parse_name(wrong), None, "{wrong}");
    }
}
