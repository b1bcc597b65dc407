//! Names of flags and of numbers that select something.

use std::fmt::Write;

use super::{int, uint};
use crate::signal::{SIGRTMIN, Signal};

/// Names by value. In sets of flags the values of several bits stand before their parts.
type Names = &'static [(u64, &'static str)];

/// Prints a set of flags; bits without a name as a number.
pub(super) fn flags(set: &str, value: u64) -> String {
    // Flags are 32-bit words, except in the structs that were made for more.
    let value = if set == "clone3" || set == "resolve" { value } else { u64::from(uint(value)) };
    let (low, names) = choice(set, value);
    let mut out = low.map(|(_, name)| name.to_owned()).unwrap_or_default();
    let mut left = value & !low.map_or(0, |(mask, _)| mask);
    for (bits, name) in names {
        if *bits != 0 && left & bits == *bits {
            push(&mut out, name);
            left &= !bits;
        }
    }
    if set == "clone" && left & 0xff != 0 {
        push(&mut out, &signal(int(left & 0xff)));
        left &= !0xff;
    }
    if left != 0 || out.is_empty() {
        let zero = names.iter().find(|(bits, _)| left == 0 && *bits == 0);
        match zero {
            Some((_, name)) => push(&mut out, name),
            None if left == 0 => push(&mut out, "0"),
            None => push(&mut out, &format!("{left:#x}")),
        }
    }
    out
}

fn push(out: &mut String, name: &str) {
    let bar = if out.is_empty() { "" } else { "|" };
    // Writing to a string can't fail.
    let _ = write!(out, "{bar}{name}");
}

/// Splits off the part of a word that is a number, not a set of bits; returns its mask and name, and the bits' names.
fn choice(set: &str, value: u64) -> (Option<(u64, &'static str)>, Names) {
    let pick = |mask: u64, names: Names| {
        names.iter().find(|(number, _)| *number == value & mask).map(|(_, name)| (mask, *name))
    };
    match set {
        "open" => (pick(3, &[(0, "O_RDONLY"), (1, "O_WRONLY"), (2, "O_RDWR"), (3, "O_ACCMODE")]), OPEN),
        "sock" => (pick(0xf, SOCK_TYPES), &[(0o2_000_000, "SOCK_CLOEXEC"), (0o4000, "SOCK_NONBLOCK")]),
        "map" => (pick(3, &[(1, "MAP_SHARED"), (2, "MAP_PRIVATE"), (3, "MAP_SHARED_VALIDATE")]), MAP),
        "flock" => (None, &[(1, "LOCK_SH"), (2, "LOCK_EX"), (4, "LOCK_NB"), (8, "LOCK_UN")]),
        _ => (None, SETS.iter().find(|(name, _)| *name == set).map_or(&[], |(_, names)| names)),
    }
}

/// Prints a number that selects something.
pub(super) fn operation(set: &str, value: u64) -> String {
    if set == "futex" {
        return futex(value);
    }
    let number = u64::from(uint(value));
    let names = OPERATIONS.iter().find(|(name, _)| *name == set).map_or(&[][..], |(_, names)| names);
    match names.iter().find(|(known, _)| *known == number) {
        Some((_, name)) => (*name).to_owned(),
        None if set == "ioctl" || set == "prctl" => format!("{number:#x}"),
        None => int(value).to_string(),
    }
}

fn futex(value: u64) -> String {
    const NAMES: [&str; 14] = [
        "FUTEX_WAIT",
        "FUTEX_WAKE",
        "FUTEX_FD",
        "FUTEX_REQUEUE",
        "FUTEX_CMP_REQUEUE",
        "FUTEX_WAKE_OP",
        "FUTEX_LOCK_PI",
        "FUTEX_UNLOCK_PI",
        "FUTEX_TRYLOCK_PI",
        "FUTEX_WAIT_BITSET",
        "FUTEX_WAKE_BITSET",
        "FUTEX_WAIT_REQUEUE_PI",
        "FUTEX_CMP_REQUEUE_PI",
        "FUTEX_LOCK_PI2",
    ];
    const PRIVATE: u32 = 128;
    const CLOCK_REALTIME: u32 = 256;
    let word = uint(value);
    let command = word & !(PRIVATE | CLOCK_REALTIME);
    let mut out = match usize::try_from(command).ok().and_then(|at| NAMES.get(at)) {
        Some(name) => (*name).to_owned(),
        None => format!("{command:#x}"),
    };
    if word & PRIVATE != 0 {
        out.push_str("_PRIVATE");
    }
    if word & CLOCK_REALTIME != 0 {
        out.push_str("|FUTEX_CLOCK_REALTIME");
    }
    out
}

/// Prints a signal number.
pub(super) fn signal(number: i32) -> String {
    match Signal::new(number) {
        Some(signal) if signal.is_realtime() => format!("SIGRT_{}", number - SIGRTMIN),
        Some(signal) => signal.name().to_owned(),
        None => number.to_string(),
    }
}

/// Prints a set of signals, the missing ones where they are fewer.
pub(super) fn signals(set: u64) -> String {
    let (shown, sign) = if set.count_ones() > 32 { (!set, "~") } else { (set, "") };
    let names = (1..=64).filter(|number| shown & (1 << (number - 1)) != 0).map(|number| {
        let name = signal(number);
        name.strip_prefix("SIG").map_or(name.clone(), str::to_owned)
    });
    format!("{sign}[{}]", names.collect::<Vec<_>>().join(" "))
}

/// Prints a clock id.
pub(super) fn clock(id: i32) -> String {
    const NAMES: [&str; 12] = [
        "CLOCK_REALTIME",
        "CLOCK_MONOTONIC",
        "CLOCK_PROCESS_CPUTIME_ID",
        "CLOCK_THREAD_CPUTIME_ID",
        "CLOCK_MONOTONIC_RAW",
        "CLOCK_REALTIME_COARSE",
        "CLOCK_MONOTONIC_COARSE",
        "CLOCK_BOOTTIME",
        "CLOCK_REALTIME_ALARM",
        "CLOCK_BOOTTIME_ALARM",
        "CLOCK_SGI_CYCLE",
        "CLOCK_TAI",
    ];
    usize::try_from(id).ok().and_then(|at| NAMES.get(at)).map_or_else(|| id.to_string(), |name| (*name).to_owned())
}

const OPEN: Names = &[
    (0o20_200_000, "O_TMPFILE"),
    (0o4_010_000, "O_SYNC"),
    (0o100, "O_CREAT"),
    (0o200, "O_EXCL"),
    (0o400, "O_NOCTTY"),
    (0o1000, "O_TRUNC"),
    (0o2000, "O_APPEND"),
    (0o4000, "O_NONBLOCK"),
    (0o10_000, "O_DSYNC"),
    (0o20_000, "O_ASYNC"),
    (0o40_000, "O_DIRECT"),
    (0o100_000, "O_LARGEFILE"),
    (0o200_000, "O_DIRECTORY"),
    (0o400_000, "O_NOFOLLOW"),
    (0o1_000_000, "O_NOATIME"),
    (0o2_000_000, "O_CLOEXEC"),
    (0o10_000_000, "O_PATH"),
];

const SOCK_TYPES: Names = &[
    (1, "SOCK_STREAM"),
    (2, "SOCK_DGRAM"),
    (3, "SOCK_RAW"),
    (4, "SOCK_RDM"),
    (5, "SOCK_SEQPACKET"),
    (6, "SOCK_DCCP"),
    (10, "SOCK_PACKET"),
];

const MAP: Names = &[
    (0x10, "MAP_FIXED"),
    (0x20, "MAP_ANONYMOUS"),
    (0x40, "MAP_32BIT"),
    (0x100, "MAP_GROWSDOWN"),
    (0x800, "MAP_DENYWRITE"),
    (0x1000, "MAP_EXECUTABLE"),
    (0x2000, "MAP_LOCKED"),
    (0x4000, "MAP_NORESERVE"),
    (0x8000, "MAP_POPULATE"),
    (0x1_0000, "MAP_NONBLOCK"),
    (0x2_0000, "MAP_STACK"),
    (0x4_0000, "MAP_HUGETLB"),
    (0x8_0000, "MAP_SYNC"),
    (0x10_0000, "MAP_FIXED_NOREPLACE"),
];

const CLONE: Names = &[
    (0x80, "CLONE_NEWTIME"),
    (0x100, "CLONE_VM"),
    (0x200, "CLONE_FS"),
    (0x400, "CLONE_FILES"),
    (0x800, "CLONE_SIGHAND"),
    (0x1000, "CLONE_PIDFD"),
    (0x2000, "CLONE_PTRACE"),
    (0x4000, "CLONE_VFORK"),
    (0x8000, "CLONE_PARENT"),
    (0x1_0000, "CLONE_THREAD"),
    (0x2_0000, "CLONE_NEWNS"),
    (0x4_0000, "CLONE_SYSVSEM"),
    (0x8_0000, "CLONE_SETTLS"),
    (0x10_0000, "CLONE_PARENT_SETTID"),
    (0x20_0000, "CLONE_CHILD_CLEARTID"),
    (0x40_0000, "CLONE_DETACHED"),
    (0x80_0000, "CLONE_UNTRACED"),
    (0x100_0000, "CLONE_CHILD_SETTID"),
    (0x200_0000, "CLONE_NEWCGROUP"),
    (0x400_0000, "CLONE_NEWUTS"),
    (0x800_0000, "CLONE_NEWIPC"),
    (0x1000_0000, "CLONE_NEWUSER"),
    (0x2000_0000, "CLONE_NEWPID"),
    (0x4000_0000, "CLONE_NEWNET"),
    (0x8000_0000, "CLONE_IO"),
    (0x1_0000_0000, "CLONE_CLEAR_SIGHAND"),
    (0x2_0000_0000, "CLONE_INTO_CGROUP"),
];

/// Without the bits that hold a signal there.
const CLONE_LEGACY: Names = CLONE.split_at(1).1;

const POLL: Names = &[
    (1, "POLLIN"),
    (2, "POLLPRI"),
    (4, "POLLOUT"),
    (8, "POLLERR"),
    (0x10, "POLLHUP"),
    (0x20, "POLLNVAL"),
    (0x40, "POLLRDNORM"),
    (0x80, "POLLRDBAND"),
    (0x100, "POLLWRNORM"),
    (0x200, "POLLWRBAND"),
    (0x2000, "POLLRDHUP"),
];

const EPOLL_EVENTS: Names = &[
    (1, "EPOLLIN"),
    (2, "EPOLLPRI"),
    (4, "EPOLLOUT"),
    (8, "EPOLLERR"),
    (0x10, "EPOLLHUP"),
    (0x40, "EPOLLRDNORM"),
    (0x80, "EPOLLRDBAND"),
    (0x100, "EPOLLWRNORM"),
    (0x200, "EPOLLWRBAND"),
    (0x400, "EPOLLMSG"),
    (0x2000, "EPOLLRDHUP"),
    (0x1000_0000, "EPOLLEXCLUSIVE"),
    (0x2000_0000, "EPOLLWAKEUP"),
    (0x4000_0000, "EPOLLONESHOT"),
    (0x8000_0000, "EPOLLET"),
];

const SETS: &[(&str, Names)] = &[
    (
        "prot",
        &[
            (0, "PROT_NONE"),
            (1, "PROT_READ"),
            (2, "PROT_WRITE"),
            (4, "PROT_EXEC"),
            (8, "PROT_SEM"),
            (0x100_0000, "PROT_GROWSDOWN"),
            (0x200_0000, "PROT_GROWSUP"),
        ],
    ),
    (
        "at",
        &[
            (0x100, "AT_SYMLINK_NOFOLLOW"),
            (0x200, "AT_REMOVEDIR"),
            (0x400, "AT_SYMLINK_FOLLOW"),
            (0x800, "AT_NO_AUTOMOUNT"),
            (0x1000, "AT_EMPTY_PATH"),
            (0x2000, "AT_STATX_FORCE_SYNC"),
            (0x4000, "AT_STATX_DONT_SYNC"),
            (0x8000, "AT_RECURSIVE"),
        ],
    ),
    ("access", &[(0, "F_OK"), (4, "R_OK"), (2, "W_OK"), (1, "X_OK")]),
    (
        "msg",
        &[
            (1, "MSG_OOB"),
            (2, "MSG_PEEK"),
            (4, "MSG_DONTROUTE"),
            (8, "MSG_CTRUNC"),
            (0x20, "MSG_TRUNC"),
            (0x40, "MSG_DONTWAIT"),
            (0x80, "MSG_EOR"),
            (0x100, "MSG_WAITALL"),
            (0x800, "MSG_CONFIRM"),
            (0x2000, "MSG_ERRQUEUE"),
            (0x4000, "MSG_NOSIGNAL"),
            (0x8000, "MSG_MORE"),
            (0x1_0000, "MSG_WAITFORONE"),
            (0x400_0000, "MSG_ZEROCOPY"),
            (0x2000_0000, "MSG_FASTOPEN"),
            (0x4000_0000, "MSG_CMSG_CLOEXEC"),
        ],
    ),
    ("ipc", &[(0o1000, "IPC_CREAT"), (0o2000, "IPC_EXCL"), (0o4000, "IPC_NOWAIT")]),
    ("sem", &[(0o4000, "IPC_NOWAIT"), (0x1000, "SEM_UNDO")]),
    ("shm", &[(0o10_000, "SHM_RDONLY"), (0o20_000, "SHM_RND"), (0o40_000, "SHM_REMAP"), (0o100_000, "SHM_EXEC")]),
    ("xattr", &[(1, "XATTR_CREATE"), (2, "XATTR_REPLACE")]),
    ("splice", &[(1, "SPLICE_F_MOVE"), (2, "SPLICE_F_NONBLOCK"), (4, "SPLICE_F_MORE"), (8, "SPLICE_F_GIFT")]),
    ("clone", CLONE_LEGACY),
    ("clone3", CLONE),
    (
        "wait",
        &[
            (1, "WNOHANG"),
            (2, "WSTOPPED"),
            (4, "WEXITED"),
            (8, "WCONTINUED"),
            (0x100_0000, "WNOWAIT"),
            (0x2000_0000, "__WNOTHREAD"),
            (0x4000_0000, "__WALL"),
            (0x8000_0000, "__WCLONE"),
        ],
    ),
    ("timer", &[(1, "TIMER_ABSTIME")]),
    ("timerfd_set", &[(1, "TFD_TIMER_ABSTIME"), (2, "TFD_TIMER_CANCEL_ON_SET")]),
    ("timerfd", &[(0o2_000_000, "TFD_CLOEXEC"), (0o4000, "TFD_NONBLOCK")]),
    ("signalfd", &[(0o2_000_000, "SFD_CLOEXEC"), (0o4000, "SFD_NONBLOCK")]),
    ("eventfd", &[(0o2_000_000, "EFD_CLOEXEC"), (0o4000, "EFD_NONBLOCK"), (1, "EFD_SEMAPHORE")]),
    ("epoll", &[(0o2_000_000, "EPOLL_CLOEXEC")]),
    ("inotify_init", &[(0o2_000_000, "IN_CLOEXEC"), (0o4000, "IN_NONBLOCK")]),
    ("pidfd", &[(0o4000, "PIDFD_NONBLOCK"), (0o200, "PIDFD_THREAD")]),
    (
        "pidfd_signal",
        &[(1, "PIDFD_SIGNAL_THREAD"), (2, "PIDFD_SIGNAL_THREAD_GROUP"), (4, "PIDFD_SIGNAL_PROCESS_GROUP")],
    ),
    (
        "memfd",
        &[(1, "MFD_CLOEXEC"), (2, "MFD_ALLOW_SEALING"), (4, "MFD_HUGETLB"), (8, "MFD_NOEXEC_SEAL"), (16, "MFD_EXEC")],
    ),
    ("rwf", &[(1, "RWF_HIPRI"), (2, "RWF_DSYNC"), (4, "RWF_SYNC"), (8, "RWF_NOWAIT"), (16, "RWF_APPEND")]),
    ("rename", &[(1, "RENAME_NOREPLACE"), (2, "RENAME_EXCHANGE"), (4, "RENAME_WHITEOUT")]),
    ("close_range", &[(2, "CLOSE_RANGE_UNSHARE"), (4, "CLOSE_RANGE_CLOEXEC")]),
    ("getrandom", &[(1, "GRND_NONBLOCK"), (2, "GRND_RANDOM"), (4, "GRND_INSECURE")]),
    ("mremap", &[(1, "MREMAP_MAYMOVE"), (2, "MREMAP_FIXED"), (4, "MREMAP_DONTUNMAP")]),
    ("msync", &[(1, "MS_ASYNC"), (2, "MS_INVALIDATE"), (4, "MS_SYNC")]),
    ("mlock", &[(1, "MLOCK_ONFAULT")]),
    ("mlockall", &[(1, "MCL_CURRENT"), (2, "MCL_FUTURE"), (4, "MCL_ONFAULT")]),
    (
        "fallocate",
        &[
            (1, "FALLOC_FL_KEEP_SIZE"),
            (2, "FALLOC_FL_PUNCH_HOLE"),
            (8, "FALLOC_FL_COLLAPSE_RANGE"),
            (0x10, "FALLOC_FL_ZERO_RANGE"),
            (0x20, "FALLOC_FL_INSERT_RANGE"),
            (0x40, "FALLOC_FL_UNSHARE_RANGE"),
        ],
    ),
    ("umount", &[(1, "MNT_FORCE"), (2, "MNT_DETACH"), (4, "MNT_EXPIRE"), (8, "UMOUNT_NOFOLLOW")]),
    (
        "mount",
        &[
            (1, "MS_RDONLY"),
            (2, "MS_NOSUID"),
            (4, "MS_NODEV"),
            (8, "MS_NOEXEC"),
            (0x10, "MS_SYNCHRONOUS"),
            (0x20, "MS_REMOUNT"),
            (0x400, "MS_NOATIME"),
            (0x1000, "MS_BIND"),
            (0x2000, "MS_MOVE"),
            (0x4000, "MS_REC"),
            (0x8000, "MS_SILENT"),
            (0x4_0000, "MS_PRIVATE"),
            (0x8_0000, "MS_SLAVE"),
            (0x10_0000, "MS_SHARED"),
            (0x20_0000, "MS_RELATIME"),
        ],
    ),
    ("statx", &[(0xfff, "STATX_ALL"), (0x7ff, "STATX_BASIC_STATS")]),
    (
        "inotify",
        &[
            (0xfff, "IN_ALL_EVENTS"),
            (1, "IN_ACCESS"),
            (2, "IN_MODIFY"),
            (4, "IN_ATTRIB"),
            (8, "IN_CLOSE_WRITE"),
            (0x10, "IN_CLOSE_NOWRITE"),
            (0x20, "IN_OPEN"),
            (0x40, "IN_MOVED_FROM"),
            (0x80, "IN_MOVED_TO"),
            (0x100, "IN_CREATE"),
            (0x200, "IN_DELETE"),
            (0x400, "IN_DELETE_SELF"),
            (0x800, "IN_MOVE_SELF"),
            (0x100_0000, "IN_ONLYDIR"),
            (0x200_0000, "IN_DONT_FOLLOW"),
            (0x2000_0000, "IN_MASK_ADD"),
            (0x8000_0000, "IN_ONESHOT"),
        ],
    ),
    (
        "sync_file_range",
        &[(1, "SYNC_FILE_RANGE_WAIT_BEFORE"), (2, "SYNC_FILE_RANGE_WRITE"), (4, "SYNC_FILE_RANGE_WAIT_AFTER")],
    ),
    (
        "sigaction",
        &[
            (0x1, "SA_NOCLDSTOP"),
            (0x2, "SA_NOCLDWAIT"),
            (0x4, "SA_SIGINFO"),
            (0x800, "SA_EXPOSE_TAGBITS"),
            (0x400_0000, "SA_RESTORER"),
            (0x800_0000, "SA_ONSTACK"),
            (0x1000_0000, "SA_RESTART"),
            (0x4000_0000, "SA_NODEFER"),
            (0x8000_0000, "SA_RESETHAND"),
        ],
    ),
    ("sigaltstack", &[(1, "SS_ONSTACK"), (2, "SS_DISABLE"), (0x8000_0000, "SS_AUTODISARM")]),
    (
        "resolve",
        &[
            (1, "RESOLVE_NO_XDEV"),
            (2, "RESOLVE_NO_MAGICLINKS"),
            (4, "RESOLVE_NO_SYMLINKS"),
            (8, "RESOLVE_BENEATH"),
            (0x10, "RESOLVE_IN_ROOT"),
            (0x20, "RESOLVE_CACHED"),
        ],
    ),
    ("poll", POLL),
    ("epoll_events", EPOLL_EVENTS),
    (
        "seccomp",
        &[
            (1, "SECCOMP_FILTER_FLAG_TSYNC"),
            (2, "SECCOMP_FILTER_FLAG_LOG"),
            (4, "SECCOMP_FILTER_FLAG_SPEC_ALLOW"),
            (8, "SECCOMP_FILTER_FLAG_NEW_LISTENER"),
            (16, "SECCOMP_FILTER_FLAG_TSYNC_ESRCH"),
            (32, "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"),
        ],
    ),
    ("rseq", &[(1, "RSEQ_FLAG_UNREGISTER")]),
];

const OPERATIONS: &[(&str, Names)] = &[
    ("seek", &[(0, "SEEK_SET"), (1, "SEEK_CUR"), (2, "SEEK_END"), (3, "SEEK_DATA"), (4, "SEEK_HOLE")]),
    ("sigmask", &[(0, "SIG_BLOCK"), (1, "SIG_UNBLOCK"), (2, "SIG_SETMASK")]),
    ("itimer", &[(0, "ITIMER_REAL"), (1, "ITIMER_VIRTUAL"), (2, "ITIMER_PROF")]),
    ("idtype", &[(0, "P_ALL"), (1, "P_PID"), (2, "P_PGID"), (3, "P_PIDFD")]),
    ("epoll_ctl", &[(1, "EPOLL_CTL_ADD"), (2, "EPOLL_CTL_DEL"), (3, "EPOLL_CTL_MOD")]),
    (
        "sched",
        &[
            (0, "SCHED_OTHER"),
            (1, "SCHED_FIFO"),
            (2, "SCHED_RR"),
            (3, "SCHED_BATCH"),
            (5, "SCHED_IDLE"),
            (6, "SCHED_DEADLINE"),
        ],
    ),
    (
        "ipcctl",
        &[
            (0, "IPC_RMID"),
            (1, "IPC_SET"),
            (2, "IPC_STAT"),
            (3, "IPC_INFO"),
            (12, "GETVAL"),
            (13, "GETALL"),
            (14, "GETNCNT"),
            (15, "GETZCNT"),
            (16, "SETVAL"),
            (17, "SETALL"),
        ],
    ),
    (
        "af",
        &[
            (0, "AF_UNSPEC"),
            (1, "AF_UNIX"),
            (2, "AF_INET"),
            (10, "AF_INET6"),
            (16, "AF_NETLINK"),
            (17, "AF_PACKET"),
            (38, "AF_ALG"),
            (40, "AF_VSOCK"),
        ],
    ),
    (
        "rlimit",
        &[
            (0, "RLIMIT_CPU"),
            (1, "RLIMIT_FSIZE"),
            (2, "RLIMIT_DATA"),
            (3, "RLIMIT_STACK"),
            (4, "RLIMIT_CORE"),
            (5, "RLIMIT_RSS"),
            (6, "RLIMIT_NPROC"),
            (7, "RLIMIT_NOFILE"),
            (8, "RLIMIT_MEMLOCK"),
            (9, "RLIMIT_AS"),
            (10, "RLIMIT_LOCKS"),
            (11, "RLIMIT_SIGPENDING"),
            (12, "RLIMIT_MSGQUEUE"),
            (13, "RLIMIT_NICE"),
            (14, "RLIMIT_RTPRIO"),
            (15, "RLIMIT_RTTIME"),
        ],
    ),
    (
        "madvise",
        &[
            (0, "MADV_NORMAL"),
            (1, "MADV_RANDOM"),
            (2, "MADV_SEQUENTIAL"),
            (3, "MADV_WILLNEED"),
            (4, "MADV_DONTNEED"),
            (8, "MADV_FREE"),
            (9, "MADV_REMOVE"),
            (10, "MADV_DONTFORK"),
            (11, "MADV_DOFORK"),
            (14, "MADV_HUGEPAGE"),
            (15, "MADV_NOHUGEPAGE"),
            (16, "MADV_DONTDUMP"),
            (18, "MADV_WIPEONFORK"),
            (20, "MADV_COLD"),
            (21, "MADV_PAGEOUT"),
            (22, "MADV_POPULATE_READ"),
            (23, "MADV_POPULATE_WRITE"),
        ],
    ),
    (
        "fadvise",
        &[
            (0, "POSIX_FADV_NORMAL"),
            (1, "POSIX_FADV_RANDOM"),
            (2, "POSIX_FADV_SEQUENTIAL"),
            (3, "POSIX_FADV_WILLNEED"),
            (4, "POSIX_FADV_DONTNEED"),
            (5, "POSIX_FADV_NOREUSE"),
        ],
    ),
    (
        "arch_prctl",
        &[
            (0x1001, "ARCH_SET_GS"),
            (0x1002, "ARCH_SET_FS"),
            (0x1003, "ARCH_GET_FS"),
            (0x1004, "ARCH_GET_GS"),
            (0x1011, "ARCH_GET_CPUID"),
            (0x1012, "ARCH_SET_CPUID"),
        ],
    ),
    (
        "membarrier",
        &[
            (0, "MEMBARRIER_CMD_QUERY"),
            (1, "MEMBARRIER_CMD_GLOBAL"),
            (8, "MEMBARRIER_CMD_PRIVATE_EXPEDITED"),
            (16, "MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED"),
        ],
    ),
    (
        "fcntl",
        &[
            (0, "F_DUPFD"),
            (1, "F_GETFD"),
            (2, "F_SETFD"),
            (3, "F_GETFL"),
            (4, "F_SETFL"),
            (5, "F_GETLK"),
            (6, "F_SETLK"),
            (7, "F_SETLKW"),
            (8, "F_SETOWN"),
            (9, "F_GETOWN"),
            (10, "F_SETSIG"),
            (11, "F_GETSIG"),
            (15, "F_SETOWN_EX"),
            (16, "F_GETOWN_EX"),
            (36, "F_OFD_GETLK"),
            (37, "F_OFD_SETLK"),
            (38, "F_OFD_SETLKW"),
            (1024, "F_SETLEASE"),
            (1025, "F_GETLEASE"),
            (1026, "F_NOTIFY"),
            (1030, "F_DUPFD_CLOEXEC"),
            (1031, "F_SETPIPE_SZ"),
            (1032, "F_GETPIPE_SZ"),
            (1033, "F_ADD_SEALS"),
            (1034, "F_GET_SEALS"),
        ],
    ),
    (
        "ioctl",
        &[
            (0x5401, "TCGETS"),
            (0x5402, "TCSETS"),
            (0x5403, "TCSETSW"),
            (0x5404, "TCSETSF"),
            (0x5409, "TCSBRK"),
            (0x540a, "TCXONC"),
            (0x540b, "TCFLSH"),
            (0x540e, "TIOCSCTTY"),
            (0x540f, "TIOCGPGRP"),
            (0x5410, "TIOCSPGRP"),
            (0x5412, "TIOCSTI"),
            (0x5413, "TIOCGWINSZ"),
            (0x5414, "TIOCSWINSZ"),
            (0x541b, "FIONREAD"),
            (0x5421, "FIONBIO"),
            (0x5422, "TIOCNOTTY"),
            (0x5429, "TIOCGSID"),
            (0x5441, "TIOCGPTPEER"),
            (0x5450, "FIONCLEX"),
            (0x5451, "FIOCLEX"),
            (0x5452, "FIOASYNC"),
            (0x8004_5430, "TIOCGPTN"),
            (0x4004_5431, "TIOCSPTLCK"),
            (0x8912, "SIOCGIFCONF"),
            (0x8913, "SIOCGIFFLAGS"),
            (0x8915, "SIOCGIFADDR"),
            (0x8933, "SIOCGIFINDEX"),
            (0x4004_9409, "FICLONE"),
            (0x8008_6601, "FS_IOC_GETFLAGS"),
            (0x4008_6602, "FS_IOC_SETFLAGS"),
        ],
    ),
    (
        "prctl",
        &[
            (1, "PR_SET_PDEATHSIG"),
            (2, "PR_GET_PDEATHSIG"),
            (3, "PR_GET_DUMPABLE"),
            (4, "PR_SET_DUMPABLE"),
            (7, "PR_GET_KEEPCAPS"),
            (8, "PR_SET_KEEPCAPS"),
            (15, "PR_SET_NAME"),
            (16, "PR_GET_NAME"),
            (21, "PR_GET_SECCOMP"),
            (22, "PR_SET_SECCOMP"),
            (23, "PR_CAPBSET_READ"),
            (24, "PR_CAPBSET_DROP"),
            (29, "PR_SET_TIMERSLACK"),
            (30, "PR_GET_TIMERSLACK"),
            (35, "PR_SET_MM"),
            (36, "PR_SET_CHILD_SUBREAPER"),
            (37, "PR_GET_CHILD_SUBREAPER"),
            (38, "PR_SET_NO_NEW_PRIVS"),
            (39, "PR_GET_NO_NEW_PRIVS"),
            (47, "PR_CAP_AMBIENT"),
            (0x5356_4d41, "PR_SET_VMA"),
        ],
    ),
    ("seccomp", &[(0, "SECCOMP_SET_MODE_STRICT"), (1, "SECCOMP_SET_MODE_FILTER"), (2, "SECCOMP_GET_ACTION_AVAIL")]),
    (
        "si_code",
        &[
            (0, "SI_USER"),
            (0x80, "SI_KERNEL"),
            (0xffff_ffff, "SI_QUEUE"),
            (0xffff_fffe, "SI_TIMER"),
            (0xffff_fffa, "SI_TKILL"),
        ],
    ),
];
