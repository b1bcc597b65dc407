//! Host calls of the ptrace platform after start-up: what the sentry's seccomp filter must allow for it, and what stubs
//! make when they are told to.

use super::host::KICK;

/// One host call, with what its arguments are confined to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostCall {
    /// Number.
    pub nr: libc::c_long,
    /// Arguments that have fixed values: index and the values allowed. Arguments not listed are free.
    pub args: &'static [(u8, &'static [u64])],
    /// What it is for.
    pub why: &'static str,
}

const fn call(nr: libc::c_long, args: &'static [(u8, &'static [u64])], why: &'static str) -> HostCall {
    HostCall { nr, args, why }
}

const WAIT: u64 = (libc::__WALL | libc::__WNOTHREAD).cast_unsigned() as u64;
const NOHANG: u64 = WAIT | libc::WNOHANG as u64;
const REAP: u64 = libc::__WALL.cast_unsigned() as u64;

const SCHEDSTAT: u64 = libc::O_CLOEXEC as u64;

/// Calls that the sentry makes.
pub const SENTRY: &[HostCall] = &[
    call(
        libc::SYS_ptrace,
        // CONT, GETREGS, SETREGS, POKEUSER, SYSEMU, GETEVENTMSG, GETSIGINFO, GETREGSET, SETREGSET, GET_SYSCALL_INFO
        &[(0, &[7, 12, 13, 6, 31, 0x4201, 0x4202, 0x4204, 0x4205, 0x420e])],
        "seldom: runs stub threads; the host lets it act on own tracees only. POKEUSER where a guest has odd bases",
    ),
    call(libc::SYS_wait4, &[(2, &[WAIT, NOHANG, REAP])], "takes the stubs' stops and ends"),
    call(libc::SYS_tgkill, &[(2, &[KICK as u64])], "interrupts a stub thread"),
    call(libc::SYS_kill, &[(1, &[libc::SIGKILL as u64])], "ends a stub process"),
    call(libc::SYS_gettid, &[], "tells the tracer thread from others"),
    call(libc::SYS_process_vm_readv, &[(2, &[1]), (4, &[1]), (5, &[0])], "reads guest memory"),
    call(libc::SYS_process_vm_writev, &[(2, &[1]), (4, &[1]), (5, &[0])], "writes guest memory"),
    call(libc::SYS_ppoll, &[(1, &[1])], "sleeps until a stub stops or somebody calls"),
    call(libc::SYS_restart_syscall, &[], "seldom: goes on sleeping after the sentry itself was stopped and continued"),
    call(libc::SYS_rt_sigreturn, &[], "returns from the handler of SIGCHLD"),
    call(libc::SYS_openat, &[(2, &[SCHEDSTAT])], "opens a stub thread's schedstat beneath the descriptor of /proc"),
    call(libc::SYS_clock_gettime, &[], "seldom: reads a stub's processor time where there is no /proc"),
    call(libc::SYS_read, &[], "takes the calls from the eventfd, and schedstat"),
    call(libc::SYS_write, &[], "calls the worker through the eventfd"),
    call(libc::SYS_close, &[], "closes the eventfd, and schedstat"),
];

/// Calls that stubs make, on the sentry's order, at the code page. Guest code makes none.
pub const STUB: &[HostCall] = &[
    call(libc::SYS_mmap, &[], "maps guest memory at the place the kernel chose"),
    call(libc::SYS_munmap, &[], "unmaps guest memory"),
    call(libc::SYS_mprotect, &[], "changes the protection of guest memory"),
    call(libc::SYS_mremap, &[], "moves and resizes guest memory"),
    call(libc::SYS_madvise, &[], "passes the guest's advice on"),
    call(libc::SYS_msync, &[], "writes mapped files back"),
    call(libc::SYS_mlock2, &[], "locks guest memory, within the sandbox's limit"),
    call(libc::SYS_munlock, &[], "unlocks guest memory"),
    call(libc::SYS_mincore, &[], "tells what is resident"),
    call(libc::SYS_membarrier, &[], "orders memory accesses of the guest's threads"),
    call(libc::SYS_rseq, &[], "registers the guest's area of a thread"),
    call(libc::SYS_prctl, &[(0, &[libc::PR_SET_MM as u64])], "has the host show the guest's arguments"),
    call(libc::SYS_clone, &[], "makes threads and copies of address spaces"),
    call(libc::SYS_exit, &[], "ends a thread"),
];
