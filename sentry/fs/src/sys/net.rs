//! `/sys/class/net` and what its links lead to.

use std::sync::Arc;

use abi::Errno;

use crate::FileKind;
use crate::synth::{Dir, Listed, Node, StaticDir};

/// A network interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)] // as in the kernel's sysfs-class-net
pub struct Interface {
    pub name: String,
    pub index: u32,
    pub mtu: u32,
    /// `IFF_*`.
    pub flags: u32,
    /// `ARPHRD_*`: 1 Ethernet, 772 loopback.
    pub kind: u32,
    pub address: [u8; 6],
    pub broadcast: [u8; 6],
    /// `"unknown"`, `"up"`, `"down"`.
    pub state: &'static str,
    pub tx_queue_len: u32,
    /// Bytes and packets received, bytes and packets sent.
    pub statistics: [u64; 4],
}

/// Knows what of the kernel sysfs shows: the interfaces of the calling task's network namespace, and memory.
pub trait SysView: Send + Sync {
    /// Returns them in order.
    fn interfaces(&self) -> Vec<Interface>;
    /// Returns the bytes of memory of the sandbox, and how many of them are free.
    fn memory(&self) -> [u64; 2];
}

fn hardware(address: [u8; 6]) -> String {
    address.map(|byte| format!("{byte:02x}")).join(":")
}

fn device(interface: &Interface) -> Node {
    let mut dir = StaticDir::default();
    let [rx_bytes, rx_packets, tx_bytes, tx_packets] = interface.statistics;
    let files = [
        ("addr_len", "6".to_owned()),
        ("address", hardware(interface.address)),
        ("broadcast", hardware(interface.broadcast)),
        ("carrier", u8::from(interface.state != "down").to_string()),
        ("dev_id", "0x0".to_owned()),
        ("flags", format!("{:#x}", interface.flags)),
        ("ifindex", interface.index.to_string()),
        ("iflink", interface.index.to_string()),
        ("mtu", interface.mtu.to_string()),
        ("operstate", interface.state.to_owned()),
        ("statistics/rx_bytes", rx_bytes.to_string()),
        ("statistics/rx_packets", rx_packets.to_string()),
        ("statistics/tx_bytes", tx_bytes.to_string()),
        ("statistics/tx_packets", tx_packets.to_string()),
        ("tx_queue_len", interface.tx_queue_len.to_string()),
        ("type", interface.kind.to_string()),
        ("uevent", format!("INTERFACE={}\nIFINDEX={}", interface.name, interface.index)),
    ];
    for (name, text) in files {
        dir.add(name, super::line(text));
    }
    dir.into_node()
}

fn list(view: &dyn SysView, kind: FileKind, from: u64) -> Vec<Listed> {
    let listed = view.interfaces().into_iter().map(|interface| Listed {
        pos: 2 + u64::from(interface.index),
        name: interface.name,
        kind,
    });
    listed.filter(|entry| entry.pos >= from).collect()
}

fn find(view: &dyn SysView, name: &[u8]) -> Result<Interface, Errno> {
    view.interfaces().into_iter().find(|known| known.name.as_bytes() == name).ok_or(Errno::ENOENT)
}

/// `/sys/class/net`.
pub(super) struct Links(pub(super) Arc<dyn SysView>);

impl Dir for Links {
    fn lookup(&self, name: &[u8]) -> Result<Node, Errno> {
        let interface = find(&*self.0, name)?;
        Ok(Node::link(move || Ok(format!("../../devices/virtual/net/{}", interface.name).into_bytes())))
    }

    fn list(&self, from: u64) -> Result<Vec<Listed>, Errno> {
        Ok(list(&*self.0, FileKind::Symlink, from))
    }
}

/// `/sys/devices/virtual/net`.
pub(super) struct Devices(pub(super) Arc<dyn SysView>);

impl Dir for Devices {
    fn lookup(&self, name: &[u8]) -> Result<Node, Errno> {
        Ok(device(&find(&*self.0, name)?))
    }

    fn list(&self, from: u64) -> Result<Vec<Listed>, Errno> {
        Ok(list(&*self.0, FileKind::Directory, from))
    }
}
