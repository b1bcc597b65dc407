//! `NETLINK_SOCK_DIAG`: sockets listed for `ss(8)` (`man 7 sock_diag`). Internet sockets are listed once they have a port,
//! unix sockets once they have a name, as in `/proc/net`.
//!
//! Filters that a request carries as byte code are not run: `ss` looks at what it gets once more itself.

use std::net::IpAddr;
use std::sync::Arc;

use abi::Errno;

use super::wire::{self, Message, Request};
use crate::NetNamespace;
use crate::addr::{self, InetAddr, UnixName};
use crate::proc::{self, Listed};
use crate::socket::Socket;
use crate::uapi::{af, ipproto, ipv6, sol};
use crate::unix::Found;

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
/// States as in `enum` of `include/net/tcp_states.h`.
const ESTABLISHED: u8 = 1;
const CLOSE: u8 = 7;
const LISTEN: u8 = 10;
/// `INET_DIAG_SHUTDOWN`, `INET_DIAG_SKV6ONLY`.
const SHUTDOWN: u16 = 8;
const SKV6ONLY: u16 = 11;
/// `UDIAG_SHOW_NAME`, `_PEER`, `_RQLEN`, and the attributes that answer them.
const SHOW_NAME: u32 = 1;
const SHOW_PEER: u32 = 4;
const SHOW_RQLEN: u32 = 0x10;
const NAME: u16 = 0;
const PEER: u16 = 2;
const RQLEN: u16 = 4;
const UNIX_SHUTDOWN: u16 = 6;
/// `AF_MAX`.
const FAMILIES: u16 = 46;
/// Bytes of answers in one datagram.
const DATAGRAM: usize = 4096;

/// Serves the requests of one datagram; returns the datagrams of the answer.
pub(super) fn serve(ns: &NetNamespace, mut request: &[u8], port: u32, admin: bool) -> Vec<Vec<u8>> {
    let mut answers = Vec::new();
    while let Some(one) = wire::next(&mut request) {
        if one.flags & wire::REQUEST == 0 || one.kind < wire::MIN_TYPE {
            continue;
        }
        let dump = one.flags & wire::DUMP == wire::DUMP;
        match find(ns, &one, dump, port, admin) {
            Ok(found) if dump => {
                answers.extend(packed(found));
                answers.push(done(&one, port, 0));
            }
            // A list that can't be made ends with the error.
            Err(Errno::ENOENT) if dump && is_internet(&one) => answers.push(done(&one, port, -Errno::ENOENT.raw())),
            Ok(found) => answers.extend(found),
            Err(errno) => answers.push(wire::status(&one, port, Err(errno))),
        }
    }
    answers
}

fn done(request: &Request<'_>, port: u32, status: i32) -> Vec<u8> {
    Message::new(wire::DONE, wire::MULTI, request.seq, port).body(&status.to_ne_bytes()).finish()
}

fn is_internet(request: &Request<'_>) -> bool {
    request.body.first().is_some_and(|family| matches!(u16::from(*family), af::INET | af::INET6))
}

/// Puts messages together into datagrams.
fn packed(messages: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut datagrams: Vec<Vec<u8>> = Vec::new();
    for message in messages {
        match datagrams.last_mut().filter(|last| last.len() + message.len() <= DATAGRAM) {
            Some(last) => last.extend(message),
            None => datagrams.push(message),
        }
    }
    datagrams
}

/// Returns the messages about the sockets that are asked for. `EINVAL`, `ENOENT` for families and protocols that tell
/// nothing, and for a single socket that isn't there.
fn find(ns: &NetNamespace, request: &Request<'_>, dump: bool, port: u32, admin: bool) -> Result<Vec<Vec<u8>>, Errno> {
    match request.kind {
        SOCK_DIAG_BY_FAMILY => {}
        SOCK_DESTROY if !admin => return Err(Errno::EPERM),
        SOCK_DESTROY => return Err(Errno::EOPNOTSUPP),
        _ => return Err(Errno::EINVAL),
    }
    let flags = if dump { wire::MULTI } else { 0 };
    let start = || Message::new(SOCK_DIAG_BY_FAMILY, flags, request.seq, port);
    let family = request.body.first().map(|family| u16::from(*family)).ok_or(Errno::EINVAL)?;
    match family {
        af::INET | af::INET6 => {
            let asked = Inet::parse(request.body)?;
            let sockets = match i32::from(asked.protocol) {
                ipproto::TCP => ns.tcp_sockets(family),
                ipproto::UDP => ns.udp_sockets(family),
                ipproto::UDPLITE => proc::listed(&ns.ports.udplite, family),
                _ => return Err(Errno::ENOENT),
            };
            let wanted = sockets.iter().filter(|listed| if dump { asked.lists(listed) } else { asked.names(listed) });
            let found: Vec<_> = wanted.map(|listed| inet(start(), family, listed)).collect();
            if dump || !found.is_empty() { Ok(found) } else { Err(Errno::ENOENT) }
        }
        af::UNIX => {
            let asked = Unix::parse(request.body)?;
            if !dump && asked.ino == 0 {
                return Err(Errno::EINVAL);
            }
            let found: Vec<_> = ns.unix.list().iter().filter_map(|found| unix(&start, found, &asked, dump)).collect();
            if dump || !found.is_empty() { Ok(found) } else { Err(Errno::ENOENT) }
        }
        FAMILIES.. => Err(Errno::EINVAL),
        _ => Err(Errno::ENOENT),
    }
}

fn word(raw: &[u8], at: usize) -> u32 {
    raw.get(at..at + 4).and_then(|raw| raw.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

fn is_set(states: u32, state: u8) -> bool {
    states.checked_shr(state.into()).unwrap_or(0) & 1 == 1
}

/// Returns bytes to receive and to send, of a listener connections that wait and may wait.
fn queues(socket: &dyn Socket) -> (usize, usize) {
    socket.backlog().unwrap_or_else(|| proc::queues(socket))
}

/// `struct inet_diag_req_v2`, as far as it is looked at.
struct Inet {
    protocol: u8,
    states: u32,
    /// Ports, of which 0 is any in a list.
    ports: (u16, u16),
}

impl Inet {
    fn parse(raw: &[u8]) -> Result<Inet, Errno> {
        let raw: &[u8; 56] = raw.first_chunk().ok_or(Errno::EINVAL)?;
        let port = |at: usize| u16::from_be_bytes([raw[at], raw[at + 1]]);
        Ok(Inet { protocol: raw[1], states: word(raw, 4), ports: (port(8), port(10)) })
    }

    /// Tells whether a socket belongs into a list.
    fn lists(&self, listed: &Listed) -> bool {
        let remote = listed.remote.map_or(0, |addr| addr.port);
        is_set(self.states, listed.state)
            && (self.ports.0 == 0 || self.ports.0 == listed.local.port)
            && (self.ports.1 == 0 || self.ports.1 == remote)
    }

    /// Tells whether this socket is asked for alone.
    fn names(&self, listed: &Listed) -> bool {
        self.ports == (listed.local.port, listed.remote.map_or(0, |addr| addr.port))
    }
}

/// `struct inet_diag_msg` and what follows it.
fn inet(message: Message, family: u16, listed: &Listed) -> Vec<u8> {
    let core = listed.socket.core();
    let octets = |addr: Option<InetAddr>| -> [u8; 16] {
        match addr.map(|addr| addr.ip) {
            Some(IpAddr::V4(ip)) if family == af::INET => {
                let [a, b, c, d] = ip.octets();
                [a, b, c, d, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
            }
            Some(ip) => addr::map(ip).octets(),
            None => [0; 16],
        }
    };
    let (received, unsent) = queues(&*listed.socket);
    let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX).to_ne_bytes();
    let mut head = vec![u8::try_from(family).unwrap_or(0), listed.state, 0, 0];
    head.extend(listed.local.port.to_be_bytes());
    head.extend(listed.remote.map_or(0, |addr| addr.port).to_be_bytes());
    head.extend(octets(Some(listed.local)));
    head.extend(octets(listed.remote));
    // No device; the cookie is the socket's number.
    head.extend([0; 4]);
    head.extend(core.id.to_ne_bytes());
    head.extend([0; 4]);
    head.extend(number(received));
    head.extend(number(unsent));
    head.extend(core.creator.uid.to_ne_bytes());
    head.extend(u32::try_from(core.id).unwrap_or(0).to_ne_bytes());
    let message = message.body(&head).attr(SHUTDOWN, &[0]);
    if family == af::INET {
        return message.finish();
    }
    let v6only = listed.socket.get_option(sol::IPV6, ipv6::V6ONLY, 4).is_ok_and(|on| on != [0; 4]);
    message.attr(SKV6ONLY, &[u8::from(v6only)]).finish()
}

/// `struct unix_diag_req`.
struct Unix {
    states: u32,
    ino: u32,
    show: u32,
}

impl Unix {
    fn parse(raw: &[u8]) -> Result<Unix, Errno> {
        let raw: &[u8; 24] = raw.first_chunk().ok_or(Errno::EINVAL)?;
        Ok(Unix { states: word(raw, 4), ino: word(raw, 8), show: word(raw, 12) })
    }
}

/// `struct unix_diag_msg` and what is asked for; `None` for a socket that isn't.
fn unix(start: &dyn Fn() -> Message, found: &Found, asked: &Unix, dump: bool) -> Option<Vec<u8>> {
    let (socket, name): (Arc<dyn Socket>, _) = match found {
        Found::Stream(socket) => (Arc::clone(socket) as _, socket.name()),
        Found::Dgram(socket) => (Arc::clone(socket) as _, socket.name()),
    };
    let core = socket.core();
    let ino = u32::try_from(core.id).unwrap_or(0);
    let state = match () {
        () if socket.is_listening() => LISTEN,
        () if socket.peer_name().is_ok() => ESTABLISHED,
        () => CLOSE,
    };
    let wanted = if dump { is_set(asked.states, state) } else { asked.ino == ino };
    if !wanted {
        return None;
    }
    let mut head = vec![u8::try_from(af::UNIX).unwrap_or(0), core.kind as u8, state, 0];
    head.extend(ino.to_ne_bytes());
    head.extend(core.id.to_ne_bytes());
    let mut message = start().body(&head);
    if asked.show & SHOW_NAME != 0 {
        message = match name.as_deref() {
            Some(UnixName::Path(path)) => message.attr(NAME, &[path, &b"\0"[..]].concat()),
            Some(UnixName::Abstract(name)) => message.attr(NAME, &[&b"\0"[..], name].concat()),
            None => message,
        };
    }
    if asked.show & SHOW_RQLEN != 0 {
        let (received, unsent) = queues(&*socket);
        let pair = [received, unsent].map(|value| u32::try_from(value).unwrap_or(u32::MAX).to_ne_bytes());
        message = message.attr(RQLEN, pair.as_flattened());
    }
    if asked.show & SHOW_PEER != 0
        && let Some(peer) = socket.peer_id()
    {
        message = message.attr_u32(PEER, u32::try_from(peer).unwrap_or(0));
    }
    Some(message.attr(UNIX_SHUTDOWN, &[0]).finish())
}
