//! Every host call that a serving gofer makes, with the reason. The seccomp filter is made from this table; anything
//! else raises SIGSYS, which ends the process.

use libc::c_long;

use crate::server::TreeFlags;

/// What is asked of a call's arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Any arguments.
    Any,
    /// This argument (counted from 0) has this value.
    Equal(u8, u64),
    /// None of these bits are set in this argument.
    NoBits(u8, u64),
    /// This argument is the process's own id.
    Own(u8),
    /// This argument isn't this value.
    Not(u8, u64),
    /// This argument is standard error or the descriptor that log lines go to.
    Log(u8),
}

/// One host call.
#[derive(Clone, Copy, Debug)]
pub struct HostCall {
    /// Name.
    pub name: &'static str,
    /// Number.
    pub number: c_long,
    /// What is asked of its arguments.
    pub check: Check,
    /// Why it is needed.
    pub why: &'static str,
}

macro_rules! calls {
    ($($name:ident $number:ident $check:expr, $why:literal;)*) => {
        &[$(HostCall { name: stringify!($name), number: libc::$number, check: $check, why: $why }),*]
    };
}

const EXEC: u64 = libc::PROT_EXEC as u64;

/// All of them.
pub const HOST_CALLS: &[HostCall] = calls! {
    recvmsg SYS_recvmsg Check::Any, "requests";
    sendmsg SYS_sendmsg Check::Any, "replies and donated descriptors";
    close SYS_close Check::Any, "handles that the sentry forgets, descriptors given away";
    fcntl SYS_fcntl Check::Equal(1, libc::F_GETFD as u64), "the standard library's check before close, in debug builds";
    fcntl SYS_fcntl Check::Equal(1, libc::F_GETFL as u64), "the rights of a descriptor that is to be opened again for reading";
    openat SYS_openat Check::Any, "opening a handle for I/O by way of the kept /proc/self/fd; components where openat2 is missing";
    openat2 SYS_openat2 Check::Any, "components, beneath their directory";
    statx SYS_statx Check::Any, "attributes";
    fstatfs SYS_fstatfs Check::Any, "statfs; the type of a file system that a walk enters";
    readlinkat SYS_readlinkat Check::Any, "link targets";
    getdents64 SYS_getdents64 Check::Any, "listings";
    lseek SYS_lseek Check::Any, "seldom: listings that go on";
    mkdirat SYS_mkdirat Check::Any, "new directories";
    mknodat SYS_mknodat Check::Any, "new FIFOs, sockets and, where allowed, device nodes";
    symlinkat SYS_symlinkat Check::Any, "new symbolic links";
    linkat SYS_linkat Check::Any, "new hard links";
    unlinkat SYS_unlinkat Check::Any, "names that go";
    renameat2 SYS_renameat2 Check::Any, "names that move";
    fchmodat SYS_fchmodat Check::Any, "modes";
    fchownat SYS_fchownat Check::Any, "owners";
    utimensat SYS_utimensat Check::Any, "times";
    ftruncate SYS_ftruncate Check::Any, "sizes";
    fsync SYS_fsync Check::Any, "fsync of directories";
    syncfs SYS_syncfs Check::Any, "sync";
    fgetxattr SYS_fgetxattr Check::Any, "extended attributes";
    fsetxattr SYS_fsetxattr Check::Any, "extended attributes";
    flistxattr SYS_flistxattr Check::Any, "extended attributes";
    fremovexattr SYS_fremovexattr Check::Any, "extended attributes";
    futex SYS_futex Check::Any, "locks, the end of threads";
    sched_yield SYS_sched_yield Check::Any, "seldom: locks";
    getcpu SYS_getcpu Check::Any, "seldom: where we are, where the vDSO has no answer";
    mmap SYS_mmap Check::NoBits(2, EXEC), "memory, never executable";
    mprotect SYS_mprotect Check::NoBits(2, EXEC), "memory, never executable";
    mremap SYS_mremap Check::Any, "seldom: memory";
    munmap SYS_munmap Check::Any, "memory";
    madvise SYS_madvise Check::Any, "memory, the stacks of threads that end, code at rest";
    brk SYS_brk Check::Any, "seldom: memory";
    clock_gettime SYS_clock_gettime Check::Any, "seldom: the time in log lines where the vDSO has none";
    write SYS_write Check::Log(0), "seldom: log lines and last words";
    writev SYS_writev Check::Equal(0, 2), "seldom: last words of the C library";
    sigaltstack SYS_sigaltstack Check::Any, "the end of threads";
    rt_sigprocmask SYS_rt_sigprocmask Check::Any, "the end of threads, abort";
    rt_sigreturn SYS_rt_sigreturn Check::Any, "seldom: return from the handler of stack overflows";
    rt_sigaction SYS_rt_sigaction Check::Not(0, libc::SIGSYS as u64), "the handler of stack overflows, which takes itself away; abort";
    getpid SYS_getpid Check::Any, "abort";
    gettid SYS_gettid Check::Any, "abort";
    tgkill SYS_tgkill Check::Own(0), "seldom: abort";
    restart_syscall SYS_restart_syscall Check::Any, "seldom: calls interrupted by a stop";
    exit SYS_exit Check::Any, "the end of threads";
    exit_group SYS_exit_group Check::Any, "the end";
};

/// Further ones where sockets of the host may be connected to or made.
pub const SOCKET_CALLS: &[HostCall] = calls! {
    socket SYS_socket Check::Equal(0, libc::AF_UNIX as u64), "sockets that are given to the sentry, of this family only";
    connect SYS_connect Check::Any, "sockets of the host, by their handles";
};

/// Further ones where sockets of the host may be made.
pub const BIND_CALLS: &[HostCall] = calls! {
    bind SYS_bind Check::Any, "new sockets of the host";
};

/// Returns those of a gofer in whose trees this may be done.
pub fn of(wanted: TreeFlags) -> impl Iterator<Item = &'static HostCall> {
    let sockets = if wanted.intersects(TreeFlags::CONNECT | TreeFlags::BIND) { SOCKET_CALLS } else { &[] };
    let binds = if wanted.contains(TreeFlags::BIND) { BIND_CALLS } else { &[] };
    HOST_CALLS.iter().chain(sockets).chain(binds)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn sockets_are_made_only_where_that_is_wanted() {
        let numbers = |wanted| of(wanted).map(|call| call.number).collect::<BTreeSet<_>>();
        let has = |wanted, number| numbers(wanted).contains(&number);
        let plain = TreeFlags::READONLY | TreeFlags::STORE | TreeFlags::FIFO;
        assert!(!has(plain, libc::SYS_socket) && !has(plain, libc::SYS_connect) && !has(plain, libc::SYS_bind));
        assert!(has(TreeFlags::CONNECT, libc::SYS_connect) && !has(TreeFlags::CONNECT, libc::SYS_bind));
        assert!(has(TreeFlags::BIND, libc::SYS_connect) && has(TreeFlags::BIND, libc::SYS_bind));
    }

    #[test]
    fn each_call_is_listed_once_for_each_of_its_uses_with_a_reason() {
        let uses: BTreeSet<(c_long, String)> =
            HOST_CALLS.iter().map(|call| (call.number, format!("{:?}", call.check))).collect();
        assert_eq!(uses.len(), HOST_CALLS.len());
        // A line that asks for something beside one that doesn't would be in vain, or worse.
        for free in HOST_CALLS.iter().filter(|call| matches!(call.check, Check::Any)) {
            assert_eq!(HOST_CALLS.iter().filter(|call| call.number == free.number).count(), 1, "{}", free.name);
        }
        assert!(HOST_CALLS.iter().all(|call| !call.why.is_empty()));
    }
}
