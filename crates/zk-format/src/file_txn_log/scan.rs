//! Finds a whole record where the chain of lengths is broken: one byte further at a time, cheapest test first.

use super::{END_OF_RECORD, PAYLOAD_LIMIT_BYTES, PREFIX_BYTES};
use crate::txn;
use crate::types::Zxid;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

/// Bytes looked at together.
const WINDOW_BYTES: usize = 1 << 20;
/// Records are looked for this far behind a bad one. A server writes its padding in steps of 64 MiB.
const REACH_BYTES: u64 = 256 << 20;

/// The checksum as written: an Adler-32 in 64 bits.
pub(super) fn written_adler(bytes: &[u8]) -> Option<i64> {
    bytes.first_chunk::<8>().map(|field| i64::from_be_bytes(*field))
}

/// The length field behind it.
pub(super) fn length(bytes: &[u8]) -> Option<i32> {
    bytes.get(8..).and_then(|rest| rest.first_chunk::<4>()).map(|field| i32::from_be_bytes(*field))
}

/// Whether a transaction can have this many bytes.
pub(super) fn is_length(length: i32) -> bool {
    u32::try_from(length).is_ok_and(|bytes| bytes as usize >= txn::HEADER_BYTES && bytes <= PAYLOAD_LIMIT_BYTES)
}

/// The transaction a payload holds.
pub(super) fn zxid(payload: &[u8]) -> Option<Zxid> {
    payload.get(12..).and_then(|rest| rest.first_chunk::<8>()).map(|field| Zxid(i64::from_be_bytes(*field)))
}

/// The first whole record that starts at `from` or after it: its offset and transaction.
pub(super) fn find_record(file: &mut File, from: u64) -> io::Result<Option<(u64, Zxid)>> {
    let file_bytes = file.metadata()?.len();
    let mut window = Vec::new();
    let mut start = from;
    let last = from.saturating_add(REACH_BYTES).min(file_bytes);
    while start.saturating_add(PREFIX_BYTES as u64) < last {
        let Some(data) = data_from(file, start) else { break };
        // A record's first bytes are zeros and can end a hole.
        start = start.max(data.saturating_sub(PREFIX_BYTES as u64));
        file.seek(SeekFrom::Start(start))?;
        window.clear();
        (&*file).take(WINDOW_BYTES as u64).read_to_end(&mut window)?;
        if !is_zero(&window) {
            for at in 0..window.len().saturating_sub(PREFIX_BYTES) {
                let head = window.get(at..).unwrap_or_default();
                let offset = start.saturating_add(at as u64);
                if let Some(length) = candidate(head, file_bytes.saturating_sub(offset))
                    && let Some(zxid) = verify(file, head, offset, length)?
                {
                    return Ok(Some((offset, zxid)));
                }
            }
        }
        let step = window.len().saturating_sub(PREFIX_BYTES);
        if step == 0 {
            break;
        }
        start = start.saturating_add(step as u64);
    }
    Ok(None)
}

/// Where the file has bytes from `start` on, as far as the system can tell: padding is a hole that nobody has to read.
/// `None` where it is a hole to its end.
#[cfg(target_os = "linux")]
fn data_from(file: &File, start: u64) -> Option<u64> {
    match rustix::fs::seek(file, rustix::fs::SeekFrom::Data(start)) {
        Ok(data) => Some(data),
        Err(rustix::io::Errno::NXIO) => None,
        Err(_) => Some(start),
    }
}

#[cfg(not(target_os = "linux"))]
fn data_from(_: &File, start: u64) -> Option<u64> {
    Some(start)
}

/// Padding is tens of megabytes of zeros: a block at a time, so that it is looked over at the speed of memory.
fn is_zero(bytes: &[u8]) -> bool {
    bytes.chunks(4096).all(|block| block.iter().fold(0, |seen, byte| seen | byte) == 0)
}

/// The payload's length, if a record that fits into the file could start here.
fn candidate(head: &[u8], remaining: u64) -> Option<usize> {
    let adler = written_adler(head)?;
    if adler <= 0 || adler > i64::from(u32::MAX) {
        return None;
    }
    let length = length(head).filter(|&length| is_length(length))?;
    let bytes = usize::try_from(length).ok()?;
    (u64::try_from(bytes).ok()?.saturating_add(PREFIX_BYTES as u64) < remaining).then_some(bytes)
}

fn verify(file: &mut File, head: &[u8], offset: u64, length: usize) -> io::Result<Option<Zxid>> {
    let end = PREFIX_BYTES.saturating_add(length);
    let mut own = Vec::new();
    let record = if let Some(record) = head.get(..=end) {
        record
    } else {
        // The mark first: one byte rules out nearly everything that is not a record.
        let mut mark = [0];
        file.seek(SeekFrom::Start(offset.saturating_add(end as u64)))?;
        file.read_exact(&mut mark)?;
        if mark != [END_OF_RECORD] {
            return Ok(None);
        }
        file.seek(SeekFrom::Start(offset))?;
        (&*file).take((end as u64).saturating_add(1)).read_to_end(&mut own)?;
        own.as_slice()
    };
    let payload = record.get(PREFIX_BYTES..end).unwrap_or_default();
    let whole = record.get(end) == Some(&END_OF_RECORD)
        && written_adler(record) == Some(i64::from(simd_adler32::adler32(&payload)));
    Ok(if whole { zxid(payload) } else { None })
}
