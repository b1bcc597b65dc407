//! Structs that arguments point to.

use super::text::{quote, read, word};
use super::{Limits, Memory, address, int, text, uint, words};

/// Fields of a struct by offset: little-endian numbers.
struct Fields(Vec<u8>);

impl Fields {
    fn read(mem: &dyn Memory, addr: u64, len: usize) -> Option<Fields> {
        let bytes = read(mem, addr, len);
        (bytes.len() == len).then_some(Fields(bytes))
    }

    fn number(&self, at: usize, len: usize) -> u64 {
        let mut bytes = [0; 8];
        if let (Some(to), Some(from)) = (bytes.get_mut(..len), self.0.get(at..at + len)) {
            to.copy_from_slice(from);
        }
        u64::from_le_bytes(bytes)
    }

    fn u64(&self, at: usize) -> u64 {
        self.number(at, 8)
    }

    fn i64(&self, at: usize) -> i64 {
        self.u64(at).cast_signed()
    }

    fn u32(&self, at: usize) -> u32 {
        uint(self.number(at, 4))
    }

    fn i32(&self, at: usize) -> i32 {
        int(self.number(at, 4))
    }

    fn u16(&self, at: usize) -> u64 {
        self.number(at, 2)
    }

    fn timespec(&self, at: usize) -> String {
        format!("{{tv_sec={}, tv_nsec={}}}", self.i64(at), self.i64(at + 8))
    }

    fn timeval(&self, at: usize) -> String {
        format!("{{tv_sec={}, tv_usec={}}}", self.i64(at), self.i64(at + 8))
    }
}

/// Prints a struct by the name that the table gives it; `None` where it can't be read or isn't known.
pub(super) fn object(mem: &dyn Memory, name: &str, addr: u64, args: &[u64; 6], limits: Limits) -> Option<String> {
    let fields = |len| Fields::read(mem, addr, len);
    Some(match name {
        "int" => format!("[{}]", fields(4)?.i32(0)),
        "u32" | "uid" | "gid" | "socklen" => format!("[{}]", fields(4)?.u32(0)),
        "u64" | "off" | "time" => format!("[{}]", fields(8)?.i64(0)),
        "int2" => fields(8).map(|pair| format!("[{}, {}]", pair.i32(0), pair.i32(4)))?,
        "timespec" => fields(16)?.timespec(0),
        "timeval" => fields(16)?.timeval(0),
        "timespec2" => fields(32).map(|pair| format!("[{}, {}]", pair.timespec(0), pair.timespec(16)))?,
        "timeval2" => fields(32).map(|pair| format!("[{}, {}]", pair.timeval(0), pair.timeval(16)))?,
        "itimerspec" => {
            let set = fields(32)?;
            format!("{{it_interval={}, it_value={}}}", set.timespec(0), set.timespec(16))
        }
        "itimerval" => {
            let set = fields(32)?;
            format!("{{it_interval={}, it_value={}}}", set.timeval(0), set.timeval(16))
        }
        "sigset" => words::signals(fields(8)?.u64(0)),
        "sigset_arg" => {
            let arg = fields(16)?;
            match arg.u64(0) {
                0 => "{sigmask=NULL}".to_owned(),
                at => format!("{{sigmask={}}}", words::signals(word(mem, at, 8)?)),
            }
        }
        "sigaction" => sigaction(&fields(32)?),
        "siginfo" => siginfo(&fields(32)?),
        "stack" => {
            let stack = fields(24)?;
            let flags = words::flags("sigaltstack", stack.number(8, 4));
            format!("{{ss_sp={}, ss_flags={flags}, ss_size={}}}", address(stack.u64(0)), stack.u64(16))
        }
        "rlimit" => {
            let limit = fields(16)?;
            let show = |value| if value == u64::MAX { "RLIM64_INFINITY".to_owned() } else { format!("{value}") };
            format!("{{rlim_cur={}, rlim_max={}}}", show(limit.u64(0)), show(limit.u64(8)))
        }
        "rusage" => {
            let usage = fields(32)?;
            format!("{{ru_utime={}, ru_stime={}, ...}}", usage.timeval(0), usage.timeval(16))
        }
        "stat" => stat(&fields(144)?),
        "statx" => {
            let stat = fields(256)?;
            format!("{{stx_mask={:#x}, stx_mode={}, stx_size={}, ...}}", stat.u32(0), mode(stat.u16(28)), stat.u64(40))
        }
        "statfs" => {
            let stat = fields(120)?;
            format!("{{f_type={:#x}, f_bsize={}, f_blocks={}, ...}}", stat.u64(0), stat.u64(8), stat.u64(16))
        }
        "utsname" => {
            let uts = fields(390)?;
            let part = |at: usize| {
                let part = &uts.0[at * 65..(at + 1) * 65];
                quote(part.split(|byte| *byte == 0).next().unwrap_or_default(), false)
            };
            format!("{{sysname={}, nodename={}, release={}, ...}}", part(0), part(1), part(2))
        }
        "sysinfo" => format!("{{uptime={}, ...}}", fields(8)?.i64(0)),
        "tms" => {
            let times = fields(32)?;
            format!("{{tms_utime={}, tms_stime={}, ...}}", times.i64(0), times.i64(8))
        }
        "pollfd" => pollfds(mem, addr, args[1], limits)?,
        "fd_set" => fd_set(mem, addr, int(args[0]))?,
        "epoll_event" => epoll_event(&fields(12)?, 0),
        "iovec" => text::iovecs(mem, addr, usize::try_from(args[2]).unwrap_or(usize::MAX), Some(0), limits),
        "msghdr" => msghdr(mem, &fields(56)?, limits),
        "sembuf" => sembufs(mem, addr, args[2], limits)?,
        "open_how" => {
            let how = fields(24)?;
            let flags = words::flags("open", how.u64(0));
            let resolve = words::flags("resolve", how.u64(16));
            format!("{{flags={flags}, mode=0{:03o}, resolve={resolve}}}", how.u64(8))
        }
        "clone_args" => clone_args(&fields(64)?),
        "sched_param" => format!("[{}]", fields(4)?.i32(0)),
        "timezone" => {
            let zone = fields(8)?;
            format!("{{tz_minuteswest={}, tz_dsttime={}}}", zone.i32(0), zone.i32(4))
        }
        "utimbuf" => {
            let times = fields(16)?;
            format!("{{actime={}, modtime={}}}", times.i64(0), times.i64(8))
        }
        "cap_header" => {
            let header = fields(8)?;
            format!("{{version={:#x}, pid={}}}", header.u32(0), header.i32(4))
        }
        "cap_data" => {
            let data = fields(12)?;
            format!(
                "{{effective={:#x}, permitted={:#x}, inheritable={:#x}, ...}}",
                data.u32(0),
                data.u32(4),
                data.u32(8)
            )
        }
        _ => return None,
    })
}

fn mode(mode: u64) -> String {
    let kind = match mode & 0o170_000 {
        0o140_000 => "S_IFSOCK",
        0o120_000 => "S_IFLNK",
        0o100_000 => "S_IFREG",
        0o060_000 => "S_IFBLK",
        0o040_000 => "S_IFDIR",
        0o020_000 => "S_IFCHR",
        0o010_000 => "S_IFIFO",
        _ => return format!("0{mode:o}"),
    };
    format!("{kind}|0{:03o}", mode & 0o7777)
}

fn stat(stat: &Fields) -> String {
    format!("{{st_mode={}, st_size={}, ...}}", mode(stat.number(24, 4)), stat.i64(48))
}

fn sigaction(action: &Fields) -> String {
    let handler = match action.u64(0) {
        0 => "SIG_DFL".to_owned(),
        1 => "SIG_IGN".to_owned(),
        at => format!("{at:#x}"),
    };
    let flags = words::flags("sigaction", action.u64(8));
    format!("{{sa_handler={handler}, sa_mask={}, sa_flags={flags}}}", words::signals(action.u64(24)))
}

fn siginfo(info: &Fields) -> String {
    let code = words::operation("si_code", info.number(8, 4));
    format!(
        "{{si_signo={}, si_code={code}, si_pid={}, si_uid={}}}",
        words::signal(info.i32(0)),
        info.i32(16),
        info.u32(20)
    )
}

fn pollfds(mem: &dyn Memory, addr: u64, count: u64, limits: Limits) -> Option<String> {
    let count = usize::try_from(uint(count)).unwrap_or(usize::MAX);
    let shown = count.min(limits.elements);
    let list = Fields::read(mem, addr, shown * 8)?;
    let show = |at: usize| {
        let events = words::flags("poll", list.u16(at + 4));
        let revents = words::flags("poll", list.u16(at + 6));
        format!("{{fd={}, events={events}, revents={revents}}}", list.i32(at))
    };
    let items: Vec<String> = (0..shown).map(|at| show(at * 8)).collect();
    let more = if count > shown { ", ..." } else { "" };
    Some(format!("[{}{more}]", items.join(", ")))
}

fn fd_set(mem: &dyn Memory, addr: u64, nfds: i32) -> Option<String> {
    let nfds = usize::try_from(nfds).unwrap_or(0).min(1024);
    let bits = read(mem, addr, nfds.div_ceil(64) * 8);
    (bits.len() * 8 >= nfds).then(|| {
        let set = (0..nfds).filter(|fd| bits[fd / 8] & (1 << (fd % 8)) != 0);
        let set: Vec<String> = set.map(|fd| fd.to_string()).collect();
        format!("[{}]", set.join(" "))
    })
}

fn epoll_event(event: &Fields, at: usize) -> String {
    format!("{{events={}, data={:#x}}}", words::flags("epoll_events", event.number(at, 4)), event.u64(at + 4))
}

pub(super) fn epoll_events(mem: &dyn Memory, addr: u64, count: usize, limits: Limits) -> String {
    let shown = count.min(limits.elements);
    let Some(list) = Fields::read(mem, addr, shown * 12) else { return address(addr) };
    let items: Vec<String> = (0..shown).map(|at| epoll_event(&list, at * 12)).collect();
    let more = if count > shown { ", ..." } else { "" };
    format!("[{}{more}]", items.join(", "))
}

fn msghdr(mem: &dyn Memory, header: &Fields, limits: Limits) -> String {
    let name = match header.u64(0) {
        0 => "NULL".to_owned(),
        at => sockaddr(mem, at, usize::try_from(header.u32(8)).unwrap_or(0)),
    };
    let count = usize::try_from(header.u64(24)).unwrap_or(usize::MAX);
    let iov = text::iovecs(mem, header.u64(16), count, None, limits);
    let flags = words::flags("msg", header.number(48, 4));
    format!(
        "{{msg_name={name}, msg_iov={iov}, msg_iovlen={count}, msg_controllen={}, msg_flags={flags}}}",
        header.u64(40)
    )
}

fn sembufs(mem: &dyn Memory, addr: u64, count: u64, limits: Limits) -> Option<String> {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let shown = count.min(limits.elements);
    let list = Fields::read(mem, addr, shown * 6)?;
    let show = |at: usize| {
        // The field is a 16-bit number with a sign.
        let op = int(list.u16(at + 2) << 16 & 0xffff_0000) >> 16;
        format!("{{{}, {op}, {}}}", list.u16(at), words::flags("sem", list.u16(at + 4)))
    };
    let items: Vec<String> = (0..shown).map(|at| show(at * 6)).collect();
    let more = if count > shown { ", ..." } else { "" };
    Some(format!("[{}{more}]", items.join(", ")))
}

fn clone_args(args: &Fields) -> String {
    format!(
        "{{flags={}, child_tid={}, parent_tid={}, exit_signal={}, stack={}, stack_size={:#x}, tls={}}}",
        words::flags("clone3", args.u64(0)),
        address(args.u64(16)),
        address(args.u64(24)),
        words::signal(int(args.u64(32))),
        address(args.u64(40)),
        args.u64(48),
        address(args.u64(56))
    )
}

/// Prints a socket address.
pub(super) fn sockaddr(mem: &dyn Memory, addr: u64, len: usize) -> String {
    if addr == 0 {
        return "NULL".to_owned();
    }
    // The longest is that of AF_UNIX.
    let Some(name) = Fields::read(mem, addr, len.min(110)).filter(|name| name.0.len() >= 2) else {
        return address(addr);
    };
    let port = |at: usize| u16::try_from(name.u16(at)).unwrap_or(0).swap_bytes();
    match name.u16(0) {
        1 => {
            let path = &name.0[2..];
            let shown = match path.first() {
                Some(0) => format!("@{}", quote(&path[1..], false)),
                _ => quote(path.split(|byte| *byte == 0).next().unwrap_or_default(), false),
            };
            format!("{{sa_family=AF_UNIX, sun_path={shown}}}")
        }
        2 if name.0.len() >= 8 => {
            let ip = std::net::Ipv4Addr::from([name.0[4], name.0[5], name.0[6], name.0[7]]);
            format!("{{sa_family=AF_INET, sin_port=htons({}), sin_addr=inet_addr(\"{ip}\")}}", port(2))
        }
        10 if name.0.len() >= 24 => {
            let ip = <[u8; 16]>::try_from(&name.0[8..24]).map(std::net::Ipv6Addr::from);
            let ip = ip.map(|ip| ip.to_string()).unwrap_or_default();
            format!("{{sa_family=AF_INET6, sin6_port=htons({}), inet_pton(AF_INET6, \"{ip}\")}}", port(2))
        }
        16 if name.0.len() >= 12 => {
            format!("{{sa_family=AF_NETLINK, nl_pid={}, nl_groups={:#x}}}", name.u32(4), name.u32(8))
        }
        family => format!("{{sa_family={}, {}}}", words::operation("af", family), quote(&name.0[2..], false)),
    }
}
