//! Pieces of text that several files of `proc` share.

use std::time::Duration;

/// Clock ticks of 10 ms (`USER_HZ`), in which `proc` counts time.
pub(super) fn ticks(time: Duration) -> u64 {
    u64::try_from(time.as_millis() / 10).unwrap_or(u64::MAX)
}

/// Appends bytes, each of `special` as a backslash and three octal digits (`seq_escape`).
pub(super) fn escape(out: &mut Vec<u8>, text: &[u8], special: &[u8]) {
    for byte in text {
        if special.contains(byte) {
            out.extend_from_slice(format!("\\{byte:03o}").as_bytes());
        } else {
            out.push(*byte);
        }
    }
}

/// A set of processors as hexadecimal words of 32, highest first (`%*pb`).
pub(crate) fn mask(words: &[u64], count: u32) -> String {
    let halves = usize::try_from(count.div_ceil(32).max(1)).unwrap_or(1);
    let half = |at: usize| {
        let word = words.get(at / 2).copied().unwrap_or(0);
        if at.is_multiple_of(2) { word & 0xffff_ffff } else { word >> 32 }
    };
    // The first one is as wide as the processors that it stands for.
    let digits = usize::try_from((count.max(1) - 1) % 32 / 4 + 1).unwrap_or(8);
    let mut text = format!("{:0digits$x}", half(halves - 1));
    for at in (0..halves - 1).rev() {
        text.push_str(&format!(",{:08x}", half(at)));
    }
    text
}

/// The same as a list of ranges, for example `0-3,8` (`%*pbl`).
pub(crate) fn mask_list(words: &[u64]) -> String {
    let bits = words.len() * 64;
    let set = |at: usize| words.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1);
    let mut parts = Vec::new();
    let mut at = 0;
    while at < bits {
        if !set(at) {
            at += 1;
            continue;
        }
        let first = at;
        while set(at) {
            at += 1;
        }
        parts.push(if at - first == 1 { first.to_string() } else { format!("{first}-{}", at - 1) });
    }
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_sets_are_written_as_linux_does() {
        assert_eq!((mask(&[3], 2), mask_list(&[3])), ("3".into(), "0-1".into()));
        assert_eq!((mask(&[0xff], 8), mask_list(&[0b1101_0001])), ("ff".into(), "0,4,6-7".into()));
        assert_eq!(mask(&[u64::MAX, 1], 65), "1,ffffffff,ffffffff");
        assert_eq!(mask_list(&[1 << 63, 1]), "63-64");
        assert_eq!(mask_list(&[]), "");
    }

    #[test]
    fn special_bytes_become_octal() {
        let mut out = Vec::new();
        escape(&mut out, b"a b\\", b" \t\n\\");
        assert_eq!(out, b"a\\040b\\134");
    }
}
