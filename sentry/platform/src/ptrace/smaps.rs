//! What the host says of each mapping of a stub process (`man 5 proc_pid_smaps`), and of each page.

use std::fs::File;
use std::io::{BufRead, BufReader};

use abi::Residency;

use super::figures::Figures;

/// What of one mapping of the host is resident.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct ResidentPart {
    pub start: u64,
    pub end: u64,
    pub resident: Residency,
}

impl Figures {
    /// Returns what of a process' memory is resident, by mapping and in order; nothing where the host can't be asked.
    pub(crate) fn resident_parts(&self, pid: i32) -> Vec<ResidentPart> {
        self.open(&format!("{pid}/smaps")).map_or_else(Vec::new, |file| parse(BufReader::new(File::from(file))))
    }
}

impl Figures {
    /// Returns entries of a process' `pagemap` for so many pages, from one on (`man 5 proc_pid_pagemap`).
    pub(crate) fn page_entries(&self, pid: i32, first: u64, count: u64) -> Vec<u64> {
        let mut bytes = vec![0; usize::try_from(count).unwrap_or(0).saturating_mul(8)];
        let file = self.open(&format!("{pid}/pagemap"));
        let got = file.and_then(|file| rustix::io::pread(file, &mut bytes[..], first.saturating_mul(8)).ok());
        bytes.truncate(got.unwrap_or(0));
        bytes.as_chunks().0.iter().map(|entry| u64::from_ne_bytes(*entry)).collect()
    }
}

fn parse(mut text: impl BufRead) -> Vec<ResidentPart> {
    let mut parts: Vec<ResidentPart> = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        // A process that ends while it is read shows less.
        if !matches!(text.read_until(b'\n', &mut line), Ok(1..)) {
            return parts;
        }
        let line = String::from_utf8_lossy(&line);
        let Some((first, rest)) = line.split_once([' ', ':']) else { continue };
        if let Some((start, end)) = range(first) {
            parts.push(ResidentPart { start, end, ..ResidentPart::default() });
        } else if let Some(field) = parts.last_mut().and_then(|part| part.resident.field(first)) {
            let kilobytes: u64 = rest.trim().strip_suffix(" kB").and_then(|text| text.parse().ok()).unwrap_or(0);
            *field = kilobytes.saturating_mul(1024);
        }
    }
}

fn range(text: &str) -> Option<(u64, u64)> {
    let (start, end) = text.split_once('-')?;
    Some((u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_and_their_figures_are_told_apart_from_names() {
        let text = b"1000-3000 rw-p 00000000 00:00 0 [anon: Rss: 9 kB]\nRss:    8 kB\nPss:    4 kB\nVmFlags: rd\n\
                     4000-5000 r--p 00000000 00:00 7 /a-b: c\nRss:  4 kB\nAnonymous: 0 kB\n";
        let resident = |rss, pss| Residency { rss, pss, ..Residency::default() };
        let first = ResidentPart { start: 0x1000, end: 0x3000, resident: resident(8192, 4096) };
        let second = ResidentPart { start: 0x4000, end: 0x5000, resident: resident(4096, 0) };
        assert_eq!(parse(&text[..]), [first, second]);
    }

    #[test]
    fn touched_memory_is_found() {
        let touched = std::hint::black_box(vec![1_u8; 32 << 20]);
        let addr = touched.as_ptr().addr() as u64 + (16 << 20);
        let parts = Figures::new().resident_parts(i32::try_from(std::process::id()).unwrap());
        let part = parts.iter().find(|part| part.start <= addr && addr < part.end);
        assert!(
            parts.is_empty()
                || part
                    .is_some_and(|part| part.resident.rss >= 32 << 20 && part.resident.anonymous == part.resident.rss)
        );
    }
}
