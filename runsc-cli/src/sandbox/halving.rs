//! The front of a seccomp filter: calls that are let through whatever their arguments, found by halving their numbers.

use anyhow::{Context, Result};
use seccompiler::{BpfProgram, SeccompAction, sock_filter};

/// `AUDIT_ARCH_X86_64`.
pub(crate) const X86_64: u32 = 0xc000_003e;

// Instructions of classic BPF (`linux/bpf_common.h`), and what they look at (`struct seccomp_data`).
const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;
const NUMBER: u32 = 0;
const ARCH: u32 = 4;

/// Where the filter goes on for all others; replaced when the distance is known.
const OTHERS: sock_filter = insn(JUMP, u32::MAX);

const fn insn(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}

fn branch(code: u16, k: u32, yes: usize, no: usize) -> Result<sock_filter> {
    let distance = |to: usize| u8::try_from(to).context("a jump in a seccomp filter is too far");
    Ok(sock_filter { code, jt: distance(yes)?, jf: distance(no)?, k })
}

/// Answers `found` for these numbers, in ascending order, and leaves everything else to `rest`.
pub(super) fn before(numbers: impl Iterator<Item = i64>, found: SeccompAction, rest: BpfProgram) -> Result<BpfProgram> {
    let mut runs: Vec<(u32, u32)> = Vec::new();
    for number in numbers {
        let number = u32::try_from(number).context("a number of a call")?;
        match runs.last_mut() {
            Some((_, last)) if last.checked_add(1) == Some(number) => *last = number,
            _ => runs.push((number, number)),
        }
    }
    let mut program = vec![insn(LOAD, ARCH), branch(JUMP_EQUAL, X86_64, 1, 0)?, OTHERS, insn(LOAD, NUMBER)];
    program.extend(tree(&runs, u32::from(found))?);
    let len = program.len();
    for (at, insn) in program.iter_mut().enumerate().filter(|(_, insn)| **insn == OTHERS) {
        insn.k = u32::try_from(len - at - 1).context("the length of a seccomp filter")?;
    }
    program.extend(rest);
    Ok(program)
}

/// Tells whether the number is in one of these runs, which ascend.
fn tree(runs: &[(u32, u32)], found: u32) -> Result<BpfProgram> {
    match runs {
        [] => Ok(vec![OTHERS]),
        [(only, last)] if only == last => Ok(vec![branch(JUMP_EQUAL, *only, 0, 1)?, insn(RETURN, found), OTHERS]),
        [(first, last)] => Ok(vec![
            branch(JUMP_AT_LEAST, *first, 0, 2)?,
            branch(JUMP_GREATER, *last, 1, 0)?,
            insn(RETURN, found),
            OTHERS,
        ]),
        _ => {
            let (low, high) = runs.split_at(runs.len() / 2);
            let low = tree(low, found)?;
            let start = high.first().map_or(u32::MAX, |(first, _)| *first);
            let mut program = vec![branch(JUMP_AT_LEAST, start, low.len(), 0)?];
            program.extend(low);
            program.extend(tree(high, found)?);
            Ok(program)
        }
    }
}
