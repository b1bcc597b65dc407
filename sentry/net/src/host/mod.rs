//! Internet sockets of the guest as sockets of the host, in the network namespace that the sentry lives in.
//!
//! The alternative to [`crate::inet`] for sandboxes that have a network. The host judges addresses and states; what it must
//! not decide stays here: who may bind low ports, time limits, lingering, and which families, options ([`options`]) and
//! control messages go through at all. Sockets never block; readiness comes through the kernel's [`HostReactor`].

mod control;
mod interface;
pub mod options;
mod route;
mod socket;
mod tables;

use std::collections::HashMap;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};

use abi::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use sentry_fs::hostfd::HostReactor;
use sentry_fs::sys::Interface;
use sentry_platform::host_socket as host;
use sentry_sync::{Level, Mutex};

use crate::NetNamespace;
use crate::socket::{Caller, Caps, Socket};
use crate::uapi::{SockType, af, ipproto};

pub(crate) use interface::{list as interface_list, one as interface};
pub(crate) use route::serve as route;
pub(crate) use socket::HostSocket;

/// Files of `/proc/net` that are the host's own.
const PROC_FILES: [&str; 5] = ["dev", "route", "if_inet6", "ipv6_route", "arp"];

/// `IFF_UP`, `IFF_LOOPBACK`.
const UP: u32 = 1;
const LOOPBACK: u32 = 8;

/// Which interfaces of a network namespace are up.
#[derive(Clone, Copy, Debug)]
pub struct LinksUp {
    /// The loopback.
    pub loopback: bool,
    /// Any other.
    pub others: bool,
}

/// What the sentry keeps of the network namespace it lives in.
pub struct HostNet {
    reactor: Arc<dyn HostReactor>,
    /// For questions about interfaces.
    asking: OwnedFd,
    /// `NETLINK_ROUTE`, for dumps: one question at a time.
    route: Mutex<route::Asking>,
    /// Open files of `/proc/net`.
    proc_files: Vec<(&'static str, File)>,
    /// Sockets by id, for `/proc/net/tcp`.
    sockets: Mutex<HashMap<u64, Weak<HostSocket>>>,
}

impl HostNet {
    /// Opens what will be needed once the sentry is confined. `proc` is a `/proc` that shows this process.
    pub fn new(reactor: Arc<dyn HostReactor>, proc: &str) -> Result<HostNet, Errno> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let route = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None);
        let route = route.map_err(|error| Errno::from_raw(error.raw_os_error()))?;
        let open = |name: &'static str| Some((name, File::open(format!("{proc}/self/net/{name}")).ok()?));
        Ok(HostNet {
            reactor,
            asking: host::socket(af::INET, SockType::Dgram as u8, 0)?,
            route: Mutex::new(Level::Leaf, route::Asking::new(route)),
            proc_files: PROC_FILES.into_iter().filter_map(open).collect(),
            sockets: Mutex::new(Level::Leaf, HashMap::new()),
        })
    }

    /// Tells which interfaces of the namespace are up.
    pub fn links_up(&self) -> Result<LinksUp, Errno> {
        let interfaces = self.route.lock().interfaces()?;
        let any = |wanted: u32| interfaces.iter().any(|interface| interface.flags & (UP | LOOPBACK) == wanted);
        Ok(LinksUp { loopback: any(UP | LOOPBACK), others: any(UP) })
    }

    /// Lists the interfaces of the namespace.
    pub(crate) fn interfaces(&self) -> Result<Vec<Interface>, Errno> {
        self.route.lock().interfaces()
    }
}

/// Makes a socket: in Linux's order `ESOCKTNOSUPPORT`, `EPROTONOSUPPORT`, `EPERM`, `EACCES`.
pub(crate) fn socket(
    ns: &Arc<NetNamespace>,
    net: &Arc<HostNet>,
    caller: &Caller<'_>,
    domain: u16,
    kind: SockType,
    protocol: i32,
) -> Result<Arc<dyn Socket>, Errno> {
    let icmp = crate::inet::icmp(domain);
    let protocol = match (kind, protocol) {
        (SockType::Stream, ipproto::IP | ipproto::TCP) => ipproto::TCP,
        (SockType::Dgram, ipproto::IP | ipproto::UDP) => ipproto::UDP,
        (SockType::Dgram, protocol) if protocol == icmp => {
            if !caller.caps.contains(Caps::NET_RAW) && !ns.may_ping(caller.cred.gid) {
                return Err(Errno::EACCES);
            }
            icmp
        }
        (SockType::Raw, ipproto::IP) => return Err(Errno::EPROTONOSUPPORT),
        // Not served; "not permitted" lets ping(8) and its like go on with a datagram socket.
        (SockType::Raw, _) => return Err(Errno::EPERM),
        (SockType::Stream | SockType::Dgram, _) => return Err(Errno::EPROTONOSUPPORT),
        _ => return Err(Errno::ESOCKTNOSUPPORT),
    };
    let socket = HostSocket::new(ns, net, domain, kind, protocol, caller.cred)?;
    Ok(socket)
}

/// Running out of the sentry's own descriptors is not the guest's `EMFILE`.
pub(crate) fn exhausted(errno: Errno) -> Errno {
    if errno == Errno::EMFILE { Errno::ENFILE } else { errno }
}

#[cfg(test)]
mod tests;
