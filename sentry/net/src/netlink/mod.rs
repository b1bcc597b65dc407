//! `AF_NETLINK`: `NETLINK_ROUTE` tells of the loopback interface (dumps for `getifaddrs(3)`, `ip(8)`), `NETLINK_SOCK_DIAG`
//! of sockets (`ss(8)`), and
//! `NETLINK_KOBJECT_UEVENT` is there and stays silent (`man 7 netlink`). Other protocols are `EPROTONOSUPPORT`, as in a
//! kernel built without them.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use abi::Errno;
use abi::flags::Ready;
use sentry_sync::{Level, Mutex};

use crate::NetNamespace;
use crate::addr::{self, RawAddr};
use crate::opts::{bytes, int};
use crate::socket::{Caller, Caps, Control, Core, Incoming, Outgoing, Received, Shutdown, Socket, Ucred};
use crate::uapi::{MsgFlags, SockType, af, so, sol};
use crate::unix::dgram::copy_in;
use crate::unix::{INPUT, OUTPUT};

mod diag;
mod route;
pub(crate) mod wire;

const ROUTE: i32 = 0;
const SOCK_DIAG: i32 = 4;
const KOBJECT_UEVENT: i32 = 15;
/// One more than the highest protocol number.
const MAX_LINKS: i32 = 32;
/// Bytes of `struct sockaddr_nl`.
const ADDR_LEN: usize = 12;
/// Longest request taken.
const MAX_REQUEST: usize = 32 * 1024;

const ADD_MEMBERSHIP: i32 = 1;
const DROP_MEMBERSHIP: i32 = 2;
const LIST_MEMBERSHIPS: i32 = 9;
/// Options that are only remembered: packet info, errors, acknowledgement form, strict checks.
const SWITCHES: [i32; 6] = [3, 4, 5, 10, 11, 12];

/// Port ids in use: protocol and id.
pub(crate) struct Ports(Mutex<HashSet<(i32, u32)>>);

impl Ports {
    pub(crate) fn new() -> Ports {
        Ports(Mutex::new(Level::Leaf, HashSet::new()))
    }
}

#[derive(Default)]
struct State {
    port: Option<u32>,
    peer: (u32, u32),
    groups: u64,
    switches: u32,
}

#[derive(Default)]
struct Inbox {
    queue: VecDeque<Vec<u8>>,
    used: usize,
}

/// A netlink socket.
struct NetlinkSocket {
    core: Arc<Core>,
    state: Mutex<State>,
    inbox: Mutex<Inbox>,
}

/// Makes a socket: `ESOCKTNOSUPPORT`, `EPROTONOSUPPORT`.
pub(crate) fn socket(
    ns: &Arc<NetNamespace>,
    caller: &Caller<'_>,
    kind: SockType,
    protocol: i32,
) -> Result<Arc<dyn Socket>, Errno> {
    if !matches!(kind, SockType::Raw | SockType::Dgram) {
        return Err(Errno::ESOCKTNOSUPPORT);
    }
    if !(0..MAX_LINKS).contains(&protocol) || !matches!(protocol, ROUTE | SOCK_DIAG | KOBJECT_UEVENT) {
        return Err(Errno::EPROTONOSUPPORT);
    }
    Ok(Arc::new(NetlinkSocket {
        core: Core::new(ns, af::NETLINK, kind, protocol, caller.cred),
        state: Mutex::new(Level::Socket, State::default()),
        inbox: Mutex::new(Level::SocketQueue, Inbox::default()),
    }))
}

/// Reads a `sockaddr_nl`: (port, groups).
fn parse(raw: &[u8]) -> Result<(u32, u32), Errno> {
    let raw: &[u8; ADDR_LEN] = raw.first_chunk().ok_or(Errno::EINVAL)?;
    if addr::family(raw) != Some(af::NETLINK) {
        return Err(Errno::EINVAL);
    }
    let word = |at: usize| u32::from_ne_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]]);
    Ok((word(4), word(8)))
}

fn write(port: u32, groups: u32) -> RawAddr {
    let family = u32::from(af::NETLINK).to_ne_bytes();
    RawAddr::new(&[family, port.to_ne_bytes(), groups.to_ne_bytes()].concat())
}

impl NetlinkSocket {
    /// Takes a port id: the process id where it is free, else one from the top down.
    fn autobind(&self, state: &mut State, pid: i32) -> u32 {
        if let Some(port) = state.port {
            return port;
        }
        let mut ports = self.core.ns.netlink.0.lock();
        let mut port = u32::from_ne_bytes(pid.to_ne_bytes());
        let mut next = u32::MAX - 4096;
        while port == 0 || !ports.insert((self.core.protocol, port)) {
            port = next;
            next -= 1;
        }
        state.port = Some(port);
        port
    }

    fn bind_port(&self, state: &mut State, port: u32) -> Result<(), Errno> {
        match state.port {
            Some(bound) if bound == port => Ok(()),
            Some(_) => Err(Errno::EINVAL),
            None if !self.core.ns.netlink.0.lock().insert((self.core.protocol, port)) => Err(Errno::EADDRINUSE),
            None => {
                state.port = Some(port);
                Ok(())
            }
        }
    }

    /// Queues answers; what doesn't fit is lost and leaves `ENOBUFS`.
    fn answer(&self, answers: Vec<Vec<u8>>) {
        if answers.is_empty() {
            return;
        }
        let room = self.core.opts.lock().rcvbuf;
        let mut lost = false;
        {
            let mut inbox = self.inbox.lock();
            for answer in answers {
                if inbox.used >= room {
                    lost = true;
                    break;
                }
                inbox.used += answer.len() + crate::flow::overhead(answer.len());
                inbox.queue.push_back(answer);
            }
        }
        if lost {
            self.core.set_error(Errno::ENOBUFS);
        }
        self.core.wake(INPUT);
    }
}

impl Socket for NetlinkSocket {
    fn core(&self) -> &Arc<Core> {
        &self.core
    }

    fn ready(&self) -> Ready {
        let mut ready = OUTPUT;
        ready.set(Ready::ERR, self.core.has_error());
        ready.set(Ready::READABLE, !self.inbox.lock().queue.is_empty());
        ready
    }

    fn bind(&self, caller: &Caller<'_>, addr: &[u8]) -> Result<(), Errno> {
        let (port, groups) = parse(addr)?;
        let mut state = self.state.lock();
        if port == 0 {
            self.autobind(&mut state, caller.cred.pid);
        } else {
            self.bind_port(&mut state, port)?;
        }
        state.groups = (state.groups & !0xffff_ffff) | u64::from(groups);
        Ok(())
    }

    fn connect(&self, caller: &Caller<'_>, addr: &[u8]) -> Result<(), Errno> {
        let mut state = self.state.lock();
        if addr::family(addr).ok_or(Errno::EINVAL)? == af::UNSPEC {
            state.peer = (0, 0);
            return Ok(());
        }
        let (port, groups) = parse(addr)?;
        if (port != 0 || groups != 0) && !caller.caps.contains(Caps::NET_ADMIN) {
            return Err(Errno::EPERM);
        }
        state.peer = (port, groups);
        self.autobind(&mut state, caller.cred.pid);
        Ok(())
    }

    fn send(&self, caller: &Caller<'_>, message: &mut Outgoing<'_>) -> Result<usize, Errno> {
        if message.flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        let len = message.src.remaining();
        if len == 0 {
            return Err(Errno::ENODATA);
        }
        let (to, port) = {
            let mut state = self.state.lock();
            let to = match message.to {
                Some(raw) => parse(raw)?,
                None => state.peer,
            };
            (to, self.autobind(&mut state, caller.cred.pid))
        };
        if to != (0, 0) && !caller.caps.contains(Caps::NET_ADMIN) {
            return Err(Errno::EPERM);
        }
        let sndbuf = self.core.opts.lock().sndbuf;
        if len > sndbuf.saturating_sub(32).min(MAX_REQUEST) {
            return Err(Errno::EMSGSIZE);
        }
        let request = copy_in(message.src, len)?;
        // The kernel is the only peer there is; between processes these protocols say nothing.
        let admin = caller.caps.contains(Caps::NET_ADMIN);
        let answers = match self.core.protocol {
            ROUTE if to.0 == 0 => route::serve(self.core.ns.host(), &request, port, admin),
            SOCK_DIAG if to.0 == 0 => diag::serve(&self.core.ns, &request, port, admin),
            _ => {
                message.src.untake(len);
                return Err(Errno::ECONNREFUSED);
            }
        };
        self.answer(answers);
        Ok(len)
    }

    fn recv(&self, message: &mut Incoming<'_>) -> Result<Received, Errno> {
        let flags = message.flags;
        if flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        self.core.take_error()?;
        let passcred = self.core.opts.lock().has(so::PASSCRED);
        let mut inbox = self.inbox.lock();
        let data = inbox.queue.front().ok_or(Errno::EAGAIN)?;
        let want = data.len().min(message.dst.remaining());
        let got = if want == 0 { 0 } else { message.dst.put(&data[..want])? };
        if got < want {
            return Err(Errno::EFAULT);
        }
        let mut received = Received { len: got, from: Some(write(0, 0)), ..Received::default() };
        received.flags.set(MsgFlags::TRUNC, data.len() > got);
        if flags.contains(MsgFlags::TRUNC) {
            received.len = data.len();
        }
        if !flags.contains(MsgFlags::PEEK)
            && let Some(taken) = inbox.queue.pop_front()
        {
            inbox.used -= (taken.len() + crate::flow::overhead(taken.len())).min(inbox.used);
        }
        if passcred {
            received.control.push(Control::Credentials(Ucred::default()));
        }
        Ok(received)
    }

    fn shutdown(&self, _how: Shutdown) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    fn local_name(&self) -> Result<RawAddr, Errno> {
        let state = self.state.lock();
        Ok(write(state.port.unwrap_or(0), u32::try_from(state.groups & 0xffff_ffff).unwrap_or(0)))
    }

    fn peer_name(&self) -> Result<RawAddr, Errno> {
        let (port, groups) = self.state.lock().peer;
        Ok(write(port, groups))
    }

    fn set_option(&self, _caller: &Caller<'_>, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
        if level != sol::NETLINK {
            return Err(Errno::ENOPROTOOPT);
        }
        let number = int(value)?;
        let mut state = self.state.lock();
        match name {
            ADD_MEMBERSHIP | DROP_MEMBERSHIP => {
                if !(1..=64).contains(&number) {
                    return Err(Errno::EINVAL);
                }
                let bit = 1_u64 << (number - 1);
                state.groups = if name == ADD_MEMBERSHIP { state.groups | bit } else { state.groups & !bit };
            }
            _ if SWITCHES.contains(&name) => {
                let bit = 1_u32 << name;
                state.switches = if number != 0 { state.switches | bit } else { state.switches & !bit };
            }
            _ => return Err(Errno::ENOPROTOOPT),
        }
        Ok(())
    }

    fn get_option(&self, level: i32, name: i32, _len: usize) -> Result<Vec<u8>, Errno> {
        let state = self.state.lock();
        match name {
            _ if level != sol::NETLINK => Err(Errno::ENOPROTOOPT),
            LIST_MEMBERSHIPS => Ok(state.groups.to_ne_bytes().to_vec()),
            _ if SWITCHES.contains(&name) => Ok(bytes(i32::from(state.switches >> name & 1 == 1))),
            _ => Err(Errno::ENOPROTOOPT),
        }
    }

    fn inq(&self) -> Result<usize, Errno> {
        Err(Errno::ENOTTY)
    }

    fn outq(&self) -> Result<usize, Errno> {
        Err(Errno::ENOTTY)
    }

    fn close(&self) {
        let port = self.state.lock().port.take();
        if let Some(port) = port {
            self.core.ns.netlink.0.lock().remove(&(self.core.protocol, port));
        }
    }
}

#[cfg(test)]
mod tests;
