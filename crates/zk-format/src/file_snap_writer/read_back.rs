//! Reading a written file back: piece by piece on all processors, in the memory of a few pieces. Every piece must have
//! the checksum that it had in memory.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rayon::prelude::*;
use simd_adler32::Adler32;
use thiserror::Error;

use super::Written;
use crate::file_snap::STAT_BYTES;
use crate::jute::{JuteError, Reader};

/// Largest prime below 2^16: Adler-32's modulus.
const ADLER_MODULUS: u64 = 65_521;

/// A stretch of the file that was written in one go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Piece {
    len: u64,
    adler: u32,
}

impl Piece {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut adler = Adler32::new();
        adler.write(bytes);
        Self { len: bytes.len() as u64, adler: adler.finish() }
    }
}

/// The Adler-32 of pieces one after the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Adler(u32);

impl Default for Adler {
    fn default() -> Self {
        Self(1)
    }
}

impl Adler {
    /// With `a` the sum of bytes and `b` the sum of the `a`s (RFC 1950, section 8.2): the first piece's `a` counts once
    /// for every byte of the second, whose own sums began at 1.
    pub(super) fn append(&mut self, piece: &Piece) {
        let split = |sum: u32| (u64::from(sum & 0xffff), u64::from(sum >> 16));
        let ((a1, b1), (a2, b2)) = (split(self.0), split(piece.adler));
        let above = |a: u64| a.saturating_add(ADLER_MODULUS.saturating_sub(1));
        let a = above(a1.saturating_add(a2)).checked_rem(ADLER_MODULUS).unwrap_or(0);
        let len = piece.len.checked_rem(ADLER_MODULUS).unwrap_or(0);
        let b = b1.saturating_add(b2).saturating_add(len.saturating_mul(above(a1)));
        let b = b.checked_rem(ADLER_MODULUS).unwrap_or(0);
        self.0 = u32::try_from(b << 16 | a).unwrap_or(0);
    }

    pub(super) const fn sum(self) -> u32 {
        self.0
    }
}

/// Why a file is not what was written.
#[derive(Debug, Error)]
pub enum ReadBackError {
    /// It could not be read.
    #[error("cannot read it")]
    Io(#[from] io::Error),
    /// Other bytes than were written.
    #[error("the bytes from {offset} on are not those that were written: check the disk")]
    Bytes {
        /// Where the piece begins.
        offset: u64,
    },
}

/// Reads the file and compares it with what was written.
pub fn read_back(file: &File, written: &Written) -> Result<(), ReadBackError> {
    let mut offset = 0u64;
    let pieces: Vec<(u64, Piece)> = written
        .pieces
        .iter()
        .map(|piece| {
            let start = offset;
            offset = offset.saturating_add(piece.len);
            (start, *piece)
        })
        .collect();
    let len = file.metadata()?.len();
    if len != offset {
        return Err(ReadBackError::Bytes { offset: offset.min(len) });
    }
    pieces.par_iter().try_for_each_init(Vec::new, |buffer, &(offset, piece)| check(file, offset, piece, buffer))
}

fn check(file: &File, offset: u64, piece: Piece, buffer: &mut Vec<u8>) -> Result<(), ReadBackError> {
    // As long as what was in memory when it was written.
    let len = usize::try_from(piece.len).unwrap_or(usize::MAX);
    if buffer.len() < len {
        buffer.resize(len, 0);
    }
    let bytes = buffer.get_mut(..len).unwrap_or_default();
    file.read_exact_at(bytes, offset)?;
    if Piece::of(bytes) == piece { Ok(()) } else { Err(ReadBackError::Bytes { offset }) }
}

type RawNode<'a> = (&'a [u8], Option<&'a [u8]>, &'a [u8; STAT_BYTES]);

/// Path, data and stat of the next node.
pub(super) fn next_node<'a>(reader: &mut Reader<'a>) -> Result<RawNode<'a>, JuteError> {
    let path = reader.ustring()?.unwrap_or_default();
    let data = reader.buffer()?;
    reader.i64()?;
    Ok((path, data, reader.array::<STAT_BYTES>()?))
}
