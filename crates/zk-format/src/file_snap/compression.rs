//! Compressed snapshot files: gzip, and the framing of snappy-java. The extension decides, as in the server.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use std::io::{self, BufReader, Read};

use super::{ReadLimits, SnapProblem, UnsealedAt};

/// How a file is compressed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, Default)]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// `.gz`
    Gzip,
    /// `.snappy`
    Snappy,
}

impl Compression {
    /// The end of such a file's name.
    pub const fn extension(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => ".gz",
            Self::Snappy => ".snappy",
        }
    }

    /// How a file that begins so is compressed; `None` where it is no snapshot file at all. Eight bytes tell.
    pub fn of_start(start: &[u8]) -> Option<Self> {
        if start.starts_with(&super::MAGIC) {
            Some(Self::None)
        } else if start.starts_with(&GZIP_MAGIC) {
            Some(Self::Gzip)
        } else {
            start.starts_with(&SNAPPY_MAGIC).then_some(Self::Snappy)
        }
    }

    pub(super) fn split_extension(name: &str) -> (&str, Self) {
        for compression in [Self::Gzip, Self::Snappy] {
            if let Some(rest) = name.strip_suffix(compression.extension()) {
                return (rest, compression);
            }
        }
        (name, Self::None)
    }
}

/// Ratios say little about small files.
const RATIO_FREE_BYTES: u64 = 64 << 20;
const STEP_BYTES: usize = 1 << 20;
/// RFC 1952, with the only method there is.
const GZIP_MAGIC: [u8; 3] = [0x1f, 0x8b, 8];
const SNAPPY_MAGIC: [u8; 8] = *b"\x82SNAPPY\0";
/// snappy-java lets a user choose blocks up to 512 MiB and takes 32 KiB by default.
const SNAPPY_BLOCK_BYTES: usize = 512 << 20;

/// Everything that `file`, of `compressed_bytes`, decompresses to, within the limits.
pub(crate) fn decompress(
    file: impl Read,
    compressed_bytes: u64,
    compression: Compression,
    limits: &ReadLimits,
) -> Result<Vec<u8>, SnapProblem> {
    let plausible = compressed_bytes.saturating_mul(limits.ratio.into()).max(RATIO_FREE_BYTES);
    let limit = limits.file_bytes.min(plausible);
    let mut out = Output { bytes: Vec::new(), limit };
    let file = BufReader::with_capacity(1 << 18, file);
    let (kind, result) = match compression {
        Compression::None => ("plain", out.fill(file)),
        Compression::Gzip => ("gzip", out.fill(flate2::bufread::MultiGzDecoder::new(file))),
        Compression::Snappy => ("snappy", out.fill_from_snappy(file)),
    };
    let offset = out.bytes.len() as u64;
    match result {
        Ok(()) => Ok(out.bytes),
        Err(Stop::Limit) => Err(SnapProblem::TooLarge { limit }),
        Err(Stop::Io(source)) if source.kind() == io::ErrorKind::UnexpectedEof => {
            Err(SnapProblem::Unsealed { offset, inside: UnsealedAt::CompressedStream })
        }
        Err(Stop::Io(source)) => Err(SnapProblem::Compression { kind, offset, source }),
    }
}

enum Stop {
    Limit,
    Io(io::Error),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

struct Output {
    bytes: Vec<u8>,
    limit: u64,
}

impl Output {
    fn room(&self) -> u64 {
        self.limit.saturating_sub(self.bytes.len() as u64)
    }

    fn fill(&mut self, mut from: impl Read) -> Result<(), Stop> {
        loop {
            // One byte more than there is room for, to notice that there is more.
            let step = self.room().saturating_add(1).min(STEP_BYTES as u64);
            if from.by_ref().take(step).read_to_end(&mut self.bytes)? == 0 {
                return Ok(());
            }
            if self.bytes.len() as u64 > self.limit {
                return Err(Stop::Limit);
            }
        }
    }

    fn fill_from_snappy(&mut self, mut from: impl Read) -> Result<(), Stop> {
        let mut header = [0; 16];
        from.read_exact(&mut header)?;
        if !header.starts_with(&SNAPPY_MAGIC) {
            return Err(bad_data("it does not start with the header of snappy-java").into());
        }
        let mut decoder = snap::raw::Decoder::new();
        let mut block = Vec::new();
        loop {
            let mut length = [0; 4];
            match from.read(&mut length[..1])? {
                0 => return Ok(()),
                _ => from.read_exact(&mut length[1..])?,
            }
            if SNAPPY_MAGIC.starts_with(&length) {
                // Streams one after the other, which snappy-java reads as one.
                let mut rest_of_header = [0; 12];
                from.read_exact(&mut rest_of_header)?;
                continue;
            }
            let length = u32::from_be_bytes(length) as usize;
            if length > snap::raw::max_compress_len(SNAPPY_BLOCK_BYTES) {
                return Err(bad_data("a block has an absurd length").into());
            }
            block.clear();
            from.by_ref().take(length as u64).read_to_end(&mut block)?;
            if block.len() < length {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
            let start = self.bytes.len();
            let size = snap::raw::decompress_len(&block).map_err(io::Error::other)?;
            if size as u64 > self.room() {
                return Err(Stop::Limit);
            }
            // A block cannot say more than about 64 bytes in three: less input than that lies about its size.
            if size > length.saturating_mul(64) {
                return Err(bad_data("a block says it holds more than it can").into());
            }
            self.bytes.resize(start.saturating_add(size), 0);
            let into = self.bytes.get_mut(start..).unwrap_or_default();
            decoder.decompress(&block, into).map_err(io::Error::other)?;
        }
    }
}

fn bad_data(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}
