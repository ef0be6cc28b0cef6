//! Reading a written file back: piece by piece on all processors, in the memory of a few pieces. Every piece must have
//! the checksum that it had in memory.

use std::fmt;
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

/// Bytes summed up at once, while they are still in the processor's cache.
pub(super) const STEP_BYTES: usize = 128 << 10;

/// A stretch of the file that was written in one go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Piece {
    len: u64,
    adler: u32,
}

impl Piece {
    pub(super) fn of(bytes: &[u8]) -> Self {
        let mut sum = Summed::default();
        sum.add(bytes);
        sum.piece()
    }
}

/// The bytes of a piece so far.
#[derive(Default)]
pub(super) struct Summed {
    adler: Adler32,
    len: usize,
}

impl fmt::Debug for Summed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.piece().fmt(f)
    }
}

impl Summed {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        self.adler.write(bytes);
        self.len = self.len.saturating_add(bytes.len());
    }

    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) fn piece(&self) -> Piece {
        Piece { len: self.len as u64, adler: self.adler.finish() }
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
    let buffer = || vec![0; STEP_BYTES];
    pieces.par_iter().try_for_each_init(buffer, |buffer, &(offset, piece)| check(file, offset, piece, buffer))
}

fn check(file: &File, offset: u64, piece: Piece, buffer: &mut [u8]) -> Result<(), ReadBackError> {
    let mut sum = Summed::default();
    let mut left = usize::try_from(piece.len).unwrap_or(usize::MAX);
    while left > 0 {
        let len = left.min(buffer.len());
        let bytes = buffer.get_mut(..len).unwrap_or_default();
        file.read_exact_at(bytes, offset.saturating_add(sum.len() as u64))?;
        sum.add(bytes);
        left = left.saturating_sub(len);
    }
    if sum.piece() == piece { Ok(()) } else { Err(ReadBackError::Bytes { offset }) }
}

type RawNode<'a> = (&'a [u8], Option<&'a [u8]>, &'a [u8; STAT_BYTES]);

/// Path, data and stat of the next node.
pub(super) fn next_node<'a>(reader: &mut Reader<'a>) -> Result<RawNode<'a>, JuteError> {
    let path = reader.ustring()?.unwrap_or_default();
    let data = reader.buffer()?;
    reader.i64()?;
    Ok((path, data, reader.array::<STAT_BYTES>()?))
}
