//! What follows the nodes: seals, each the Adler-32 of everything before it, and the trailers of 3.6 and 3.9.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use simd_adler32::Adler32;

use super::{END_MARK, Section, SnapProblem};
use crate::digest::StatedDigest;
use crate::jute::{JuteError, Reader};
use crate::types::Zxid;

const SEAL_BYTES: usize = 13;
const DIGEST_BYTES: usize = 20 + SEAL_BYTES;
const LAST_ZXID_BYTES: usize = 8 + SEAL_BYTES;
const BOTH_BYTES: usize = DIGEST_BYTES + LAST_ZXID_BYTES;

/// The trailers that a file has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Trailers {
    pub digest: Option<StatedDigest>,
    pub last_zxid: Option<Zxid>,
}

/// Checks the seals from byte `end` of the file on and reads the trailers between them. `adler` has taken in
/// everything before `end`.
pub(crate) fn read_trailers(file: &[u8], end: usize, adler: Adler32) -> Result<Trailers, SnapProblem> {
    let rest = file.get(end..).unwrap_or_default();
    let mut sealed = Sealed { reader: Reader::at(rest, end as u64), adler };
    sealed.seal(Section::Nodes)?;
    let mut trailers = Trailers::default();
    let left = sealed.reader.remaining();
    let (digest, last_zxid) = match left {
        0 => (false, false),
        DIGEST_BYTES => (true, false),
        // As many bytes as a digest trailer that is still being written can have; the mark tells.
        LAST_ZXID_BYTES if file.ends_with(&END_MARK) => (false, true),
        BOTH_BYTES => (true, true),
        1..BOTH_BYTES => {
            let section = if left < DIGEST_BYTES { Section::DigestTrailer } else { Section::LastZxidTrailer };
            return Err(SnapProblem::unsealed(file.len() as u64, section));
        }
        _ => return Err(SnapProblem::UnknownTrailer { offset: sealed.reader.position(), extra: left as u64 }),
    };
    if digest {
        let start = sealed.reader.rest();
        let stated = sealed.digest().map_err(|_| SnapProblem::unsealed(file.len() as u64, Section::DigestTrailer))?;
        sealed.adler.write(start.get(..20).unwrap_or_default());
        sealed.seal(Section::DigestTrailer)?;
        trailers.digest = Some(stated);
    }
    if last_zxid {
        let start = sealed.reader.rest();
        let zxid =
            sealed.reader.i64().map_err(|_| SnapProblem::unsealed(file.len() as u64, Section::LastZxidTrailer))?;
        sealed.adler.write(start.get(..8).unwrap_or_default());
        sealed.seal(Section::LastZxidTrailer)?;
        trailers.last_zxid = Some(Zxid(zxid));
    }
    Ok(trailers)
}

struct Sealed<'a> {
    reader: Reader<'a>,
    adler: Adler32,
}

impl Sealed<'_> {
    fn seal(&mut self, after: Section) -> Result<(), SnapProblem> {
        let offset = self.reader.position();
        let rest = self.reader.rest();
        let Ok(bytes) = self.reader.array::<SEAL_BYTES>() else {
            return Err(SnapProblem::unsealed(offset.saturating_add(rest.len() as u64), Section::Seal));
        };
        let (stored, mark) = bytes.split_first_chunk::<8>().unwrap_or((&[0; 8], &[]));
        let stored = i64::from_be_bytes(*stored);
        let computed = self.adler.finish();
        if stored != i64::from(computed) {
            return Err(SnapProblem::WrongSeal { after, offset, stored, computed });
        }
        if mark != END_MARK {
            return Err(SnapProblem::NoSealMark { after, offset: offset.saturating_add(8) });
        }
        self.adler.write(bytes);
        Ok(())
    }

    fn digest(&mut self) -> Result<StatedDigest, JuteError> {
        let zxid = Zxid(self.reader.i64()?);
        let version = self.reader.i32()?;
        let digest = self.reader.i64()?;
        Ok(StatedDigest { zxid, version, digest })
    }
}
