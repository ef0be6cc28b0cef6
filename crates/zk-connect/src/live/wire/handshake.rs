//! The first message each way.

use zk_format::jute::{JuteError, Reader, Writer};

/// A session's password has 16 bytes; more is no server's.
const MAX_PASSWORD: u32 = 1024;

/// What a client says first.
#[derive(Clone, Debug)]
pub struct ConnectRequest<'a> {
    /// The newest transaction it has seen: an older server must refuse it.
    pub last_zxid: i64,
    /// The session time-out it wishes, milliseconds.
    pub timeout_ms: i32,
    /// The session to resume, or 0.
    pub session: i64,
    /// Its password.
    pub password: &'a [u8],
    /// Whether a server without quorum will do.
    pub read_only: bool,
}

impl ConnectRequest<'_> {
    /// The body of the frame.
    pub fn encode(&self) -> Vec<u8> {
        let mut to = Writer::new();
        to.i32(0).i64(self.last_zxid).i32(self.timeout_ms).i64(self.session);
        to.buffer(Some(self.password)).bool(self.read_only);
        to.into_bytes()
    }
}

/// What the server says to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectAnswer {
    /// The agreed session time-out, milliseconds; 0 or less where the session is gone.
    pub timeout_ms: i32,
    /// The session.
    pub session: i64,
    /// Its password.
    pub password: Vec<u8>,
    /// Whether the server has no quorum. Versions before 3.4 do not say.
    pub read_only: bool,
}

impl ConnectAnswer {
    /// Reads the body of the frame.
    pub fn decode(frame: &[u8]) -> Result<Self, JuteError> {
        let mut from = Reader::new(frame);
        from.i32()?;
        let timeout_ms = from.i32()?;
        let session = from.i64()?;
        let password = from.buffer_up_to(MAX_PASSWORD)?.unwrap_or_default().to_vec();
        let read_only = if from.remaining() > 0 { from.bool()? } else { false };
        Ok(Self { timeout_ms, session, password, read_only })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_read_only_flag_may_be_missing() {
        let mut to = Writer::new();
        to.i32(0).i32(30_000).i64(7).buffer(Some(&[1; 16]));
        let old = to.into_bytes();
        let answer = ConnectAnswer::decode(&old).unwrap();
        assert_eq!((answer.timeout_ms, answer.session, answer.read_only), (30_000, 7, false));
        assert!(ConnectAnswer::decode(&[&old[..], &[1]].concat()).unwrap().read_only);
        for cut in 0..old.len() {
            assert!(ConnectAnswer::decode(&old[..cut]).is_err());
        }
    }
}
