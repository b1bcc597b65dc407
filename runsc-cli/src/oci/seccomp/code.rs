//! Classic BPF for a profile: a search by number, then comparisons of arguments, 32 bits at a time.

use oci_spec::runtime::LinuxSeccompOperator;
use sentry::task::seccomp::{Insn, action};

use super::{Condition, Policy, Rule};

/// `AUDIT_ARCH_X86_64`.
const ARCH: u32 = 0xc000_003e;
/// What marks a number of the x32 interface.
const X32: u32 = 0x4000_0000;
/// Offsets in `struct seccomp_data`.
const NUMBER_AT: u32 = 0;
const ARCH_AT: u32 = 4;
const ARGS_AT: u32 = 16;

// Operations of `linux/bpf_common.h`.
const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const EQUAL: u16 = 0x15;
const GREATER: u16 = 0x25;
const GREATER_OR_EQUAL: u16 = 0x35;
const RETURN: u16 = 0x06;

fn insn(code: u16, k: u32) -> Insn {
    Insn { code, jt: 0, jf: 0, k }
}

fn branch(code: u16, k: u32, jt: u8, jf: u8) -> Insn {
    Insn { code, jt, jf, k }
}

/// Numbers from `from` up to the next range, and what is done with them: code that begins with the number loaded, and
/// returns.
struct Range {
    from: u32,
    code: Vec<Insn>,
}

/// Writes the program.
pub(super) fn program(policy: &Policy) -> Vec<Insn> {
    let kill = insn(RETURN, action::KILL_THREAD);
    let mut code = vec![insn(LOAD, ARCH_AT), branch(EQUAL, ARCH, 1, 0), kill, insn(LOAD, NUMBER_AT)];
    if policy.x32 {
        code.push(insn(AND, !X32));
    }
    if let Some(last) = policy.last {
        let missing = action::ERRNO | abi::Errno::ENOSYS.raw().cast_unsigned();
        code.extend([branch(GREATER, last, 0, 1), insn(RETURN, missing)]);
    } else if !policy.x32 {
        // -1 is what a tracer leaves of a call that is to be skipped.
        code.extend([branch(GREATER_OR_EQUAL, X32, 0, 2), branch(EQUAL, u32::MAX, 1, 0), kill]);
    }
    code.extend(search(&ranges(policy)));
    code
}

/// Splits the numbers into ranges that are treated alike.
fn ranges(policy: &Policy) -> Vec<Range> {
    let default = || vec![insn(RETURN, policy.default)];
    let mut ranges = vec![Range { from: 0, code: default() }];
    let mut put = |from: u32, code: Vec<Insn>| match ranges.last_mut() {
        Some(last) if last.from == from => last.code = code,
        Some(last) if last.code == code => {}
        _ => ranges.push(Range { from, code }),
    };
    for (number, rule) in &policy.rules {
        put(*number, leaf(rule, policy.default));
        // Overwritten where the next number has a rule too. Numbers are far below the end.
        if !policy.rules.contains_key(&(number + 1)) {
            put(number + 1, default());
        }
    }
    ranges
}

/// Looks for the range of the loaded number.
fn search(ranges: &[Range]) -> Vec<Insn> {
    match ranges {
        [] => Vec::new(),
        [range] => range.code.clone(),
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            let (low_code, high_code) = (search(low), search(high));
            let from = high.first().map_or(0, |range| range.from);
            let mut code = match u8::try_from(low_code.len()) {
                Ok(skip) => vec![branch(GREATER_OR_EQUAL, from, skip, 0)],
                Err(_) => {
                    // A program is never so long that the length doesn't fit.
                    let skip = u32::try_from(low_code.len()).unwrap_or(u32::MAX);
                    vec![branch(GREATER_OR_EQUAL, from, 0, 1), insn(JUMP, skip)]
                }
            };
            code.extend(low_code);
            code.extend(high_code);
            code
        }
    }
}

fn leaf(rule: &Rule, default: u32) -> Vec<Insn> {
    match rule {
        Rule::Always(verdict) => vec![insn(RETURN, *verdict)],
        Rule::Alternatives(alternatives) => {
            let mut code: Vec<Insn> =
                alternatives.iter().flat_map(|(conditions, verdict)| alternative(conditions, *verdict)).collect();
            code.push(insn(RETURN, default));
            code
        }
    }
}

/// Where a comparison leads.
#[derive(Clone, Copy)]
enum To {
    /// The next instruction.
    On,
    /// The condition holds: behind its code.
    Holds,
    /// It doesn't: behind the code of the whole alternative.
    Fails,
}

/// Code that returns the verdict where all conditions hold, and else goes on behind itself.
fn alternative(conditions: &[Condition], verdict: u32) -> Vec<Insn> {
    let parts: Vec<Vec<(Insn, To, To)>> = conditions.iter().map(comparison).collect();
    let length: usize = parts.iter().map(Vec::len).sum::<usize>() + 1;
    let mut code = Vec::with_capacity(length);
    for part in parts {
        let behind = code.len() + part.len();
        for (insn, jt, jf) in part {
            let next = code.len() + 1;
            // Six conditions of at most six instructions: every way fits.
            let skip = |to: To| {
                let target = match to {
                    To::On => next,
                    To::Holds => behind,
                    To::Fails => length,
                };
                u8::try_from(target - next).unwrap_or(u8::MAX)
            };
            let (jt, jf) = (skip(jt), skip(jf));
            code.push(Insn { jt, jf, ..insn });
        }
    }
    code.push(insn(RETURN, verdict));
    code
}

/// Code of one 64-bit comparison: the upper half first.
fn comparison(condition: &Condition) -> Vec<(Insn, To, To)> {
    use LinuxSeccompOperator as Operator;
    use To::{Fails, Holds, On};
    let low_at = ARGS_AT + 8 * condition.index;
    let (load_low, load_high) = (step(insn(LOAD, low_at)), step(insn(LOAD, low_at + 4)));
    let (high, low) = halves(condition.value);
    let test = |code: u16, k: u32, jt: To, jf: To| (insn(code, k), jt, jf);
    match condition.operator {
        Operator::ScmpCmpEq => {
            vec![load_high, test(EQUAL, high, On, Fails), load_low, test(EQUAL, low, Holds, Fails)]
        }
        Operator::ScmpCmpNe => {
            vec![load_high, test(EQUAL, high, On, Holds), load_low, test(EQUAL, low, Fails, Holds)]
        }
        Operator::ScmpCmpMaskedEq => {
            let (wanted_high, wanted_low) = halves(condition.masked);
            vec![
                load_high,
                step(insn(AND, high)),
                test(EQUAL, wanted_high, On, Fails),
                load_low,
                step(insn(AND, low)),
                test(EQUAL, wanted_low, Holds, Fails),
            ]
        }
        Operator::ScmpCmpGt | Operator::ScmpCmpGe | Operator::ScmpCmpLt | Operator::ScmpCmpLe => {
            // What isn't greater is less or equal.
            let (last, greater, not) = match condition.operator {
                Operator::ScmpCmpGt => (GREATER, Holds, Fails),
                Operator::ScmpCmpGe => (GREATER_OR_EQUAL, Holds, Fails),
                Operator::ScmpCmpLt => (GREATER_OR_EQUAL, Fails, Holds),
                _ => (GREATER, Fails, Holds),
            };
            vec![
                load_high,
                test(GREATER, high, greater, On),
                test(EQUAL, high, On, not),
                load_low,
                test(last, low, greater, not),
            ]
        }
    }
}

fn step(insn: Insn) -> (Insn, To, To) {
    (insn, To::On, To::On)
}

fn halves(value: u64) -> (u32, u32) {
    let low = value & u64::from(u32::MAX);
    // Both halves fit by construction.
    (u32::try_from(value >> 32).unwrap_or_default(), u32::try_from(low).unwrap_or_default())
}
