//! Jute, `ZooKeeper`'s serialisation: big-endian numbers, length-prefixed buffers and strings, counted vectors.
//!
//! A length of −1 is null and differs from an empty value. Strings stay bytes. Every length is checked against
//! the bytes that are there before anything is taken or allocated, so damaged input costs an error and nothing else.

#![warn(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use thiserror::Error;

/// Why bytes could not be read as jute. `offset` is where the value starts, counted from the reader's origin.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum JuteError {
    /// The bytes end inside a value.
    #[error("{needed} bytes needed at byte {offset}, {remaining} left")]
    Truncated {
        /// Where the value starts.
        offset: u64,
        /// Bytes the value takes.
        needed: u64,
        /// Bytes there are.
        remaining: u64,
    },
    /// A length below −1, or −1 where null has no meaning.
    #[error("length {length} at byte {offset} is not a length")]
    BadLength {
        /// Where the length field starts.
        offset: u64,
        /// What it says.
        length: i32,
    },
    /// A length over the limit for this value.
    #[error("length {length} at byte {offset} is over the limit of {limit}")]
    TooLong {
        /// Where the length field starts.
        offset: u64,
        /// What it says.
        length: u64,
        /// The most that is accepted.
        limit: u64,
    },
    /// Bytes are left where the value should end.
    #[error("{extra} bytes too many at byte {offset}")]
    Trailing {
        /// Where the surplus starts.
        offset: u64,
        /// How many bytes are left.
        extra: u64,
    },
}

impl JuteError {
    /// Where the offending value starts.
    pub const fn offset(&self) -> u64 {
        match *self {
            Self::Truncated { offset, .. }
            | Self::BadLength { offset, .. }
            | Self::TooLong { offset, .. }
            | Self::Trailing { offset, .. } => offset,
        }
    }
}

/// Reads jute values from a slice, front to back.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    position: u64,
}

impl<'a> Reader<'a> {
    /// A reader whose offsets count from the start of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self::at(bytes, 0)
    }

    /// A reader whose offsets count from `origin` bytes before the start of `bytes`: the place of a record in its file.
    pub const fn at(bytes: &'a [u8], origin: u64) -> Self {
        Self { rest: bytes, position: origin }
    }

    /// Offset of the next value.
    pub const fn position(&self) -> u64 {
        self.position
    }

    /// Bytes left.
    pub const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The bytes left, without taking them.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// The next `count` bytes.
    #[inline]
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], JuteError> {
        let Some((head, rest)) = self.rest.split_at_checked(count) else { return Err(self.truncated(count)) };
        self.advance(rest, count);
        Ok(head)
    }

    /// The next `N` bytes as an array.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], JuteError> {
        let Some((head, rest)) = self.rest.split_first_chunk::<N>() else { return Err(self.truncated(N)) };
        self.advance(rest, N);
        Ok(head)
    }

    /// One byte.
    #[inline]
    pub fn byte(&mut self) -> Result<u8, JuteError> {
        self.array::<1>().map(|&[byte]| byte)
    }

    /// A boolean: any non-zero byte is true, as Java's `readBoolean` has it.
    #[inline]
    pub fn bool(&mut self) -> Result<bool, JuteError> {
        self.byte().map(|byte| byte != 0)
    }

    /// A 32-bit number.
    #[inline]
    pub fn i32(&mut self) -> Result<i32, JuteError> {
        self.array().map(|bytes| i32::from_be_bytes(*bytes))
    }

    /// A 64-bit number.
    #[inline]
    pub fn i64(&mut self) -> Result<i64, JuteError> {
        self.array().map(|bytes| i64::from_be_bytes(*bytes))
    }

    /// A buffer; `None` is null.
    #[inline]
    pub fn buffer(&mut self) -> Result<Option<&'a [u8]>, JuteError> {
        self.buffer_up_to(u32::MAX)
    }

    /// A buffer of at most `limit` bytes; `None` is null.
    ///
    /// The limit is checked before the bytes that are there, so that an absurd length is called so also at the end
    /// of a file that is still being written.
    #[inline]
    pub fn buffer_up_to(&mut self, limit: u32) -> Result<Option<&'a [u8]>, JuteError> {
        let offset = self.position;
        let length = self.i32()?;
        if length == -1 {
            return Ok(None);
        }
        let Ok(count) = u32::try_from(length) else { return Err(JuteError::BadLength { offset, length }) };
        if count > limit {
            return Err(JuteError::TooLong { offset, length: count.into(), limit: limit.into() });
        }
        self.take(count as usize).map(Some)
    }

    /// A string as the bytes it has; `None` is null.
    #[inline]
    pub fn ustring(&mut self) -> Result<Option<&'a [u8]>, JuteError> {
        self.buffer()
    }

    /// The count of a vector whose elements take at least `element_bytes` each; `None` is null.
    ///
    /// A count that the bytes left cannot hold is an error, so the count may size an allocation.
    pub fn vector(&mut self, element_bytes: usize) -> Result<Option<usize>, JuteError> {
        let offset = self.position;
        let length = self.i32()?;
        if length == -1 {
            return Ok(None);
        }
        let Ok(count) = u32::try_from(length) else { return Err(JuteError::BadLength { offset, length }) };
        let most = self.remaining().checked_div(element_bytes).unwrap_or(self.remaining());
        if count as usize > most {
            return Err(JuteError::TooLong { offset, length: count.into(), limit: most as u64 });
        }
        Ok(Some(count as usize))
    }

    /// Checks that nothing is left.
    pub const fn finish(&self) -> Result<(), JuteError> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(JuteError::Trailing { offset: self.position, extra: self.rest.len() as u64 })
    }

    #[inline]
    const fn advance(&mut self, rest: &'a [u8], count: usize) {
        self.rest = rest;
        self.position = self.position.wrapping_add(count as u64);
    }

    #[cold]
    const fn truncated(&self, needed: usize) -> JuteError {
        JuteError::Truncated { offset: self.position, needed: needed as u64, remaining: self.rest.len() as u64 }
    }
}

/// Appends jute values to a byte vector.
#[derive(Clone, Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
}

impl Writer {
    /// A writer with nothing in it.
    pub const fn new() -> Self {
        Self { bytes: Vec::new() }
    }

    /// A writer that appends to `bytes`.
    pub const fn onto(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    /// Everything written.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    /// Everything written so far.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets what was written and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    /// Bytes as they are, without a length.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// Room for `N` bytes, zeros until they are written.
    ///
    /// # Panics
    /// Never.
    pub fn room<const N: usize>(&mut self) -> &mut [u8; N] {
        self.bytes.extend_from_slice(&[0; N]);
        self.bytes.last_chunk_mut().expect("just added")
    }

    /// One byte.
    pub fn byte(&mut self, value: u8) -> &mut Self {
        self.bytes.push(value);
        self
    }

    /// A boolean.
    pub fn bool(&mut self, value: bool) -> &mut Self {
        self.byte(u8::from(value))
    }

    /// A 32-bit number.
    pub fn i32(&mut self, value: i32) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    /// A 64-bit number.
    pub fn i64(&mut self, value: i64) -> &mut Self {
        self.raw(&value.to_be_bytes())
    }

    /// A buffer; `None` is null.
    ///
    /// # Panics
    /// If the buffer has 2 GiB or more, which jute cannot say. Callers check against `jute.maxbuffer` long before.
    pub fn buffer(&mut self, value: Option<&[u8]>) -> &mut Self {
        match value {
            None => self.i32(-1),
            Some(bytes) => {
                let length = i32::try_from(bytes.len()).expect("jute buffers are under 2 GiB");
                self.i32(length).raw(bytes)
            }
        }
    }

    /// A string as bytes; `None` is null.
    ///
    /// # Panics
    /// As [`Writer::buffer`].
    pub fn ustring(&mut self, value: Option<&[u8]>) -> &mut Self {
        self.buffer(value)
    }

    /// The count of a vector; `None` is null. The elements follow.
    ///
    /// # Panics
    /// If there are 2³¹ elements or more.
    pub fn vector(&mut self, count: Option<usize>) -> &mut Self {
        let count = count.map_or(-1, |count| i32::try_from(count).expect("jute vectors are under 2^31 elements"));
        self.i32(count)
    }
}

#[cfg(test)]
mod tests;
