//! The seccomp filter of stubs: a second wall behind `PTRACE_SYSEMU`, which stops every call of guest code anyway.
//!
//! It allows the calls of [`STUB`](super::host_calls::STUB) from the one `syscall` instruction on the code page. All else
//! is a SIGSYS, among it what `SYSEMU` doesn't stop: calls by way of the vsyscall page, which the host serves by itself
//! otherwise.

use super::host_calls::STUB;
use super::layout::SYSCALL_LEN;

/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const IP_LOW: u32 = 8;
const IP_HIGH: u32 = 12;

/// `AUDIT_ARCH_X86_64`.
pub(super) const ARCH_X86_64: u32 = 0xc000_003e;

/// The compiled filter, with the header that `seccomp(2)` wants.
pub(super) struct Filter {
    program: Vec<libc::sock_filter>,
}

impl Filter {
    /// Makes the filter for stubs whose code page is at `code`.
    pub(super) fn new(code: u64) -> Filter {
        let ip = code + SYSCALL_LEN;
        let mut program = Vec::new();
        for (offset, value) in [(ARCH, u64::from(ARCH_X86_64)), (IP_LOW, ip & u64::from(u32::MAX)), (IP_HIGH, ip >> 32)]
        {
            program.push(load(offset));
            program.push(jump_equal(value, 1, 0));
            program.push(answer(libc::SECCOMP_RET_TRAP));
        }
        program.push(load(NUMBER));
        for call in STUB {
            program.push(jump_equal(call.nr.cast_unsigned(), 0, 1));
            program.push(answer(libc::SECCOMP_RET_ALLOW));
        }
        program.push(answer(libc::SECCOMP_RET_TRAP));
        Filter { program }
    }

    /// Returns the header. It points into `self`, which must be alive while it is used.
    pub(super) fn header(&self) -> libc::sock_fprog {
        let len = u16::try_from(self.program.len()).unwrap_or(0);
        libc::sock_fprog { len, filter: self.program.as_ptr().cast_mut() }
    }
}

fn load(offset: u32) -> libc::sock_filter {
    libc::sock_filter { code: (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16, jt: 0, jf: 0, k: offset }
}

/// Compares the low half of `value`, which must be all of it.
fn jump_equal(value: u64, jt: u8, jf: u8) -> libc::sock_filter {
    let k = u32::try_from(value).unwrap_or(u32::MAX);
    libc::sock_filter { code: (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16, jt, jf, k }
}

fn answer(k: u32) -> libc::sock_filter {
    libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the filter as the host would, as far as it uses the language.
    fn judge(filter: &Filter, arch: u32, ip: u64, number: u32) -> u32 {
        let data = |offset| match offset {
            NUMBER => number,
            ARCH => arch,
            IP_LOW => u32::try_from(ip & u64::from(u32::MAX)).unwrap(),
            IP_HIGH => u32::try_from(ip >> 32).unwrap(),
            other => panic!("offset {other}"),
        };
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let step = filter.program[at];
            at += 1;
            match u32::from(step.code) & 7 {
                libc::BPF_LD => accumulator = data(step.k),
                libc::BPF_JMP => at += usize::from(if accumulator == step.k { step.jt } else { step.jf }),
                _ => return step.k,
            }
        }
    }

    #[test]
    fn only_listed_calls_from_the_code_page_pass() {
        let code = 0x7fff_ffff_e000;
        let filter = Filter::new(code);
        for number in 0..600 {
            let listed = STUB.iter().any(|call| call.nr == i64::from(number));
            let expected = if listed { libc::SECCOMP_RET_ALLOW } else { libc::SECCOMP_RET_TRAP };
            assert_eq!(judge(&filter, ARCH_X86_64, code + 2, number), expected);
            assert_eq!(judge(&filter, ARCH_X86_64, code + 3, number), libc::SECCOMP_RET_TRAP);
            assert_eq!(judge(&filter, ARCH_X86_64, 0xffff_e002, number), libc::SECCOMP_RET_TRAP);
            assert_eq!(judge(&filter, 0x4000_0003, code + 2, number), libc::SECCOMP_RET_TRAP);
        }
    }
}
