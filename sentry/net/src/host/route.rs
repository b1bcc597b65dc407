//! Questions to the host's `NETLINK_ROUTE` about the namespace: interfaces, addresses, routes, neighbours, rules.
//!
//! The host never sees a guest's message: each question is put together anew from the fields that are understood, and only
//! questions are asked. The answers go to the guest as they are, under its own sequence number and port.

use std::os::fd::OwnedFd;

use abi::Errno;
use rustix::net::{RecvFlags, SendFlags};
use sentry_fs::sys::Interface;

use super::HostNet;
use crate::netlink::wire::{self, Message, Request};

const NEWLINK: u16 = 16;
const GETLINK: u16 = 18;
const GETADDR: u16 = 22;
const GETROUTE: u16 = 26;
const GETNEIGH: u16 = 30;
const GETRULE: u16 = 34;
/// Most bytes of one answer.
const MAX_ANSWER: usize = 1 << 20;
/// What `/sys/class/net/*/flags` shows: not what the host computes (`IFF_RUNNING`, `IFF_LOWER_UP` and above).
const SHOWN_FLAGS: u32 = 0xffbf;
/// A datagram of the host is never longer.
const DATAGRAM: usize = 64 * 1024;

/// Fixed part of a question, and the attributes that are understood with their greatest lengths.
struct Form {
    head: usize,
    attributes: &'static [(u16, usize)],
}

fn form(kind: u16, dump: bool) -> Option<Form> {
    let (head, attributes): (_, &[(u16, usize)]) = match (kind, dump) {
        // IFLA_IFNAME, IFLA_EXT_MASK, IFLA_ALT_IFNAME
        (GETLINK, _) => (16, &[(3, 16), (29, 4), (53, 128)]),
        (GETADDR, true) => (8, &[]),
        (GETROUTE, true) => (12, &[]),
        // RTA_DST, RTA_SRC, RTA_IIF, RTA_OIF
        (GETROUTE, false) => (12, &[(1, 16), (2, 16), (3, 4), (4, 4)]),
        (GETNEIGH | GETRULE, true) => (12, &[]),
        _ => return None,
    };
    Some(Form { head, attributes })
}

/// The socket that asks.
pub(super) struct Asking {
    fd: OwnedFd,
    seq: u32,
}

fn errno(error: rustix::io::Errno) -> Errno {
    Errno::from_raw(error.raw_os_error())
}

impl Asking {
    pub(super) fn new(fd: OwnedFd) -> Asking {
        Asking { fd, seq: 0 }
    }

    /// Asks, and hands each message of the answer to `take` up to the last one; the host's error is ours.
    fn ask(&mut self, kind: u16, dump: bool, body: Message, take: &mut dyn FnMut(&[u8])) -> Result<(), Errno> {
        let mut buf = vec![0; DATAGRAM];
        // What an earlier question that ended early has left.
        while rustix::net::recv(&self.fd, &mut buf[..], RecvFlags::DONTWAIT).is_ok() {}
        let seq = self.seq;
        rustix::net::send(&self.fd, &body.finish(), SendFlags::DONTWAIT).map_err(errno)?;
        let mut total = 0;
        loop {
            // The host answers while it is asked, and goes on with a dump while it is listened to.
            let (got, _) = rustix::net::recv(&self.fd, &mut buf[..], RecvFlags::DONTWAIT).map_err(errno)?;
            let mut rest = &buf[..got.min(DATAGRAM)];
            if rest.is_empty() {
                return Err(Errno::EIO);
            }
            while let Some(message) = wire::next(&mut rest) {
                if message.seq != seq {
                    continue;
                }
                match message.kind {
                    wire::DONE => return Ok(()),
                    wire::ERROR => {
                        let code = message.body.first_chunk().map_or(0, |raw| i32::from_ne_bytes(*raw));
                        return if code == 0 { Ok(()) } else { Err(Errno::from_raw(code.saturating_neg())) };
                    }
                    _ => {}
                }
                total += message.body.len();
                if total > MAX_ANSWER {
                    tracing::warn!(kind, dump, "the host's answer about the network is too long; the rest is left out");
                    return Ok(());
                }
                take(&[&message.header[..], message.body].concat());
            }
        }
    }

    fn question(&mut self, kind: u16, dump: bool) -> Message {
        self.seq = self.seq.wrapping_add(1);
        let flags = wire::REQUEST | if dump { wire::DUMP } else { wire::ACK };
        Message::new(kind, flags, self.seq, 0)
    }

    /// Lists the interfaces.
    pub(super) fn interfaces(&mut self) -> Result<Vec<Interface>, Errno> {
        let mut found = Vec::new();
        let question = self.question(GETLINK, true).body(&[0; 16]);
        self.ask(GETLINK, true, question, &mut |message| found.extend(interface(message)))?;
        Ok(found)
    }
}

/// Reads an `RTM_NEWLINK`.
fn interface(message: &[u8]) -> Option<Interface> {
    let mut rest = message;
    let message = wire::next(&mut rest).filter(|message| message.kind == NEWLINK)?;
    let head: &[u8; 16] = message.body.first_chunk()?;
    let word = |raw: &[u8], at: usize| Some(u32::from_ne_bytes(*raw.get(at..)?.first_chunk()?));
    let wide =
        |raw: &[u8], at: usize| raw.get(at..).and_then(|raw| raw.first_chunk()).map(|raw| u64::from_ne_bytes(*raw));
    let mut interface = Interface {
        kind: u32::from(u16::from_ne_bytes([head[2], head[3]])),
        index: word(head, 4)?,
        flags: word(head, 8)? & SHOWN_FLAGS,
        state: "unknown",
        ..Interface::default()
    };
    for (kind, value) in wire::attributes(&message.body[16..]) {
        match kind {
            1 => interface.address = value.first_chunk().copied().unwrap_or_default(),
            2 => interface.broadcast = value.first_chunk().copied().unwrap_or_default(),
            3 => interface.name = String::from_utf8_lossy(value.split(|byte| *byte == 0).next()?).into_owned(),
            4 => interface.mtu = word(value, 0)?,
            13 => interface.tx_queue_len = word(value, 0)?,
            16 => {
                interface.state = match value.first() {
                    Some(6) => "up",
                    Some(2) => "down",
                    _ => "unknown",
                }
            }
            // struct rtnl_link_stats64: packets received and sent, then bytes.
            23 => {
                let figure = |at| wide(value, at).unwrap_or(0);
                interface.statistics = [figure(16), figure(0), figure(24), figure(8)];
            }
            _ => {}
        }
    }
    Some(interface)
}

/// Asks what a guest asks; `None` where that is no question of this kind. The datagrams of the answer are without the
/// message that ends a dump, and without an acknowledgement.
pub(crate) fn serve(
    net: &HostNet,
    request: &Request<'_>,
    dump: bool,
    port: u32,
) -> Option<Result<Vec<Vec<u8>>, Errno>> {
    let form = form(request.kind, dump)?;
    let mut head = vec![0; form.head];
    // A dump may be asked for with no more than a family.
    let given = request.body.len().min(form.head);
    head[..given].copy_from_slice(&request.body[..given]);
    if !dump && given < form.head {
        return Some(Err(Errno::EINVAL));
    }
    if dump {
        head[1..].fill(0);
    }
    let mut asking = net.route.lock();
    let mut question = asking.question(request.kind, dump).body(&head);
    for (kind, value) in wire::attributes(request.body.get(form.head..).unwrap_or(&[])) {
        if form.attributes.iter().any(|(known, most)| *known == kind && value.len() <= *most) {
            question = question.attr(kind, value);
        }
    }
    let mut datagrams: Vec<Vec<u8>> = Vec::new();
    let result = asking.ask(request.kind, dump, question, &mut |message| {
        let mut message = message.to_vec();
        message[8..12].copy_from_slice(&request.seq.to_ne_bytes());
        message[12..16].copy_from_slice(&port.to_ne_bytes());
        message.resize(message.len().next_multiple_of(4), 0);
        match datagrams.last_mut() {
            // The buffer that everybody receives into.
            Some(last) if dump && last.len() + message.len() <= 8192 => last.extend(message),
            _ => datagrams.push(message),
        }
    });
    Some(result.map(|()| datagrams))
}
