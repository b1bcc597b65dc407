//! `AF_INET` and `AF_INET6` over the sandbox's own loopback: TCP and UDP.
//!
//! TCP connections are stream buffers between two sockets ([`crate::flow`]), not packets; UDP is a queue of datagrams.
//! Key types: [`tcp::TcpSocket`], [`udp::UdpSocket`], [`Ports`], [`options::IpOptions`]. Only addresses of the loopback
//! interface can be reached: 127.0.0.0/8 and ::1.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use abi::Errno;

use crate::NetNamespace;
use crate::addr::{self, InetAddr, RawAddr};
use crate::socket::{Caller, Caps, Core, Socket};
use crate::uapi::{SockType, af, ipproto};

mod options;
mod ports;
pub(crate) mod tcp;
mod tcp_link;
mod tcp_options;
pub(crate) mod udp;

#[cfg(test)]
mod tests;

pub(crate) use ports::{Ports, Table};

/// Makes a socket: in Linux's order `ESOCKTNOSUPPORT`, `EPROTONOSUPPORT`, `EPERM`, `EACCES`.
pub(crate) fn socket(
    ns: &Arc<NetNamespace>,
    caller: &Caller<'_>,
    domain: u16,
    kind: SockType,
    protocol: i32,
) -> Result<Arc<dyn Socket>, Errno> {
    match (kind, protocol) {
        (SockType::Stream, ipproto::IP | ipproto::TCP) => Ok(tcp::TcpSocket::new(ns, domain, caller.cred)),
        (SockType::Dgram, ipproto::IP | ipproto::UDP) => Ok(udp::UdpSocket::new(ns, domain, ipproto::UDP, caller.cred)),
        (SockType::Dgram, ipproto::UDPLITE) => Ok(udp::UdpSocket::new(ns, domain, protocol, caller.cred)),
        // Ping sockets are for the groups of net.ipv4.ping_group_range, by default none.
        (SockType::Dgram, protocol) if protocol == icmp(domain) => Err(Errno::EACCES),
        (SockType::Raw, ipproto::IP) => Err(Errno::EPROTONOSUPPORT),
        (SockType::Raw, _) if !caller.caps.contains(Caps::NET_RAW) => Err(Errno::EPERM),
        (SockType::Stream | SockType::Dgram | SockType::Raw, _) => Err(Errno::EPROTONOSUPPORT),
        _ => Err(Errno::ESOCKTNOSUPPORT),
    }
}

/// The protocol of ping sockets of a family.
pub(crate) fn icmp(domain: u16) -> i32 {
    if domain == af::INET { ipproto::ICMP } else { ipproto::ICMPV6 }
}

/// The wildcard address of a family.
pub(crate) fn any(domain: u16) -> IpAddr {
    if domain == af::INET { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) }
}

/// What the sandbox thinks of a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    Local,
    Broadcast,
    Multicast,
    Nowhere,
}

/// Judges a destination; the wildcard means this host.
pub(crate) fn reach(ip: IpAddr) -> Reach {
    match ip {
        IpAddr::V4(ip) if ip == Ipv4Addr::new(127, 255, 255, 255) || ip == Ipv4Addr::new(127, 0, 0, 0) => {
            Reach::Broadcast
        }
        IpAddr::V4(ip) if ip.is_loopback() || ip.is_unspecified() => Reach::Local,
        IpAddr::V6(ip) if ip.is_loopback() || ip.is_unspecified() => Reach::Local,
        ip if ip.is_multicast() => Reach::Multicast,
        _ => Reach::Nowhere,
    }
}

/// Returns the address that a wildcard destination stands for, or the address itself.
pub(crate) fn destination(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    }
}

/// Returns the source address for a destination.
pub(crate) fn source_for(dst: IpAddr) -> IpAddr {
    match dst {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
    }
}

/// Parses and judges the address of a `bind`: `EINVAL`, `EAFNOSUPPORT`, `EADDRNOTAVAIL`, `EACCES`.
pub(crate) fn bind_addr(
    core: &Core,
    caller: &Caller<'_>,
    raw: &[u8],
    v6only: bool,
    freebind: bool,
) -> Result<InetAddr, Errno> {
    let family = addr::family(raw).ok_or(Errno::EINVAL)?;
    let addr = if core.domain == af::INET {
        let addr = InetAddr::parse_v4(raw)?;
        if family != af::INET && !(family == af::UNSPEC && addr.ip.is_unspecified()) {
            return Err(Errno::EAFNOSUPPORT);
        }
        addr
    } else {
        let addr = InetAddr::parse_v6(raw)?;
        if family != af::INET6 {
            return Err(Errno::EAFNOSUPPORT);
        }
        if v6only && addr.ip.is_ipv4() {
            return Err(Errno::EINVAL);
        }
        addr
    };
    let limited = matches!(addr.ip, IpAddr::V4(ip) if ip.is_broadcast());
    if reach(addr.ip) == Reach::Nowhere && !limited && !freebind {
        return Err(Errno::EADDRNOTAVAIL);
    }
    let low = addr.port != 0 && u32::from(addr.port) < core.ns.unprivileged_port();
    if low && !caller.caps.contains(Caps::NET_BIND_SERVICE) {
        return Err(Errno::EACCES);
    }
    Ok(addr)
}

/// Parses the address of a `connect` or `sendto`: `EINVAL`, `EAFNOSUPPORT`, `ENETUNREACH` for IPv4 on an IPv6-only
/// socket.
pub(crate) fn peer_addr(core: &Core, raw: &[u8], v6only: bool) -> Result<InetAddr, Errno> {
    let family = addr::family(raw).ok_or(Errno::EINVAL)?;
    if core.domain == af::INET {
        let addr = InetAddr::parse_v4(raw)?;
        return if family == af::INET { Ok(addr) } else { Err(Errno::EAFNOSUPPORT) };
    }
    let addr = InetAddr::parse_v6(raw)?;
    if family != af::INET6 {
        return Err(Errno::EAFNOSUPPORT);
    }
    if v6only && addr.ip.is_ipv4() {
        return Err(Errno::ENETUNREACH);
    }
    Ok(addr)
}

/// Writes a local or remote address in the socket's family; `None` is the wildcard with port 0.
pub(crate) fn write_addr(core: &Core, addr: Option<InetAddr>) -> RawAddr {
    let addr = addr.unwrap_or(InetAddr::new(any(core.domain), 0));
    // An IPv6 socket shows the IPv4 wildcard that it shares as its own.
    let shown = if core.domain == af::INET6 && addr.ip == IpAddr::V4(Ipv4Addr::UNSPECIFIED) && addr.port == 0 {
        InetAddr { ip: any(af::INET6), ..addr }
    } else {
        addr
    };
    shown.write(core.domain)
}
