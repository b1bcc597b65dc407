//! Strings, buffers and arrays of them.

use std::fmt::Write;

use super::{Limits, Memory, address};
use crate::UserAddr;

/// Reads up to `len` bytes; fewer where memory ends.
pub(super) fn read(mem: &dyn Memory, addr: u64, len: usize) -> Vec<u8> {
    let mut buf = vec![0; len];
    let got = mem.read(UserAddr::new(addr), &mut buf).min(len);
    buf.truncate(got);
    buf
}

/// Reads a little-endian number of up to 8 bytes.
pub(super) fn word(mem: &dyn Memory, addr: u64, len: usize) -> Option<u64> {
    let mut bytes = [0; 8];
    let part = bytes.get_mut(..len)?;
    (mem.read(UserAddr::new(addr), part) == len).then(|| u64::from_le_bytes(bytes))
}

/// Quotes bytes as C does.
pub(super) fn quote(bytes: &[u8], cut: bool) -> String {
    let mut out = String::from("\"");
    for (at, byte) in bytes.iter().enumerate() {
        let digit_follows = bytes.get(at + 1).is_some_and(u8::is_ascii_digit);
        let _ = match byte {
            b'"' => write!(out, "\\\""),
            b'\\' => write!(out, "\\\\"),
            b'\n' => write!(out, "\\n"),
            b'\t' => write!(out, "\\t"),
            b'\r' => write!(out, "\\r"),
            0x0b => write!(out, "\\v"),
            0x0c => write!(out, "\\f"),
            0x20..=0x7e => write!(out, "{}", char::from(*byte)),
            // An octal escape takes all the digits that follow, up to three.
            _ if digit_follows => write!(out, "\\{byte:03o}"),
            _ => write!(out, "\\{byte:o}"),
        };
    }
    out.push('"');
    if cut {
        out.push_str("...");
    }
    out
}

/// Prints a NUL-terminated string.
pub(super) fn string(mem: &dyn Memory, addr: u64, limits: Limits) -> String {
    if addr == 0 {
        return "NULL".to_owned();
    }
    let bytes = read(mem, addr, limits.bytes.saturating_add(1));
    match bytes.iter().position(|byte| *byte == 0) {
        Some(end) => quote(&bytes[..end], false),
        None if bytes.len() > limits.bytes => quote(&bytes[..limits.bytes], true),
        None => address(addr),
    }
}

/// Prints a NULL-terminated array of strings.
pub(super) fn strings(mem: &dyn Memory, addr: u64, limits: Limits) -> String {
    if addr == 0 {
        return "NULL".to_owned();
    }
    let mut items = Vec::new();
    // Arguments of programs matter more than elements of other arrays.
    for at in 0..limits.elements.saturating_mul(4) as u64 {
        match word(mem, addr.wrapping_add(at * 8), 8) {
            Some(0) => return format!("[{}]", items.join(", ")),
            Some(pointer) => items.push(string(mem, pointer, limits)),
            None if at == 0 => return address(addr),
            None => break,
        }
    }
    format!("[{}, ...]", items.join(", "))
}

/// Prints a buffer.
pub(super) fn bytes(mem: &dyn Memory, addr: u64, len: usize, limits: Limits) -> String {
    if addr == 0 {
        return "NULL".to_owned();
    }
    let shown = len.min(limits.bytes);
    let bytes = read(mem, addr, shown);
    if bytes.len() < shown { address(addr) } else { quote(&bytes, shown < len) }
}

/// Prints an array of iovecs, of whose content `total` bytes count (all of them where `None`).
pub(super) fn iovecs(mem: &dyn Memory, addr: u64, count: usize, total: Option<usize>, limits: Limits) -> String {
    if addr == 0 {
        return "NULL".to_owned();
    }
    let mut left = total.unwrap_or(usize::MAX);
    let mut items = Vec::new();
    for at in 0..count.min(limits.elements) as u64 {
        let entry = addr.wrapping_add(at * 16);
        let (Some(base), Some(len)) = (word(mem, entry, 8), word(mem, entry.wrapping_add(8), 8)) else {
            return address(addr);
        };
        let filled = usize::try_from(len).unwrap_or(usize::MAX).min(left);
        left -= filled;
        let content = bytes(mem, base, filled, limits);
        items.push(format!("{{iov_base={content}, iov_len={len}}}"));
    }
    let more = if count > limits.elements { ", ..." } else { "" };
    format!("[{}{more}]", items.join(", "))
}
