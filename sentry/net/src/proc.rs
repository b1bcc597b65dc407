//! The files of `/proc/net` in Linux's format (`man 5 proc_pid_net`).
//!
//! Internet sockets are listed once they have a port, unix sockets once they have a name.

use std::fmt::Write;
use std::net::IpAddr;
use std::sync::Arc;

use crate::NetNamespace;
use crate::addr::{self, InetAddr, UnixName};
use crate::inet::Table;
use crate::inet::udp::UdpSocket;
use crate::socket::Socket;
use crate::uapi::af;
use crate::unix::Found;

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

/// A socket in a table.
pub(crate) struct Listed {
    pub(crate) socket: Arc<dyn Socket>,
    /// As in `enum` of `include/net/tcp_states.h`.
    pub(crate) state: u8,
    pub(crate) local: InetAddr,
    pub(crate) remote: Option<InetAddr>,
}

/// One line of a table of internet sockets; `tail` is what follows the inode number.
fn row(listed: &Listed, at: usize, tail: &str) -> String {
    let (core, queues) = (listed.socket.core(), queues(&*listed.socket));
    let none = InetAddr::new(if core.domain == af::INET { [0; 4].into() } else { [0_u16; 8].into() }, 0);
    format!(
        "{at:4}: {} {} {:02X} {:08X}:{:08X} 00:00000000 00000000 {:5}        0 {}{tail}",
        hex(core.domain, listed.local),
        hex(core.domain, listed.remote.unwrap_or(none)),
        listed.state,
        queues.1,
        queues.0,
        core.creator.uid,
        core.id,
    )
}

/// Column names of IPv4 and IPv6 tables, as far as all have them.
const HEAD_V4: &str = "sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
const HEAD_V6: &str = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr \
                       tm->when retrnsmt   uid  timeout inode";
/// Widths to which Linux pads the lines of IPv4 tables.
const TCP_WIDTH: usize = 149;
const UDP_WIDTH: usize = 127;

/// Bytes to receive and to send.
type Queues = (usize, usize);

pub(crate) fn queues(socket: &dyn Socket) -> Queues {
    (socket.inq().unwrap_or(0), socket.outq().unwrap_or(0))
}

impl NetNamespace {
    /// Returns the names of the files of `/proc/net`.
    pub fn proc_files() -> &'static [&'static str] {
        &[
            "arp",
            "dev",
            "if_inet6",
            "ipv6_route",
            "netlink",
            "packet",
            "raw",
            "raw6",
            "route",
            "snmp",
            "sockstat",
            "sockstat6",
            "tcp",
            "tcp6",
            "udp",
            "udp6",
            "udplite",
            "udplite6",
            "unix",
        ]
    }

    /// Returns the text of a file of `/proc/net`.
    pub fn proc_file(&self, name: &str) -> Option<String> {
        if let Some(text) = self.host().and_then(|host| host.proc_file(name)) {
            return Some(text);
        }
        Some(match name {
            "tcp" => self.tcp_table(af::INET),
            "tcp6" => self.tcp_table(af::INET6),
            "udp" => udp_table(&self.udp_sockets(af::INET), af::INET),
            "udp6" => udp_table(&self.udp_sockets(af::INET6), af::INET6),
            "udplite" => udp_table(&listed(&self.ports.udplite, af::INET), af::INET),
            "udplite6" => udp_table(&listed(&self.ports.udplite, af::INET6), af::INET6),
            "unix" => self.unix_table(),
            "raw" => format!("  {HEAD_V4} ref pointer drops\n"),
            "raw6" => format!("{HEAD_V6} ref pointer drops\n"),
            "packet" => String::from("sk               RefCnt Type Proto  Iface R Rmem   User   Inode\n"),
            "netlink" => String::from(
                "sk               Eth Pid        Groups   Rmem     Wmem     Dump  Locks    Drops    Inode\n",
            ),
            "arp" => String::from("IP address       HW type     Flags       HW address            Mask     Device\n"),
            "route" => format!(
                "{:127}\n",
                "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT"
            ),
            "ipv6_route" => {
                let (one, none) = ("00000000000000000000000000000001", "00000000000000000000000000000000");
                format!("{one} 80 {none} 00 {none} 00000000 00000001 00000000 80200001       lo\n")
            }
            "if_inet6" => String::from("00000000000000000000000000000001 01 80 10 80       lo\n"),
            "dev" => String::from(
                "Inter-|   Receive                                                |  Transmit\n \
                 face |bytes    packets errs drop fifo frame compressed multicast|\
                 bytes    packets errs drop fifo colls carrier compressed\n    \
                 lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       \
                 0          0\n",
            ),
            "sockstat" => {
                let (tcp, udp, lite) = (self.ports.tcp.all(), self.ports.udp.all(), self.ports.udplite.all());
                format!(
                    "sockets: used {}\nTCP: inuse {tcp} orphan 0 tw 0 alloc {tcp} mem 0\nUDP: inuse {udp} mem 0\n\
                     UDPLITE: inuse {lite}\nRAW: inuse 0\nFRAG: inuse 0 memory 0\n",
                    tcp.len() + udp.len() + lite.len() + self.unix.list().len(),
                    tcp = tcp.len(),
                    udp = udp.len(),
                    lite = lite.len(),
                )
            }
            "sockstat6" => {
                let lite = listed(&self.ports.udplite, af::INET6).len();
                let (tcp, udp) = (self.tcp_sockets(af::INET6).len(), self.udp_sockets(af::INET6).len());
                format!(
                    "TCP6: inuse {tcp}\nUDP6: inuse {udp}\nUDPLITE6: inuse {lite}\nRAW6: inuse 0\n\
                     FRAG6: inuse 0 memory 0\n"
                )
            }
            "snmp" => self.snmp(),
            _ => return None,
        })
    }

    /// Returns the counters of RFC 1213 that programs read, zeros where nothing is counted.
    fn snmp(&self) -> String {
        let open = |family| self.tcp_sockets(family).iter().filter(|listed| listed.state == 1).count();
        let established = open(af::INET) + open(af::INET6);
        let datagrams =
            "InDatagrams NoPorts InErrors OutDatagrams RcvbufErrors SndbufErrors InCsumErrors IgnoredMulti MemErrors";
        let none = "0 0 0 0 0 0 0 0 0";
        format!(
            "Ip: Forwarding DefaultTTL InReceives InHdrErrors InAddrErrors ForwDatagrams InUnknownProtos InDiscards \
             InDelivers OutRequests OutDiscards OutNoRoutes ReasmTimeout ReasmReqds ReasmOKs ReasmFails FragOKs FragFails \
             FragCreates OutTransmits\nIp: 2 64 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n\
             Tcp: RtoAlgorithm RtoMin RtoMax MaxConn ActiveOpens PassiveOpens AttemptFails EstabResets CurrEstab InSegs \
             OutSegs RetransSegs InErrs OutRsts InCsumErrors\nTcp: 1 200 120000 -1 0 0 0 0 {established} 0 0 0 0 0 0\n\
             Udp: {datagrams}\nUdp: {none}\nUdpLite: {datagrams}\nUdpLite: {none}\n"
        )
    }

    pub(crate) fn tcp_sockets(&self, family: u16) -> Vec<Listed> {
        if let Some(host) = self.host() {
            return host.listed(family, true);
        }
        let all = self.ports.tcp.all().into_iter().filter(|socket| socket.core().domain == family);
        let listed = all.map(|socket| {
            let (state, local, remote) = socket.describe();
            Listed { socket, state, local, remote }
        });
        listed.collect()
    }

    pub(crate) fn udp_sockets(&self, family: u16) -> Vec<Listed> {
        match self.host() {
            Some(host) => host.listed(family, false),
            None => listed(&self.ports.udp, family),
        }
    }

    fn tcp_table(&self, family: u16) -> String {
        let mut out = if family == af::INET { format!("  {HEAD_V4:147}\n") } else { format!("{HEAD_V6}\n") };
        for (at, listed) in self.tcp_sockets(family).iter().enumerate() {
            let tail = " 1 0000000000000000 100 0 0 10 0";
            let line = row(listed, at, tail);
            let width = if family == af::INET { TCP_WIDTH } else { 0 };
            let _ = writeln!(out, "{line:width$}");
        }
        out
    }

    /// Returns the text of `/proc/net/unix`.
    pub(crate) fn unix_table(&self) -> String {
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

pub(crate) fn listed(table: &Table<UdpSocket>, family: u16) -> Vec<Listed> {
    let all = table.all().into_iter().filter(|socket| socket.core().domain == family);
    let listed = all.map(|socket| {
        let (local, remote) = socket.describe();
        Listed { socket, state: if remote.is_some() { 1 } else { 7 }, local, remote }
    });
    listed.collect()
}

fn udp_table(sockets: &[Listed], family: u16) -> String {
    let width = if family == af::INET { UDP_WIDTH } else { 0 };
    let head = if family == af::INET { format!("   {HEAD_V4}") } else { String::from(HEAD_V6) };
    let mut out = format!("{:width$}\n", head + " ref pointer drops");
    for (at, listed) in sockets.iter().enumerate() {
        let line = row(listed, at, " 2 0000000000000000 0");
        let _ = writeln!(out, "{line:width$}");
    }
    out
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
        let table = ns.proc_file("tcp").unwrap();
        assert!(table.contains("   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000"), "{table}");
        assert_eq!(ns.proc_file("udp6").unwrap().lines().count(), 1);
        assert!(table.lines().all(|line| line.len() == 149));
        assert!(NetNamespace::proc_files().iter().all(|name| ns.proc_file(name).is_some()));
    }
}
