//! `NETLINK_ROUTE`: what there is to know of a machine with nothing but a loopback interface (`man 7 rtnetlink`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use abi::Errno;

use super::wire::{self, Message, Request};
use crate::HostNet;
use crate::inet::{Reach, reach};
use crate::ioctl::{LOOPBACK_FLAGS, LOOPBACK_INDEX, LOOPBACK_MTU};
use crate::uapi::af;

const NEWLINK: u16 = 16;
const DELLINK: u16 = 17;
const GETLINK: u16 = 18;
const SETLINK: u16 = 19;
const NEWADDR: u16 = 20;
const GETADDR: u16 = 22;
const NEWROUTE: u16 = 24;
const GETROUTE: u16 = 26;
const GETNEIGH: u16 = 30;
const NEWRULE: u16 = 32;
const GETRULE: u16 = 34;
/// `RT_TABLE_LOCAL`, `RT_TABLE_MAIN`, `RT_TABLE_DEFAULT`.
const TABLES: [(u8, u32); 3] = [(255, 0), (254, 32_766), (253, 32_767)];
/// `IFF_LOWER_UP`.
const LOWER_UP: u32 = 0x1_0000;
/// `RT_SCOPE_HOST`.
const SCOPE_HOST: u8 = 254;
/// `IFA_F_PERMANENT`.
const PERMANENT: u8 = 0x80;

/// Where answers go.
#[derive(Clone, Copy)]
struct Reply {
    flags: u16,
    seq: u32,
    port: u32,
}

impl Reply {
    fn message(self, kind: u16) -> Message {
        Message::new(kind, self.flags, self.seq, self.port)
    }
}

/// Serves the requests of one datagram; returns the datagrams of the answer.
pub(super) fn serve(host: Option<&Arc<HostNet>>, mut request: &[u8], port: u32, admin: bool) -> Vec<Vec<u8>> {
    let mut answers = Vec::new();
    while let Some(one) = wire::next(&mut request) {
        if one.flags & wire::REQUEST == 0 || one.kind < wire::MIN_TYPE {
            if one.flags & wire::ACK != 0 && one.kind <= wire::NOOP {
                answers.push(wire::status(&one, port, Ok(())));
            }
            continue;
        }
        let dump = one.flags & wire::DUMP == wire::DUMP && (one.kind - wire::MIN_TYPE) % 4 == 2;
        let reply = Reply { flags: if dump { wire::MULTI } else { 0 }, seq: one.seq, port };
        match find(host, &one, dump, reply, admin) {
            Ok(found) => {
                answers.extend(found);
                if dump {
                    answers.push(reply.message(wire::DONE).body(&0_i32.to_ne_bytes()).finish());
                } else if one.flags & wire::ACK != 0 {
                    answers.push(wire::status(&one, port, Ok(())));
                }
            }
            Err(errno) => answers.push(wire::status(&one, port, Err(errno))),
        }
    }
    answers
}

/// Returns the datagrams with what was asked for.
fn find(
    host: Option<&Arc<HostNet>>,
    request: &Request<'_>,
    dump: bool,
    reply: Reply,
    admin: bool,
) -> Result<Vec<Vec<u8>>, Errno> {
    let Some(host) = host else {
        let data = if dump { self::dump(request, reply)? } else { single(request, reply, admin)? };
        return Ok(if data.is_empty() { Vec::new() } else { vec![data] });
    };
    match crate::host::route(host, request, dump, reply.port) {
        Some(answer) => answer,
        // The network is the engine's to configure.
        None if (request.kind - wire::MIN_TYPE) % 4 != 2 => Err(Errno::EPERM),
        None => Err(Errno::EOPNOTSUPP),
    }
}

/// Lists everything of a kind, of one family or all.
fn dump(request: &Request<'_>, reply: Reply) -> Result<Vec<u8>, Errno> {
    let family = request.body.first().copied().unwrap_or(0);
    let wants = |which: u16| family == 0 || u16::from(family) == which;
    let mut data = Vec::new();
    match request.kind {
        GETLINK => data.extend(link(reply)),
        GETADDR => {
            if wants(af::INET) {
                data.extend(address(reply, IpAddr::V4(Ipv4Addr::LOCALHOST), 8));
            }
            if wants(af::INET6) {
                data.extend(address(reply, IpAddr::V6(Ipv6Addr::LOCALHOST), 128));
            }
        }
        GETROUTE => {
            if wants(af::INET) {
                let source = Some(Ipv4Addr::LOCALHOST);
                data.extend(route_v4(reply, Ipv4Addr::new(127, 0, 0, 0), 8, 2, source));
                data.extend(route_v4(reply, Ipv4Addr::LOCALHOST, 32, 2, source));
                data.extend(route_v4(reply, Ipv4Addr::new(127, 255, 255, 255), 32, 3, source));
            }
            if wants(af::INET6) {
                data.extend(route(reply, IpAddr::V6(Ipv6Addr::LOCALHOST), 128, 2, SCOPE_HOST - 254, None));
            }
        }
        GETNEIGH => {}
        GETRULE => {
            for (table, priority) in TABLES {
                let shown = if family == 0 { 2 } else { family };
                let head = [shown, 0, 0, 0, table, 0, 0, 1, 0, 0, 0, 0];
                let rule = reply.message(NEWRULE).body(&head).attr_u32(15, u32::from(table));
                let rule = rule.attr_u32(14, u32::MAX);
                data.extend(if priority == 0 { rule } else { rule.attr_u32(6, priority) }.finish());
            }
        }
        _ => return Err(Errno::EOPNOTSUPP),
    }
    Ok(data)
}

/// Answers a question for one object, or a request for change.
fn single(request: &Request<'_>, reply: Reply, admin: bool) -> Result<Vec<u8>, Errno> {
    match request.kind {
        GETLINK => {
            let head: &[u8; 16] = request.body.first_chunk().ok_or(Errno::EINVAL)?;
            let index = u32::from_ne_bytes([head[4], head[5], head[6], head[7]]);
            let name = wire::attributes(&request.body[16..]).find(|(kind, _)| *kind == 3).map(|(_, name)| name);
            match (index, name) {
                (LOOPBACK_INDEX, _) | (0, Some(b"lo\0" | b"lo")) => Ok(link(reply)),
                (0, None) => Err(Errno::EINVAL),
                _ => Err(Errno::ENODEV),
            }
        }
        GETROUTE => {
            let head: &[u8; 12] = request.body.first_chunk().ok_or(Errno::EINVAL)?;
            let wanted = wire::attributes(&request.body[12..]).find(|(kind, _)| *kind == 1).map(|(_, addr)| addr);
            let ip = match (u16::from(head[0]), wanted) {
                (af::INET, Some(&[a, b, c, d])) => IpAddr::from([a, b, c, d]),
                (af::INET6, Some(raw)) => match raw.first_chunk::<16>() {
                    Some(raw) => IpAddr::from(*raw),
                    None => return Err(Errno::EINVAL),
                },
                _ => return Err(Errno::EINVAL),
            };
            match (reach(ip), ip) {
                (Reach::Local, IpAddr::V4(ip)) => Ok(route_of(reply, ip)),
                (Reach::Local, ip) => Ok(route(reply, ip, 128, 2, 0, None)),
                _ => Err(Errno::ENETUNREACH),
            }
        }
        // Linux asks for the right before anything else of what changes state.
        kind if (kind - wire::MIN_TYPE) % 4 != 2 && !admin => Err(Errno::EPERM),
        NEWLINK | SETLINK => {
            let head: &[u8; 16] = request.body.first_chunk().ok_or(Errno::EINVAL)?;
            let word = |at: usize| u32::from_ne_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
            match (word(4), word(8) & word(12), word(12)) {
                // Putting the interface up, which it is.
                (LOOPBACK_INDEX, flags, change) if change & !1 == 0 && flags == change => Ok(Vec::new()),
                (0 | LOOPBACK_INDEX, ..) => Err(Errno::EOPNOTSUPP),
                _ => Err(Errno::ENODEV),
            }
        }
        DELLINK => Err(Errno::EOPNOTSUPP),
        NEWADDR => {
            let loopback = wire::attributes(request.body.get(8..).unwrap_or(&[]))
                .any(|(kind, addr)| kind <= 2 && (addr == [127, 0, 0, 1] || addr == Ipv6Addr::LOCALHOST.octets()));
            Err(if loopback { Errno::EEXIST } else { Errno::EOPNOTSUPP })
        }
        _ => Err(Errno::EOPNOTSUPP),
    }
}

/// `RTM_NEWLINK` of `lo`.
fn link(reply: Reply) -> Vec<u8> {
    let mut head = [0; 16];
    head[2..4].copy_from_slice(&772_u16.to_ne_bytes()); // ARPHRD_LOOPBACK
    head[4..8].copy_from_slice(&LOOPBACK_INDEX.to_ne_bytes());
    head[8..12].copy_from_slice(&(u32::from(LOOPBACK_FLAGS) | LOWER_UP).to_ne_bytes());
    let message = reply.message(NEWLINK).body(&head);
    let message = message.attr(3, b"lo\0").attr_u32(13, 1000).attr(16, &[0]).attr(17, &[0]);
    let message = message.attr_u32(4, LOOPBACK_MTU).attr_u32(50, 0).attr_u32(51, 0).attr_u32(27, 0);
    let message = message.attr_u32(30, 0).attr_u32(31, 1).attr_u32(32, 1).attr(33, &[1]).attr(6, b"noqueue\0");
    let message = message.attr(1, &[0; 6]).attr(2, &[0; 6]);
    message.attr(23, &[0; 200]).attr(7, &[0; 96]).finish()
}

/// `RTM_NEWADDR`.
fn address(reply: Reply, ip: IpAddr, prefix: u8) -> Vec<u8> {
    let family = if ip.is_ipv4() { af::INET } else { af::INET6 };
    let mut head = [u8::try_from(family).unwrap_or(0), prefix, PERMANENT, SCOPE_HOST, 0, 0, 0, 0];
    head[4..].copy_from_slice(&LOOPBACK_INDEX.to_ne_bytes());
    let message = reply.message(NEWADDR).body(&head);
    let message = match ip {
        IpAddr::V4(ip) => message.attr(1, &ip.octets()).attr(2, &ip.octets()).attr(3, b"lo\0"),
        IpAddr::V6(ip) => message.attr(1, &ip.octets()),
    };
    let forever = [[0xff; 8], [0; 8]].concat();
    message.attr_u32(8, u32::from(PERMANENT)).attr(6, &forever).finish()
}

fn route_v4(reply: Reply, dst: Ipv4Addr, prefix: u8, kind: u8, source: Option<Ipv4Addr>) -> Vec<u8> {
    // Broadcasts have link scope.
    let scope = if kind == 3 { 253 } else { SCOPE_HOST };
    route(reply, IpAddr::V4(dst), prefix, kind, scope, source)
}

/// `RTM_NEWROUTE` for one local address: a route as it was found, not as it stands in the table.
fn route_of(reply: Reply, ip: Ipv4Addr) -> Vec<u8> {
    /// `RTM_F_CLONED`, `RTCF_LOCAL`.
    const FLAGS: u32 = 0x200 | 0x8000_0000;
    // The kernel names the main table here, though it has found the address in the local one.
    let (table, _) = TABLES[1];
    let mut head = [u8::try_from(af::INET).unwrap_or(0), 32, 0, 0, table, 0, 0, 2, 0, 0, 0, 0];
    head[8..].copy_from_slice(&FLAGS.to_ne_bytes());
    let message = reply.message(NEWROUTE).body(&head).attr_u32(15, u32::from(table)).attr(1, &ip.octets());
    message.attr_u32(4, LOOPBACK_INDEX).attr(7, &Ipv4Addr::LOCALHOST.octets()).attr(12, &[0; 32]).finish()
}

/// `RTM_NEWROUTE` in the local table; `kind` is `RTN_LOCAL` or `RTN_BROADCAST`.
fn route(reply: Reply, dst: IpAddr, prefix: u8, kind: u8, scope: u8, source: Option<Ipv4Addr>) -> Vec<u8> {
    let family = if dst.is_ipv4() { af::INET } else { af::INET6 };
    let kernel = 2; // RTPROT_KERNEL
    let head = [u8::try_from(family).unwrap_or(0), prefix, 0, 0, TABLES[0].0, kernel, scope, kind, 0, 0, 0, 0];
    let message = reply.message(NEWROUTE).body(&head).attr_u32(15, u32::from(TABLES[0].0));
    let message = match dst {
        IpAddr::V4(ip) => message.attr(1, &ip.octets()),
        IpAddr::V6(ip) => message.attr(1, &ip.octets()).attr_u32(6, 0),
    };
    let message = match source {
        Some(source) => message.attr(7, &source.octets()),
        None => message,
    };
    message.attr_u32(4, LOOPBACK_INDEX).finish()
}
