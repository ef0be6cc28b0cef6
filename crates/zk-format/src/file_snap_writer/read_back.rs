//! Reading a written file back: piece by piece on all processors, in the memory of a few pieces.
//!
//! Every piece is checksummed as it was when it was written, its nodes are decoded again, and what they add up to is
//! compared: their number, their tree digest and the seal.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use rayon::prelude::*;
use simd_adler32::Adler32;
use thiserror::Error;

use super::Written;
use crate::digest::RunningDigest;
use crate::file_snap::{END_MARK, STAT_BYTES};
use crate::jute::{JuteError, Reader};

/// Largest prime below 2^16: Adler-32's modulus.
const ADLER_MODULUS: u64 = 65_521;

/// The seal's number and its mark, which end the file.
const SEAL_BYTES: u64 = 8 + END_MARK.len() as u64;

/// A stretch of the file that was written in one go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Piece {
    len: u64,
    adler: u32,
    crc: u32,
    /// Whether it is nodes and nothing else.
    nodes: bool,
}

impl Piece {
    pub(super) fn of(bytes: &[u8], nodes: bool) -> Self {
        let mut adler = Adler32::new();
        adler.write(bytes);
        Self { len: bytes.len() as u64, adler: adler.finish(), crc: crc32fast::hash(bytes), nodes }
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
    /// The bytes are those written, and do not decode.
    #[error("the nodes from byte {offset} on cannot be decoded")]
    Nodes {
        /// Where the piece begins.
        offset: u64,
        /// What is wrong.
        #[source]
        source: JuteError,
    },
    /// The nodes are not those that were given.
    #[error("its nodes or its seal are not what was written to it")]
    Contents,
}

#[derive(Default)]
struct Found {
    nodes: u64,
    digest: i64,
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
    if file.metadata()?.len() != offset {
        return Err(ReadBackError::Bytes { offset: offset.min(file.metadata()?.len()) });
    }
    let found = pieces
        .par_iter()
        .map_init(Vec::new, |buffer, &(offset, piece)| check(file, offset, piece, buffer))
        .try_reduce(Found::default, |a, b| {
            Ok(Found { nodes: a.nodes.saturating_add(b.nodes), digest: a.digest.wrapping_add(b.digest) })
        })?;
    let mut adler = Adler::default();
    let sealed = pieces.len().saturating_sub(1);
    pieces.iter().take(sealed).for_each(|(_, piece)| adler.append(piece));
    let mut seal = [0; 8];
    file.read_exact_at(&mut seal, offset.saturating_sub(SEAL_BYTES))?;
    let same = found.nodes == written.nodes
        && found.digest == written.digest
        && i64::from_be_bytes(seal) == i64::from(adler.sum());
    if same { Ok(()) } else { Err(ReadBackError::Contents) }
}

fn check(file: &File, offset: u64, piece: Piece, buffer: &mut Vec<u8>) -> Result<Found, ReadBackError> {
    // As long as what was in memory when it was written.
    buffer.resize(usize::try_from(piece.len).unwrap_or(usize::MAX), 0);
    file.read_exact_at(buffer, offset)?;
    if Piece::of(buffer, piece.nodes) != piece {
        return Err(ReadBackError::Bytes { offset });
    }
    let mut found = Found::default();
    if piece.nodes {
        let mut reader = Reader::at(buffer, offset);
        let mut digest = RunningDigest::default();
        while reader.remaining() > 0 {
            let node = next_node(&mut reader).map_err(|source| ReadBackError::Nodes { offset, source })?;
            digest.add(node.0, node.1, node.2);
            found.nodes = found.nodes.saturating_add(1);
        }
        found.digest = digest.sum();
    }
    Ok(found)
}

type RawNode<'a> = (&'a [u8], Option<&'a [u8]>, &'a [u8; STAT_BYTES]);

/// Path, data and stat of the next node.
pub(super) fn next_node<'a>(reader: &mut Reader<'a>) -> Result<RawNode<'a>, JuteError> {
    let path = reader.ustring()?.unwrap_or_default();
    let data = reader.buffer()?;
    reader.i64()?;
    Ok((path, data, reader.array::<STAT_BYTES>()?))
}
