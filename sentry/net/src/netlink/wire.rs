//! Netlink messages: splitting what a guest sends, building answers. Source: the kernel's `include/uapi/linux/netlink.h`.

use abi::Errno;

/// Bytes of `struct nlmsghdr`.
pub(crate) const HEADER: usize = 16;
/// `NLMSG_*`.
pub(crate) const NOOP: u16 = 1;
pub(crate) const ERROR: u16 = 2;
pub(crate) const DONE: u16 = 3;
/// Types below this are control messages.
pub(crate) const MIN_TYPE: u16 = 16;
/// `NLM_F_*`.
pub(crate) const REQUEST: u16 = 1;
pub(crate) const MULTI: u16 = 2;
pub(crate) const ACK: u16 = 4;
pub(crate) const DUMP: u16 = 0x300;
pub(crate) const CAPPED: u16 = 0x100;

/// One message of a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Request<'a> {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) seq: u32,
    /// Header as sent, for error answers.
    pub(crate) header: &'a [u8; HEADER],
    pub(crate) body: &'a [u8],
}

fn short(raw: &[u8; HEADER], at: usize) -> u16 {
    u16::from_ne_bytes([raw[at], raw[at + 1]])
}

fn word(raw: &[u8; HEADER], at: usize) -> u32 {
    u32::from_ne_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]])
}

/// Takes the next message off `rest`; `None` at the end or at garbage, which Linux ignores too.
pub(crate) fn next<'a>(rest: &mut &'a [u8]) -> Option<Request<'a>> {
    let raw = *rest;
    let header = raw.first_chunk::<HEADER>()?;
    let len = usize::try_from(word(header, 0)).ok()?;
    if len < HEADER || len > raw.len() {
        return None;
    }
    let request = Request {
        kind: short(header, 4),
        flags: short(header, 6),
        seq: word(header, 8),
        header,
        body: &raw[HEADER..len],
    };
    *rest = raw.get(len.next_multiple_of(4)..).unwrap_or(&[]);
    Some(request)
}

/// Walks attributes: (type, value). Stops at garbage.
pub(crate) fn attributes(mut raw: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let head = raw.first_chunk::<4>()?;
        let len = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        if len < 4 || len > raw.len() {
            return None;
        }
        let attribute = (u16::from_ne_bytes([head[2], head[3]]) & 0x3fff, &raw[4..len]);
        raw = raw.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        Some(attribute)
    })
}

/// Builds one message.
pub(crate) struct Message(Vec<u8>);

impl Message {
    /// Starts an answer to `seq` of `port`.
    pub(crate) fn new(kind: u16, flags: u16, seq: u32, port: u32) -> Message {
        let mut raw = vec![0; 4];
        raw.extend_from_slice(&kind.to_ne_bytes());
        raw.extend_from_slice(&flags.to_ne_bytes());
        raw.extend_from_slice(&seq.to_ne_bytes());
        raw.extend_from_slice(&port.to_ne_bytes());
        Message(raw)
    }

    /// Appends fixed fields.
    pub(crate) fn body(mut self, raw: &[u8]) -> Message {
        self.0.extend_from_slice(raw);
        self
    }

    /// Appends an attribute.
    pub(crate) fn attr(mut self, kind: u16, value: &[u8]) -> Message {
        let len = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&len.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
        self
    }

    /// Appends a 32-bit attribute.
    pub(crate) fn attr_u32(self, kind: u16, value: u32) -> Message {
        self.attr(kind, &value.to_ne_bytes())
    }

    /// Fills in the length.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        let len = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[..4].copy_from_slice(&len.to_ne_bytes());
        self.0
    }
}

/// Builds an error or, without one, an acknowledgement.
pub(crate) fn status(request: &Request<'_>, port: u32, result: Result<(), Errno>) -> Vec<u8> {
    let code = result.err().map_or(0, |errno| -errno.raw());
    let flags = if code == 0 { CAPPED } else { 0 };
    let message = Message::new(ERROR, flags, request.seq, port).body(&code.to_ne_bytes()).body(request.header);
    // An error returns the request; an acknowledgement only its header.
    if code == 0 { message.finish() } else { message.body(request.body).finish() }
}
