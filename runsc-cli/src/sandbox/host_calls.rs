//! Host calls of the sentry after start-up, besides those of its platform: what [`super::filter`] lets through.
//!
//! Whatever is not here kills the sandbox. No call here opens a file that exists in the sentry's empty root, makes a
//! socket, starts a process or maps executable memory.

use libc::c_long;

/// What is asked of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Check {
    /// This argument is one of these values.
    In(u8, &'static [u64]),
    /// None of these bits is set in this argument.
    Clear(u8, u64),
    /// This argument is the process's own id.
    Own(u8),
    /// This argument isn't this value.
    Not(u8, u64),
}

/// One host call.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HostCall {
    /// Number.
    pub(crate) nr: c_long,
    /// All of these hold.
    pub(crate) checks: &'static [Check],
    /// What it is for. Begins with "seldom:" where tests don't come to use all of it (`cargo xtask host-calls`).
    pub(crate) why: &'static str,
}

pub(super) const fn call(nr: c_long, checks: &'static [Check], why: &'static str) -> HostCall {
    HostCall { nr, checks, why }
}

const EXEC: u64 = libc::PROT_EXEC as u64;
/// Flags with which the standard library and `rustix` open for reading; the latter says that files may be large.
const READ: &[u64] = &[libc::O_CLOEXEC as u64, libc::O_CLOEXEC as u64 | 0o100_000];
/// Flags with which the C libraries start threads: glibc's, and musl's, which adds `CLONE_DETACHED`.
const THREAD: &[u64] = &[0x003d_0f00, 0x007d_0f00];
const FCNTL: &[u64] =
    &[libc::F_GETFD as u64, libc::F_GETFL as u64, libc::F_DUPFD_CLOEXEC as u64, libc::F_ADD_SEALS as u64];
/// Settings, size, queues and flow of a terminal; not `TIOCSTI`, which types into it, nor job control.
const TERMINAL: &[u64] = &[
    0x5401,
    0x5402,
    0x5403,
    0x5404,
    0x540a,
    0x540b,
    0x5413,
    0x5414,
    0x541b,
    0x802c_542a,
    0x402c_542b,
    0x402c_542c,
    0x402c_542d,
];
/// `FUTEX_WAIT`, `WAKE`, `WAIT_BITSET` on private memory, the last also with the real clock.
const FUTEX: &[u64] = &[128, 129, 137, 256 | 137];
/// `PR_SET_NAME`, and `PR_SET_VMA` by which allocators name their memory.
const PRCTL: &[u64] = &[15, 0x5356_4d41];
const ABORT: &[u64] = &[libc::SIGABRT as u64];
const EMPTY_PATH: u64 = libc::AT_EMPTY_PATH as u64;
/// With and without `AT_NO_AUTOMOUNT`.
const BY_FD: &[u64] = &[EMPTY_PATH, EMPTY_PATH | 0x800];
/// `SOCK_CLOEXEC | SOCK_NONBLOCK`.
const ACCEPTED: &[u64] = &[libc::SOCK_CLOEXEC as u64 | libc::SOCK_NONBLOCK as u64];
/// `MADV_DONTNEED`; `MADV_GUARD_INSTALL` and `_REMOVE`, by which newer C libraries guard stacks.
const ADVICE: &[u64] = &[4, 102, 103];

/// All of them.
pub(crate) const HOST_CALLS: &[HostCall] = &[
    // Files that the gofer has donated, backing files, the caller's standard streams.
    call(libc::SYS_read, &[], "files, standard input, eventfds, timerfds"),
    call(libc::SYS_write, &[], "files, standard output, eventfds, log lines"),
    call(libc::SYS_writev, &[], "seldom: last words of the C library"),
    call(libc::SYS_pread64, &[], "files at an offset"),
    call(libc::SYS_pwrite64, &[], "files at an offset"),
    call(libc::SYS_preadv2, &[], "files with RWF flags"),
    call(libc::SYS_pwritev2, &[], "files with RWF flags: appending"),
    call(libc::SYS_lseek, &[], "offsets of standard streams; SEEK_DATA and SEEK_HOLE"),
    call(libc::SYS_fstat, &[], "attributes of descriptors"),
    call(libc::SYS_newfstatat, &[Check::In(3, BY_FD)], "seldom: fstat of the C library"),
    call(
        libc::SYS_statx,
        &[Check::In(2, BY_FD)],
        "seldom: attributes of descriptors; rustix and the C library differ in flags",
    ),
    call(libc::SYS_ftruncate, &[], "sizes of backing files and donated files"),
    call(libc::SYS_fallocate, &[], "holes and reservations"),
    call(libc::SYS_fsync, &[], "fsync of donated files"),
    call(libc::SYS_fdatasync, &[], "fdatasync of donated files"),
    call(libc::SYS_memfd_create, &[], "backing files"),
    call(libc::SYS_openat, &[Check::In(2, READ)], "the standard library asks for limits; the root is empty"),
    call(libc::SYS_close, &[], "descriptors that are done with"),
    call(
        libc::SYS_fcntl,
        &[Check::In(1, FCNTL)],
        "seldom: flags of streams that are passed to an exec, copies and seals",
    ),
    call(
        libc::SYS_ioctl,
        &[Check::In(1, TERMINAL)],
        "seldom: the caller's terminal; which, older hosts and newer ones differ",
    ),
    // The gofer and the command line.
    call(libc::SYS_sendmsg, &[], "requests to the gofer"),
    call(libc::SYS_recvmsg, &[], "replies of the gofer and donated descriptors"),
    call(libc::SYS_sendto, &[Check::In(4, &[0])], "messages to the command line, never to an address"),
    call(
        libc::SYS_accept4,
        &[Check::In(3, ACCEPTED)],
        "command lines on the control socket, the only one that listens",
    ),
    call(libc::SYS_recvfrom, &[], "messages of the command line"),
    // Waiting.
    call(libc::SYS_futex, &[Check::In(1, FUTEX)], "seldom: locks; the C library's with the real clock"),
    call(libc::SYS_ppoll, &[], "waiting for descriptors"),
    call(libc::SYS_epoll_create1, &[], "the event loops of host descriptors and stubs"),
    call(libc::SYS_epoll_ctl, &[], "the event loop of host descriptors"),
    call(libc::SYS_epoll_pwait, &[], "the event loop of host descriptors"),
    call(libc::SYS_eventfd2, &[], "waking workers"),
    call(libc::SYS_timerfd_create, &[], "timers of the guest"),
    call(libc::SYS_timerfd_settime, &[], "timers of the guest"),
    call(libc::SYS_clock_nanosleep, &[], "seldom: short sleeps"),
    call(libc::SYS_sched_yield, &[], "locks"),
    call(libc::SYS_restart_syscall, &[], "seldom: calls interrupted by a stop"),
    // Time, chance, the machine.
    call(libc::SYS_clock_gettime, &[], "seldom: clocks that the vDSO doesn't serve"),
    call(libc::SYS_clock_getres, &[], "seldom: resolutions that the vDSO doesn't know"),
    call(libc::SYS_gettimeofday, &[], "seldom: the time where the vDSO has none"),
    call(libc::SYS_getrandom, &[], "random bytes"),
    call(libc::SYS_sysinfo, &[], "load and memory of the machine"),
    call(libc::SYS_sched_getaffinity, &[], "number of processors; the C library's stack bounds"),
    call(libc::SYS_getcpu, &[], "seldom: the C library's sched_getcpu where the vDSO has none"),
    call(
        libc::SYS_prlimit64,
        &[Check::In(2, &[0])],
        "seldom: reading limits for the C library's sysconf, never setting them",
    ),
    call(libc::SYS_getpid, &[], "seldom: abort"),
    call(libc::SYS_gettid, &[], "own id"),
    // Memory, never executable.
    call(libc::SYS_mmap, &[Check::Clear(2, EXEC)], "memory"),
    call(libc::SYS_mprotect, &[Check::Clear(2, EXEC)], "memory"),
    call(libc::SYS_mremap, &[], "memory"),
    call(libc::SYS_munmap, &[], "memory"),
    call(
        libc::SYS_madvise,
        &[Check::In(2, ADVICE)],
        "seldom: memory and stacks of threads that end, code at rest; guard pages only where the C library has them",
    ),
    call(libc::SYS_brk, &[], "memory"),
    // Threads, signals, the end.
    call(libc::SYS_clone, &[Check::In(0, THREAD)], "seldom: threads, no processes; each C library has its own flags"),
    call(
        libc::SYS_clone3,
        &[],
        "seldom: answered with ENOSYS: its arguments can't be checked, and the C library then uses clone",
    ),
    call(libc::SYS_set_robust_list, &[], "start of a thread"),
    call(libc::SYS_rseq, &[], "start of a thread"),
    call(libc::SYS_prctl, &[Check::In(0, PRCTL)], "seldom: names of threads and of memory"),
    call(libc::SYS_sigaltstack, &[], "start and end of a thread"),
    call(libc::SYS_rt_sigprocmask, &[], "start and end of a thread, abort"),
    call(
        libc::SYS_rt_sigaction,
        &[Check::Not(0, libc::SIGSYS as u64)],
        "the C library's first thread; handlers of stack overflows and abort",
    ),
    call(libc::SYS_rt_sigreturn, &[], "return from handlers"),
    call(libc::SYS_tgkill, &[Check::Own(0), Check::In(2, ABORT)], "seldom: abort"),
    call(libc::SYS_exit, &[], "end of a thread"),
    call(libc::SYS_exit_group, &[], "the end"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_is_listed_once_with_a_reason() {
        let mut numbers: Vec<c_long> = HOST_CALLS.iter().map(|call| call.nr).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), HOST_CALLS.len());
        assert!(HOST_CALLS.iter().all(|call| !call.why.is_empty()));
    }

    #[test]
    fn nothing_runs_programs_or_reaches_out() {
        let never = [
            libc::SYS_execve,
            libc::SYS_execveat,
            libc::SYS_fork,
            libc::SYS_vfork,
            libc::SYS_socket,
            libc::SYS_connect,
            libc::SYS_bind,
            libc::SYS_open,
            libc::SYS_openat2,
            libc::SYS_mount,
            libc::SYS_unshare,
            libc::SYS_setns,
            libc::SYS_bpf,
            libc::SYS_io_uring_setup,
            libc::SYS_kill,
        ];
        assert!(HOST_CALLS.iter().all(|call| !never.contains(&call.nr)));
    }
}
