//! Control messages (`man 3 cmsg`): parsing what a guest sends, writing what it receives.

use abi::Errno;

/// Bytes of `struct cmsghdr`.
pub const HEADER: usize = 16;
/// Most files in one message (`SCM_MAX_FD`).
pub const MAX_FILES: usize = 253;

/// One control message as it stands in the guest's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cmsg<'a> {
    /// `cmsg_level`.
    pub level: i32,
    /// `cmsg_type`.
    pub kind: i32,
    /// Payload.
    pub data: &'a [u8],
}

fn align(len: usize) -> usize {
    len.next_multiple_of(8)
}

/// Splits a control buffer. Errors: `EINVAL` where a header's length is too short or leaves the buffer.
pub fn parse(buf: &[u8]) -> Result<Vec<Cmsg<'_>>, Errno> {
    let mut found = Vec::new();
    let mut rest = buf;
    while let Some(header) = rest.first_chunk::<HEADER>() {
        let word = |at: usize| [header[at], header[at + 1], header[at + 2], header[at + 3]];
        let low = u32::from_ne_bytes(word(0));
        let high = u32::from_ne_bytes(word(4));
        let len = usize::try_from(u64::from(high) << 32 | u64::from(low)).map_err(|_| Errno::EINVAL)?;
        if len < HEADER || len > rest.len() {
            return Err(Errno::EINVAL);
        }
        found.push(Cmsg {
            level: i32::from_ne_bytes(word(8)),
            kind: i32::from_ne_bytes(word(12)),
            data: &rest[HEADER..len],
        });
        rest = rest.get(align(len)..).unwrap_or(&[]);
    }
    Ok(found)
}

/// Builds the control buffer of a received message within the guest's room.
#[derive(Debug)]
pub struct Writer {
    buf: Vec<u8>,
    room: usize,
    /// Something did not fit (`MSG_CTRUNC`).
    pub truncated: bool,
}

impl Writer {
    /// Writes at most `room` bytes.
    pub fn new(room: usize) -> Writer {
        Writer { buf: Vec::new(), room, truncated: false }
    }

    /// Returns how many payload bytes still fit behind a header.
    pub fn fits(&self) -> usize {
        self.room.saturating_sub(self.buf.len() + HEADER)
    }

    /// Adds a message, cut where room ends; as Linux's `put_cmsg`, one without room for its header is left out.
    pub fn put(&mut self, level: i32, kind: i32, data: &[u8]) {
        let left = self.room - self.buf.len();
        if left < HEADER {
            self.truncated = true;
            return;
        }
        let data = if data.len() > left - HEADER {
            self.truncated = true;
            &data[..left - HEADER]
        } else {
            data
        };
        let len = HEADER + data.len();
        self.buf.extend_from_slice(&(len as u64).to_ne_bytes());
        self.buf.extend_from_slice(&level.to_ne_bytes());
        self.buf.extend_from_slice(&kind.to_ne_bytes());
        self.buf.extend_from_slice(data);
        let end = align(self.buf.len()).min(self.room);
        self.buf.resize(end, 0);
    }

    /// Returns the bytes: their count is the new `msg_controllen`.
    pub fn finish(self) -> Vec<u8> {
        self.buf
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_come_back_as_they_went() {
        let mut writer = Writer::new(100);
        writer.put(1, 2, b"abc");
        writer.put(3, 4, b"");
        let buf = writer.finish();
        assert_eq!(buf.len(), 40);
        let parsed = parse(&buf).unwrap();
        assert_eq!(parsed, [Cmsg { level: 1, kind: 2, data: b"abc" }, Cmsg { level: 3, kind: 4, data: b"" }]);
    }

    #[test]
    fn what_does_not_fit_is_cut_and_marked() {
        let mut writer = Writer::new(HEADER + 2);
        writer.put(1, 2, b"abcd");
        assert!(writer.truncated);
        assert_eq!(writer.finish().len(), HEADER + 2);
        let mut writer = Writer::new(8);
        writer.put(1, 2, b"");
        assert!(writer.truncated && writer.finish().is_empty());
    }

    #[test]
    fn lengths_that_leave_the_buffer_are_invalid() {
        let mut buf = [0; 24];
        buf[0] = 25;
        assert_eq!(parse(&buf), Err(Errno::EINVAL));
        buf[0] = 15;
        assert_eq!(parse(&buf), Err(Errno::EINVAL));
        assert_eq!(parse(&buf[..8]), Ok(vec![]));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(buf in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&buf);
        }
    }
}
