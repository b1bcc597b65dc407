//! The one declaration of every x86-64 system call, 0 up to the newest number of Linux 6.18.
//!
//! [`syscall_table!`](crate::syscall_table) hands all rows to a macro of the caller's choice. From the same rows come
//! the metadata here ([`ENTRIES`]: names, argument types, support), the dispatch table in the `syscalls` crate, the
//! strace-style decoder, `runsc help syscalls` and the compatibility matrix.
//!
//! A row reads `NUMBER NAME(ARGUMENT: Kind, …) = SUPPORT FAMILY;` where SUPPORT is one of
//!
//! * `full` — what Linux does;
//! * `partial("what is missing")`;
//! * `missing(ERRNO, "why")` — answers as Linux does with the feature compiled out, and is logged once.
//!
//! FAMILY is the file of the `syscalls` crate in which the handler `NAME` stands. `Buf` kinds carry the index of the
//! argument that holds their length. Source: the kernel's `arch/x86/entry/syscalls/syscall_64.tbl` and section 2 of
//! the manual pages.

use crate::errno::Errno;

/// Type and direction of one system-call argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file descriptor.
    Fd,
    /// A directory descriptor or `AT_FDCWD`.
    DirFd,
    /// A NUL-terminated path, read.
    Path,
    /// A NUL-terminated string that is no path, read.
    Str,
    /// A NULL-terminated array of strings (argv, envp), read.
    StrArray,
    /// Bytes read by the call; length in the argument of that index.
    InBuf(u8),
    /// Bytes written by the call; at most the length in the argument of that index.
    OutBuf(u8),
    /// An iovec array read from; count in the argument of that index.
    InIov(u8),
    /// An iovec array written to; count in the argument of that index.
    OutIov(u8),
    /// A struct that the call reads.
    In(&'static str),
    /// A struct that the call writes.
    Out(&'static str),
    /// A struct that the call reads and writes.
    InOut(&'static str),
    /// An address that is not dereferenced by the call itself.
    Addr,
    /// Signed 32-bit number.
    Int,
    /// Unsigned 32-bit number.
    Uint,
    /// Signed 64-bit number.
    Long,
    /// Unsigned 64-bit number.
    Ulong,
    /// A size in bytes.
    Size,
    /// A file offset in bytes.
    Off,
    /// Permission bits.
    Mode,
    /// A set of flags, printed symbolically where the set is known.
    Flags(&'static str),
    /// A number that selects an operation, printed symbolically where known.
    Op(&'static str),
    /// A signal number.
    Sig,
    /// A process, thread or group id.
    Pid,
    /// A user id.
    Uid,
    /// A group id.
    Gid,
    /// A clock id.
    Clock,
    /// A device number.
    Dev,
}

/// How far a system call is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// As Linux does it.
    Full,
    /// Served, with a documented gap.
    Partial(&'static str),
    /// Not served: this error, for this reason.
    Missing(Errno, &'static str),
}

/// One argument of a system call.
#[derive(Clone, Copy, Debug)]
pub struct Arg {
    /// Name as in the manual page.
    pub name: &'static str,
    /// Type and direction.
    pub kind: Kind,
}

/// One system call.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Number on x86-64.
    pub number: u32,
    /// Linux's name.
    pub name: &'static str,
    /// Arguments in order, at most six.
    pub args: &'static [Arg],
    /// How far it is served.
    pub support: Support,
    /// File of the `syscalls` crate that serves it; `"none"` where nothing does.
    pub family: &'static str,
}

/// One more than the highest number in the table.
pub const TABLE_LEN: usize = 470;

/// Hands every row of the table to the macro named.
#[macro_export]
macro_rules! syscall_table {
    ($callback:path) => {
        $callback! {
            0 read(fd: Fd, buf: OutBuf(2), count: Size) = full read_write;
            1 write(fd: Fd, buf: InBuf(2), count: Size) = full read_write;
            2 open(pathname: Path, flags: Flags("open"), mode: Mode) = full open;
            3 close(fd: Fd) = full close;
            4 stat(pathname: Path, statbuf: Out("stat")) = full stat;
            5 fstat(fd: Fd, statbuf: Out("stat")) = full stat;
            6 lstat(pathname: Path, statbuf: Out("stat")) = full stat;
            7 poll(fds: InOut("pollfd"), nfds: Uint, timeout: Int) = full poll;
            8 lseek(fd: Fd, offset: Off, whence: Op("seek")) = full read_write;
            9 mmap(addr: Addr, length: Size, prot: Flags("prot"), flags: Flags("map"), fd: Fd, offset: Off) = full mmap;
            10 mprotect(addr: Addr, len: Size, prot: Flags("prot")) = full mmap;
            11 munmap(addr: Addr, length: Size) = full mmap;
            12 brk(addr: Addr) = full mmap;
            13 rt_sigaction(signum: Sig, act: In("sigaction"), oldact: Out("sigaction"), sigsetsize: Size) = full signal;
            14 rt_sigprocmask(how: Op("sigmask"), set: In("sigset"), oldset: Out("sigset"), sigsetsize: Size) = full signal;
            15 rt_sigreturn() = full signal;
            16 ioctl(fd: Fd, op: Op("ioctl"), argp: Addr) = full ioctl;
            17 pread64(fd: Fd, buf: OutBuf(2), count: Size, offset: Off) = full read_write;
            18 pwrite64(fd: Fd, buf: InBuf(2), count: Size, offset: Off) = full read_write;
            19 readv(fd: Fd, iov: OutIov(2), iovcnt: Int) = full read_write;
            20 writev(fd: Fd, iov: InIov(2), iovcnt: Int) = full read_write;
            21 access(pathname: Path, mode: Flags("access")) = full access;
            22 pipe(pipefd: Out("int2")) = full pipe;
            23 select(nfds: Int, readfds: InOut("fd_set"), writefds: InOut("fd_set"), exceptfds: InOut("fd_set"), timeout: InOut("timeval")) = full poll;
            24 sched_yield() = full sched;
            25 mremap(old_address: Addr, old_size: Size, new_size: Size, flags: Flags("mremap"), new_address: Addr) = full mmap;
            26 msync(addr: Addr, length: Size, flags: Flags("msync")) = full mmap;
            27 mincore(addr: Addr, length: Size, vec: Addr) = full mmap;
            28 madvise(addr: Addr, length: Size, advice: Op("madvise")) = full mmap;
            29 shmget(key: Int, size: Size, shmflg: Flags("ipc")) = full sysv_shm;
            30 shmat(shmid: Int, shmaddr: Addr, shmflg: Flags("shm")) = full sysv_shm;
            31 shmctl(shmid: Int, cmd: Op("ipcctl"), buf: InOut("shmid_ds")) = full sysv_shm;
            32 dup(oldfd: Fd) = full dup;
            33 dup2(oldfd: Fd, newfd: Fd) = full dup;
            34 pause() = full signal;
            35 nanosleep(req: In("timespec"), rem: Out("timespec")) = full time;
            36 getitimer(which: Op("itimer"), curr_value: Out("itimerval")) = full timer;
            37 alarm(seconds: Uint) = full timer;
            38 setitimer(which: Op("itimer"), new_value: In("itimerval"), old_value: Out("itimerval")) = full timer;
            39 getpid() = full ids;
            40 sendfile(out_fd: Fd, in_fd: Fd, offset: InOut("off"), count: Size) = full splice;
            41 socket(domain: Op("af"), kind: Flags("sock"), protocol: Int) = partial("AF_UNIX, AF_INET and AF_INET6 (TCP, UDP) on loopback, AF_NETLINK (route, uevent); no raw and packet sockets") socket;
            42 connect(sockfd: Fd, addr: InBuf(2), addrlen: Uint) = full socket;
            43 accept(sockfd: Fd, addr: Out("sockaddr"), addrlen: InOut("socklen")) = full socket;
            44 sendto(sockfd: Fd, buf: InBuf(2), len: Size, flags: Flags("msg"), dest_addr: InBuf(5), addrlen: Uint) = partial("no zero-copy notifications, no TCP fast open, no urgent data on unix sockets") socket;
            45 recvfrom(sockfd: Fd, buf: OutBuf(2), len: Size, flags: Flags("msg"), src_addr: Out("sockaddr"), addrlen: InOut("socklen")) = partial("the error queue is always empty; no urgent data on unix sockets") socket;
            46 sendmsg(sockfd: Fd, msg: In("msghdr"), flags: Flags("msg")) = partial("no zero-copy notifications, no TCP fast open, no urgent data on unix sockets") socket;
            47 recvmsg(sockfd: Fd, msg: InOut("msghdr"), flags: Flags("msg")) = partial("the error queue is always empty; no urgent data on unix sockets") socket;
            48 shutdown(sockfd: Fd, how: Int) = full socket;
            49 bind(sockfd: Fd, addr: InBuf(2), addrlen: Uint) = full socket;
            50 listen(sockfd: Fd, backlog: Int) = full socket;
            51 getsockname(sockfd: Fd, addr: Out("sockaddr"), addrlen: InOut("socklen")) = full socket;
            52 getpeername(sockfd: Fd, addr: Out("sockaddr"), addrlen: InOut("socklen")) = full socket;
            53 socketpair(domain: Op("af"), kind: Flags("sock"), protocol: Int, sv: Out("int2")) = full socket;
            54 setsockopt(sockfd: Fd, level: Int, optname: Int, optval: InBuf(4), optlen: Uint) = partial("packet filters, zero-copy, time stamping in hardware and UDP segmentation are refused") sockopt;
            55 getsockopt(sockfd: Fd, level: Int, optname: Int, optval: Addr, optlen: InOut("socklen")) = partial("no SO_PEERSEC") sockopt;
            56 clone(flags: Flags("clone"), stack: Addr, parent_tid: Out("int"), child_tid: Out("int"), tls: Ulong) = full clone;
            57 fork() = full clone;
            58 vfork() = full clone;
            59 execve(pathname: Path, argv: StrArray, envp: StrArray) = full exec;
            60 exit(status: Int) = full exit;
            61 wait4(pid: Pid, wstatus: Out("int"), options: Flags("wait"), rusage: Out("rusage")) = full wait;
            62 kill(pid: Pid, sig: Sig) = full kill;
            63 uname(buf: Out("utsname")) = full uts;
            64 semget(key: Int, nsems: Int, semflg: Flags("ipc")) = full sysv_sem;
            65 semop(semid: Int, sops: In("sembuf"), nsops: Size) = full sysv_sem;
            66 semctl(semid: Int, semnum: Int, cmd: Op("ipcctl"), arg: Ulong) = full sysv_sem;
            67 shmdt(shmaddr: Addr) = full sysv_shm;
            68 msgget(key: Int, msgflg: Flags("ipc")) = full sysv_msg;
            69 msgsnd(msqid: Int, msgp: In("msgbuf"), msgsz: Size, msgflg: Flags("ipc")) = full sysv_msg;
            70 msgrcv(msqid: Int, msgp: Out("msgbuf"), msgsz: Size, msgtyp: Long, msgflg: Flags("ipc")) = full sysv_msg;
            71 msgctl(msqid: Int, cmd: Op("ipcctl"), buf: InOut("msqid_ds")) = full sysv_msg;
            72 fcntl(fd: Fd, op: Op("fcntl"), arg: Ulong) = partial("leases and the events of F_NOTIFY are refused") fcntl;
            73 flock(fd: Fd, op: Flags("flock")) = full fcntl;
            74 fsync(fd: Fd) = full sync;
            75 fdatasync(fd: Fd) = full sync;
            76 truncate(path: Path, length: Off) = full truncate;
            77 ftruncate(fd: Fd, length: Off) = full truncate;
            78 getdents(fd: Fd, dirp: OutBuf(2), count: Uint) = full getdents;
            79 getcwd(buf: OutBuf(1), size: Size) = full cwd;
            80 chdir(path: Path) = full cwd;
            81 fchdir(fd: Fd) = full cwd;
            82 rename(oldpath: Path, newpath: Path) = full rename;
            83 mkdir(pathname: Path, mode: Mode) = full mknod;
            84 rmdir(pathname: Path) = full unlink;
            85 creat(pathname: Path, mode: Mode) = full open;
            86 link(oldpath: Path, newpath: Path) = full link;
            87 unlink(pathname: Path) = full unlink;
            88 symlink(target: Path, linkpath: Path) = full link;
            89 readlink(pathname: Path, buf: OutBuf(2), bufsiz: Size) = full link;
            90 chmod(pathname: Path, mode: Mode) = full chmod;
            91 fchmod(fd: Fd, mode: Mode) = full chmod;
            92 chown(pathname: Path, owner: Uid, group: Gid) = full chmod;
            93 fchown(fd: Fd, owner: Uid, group: Gid) = full chmod;
            94 lchown(pathname: Path, owner: Uid, group: Gid) = full chmod;
            95 umask(mask: Mode) = full chmod;
            96 gettimeofday(tv: Out("timeval"), tz: Out("timezone")) = full time;
            97 getrlimit(resource: Op("rlimit"), rlim: Out("rlimit")) = full rlimit;
            98 getrusage(who: Int, usage: Out("rusage")) = partial("figures of the host for the stubs: times and page faults of guest code; no context switches, no blocks, faults of ended children as far as they were asked for") rlimit;
            99 sysinfo(info: Out("sysinfo")) = full sysinfo;
            100 times(buf: Out("tms")) = full rlimit;
            101 ptrace(op: Op("ptrace"), pid: Pid, addr: Addr, data: Addr) = missing(ENOSYS, "guest debuggers arrive with a later issue");
            102 getuid() = full ids;
            103 syslog(kind: Int, bufp: OutBuf(2), len: Int) = full sysinfo;
            104 getgid() = full ids;
            105 setuid(uid: Uid) = full cred;
            106 setgid(gid: Gid) = full cred;
            107 geteuid() = full ids;
            108 getegid() = full ids;
            109 setpgid(pid: Pid, pgid: Pid) = full session;
            110 getppid() = full ids;
            111 getpgrp() = full session;
            112 setsid() = full session;
            113 setreuid(ruid: Uid, euid: Uid) = full cred;
            114 setregid(rgid: Gid, egid: Gid) = full cred;
            115 getgroups(size: Int, list: Out("gid[]")) = full cred;
            116 setgroups(size: Int, list: In("gid[]")) = full cred;
            117 setresuid(ruid: Uid, euid: Uid, suid: Uid) = full cred;
            118 getresuid(ruid: Out("uid"), euid: Out("uid"), suid: Out("uid")) = full cred;
            119 setresgid(rgid: Gid, egid: Gid, sgid: Gid) = full cred;
            120 getresgid(rgid: Out("gid"), egid: Out("gid"), sgid: Out("gid")) = full cred;
            121 getpgid(pid: Pid) = full session;
            122 setfsuid(fsuid: Uid) = full cred;
            123 setfsgid(fsgid: Gid) = full cred;
            124 getsid(pid: Pid) = full session;
            125 capget(hdrp: InOut("cap_header"), datap: Out("cap_data")) = full cred;
            126 capset(hdrp: InOut("cap_header"), datap: In("cap_data")) = full cred;
            127 rt_sigpending(set: Out("sigset"), sigsetsize: Size) = full signal;
            128 rt_sigtimedwait(set: In("sigset"), info: Out("siginfo"), timeout: In("timespec"), sigsetsize: Size) = full signal;
            129 rt_sigqueueinfo(tgid: Pid, sig: Sig, info: In("siginfo")) = full kill;
            130 rt_sigsuspend(mask: In("sigset"), sigsetsize: Size) = full signal;
            131 sigaltstack(ss: In("stack"), old_ss: Out("stack")) = full signal;
            132 utime(filename: Path, times: In("utimbuf")) = full utimens;
            133 mknod(pathname: Path, mode: Mode, dev: Dev) = full mknod;
            134 uselib(library: Path) = missing(ENOSYS, "CONFIG_USELIB is off on every current distribution");
            135 personality(persona: Ulong) = full personality;
            136 ustat(dev: Dev, ubuf: Out("ustat")) = missing(ENOSYS, "obsolete, use statfs");
            137 statfs(path: Path, buf: Out("statfs")) = full stat;
            138 fstatfs(fd: Fd, buf: Out("statfs")) = full stat;
            139 sysfs(option: Int, arg1: Ulong, arg2: Ulong) = missing(ENOSYS, "CONFIG_SYSFS_SYSCALL off");
            140 getpriority(which: Int, who: Pid) = full sched;
            141 setpriority(which: Int, who: Pid, prio: Int) = partial("remembered and reported, and inherited; the host's scheduler is not told") sched;
            142 sched_setparam(pid: Pid, param: In("sched_param")) = partial("remembered and reported, and inherited; the host's scheduler is not told") sched;
            143 sched_getparam(pid: Pid, param: Out("sched_param")) = full sched;
            144 sched_setscheduler(pid: Pid, policy: Op("sched"), param: In("sched_param")) = partial("remembered and reported, and inherited; the host's scheduler is not told") sched;
            145 sched_getscheduler(pid: Pid) = full sched;
            146 sched_get_priority_max(policy: Op("sched")) = full sched;
            147 sched_get_priority_min(policy: Op("sched")) = full sched;
            148 sched_rr_get_interval(pid: Pid, tp: Out("timespec")) = full sched;
            149 mlock(addr: Addr, len: Size) = full mlock;
            150 munlock(addr: Addr, len: Size) = full mlock;
            151 mlockall(flags: Flags("mlockall")) = full mlock;
            152 munlockall() = full mlock;
            153 vhangup() = missing(EPERM, "needs CAP_SYS_TTY_CONFIG over a real console");
            154 modify_ldt(func: Int, ptr: Addr, bytecount: Ulong) = missing(ENOSYS, "CONFIG_MODIFY_LDT_SYSCALL off");
            155 pivot_root(new_root: Path, put_old: Path) = full mount;
            156 _sysctl(args: Addr) = missing(ENOSYS, "removed in Linux 5.5");
            157 prctl(op: Op("prctl"), arg2: Ulong, arg3: Ulong, arg4: Ulong, arg5: Ulong) = partial("not served: PR_SET_MM, PR_SET_VMA, PR_SET_TSC, PR_SET_PTRACER, PR_SET_SYSCALL_USER_DISPATCH, speculation, core scheduling, memory merging: EINVAL as on a kernel without them") prctl;
            158 arch_prctl(op: Op("arch_prctl"), addr: Addr) = full arch_prctl;
            159 adjtimex(buf: InOut("timex")) = full clock;
            160 setrlimit(resource: Op("rlimit"), rlim: In("rlimit")) = full rlimit;
            161 chroot(path: Path) = full cwd;
            162 sync() = full sync;
            163 acct(filename: Path) = missing(ENOSYS, "CONFIG_BSD_PROCESS_ACCT off");
            164 settimeofday(tv: In("timeval"), tz: In("timezone")) = full clock;
            165 mount(source: Path, target: Path, filesystemtype: Str, mountflags: Flags("mount"), data: Addr) = partial("mount events are not propagated between peers") mount;
            166 umount2(target: Path, flags: Flags("umount")) = partial("MNT_EXPIRE never expires") mount;
            167 swapon(path: Path, swapflags: Flags("swap")) = partial("EPERM without CAP_SYS_ADMIN, else ENOSYS: CONFIG_SWAP off") swap;
            168 swapoff(path: Path) = partial("EPERM without CAP_SYS_ADMIN, else ENOSYS: CONFIG_SWAP off") swap;
            169 reboot(magic: Int, magic2: Int, op: Op("reboot"), arg: Addr) = missing(EPERM, "a container may not reboot its host");
            170 sethostname(name: InBuf(1), len: Size) = full uts;
            171 setdomainname(name: InBuf(1), len: Size) = full uts;
            172 iopl(level: Int) = missing(ENOSYS, "CONFIG_X86_IOPL_IOPERM off");
            173 ioperm(from: Ulong, num: Ulong, turn_on: Int) = missing(ENOSYS, "CONFIG_X86_IOPL_IOPERM off");
            174 create_module(name: Str, size: Size) = missing(ENOSYS, "removed in Linux 2.6");
            175 init_module(image: InBuf(1), len: Ulong, params: Str) = missing(ENOSYS, "CONFIG_MODULES off");
            176 delete_module(name: Str, flags: Uint) = missing(ENOSYS, "CONFIG_MODULES off");
            177 get_kernel_syms(table: Addr) = missing(ENOSYS, "removed in Linux 2.6");
            178 query_module(name: Str, which: Int, buf: Addr, size: Size, ret: Addr) = missing(ENOSYS, "removed in Linux 2.6");
            179 quotactl(op: Int, special: Path, id: Int, addr: Addr) = missing(ENOSYS, "CONFIG_QUOTACTL off");
            180 nfsservctl() = missing(ENOSYS, "removed in Linux 3.1");
            181 getpmsg() = missing(ENOSYS, "never implemented by Linux");
            182 putpmsg() = missing(ENOSYS, "never implemented by Linux");
            183 afs_syscall() = missing(ENOSYS, "never implemented by Linux");
            184 tuxcall() = missing(ENOSYS, "never implemented by Linux");
            185 security() = missing(ENOSYS, "never implemented by Linux");
            186 gettid() = full ids;
            187 readahead(fd: Fd, offset: Off, count: Size) = full fadvise;
            188 setxattr(path: Path, name: Str, value: InBuf(3), size: Size, flags: Flags("xattr")) = full xattr;
            189 lsetxattr(path: Path, name: Str, value: InBuf(3), size: Size, flags: Flags("xattr")) = full xattr;
            190 fsetxattr(fd: Fd, name: Str, value: InBuf(3), size: Size, flags: Flags("xattr")) = full xattr;
            191 getxattr(path: Path, name: Str, value: OutBuf(3), size: Size) = full xattr;
            192 lgetxattr(path: Path, name: Str, value: OutBuf(3), size: Size) = full xattr;
            193 fgetxattr(fd: Fd, name: Str, value: OutBuf(3), size: Size) = full xattr;
            194 listxattr(path: Path, list: OutBuf(2), size: Size) = full xattr;
            195 llistxattr(path: Path, list: OutBuf(2), size: Size) = full xattr;
            196 flistxattr(fd: Fd, list: OutBuf(2), size: Size) = full xattr;
            197 removexattr(path: Path, name: Str) = full xattr;
            198 lremovexattr(path: Path, name: Str) = full xattr;
            199 fremovexattr(fd: Fd, name: Str) = full xattr;
            200 tkill(tid: Pid, sig: Sig) = full kill;
            201 time(tloc: Out("time")) = full time;
            202 futex(uaddr: InOut("u32"), op: Op("futex"), val: Uint, timeout: Ulong, uaddr2: Addr, val3: Uint) = full futex;
            203 sched_setaffinity(pid: Pid, len: Uint, mask: InBuf(1)) = partial("remembered and reported, and inherited; the host's scheduler is not told") sched;
            204 sched_getaffinity(pid: Pid, len: Uint, mask: OutBuf(1)) = full sched;
            205 set_thread_area(u_info: Addr) = missing(ENOSYS, "32-bit programs only");
            206 io_setup(nr_events: Uint, ctx_idp: InOut("u64")) = missing(ENOSYS, "CONFIG_AIO off");
            207 io_destroy(ctx_id: Ulong) = missing(ENOSYS, "CONFIG_AIO off");
            208 io_getevents(ctx_id: Ulong, min_nr: Long, nr: Long, events: Addr, timeout: In("timespec")) = missing(ENOSYS, "CONFIG_AIO off");
            209 io_submit(ctx_id: Ulong, nr: Long, iocbpp: Addr) = missing(ENOSYS, "CONFIG_AIO off");
            210 io_cancel(ctx_id: Ulong, iocb: Addr, result: Addr) = missing(ENOSYS, "CONFIG_AIO off");
            211 get_thread_area(u_info: Addr) = missing(ENOSYS, "32-bit programs only");
            212 lookup_dcookie(cookie: Ulong, buffer: OutBuf(2), len: Size) = missing(ENOSYS, "removed in Linux 6.7");
            213 epoll_create(size: Int) = full epoll;
            214 epoll_ctl_old() = missing(ENOSYS, "never implemented by Linux");
            215 epoll_wait_old() = missing(ENOSYS, "never implemented by Linux");
            216 remap_file_pages(addr: Addr, size: Size, prot: Flags("prot"), pgoff: Size, flags: Flags("map")) = missing(ENOSYS, "deprecated since Linux 3.16; mmap does the same");
            217 getdents64(fd: Fd, dirp: OutBuf(2), count: Uint) = full getdents;
            218 set_tid_address(tidptr: Addr) = full clone;
            219 restart_syscall() = full signal;
            220 semtimedop(semid: Int, sops: In("sembuf"), nsops: Size, timeout: In("timespec")) = full sysv_sem;
            221 fadvise64(fd: Fd, offset: Off, len: Size, advice: Op("fadvise")) = full fadvise;
            222 timer_create(clockid: Clock, sevp: In("sigevent"), timerid: Out("int")) = full timer;
            223 timer_settime(timerid: Int, flags: Flags("timer"), new_value: In("itimerspec"), old_value: Out("itimerspec")) = full timer;
            224 timer_gettime(timerid: Int, curr_value: Out("itimerspec")) = full timer;
            225 timer_getoverrun(timerid: Int) = full timer;
            226 timer_delete(timerid: Int) = full timer;
            227 clock_settime(clockid: Clock, tp: In("timespec")) = full clock;
            228 clock_gettime(clockid: Clock, tp: Out("timespec")) = full clock;
            229 clock_getres(clockid: Clock, res: Out("timespec")) = full clock;
            230 clock_nanosleep(clockid: Clock, flags: Flags("timer"), request: In("timespec"), remain: Out("timespec")) = full time;
            231 exit_group(status: Int) = full exit;
            232 epoll_wait(epfd: Fd, events: Out("epoll_event[]"), maxevents: Int, timeout: Int) = full epoll;
            233 epoll_ctl(epfd: Fd, op: Op("epoll_ctl"), fd: Fd, event: In("epoll_event")) = full epoll;
            234 tgkill(tgid: Pid, tid: Pid, sig: Sig) = full kill;
            235 utimes(filename: Path, times: In("timeval2")) = full utimens;
            236 vserver() = missing(ENOSYS, "never implemented by Linux");
            237 mbind(addr: Addr, len: Ulong, mode: Op("mempolicy"), nodemask: In("ulong[]"), maxnode: Ulong, flags: Flags("mbind")) = partial("one node; checked, not remembered for the range") mempolicy;
            238 set_mempolicy(mode: Op("mempolicy"), nodemask: In("ulong[]"), maxnode: Ulong) = full mempolicy;
            239 get_mempolicy(mode: Out("int"), nodemask: Out("ulong[]"), maxnode: Ulong, addr: Addr, flags: Flags("mempolicy")) = partial("policies of ranges aren't known") mempolicy;
            240 mq_open(name: Str, oflag: Flags("open"), mode: Mode, attr: In("mq_attr")) = full mqueue;
            241 mq_unlink(name: Str) = full mqueue;
            242 mq_timedsend(mqdes: Fd, msg_ptr: InBuf(2), msg_len: Size, msg_prio: Uint, abs_timeout: In("timespec")) = full mqueue;
            243 mq_timedreceive(mqdes: Fd, msg_ptr: OutBuf(2), msg_len: Size, msg_prio: Out("u32"), abs_timeout: In("timespec")) = full mqueue;
            244 mq_notify(mqdes: Fd, sevp: In("sigevent")) = partial("SIGEV_THREAD is refused") mqueue;
            245 mq_getsetattr(mqdes: Fd, newattr: In("mq_attr"), oldattr: Out("mq_attr")) = full mqueue;
            246 kexec_load(entry: Addr, nr_segments: Ulong, segments: Addr, flags: Ulong) = missing(ENOSYS, "CONFIG_KEXEC off");
            247 waitid(idtype: Op("idtype"), id: Pid, infop: Out("siginfo"), options: Flags("wait"), rusage: Out("rusage")) = full wait;
            248 add_key(kind: Str, description: Str, payload: InBuf(3), plen: Size, keyring: Int) = missing(ENOSYS, "CONFIG_KEYS off");
            249 request_key(kind: Str, description: Str, callout_info: Str, dest_keyring: Int) = missing(ENOSYS, "CONFIG_KEYS off");
            250 keyctl(op: Int, arg2: Ulong, arg3: Ulong, arg4: Ulong, arg5: Ulong) = missing(ENOSYS, "CONFIG_KEYS off");
            251 ioprio_set(which: Int, who: Int, ioprio: Int) = partial("remembered and reported, and inherited; the host's scheduler is not told") sched;
            252 ioprio_get(which: Int, who: Int) = full sched;
            253 inotify_init() = full inotify;
            254 inotify_add_watch(fd: Fd, pathname: Path, mask: Flags("inotify")) = full inotify;
            255 inotify_rm_watch(fd: Fd, wd: Int) = full inotify;
            256 migrate_pages(pid: Pid, maxnode: Ulong, old_nodes: Addr, new_nodes: Addr) = missing(ENOSYS, "CONFIG_NUMA off");
            257 openat(dirfd: DirFd, pathname: Path, flags: Flags("open"), mode: Mode) = full open;
            258 mkdirat(dirfd: DirFd, pathname: Path, mode: Mode) = full mknod;
            259 mknodat(dirfd: DirFd, pathname: Path, mode: Mode, dev: Dev) = full mknod;
            260 fchownat(dirfd: DirFd, pathname: Path, owner: Uid, group: Gid, flags: Flags("at")) = full chmod;
            261 futimesat(dirfd: DirFd, pathname: Path, times: In("timeval2")) = full utimens;
            262 newfstatat(dirfd: DirFd, pathname: Path, statbuf: Out("stat"), flags: Flags("at")) = full stat;
            263 unlinkat(dirfd: DirFd, pathname: Path, flags: Flags("at")) = full unlink;
            264 renameat(olddirfd: DirFd, oldpath: Path, newdirfd: DirFd, newpath: Path) = full rename;
            265 linkat(olddirfd: DirFd, oldpath: Path, newdirfd: DirFd, newpath: Path, flags: Flags("at")) = full link;
            266 symlinkat(target: Path, newdirfd: DirFd, linkpath: Path) = full link;
            267 readlinkat(dirfd: DirFd, pathname: Path, buf: OutBuf(3), bufsiz: Size) = full link;
            268 fchmodat(dirfd: DirFd, pathname: Path, mode: Mode) = full chmod;
            269 faccessat(dirfd: DirFd, pathname: Path, mode: Flags("access")) = full access;
            270 pselect6(nfds: Int, readfds: InOut("fd_set"), writefds: InOut("fd_set"), exceptfds: InOut("fd_set"), timeout: InOut("timespec"), sigmask: In("sigset_arg")) = full poll;
            271 ppoll(fds: InOut("pollfd"), nfds: Uint, tmo_p: InOut("timespec"), sigmask: In("sigset"), sigsetsize: Size) = full poll;
            272 unshare(flags: Flags("clone")) = partial("CLONE_FILES, CLONE_FS, CLONE_SYSVSEM, CLONE_NEWNS, CLONE_NEWUTS; no other namespaces yet") namespace;
            273 set_robust_list(head: Addr, len: Size) = full futex;
            274 get_robust_list(pid: Pid, head_ptr: Out("u64"), len_ptr: Out("u64")) = full futex;
            275 splice(fd_in: Fd, off_in: InOut("off"), fd_out: Fd, off_out: InOut("off"), len: Size, flags: Flags("splice")) = full splice;
            276 tee(fd_in: Fd, fd_out: Fd, len: Size, flags: Flags("splice")) = full splice;
            277 sync_file_range(fd: Fd, offset: Off, nbytes: Off, flags: Flags("sync_file_range")) = full sync;
            278 vmsplice(fd: Fd, iov: InIov(2), nr_segs: Ulong, flags: Flags("splice")) = full splice;
            279 move_pages(pid: Pid, count: Ulong, pages: Addr, nodes: Addr, status: Addr, flags: Int) = missing(ENOSYS, "CONFIG_NUMA off");
            280 utimensat(dirfd: DirFd, pathname: Path, times: In("timespec2"), flags: Flags("at")) = full utimens;
            281 epoll_pwait(epfd: Fd, events: Out("epoll_event[]"), maxevents: Int, timeout: Int, sigmask: In("sigset"), sigsetsize: Size) = full epoll;
            282 signalfd(fd: Fd, mask: In("sigset"), sizemask: Size) = full signalfd;
            283 timerfd_create(clockid: Clock, flags: Flags("timerfd")) = full timerfd;
            284 eventfd(initval: Uint) = full eventfd;
            285 fallocate(fd: Fd, mode: Flags("fallocate"), offset: Off, len: Off) = full truncate;
            286 timerfd_settime(fd: Fd, flags: Flags("timerfd_set"), new_value: In("itimerspec"), old_value: Out("itimerspec")) = full timerfd;
            287 timerfd_gettime(fd: Fd, curr_value: Out("itimerspec")) = full timerfd;
            288 accept4(sockfd: Fd, addr: Out("sockaddr"), addrlen: InOut("socklen"), flags: Flags("sock")) = full socket;
            289 signalfd4(fd: Fd, mask: In("sigset"), sizemask: Size, flags: Flags("signalfd")) = full signalfd;
            290 eventfd2(initval: Uint, flags: Flags("eventfd")) = full eventfd;
            291 epoll_create1(flags: Flags("epoll")) = full epoll;
            292 dup3(oldfd: Fd, newfd: Fd, flags: Flags("open")) = full dup;
            293 pipe2(pipefd: Out("int2"), flags: Flags("open")) = full pipe;
            294 inotify_init1(flags: Flags("inotify_init")) = full inotify;
            295 preadv(fd: Fd, iov: OutIov(2), iovcnt: Int, pos_l: Ulong, pos_h: Ulong) = full read_write;
            296 pwritev(fd: Fd, iov: InIov(2), iovcnt: Int, pos_l: Ulong, pos_h: Ulong) = full read_write;
            297 rt_tgsigqueueinfo(tgid: Pid, tid: Pid, sig: Sig, info: In("siginfo")) = full kill;
            298 perf_event_open(attr: Addr, pid: Pid, cpu: Int, group_fd: Fd, flags: Ulong) = missing(ENOSYS, "CONFIG_PERF_EVENTS off");
            299 recvmmsg(sockfd: Fd, msgvec: InOut("mmsghdr"), vlen: Uint, flags: Flags("msg"), timeout: InOut("timespec")) = partial("the error queue is always empty; no urgent data on unix sockets") socket;
            300 fanotify_init(flags: Uint, event_f_flags: Uint) = missing(ENOSYS, "CONFIG_FANOTIFY off");
            301 fanotify_mark(fanotify_fd: Fd, flags: Uint, mask: Ulong, dirfd: DirFd, pathname: Path) = missing(ENOSYS, "CONFIG_FANOTIFY off");
            302 prlimit64(pid: Pid, resource: Op("rlimit"), new_limit: In("rlimit"), old_limit: Out("rlimit")) = full rlimit;
            303 name_to_handle_at(dirfd: DirFd, pathname: Path, handle: InOut("file_handle"), mount_id: Out("int"), flags: Flags("at")) = partial("no file system here gives out handles: EOPNOTSUPP") handle;
            304 open_by_handle_at(mount_fd: Fd, handle: In("file_handle"), flags: Flags("open")) = partial("no file system here gives out handles: ESTALE") handle;
            305 clock_adjtime(clk_id: Clock, buf: InOut("timex")) = full clock;
            306 syncfs(fd: Fd) = full sync;
            307 sendmmsg(sockfd: Fd, msgvec: InOut("mmsghdr"), vlen: Uint, flags: Flags("msg")) = partial("no zero-copy notifications, no TCP fast open, no urgent data on unix sockets") socket;
            308 setns(fd: Fd, nstype: Flags("clone")) = partial("UTS and mount namespaces; of the other kinds there is only the initial one") namespace;
            309 getcpu(cpu: Out("u32"), node: Out("u32"), tcache: Addr) = full sched;
            310 process_vm_readv(pid: Pid, local_iov: In("iovec"), liovcnt: Ulong, remote_iov: In("iovec"), riovcnt: Ulong, flags: Ulong) = full process_vm;
            311 process_vm_writev(pid: Pid, local_iov: In("iovec"), liovcnt: Ulong, remote_iov: In("iovec"), riovcnt: Ulong, flags: Ulong) = full process_vm;
            312 kcmp(pid1: Pid, pid2: Pid, kind: Int, idx1: Ulong, idx2: Ulong) = partial("no KCMP_EPOLL_TFD") process_vm;
            313 finit_module(fd: Fd, params: Str, flags: Int) = missing(ENOSYS, "CONFIG_MODULES off");
            314 sched_setattr(pid: Pid, attr: In("sched_attr"), flags: Uint) = partial("remembered and reported, and inherited; the host's scheduler is not told") sched;
            315 sched_getattr(pid: Pid, attr: Out("sched_attr"), size: Uint, flags: Uint) = full sched;
            316 renameat2(olddirfd: DirFd, oldpath: Path, newdirfd: DirFd, newpath: Path, flags: Flags("rename")) = full rename;
            317 seccomp(op: Op("seccomp"), flags: Flags("seccomp"), args: Addr) = partial("no listeners (SECCOMP_RET_USER_NOTIF), as before Linux 5.0") seccomp;
            318 getrandom(buf: OutBuf(1), buflen: Size, flags: Flags("getrandom")) = full random;
            319 memfd_create(name: Str, flags: Flags("memfd")) = full memfd;
            320 kexec_file_load(kernel_fd: Fd, initrd_fd: Fd, cmdline_len: Ulong, cmdline: Str, flags: Ulong) = missing(ENOSYS, "CONFIG_KEXEC_FILE off");
            321 bpf(cmd: Int, attr: Addr, size: Uint) = missing(ENOSYS, "CONFIG_BPF_SYSCALL off");
            322 execveat(dirfd: DirFd, pathname: Path, argv: StrArray, envp: StrArray, flags: Flags("at")) = full exec;
            323 userfaultfd(flags: Flags("open")) = missing(ENOSYS, "CONFIG_USERFAULTFD off");
            324 membarrier(cmd: Op("membarrier"), flags: Uint, cpu_id: Int) = full membarrier;
            325 mlock2(addr: Addr, len: Size, flags: Flags("mlock")) = full mlock;
            326 copy_file_range(fd_in: Fd, off_in: InOut("off"), fd_out: Fd, off_out: InOut("off"), len: Size, flags: Uint) = full splice;
            327 preadv2(fd: Fd, iov: OutIov(2), iovcnt: Int, pos_l: Ulong, pos_h: Ulong, flags: Flags("rwf")) = full read_write;
            328 pwritev2(fd: Fd, iov: InIov(2), iovcnt: Int, pos_l: Ulong, pos_h: Ulong, flags: Flags("rwf")) = full read_write;
            329 pkey_mprotect(addr: Addr, len: Size, prot: Flags("prot"), pkey: Int) = partial("pkey -1 only: no protection keys, as on a CPU without them") mmap;
            330 pkey_alloc(flags: Uint, access_rights: Uint) = missing(ENOSPC, "no protection keys, as on a CPU without them");
            331 pkey_free(pkey: Int) = missing(EINVAL, "no protection keys, as on a CPU without them");
            332 statx(dirfd: DirFd, pathname: Path, flags: Flags("at"), mask: Flags("statx"), statxbuf: Out("statx")) = full stat;
            333 io_pgetevents(ctx_id: Ulong, min_nr: Long, nr: Long, events: Addr, timeout: In("timespec"), sig: Addr) = missing(ENOSYS, "CONFIG_AIO off");
            334 rseq(rseq: Addr, rseq_len: Uint, flags: Flags("rseq"), sig: Uint) = full rseq;
            335 uretprobe() = full signal;
            424 pidfd_send_signal(pidfd: Fd, sig: Sig, info: In("siginfo"), flags: Flags("pidfd_signal")) = full pidfd;
            425 io_uring_setup(entries: Uint, params: InOut("io_uring_params")) = missing(ENOSYS, "CONFIG_IO_URING off");
            426 io_uring_enter(fd: Fd, to_submit: Uint, min_complete: Uint, flags: Uint, sig: Addr, sigsz: Size) = missing(ENOSYS, "CONFIG_IO_URING off");
            427 io_uring_register(fd: Fd, opcode: Uint, arg: Addr, nr_args: Uint) = missing(ENOSYS, "CONFIG_IO_URING off");
            428 open_tree(dfd: DirFd, filename: Path, flags: Flags("open_tree")) = missing(ENOSYS, "new mount interface arrives with a later issue");
            429 move_mount(from_dfd: DirFd, from_pathname: Path, to_dfd: DirFd, to_pathname: Path, flags: Uint) = missing(ENOSYS, "new mount interface arrives with a later issue");
            430 fsopen(fs_name: Str, flags: Uint) = missing(ENOSYS, "new mount interface arrives with a later issue");
            431 fsconfig(fs_fd: Fd, cmd: Uint, key: Str, value: Addr, aux: Int) = missing(ENOSYS, "new mount interface arrives with a later issue");
            432 fsmount(fs_fd: Fd, flags: Uint, attr_flags: Uint) = missing(ENOSYS, "new mount interface arrives with a later issue");
            433 fspick(dfd: DirFd, path: Path, flags: Uint) = missing(ENOSYS, "new mount interface arrives with a later issue");
            434 pidfd_open(pid: Pid, flags: Flags("pidfd")) = full pidfd;
            435 clone3(cl_args: In("clone_args"), size: Size) = full clone;
            436 close_range(first: Uint, last: Uint, flags: Flags("close_range")) = full close;
            437 openat2(dirfd: DirFd, pathname: Path, how: In("open_how"), size: Size) = full open;
            438 pidfd_getfd(pidfd: Fd, targetfd: Fd, flags: Uint) = full pidfd;
            439 faccessat2(dirfd: DirFd, pathname: Path, mode: Flags("access"), flags: Flags("at")) = full access;
            440 process_madvise(pidfd: Fd, iov: In("iovec"), vlen: Size, advice: Op("madvise"), flags: Uint) = missing(ENOSYS, "CONFIG_ADVISE_SYSCALLS subset");
            441 epoll_pwait2(epfd: Fd, events: Out("epoll_event[]"), maxevents: Int, timeout: In("timespec"), sigmask: In("sigset"), sigsetsize: Size) = full epoll;
            442 mount_setattr(dfd: DirFd, path: Path, flags: Uint, uattr: Addr, usize: Size) = missing(ENOSYS, "new mount interface arrives with a later issue");
            443 quotactl_fd(fd: Fd, cmd: Uint, id: Int, addr: Addr) = missing(ENOSYS, "CONFIG_QUOTACTL off");
            444 landlock_create_ruleset(attr: Addr, size: Size, flags: Uint) = missing(ENOSYS, "CONFIG_SECURITY_LANDLOCK off");
            445 landlock_add_rule(ruleset_fd: Fd, rule_type: Int, rule_attr: Addr, flags: Uint) = missing(ENOSYS, "CONFIG_SECURITY_LANDLOCK off");
            446 landlock_restrict_self(ruleset_fd: Fd, flags: Uint) = missing(ENOSYS, "CONFIG_SECURITY_LANDLOCK off");
            447 memfd_secret(flags: Uint) = missing(ENOSYS, "CONFIG_SECRETMEM off");
            448 process_mrelease(pidfd: Fd, flags: Uint) = missing(ENOSYS, "CONFIG_MMU reaping is the host's");
            449 futex_waitv(waiters: In("futex_waitv"), nr_futexes: Uint, flags: Uint, timeout: In("timespec"), clockid: Clock) = full futex;
            450 set_mempolicy_home_node(start: Addr, len: Ulong, home_node: Ulong, flags: Ulong) = missing(ENOSYS, "CONFIG_NUMA off");
            451 cachestat(fd: Fd, cstat_range: Addr, cstat: Addr, flags: Uint) = missing(ENOSYS, "CONFIG_CACHESTAT_SYSCALL off");
            452 fchmodat2(dirfd: DirFd, pathname: Path, mode: Mode, flags: Flags("at")) = full chmod;
            453 map_shadow_stack(addr: Addr, size: Size, flags: Uint) = missing(ENOSYS, "CONFIG_X86_USER_SHADOW_STACK off");
            454 futex_wake(uaddr: Addr, mask: Ulong, nr: Int, flags: Uint) = full futex;
            455 futex_wait(uaddr: Addr, val: Ulong, mask: Ulong, flags: Uint, timeout: In("timespec"), clockid: Clock) = full futex;
            456 futex_requeue(waiters: In("futex_waitv"), flags: Uint, nr_wake: Int, nr_requeue: Int) = full futex;
            457 statmount(req: Addr, buf: OutBuf(2), bufsize: Size, flags: Uint) = missing(ENOSYS, "new mount interface arrives with a later issue");
            458 listmount(req: Addr, mnt_ids: Addr, nr_mnt_ids: Size, flags: Uint) = missing(ENOSYS, "new mount interface arrives with a later issue");
            459 lsm_get_self_attr(attr: Uint, ctx: Addr, size: Addr, flags: Uint) = missing(ENOSYS, "CONFIG_SECURITY off");
            460 lsm_set_self_attr(attr: Uint, ctx: Addr, size: Uint, flags: Uint) = missing(ENOSYS, "CONFIG_SECURITY off");
            461 lsm_list_modules(ids: Addr, size: Addr, flags: Uint) = missing(ENOSYS, "CONFIG_SECURITY off");
            462 mseal(addr: Addr, len: Size, flags: Ulong) = missing(ENOSYS, "sealing arrives with a later issue");
            463 setxattrat(dfd: DirFd, pathname: Path, at_flags: Flags("at"), name: Str, args: Addr, usize: Size) = missing(ENOSYS, "newer than the release that uname reports");
            464 getxattrat(dfd: DirFd, pathname: Path, at_flags: Flags("at"), name: Str, args: Addr, usize: Size) = missing(ENOSYS, "newer than the release that uname reports");
            465 listxattrat(dfd: DirFd, pathname: Path, at_flags: Flags("at"), list: OutBuf(4), size: Size) = missing(ENOSYS, "newer than the release that uname reports");
            466 removexattrat(dfd: DirFd, pathname: Path, at_flags: Flags("at"), name: Str) = missing(ENOSYS, "newer than the release that uname reports");
            467 open_tree_attr(dfd: DirFd, filename: Path, flags: Uint, uattr: Addr, usize: Size) = missing(ENOSYS, "new mount interface arrives with a later issue");
            468 file_getattr(dfd: DirFd, filename: Path, attr: Addr, usize: Size, at_flags: Flags("at")) = missing(ENOSYS, "newer than the release that uname reports");
            469 file_setattr(dfd: DirFd, filename: Path, attr: Addr, usize: Size, at_flags: Flags("at")) = missing(ENOSYS, "newer than the release that uname reports");
        }
    };
}

macro_rules! row_support {
    (full $family:ident) => {
        Support::Full
    };
    (partial($why:literal) $family:ident) => {
        Support::Partial($why)
    };
    (missing($errno:ident, $why:literal)) => {
        Support::Missing(Errno::$errno, $why)
    };
}

macro_rules! row_family {
    (missing $why:tt) => {
        "none"
    };
    (full $family:ident) => {
        stringify!($family)
    };
    (partial $why:tt $family:ident) => {
        stringify!($family)
    };
}

macro_rules! entries {
    ($($number:literal $name:ident($($arg:ident: $kind:expr),*) = $support:ident $(($($why:tt)*))? $($family:ident)?;)*) => {
        /// Every declared call, ascending by number. By value: what a constant refers to is laid down anew in each crate that
        /// refers to a part of it.
        pub static ENTRIES: [Entry; [$($number),*].len()] = {
            use Kind::*;
            [$(Entry {
                number: $number,
                name: stringify!($name),
                args: &[$(Arg { name: stringify!($arg), kind: $kind }),*],
                support: row_support!($support $(($($why)*))? $($family)?),
                family: row_family!($support $(($($why)*))? $($family)?),
            }),*]
        };

        /// System-call numbers by Linux's names.
        pub mod nr {
            #![allow(non_upper_case_globals, missing_docs)]
            $(pub const $name: u32 = $number;)*
        }
    };
}

syscall_table!(entries);

/// Finds the declaration of a call by number.
pub fn entry(number: u64) -> Option<&'static Entry> {
    let number = u32::try_from(number).ok()?;
    ENTRIES.binary_search_by_key(&number, |entry| entry.number).ok().map(|at| &ENTRIES[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_ascend_and_fit_the_table() {
        assert!(ENTRIES.windows(2).all(|pair| pair[0].number < pair[1].number));
        assert_eq!(ENTRIES.last().map(|entry| entry.number as usize + 1), Some(TABLE_LEN));
    }

    #[test]
    fn buffer_lengths_name_an_existing_argument() {
        for entry in ENTRIES {
            assert!(entry.args.len() <= 6, "{}", entry.name);
            for arg in entry.args {
                if let Kind::InBuf(at) | Kind::OutBuf(at) | Kind::InIov(at) | Kind::OutIov(at) = arg.kind {
                    assert!((at as usize) < entry.args.len(), "{}.{}", entry.name, arg.name);
                }
            }
        }
    }

    #[test]
    fn every_number_up_to_335_is_declared() {
        for number in 0..=335 {
            assert!(entry(number).is_some(), "system call {number} is not in the table");
        }
    }
}
