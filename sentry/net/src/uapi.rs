//! Numbers of the socket interface: families, types, options, message flags. Source: the kernel's
//! `include/uapi/asm-generic/socket.h`, `include/linux/socket.h`, `include/uapi/linux/{in,in6,tcp,udp,netlink}.h`.

#![allow(missing_docs)] // Linux names, documented in the manual pages

use bitflags::bitflags;

/// Address families (`AF_*`).
pub mod af {
    pub const UNSPEC: u16 = 0;
    pub const UNIX: u16 = 1;
    pub const INET: u16 = 2;
    pub const INET6: u16 = 10;
    pub const NETLINK: u16 = 16;
    pub const PACKET: u16 = 17;
    /// One more than the highest family of Linux 6.18.
    pub const MAX: i32 = 46;
}

/// Kind of a socket (`SOCK_*` without its flags).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SockType {
    Stream = 1,
    Dgram = 2,
    Raw = 3,
    Rdm = 4,
    Seqpacket = 5,
    Dccp = 6,
    Packet = 10,
}

impl SockType {
    /// The bits of `socket(2)`'s second argument that hold the type.
    pub const MASK: u32 = 0xf;
    /// `SOCK_CLOEXEC`.
    pub const CLOEXEC: u32 = 0o2000000;
    /// `SOCK_NONBLOCK`.
    pub const NONBLOCK: u32 = 0o4000;

    /// Reads a type; `None` where Linux has no such.
    pub fn from_raw(raw: u32) -> Option<SockType> {
        Some(match raw {
            1 => SockType::Stream,
            2 => SockType::Dgram,
            3 => SockType::Raw,
            4 => SockType::Rdm,
            5 => SockType::Seqpacket,
            6 => SockType::Dccp,
            10 => SockType::Packet,
            _ => return None,
        })
    }
}

bitflags! {
    /// `MSG_*`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct MsgFlags: u32 {
        const OOB = 0x1;
        const PEEK = 0x2;
        const DONTROUTE = 0x4;
        const CTRUNC = 0x8;
        const TRUNC = 0x20;
        const DONTWAIT = 0x40;
        const EOR = 0x80;
        const WAITALL = 0x100;
        const CONFIRM = 0x800;
        const ERRQUEUE = 0x2000;
        const NOSIGNAL = 0x4000;
        const MORE = 0x8000;
        const WAITFORONE = 0x1_0000;
        const BATCH = 0x4_0000;
        const ZEROCOPY = 0x400_0000;
        const FASTOPEN = 0x2000_0000;
        const CMSG_CLOEXEC = 0x4000_0000;
        const CMSG_COMPAT = 0x8000_0000;
    }
}

/// Option levels (`SOL_*`, `IPPROTO_*`).
pub mod sol {
    pub const IP: i32 = 0;
    pub const SOCKET: i32 = 1;
    pub const TCP: i32 = 6;
    pub const UDP: i32 = 17;
    pub const IPV6: i32 = 41;
    pub const ICMPV6: i32 = 58;
    pub const NETLINK: i32 = 270;
}

/// Protocols of the internet families.
pub mod ipproto {
    pub const IP: i32 = 0;
    pub const ICMP: i32 = 1;
    pub const TCP: i32 = 6;
    pub const UDP: i32 = 17;
    pub const ICMPV6: i32 = 58;
    pub const UDPLITE: i32 = 136;
    pub const MPTCP: i32 = 262;
}

/// `SO_*`.
pub mod so {
    pub const DEBUG: i32 = 1;
    pub const REUSEADDR: i32 = 2;
    pub const TYPE: i32 = 3;
    pub const ERROR: i32 = 4;
    pub const DONTROUTE: i32 = 5;
    pub const BROADCAST: i32 = 6;
    pub const SNDBUF: i32 = 7;
    pub const RCVBUF: i32 = 8;
    pub const KEEPALIVE: i32 = 9;
    pub const OOBINLINE: i32 = 10;
    pub const NO_CHECK: i32 = 11;
    pub const PRIORITY: i32 = 12;
    pub const LINGER: i32 = 13;
    pub const BSDCOMPAT: i32 = 14;
    pub const REUSEPORT: i32 = 15;
    pub const PASSCRED: i32 = 16;
    pub const PEERCRED: i32 = 17;
    pub const RCVLOWAT: i32 = 18;
    pub const SNDLOWAT: i32 = 19;
    pub const RCVTIMEO: i32 = 20;
    pub const SNDTIMEO: i32 = 21;
    pub const BINDTODEVICE: i32 = 25;
    pub const ATTACH_FILTER: i32 = 26;
    pub const DETACH_FILTER: i32 = 27;
    pub const PEERNAME: i32 = 28;
    pub const TIMESTAMP: i32 = 29;
    pub const ACCEPTCONN: i32 = 30;
    pub const PEERSEC: i32 = 31;
    pub const SNDBUFFORCE: i32 = 32;
    pub const RCVBUFFORCE: i32 = 33;
    pub const PASSSEC: i32 = 34;
    pub const TIMESTAMPNS: i32 = 35;
    pub const MARK: i32 = 36;
    pub const TIMESTAMPING: i32 = 37;
    pub const PROTOCOL: i32 = 38;
    pub const DOMAIN: i32 = 39;
    pub const RXQ_OVFL: i32 = 40;
    pub const WIFI_STATUS: i32 = 41;
    pub const PEEK_OFF: i32 = 42;
    pub const NOFCS: i32 = 43;
    pub const LOCK_FILTER: i32 = 44;
    pub const SELECT_ERR_QUEUE: i32 = 45;
    pub const BUSY_POLL: i32 = 46;
    pub const MAX_PACING_RATE: i32 = 47;
    pub const BPF_EXTENSIONS: i32 = 48;
    pub const INCOMING_CPU: i32 = 49;
    pub const ATTACH_BPF: i32 = 50;
    pub const ATTACH_REUSEPORT_CBPF: i32 = 51;
    pub const ATTACH_REUSEPORT_EBPF: i32 = 52;
    pub const CNX_ADVICE: i32 = 53;
    pub const MEMINFO: i32 = 55;
    pub const INCOMING_NAPI_ID: i32 = 56;
    pub const COOKIE: i32 = 57;
    pub const PEERGROUPS: i32 = 59;
    pub const ZEROCOPY: i32 = 60;
    pub const TXTIME: i32 = 61;
    pub const BINDTOIFINDEX: i32 = 62;
    pub const TIMESTAMP_NEW: i32 = 63;
    pub const TIMESTAMPNS_NEW: i32 = 64;
    pub const TIMESTAMPING_NEW: i32 = 65;
    pub const RCVTIMEO_NEW: i32 = 66;
    pub const SNDTIMEO_NEW: i32 = 67;
    pub const DETACH_REUSEPORT_BPF: i32 = 68;
    pub const PREFER_BUSY_POLL: i32 = 69;
    pub const BUSY_POLL_BUDGET: i32 = 70;
    pub const NETNS_COOKIE: i32 = 71;
    pub const BUF_LOCK: i32 = 72;
    pub const RESERVE_MEM: i32 = 73;
    pub const TXREHASH: i32 = 74;
    pub const RCVMARK: i32 = 75;
    pub const PASSPIDFD: i32 = 76;
    pub const PEERPIDFD: i32 = 77;
}

/// Control messages of `SOL_SOCKET` (`SCM_*`).
pub mod scm {
    pub const RIGHTS: i32 = 1;
    pub const CREDENTIALS: i32 = 2;
    pub const PIDFD: i32 = 4;
}

/// `IP_*` options and control messages.
pub mod ip {
    pub const TOS: i32 = 1;
    pub const TTL: i32 = 2;
    pub const HDRINCL: i32 = 3;
    pub const OPTIONS: i32 = 4;
    pub const RECVOPTS: i32 = 6;
    pub const RETOPTS: i32 = 7;
    pub const PKTINFO: i32 = 8;
    pub const MTU_DISCOVER: i32 = 10;
    pub const RECVERR: i32 = 11;
    pub const RECVTTL: i32 = 12;
    pub const RECVTOS: i32 = 13;
    pub const MTU: i32 = 14;
    pub const FREEBIND: i32 = 15;
    pub const TRANSPARENT: i32 = 19;
    pub const RECVORIGDSTADDR: i32 = 20;
    pub const MINTTL: i32 = 21;
    pub const BIND_ADDRESS_NO_PORT: i32 = 24;
    pub const MULTICAST_IF: i32 = 32;
    pub const MULTICAST_TTL: i32 = 33;
    pub const MULTICAST_LOOP: i32 = 34;
    pub const ADD_MEMBERSHIP: i32 = 35;
    pub const DROP_MEMBERSHIP: i32 = 36;
    pub const MULTICAST_ALL: i32 = 49;
    pub const UNICAST_IF: i32 = 50;
    pub const LOCAL_PORT_RANGE: i32 = 51;
}

/// `IPV6_*` options and control messages.
pub mod ipv6 {
    pub const UNICAST_HOPS: i32 = 16;
    pub const MULTICAST_IF: i32 = 17;
    pub const MULTICAST_HOPS: i32 = 18;
    pub const MULTICAST_LOOP: i32 = 19;
    pub const JOIN_GROUP: i32 = 20;
    pub const LEAVE_GROUP: i32 = 21;
    pub const MTU_DISCOVER: i32 = 23;
    pub const MTU: i32 = 24;
    pub const RECVERR: i32 = 25;
    pub const V6ONLY: i32 = 26;
    pub const RECVPKTINFO: i32 = 49;
    pub const PKTINFO: i32 = 50;
    pub const RECVHOPLIMIT: i32 = 51;
    pub const HOPLIMIT: i32 = 52;
    pub const RECVTCLASS: i32 = 66;
    pub const TCLASS: i32 = 67;
    pub const DONTFRAG: i32 = 62;
    pub const AUTOFLOWLABEL: i32 = 70;
    pub const FREEBIND: i32 = 78;
}

/// `TCP_*` options.
pub mod tcp {
    pub const NODELAY: i32 = 1;
    pub const MAXSEG: i32 = 2;
    pub const CORK: i32 = 3;
    pub const KEEPIDLE: i32 = 4;
    pub const KEEPINTVL: i32 = 5;
    pub const KEEPCNT: i32 = 6;
    pub const SYNCNT: i32 = 7;
    pub const LINGER2: i32 = 8;
    pub const DEFER_ACCEPT: i32 = 9;
    pub const WINDOW_CLAMP: i32 = 10;
    pub const INFO: i32 = 11;
    pub const QUICKACK: i32 = 12;
    pub const CONGESTION: i32 = 13;
    pub const USER_TIMEOUT: i32 = 18;
    pub const FASTOPEN: i32 = 23;
    pub const TIMESTAMP: i32 = 24;
    pub const NOTSENT_LOWAT: i32 = 25;
    pub const SAVED_SYN: i32 = 28;
    pub const FASTOPEN_CONNECT: i32 = 30;
    pub const ULP: i32 = 31;
    pub const INQ: i32 = 36;
}

/// `UDP_*` options.
pub mod udp {
    pub const SEND_CSCOV: i32 = 10;
    pub const RECV_CSCOV: i32 = 11;
    pub const CORK: i32 = 1;
    pub const NO_CHECK6_TX: i32 = 101;
    pub const NO_CHECK6_RX: i32 = 102;
    pub const SEGMENT: i32 = 103;
    pub const GRO: i32 = 104;
}

/// Socket and interface `ioctl(2)` requests.
pub mod sioc {
    pub const FIONREAD: u32 = 0x541b;
    pub const TIOCOUTQ: u32 = 0x5411;
    pub const FIOSETOWN: u32 = 0x8901;
    pub const SIOCSPGRP: u32 = 0x8902;
    pub const FIOGETOWN: u32 = 0x8903;
    pub const SIOCGPGRP: u32 = 0x8904;
    pub const SIOCATMARK: u32 = 0x8905;
    pub const SIOCGSTAMP_OLD: u32 = 0x8906;
    pub const SIOCGIFNAME: u32 = 0x8910;
    pub const SIOCGIFCONF: u32 = 0x8912;
    pub const SIOCGIFFLAGS: u32 = 0x8913;
    pub const SIOCSIFFLAGS: u32 = 0x8914;
    pub const SIOCGIFADDR: u32 = 0x8915;
    pub const SIOCSIFADDR: u32 = 0x8916;
    pub const SIOCGIFDSTADDR: u32 = 0x8917;
    pub const SIOCGIFBRDADDR: u32 = 0x8919;
    pub const SIOCGIFNETMASK: u32 = 0x891b;
    pub const SIOCGIFMETRIC: u32 = 0x891d;
    pub const SIOCGIFMTU: u32 = 0x8921;
    pub const SIOCGIFHWADDR: u32 = 0x8927;
    pub const SIOCGIFINDEX: u32 = 0x8933;
    pub const SIOCGIFTXQLEN: u32 = 0x8942;
    pub const SIOCETHTOOL: u32 = 0x8946;
    pub const SIOCGIFMAP: u32 = 0x8970;
}
