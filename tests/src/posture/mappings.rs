//! Executable memory of a process.

use std::collections::BTreeSet;
use std::fs;

use super::table::Code;

/// A mapping that can be executed, apart from where it stands: what it shows, from which offset on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mapping {
    name: String,
    offset: String,
    len: u64,
}

/// Above every address that a guest has on either platform: there stands what belongs to the platform.
const GUEST_END: u64 = 0x7e7e_0000_0000;

/// Where the code of stubs is, and its bytes: on systrap, and on ptrace.
const STUBS: [(u64, u64); 2] = [(0x7e80_0000_0000, 0x2000), (0x7fff_ffff_e000, 0x1000)];

struct Line {
    start: u64,
    flags: String,
    mapping: Mapping,
}

fn lines(id: u32) -> Vec<Line> {
    let maps = fs::read_to_string(format!("/proc/{id}/maps")).unwrap_or_default();
    let parse = |line: &str| {
        let mut words = line.split_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let (start, end) = (u64::from_str_radix(start, 16).ok()?, u64::from_str_radix(end, 16).ok()?);
        let flags = words.next()?.to_owned();
        let offset = words.next()?.to_owned();
        let name = words.nth(2).unwrap_or_default().to_owned();
        Some(Line { start, flags, mapping: Mapping { name, offset, len: end - start } })
    };
    maps.lines().filter_map(parse).collect()
}

/// What a process can execute.
pub(super) fn executable(id: u32) -> BTreeSet<Mapping> {
    lines(id).into_iter().filter(|line| line.flags.contains('x')).map(|line| line.mapping).collect()
}

/// What a process can execute and should not. `programs`: what the launcher can.
pub(super) fn violations(id: u32, code: Code, programs: &BTreeSet<Mapping>) -> Vec<String> {
    let lines = lines(id);
    let mut found = Vec::new();
    if lines.is_empty() {
        found.push("its memory map is unreadable".to_owned());
    }
    let mut pages = 0;
    for line in lines.iter().filter(|line| line.flags.contains('x')) {
        let shown = format!("{:x} {} {}", line.start, line.flags, line.mapping.name);
        let system = matches!(line.mapping.name.as_str(), "[vdso]" | "[vsyscall]");
        let writable = line.flags.contains('w');
        let fine = match code {
            Code::Program => !writable && programs.contains(&line.mapping),
            Code::Guest if line.start < GUEST_END || system => true,
            Code::Guest => {
                pages += 1;
                !writable
                    && pages == 1
                    && line.mapping.name.is_empty()
                    && STUBS.contains(&(line.start, line.mapping.len))
            }
        };
        if !fine {
            found.push(format!("it can execute {shown}"));
        }
    }
    found
}
