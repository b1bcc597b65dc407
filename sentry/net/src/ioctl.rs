//! `ioctl(2)` of sockets: queue lengths, the urgent mark, and what interfaces there are (`man 7 netdevice`).

use abi::{Errno, UserAddr};
use sentry_fs::UserMemory;

use crate::socket::{Core, Socket};
use crate::uapi::{af, sioc};

/// Bytes of `struct ifreq`.
const IFREQ: usize = 40;
/// Bytes of an interface name with its NUL.
const IFNAME: usize = 16;
/// Name of the one interface.
pub(crate) const LOOPBACK_NAME: &[u8] = b"lo";
/// Its index.
pub(crate) const LOOPBACK_INDEX: u32 = 1;
/// Its largest packet.
pub(crate) const LOOPBACK_MTU: u32 = 65536;
/// `IFF_UP | IFF_LOOPBACK | IFF_RUNNING`.
pub(crate) const LOOPBACK_FLAGS: u16 = 0x1 | 0x8 | 0x40;

/// `IFF_RUNNING`.
pub(crate) const RUNNING: u16 = 0x40;
/// `ARPHRD_LOOPBACK`.
pub(crate) const LOOPBACK_KIND: u32 = 772;

fn put_int(memory: &dyn UserMemory, arg: u64, value: usize) -> Result<u64, Errno> {
    let value = i32::try_from(value).unwrap_or(i32::MAX);
    memory.write(UserAddr::new(arg), &value.to_ne_bytes()).map(|()| 0)
}

/// Serves one request.
pub(crate) fn serve(socket: &dyn Socket, memory: &dyn UserMemory, op: u32, arg: u64) -> Result<u64, Errno> {
    match op {
        sioc::FIONREAD => put_int(memory, arg, socket.inq()?),
        sioc::TIOCOUTQ => put_int(memory, arg, socket.outq()?),
        sioc::SIOCATMARK => put_int(memory, arg, usize::from(socket.at_mark()?)),
        sioc::SIOCGSTAMP_OLD => Err(Errno::ENOENT),
        sioc::SIOCGIFCONF => interface_list(socket.core(), memory, arg),
        0x8900..=0x89ff => interface(socket.core(), memory, op, arg),
        _ => Err(Errno::ENOTTY),
    }
}

/// `SIOCGIFCONF`: every interface with an IPv4 address.
fn interface_list(core: &Core, memory: &dyn UserMemory, arg: u64) -> Result<u64, Errno> {
    let mut head = [0; 16];
    memory.read(UserAddr::new(arg), &mut head)?;
    let len = i32::from_ne_bytes([head[0], head[1], head[2], head[3]]);
    let mut pointer = [0; 8];
    pointer.copy_from_slice(&head[8..]);
    let buf = u64::from_ne_bytes(pointer);
    let room = usize::try_from(len).map_err(|_| Errno::EINVAL)?;
    if let Some(host) = core.ns.host() {
        let entries = crate::host::interface_list(host)?;
        let shown = if buf == 0 { entries.len() } else { entries.len().min(room / IFREQ * IFREQ) };
        if buf != 0 {
            memory.write(UserAddr::new(buf), &entries[..shown])?;
        }
        let shown = i32::try_from(shown).unwrap_or(i32::MAX);
        return memory.write(UserAddr::new(arg), &shown.to_ne_bytes()).map(|()| 0);
    }
    let mut done: i32 = 0;
    if buf == 0 || room >= IFREQ {
        done = IFREQ as i32;
        if buf != 0 {
            let mut entry = named();
            put_inet(&mut entry, [127, 0, 0, 1]);
            memory.write(UserAddr::new(buf), &entry)?;
        }
    }
    memory.write(UserAddr::new(arg), &done.to_ne_bytes()).map(|()| 0)
}

fn named() -> [u8; IFREQ] {
    let mut entry = [0; IFREQ];
    entry[..LOOPBACK_NAME.len()].copy_from_slice(LOOPBACK_NAME);
    entry
}

fn put_inet(entry: &mut [u8; IFREQ], ip: [u8; 4]) {
    entry[IFNAME..].fill(0);
    entry[IFNAME..IFNAME + 2].copy_from_slice(&af::INET.to_ne_bytes());
    entry[IFNAME + 4..IFNAME + 8].copy_from_slice(&ip);
}

fn put_bytes(entry: &mut [u8; IFREQ], bytes: &[u8]) {
    entry[IFNAME..IFNAME + bytes.len()].copy_from_slice(bytes);
}

/// The requests that take a `struct ifreq`.
fn interface(core: &Core, memory: &dyn UserMemory, op: u32, arg: u64) -> Result<u64, Errno> {
    let domain = core.domain;
    let known = matches!(
        op,
        sioc::SIOCGIFNAME
            | sioc::SIOCGIFFLAGS
            | sioc::SIOCGIFADDR
            | sioc::SIOCGIFDSTADDR
            | sioc::SIOCGIFBRDADDR
            | sioc::SIOCGIFNETMASK
            | sioc::SIOCGIFMETRIC
            | sioc::SIOCGIFMTU
            | sioc::SIOCGIFHWADDR
            | sioc::SIOCGIFINDEX
            | sioc::SIOCGIFTXQLEN
            | sioc::SIOCGIFMAP
    );
    let changes = matches!(op, sioc::SIOCSIFFLAGS | sioc::SIOCSIFADDR);
    if !known && !changes {
        return Err(if op == sioc::SIOCETHTOOL { Errno::EOPNOTSUPP } else { Errno::ENOTTY });
    }
    let mut entry = [0; IFREQ];
    memory.read(UserAddr::new(arg), &mut entry)?;
    if let Some(answer) = core.ns.host().and_then(|host| crate::host::interface(host, op, &mut entry)) {
        answer?;
        return memory.write(UserAddr::new(arg), &entry).map(|()| 0);
    }
    if op == sioc::SIOCGIFNAME {
        if u32::from_ne_bytes([entry[16], entry[17], entry[18], entry[19]]) != LOOPBACK_INDEX {
            return Err(Errno::ENODEV);
        }
        entry[..IFNAME].copy_from_slice(&named()[..IFNAME]);
        return memory.write(UserAddr::new(arg), &entry).map(|()| 0);
    }
    let end = entry[..IFNAME].iter().position(|byte| *byte == 0).unwrap_or(IFNAME - 1);
    if &entry[..end] != LOOPBACK_NAME {
        return Err(Errno::ENODEV);
    }
    if changes {
        return Err(Errno::EPERM);
    }
    match op {
        sioc::SIOCGIFFLAGS => put_bytes(&mut entry, &LOOPBACK_FLAGS.to_ne_bytes()),
        sioc::SIOCGIFADDR | sioc::SIOCGIFDSTADDR | sioc::SIOCGIFBRDADDR | sioc::SIOCGIFNETMASK
            if domain != af::INET =>
        {
            return Err(Errno::ENOTTY);
        }
        sioc::SIOCGIFADDR | sioc::SIOCGIFDSTADDR => put_inet(&mut entry, [127, 0, 0, 1]),
        sioc::SIOCGIFBRDADDR => put_inet(&mut entry, [0; 4]),
        sioc::SIOCGIFNETMASK => put_inet(&mut entry, [255, 0, 0, 0]),
        sioc::SIOCGIFMTU => put_bytes(&mut entry, &LOOPBACK_MTU.to_ne_bytes()),
        sioc::SIOCGIFINDEX => put_bytes(&mut entry, &LOOPBACK_INDEX.to_ne_bytes()),
        sioc::SIOCGIFTXQLEN => put_bytes(&mut entry, &1000_u32.to_ne_bytes()),
        sioc::SIOCGIFHWADDR => {
            entry[IFNAME..].fill(0);
            put_bytes(&mut entry, &772_u16.to_ne_bytes()); // ARPHRD_LOOPBACK
        }
        sioc::SIOCGIFMETRIC => put_bytes(&mut entry, &0_u32.to_ne_bytes()),
        _ => entry[IFNAME..].fill(0), // SIOCGIFMAP: no I/O addresses
    }
    memory.write(UserAddr::new(arg), &entry).map(|()| 0)
}
