//! `AF_UNIX`: stream, seqpacket and datagram sockets inside the sandbox (`man 7 unix`).
//!
//! Key types: [`stream::UnixStream`] (stream and seqpacket: connections), [`dgram::UnixDgram`], [`Names`] (who is bound
//! to what), [`InFlight`] (files on their way) and [`outward`] (sockets of the host). Paths are the VFS's: it makes the inode and gives its identity.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock, Weak};

use abi::Errno;
use abi::flags::Ready;
use sentry_fs::hostfd::HostReactor;
use sentry_sync::{Level, Mutex};

use crate::NetNamespace;
use crate::addr::{RawAddr, UnixName};
use crate::socket::{Caller, Control, Core, FileRef, PathKey, Socket, Ucred};
use crate::uapi::{SockType, af};

pub(crate) mod dgram;
mod flight;
mod outward;
pub(crate) mod stream;

use dgram::UnixDgram;
pub(crate) use flight::{Flights, InFlight};
use outward::Outward;
use stream::UnixStream;

/// Everything that may have changed when the other side goes away.
pub(crate) const HANGUP: Ready = Ready::IN
    .union(Ready::RDNORM)
    .union(Ready::OUT)
    .union(Ready::WRNORM)
    .union(Ready::WRBAND)
    .union(Ready::HUP)
    .union(Ready::RDHUP)
    .union(Ready::ERR)
    .union(Ready::PRI);
/// Data or a connection arrived.
pub(crate) const INPUT: Ready = Ready::READABLE.union(Ready::RDBAND);
/// Space became free.
pub(crate) const OUTPUT: Ready = Ready::WRITABLE.union(Ready::WRBAND);
/// `net.unix.max_dgram_qlen`: a datagram socket takes this many messages and one more.
pub(crate) const MAX_DGRAM_QLEN: usize = 10;
/// `net.core.somaxconn`.
pub(crate) const SOMAXCONN: usize = 4096;

/// Where a name is registered.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) enum Slot {
    Abstract(Vec<u8>),
    Path(PathKey),
}

/// A bound socket.
#[derive(Clone)]
pub(crate) enum Bound {
    Stream(Weak<UnixStream>),
    Dgram(Weak<UnixDgram>),
}

/// A bound socket that is alive.
pub(crate) enum Found {
    Stream(Arc<UnixStream>),
    Dgram(Arc<UnixDgram>),
}

/// What unix sockets of the whole kernel share: those bound to paths, which know no network namespace, and the files in
/// flight.
pub(crate) struct Shared {
    paths: Mutex<HashMap<PathKey, Bound>>,
    flights: Arc<Flights>,
    /// Watches sockets of the host, where those may be used.
    outward: OnceLock<Arc<dyn HostReactor>>,
}

impl Shared {
    pub(crate) fn new() -> Shared {
        Shared { paths: Mutex::new(Level::Leaf, HashMap::new()), flights: Flights::new(), outward: OnceLock::new() }
    }
}

/// Names of one network namespace.
pub(crate) struct Names {
    abstracts: Mutex<HashMap<Vec<u8>, Bound>>,
    shared: Arc<Shared>,
}

impl Names {
    pub(crate) fn new(shared: Arc<Shared>) -> Names {
        Names { abstracts: Mutex::new(Level::Leaf, HashMap::new()), shared }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Lets sockets be those of the host from now on. Only the first call counts.
    pub(crate) fn use_host(&self, reactor: Arc<dyn HostReactor>) {
        let _ = self.shared.outward.set(reactor);
    }

    /// Returns the files in flight.
    pub(crate) fn flights(&self) -> &Arc<Flights> {
        &self.shared.flights
    }

    fn insert(&self, slot: &Slot, bound: Bound) -> Result<(), Errno> {
        use std::collections::hash_map::Entry;
        match slot {
            Slot::Path(key) => {
                self.shared.paths.lock().insert(*key, bound);
            }
            Slot::Abstract(name) => match self.abstracts.lock().entry(name.clone()) {
                Entry::Occupied(_) => return Err(Errno::EADDRINUSE),
                Entry::Vacant(vacant) => {
                    vacant.insert(bound);
                }
            },
        }
        Ok(())
    }

    fn remove(&self, slot: &Slot) {
        match slot {
            Slot::Path(key) => self.shared.paths.lock().remove(key),
            Slot::Abstract(name) => self.abstracts.lock().remove(name),
        };
    }

    /// Finds the socket behind an address: `ECONNREFUSED` where nobody is bound, `EPROTOTYPE` where it is of another
    /// type, and the errors of a path walk.
    pub(crate) fn find(&self, caller: &Caller<'_>, name: &UnixName, kind: SockType) -> Result<Found, Errno> {
        let bound = match name {
            UnixName::Path(path) => {
                let key = caller.paths.resolve(path)?;
                self.shared.paths.lock().get(&key).cloned()
            }
            UnixName::Abstract(name) => self.abstracts.lock().get(name).cloned(),
        };
        let found = match bound {
            Some(Bound::Stream(socket)) => socket.upgrade().map(Found::Stream),
            Some(Bound::Dgram(socket)) => socket.upgrade().map(Found::Dgram),
            None => None,
        };
        let found = found.ok_or(Errno::ECONNREFUSED)?;
        let found_kind = match &found {
            Found::Stream(socket) => socket.core().kind,
            Found::Dgram(socket) => socket.core().kind,
        };
        if found_kind == kind { Ok(found) } else { Err(Errno::EPROTOTYPE) }
    }

    /// Lists names for `/proc/net/unix`.
    pub(crate) fn list(&self) -> Vec<Found> {
        let bound: Vec<Bound> = {
            let mut all: Vec<Bound> = self.abstracts.lock().values().cloned().collect();
            all.extend(self.shared.paths.lock().values().cloned());
            all
        };
        let alive = bound.into_iter().filter_map(|bound| match bound {
            Bound::Stream(socket) => socket.upgrade().map(Found::Stream),
            Bound::Dgram(socket) => socket.upgrade().map(Found::Dgram),
        });
        alive.collect()
    }
}

/// The name of one socket.
#[derive(Default)]
pub(crate) struct Naming {
    pub(crate) name: Option<Arc<UnixName>>,
    slot: Option<Slot>,
    pin: Option<FileRef>,
}

impl Naming {
    /// The name of an accepted socket: shown, but not its own.
    pub(crate) fn borrowed(name: Option<Arc<UnixName>>) -> Naming {
        Naming { name, slot: None, pin: None }
    }

    /// Ends the registration.
    pub(crate) fn release(&mut self, names: &Names) -> Option<FileRef> {
        if let Some(slot) = self.slot.take() {
            names.remove(&slot);
        }
        self.pin.take()
    }

    /// `bind` to an abstract name, under the socket's lock.
    fn bind_abstract(&mut self, names: &Names, name: Vec<u8>, bound: Bound) -> Result<(), Errno> {
        if self.name.is_some() {
            return Err(Errno::EINVAL);
        }
        let slot = Slot::Abstract(name.clone());
        names.insert(&slot, bound)?;
        self.name = Some(Arc::new(UnixName::Abstract(name)));
        self.slot = Some(slot);
        Ok(())
    }

    /// Chooses a name where there is none: five hexadecimal digits.
    fn autobind(&mut self, core: &Core, bound: &Bound) -> Result<(), Errno> {
        if self.name.is_some() {
            return Ok(());
        }
        for _ in 0..=0xf_ffff_u32 {
            let name = format!("{:05x}", core.ns.next_autobind()).into_bytes();
            match self.bind_abstract(&core.ns.unix, name, bound.clone()) {
                Err(Errno::EADDRINUSE) => {}
                other => return other,
            }
        }
        Err(Errno::ENOSPC)
    }
}

/// `bind` for both kinds of sockets; `naming` runs a closure on the locked name.
pub(crate) fn bind(
    core: &Core,
    caller: &Caller<'_>,
    addr: &[u8],
    bound: Bound,
    naming: &mut dyn FnMut(&mut dyn FnMut(&mut Naming) -> Result<(), Errno>) -> Result<(), Errno>,
) -> Result<(), Errno> {
    match UnixName::parse(addr)? {
        None => naming(&mut |naming| naming.autobind(core, &bound)),
        Some(UnixName::Abstract(name)) => {
            naming(&mut |naming| naming.bind_abstract(&core.ns.unix, name.clone(), bound.clone()))
        }
        Some(UnixName::Path(path)) => {
            let mut made = Some(caller.paths.create(&path)?);
            let result = naming(&mut |naming| {
                if naming.name.is_some() {
                    return Err(Errno::EINVAL);
                }
                let Some(made) = made.take() else { return Err(Errno::EINVAL) };
                let slot = Slot::Path(made.key);
                core.ns.unix.insert(&slot, bound.clone())?;
                *naming = Naming {
                    name: Some(Arc::new(UnixName::Path(path.clone()))),
                    slot: Some(slot),
                    pin: Some(made.pin),
                };
                Ok(())
            });
            if result.is_err() {
                caller.paths.remove(&path);
            }
            result
        }
    }
}

/// Reads credentials and files out of a message's control data.
pub(crate) fn scm(names: &Names, caller: &Caller<'_>, control: &[Control]) -> Result<(Ucred, Option<InFlight>), Errno> {
    let mut cred = caller.cred;
    let mut files = Vec::new();
    for item in control {
        match item {
            Control::Rights(more) => files.extend(more.iter().cloned()),
            Control::Credentials(given) => cred = *given,
            Control::Process(_) | Control::Other { .. } => {}
        }
    }
    let rights = if files.is_empty() { None } else { Some(InFlight::new(names.flights(), caller, files)?) };
    Ok((cred, rights))
}

/// Writes a name as `recvmsg` shows it: nothing where the sender has none.
pub(crate) fn source(name: Option<&Arc<UnixName>>) -> Option<RawAddr> {
    name.map(|name| UnixName::write(Some(name)))
}

/// Makes a socket: `EPROTONOSUPPORT`, `ESOCKTNOSUPPORT`.
pub(crate) fn socket(
    ns: &Arc<NetNamespace>,
    cred: Ucred,
    kind: SockType,
    protocol: i32,
) -> Result<Arc<dyn Socket>, Errno> {
    match ns.unix.shared.outward.get() {
        Some(reactor) => Outward::make(ns, reactor, cred, kind, protocol),
        None => inward(ns, cred, kind, protocol),
    }
}

/// Makes a socket that is always this kernel's own.
fn inward(ns: &Arc<NetNamespace>, cred: Ucred, kind: SockType, protocol: i32) -> Result<Arc<dyn Socket>, Errno> {
    if protocol != 0 && protocol != i32::from(af::UNIX) {
        return Err(Errno::EPROTONOSUPPORT);
    }
    match kind {
        SockType::Stream | SockType::Seqpacket => Ok(UnixStream::new(ns, kind, cred)),
        SockType::Dgram | SockType::Raw => Ok(UnixDgram::new(ns, cred)),
        _ => Err(Errno::ESOCKTNOSUPPORT),
    }
}

/// Makes two connected sockets.
pub(crate) fn pair(
    ns: &Arc<NetNamespace>,
    cred: Ucred,
    kind: SockType,
    protocol: i32,
) -> Result<(Arc<dyn Socket>, Arc<dyn Socket>), Errno> {
    if protocol != 0 && protocol != i32::from(af::UNIX) {
        return Err(Errno::EPROTONOSUPPORT);
    }
    match kind {
        SockType::Stream | SockType::Seqpacket => {
            let (a, b) = UnixStream::pair(ns, kind, cred);
            Ok((a, b))
        }
        SockType::Dgram | SockType::Raw => {
            let (a, b) = UnixDgram::pair(ns, cred);
            Ok((a, b))
        }
        _ => Err(Errno::ESOCKTNOSUPPORT),
    }
}

#[cfg(test)]
mod tests;
