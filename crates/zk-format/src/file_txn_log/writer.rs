//! Writes a log file as a server does, for tests and generators.

use super::{END_OF_RECORD, MAGIC, VERSION};
use std::io::{self, Write};

/// Appends records to a log file.
#[derive(Debug)]
pub struct LogWriter<W: Write> {
    out: W,
    written_bytes: u64,
}

impl<W: Write> LogWriter<W> {
    /// Starts a file: writes its header.
    pub fn new(mut out: W) -> io::Result<Self> {
        out.write_all(&MAGIC)?;
        out.write_all(&VERSION.to_be_bytes())?;
        out.write_all(&0i64.to_be_bytes())?;
        Ok(Self { out, written_bytes: 16 })
    }

    /// Appends one record and returns its checksum.
    pub fn append(&mut self, payload: &[u8]) -> io::Result<u32> {
        let length = i32::try_from(payload.len()).map_err(io::Error::other)?;
        let adler = simd_adler32::adler32(&payload);
        self.out.write_all(&i64::from(adler).to_be_bytes())?;
        self.out.write_all(&length.to_be_bytes())?;
        self.out.write_all(payload)?;
        self.out.write_all(&[END_OF_RECORD])?;
        self.written_bytes = self.written_bytes.saturating_add(payload.len() as u64).saturating_add(13);
        Ok(adler)
    }

    /// Bytes written so far: where the next record starts.
    pub const fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// Fills up with zeros to a multiple of `step_bytes` (a server's is 64 MiB) and returns the writer underneath.
    pub fn pad(mut self, step_bytes: u64) -> io::Result<W> {
        let missing = self.written_bytes.next_multiple_of(step_bytes.max(1)).saturating_sub(self.written_bytes);
        io::copy(&mut io::Read::take(io::repeat(0), missing), &mut self.out)?;
        Ok(self.out)
    }

    /// The writer underneath, without padding.
    pub fn into_inner(self) -> W {
        self.out
    }
}
