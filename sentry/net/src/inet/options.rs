//! Options of levels `IPPROTO_IP` and `IPPROTO_IPV6`: numbers that are checked, remembered and reported, and multicast
//! memberships on the loopback interface (`man 7 ip`, `man 7 ipv6`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use abi::Errno;

use crate::ioctl::{LOOPBACK_INDEX, LOOPBACK_MTU};
use crate::opts::{bytes, int};
use crate::socket::{Caller, Caps};
use crate::uapi::{af, ip, ipv6, sol};

/// A numeric option: level, name, default, least and greatest value. `-1` resets those whose least value is `-1`.
struct Rule(i32, i32, i32, i32, i32);

const SWITCH: (i32, i32) = (i32::MIN, i32::MAX);
const fn switch(level: i32, name: i32, default: i32) -> Rule {
    Rule(level, name, default, SWITCH.0, SWITCH.1)
}

const RULES: &[Rule] = &[
    Rule(sol::IP, ip::TOS, 0, i32::MIN, i32::MAX - 1),
    Rule(sol::IP, ip::TTL, 64, -1, 255),
    Rule(sol::IP, ip::MTU_DISCOVER, 1, 0, 5),
    Rule(sol::IP, ip::MINTTL, 0, 0, 255),
    Rule(sol::IP, ip::MULTICAST_TTL, 1, -1, 255),
    Rule(sol::IP, ip::LOCAL_PORT_RANGE, 0, i32::MIN, i32::MAX - 1),
    switch(sol::IP, ip::MULTICAST_LOOP, 1),
    switch(sol::IP, ip::MULTICAST_ALL, 1),
    switch(sol::IP, ip::PKTINFO, 0),
    switch(sol::IP, ip::RECVERR, 0),
    switch(sol::IP, ip::RECVTTL, 0),
    switch(sol::IP, ip::RECVTOS, 0),
    switch(sol::IP, ip::RECVOPTS, 0),
    switch(sol::IP, ip::RETOPTS, 0),
    switch(sol::IP, ip::RECVORIGDSTADDR, 0),
    switch(sol::IP, ip::FREEBIND, 0),
    switch(sol::IP, ip::TRANSPARENT, 0),
    switch(sol::IP, ip::BIND_ADDRESS_NO_PORT, 0),
    Rule(sol::IPV6, ipv6::UNICAST_HOPS, 64, -1, 255),
    Rule(sol::IPV6, ipv6::MULTICAST_HOPS, 1, -1, 255),
    Rule(sol::IPV6, ipv6::MULTICAST_LOOP, 1, 0, 1),
    Rule(sol::IPV6, ipv6::MTU_DISCOVER, 1, 0, 5),
    Rule(sol::IPV6, ipv6::TCLASS, 0, -1, 255),
    switch(sol::IPV6, ipv6::V6ONLY, 0),
    switch(sol::IPV6, ipv6::RECVERR, 0),
    switch(sol::IPV6, ipv6::RECVPKTINFO, 0),
    switch(sol::IPV6, ipv6::RECVHOPLIMIT, 0),
    switch(sol::IPV6, ipv6::RECVTCLASS, 0),
    switch(sol::IPV6, ipv6::DONTFRAG, 0),
    switch(sol::IPV6, ipv6::AUTOFLOWLABEL, 1),
    switch(sol::IPV6, ipv6::FREEBIND, 0),
];

/// Options of one internet socket.
#[derive(Clone, Debug, Default)]
pub(crate) struct IpOptions {
    changed: Vec<(i32, i32, i32)>,
    groups: Vec<IpAddr>,
    /// `IP_MULTICAST_IF`/`IPV6_MULTICAST_IF` names the loopback interface.
    pub(crate) multicast_if: bool,
}

/// What the socket is, where options depend on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Situation {
    pub(crate) domain: u16,
    pub(crate) bound: bool,
    pub(crate) connected: bool,
}

impl IpOptions {
    /// Returns a numeric option.
    pub(crate) fn get(&self, level: i32, name: i32) -> i32 {
        let changed = self.changed.iter().find(|entry| (entry.0, entry.1) == (level, name));
        let default = || RULES.iter().find(|rule| (rule.0, rule.1) == (level, name)).map_or(0, |rule| rule.2);
        changed.map_or_else(default, |entry| entry.2)
    }

    /// Tells whether a switch is on.
    pub(crate) fn on(&self, level: i32, name: i32) -> bool {
        self.get(level, name) != 0
    }

    /// Tells whether the socket takes only IPv6.
    pub(crate) fn v6only(&self) -> bool {
        self.on(sol::IPV6, ipv6::V6ONLY)
    }

    /// Tells whether addresses that aren't local may be bound.
    pub(crate) fn freebind(&self) -> bool {
        self.on(sol::IP, ip::FREEBIND) || self.on(sol::IPV6, ipv6::FREEBIND) || self.on(sol::IP, ip::TRANSPARENT)
    }

    /// Tells whether datagrams for a multicast group are wanted.
    pub(crate) fn joined(&self, group: IpAddr) -> bool {
        self.groups.contains(&group)
    }

    fn put(&mut self, level: i32, name: i32, value: i32) {
        self.changed.retain(|entry| (entry.0, entry.1) != (level, name));
        self.changed.push((level, name, value));
    }

    /// Sets an option: `EINVAL`, `ENOPROTOOPT`, `EPERM`, and the errors of memberships.
    pub(crate) fn set(
        &mut self,
        caller: &Caller<'_>,
        socket: Situation,
        level: i32,
        name: i32,
        value: &[u8],
    ) -> Result<(), Errno> {
        if level == sol::IPV6 && socket.domain == af::INET {
            return Err(Errno::ENOPROTOOPT);
        }
        match (level, name) {
            (sol::IP, ip::ADD_MEMBERSHIP | ip::DROP_MEMBERSHIP) => {
                return self.member_v4(name == ip::ADD_MEMBERSHIP, value);
            }
            (sol::IPV6, ipv6::JOIN_GROUP | ipv6::LEAVE_GROUP) => {
                return self.member_v6(name == ipv6::JOIN_GROUP, value);
            }
            (sol::IP, ip::MULTICAST_IF) => return self.interface_v4(value),
            (sol::IPV6, ipv6::MULTICAST_IF) => {
                self.multicast_if = interface_index(int(value)?)?;
                return Ok(());
            }
            (sol::IP, ip::OPTIONS) if value.is_empty() => return Ok(()),
            (sol::IP, ip::TRANSPARENT) if !caller.caps.intersects(Caps::NET_ADMIN | Caps::NET_RAW) => {
                return Err(Errno::EPERM);
            }
            (sol::IPV6, ipv6::V6ONLY) if socket.bound => return Err(Errno::EINVAL),
            _ => {}
        }
        let rule = RULES.iter().find(|rule| (rule.0, rule.1) == (level, name)).ok_or(Errno::ENOPROTOOPT)?;
        let number = match (level, value) {
            (sol::IP, []) => 0,
            (sol::IP, [byte, ..]) if value.len() < 4 => i32::from(*byte),
            _ => int(value)?,
        };
        let number = match *rule {
            Rule(_, _, _, least, most) if (least, most) == SWITCH => i32::from(number != 0),
            Rule(_, _, default, -1, _) if number == -1 => default,
            Rule(_, _, _, least, most) if !(least..=most).contains(&number) => return Err(Errno::EINVAL),
            Rule(sol::IP, ip::TTL, ..) if number == 0 => return Err(Errno::EINVAL),
            Rule(sol::IP, ip::TOS, ..) => number & 0xff,
            _ => number,
        };
        self.put(level, name, number);
        Ok(())
    }

    /// Returns an option: `ENOPROTOOPT`, `ENOTCONN` for the path's MTU.
    pub(crate) fn report(&self, socket: Situation, level: i32, name: i32, len: usize) -> Result<Vec<u8>, Errno> {
        if level == sol::IPV6 && socket.domain == af::INET {
            return Err(Errno::EOPNOTSUPP);
        }
        let number = match (level, name) {
            (sol::IP, ip::OPTIONS) => return Ok(Vec::new()),
            (sol::IP, ip::MULTICAST_IF) => {
                let shown = if self.multicast_if { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED };
                return Ok(shown.octets().to_vec());
            }
            (sol::IPV6, ipv6::MULTICAST_IF) => i32::from(self.multicast_if),
            (sol::IP, ip::MTU) | (sol::IPV6, ipv6::MTU) => match socket.connected {
                true => i32::try_from(LOOPBACK_MTU).unwrap_or(i32::MAX),
                false => return Err(Errno::ENOTCONN),
            },
            _ if RULES.iter().any(|rule| (rule.0, rule.1) == (level, name)) => self.get(level, name),
            _ => return Err(Errno::ENOPROTOOPT),
        };
        match u8::try_from(number) {
            Ok(byte) if level == sol::IP && (1..4).contains(&len) => Ok(vec![byte]),
            _ => Ok(bytes(number)),
        }
    }

    fn member(&mut self, join: bool, group: IpAddr) -> Result<(), Errno> {
        let at = self.groups.iter().position(|joined| *joined == group);
        match (join, at) {
            (true, Some(_)) => Err(Errno::EADDRINUSE),
            (true, None) if self.groups.len() >= 20 => Err(Errno::ENOBUFS), // net.ipv4.igmp_max_memberships
            (true, None) => {
                self.groups.push(group);
                Ok(())
            }
            (false, None) => Err(Errno::EADDRNOTAVAIL),
            (false, Some(at)) => {
                self.groups.swap_remove(at);
                Ok(())
            }
        }
    }

    /// `struct ip_mreq` (8 bytes) or `ip_mreqn` (12).
    fn member_v4(&mut self, join: bool, value: &[u8]) -> Result<(), Errno> {
        let raw: &[u8; 8] = value.first_chunk().ok_or(Errno::EINVAL)?;
        let group = Ipv4Addr::new(raw[0], raw[1], raw[2], raw[3]);
        if !group.is_multicast() {
            return Err(Errno::EINVAL);
        }
        let index = value.get(8..12).map_or(Ok(0), int)?;
        let on_loopback = match index {
            0 => Ipv4Addr::new(raw[4], raw[5], raw[6], raw[7]).is_loopback(),
            index => interface_index(index).unwrap_or(false),
        };
        if join && !on_loopback {
            return Err(Errno::ENODEV);
        }
        self.member(join, IpAddr::V4(group))
    }

    /// `struct ipv6_mreq`.
    fn member_v6(&mut self, join: bool, value: &[u8]) -> Result<(), Errno> {
        let raw: &[u8; 20] = value.first_chunk().ok_or(Errno::EINVAL)?;
        let mut octets = [0; 16];
        octets.copy_from_slice(&raw[..16]);
        let group = Ipv6Addr::from(octets);
        if !group.is_multicast() {
            return Err(Errno::EINVAL);
        }
        if join && !interface_index(int(&raw[16..])?).unwrap_or(false) {
            return Err(Errno::ENODEV);
        }
        self.member(join, IpAddr::V6(group))
    }

    /// `struct in_addr`, `ip_mreq` or `ip_mreqn`.
    fn interface_v4(&mut self, value: &[u8]) -> Result<(), Errno> {
        let (addr, index) = match value.len() {
            0..4 => return Err(Errno::EINVAL),
            4..8 => (&value[..4], 0),
            8..12 => (&value[4..8], 0),
            _ => (&value[4..8], int(&value[8..])?),
        };
        let addr = Ipv4Addr::new(addr[0], addr[1], addr[2], addr[3]);
        self.multicast_if = match index {
            0 if addr.is_unspecified() => false,
            0 if addr.is_loopback() => true,
            0 => return Err(Errno::EADDRNOTAVAIL),
            index => interface_index(index).map_err(|_| Errno::EADDRNOTAVAIL)?,
        };
        Ok(())
    }
}

fn interface_index(index: i32) -> Result<bool, Errno> {
    match u32::try_from(index) {
        Ok(0) => Ok(false),
        Ok(LOOPBACK_INDEX) => Ok(true),
        _ => Err(Errno::ENODEV),
    }
}
