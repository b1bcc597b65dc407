//! Raw host calls of the ptrace platform: `ptrace(2)`, `waitpid(2)`, signals and the two calls that copy between address
//! spaces. Thin, typed, and with the errors as [`Errno`].

use std::mem::{MaybeUninit, size_of};

use abi::Errno;

use crate::Registers;

/// The signal that kicks a running stub thread. Not a real-time one, so that sending it never fails for want of queue
/// space and several count once; ignored by default, should it ever reach a thread that is no longer traced.
pub(super) const KICK: i32 = libc::SIGURG;

/// Stop signal of system-call stops with `PTRACE_O_TRACESYSGOOD`.
pub(super) const SYSCALL_STOP: i32 = libc::SIGTRAP | 0x80;

const PTRACE_SYSEMU: u32 = 31;
const PTRACE_SETSIGMASK: u32 = 0x420b;
const PTRACE_GET_SYSCALL_INFO: u32 = 0x420e;
const PTRACE_GET_RSEQ_CONFIGURATION: u32 = 0x420f;
const NT_X86_XSTATE: usize = 0x202;

/// Turns the return value of a raw host call into a result.
pub(super) fn check(value: libc::c_long) -> Result<u64, Errno> {
    if value == -1 { Err(last_errno()) } else { Ok(value.cast_unsigned()) }
}

/// Returns the calling thread's `errno`.
pub(super) fn last_errno() -> Errno {
    Errno::from_io(&std::io::Error::last_os_error())
}

/// Returns the caller's thread id.
pub(super) fn gettid() -> i32 {
    rustix::thread::gettid().as_raw_nonzero().get()
}

/// `ptrace(2)`.
///
/// # Safety
/// `data` must be what `request` expects: where it is a pointer, the memory behind it must be valid for the request.
unsafe fn ptrace(request: u32, tid: i32, addr: usize, data: usize) -> Result<u64, Errno> {
    // SAFETY: the caller vouches for `data`; `addr` is a plain number or offset in every request used here.
    check(unsafe { libc::syscall(libc::SYS_ptrace, u64::from(request), i64::from(tid), addr, data) })
}

/// Sets the options every stub thread runs under: it dies with us, system-call stops are marked, children are traced.
pub(super) fn set_options(tid: i32) -> Result<(), Errno> {
    let options = libc::PTRACE_O_EXITKILL
        | libc::PTRACE_O_TRACESYSGOOD
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK;
    // SAFETY: the request takes a number.
    unsafe { ptrace(libc::PTRACE_SETOPTIONS, tid, 0, options.cast_unsigned() as usize) }.map(drop)
}

/// Resumes a stopped thread until its next signal, exception or traced event; its system calls are executed.
pub(super) fn cont(tid: i32) -> Result<(), Errno> {
    // SAFETY: the request takes a signal number.
    unsafe { ptrace(libc::PTRACE_CONT, tid, 0, 0) }.map(drop)
}

/// Resumes a stopped thread until its next signal, exception or system call, which the host does *not* execute.
pub(super) fn sysemu(tid: i32) -> Result<(), Errno> {
    // SAFETY: the request takes a signal number.
    unsafe { ptrace(PTRACE_SYSEMU, tid, 0, 0) }.map(drop)
}

/// Reads the general-purpose registers of a stopped thread.
pub(super) fn get_regs(tid: i32) -> Result<Registers, Errno> {
    let mut regs = Registers::default();
    // SAFETY: `Registers` has the layout of `struct user_regs_struct`, which the request fills.
    unsafe { ptrace(libc::PTRACE_GETREGS, tid, 0, &raw mut regs as usize) }?;
    Ok(regs)
}

/// Writes the general-purpose registers of a stopped thread. A base register that the host refuses (a guest can load a
/// kernel address with `wrfsbase`, which the host doesn't take back from us) keeps its present value.
pub(super) fn set_regs(tid: i32, regs: &Registers) -> Result<(), Errno> {
    // SAFETY: `Registers` has the layout of `struct user_regs_struct`, which the request reads.
    match unsafe { ptrace(libc::PTRACE_SETREGS, tid, 0, std::ptr::from_ref(regs) as usize) } {
        Err(Errno::EIO) => {}
        other => return other.map(drop),
    }
    for (at, word) in zerocopy::IntoBytes::as_bytes(regs).chunks_exact(8).enumerate() {
        let word = word.iter().rev().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
        // SAFETY: the request takes an offset in `struct user` (registers come first) and a word.
        match unsafe { ptrace(libc::PTRACE_POKEUSER, tid, at * 8, word as usize) } {
            Ok(_) | Err(Errno::EIO) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Returns the signal information of a signal-delivery stop.
pub(super) fn get_siginfo(tid: i32) -> Result<libc::siginfo_t, Errno> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: the request fills a `siginfo_t`.
    unsafe { ptrace(libc::PTRACE_GETSIGINFO, tid, 0, info.as_mut_ptr() as usize) }?;
    // SAFETY: all fields are integers, and the memory was zeroed before the host filled it.
    Ok(unsafe { info.assume_init() })
}

/// Returns the audit architecture of the system call that a thread is stopped at.
pub(super) fn syscall_arch(tid: i32) -> Result<u32, Errno> {
    // struct ptrace_syscall_info: u8 op, 3 bytes padding, u32 arch, then what isn't asked for here.
    let mut info = [0_u32; 24];
    // SAFETY: the request writes at most the given number of bytes.
    unsafe { ptrace(PTRACE_GET_SYSCALL_INFO, tid, size_of_val(&info), info.as_mut_ptr() as usize) }?;
    Ok(info[1])
}

/// Returns the id of the child that a fork or clone event is about.
pub(super) fn event_child(tid: i32) -> Result<i32, Errno> {
    let mut message: libc::c_ulong = 0;
    // SAFETY: the request writes one `unsigned long`.
    unsafe { ptrace(libc::PTRACE_GETEVENTMSG, tid, 0, &raw mut message as usize) }?;
    i32::try_from(message).map_err(|_| Errno::ESRCH)
}

/// Unblocks every signal in a stopped thread.
pub(super) fn clear_sigmask(tid: i32) -> Result<(), Errno> {
    let mask = 0_u64;
    // SAFETY: the request reads a signal set of the size given, eight bytes.
    unsafe { ptrace(PTRACE_SETSIGMASK, tid, size_of::<u64>(), &raw const mask as usize) }.map(drop)
}

/// A thread's registration with `rseq(2)`: the area's address, its length and the signature. `None` without one.
pub(super) fn rseq(tid: i32) -> Result<Option<(u64, u32, u32)>, Errno> {
    #[repr(C)]
    struct Configuration {
        area: u64,
        size: u32,
        signature: u32,
        flags: u32,
        pad: u32,
    }
    let mut out = Configuration { area: 0, size: 0, signature: 0, flags: 0, pad: 0 };
    let size = size_of::<Configuration>();
    // SAFETY: the request writes at most `size` bytes, a `struct ptrace_rseq_configuration`.
    unsafe { ptrace(PTRACE_GET_RSEQ_CONFIGURATION, tid, size, &raw mut out as usize) }?;
    Ok((out.area != 0).then_some((out.area, out.size, out.signature)))
}

/// Reads the extended processor state in standard XSAVE layout; returns the bytes written to `buf`.
pub(super) fn get_xstate(tid: i32, buf: &mut [u8]) -> Result<usize, Errno> {
    let mut iov = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
    // SAFETY: the request writes at most `iov_len` bytes to the buffer, and the length used to `iov`.
    unsafe { ptrace(libc::PTRACE_GETREGSET, tid, NT_X86_XSTATE, &raw mut iov as usize) }?;
    Ok(iov.iov_len)
}

/// Writes the extended processor state, in standard XSAVE layout and of the host's full size.
pub(super) fn set_xstate(tid: i32, buf: &[u8]) -> Result<(), Errno> {
    let mut iov = libc::iovec { iov_base: buf.as_ptr().cast_mut().cast(), iov_len: buf.len() };
    // SAFETY: the request only reads `iov_len` bytes of the buffer.
    unsafe { ptrace(libc::PTRACE_SETREGSET, tid, NT_X86_XSTATE, &raw mut iov as usize) }.map(drop)
}

/// Whether [`wait`] waits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Block {
    /// Wait until there is something to report.
    Yes,
    /// Report what there is.
    No,
}

/// Reports the next state change of a child or tracee of the calling thread (not of other threads), `None` if there is
/// none yet. `ECHILD` when there is nothing left that could report.
pub(super) fn wait(block: Block) -> Result<Option<(i32, i32)>, Errno> {
    let mut status = 0;
    let nohang = if block == Block::No { libc::WNOHANG } else { 0 };
    loop {
        // SAFETY: the call writes one `int`.
        let tid = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL | libc::__WNOTHREAD | nohang) };
        match tid {
            0 => return Ok(None),
            1.. => return Ok(Some((tid, status))),
            _ => match last_errno() {
                Errno::EINTR => {}
                error => return Err(error),
            },
        }
    }
}

/// Waits for the end of one child, whichever thread it belongs to. For the platform's own end only.
pub(super) fn reap(tid: i32) {
    let mut status = 0;
    loop {
        // SAFETY: the call writes one `int`.
        let result = unsafe { libc::waitpid(tid, &raw mut status, libc::__WALL) };
        let interrupted = result == -1 && last_errno() == Errno::EINTR;
        let over = result == -1 || libc::WIFEXITED(status) || libc::WIFSIGNALED(status);
        if over && !interrupted {
            return;
        }
    }
}

/// Sends a signal to one thread. Failure means that it is gone, which its wait status tells, too.
pub(super) fn tgkill(pid: i32, tid: i32, signal: i32) {
    // SAFETY: takes numbers only.
    unsafe { libc::syscall(libc::SYS_tgkill, pid, tid, signal) };
}

/// Kills a whole stub process.
pub(super) fn kill(pid: i32) {
    // SAFETY: takes numbers only. `pid` is positive: a child that has not been reaped.
    unsafe { libc::kill(pid, libc::SIGKILL) };
}

/// Copies from another address space; returns the bytes copied, 0 on any failure.
pub(super) fn read_memory(pid: i32, addr: u64, buf: &mut [u8]) -> usize {
    let local = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
    let remote = libc::iovec { iov_base: std::ptr::without_provenance_mut(addr as usize), iov_len: buf.len() };
    // SAFETY: the host writes at most `buf.len()` bytes to `buf`; the remote address is checked by the host.
    let copied = unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(copied).unwrap_or(0)
}

/// Copies to another address space; returns the bytes copied, 0 on any failure.
pub(super) fn write_memory(pid: i32, addr: u64, buf: &[u8]) -> usize {
    let local = libc::iovec { iov_base: buf.as_ptr().cast_mut().cast(), iov_len: buf.len() };
    let remote = libc::iovec { iov_base: std::ptr::without_provenance_mut(addr as usize), iov_len: buf.len() };
    // SAFETY: the host only reads `buf`; the remote address is checked by the host.
    let copied = unsafe { libc::process_vm_writev(pid, &raw const local, 1, &raw const remote, 1, 0) };
    usize::try_from(copied).unwrap_or(0)
}

/// Returns `si_addr`.
pub(super) fn fault_address(info: &libc::siginfo_t) -> u64 {
    // SAFETY: `siginfo_t` is plain data, and for the signals of exceptions the address is what its union holds; for any
    // other it is some number.
    unsafe { info.si_addr() }.addr() as u64
}

/// Returns `si_syscall` of a SIGSYS: the number behind the call address.
pub(super) fn filtered_number(info: &libc::siginfo_t) -> u64 {
    #[repr(C)]
    struct Sys {
        head: [i32; 4],
        call: u64,
        number: i32,
        arch: u32,
    }
    const { assert!(size_of::<Sys>() <= size_of::<libc::siginfo_t>()) };
    // SAFETY: `Sys` is the beginning of the host's structure for this signal, all integers, and is no longer than it.
    let sys = unsafe { std::ptr::read(std::ptr::from_ref(info).cast::<Sys>()) };
    u64::from(sys.number.cast_unsigned())
}
