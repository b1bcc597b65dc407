//! UDP sockets over loopback.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Weak};

use abi::Errno;
use abi::flags::Ready;
use sentry_sync::{Level, Mutex};

use crate::NetNamespace;
use crate::addr::{self, InetAddr, RawAddr};
use crate::flow::overhead;
use crate::inet::options::{IpOptions, Situation};
use crate::inet::ports::{Binding, Table};
use crate::inet::{self, Reach};
use crate::ioctl::LOOPBACK_INDEX;
use crate::opts::{bytes, int};
use crate::socket::{Caller, Control, Core, Incoming, Outgoing, Received, Shutdown, Socket, Ucred};
use crate::stamp::Stamp;
use crate::uapi::{MsgFlags, SockType, af, ip, ipproto, ipv6, so, sol, udp};
use crate::unix::dgram::copy_in;
use crate::unix::{HANGUP, INPUT, OUTPUT};

/// Longest payload of IPv4 and of IPv6.
const MAX_V4: usize = 65_507;
const MAX_V6: usize = 65_527 - 40;

struct Datagram {
    data: Vec<u8>,
    from: InetAddr,
    to: InetAddr,
    ttl: i32,
    tos: i32,
    stamp: Stamp,
}

#[derive(Default)]
struct Inbox {
    queue: VecDeque<Datagram>,
    used: usize,
    closed: bool,
}

#[derive(Default)]
struct State {
    local: Option<InetAddr>,
    bound: bool,
    peer: Option<InetAddr>,
    shut_read: bool,
    shut_write: bool,
}

/// A UDP socket.
pub(crate) struct UdpSocket {
    core: Arc<Core>,
    me: Weak<UdpSocket>,
    state: Mutex<State>,
    inbox: Mutex<Inbox>,
    ip: Mutex<IpOptions>,
    /// UDP-Lite's checksum coverage for sending and receiving, bytes.
    coverage: Mutex<[i32; 2]>,
}

impl UdpSocket {
    /// Makes a socket of UDP or UDP-Lite.
    pub(crate) fn new(ns: &Arc<NetNamespace>, domain: u16, protocol: i32, cred: Ucred) -> Arc<UdpSocket> {
        let core = Core::new(ns, domain, SockType::Dgram, protocol, cred);
        Arc::new_cyclic(|me| UdpSocket {
            core,
            me: me.clone(),
            state: Mutex::new(Level::Socket, State::default()),
            inbox: Mutex::new(Level::SocketQueue, Inbox::default()),
            ip: Mutex::new(Level::Leaf, IpOptions::default()),
            coverage: Mutex::new(Level::Leaf, [0; 2]),
        })
    }

    fn is_lite(&self) -> bool {
        self.core.protocol == ipproto::UDPLITE
    }

    fn table(&self) -> &Table<UdpSocket> {
        let ports = &self.core.ns.ports;
        if self.is_lite() { &ports.udplite } else { &ports.udp }
    }

    fn bind_to(&self, state: &mut State, addr: InetAddr) -> Result<InetAddr, Errno> {
        let (reuse, reuseport) = {
            let opts = self.core.opts.lock();
            (opts.has(so::REUSEADDR), opts.has(so::REUSEPORT))
        };
        let binding = Binding {
            id: self.core.id,
            ip: addr.ip,
            v6only: self.ip.lock().v6only(),
            reuse,
            reuseport,
            uid: self.core.creator.uid,
            listening: false,
            peer: None,
            socket: self.me.clone(),
        };
        let port = self.table().bind(addr.port, binding)?;
        let local = InetAddr { port, ..addr };
        state.local = Some(local);
        Ok(local)
    }

    fn autobind(&self, state: &mut State) -> Result<InetAddr, Errno> {
        match state.local {
            Some(local) => Ok(local),
            None => self.bind_to(state, InetAddr::new(inet::any(self.core.domain), 0)).map_err(|_| Errno::EAGAIN),
        }
    }

    fn situation(&self) -> Situation {
        let state = self.state.lock();
        Situation { domain: self.core.domain, bound: state.local.is_some(), connected: state.peer.is_some() }
    }

    /// Changes the peer and the local address that goes with it.
    fn set_peer(&self, peer: Option<InetAddr>) -> Result<(), Errno> {
        let mut state = self.state.lock();
        if peer.is_some() {
            self.autobind(&mut state)?;
        }
        state.peer = peer;
        let Some(local) = state.local else { return Ok(()) };
        if peer.is_none() && !state.bound {
            self.table().release(local.port, self.core.id);
            state.local = None;
            return Ok(());
        }
        let ip = match peer {
            Some(peer) if local.ip.is_unspecified() => inet::source_for(peer.ip),
            _ => local.ip,
        };
        state.local = Some(InetAddr { ip, ..local });
        self.table().change(local.port, self.core.id, |binding| {
            binding.peer = peer;
            binding.ip = ip;
        })
    }

    /// Reads a destination. IPv4 addresses may be given to an IPv6 socket in either form.
    fn destination(&self, raw: &[u8], v6only: bool) -> Result<Option<InetAddr>, Errno> {
        let family = addr::family(raw).ok_or(Errno::EINVAL)?;
        match (self.core.domain, family) {
            (af::INET6, af::INET) if v6only => Err(Errno::ENETUNREACH),
            (af::INET6, af::INET) | (af::INET, af::INET | af::UNSPEC) => InetAddr::parse_v4(raw).map(Some),
            (af::INET6, af::UNSPEC) => Ok(None),
            _ => inet::peer_addr(&self.core, raw, v6only).map(Some),
        }
    }

    /// Puts a datagram into the inbox; it is lost where there is no room.
    fn deliver(&self, datagram: Datagram) {
        let rcvbuf = self.core.opts.lock().rcvbuf;
        {
            let mut inbox = self.inbox.lock();
            if inbox.closed || inbox.used >= rcvbuf {
                return;
            }
            inbox.used += datagram.data.len() + overhead(datagram.data.len());
            inbox.queue.push_back(datagram);
        }
        self.core.wake(INPUT);
    }

    fn controls(&self, datagram: &Datagram, control: &mut Vec<Control>) {
        let options = self.ip.lock().clone();
        let mut put = |level, kind, data: Vec<u8>| control.push(Control::Other { level, kind, data });
        let int = |value: i32| value.to_ne_bytes().to_vec();
        let mapped = addr::map(datagram.to.ip).octets();
        let v4 = match datagram.to.ip {
            IpAddr::V4(ip) => Some(ip.octets()),
            IpAddr::V6(_) => None,
        };
        if let Some(octets) = v4 {
            if options.on(sol::IP, ip::PKTINFO) {
                let index = LOOPBACK_INDEX.to_ne_bytes();
                put(sol::IP, ip::PKTINFO, [index, octets, octets].concat());
            }
            if options.on(sol::IP, ip::RECVTTL) {
                put(sol::IP, ip::TTL, int(datagram.ttl));
            }
            if options.on(sol::IP, ip::RECVTOS) {
                put(sol::IP, ip::TOS, vec![u8::try_from(datagram.tos).unwrap_or(0)]);
            }
            if options.on(sol::IP, ip::RECVORIGDSTADDR) {
                put(sol::IP, ip::RECVORIGDSTADDR, datagram.to.write(af::INET).bytes().to_vec());
            }
        }
        if self.core.domain == af::INET6 {
            if options.on(sol::IPV6, ipv6::RECVPKTINFO) {
                put(sol::IPV6, ipv6::PKTINFO, [&mapped[..], &LOOPBACK_INDEX.to_ne_bytes()].concat());
            }
            if options.on(sol::IPV6, ipv6::RECVHOPLIMIT) {
                put(sol::IPV6, ipv6::HOPLIMIT, int(datagram.ttl));
            }
            if options.on(sol::IPV6, ipv6::RECVTCLASS) {
                put(sol::IPV6, ipv6::TCLASS, int(datagram.tos));
            }
        }
    }

    /// Returns the local and remote address, for `/proc/net/udp`.
    pub(crate) fn describe(&self) -> (InetAddr, Option<InetAddr>) {
        let state = self.state.lock();
        (state.local.unwrap_or(InetAddr::new(inet::any(self.core.domain), 0)), state.peer)
    }
}

/// What the control messages of a send ask for.
#[derive(Default)]
struct SendOptions {
    ttl: Option<i32>,
    tos: Option<i32>,
    source: Option<IpAddr>,
}

/// Reads the control messages of a send to an IPv4 (`v4`) or IPv6 address: `EINVAL` for one of that level that isn't known,
/// has the wrong size or is out of range. Those of other levels are passed over (`ip_cmsg_send`, `ip6_datagram_send_ctl`).
fn send_options(core: &Core, control: &[Control], v4: bool) -> Result<SendOptions, Errno> {
    let mut out = SendOptions::default();
    for item in control {
        let Control::Other { level, kind, data } = item else { continue };
        match (*level, *kind) {
            (sol::IP, ip::TTL) if v4 => out.ttl = Some(ranged(data, 1)?),
            (sol::IP, ip::TOS) if v4 => {
                out.tos = Some(if let [byte] = data[..] { i32::from(byte) } else { ranged(data, 0)? });
            }
            (sol::IP, ip::PKTINFO) if v4 => {
                let raw: &[u8; 12] = data[..].try_into().map_err(|_| Errno::EINVAL)?;
                let source = IpAddr::from([raw[4], raw[5], raw[6], raw[7]]);
                out.source = (!source.is_unspecified()).then_some(source);
            }
            (sol::IPV6, ipv6::PKTINFO) if core.domain == af::INET6 => {
                let raw: &[u8; 20] = data.first_chunk().ok_or(Errno::EINVAL)?;
                let octets: &[u8; 16] = raw.first_chunk().ok_or(Errno::EINVAL)?;
                let source = addr::unmap((*octets).into());
                if v4 && source.is_ipv6() {
                    return Err(Errno::EINVAL);
                }
                out.source = (!source.is_unspecified()).then_some(source);
            }
            // A hop limit of -1 asks for the socket's own; a class of -1 goes out as 255 (seen on Linux 6.18).
            (sol::IPV6, ipv6::HOPLIMIT) if !v4 => out.ttl = Some(ranged(data, -1)?).filter(|limit| *limit >= 0),
            (sol::IPV6, ipv6::TCLASS) if !v4 => out.tos = Some(ranged(data, -1)? & 0xff),
            (sol::IP, _) if v4 => return Err(Errno::EINVAL),
            (sol::IPV6, _) if !v4 => return Err(Errno::EINVAL),
            _ => {}
        }
    }
    Ok(out)
}

/// Reads an `int` of exactly that size, from `least` to 255.
fn ranged(data: &[u8], least: i32) -> Result<i32, Errno> {
    let value = i32::from_ne_bytes(data.try_into().map_err(|_| Errno::EINVAL)?);
    if (least..=255).contains(&value) { Ok(value) } else { Err(Errno::EINVAL) }
}

impl Socket for UdpSocket {
    fn core(&self) -> &Arc<Core> {
        &self.core
    }

    fn ready(&self) -> Ready {
        let (shut_read, shut_write) = {
            let state = self.state.lock();
            (state.shut_read, state.shut_write)
        };
        let mut ready = OUTPUT;
        ready.set(Ready::ERR, self.core.has_error());
        ready.set(Ready::HUP, shut_read && shut_write);
        ready.set(Ready::RDHUP, shut_read);
        ready.set(Ready::READABLE, shut_read || !self.inbox.lock().queue.is_empty());
        ready
    }

    fn bind(&self, caller: &Caller<'_>, addr: &[u8]) -> Result<(), Errno> {
        let (v6only, freebind) = {
            let ip = self.ip.lock();
            (ip.v6only(), ip.freebind())
        };
        let addr = inet::bind_addr(&self.core, caller, addr, v6only, freebind)?;
        let mut state = self.state.lock();
        if state.local.is_some() {
            return Err(Errno::EINVAL);
        }
        self.bind_to(&mut state, addr)?;
        state.bound = true;
        Ok(())
    }

    fn connect(&self, _caller: &Caller<'_>, addr: &[u8]) -> Result<(), Errno> {
        if addr::family(addr).ok_or(Errno::EINVAL)? == af::UNSPEC {
            return self.set_peer(None);
        }
        let v6only = self.ip.lock().v6only();
        let peer = inet::peer_addr(&self.core, addr, v6only)?;
        match inet::reach(peer.ip) {
            Reach::Local => {}
            Reach::Broadcast if self.core.opts.lock().has(so::BROADCAST) => {}
            Reach::Broadcast => return Err(Errno::EACCES),
            Reach::Multicast if self.ip.lock().multicast_if => {}
            _ => return Err(Errno::ENETUNREACH),
        }
        self.set_peer(Some(InetAddr { ip: inet::destination(peer.ip), ..peer }))
    }

    fn send(&self, _caller: &Caller<'_>, message: &mut Outgoing<'_>) -> Result<usize, Errno> {
        let len = message.src.remaining();
        if len > 0xffff {
            return Err(Errno::EMSGSIZE);
        }
        if message.flags.contains(MsgFlags::OOB) {
            return Err(Errno::EOPNOTSUPP);
        }
        let options = self.ip.lock().clone();
        let to = match message.to {
            Some(raw) => self.destination(raw, options.v6only())?,
            None => None,
        };
        if to.is_some_and(|to| to.port == 0) {
            return Err(Errno::EINVAL);
        }
        let (local, peer, shut_write) = {
            let mut state = self.state.lock();
            let peer = state.peer;
            if to.is_none() && peer.is_none() {
                return Err(Errno::EDESTADDRREQ);
            }
            (self.autobind(&mut state)?, peer, state.shut_write)
        };
        let dst = to.or(peer).ok_or(Errno::EDESTADDRREQ)?;
        let asked = send_options(&self.core, &message.control, dst.ip.is_ipv4())?;
        self.core.take_error()?;
        if shut_write {
            return Err(Errno::EPIPE);
        }
        let (broadcast, bound_dev) = {
            let opts = self.core.opts.lock();
            (opts.has(so::BROADCAST), opts.device)
        };
        let multicast = match inet::reach(dst.ip) {
            Reach::Local => false,
            Reach::Broadcast if broadcast => true,
            Reach::Broadcast => return Err(Errno::EACCES),
            Reach::Multicast if options.multicast_if || bound_dev || local.ip.is_loopback() => true,
            _ => return Err(Errno::ENETUNREACH),
        };
        let dst = InetAddr { ip: inet::destination(dst.ip), ..dst };
        if len > if dst.ip.is_ipv4() { MAX_V4 } else { MAX_V6 } {
            return Err(Errno::EMSGSIZE);
        }
        if asked.source.is_some_and(|source| inet::reach(source) != Reach::Local) {
            return Err(Errno::EINVAL);
        }
        let source = match asked.source {
            Some(source) => source,
            None if local.ip.is_unspecified() => inet::source_for(dst.ip),
            None => local.ip,
        };
        if source.is_ipv4() != dst.ip.is_ipv4() {
            return Err(Errno::ENETUNREACH);
        }
        let from = InetAddr::new(source, local.port);
        let data = copy_in(message.src, len)?;
        let v4 = dst.ip.is_ipv4();
        let default_ttl = match (v4, multicast) {
            (true, true) => options.get(sol::IP, ip::MULTICAST_TTL),
            (true, false) => options.get(sol::IP, ip::TTL),
            (false, true) => options.get(sol::IPV6, ipv6::MULTICAST_HOPS),
            (false, false) => options.get(sol::IPV6, ipv6::UNICAST_HOPS),
        };
        // A traffic class of -1 is the default, which is 0 on the wire.
        let default_tos = if v4 { options.get(sol::IP, ip::TOS) } else { options.get(sol::IPV6, ipv6::TCLASS).max(0) };
        let (ttl, tos) = (asked.ttl.unwrap_or(default_ttl), asked.tos.unwrap_or(default_tos));
        let make = |data| Datagram { data, from, to: dst, ttl, tos, stamp: Stamp::now() };
        if multicast {
            for socket in self.table().find_all(dst, from) {
                let wanted = !dst.ip.is_multicast() || socket.ip.lock().joined(dst.ip);
                if wanted {
                    socket.deliver(make(data.clone()));
                }
            }
            return Ok(len);
        }
        match self.table().find(dst, from, false) {
            Some(socket) => socket.deliver(make(data)),
            // The answer is an ICMP message, which a connected socket takes as its own error.
            None if peer.is_some() || options.on(sol::IP, ip::RECVERR) || options.on(sol::IPV6, ipv6::RECVERR) => {
                self.core.set_error(Errno::ECONNREFUSED);
                self.core.wake(HANGUP);
            }
            None => {}
        }
        Ok(len)
    }

    fn recv(&self, message: &mut Incoming<'_>) -> Result<Received, Errno> {
        let flags = message.flags;
        if flags.contains(MsgFlags::ERRQUEUE) {
            return Err(Errno::EAGAIN);
        }
        self.core.take_error()?;
        let opts = self.core.opts.lock().clone();
        let shut_read = self.state.lock().shut_read;
        let peek = flags.contains(MsgFlags::PEEK);
        let skip = if peek { usize::try_from(opts.peek_off).unwrap_or(0) } else { 0 };
        let mut inbox = self.inbox.lock();
        let Some(datagram) = inbox.queue.front() else {
            drop(inbox);
            let ended = shut_read && !flags.contains(MsgFlags::DONTWAIT);
            return if ended { Ok(Received::default()) } else { Err(Errno::EAGAIN) };
        };
        let data = &datagram.data[skip.min(datagram.data.len())..];
        let want = data.len().min(message.dst.remaining());
        let got = if want == 0 { 0 } else { message.dst.put(&data[..want])? };
        let mut received = Received { len: got, ..Received::default() };
        received.flags.set(MsgFlags::TRUNC, data.len() > got);
        if flags.contains(MsgFlags::TRUNC) {
            received.len = data.len();
        }
        received.from = Some(datagram.from.write(self.core.domain));
        datagram.stamp.control(&opts, &mut received.control);
        self.controls(datagram, &mut received.control);
        let faulted = got < want;
        if !peek && let Some(taken) = inbox.queue.pop_front() {
            inbox.used -= (taken.data.len() + overhead(taken.data.len())).min(inbox.used);
        }
        drop(inbox);
        if opts.peek_off >= 0 {
            let step = i32::try_from(got).unwrap_or(i32::MAX);
            self.core.opts.lock().peek_off =
                if peek { opts.peek_off.saturating_add(step) } else { opts.peek_off.saturating_sub(step).max(0) };
        }
        if faulted { Err(Errno::EFAULT) } else { Ok(received) }
    }

    fn shutdown(&self, how: Shutdown) -> Result<(), Errno> {
        let connected = {
            let mut state = self.state.lock();
            state.shut_read |= how.reads();
            state.shut_write |= how.writes();
            state.peer.is_some()
        };
        self.core.wake(HANGUP);
        if connected { Ok(()) } else { Err(Errno::ENOTCONN) }
    }

    fn local_name(&self) -> Result<RawAddr, Errno> {
        let state = self.state.lock();
        Ok(inet::write_addr(&self.core, state.local))
    }

    fn peer_name(&self) -> Result<RawAddr, Errno> {
        let peer = self.state.lock().peer.ok_or(Errno::ENOTCONN)?;
        Ok(inet::write_addr(&self.core, Some(peer)))
    }

    fn set_option(&self, caller: &Caller<'_>, level: i32, name: i32, value: &[u8]) -> Result<(), Errno> {
        match (level, name) {
            (sol::UDP, udp::NO_CHECK6_TX | udp::NO_CHECK6_RX) => Ok(()),
            (ipproto::UDPLITE, udp::SEND_CSCOV | udp::RECV_CSCOV) if self.is_lite() => {
                // Less than the header can't be covered; 0 covers all.
                let covered = match int(value)? {
                    0 => 0,
                    length => length.clamp(8, 0xffff),
                };
                self.coverage.lock()[usize::from(name == udp::RECV_CSCOV)] = covered;
                Ok(())
            }
            (sol::IP | sol::IPV6, _) => {
                let situation = self.situation();
                self.ip.lock().set(caller, situation, level, name, value)
            }
            _ => Err(Errno::ENOPROTOOPT),
        }
    }

    fn get_option(&self, level: i32, name: i32, len: usize) -> Result<Vec<u8>, Errno> {
        let situation = self.situation();
        match (level, name) {
            (sol::UDP, udp::CORK | udp::NO_CHECK6_TX | udp::NO_CHECK6_RX | udp::SEGMENT) => Ok(bytes(0)),
            (ipproto::UDPLITE, udp::SEND_CSCOV | udp::RECV_CSCOV) if self.is_lite() => {
                Ok(bytes(self.coverage.lock()[usize::from(name == udp::RECV_CSCOV)]))
            }
            (sol::UDP | ipproto::UDPLITE, _) => Err(Errno::ENOPROTOOPT),
            (sol::IP | sol::IPV6, _) => self.ip.lock().report(situation, level, name, len),
            _ => Err(Errno::EOPNOTSUPP),
        }
    }

    fn inq(&self) -> Result<usize, Errno> {
        Ok(self.inbox.lock().queue.front().map_or(0, |datagram| datagram.data.len()))
    }

    fn outq(&self) -> Result<usize, Errno> {
        Ok(0)
    }

    fn close(&self) {
        let local = self.state.lock().local.take();
        if let Some(local) = local {
            self.table().release(local.port, self.core.id);
        }
        let mut inbox = self.inbox.lock();
        inbox.closed = true;
        inbox.queue.clear();
    }
}
