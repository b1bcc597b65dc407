//! [`NetNamespace`]: everything that sockets of one network namespace share, and where sockets are made.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use abi::Errno;
use sentry_fs::hostfd::HostReactor;
use sentry_fs::sys::Interface;

use crate::socket::{Caller, Socket};
use crate::uapi::{SockType, af, ipproto};
use crate::unix::{Names, Shared};
use crate::{HostNet, host, inet, ioctl, netlink, unix};

/// Numbers for sockets of all namespaces.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// A network namespace: with a loopback of its own and nothing else, or with the host's sockets.
pub struct NetNamespace {
    pub(crate) unix: Names,
    pub(crate) ports: inet::Ports,
    pub(crate) netlink: netlink::Ports,
    autobind: AtomicU32,
    cookie: u64,
    host: OnceLock<Arc<HostNet>>,
    settings: OnceLock<NetSettings>,
}

/// Settings below `/proc/sys/net` that are obeyed.
#[derive(Clone, Copy, Debug)]
pub struct NetSettings {
    /// `net.ipv4.ip_unprivileged_port_start`: ports below need `CAP_NET_BIND_SERVICE`.
    pub unprivileged_port: u32,
    /// `net.ipv4.ping_group_range`: least and greatest group that may make ping sockets.
    pub ping_groups: (u32, u32),
}

impl Default for NetSettings {
    fn default() -> NetSettings {
        NetSettings { unprivileged_port: 1024, ping_groups: (1, 0) }
    }
}

/// A pair of connected sockets.
pub type Pair = (Arc<dyn Socket>, Arc<dyn Socket>);

impl NetNamespace {
    /// Makes the first namespace of a kernel.
    pub fn new() -> Arc<NetNamespace> {
        NetNamespace::with_shared(Arc::new(Shared::new()))
    }

    /// Makes a further one: nothing in common but the sockets bound to paths and the files in flight.
    pub fn unshare(&self) -> Arc<NetNamespace> {
        NetNamespace::with_shared(Arc::clone(self.unix.shared()))
    }

    fn with_shared(shared: Arc<Shared>) -> Arc<NetNamespace> {
        Arc::new(NetNamespace {
            unix: Names::new(shared),
            ports: inet::Ports::new(),
            netlink: netlink::Ports::new(),
            autobind: AtomicU32::new(0),
            cookie: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            host: OnceLock::new(),
            settings: OnceLock::new(),
        })
    }

    /// Makes internet sockets on the host from now on. Only the first call counts.
    pub fn use_host(&self, host: HostNet) {
        let _ = self.host.set(Arc::new(host));
    }

    /// Lets unix sockets be those of the host from now on, as far as their names lead there. Only the first call counts.
    pub fn use_host_unix(&self, reactor: Arc<dyn HostReactor>) {
        self.unix.use_host(reactor);
    }

    /// Sets what `/proc/sys/net` says. Only the first call counts.
    pub fn configure(&self, settings: NetSettings) {
        let _ = self.settings.set(settings);
    }

    pub(crate) fn host(&self) -> Option<&Arc<HostNet>> {
        self.host.get()
    }

    /// Returns what `/sys/class/net` shows.
    pub fn interfaces(&self) -> Vec<Interface> {
        if let Some(host) = self.host() {
            // A host that doesn't answer has nothing to show.
            return host.interfaces().unwrap_or_default();
        }
        vec![Interface {
            name: "lo".to_owned(),
            index: ioctl::LOOPBACK_INDEX,
            mtu: ioctl::LOOPBACK_MTU,
            flags: u32::from(ioctl::LOOPBACK_FLAGS & !ioctl::RUNNING),
            kind: ioctl::LOOPBACK_KIND,
            state: "unknown",
            tx_queue_len: 1000,
            ..Interface::default()
        }]
    }

    /// The first port that anybody may bind.
    pub(crate) fn unprivileged_port(&self) -> u32 {
        self.settings.get().copied().unwrap_or_default().unprivileged_port
    }

    /// Tells whether a group may make ping sockets.
    pub(crate) fn may_ping(&self, gid: u32) -> bool {
        let (least, greatest) = self.settings.get().copied().unwrap_or_default().ping_groups;
        (least..=greatest).contains(&gid)
    }

    /// Returns `SO_NETNS_COOKIE`.
    pub fn cookie(&self) -> u64 {
        self.cookie
    }

    pub(crate) fn next_id(&self) -> u64 {
        NEXT_ID.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn next_autobind(&self) -> u32 {
        self.autobind.fetch_add(1, Ordering::Relaxed) & 0xf_ffff
    }

    /// `socket(2)`, its flags taken off `kind`: in Linux's order `EAFNOSUPPORT`, `EINVAL`, then the family's own
    /// `ESOCKTNOSUPPORT`, `EPROTONOSUPPORT`, `EPERM`, `EACCES`.
    pub fn socket(
        self: &Arc<Self>,
        caller: &Caller<'_>,
        domain: i32,
        kind: u32,
        protocol: i32,
    ) -> Result<Arc<dyn Socket>, Errno> {
        let (domain, kind) = check(domain, kind)?;
        match domain {
            af::UNIX => unix::socket(self, caller.cred, kind, protocol),
            af::INET | af::INET6 if !(0..=ipproto::MPTCP).contains(&protocol) => Err(Errno::EINVAL),
            af::INET | af::INET6 => match self.host() {
                Some(net) => host::socket(self, net, caller, domain, kind, protocol),
                None => inet::socket(self, caller, domain, kind, protocol),
            },
            af::NETLINK => netlink::socket(self, caller, kind, protocol),
            _ => Err(Errno::EAFNOSUPPORT),
        }
    }

    /// `socketpair(2)`: only unix sockets come in pairs.
    pub fn socketpair(
        self: &Arc<Self>,
        caller: &Caller<'_>,
        domain: i32,
        kind: u32,
        protocol: i32,
    ) -> Result<Pair, Errno> {
        if domain == i32::from(af::UNIX) {
            let (_, kind) = check(domain, kind)?;
            return unix::pair(self, caller.cred, kind, protocol);
        }
        self.socket(caller, domain, kind, protocol)?.close();
        Err(Errno::EOPNOTSUPP)
    }
}

fn check(domain: i32, kind: u32) -> Result<(u16, SockType), Errno> {
    if !(0..af::MAX).contains(&domain) {
        return Err(Errno::EAFNOSUPPORT);
    }
    // Linux: types 0 and 7..=9 exist as numbers but have no protocol; 11 and above are invalid.
    match SockType::from_raw(kind) {
        Some(kind) => Ok((u16::try_from(domain).map_err(|_| Errno::EAFNOSUPPORT)?, kind)),
        None if kind > 10 => Err(Errno::EINVAL),
        None if matches!(domain, 1 | 2 | 10 | 16) => Err(Errno::ESOCKTNOSUPPORT),
        None => Err(Errno::EAFNOSUPPORT),
    }
}
