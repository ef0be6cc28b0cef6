//! Transaction logs from any bytes: as a whole file, and as records whose checksums are right. Offsets must rise, every
//! record must be where it says, and a log that ends must end at the first byte that is no record.

#![no_main]

use libfuzzer_sys::fuzz_target;
use std::cell::RefCell;
use std::io::Write;
use zk_format::file_txn_log::{LogEnd, LogReader, LogWriter};
use zk_format::txn::{Txn, encode};

thread_local! {
    static FILE: RefCell<tempfile::NamedTempFile> =
        RefCell::new(tempfile::NamedTempFile::new().expect("a temporary file"));
}

fuzz_target!(|bytes: &[u8]| {
    read(bytes);
    let mut log = LogWriter::new(Vec::new()).expect("memory");
    let mut rest = bytes;
    let mut whole = true;
    while let Some((&length, after)) = rest.split_first() {
        let (payload, after) = after.split_at(after.len().min(usize::from(length)));
        whole &= payload.len() >= 32;
        log.append(payload).expect("memory");
        rest = after;
    }
    let log = log.into_inner();
    // A payload too short for a transaction's header is no record, and damage if another follows.
    let found = read(&log);
    if whole {
        assert_eq!(found, Some((LogEnd::Clean, log.len() as u64)));
    }
});

fn read(bytes: &[u8]) -> Option<(LogEnd, u64)> {
    FILE.with_borrow_mut(|file| {
        file.as_file().set_len(0).expect("a temporary file");
        std::io::Seek::rewind(file).expect("a temporary file");
        file.write_all(bytes).expect("a temporary file");
        let mut reader = LogReader::open(file.path()).ok()?;
        let mut at = reader.position();
        loop {
            match reader.next() {
                Ok(Some(record)) => {
                    assert!(record.offset == at && record.end > at && record.end <= bytes.len() as u64);
                    at = record.end;
                    let start = usize::try_from(record.payload_offset()).expect("it was in memory");
                    assert_eq!(&bytes[start..start + record.payload.len()], record.payload);
                    if let Ok(txn) = Txn::decode(record.payload, 0) {
                        // What is read can be written, and read again as the same.
                        assert_eq!(Txn::decode(&encode(&txn), 0).as_ref(), Ok(&txn));
                    }
                }
                Ok(None) => return Some((reader.end().expect("it ended"), at)),
                Err(_) => return None,
            }
        }
    })
}
