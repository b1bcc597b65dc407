//! The files of `proc` over a made-up kernel, and their shape beside the host's.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use abi::flags::OpenFlags;
use abi::signal::SigSet;
use abi::types::Rlimit;
use abi::{Errno, Pid, Residency};

use super::source::{
    CpuTimes, FdInfo, IoCounts, KernelView, LoadInfo, MagicLink, MemoryInfo, MemoryUsage, MountInfo, NamespaceId,
    Region, SystemCounts, TaskSnapshot, TaskView, UtsInfo,
};
use super::{ProcFs, system};
use crate::{BytesDst, BytesSrc, Changes, DirEntry, DirSink, FileKind, FileSystem, InodeRef, IoFlags, LinkTarget};

struct Kernel;

struct Task;

fn snapshot() -> TaskSnapshot {
    TaskSnapshot {
        tid: Pid(7),
        tgid: Pid(7),
        comm: b"a (b)\n".to_vec(),
        state: 'S',
        ppid: Pid(1),
        pgrp: Pid(7),
        session: Pid(1),
        tty: None,
        tty_pgrp: None,
        flags: 0x40_0000,
        min_flt: 3,
        child_min_flt: 0,
        maj_flt: 0,
        child_maj_flt: 0,
        user_time: Duration::from_millis(1230),
        system_time: Duration::from_millis(20),
        child_user_time: Duration::ZERO,
        child_system_time: Duration::ZERO,
        nice: 5,
        policy: 0,
        rt_priority: 0,
        threads: 2,
        start_time: Duration::from_secs(9),
        exit_signal: 17,
        exit_code: 0,
        processor: 1,
        memory: Some(MemoryUsage { size: 8 << 20, rss: 1 << 20, text: 5000, data: 4096, ..MemoryUsage::default() }),
        rss_limit: u64::MAX,
        uids: [0, 1, 2, 3],
        gids: [4, 5, 6, 7],
        groups: vec![10, 11],
        caps: [0, 1, 2, 3, 4],
        no_new_privs: true,
        seccomp: 2,
        seccomp_filters: 1,
        umask: 0o22,
        tracer: Pid(0),
        fd_size: 64,
        ns_ids: vec![[Pid(7); 4]],
        pending: SigSet(0),
        shared_pending: SigSet(0),
        blocked: SigSet(1 << 33 | 2),
        ignored: SigSet(0),
        caught: SigSet(0),
        queued_signals: 0,
        queued_limit: 100,
        cpus_allowed: vec![3],
        cpus: 2,
        voluntary_switches: 1,
        involuntary_switches: 2,
    }
}

impl TaskView for Task {
    fn snapshot(&self) -> Result<TaskSnapshot, Errno> {
        Ok(snapshot())
    }
    fn ids(&self) -> (Pid, Pid) {
        (Pid(7), Pid(7))
    }
    fn owner(&self) -> (u32, u32) {
        (1, 5)
    }
    fn may_inspect(&self) -> Result<(), Errno> {
        Ok(())
    }
    fn cmdline(&self) -> Result<Vec<u8>, Errno> {
        Ok(b"a\0b\0".to_vec())
    }
    fn environ(&self) -> Result<Vec<u8>, Errno> {
        Err(Errno::EACCES)
    }
    fn auxv(&self) -> Result<Vec<u8>, Errno> {
        Ok(vec![0; 16])
    }
    fn set_comm(&self, name: &[u8]) -> Result<(), Errno> {
        if name == b"new" { Ok(()) } else { Err(Errno::EINVAL) }
    }
    fn regions(&self, _usage: bool) -> Result<Vec<Region>, Errno> {
        let line = b"00400000-00401000 r-xp 00000000 00:00 0 \n".to_vec();
        let resident = Residency { rss: 4096, ..Residency::default() };
        let flags = b"VmFlags: rd ex \n".to_vec();
        Ok(vec![Region { start: 0x40_0000, end: 0x40_1000, line, flags, resident, ..Region::default() }])
    }
    fn read_memory(&self, addr: u64, buf: &mut [u8]) -> Result<usize, Errno> {
        if addr < 0x40_0000 {
            return Err(Errno::EIO);
        }
        buf.fill(9);
        Ok(buf.len())
    }
    fn write_memory(&self, _addr: u64, _buf: &[u8]) -> Result<usize, Errno> {
        Err(Errno::EIO)
    }
    fn limits(&self) -> Result<[Rlimit; 16], Errno> {
        Ok([Rlimit { cur: 5, max: u64::MAX }; 16])
    }
    fn fds(&self) -> Result<Vec<i32>, Errno> {
        Ok(vec![10, 0])
    }
    fn fd(&self, fd: i32) -> Option<FdInfo> {
        let info =
            FdInfo { pos: 3, flags: 0o100_002, mount_id: 20, ino: 9, access: (true, false), ..FdInfo::default() };
        [0, 10].contains(&fd).then_some(info)
    }
    fn mount_changes(&self) -> Option<Arc<Changes>> {
        static CHANGES: LazyLock<Arc<Changes>> = LazyLock::new(Arc::default);
        Some(Arc::clone(&CHANGES))
    }
    fn page_entries(&self, first: u64, count: u64) -> Result<Vec<u64>, Errno> {
        Ok((first..first + count).collect())
    }
    fn memory_policy(&self) -> Result<String, Errno> {
        Ok("bind:0".to_owned())
    }
    fn timer_slack(&self) -> Result<u64, Errno> {
        Ok(50_000)
    }
    fn set_timer_slack(&self, nanoseconds: u64) -> Result<(), Errno> {
        if nanoseconds == 7 { Ok(()) } else { Err(Errno::EPERM) }
    }
    fn fd_link(&self, fd: i32) -> Result<MagicLink, Errno> {
        Ok(MagicLink { text: b"/tmp/x".to_vec(), object: Box::new(fd) })
    }
    fn exe(&self) -> Result<MagicLink, Errno> {
        Err(Errno::ENOENT)
    }
    fn cwd(&self) -> Result<MagicLink, Errno> {
        Ok(MagicLink { text: b"/".to_vec(), object: Box::new(()) })
    }
    fn root(&self) -> Result<MagicLink, Errno> {
        self.cwd()
    }
    fn namespaces(&self) -> Vec<NamespaceId> {
        vec![NamespaceId { name: "pid_for_children", kind: "pid", ino: 42 }]
    }
    fn namespace_link(&self, _name: &str) -> Result<MagicLink, Errno> {
        self.cwd()
    }
    fn mounts(&self) -> Result<Vec<MountInfo>, Errno> {
        Ok(vec![MountInfo {
            id: 22,
            parent: 27,
            root: b"/".to_vec(),
            point: b"/a b".to_vec(),
            options: "nosuid,relatime".into(),
            propagation: "shared:1".into(),
            kind: "tmpfs".into(),
            readonly: true,
            fs_options: ",size=4k".into(),
            ..MountInfo::default()
        }])
    }
    fn threads(&self) -> Vec<Pid> {
        vec![Pid(8), Pid(7)]
    }
    fn children(&self) -> Vec<Pid> {
        vec![Pid(9), Pid(10)]
    }
    fn io(&self) -> Result<IoCounts, Errno> {
        Ok(IoCounts::default())
    }
    fn oom_score_adj(&self) -> i32 {
        500
    }
    fn set_oom_score_adj(&self, _value: i32) -> Result<(), Errno> {
        Ok(())
    }
    fn personality(&self) -> u32 {
        0x40000
    }
    fn id_map(&self, _groups: bool) -> Vec<[u32; 3]> {
        vec![[0, 0, u32::MAX]]
    }
    fn set_id_map(&self, _groups: bool, map: &[[u32; 3]]) -> Result<(), Errno> {
        if map == [[0, 1000, 1], [1, 5, 6]] { Ok(()) } else { Err(Errno::EPERM) }
    }
    fn setgroups_allowed(&self) -> bool {
        true
    }
    fn deny_setgroups(&self) -> Result<(), Errno> {
        Ok(())
    }
}

impl KernelView for Kernel {
    fn file_locks(&self) -> String {
        String::new()
    }
    fn caller(&self) -> Option<(Pid, Pid)> {
        Some((Pid(7), Pid(8)))
    }
    fn processes(&self) -> Vec<Pid> {
        vec![Pid(7), Pid(1)]
    }
    fn process(&self, pid: Pid) -> Option<Arc<dyn TaskView>> {
        (pid == Pid(7)).then(|| Arc::new(Task) as Arc<dyn TaskView>)
    }
    fn thread(&self, process: Pid, _thread: Pid) -> Option<Arc<dyn TaskView>> {
        self.process(process)
    }
    fn memory(&self) -> MemoryInfo {
        MemoryInfo { total: 24_684_096 << 10, ..MemoryInfo::default() }
    }
    fn load(&self) -> LoadInfo {
        LoadInfo { averages: [0.5, 1.0, 12.345], running: 1, total: 9, last_pid: 77 }
    }
    fn uptime(&self) -> (Duration, Duration) {
        (Duration::from_millis(12_345), Duration::from_secs(1))
    }
    fn cpus(&self) -> Vec<CpuTimes> {
        vec![CpuTimes { user: Duration::from_secs(1), ..CpuTimes::default() }; 2]
    }
    fn counts(&self) -> SystemCounts {
        SystemCounts::default()
    }
    fn cpuinfo(&self) -> Vec<u8> {
        system::cpuinfo("processor\t: 3\nsiblings\t: 9\nflags\t\t: fpu\n\nprocessor\t: 4\n\n", 1)
    }
    fn uts(&self) -> UtsInfo {
        UtsInfo { nodename: "box".into(), domainname: "(none)".into(), release: "6.18.0".into(), version: "#1".into() }
    }
    fn set_hostname(&self, name: &[u8]) -> Result<(), Errno> {
        if name == b"new" { Ok(()) } else { Err(Errno::EINVAL) }
    }
    fn set_domainname(&self, _name: &[u8]) -> Result<(), Errno> {
        Ok(())
    }
    fn filesystems(&self) -> Vec<&'static str> {
        vec!["proc", "tmpfs"]
    }
    fn net_files(&self) -> Vec<&'static str> {
        vec!["dev"]
    }
    fn net_file(&self, name: &str) -> Option<Vec<u8>> {
        Some(name.as_bytes().to_vec())
    }
    fn sysvipc(&self, _name: &str) -> Option<Vec<u8>> {
        Some(Vec::new())
    }
}

fn walk(path: &str) -> Result<InodeRef, Errno> {
    let root = ProcFs::new(Arc::new(Kernel), [7; 16]).root();
    path.split('/').try_fold(root, |dir, name| dir.lookup(name.as_bytes()))
}

fn text(path: &str) -> String {
    let file = walk(path).and_then(|inode| inode.open(OpenFlags::empty())).unwrap();
    let mut buf = vec![0; 1 << 16];
    let mut pos = 0;
    let mut total = 0;
    loop {
        // In small pieces, as `cat` on a small buffer.
        let end = (total + 100).min(buf.len());
        match file.read(&mut pos, IoFlags::empty(), &mut BytesDst::new(&mut buf[total..end])).unwrap() {
            0 => break,
            got => total += got,
        }
    }
    String::from_utf8(buf[..total].to_vec()).unwrap()
}

fn write(path: &str, data: &[u8]) -> Result<usize, Errno> {
    let file = walk(path)?.open(OpenFlags::WRONLY)?;
    file.write(&mut 0, IoFlags::empty(), &mut BytesSrc::new(data))
}

struct Names(Vec<String>);

impl DirSink for Names {
    fn entry(&mut self, entry: &DirEntry<'_>) -> bool {
        self.0.push(String::from_utf8(entry.name.to_vec()).unwrap());
        true
    }
}

fn list(path: &str) -> Vec<String> {
    let mut names = Names(Vec::new());
    walk(path).unwrap().open(OpenFlags::empty()).unwrap().read_dir(0, &mut names).unwrap();
    names.0
}

fn keys(text: &str) -> Vec<String> {
    text.lines().filter_map(|line| line.split_once(':')).map(|(key, _)| key.trim().to_owned()).collect()
}

/// Checks that the lines that both have come in the same order, and that most are there.
fn assert_like_host(ours: &str, host: &str) {
    let host = keys(&std::fs::read_to_string(host).unwrap());
    let ours = keys(ours);
    let common_ours: Vec<&String> = ours.iter().filter(|key| host.contains(key)).collect();
    let common_host: Vec<&String> = host.iter().filter(|key| ours.contains(key)).collect();
    assert_eq!(common_ours, common_host);
    assert!(common_ours.len() * 10 >= ours.len() * 9, "{ours:?} beside {host:?}");
}

#[test]
fn self_and_thread_self_lead_to_the_caller() {
    assert_eq!(walk("self").unwrap().readlink().unwrap(), b"7");
    assert_eq!(walk("thread-self").unwrap().readlink().unwrap(), b"7/task/8");
    let mut names = Names(Vec::new());
    let root = ProcFs::new(Arc::new(Kernel), [7; 16]).root();
    root.open(OpenFlags::empty()).unwrap().read_dir(0, &mut names).unwrap();
    assert!(names.0.ends_with(&["1".into(), "7".into()]) && names.0.contains(&"meminfo".into()));
    for missing in ["8", "07", "nothing", "7/nothing", "7/children", "7/task/7/task"] {
        assert_eq!(walk(missing).err(), Some(Errno::ENOENT), "{missing}");
    }
}

#[test]
fn stat_has_all_fields() {
    let stat = text("7/stat");
    assert!(stat.starts_with("7 (a (b)\\012) S 1 7 1 0 -1 4194304 3 0 0 0 123 2 0 0 25 5 2 0 900 8388608 256 "));
    let fields = |text: &str| text.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().count());
    assert_eq!(fields(&stat), Some(50));
    assert_eq!(fields(&stat), fields(&std::fs::read_to_string("/proc/self/stat").unwrap()));
    assert_eq!(text("7/statm"), "2048 256 0 2 0 1 0\n");
}

#[test]
fn status_reads_as_on_linux() {
    let status = text("7/status");
    assert_like_host(&status, "/proc/self/status");
    for line in [
        "Name:\ta (b)\\012",
        "State:\tS (sleeping)",
        "Uid:\t0\t1\t2\t3",
        "Groups:\t10 11 ",
        "VmSize:\t    8192 kB",
        "SigBlk:\t0000000200000002",
        "CapAmb:\t0000000000000004",
        "Cpus_allowed:\t3",
        "Cpus_allowed_list:\t0-1",
        "NoNewPrivs:\t1",
    ] {
        assert!(status.lines().any(|known| known == line), "{line:?} in {status}");
    }
}

#[test]
fn system_files_read_as_on_linux() {
    assert_like_host(&text("meminfo"), "/proc/meminfo");
    assert!(text("meminfo").starts_with("MemTotal:       24684096 kB\nMemFree:               0 kB\n"));
    assert_eq!(text("loadavg"), "0.50 1.00 12.35 1/9 77\n".replace("12.35", &format!("{:.2}", 12.345)));
    assert_eq!(text("uptime"), "12.34 1.00\n");
    assert!(text("stat").starts_with("cpu  200 0 0 0 0 0 0 0 0 0\ncpu0 100 0 0 0 0 0 0 0 0 0\ncpu1 "));
    assert_eq!(text("cpuinfo"), "processor\t: 0\nsiblings\t: 1\nflags\t\t: fpu\n\n");
    assert_eq!(text("filesystems"), "nodev\tproc\nnodev\ttmpfs\n");
    assert!(text("version").starts_with("Linux version 6.18.0 ("));
    assert_eq!(text("7/net/dev"), "dev");
}

#[test]
fn limits_are_columns() {
    let limits = text("7/limits");
    let host = std::fs::read_to_string("/proc/self/limits").unwrap();
    assert_eq!(limits.lines().next(), host.lines().next());
    let line = "Max cpu time              5                    unlimited            seconds   ";
    assert_eq!(limits.lines().nth(1), Some(line));
    let names = |text: &str| text.lines().map(|line| line[..26].to_owned()).collect::<Vec<_>>();
    assert_eq!(names(&limits), names(&host));
}

#[test]
fn memory_is_described_region_by_region() {
    assert_eq!(text("7/maps"), "00400000-00401000 r-xp 00000000 00:00 0 \n");
    let smaps = text("7/smaps");
    assert!(smaps.contains("Rss:                   4 kB\n") && smaps.ends_with("VmFlags: rd ex \n"));
    assert_like_host(&text("7/smaps_rollup"), "/proc/self/smaps_rollup");
    let mem = walk("7/mem").unwrap().open(OpenFlags::RDWR).unwrap();
    let mut buf = [0; 5000];
    assert_eq!(mem.read(&mut 0x40_0000, IoFlags::empty(), &mut BytesDst::new(&mut buf)), Ok(5000));
    assert_eq!(mem.read(&mut 0, IoFlags::empty(), &mut BytesDst::new(&mut buf)), Err(Errno::EIO));
}

#[test]
fn mounts_escape_and_order_their_fields() {
    assert_eq!(text("7/mounts"), "none /a\\040b tmpfs ro,nosuid,relatime,size=4k 0 0\n");
    let line = "22 27 0:0 / /a\\040b ro,nosuid,relatime shared:1 - tmpfs none rw,size=4k\n";
    assert_eq!(text("7/mountinfo"), line);
}

#[test]
fn descriptors_are_links_to_objects() {
    assert_eq!(list("7/fd"), [".", "..", "0", "10"]);
    let link = walk("7/fd/10").unwrap();
    assert_eq!((link.attr().unwrap().perm, link.attr().unwrap().uid), (0o500, 1));
    assert_eq!(link.readlink().unwrap(), b"/tmp/x");
    let Ok(LinkTarget::Object(object)) = link.follow() else { panic!("a magic link") };
    assert_eq!(object.downcast_ref::<i32>(), Some(&10));
    assert_eq!(walk("7/fd/3").err(), Some(Errno::ENOENT));
    assert_eq!(text("7/fdinfo/0"), "pos:\t3\nflags:\t0100002\nmnt_id:\t20\nino:\t9\n");
    assert_eq!(walk("7/ns/pid_for_children").unwrap().readlink().unwrap(), b"pid:[42]");
}

#[test]
fn small_files_and_writes() {
    assert_eq!(text("7/comm"), "a (b)\n\n");
    assert_eq!(text("7/task/8/children"), "9 10 ");
    assert_eq!(text("7/oom_score"), "1000\n");
    assert_eq!(text("7/uid_map"), "         0          0 4294967295\n");
    assert_eq!((write("7/comm", b"new\n"), write("7/comm", b"x")), (Ok(4), Err(Errno::EINVAL)));
    assert_eq!(write("7/oom_score_adj", b"1001"), Err(Errno::EINVAL));
    assert_eq!(write("7/uid_map", b"0 1000 1\n1 5 6\n"), Ok(15));
    assert_eq!(write("7/uid_map", b"0 1000\n"), Err(Errno::EINVAL));
    assert_eq!(write("7/cmdline", b"x"), Err(Errno::EIO));
    let environ = walk("7/environ").unwrap().open(OpenFlags::empty()).unwrap();
    let mut buf = [0; 9];
    assert_eq!(environ.read(&mut 0, IoFlags::empty(), &mut BytesDst::new(&mut buf)), Err(Errno::EACCES));
}

#[test]
fn settings_are_read_and_some_written() {
    assert_eq!(text("sys/kernel/hostname"), "box\n");
    assert_eq!(write("sys/kernel/hostname", b"new\n"), Ok(4));
    assert_eq!(write("sys/kernel/pid_max", b"5"), Err(Errno::EPERM));
    let uuid = text("sys/kernel/random/uuid");
    assert_eq!((uuid.len(), &uuid[14..15]), (37, "4"));
    assert_ne!(uuid, text("sys/kernel/random/uuid"));
    assert_eq!(text("sys/kernel/random/boot_id"), text("sys/kernel/random/boot_id"));
    assert_eq!(walk("sys/net/core").unwrap().attr().unwrap().kind, FileKind::Directory);
    assert_eq!(text("sys/fs/pipe-max-size"), "1048576\n");
}
