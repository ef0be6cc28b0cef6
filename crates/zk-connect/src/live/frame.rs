//! Frames: a length and that many bytes.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects, clippy::cast_possible_truncation)]

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use zk_format::jute::Writer;

use super::error::Broken;

/// Both directions of a connection, with or without TLS.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// What is set aside for a frame before any of it has arrived: a length alone costs no more.
const FIRST_RESERVE: usize = 64 << 10;

/// Reads one frame of at most `limit` bytes. `patience` is for each piece that arrives, not for all of it.
pub async fn read_frame<R: AsyncRead + Unpin>(
    from: &mut R,
    limit: usize,
    patience: Duration,
) -> Result<Vec<u8>, Broken> {
    let mut length = [0; 4];
    let mut filled = 0;
    while let Some(rest) = length.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        filled = filled.saturating_add(arrived(tokio::time::timeout(patience, from.read(rest)).await, patience)?);
    }
    let claimed = i32::from_be_bytes(length);
    let length = usize::try_from(claimed).ok().filter(|length| *length <= limit).ok_or_else(|| {
        Broken::Protocol(format!("a frame says that it has {claimed} bytes, and {limit} are accepted"))
    })?;
    let mut frame = Vec::with_capacity(length.min(FIRST_RESERVE));
    let mut rest = from.take(length as u64);
    while frame.len() < length {
        if frame.len() == frame.capacity() {
            // As much again as has arrived.
            frame.reserve(frame.len().min(length.saturating_sub(frame.len())));
        }
        arrived(tokio::time::timeout(patience, rest.read_buf(&mut frame)).await, patience)?;
    }
    Ok(frame)
}

type Timed = Result<std::io::Result<usize>, tokio::time::error::Elapsed>;

fn arrived(read: Timed, patience: Duration) -> Result<usize, Broken> {
    match read {
        Err(_) => Err(Broken::Silent(patience)),
        Ok(Ok(0)) => Err(Broken::Closed),
        Ok(Ok(count)) => Ok(count),
        Ok(Err(error)) => Err(error.into()),
    }
}

/// A request in the making: room for length and number, the opcode, then the body.
#[derive(Debug)]
pub struct Request {
    writer: Writer,
}

impl Request {
    /// A request with this opcode.
    pub fn new(opcode: i32) -> Self {
        let mut writer = Writer::new();
        writer.i32(0).i32(0).i32(opcode);
        Self { writer }
    }

    /// Where its body is written.
    pub const fn body(&mut self) -> &mut Writer {
        &mut self.writer
    }

    /// Bytes of the frame's content so far.
    pub fn len(&self) -> usize {
        self.writer.bytes().len().saturating_sub(4)
    }

    /// The whole frame under this number.
    pub fn into_frame(self, xid: i32) -> Vec<u8> {
        let mut bytes = self.writer.into_bytes();
        let length = i32::try_from(bytes.len().saturating_sub(4)).unwrap_or(i32::MAX);
        if let Some((head, rest)) = bytes.split_first_chunk_mut::<4>() {
            *head = length.to_be_bytes();
            if let Some(number) = rest.first_chunk_mut::<4>() {
                *number = xid.to_be_bytes();
            }
        }
        bytes
    }
}

/// Bytes with their length before them.
pub fn framed(body: &[u8]) -> Vec<u8> {
    let length = i32::try_from(body.len()).unwrap_or(i32::MAX);
    [&length.to_be_bytes()[..], body].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn lengths_are_bounded_and_cuts_are_told() {
        let second = Duration::from_secs(1);
        let whole = framed(b"abc");
        assert_eq!(read_frame(&mut &whole[..], 3, second).await.unwrap(), b"abc");
        assert!(matches!(read_frame(&mut &whole[..], 2, second).await, Err(Broken::Protocol(_))));
        for cut in 0..whole.len() {
            assert!(matches!(read_frame(&mut &whole[..cut], 9, second).await, Err(Broken::Closed)));
        }
        let negative = (-1i32).to_be_bytes();
        assert!(matches!(read_frame(&mut &negative[..], 9, second).await, Err(Broken::Protocol(_))));
    }

    #[test]
    fn a_request_knows_its_length_and_number() {
        let mut request = Request::new(9);
        request.body().ustring(Some(b"/a"));
        assert_eq!(request.into_frame(7), b"\0\0\0\x0e\0\0\0\x07\0\0\0\x09\0\0\0\x02/a");
    }
}
