//! `/proc/sys`: what the kernel can be asked, and the few things it can be told.
//!
//! A setting that has no effect here can be read but not written (`EPERM`), as in a container without privileges.

use std::sync::Arc;

use abi::Errno;
use rustix::rand::GetRandomFlags;

use super::source::KernelView;
use crate::synth::{Node, StaticDir};
use crate::{devpts, host, inotify, pipe};

/// Settings with one value. The numbers are Linux's defaults, or what this kernel does.
const FIXED: &[(&str, &str)] = &[
    ("abi/vsyscall32", "1"),
    ("debug/exception-trace", "1"),
    ("dev/tty/ldisc_autoload", "1"),
    ("dev/tty/legacy_tiocsti", "1"),
    ("fs/aio-max-nr", "65536"),
    ("fs/aio-nr", "0"),
    ("fs/dir-notify-enable", "1"),
    ("fs/epoll/max_user_watches", "5491533"),
    ("fs/file-max", "9223372036854775807"),
    ("fs/inotify/max_queued_events", "16384"),
    ("fs/inotify/max_user_instances", "128"),
    ("fs/lease-break-time", "45"),
    ("fs/leases-enable", "0"),
    ("fs/mount-max", "100000"),
    ("fs/mqueue/msg_default", "10"),
    ("fs/mqueue/msg_max", "10"),
    ("fs/mqueue/msgsize_default", "8192"),
    ("fs/mqueue/msgsize_max", "8192"),
    ("fs/mqueue/queues_max", "256"),
    ("fs/nr_open", "1048576"),
    ("fs/overflowgid", "65534"),
    ("fs/overflowuid", "65534"),
    ("fs/pipe-user-pages-hard", "0"),
    ("fs/pipe-user-pages-soft", "16384"),
    ("fs/protected_fifos", "0"),
    ("fs/protected_hardlinks", "1"),
    ("fs/protected_regular", "0"),
    ("fs/protected_symlinks", "0"),
    ("fs/suid_dumpable", "0"),
    ("kernel/auto_msgmni", "0"),
    ("kernel/cap_last_cap", "40"),
    ("kernel/core_pattern", "core"),
    ("kernel/core_uses_pid", "0"),
    ("kernel/ctrl-alt-del", "0"),
    ("kernel/dmesg_restrict", "1"),
    ("kernel/io_uring_disabled", "2"),
    ("kernel/keys/maxbytes", "20000"),
    ("kernel/keys/maxkeys", "200"),
    ("kernel/keys/root_maxbytes", "25000000"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/kptr_restrict", "1"),
    ("kernel/msg_next_id", "-1"),
    ("kernel/msgmax", "8192"),
    ("kernel/msgmnb", "16384"),
    ("kernel/msgmni", "32000"),
    ("kernel/ngroups_max", "65536"),
    ("kernel/ostype", "Linux"),
    ("kernel/overflowgid", "65534"),
    ("kernel/overflowuid", "65534"),
    ("kernel/panic", "0"),
    ("kernel/panic_on_oops", "0"),
    ("kernel/perf_event_paranoid", "3"),
    ("kernel/pid_max", "4194304"),
    ("kernel/printk", "4\t4\t1\t7"),
    ("kernel/random/entropy_avail", "256"),
    ("kernel/random/poolsize", "256"),
    ("kernel/random/urandom_min_reseed_secs", "60"),
    ("kernel/random/write_wakeup_threshold", "256"),
    ("kernel/randomize_va_space", "2"),
    ("kernel/sched_autogroup_enabled", "0"),
    ("kernel/sched_rr_timeslice_ms", "100"),
    ("kernel/sched_rt_period_us", "1000000"),
    ("kernel/sched_rt_runtime_us", "950000"),
    ("kernel/seccomp/actions_avail", "kill_process kill_thread trap errno trace log allow"),
    ("kernel/sem", "32000\t1024000000\t500\t32000"),
    ("kernel/sem_next_id", "-1"),
    ("kernel/shm_next_id", "-1"),
    ("kernel/shm_rmid_forced", "0"),
    ("kernel/shmall", "18446744073692774399"),
    ("kernel/shmmax", "18446744073692774399"),
    ("kernel/shmmni", "4096"),
    ("kernel/tainted", "0"),
    ("kernel/threads-max", "4194304"),
    ("kernel/unprivileged_bpf_disabled", "2"),
    ("kernel/yama/ptrace_scope", "1"),
    ("net/core/default_qdisc", "pfifo_fast"),
    ("net/core/netdev_max_backlog", "1000"),
    ("net/core/optmem_max", "131072"),
    ("net/core/rmem_default", "212992"),
    ("net/core/rmem_max", "212992"),
    ("net/core/somaxconn", "4096"),
    ("net/core/wmem_default", "212992"),
    ("net/core/wmem_max", "212992"),
    ("net/ipv4/ip_forward", "0"),
    ("net/ipv4/ip_local_port_range", "32768\t60999"),
    ("net/ipv4/ip_local_reserved_ports", ""),
    ("net/ipv4/ip_nonlocal_bind", "0"),
    ("net/ipv4/ip_unprivileged_port_start", "1024"),
    ("net/ipv4/ping_group_range", "1\t0"),
    ("net/ipv4/tcp_congestion_control", "reno"),
    ("net/ipv4/tcp_fin_timeout", "60"),
    ("net/ipv4/tcp_keepalive_intvl", "75"),
    ("net/ipv4/tcp_keepalive_probes", "9"),
    ("net/ipv4/tcp_keepalive_time", "7200"),
    ("net/ipv4/tcp_max_syn_backlog", "512"),
    ("net/ipv4/tcp_rmem", "4096\t131072\t6291456"),
    ("net/ipv4/tcp_sack", "0"),
    ("net/ipv4/tcp_syncookies", "0"),
    ("net/ipv4/tcp_timestamps", "0"),
    ("net/ipv4/tcp_tw_reuse", "0"),
    ("net/ipv4/tcp_window_scaling", "0"),
    ("net/ipv4/tcp_wmem", "4096\t16384\t4194304"),
    ("net/ipv6/conf/all/disable_ipv6", "0"),
    ("net/ipv6/conf/default/disable_ipv6", "0"),
    ("net/ipv6/conf/lo/disable_ipv6", "0"),
    ("net/unix/max_dgram_qlen", "512"),
    ("vm/dirty_background_bytes", "0"),
    ("vm/dirty_background_ratio", "10"),
    ("vm/dirty_bytes", "0"),
    ("vm/dirty_ratio", "20"),
    ("vm/max_map_count", "65530"),
    ("vm/memfd_noexec", "0"),
    ("vm/min_free_kbytes", "67584"),
    ("vm/mmap_min_addr", "65536"),
    ("vm/nr_hugepages", "0"),
    ("vm/overcommit_kbytes", "0"),
    ("vm/overcommit_memory", "0"),
    ("vm/overcommit_ratio", "50"),
    ("vm/page-cluster", "3"),
    ("vm/panic_on_oom", "0"),
    ("vm/swappiness", "60"),
    ("vm/unprivileged_userfaultfd", "0"),
    ("vm/vfs_cache_pressure", "100"),
];

/// `8-4-4-4-12` hexadecimal digits.
fn uuid(mut bytes: [u8; 16]) -> String {
    // Version 4, variant 1.
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

fn new_uuid() -> Result<Vec<u8>, Errno> {
    let mut bytes = [0; 16];
    let got = rustix::rand::getrandom(&mut bytes, GetRandomFlags::empty()).map_err(host::errno)?;
    if got < bytes.len() {
        return Err(Errno::EIO);
    }
    Ok(format!("{}\n", uuid(bytes)).into_bytes())
}

/// What was written, without the newline that `echo` adds.
fn line(data: &[u8]) -> &[u8] {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    &data[..end]
}

fn number(data: &[u8]) -> Result<u64, Errno> {
    std::str::from_utf8(data).ok().and_then(|text| text.trim().parse().ok()).ok_or(Errno::EINVAL)
}

/// Makes `/proc/sys`; `set` are paths that hold something else than the default.
pub(super) fn tree(view: &Arc<dyn KernelView>, boot_id: [u8; 16], set: &[(String, String)]) -> Node {
    let mut dir = StaticDir::default();
    let refuse = |_: &[u8]| Err(Errno::EPERM);
    for (path, value) in FIXED {
        dir.add(path, Node::fixed(0o644, format!("{value}\n")).stored(refuse));
    }
    for (path, value) in set {
        dir.add(path, Node::fixed(0o644, format!("{value}\n")).stored(refuse));
    }
    let live = |render: fn(&dyn KernelView) -> String| {
        let view = Arc::clone(view);
        Node::file(0o444, move || Ok(format!("{}\n", render(&*view)).into_bytes()))
    };
    dir.add("kernel/osrelease", live(|view| view.uts().release));
    dir.add("kernel/version", live(|view| view.uts().version));
    dir.add("kernel/ns_last_pid", live(|view| view.load().last_pid.to_string()));
    let names = |set: fn(&dyn KernelView, &[u8]) -> Result<(), Errno>| {
        let view = Arc::clone(view);
        move |data: &[u8]| set(&*view, line(data))
    };
    let hostname = live(|view| view.uts().nodename).with_perm(0o644);
    dir.add("kernel/hostname", hostname.stored(names(|view, name| view.set_hostname(name))));
    let domainname = live(|view| view.uts().domainname).with_perm(0o644);
    dir.add("kernel/domainname", domainname.stored(names(|view, name| view.set_domainname(name))));
    dir.add("kernel/random/uuid", Node::file(0o444, new_uuid));
    dir.add("kernel/random/boot_id", Node::fixed(0o444, format!("{}\n", uuid(boot_id))));
    dir.add("kernel/pty/max", Node::fixed(0o444, format!("{}\n", devpts::MAX_PTYS)));
    dir.add("fs/file-nr", Node::fixed(0o444, "0\t0\t9223372036854775807\n"));
    dir.add("fs/inotify/max_user_watches", Node::fixed(0o444, format!("{}\n", inotify::MAX_WATCHES)));
    let pipe_size = Node::file(0o644, || Ok(format!("{}\n", pipe::max_size()).into_bytes()));
    dir.add("fs/pipe-max-size", pipe_size.stored(|data| pipe::set_max_size(number(data)?)));
    dir.into_node()
}
