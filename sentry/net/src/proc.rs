//! Tables of `/proc/net`: `tcp`, `tcp6`, `udp`, `udp6` and `unix` in Linux's format (`man 5 proc_pid_net`).
//!
//! Internet sockets are listed once they have a port, unix sockets once they have a name.

use std::fmt::Write;
use std::net::IpAddr;

use crate::NetNamespace;
use crate::addr::{self, InetAddr, UnixName};
use crate::socket::{Core, Socket};
use crate::uapi::af;
use crate::unix::Found;

/// Which table of internet sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InetTable {
    /// `tcp`.
    Tcp,
    /// `tcp6`.
    Tcp6,
    /// `udp`.
    Udp,
    /// `udp6`.
    Udp6,
}

fn hex(family: u16, addr: InetAddr) -> String {
    let words = |octets: &[u8]| -> String {
        let word = |raw: &[u8]| raw.iter().rev().map(|byte| format!("{byte:02X}")).collect::<String>();
        octets.chunks(4).map(word).collect()
    };
    let ip = match addr.ip {
        IpAddr::V4(ip) if family == af::INET => words(&ip.octets()),
        ip => words(&addr::map(ip).octets()),
    };
    format!("{ip}:{:04X}", addr.port)
}

fn row(out: &mut String, at: usize, core: &Core, state: u8, local: InetAddr, remote: Option<InetAddr>, queues: Queues) {
    let none = InetAddr::new(if core.domain == af::INET { [0; 4].into() } else { [0_u16; 8].into() }, 0);
    let _ = writeln!(
        out,
        "{at:4}: {} {} {state:02X} {:08X}:{:08X} 00:00000000 00000000 {:5}        0 {} 1 0000000000000000 100 0 0 10 0",
        hex(core.domain, local),
        hex(core.domain, remote.unwrap_or(none)),
        queues.1,
        queues.0,
        core.creator.uid,
        core.id,
    );
}

/// Bytes to receive and to send.
type Queues = (usize, usize);

fn queues(socket: &dyn Socket) -> Queues {
    (socket.inq().unwrap_or(0), socket.outq().unwrap_or(0))
}

impl NetNamespace {
    /// Returns the text of `/proc/net/{tcp,tcp6,udp,udp6}`.
    pub fn inet_table(&self, table: InetTable) -> String {
        let mut out = String::from(
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode",
        );
        let family = if matches!(table, InetTable::Tcp | InetTable::Udp) { af::INET } else { af::INET6 };
        out.push('\n');
        if matches!(table, InetTable::Tcp | InetTable::Tcp6) {
            let sockets = self.ports.tcp.all();
            for (at, socket) in sockets.iter().filter(|socket| socket.core().domain == family).enumerate() {
                let (state, local, remote) = socket.describe();
                row(&mut out, at, socket.core(), state, local, remote, queues(&**socket));
            }
        } else {
            let sockets = self.ports.udp.all();
            for (at, socket) in sockets.iter().filter(|socket| socket.core().domain == family).enumerate() {
                let (local, remote) = socket.describe();
                let state = if remote.is_some() { 1 } else { 7 };
                row(&mut out, at, socket.core(), state, local, remote, queues(&**socket));
            }
        }
        out
    }

    /// Returns the text of `/proc/net/unix`.
    pub fn unix_table(&self) -> String {
        let mut out = String::from("Num       RefCount Protocol Flags    Type St Inode Path\n");
        for found in self.unix.list() {
            let (core, name, listening) = match &found {
                Found::Stream(socket) => (socket.core(), socket.name(), socket.is_listening()),
                Found::Dgram(socket) => (socket.core(), socket.name(), false),
            };
            let path = match name.as_deref() {
                Some(UnixName::Path(path)) => String::from_utf8_lossy(path).into_owned(),
                Some(UnixName::Abstract(name)) => format!("@{}", String::from_utf8_lossy(name).replace('\0', "@")),
                None => String::new(),
            };
            let (flags, kind) = (if listening { 0x1_0000 } else { 0 }, core.kind as u8);
            let _ = writeln!(out, "{:016x}: 00000002 00000000 {flags:08x} {kind:04x} 01 {:5} {path}", 0, core.id);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::{Caller, Ucred};

    #[test]
    fn a_listener_is_listed_as_on_linux() {
        let ns = NetNamespace::new();
        let caller = Caller::plain(Ucred::default());
        let socket = ns.socket(&caller, 2, 1, 0).unwrap();
        let addr = InetAddr::new([127, 0, 0, 1].into(), 8080);
        socket.bind(&caller, addr.write(af::INET).bytes()).unwrap();
        socket.listen(&caller, 1).unwrap();
        let table = ns.inet_table(InetTable::Tcp);
        assert!(table.contains("   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000"), "{table}");
        assert_eq!(ns.inet_table(InetTable::Udp6).lines().count(), 1);
    }
}
