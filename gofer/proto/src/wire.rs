//! Bytes of a message: a writer that can't overflow it and a reader that can't leave it.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::MAX_MESSAGE;

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtoError {
    /// The message ends before what it announces.
    #[error("message is cut short")]
    Short,
    /// The message goes on after its end.
    #[error("message has bytes left over")]
    Trailing,
    /// A message would be longer than [`MAX_MESSAGE`].
    #[error("message is too long")]
    TooLong,
    /// A field holds a value that it can't have.
    #[error("bad {0}")]
    Bad(&'static str),
}

/// Builds one message.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
    overflow: bool,
}

impl Writer {
    /// Creates an empty message.
    pub fn new() -> Writer {
        Writer::default()
    }

    /// Empties the message and keeps its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.overflow = false;
    }

    /// Returns the bytes written so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Tells whether nothing has been written.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Appends a fixed-size value.
    pub fn put<T: IntoBytes + Immutable>(&mut self, value: &T) {
        self.raw(value.as_bytes());
    }

    /// Appends bytes with their length before them (32 bits).
    pub fn bytes(&mut self, data: &[u8]) {
        match u32::try_from(data.len()) {
            Ok(len) => self.put(&len),
            Err(_) => self.overflow = true,
        }
        self.raw(data);
    }

    /// Appends bytes as they are.
    pub fn raw(&mut self, data: &[u8]) {
        if self.overflow || data.len() > MAX_MESSAGE - self.bytes.len() {
            self.overflow = true;
        } else {
            self.bytes.extend_from_slice(data);
        }
    }

    /// Returns the message: [`ProtoError::TooLong`] if it didn't fit.
    pub fn finish(&self) -> Result<&[u8], ProtoError> {
        if self.overflow { Err(ProtoError::TooLong) } else { Ok(&self.bytes) }
    }
}

/// Takes one message apart.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Starts at the first byte.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { rest: bytes }
    }

    /// Takes a fixed-size value.
    pub fn get<T: FromBytes + KnownLayout + Immutable>(&mut self) -> Result<T, ProtoError> {
        let (value, rest) = T::read_from_prefix(self.rest).map_err(|_| ProtoError::Short)?;
        self.rest = rest;
        Ok(value)
    }

    /// Takes `len` bytes.
    pub fn raw(&mut self, len: usize) -> Result<&'a [u8], ProtoError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(ProtoError::Short)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Takes bytes with their length before them: at most `max`.
    pub fn bytes(&mut self, max: usize) -> Result<&'a [u8], ProtoError> {
        let len = usize::try_from(self.get::<u32>()?).map_err(|_| ProtoError::Short)?;
        if len > max {
            return Err(ProtoError::Bad("length"));
        }
        self.raw(len)
    }

    /// Returns the bytes that are left.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Checks that nothing is left.
    pub fn end(self) -> Result<(), ProtoError> {
        if self.rest.is_empty() { Ok(()) } else { Err(ProtoError::Trailing) }
    }
}
