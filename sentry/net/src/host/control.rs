//! Control messages that go to a host socket and come from it: those of an allow-list, as bytes.

use abi::Errno;

use crate::cmsg::{self, Writer};
use crate::socket::Control;
use crate::uapi::{ip, ipv6, scm, sol, udp};

/// Most bytes of control messages in one send.
const MAX_OUT: usize = 1024;

/// What may be sent along: (level, type).
const SENDABLE: [(i32, i32); 8] = [
    (sol::IP, ip::PKTINFO),
    (sol::IP, ip::TTL),
    (sol::IP, ip::TOS),
    (sol::IPV6, ipv6::PKTINFO),
    (sol::IPV6, ipv6::HOPLIMIT),
    (sol::IPV6, ipv6::TCLASS),
    (sol::IPV6, ipv6::DONTFRAG),
    (sol::UDP, udp::SEGMENT),
];

/// Builds what is sent along: `EINVAL` for what may not be.
pub(super) fn outgoing(control: &[Control]) -> Result<Vec<u8>, Errno> {
    if control.is_empty() {
        return Ok(Vec::new());
    }
    let mut writer = Writer::new(MAX_OUT);
    for one in control {
        let Control::Other { level, kind, data } = one else { return Err(Errno::EINVAL) };
        if !SENDABLE.contains(&(*level, *kind)) {
            return Err(Errno::EINVAL);
        }
        writer.put(*level, *kind, data);
    }
    if writer.truncated { Err(Errno::EINVAL) } else { Ok(writer.finish()) }
}

/// Reads what has come along. Nothing in it can mean anything to the sentry itself.
pub(super) fn incoming(raw: &[u8]) -> Vec<Control> {
    let found = cmsg::parse(raw).unwrap_or_default();
    let passes = |level, kind| level != sol::SOCKET || !matches!(kind, scm::RIGHTS | scm::CREDENTIALS);
    let found = found.into_iter().filter(|one| passes(one.level, one.kind));
    found.map(|one| Control::Other { level: one.level, kind: one.kind, data: one.data.to_vec() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn other(level: i32, kind: i32, len: usize) -> Control {
        Control::Other { level, kind, data: vec![7; len] }
    }

    #[test]
    fn only_listed_messages_pass() {
        let raw = outgoing(&[other(0, ip::TTL, 4), other(41, ipv6::TCLASS, 4)]).unwrap();
        assert_eq!(cmsg::parse(&raw).unwrap().len(), 2);
        assert_eq!(outgoing(&[other(1, 37, 4)]), Err(Errno::EINVAL));
        assert_eq!(outgoing(&[Control::Credentials(crate::Ucred::default())]), Err(Errno::EINVAL));
        assert_eq!(outgoing(&[other(0, ip::TTL, 4000)]), Err(Errno::EINVAL));
        assert_eq!(outgoing(&[]), Ok(Vec::new()));
    }

    #[test]
    fn descriptors_never_come_in() {
        let mut writer = Writer::new(200);
        writer.put(sol::SOCKET, scm::RIGHTS, &[1, 0, 0, 0]);
        writer.put(sol::IP, ip::TTL, &[64, 0, 0, 0]);
        let found = incoming(&writer.finish());
        assert!(matches!(&found[..], [Control::Other { level: 0, kind: ip::TTL, .. }]));
    }
}
