//! Who is bound to which port, and who gets what arrives there.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Weak};

use abi::Errno;
use sentry_sync::{Level, Mutex};

use crate::addr::InetAddr;
use crate::inet::tcp::TcpSocket;
use crate::inet::udp::UdpSocket;

/// `net.ipv4.ip_local_port_range`.
const EPHEMERAL: std::ops::RangeInclusive<u16> = 32_768..=60_999;

/// One bound socket.
pub(crate) struct Binding<T> {
    /// [`crate::Core::id`] of the socket.
    pub(crate) id: u64,
    pub(crate) ip: IpAddr,
    /// An IPv6 wildcard doesn't take IPv4.
    pub(crate) v6only: bool,
    /// `SO_REUSEADDR`.
    pub(crate) reuse: bool,
    /// `SO_REUSEPORT`.
    pub(crate) reuseport: bool,
    pub(crate) uid: u32,
    /// TCP: takes connections.
    pub(crate) listening: bool,
    /// UDP: takes only what comes from here.
    pub(crate) peer: Option<InetAddr>,
    pub(crate) socket: Weak<T>,
}

/// Ports of one protocol.
pub(crate) struct Table<T>(Mutex<Inner<T>>);

struct Inner<T> {
    ports: HashMap<u16, Vec<Binding<T>>>,
    next: u16,
    turn: usize,
}

/// Ports of one namespace.
pub(crate) struct Ports {
    pub(crate) tcp: Table<TcpSocket>,
    pub(crate) udp: Table<UdpSocket>,
    pub(crate) udplite: Table<UdpSocket>,
}

impl Ports {
    pub(crate) fn new() -> Ports {
        Ports { tcp: Table::new(), udp: Table::new(), udplite: Table::new() }
    }
}

fn overlap<T>(a: &Binding<T>, b: &Binding<T>) -> bool {
    let any_takes = |any: &Binding<T>, other: &Binding<T>| {
        any.ip.is_unspecified() && (any.ip.is_ipv4() == other.ip.is_ipv4() || (any.ip.is_ipv6() && !any.v6only))
    };
    a.ip == b.ip || any_takes(a, b) || any_takes(b, a)
}

fn conflict<T>(a: &Binding<T>, b: &Binding<T>) -> bool {
    let both_reuse = a.reuse && b.reuse && !a.listening && !b.listening;
    let one_group = a.reuseport && b.reuseport && a.uid == b.uid;
    a.id != b.id && overlap(a, b) && !both_reuse && !one_group
}

/// How well a binding fits a destination; `None` where it doesn't take it.
fn score<T>(binding: &Binding<T>, dst: IpAddr, src: InetAddr) -> Option<u32> {
    let mut score = 0;
    if binding.ip == dst {
        score += 4;
    } else if !binding.ip.is_unspecified() {
        return None;
    } else if binding.ip.is_ipv4() == dst.is_ipv4() {
        score += 2;
    } else if binding.ip.is_ipv4() || binding.v6only {
        return None;
    }
    match binding.peer {
        Some(peer) if (peer.ip, peer.port) != (src.ip, src.port) => None,
        Some(_) => Some(score + 8),
        None => Some(score),
    }
}

impl<T> Table<T> {
    fn new() -> Table<T> {
        let start = RandomState::new().hash_one(0_u8) % 28_232;
        let next = EPHEMERAL.start() + u16::try_from(start).unwrap_or(0);
        Table(Mutex::new(Level::Leaf, Inner { ports: HashMap::new(), next, turn: 0 }))
    }

    /// Binds a socket to a port, to a free ephemeral one where `port` is 0; returns the port.
    ///
    /// Errors: `EADDRINUSE`; without a free ephemeral port the same.
    pub(crate) fn bind(&self, port: u16, binding: Binding<T>) -> Result<u16, Errno> {
        let mut inner = self.0.lock();
        let free = |inner: &Inner<T>, port: u16| {
            inner.ports.get(&port).is_none_or(|bound| !bound.iter().any(|other| conflict(other, &binding)))
        };
        let port = if port != 0 {
            if !free(&inner, port) {
                return Err(Errno::EADDRINUSE);
            }
            port
        } else {
            let mut found = None;
            for _ in EPHEMERAL {
                let candidate = inner.next;
                inner.next = if candidate >= *EPHEMERAL.end() { *EPHEMERAL.start() } else { candidate + 1 };
                // The kernel's choice is a port that nobody uses, whatever may be shared.
                if !inner.ports.contains_key(&candidate) {
                    found = Some(candidate);
                    break;
                }
            }
            found.ok_or(Errno::EADDRINUSE)?
        };
        inner.ports.entry(port).or_default().push(binding);
        Ok(port)
    }

    /// Adds a socket that shares a port that is in use anyway: an accepted connection.
    pub(crate) fn share(&self, port: u16, binding: Binding<T>) {
        self.0.lock().ports.entry(port).or_default().push(binding);
    }

    /// Changes a binding: `EADDRINUSE` where that would make a conflict, and nothing is changed.
    pub(crate) fn change(&self, port: u16, id: u64, change: impl FnOnce(&mut Binding<T>)) -> Result<(), Errno> {
        let mut inner = self.0.lock();
        let Some(bound) = inner.ports.get_mut(&port) else { return Err(Errno::EINVAL) };
        let Some(at) = bound.iter().position(|binding| binding.id == id) else { return Err(Errno::EINVAL) };
        let before = (bound[at].listening, bound[at].peer, bound[at].ip, bound[at].reuse, bound[at].reuseport);
        change(&mut bound[at]);
        if bound[at].listening && !before.0 && bound.iter().any(|other| conflict(other, &bound[at]) && other.listening)
        {
            (bound[at].listening, bound[at].peer, bound[at].ip, bound[at].reuse, bound[at].reuseport) = before;
            return Err(Errno::EADDRINUSE);
        }
        Ok(())
    }

    /// Ends a binding.
    pub(crate) fn release(&self, port: u16, id: u64) {
        let mut inner = self.0.lock();
        if let Some(bound) = inner.ports.get_mut(&port) {
            if let Some(at) = bound.iter().position(|binding| binding.id == id) {
                bound.swap_remove(at);
            }
            if bound.is_empty() {
                inner.ports.remove(&port);
            }
        }
    }

    /// Finds the socket that takes what comes from `src` to `dst`; a group of `SO_REUSEPORT` sockets takes turns.
    pub(crate) fn find(&self, dst: InetAddr, src: InetAddr, listening: bool) -> Option<Arc<T>> {
        let mut inner = self.0.lock();
        inner.turn = inner.turn.wrapping_add(1);
        let turn = inner.turn;
        let bound = inner.ports.get(&dst.port)?;
        let fits = || {
            let taking = bound.iter().filter(|binding| binding.listening == listening);
            taking.filter_map(|binding| Some((score(binding, dst.ip, src)?, binding)))
        };
        let best = fits().map(|(score, _)| score).max()?;
        let group: Vec<&Binding<T>> = fits().filter(|(score, _)| *score == best).map(|(_, binding)| binding).collect();
        let newest = group.last()?;
        let chosen = if newest.reuseport { group[turn % group.len()] } else { newest };
        chosen.socket.upgrade()
    }

    /// Finds every socket that takes what comes from `src` to `dst` (multicast).
    pub(crate) fn find_all(&self, dst: InetAddr, src: InetAddr) -> Vec<Arc<T>> {
        let inner = self.0.lock();
        let Some(bound) = inner.ports.get(&dst.port) else { return Vec::new() };
        let fits = bound.iter().filter(|binding| score(binding, dst.ip, src).is_some());
        fits.filter_map(|binding| binding.socket.upgrade()).collect()
    }

    /// Returns every socket with a port.
    pub(crate) fn all(&self) -> Vec<Arc<T>> {
        let inner = self.0.lock();
        inner.ports.values().flatten().filter_map(|binding| binding.socket.upgrade()).collect()
    }
}
