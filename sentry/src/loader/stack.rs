//! The initial stack: strings, auxiliary vector, pointers (Linux: `create_elf_tables`).

use abi::Errno;

use super::{Args, Identity, MachineInfo};
use crate::mm::ImageInfo;

/// Numbers of the auxiliary vector (`man 3 getauxval`).
pub(super) mod at {
    pub(super) const NULL: u64 = 0;
    pub(super) const PHDR: u64 = 3;
    pub(super) const PHENT: u64 = 4;
    pub(super) const PHNUM: u64 = 5;
    pub(super) const PAGESZ: u64 = 6;
    pub(super) const BASE: u64 = 7;
    pub(super) const FLAGS: u64 = 8;
    pub(super) const ENTRY: u64 = 9;
    pub(super) const UID: u64 = 11;
    pub(super) const EUID: u64 = 12;
    pub(super) const GID: u64 = 13;
    pub(super) const EGID: u64 = 14;
    pub(super) const PLATFORM: u64 = 15;
    pub(super) const HWCAP: u64 = 16;
    pub(super) const CLKTCK: u64 = 17;
    pub(super) const SECURE: u64 = 23;
    pub(super) const RANDOM: u64 = 25;
    pub(super) const HWCAP2: u64 = 26;
    pub(in crate::loader) const RSEQ_FEATURE_SIZE: u64 = 27;
    pub(in crate::loader) const RSEQ_ALIGN: u64 = 28;
    pub(super) const EXECFN: u64 = 31;
    pub(super) const SYSINFO_EHDR: u64 = 33;
    pub(super) const MINSIGSTKSZ: u64 = 51;
}

/// What the program's own headers contribute to the auxiliary vector.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ProgramFacts {
    pub(super) headers: u64,
    pub(super) header_count: u64,
    pub(super) entry: u64,
    pub(super) interpreter_base: u64,
}

/// Where everything on the stack begins.
pub(super) struct StackImage {
    /// Bytes from `sp` up to the top.
    pub(super) bytes: Vec<u8>,
    /// Initial stack pointer.
    pub(super) sp: u64,
    /// Where [`MemOp::Describe`](sentry_platform::MemOp::Describe) finds what it needs.
    pub(super) description: u64,
}

/// Bytes that are built from the top down.
struct Builder {
    /// Reversed.
    bytes: Vec<u8>,
    top: u64,
}

impl Builder {
    fn at(&self) -> u64 {
        self.top - self.bytes.len() as u64
    }

    fn push(&mut self, data: &[u8]) -> u64 {
        self.bytes.extend(data.iter().rev());
        self.at()
    }

    fn string(&mut self, text: &[u8]) -> u64 {
        self.bytes.push(0);
        self.push(text)
    }

    fn words(&mut self, words: &[u64]) {
        for word in words.iter().rev() {
            self.push(&word.to_le_bytes());
        }
    }

    /// Goes down to `addr`.
    fn pad_to(&mut self, addr: u64) {
        let missing = usize::try_from(self.at().saturating_sub(addr)).unwrap_or(0);
        self.bytes.resize(self.bytes.len() + missing, 0);
    }
}

/// Builds the stack below `top` and notes in `info` where its parts are. `slack` moves the stack pointer down by a
/// random number of bytes.
pub(super) fn build(
    top: u64,
    slack: u64,
    file_name: &[u8],
    args: &Args,
    facts: &ProgramFacts,
    identity: &Identity,
    machine: &MachineInfo,
    info: &mut ImageInfo,
) -> Result<StackImage, Errno> {
    let mut stack = Builder { bytes: Vec::new(), top };
    stack.words(&[0]);
    let execfn = stack.string(file_name);
    info.env_end = execfn;
    let envp = strings(&mut stack, &args.envp);
    info.env_start = stack.at();
    info.arg_end = stack.at();
    let argv = strings(&mut stack, &args.argv);
    info.arg_start = stack.at();
    let description = stack.push(&description(info));
    stack.pad_to((stack.at() - slack % 8192) & !15);
    let platform = stack.string(b"x86_64");
    let random = stack.push(&identity.random);
    let auxv = [
        (at::SYSINFO_EHDR, machine.vdso),
        (at::MINSIGSTKSZ, machine.min_signal_stack),
        (at::HWCAP, machine.hwcap),
        (at::PAGESZ, abi::PAGE_SIZE),
        (at::CLKTCK, machine.clock_ticks),
        (at::PHDR, facts.headers),
        (at::PHENT, 56),
        (at::PHNUM, facts.header_count),
        (at::BASE, facts.interpreter_base),
        (at::FLAGS, 0),
        (at::ENTRY, facts.entry),
        (at::UID, u64::from(identity.uid)),
        (at::EUID, u64::from(identity.euid)),
        (at::GID, u64::from(identity.gid)),
        (at::EGID, u64::from(identity.egid)),
        (at::SECURE, u64::from(identity.secure)),
        (at::RANDOM, random),
        (at::HWCAP2, machine.hwcap2),
        (at::EXECFN, execfn),
        (at::PLATFORM, platform),
        (at::RSEQ_FEATURE_SIZE, machine.rseq_size),
        (at::RSEQ_ALIGN, machine.rseq_align),
        (at::NULL, 0),
    ];
    let optional = [at::SYSINFO_EHDR, at::RSEQ_FEATURE_SIZE, at::RSEQ_ALIGN];
    let present = auxv.iter().filter(|(kind, value)| !optional.contains(kind) || *value != 0);
    let auxv: Vec<u64> = present.flat_map(|(kind, value)| [*kind, *value]).collect();
    let words = 1 + argv.len() as u64 + 1 + envp.len() as u64 + 1 + auxv.len() as u64;
    let sp = (stack.at().checked_sub(words * 8).ok_or(Errno::ENOMEM)?) & !15;
    stack.pad_to(sp + words * 8);
    stack.words(&auxv);
    stack.words(&[0]);
    stack.words(&envp);
    stack.words(&[0]);
    stack.words(&argv);
    stack.words(&[argv.len() as u64]);
    info.auxv = auxv.iter().flat_map(|word| word.to_le_bytes()).collect();
    info.start_stack = stack.at();
    let mut bytes = stack.bytes;
    bytes.reverse();
    Ok(StackImage { bytes, sp, description })
}

/// What the host is told of the program, a `struct prctl_mm_map` (`linux/prctl.h`): where arguments and environment stand.
/// What stands nowhere lies at the lowest address that programs may use.
fn description(info: &ImageInfo) -> Vec<u8> {
    const NOWHERE: u64 = 0x1_0000;
    const NO_FILE: u64 = (u32::MAX as u64) << 32;
    let code = [NOWHERE, NOWHERE + 1];
    let data_and_heap = [NOWHERE; 4];
    let strings = [info.arg_start, info.arg_start, info.arg_end, info.env_start, info.env_end];
    // No auxiliary vector, and `exe_fd` in the upper half of the last word.
    let words = code.iter().chain(&data_and_heap).chain(&strings).chain(&[0, NO_FILE]);
    words.flat_map(|word| word.to_le_bytes()).collect()
}

/// Pushes strings so that the first is lowest; returns their addresses in order.
fn strings(stack: &mut Builder, strings: &[Vec<u8>]) -> Vec<u64> {
    let mut addrs: Vec<u64> = strings.iter().rev().map(|string| stack.string(string)).collect();
    addrs.reverse();
    addrs
}
