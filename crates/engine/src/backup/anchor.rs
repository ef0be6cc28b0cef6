//! Where the transaction logs can be taken up by the next backup, as kept in a manifest.

use repository::codec::{CodecError, decode_body, encode_body};
use serde::{Deserialize, Serialize};
use zk_format::Zxid;
use zk_format::load::{Anchor, LogPlace};

const WHAT: &str = "log anchor";
const LIMIT: usize = 256;

#[derive(Serialize, Deserialize)]
struct Kept {
    zxid: i64,
    adler: u32,
    place: Option<(i64, u64)>,
}

/// The manifest's bytes; none where there is no anchor.
pub fn encode(anchor: Option<Anchor>, place: Option<LogPlace>) -> Result<Vec<u8>, CodecError> {
    let Some(anchor) = anchor else { return Ok(Vec::new()) };
    let place = place.map(|place| (place.file.0, place.offset));
    encode_body(WHAT, &Kept { zxid: anchor.zxid.0, adler: anchor.adler, place })
}

/// What a manifest kept; `None` where it kept nothing that this version can use.
pub fn decode(bytes: &[u8]) -> Option<(Anchor, Option<LogPlace>)> {
    let kept: Kept = decode_body::<_, LIMIT>(WHAT, bytes).ok()?;
    let place = kept.place.map(|(file, offset)| LogPlace { file: Zxid(file), offset });
    Some((Anchor { zxid: Zxid(kept.zxid), adler: kept.adler }, place))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_anchor_comes_back_and_its_absence_is_no_bytes() {
        let anchor = Anchor { zxid: Zxid(0x5_0000_0021), adler: 0xdead_beef };
        let place = Some(LogPlace { file: Zxid(0x5_0000_0001), offset: 1 << 40 });
        for place in [place, None] {
            assert_eq!(decode(&encode(Some(anchor), place).unwrap()), Some((anchor, place)));
        }
        assert!(encode(None, None).unwrap().is_empty());
        assert_eq!(decode(&[]), None);
        assert_eq!(decode(&[1, 2, 3]), None);
    }
}
