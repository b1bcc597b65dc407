//! How values lie in D-Bus messages (D-Bus specification, "Marshaling"): little-endian, each aligned to its own size.

use std::fmt;

/// A value that is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cgroup) enum Value {
    /// `b`
    Bool(bool),
    /// `t`
    U64(u64),
    /// `u`
    U32(u32),
    /// `i`
    I32(i32),
    /// `s`
    Text(String),
    /// `au`
    Numbers(Vec<u32>),
    /// `ay`
    Bytes(Vec<u8>),
    /// `as`
    Texts(Vec<String>),
}

impl Value {
    fn signature(&self) -> &'static str {
        match self {
            Value::Bool(_) => "b",
            Value::U64(_) => "t",
            Value::U32(_) => "u",
            Value::I32(_) => "i",
            Value::Text(_) => "s",
            Value::Numbers(_) => "au",
            Value::Bytes(_) => "ay",
            Value::Texts(_) => "as",
        }
    }
}

/// Values put one behind the other.
#[derive(Default)]
pub(super) struct Writer {
    pub(super) bytes: Vec<u8>,
}

/// A length of what is in memory here: messages are bounded far below what doesn't fit.
fn length(of: usize) -> u32 {
    u32::try_from(of).unwrap_or(u32::MAX)
}

impl Writer {
    pub(super) fn align(&mut self, to: usize) {
        self.bytes.resize(self.bytes.len().next_multiple_of(to), 0);
    }

    pub(super) fn u32(&mut self, value: u32) {
        self.align(4);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.align(8);
        self.bytes.extend_from_slice(&value.to_le_bytes());
    }

    pub(super) fn text(&mut self, value: &str) {
        self.u32(length(value.len()));
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(0);
    }

    pub(super) fn signature(&mut self, value: &str) {
        self.bytes.push(length(value.len()).to_le_bytes()[0]);
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(0);
    }

    /// An array whose elements are aligned to `align`; its length counts from the first of them.
    pub(super) fn array(&mut self, align: usize, fill: impl FnOnce(&mut Writer)) {
        self.u32(0);
        let at = self.bytes.len() - 4;
        self.align(align);
        let first = self.bytes.len();
        fill(self);
        let size = length(self.bytes.len() - first).to_le_bytes();
        self.bytes[at..at + 4].copy_from_slice(&size);
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Bool(value) => self.u32(u32::from(*value)),
            Value::U64(value) => self.u64(*value),
            Value::U32(value) => self.u32(*value),
            Value::I32(value) => self.u32(value.cast_unsigned()),
            Value::Text(value) => self.text(value),
            Value::Numbers(values) => self.array(4, |to| values.iter().for_each(|value| to.u32(*value))),
            Value::Bytes(values) => self.array(1, |to| to.bytes.extend_from_slice(values)),
            Value::Texts(values) => self.array(4, |to| values.iter().for_each(|value| to.text(value))),
        }
    }

    pub(super) fn variant(&mut self, value: &Value) {
        self.signature(value.signature());
        self.value(value);
    }

    /// `a(sv)`: names and values.
    pub(super) fn properties(&mut self, properties: &[(String, Value)]) {
        self.array(8, |to| {
            for (name, value) in properties {
                to.align(8);
                to.text(name);
                to.variant(value);
            }
        });
    }
}

/// A message that makes no sense.
#[derive(Debug)]
pub(super) struct Malformed;

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a malformed D-Bus message")
    }
}

impl std::error::Error for Malformed {}

/// Values taken out one after the other.
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads what begins at a multiple of eight in its message.
    pub(super) fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes, at: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    pub(super) fn align(&mut self, to: usize) {
        self.at = self.at.next_multiple_of(to);
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        let end = self.at.checked_add(count).ok_or(Malformed)?;
        let taken = self.bytes.get(self.at..end).ok_or(Malformed)?;
        self.at = end;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.take(1)?[0])
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.align(4);
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Malformed> {
        let size = usize::try_from(self.u32()?).map_err(|_| Malformed)?;
        let text = self.take(size)?;
        self.take(1)?;
        std::str::from_utf8(text).map_err(|_| Malformed)
    }

    pub(super) fn signature(&mut self) -> Result<&'a str, Malformed> {
        let size = usize::from(self.byte()?);
        let text = self.take(size)?;
        self.take(1)?;
        std::str::from_utf8(text).map_err(|_| Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_aligned_to_their_size() {
        let mut writer = Writer::default();
        writer.text("ab");
        writer.properties(&[("x".to_owned(), Value::U64(7)), ("y".to_owned(), Value::Numbers(vec![1, 2]))]);
        let expected = [
            &[2, 0, 0, 0, b'a', b'b', 0, 0][..],
            &[48, 0, 0, 0, 0, 0, 0, 0],
            &[1, 0, 0, 0, b'x', 0, 1, b't', 0, 0, 0, 0, 0, 0, 0, 0],
            &[7, 0, 0, 0, 0, 0, 0, 0],
            &[1, 0, 0, 0, b'y', 0, 2, b'a', b'u', 0, 0, 0],
            &[8, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0],
        ];
        assert_eq!(writer.bytes, expected.concat());
    }

    #[test]
    fn what_is_written_is_read() {
        let mut writer = Writer::default();
        writer.text("one");
        writer.u32(5);
        writer.signature("as");
        let mut reader = Reader::new(&writer.bytes);
        assert_eq!(reader.text().expect("text"), "one");
        assert_eq!(reader.u32().expect("number"), 5);
        assert_eq!(reader.signature().expect("signature"), "as");
        assert!(reader.is_empty());
        assert!(reader.u32().is_err());
        assert!(Reader::new(&[255, 255, 255, 255, 0]).text().is_err());
    }
}
