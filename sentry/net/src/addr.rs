//! Socket addresses as the guest writes them: parsing with each family's own length rules, and writing back.
//!
//! Key types: [`RawAddr`] (the bytes of a `sockaddr`, at most 128), [`UnixName`] and [`InetAddr`]. Every length and byte
//! comes from the guest. Source: `man 7 unix`, `man 7 ip`, `man 7 ipv6`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use abi::Errno;
use smallvec::SmallVec;

use crate::uapi::af;

/// Size of `struct sockaddr_storage`: longer addresses are refused by every call.
pub const STORAGE_LEN: usize = 128;
/// Size of `struct sockaddr_un`.
pub const UNIX_LEN: usize = 110;
/// Size of `struct sockaddr_in`.
pub const INET_LEN: usize = 16;
/// Size of `struct sockaddr_in6`.
pub const INET6_LEN: usize = 28;
/// Least length of a `sockaddr_in6` (without `sin6_scope_id`, RFC 2133).
pub const INET6_MIN_LEN: usize = 24;

/// The bytes of a socket address, ready to be copied out. Empty where there is no address.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct RawAddr(SmallVec<[u8; 32]>);

impl RawAddr {
    /// Wraps bytes that a family made.
    pub fn new(bytes: &[u8]) -> RawAddr {
        RawAddr(SmallVec::from_slice(bytes))
    }

    /// Returns the bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Tells whether there is no address (`msg_namelen` 0).
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Reads the family of an address; `None` where it is too short to have one.
pub fn family(raw: &[u8]) -> Option<u16> {
    Some(u16::from_ne_bytes([*raw.first()?, *raw.get(1)?]))
}

/// A name in the unix domain.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum UnixName {
    /// A path, without NUL.
    Path(Vec<u8>),
    /// An abstract name: all bytes after the leading NUL.
    Abstract(Vec<u8>),
}

impl UnixName {
    /// Parses a `sockaddr_un`. `None` is the address of just a family, which asks `bind` for a name of the kernel's
    /// choice and is otherwise invalid. Errors: `EINVAL` for a bad length or family.
    pub fn parse(raw: &[u8]) -> Result<Option<UnixName>, Errno> {
        if raw.len() > UNIX_LEN || family(raw) != Some(af::UNIX) {
            return Err(Errno::EINVAL);
        }
        let name = &raw[2..];
        Ok(match name.first() {
            None => None,
            Some(0) => Some(UnixName::Abstract(name[1..].to_vec())),
            Some(_) => {
                let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
                Some(UnixName::Path(name[..end].to_vec()))
            }
        })
    }

    /// Writes a `sockaddr_un`: a path with its NUL, an abstract name without, no name as the family alone.
    pub fn write(name: Option<&UnixName>) -> RawAddr {
        let mut raw = SmallVec::from_slice(&af::UNIX.to_ne_bytes());
        match name {
            None => {}
            Some(UnixName::Path(path)) => {
                raw.extend_from_slice(path);
                raw.push(0);
            }
            Some(UnixName::Abstract(name)) => {
                raw.push(0);
                raw.extend_from_slice(name);
            }
        }
        RawAddr(raw)
    }
}

/// An internet address with its port, of either family. IPv4-mapped IPv6 addresses are kept as IPv4 inside; the family
/// of the socket decides how they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct InetAddr {
    /// Address.
    pub ip: IpAddr,
    /// Port in host order.
    pub port: u16,
    /// `sin6_scope_id`; 0 in IPv4.
    pub scope: u32,
}

impl InetAddr {
    /// Names an endpoint without scope.
    pub fn new(ip: IpAddr, port: u16) -> InetAddr {
        InetAddr { ip, port, scope: 0 }
    }

    /// Parses a `sockaddr_in` whatever its family field says (the caller judges that). Errors: `EINVAL` when short.
    pub fn parse_v4(raw: &[u8]) -> Result<InetAddr, Errno> {
        let raw: &[u8; 8] = raw.get(..INET_LEN).and_then(|raw| raw.first_chunk()).ok_or(Errno::EINVAL)?;
        let ip = Ipv4Addr::new(raw[4], raw[5], raw[6], raw[7]);
        Ok(InetAddr::new(IpAddr::V4(ip), u16::from_be_bytes([raw[2], raw[3]])))
    }

    /// Parses a `sockaddr_in6`; the scope may be missing. Errors: `EINVAL` when short.
    pub fn parse_v6(raw: &[u8]) -> Result<InetAddr, Errno> {
        let head: &[u8; INET6_MIN_LEN] = raw.first_chunk().ok_or(Errno::EINVAL)?;
        let mut octets = [0; 16];
        octets.copy_from_slice(&head[8..24]);
        let scope = match raw.get(24..28) {
            Some(&[a, b, c, d]) => u32::from_ne_bytes([a, b, c, d]),
            _ => 0,
        };
        let ip = unmap(Ipv6Addr::from(octets));
        Ok(InetAddr { ip, port: u16::from_be_bytes([head[2], head[3]]), scope })
    }

    /// Writes a `sockaddr_in`, or a `sockaddr_in6` where `family` is `AF_INET6`.
    pub fn write(&self, family: u16) -> RawAddr {
        let mut raw: SmallVec<[u8; 32]> = SmallVec::new();
        raw.extend_from_slice(&family.to_ne_bytes());
        raw.extend_from_slice(&self.port.to_be_bytes());
        if family == af::INET6 {
            raw.extend_from_slice(&[0; 4]);
            raw.extend_from_slice(&map(self.ip).octets());
            raw.extend_from_slice(&self.scope.to_ne_bytes());
        } else {
            raw.extend_from_slice(&match self.ip {
                IpAddr::V4(ip) => ip.octets(),
                IpAddr::V6(_) => [0; 4],
            });
            raw.extend_from_slice(&[0; 8]);
        }
        RawAddr(raw)
    }
}

/// Returns the IPv4 address inside an IPv4-mapped one, else the address itself.
pub fn unmap(ip: Ipv6Addr) -> IpAddr {
    ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4)
}

/// Returns the IPv6 form of any address.
pub fn map(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn un(name: &[u8]) -> Vec<u8> {
        [&af::UNIX.to_ne_bytes()[..], name].concat()
    }

    #[test]
    fn a_path_ends_at_its_first_nul() {
        let parsed = UnixName::parse(&un(b"/tmp/x\0rest"));
        assert_eq!(parsed, Ok(Some(UnixName::Path(b"/tmp/x".to_vec()))));
    }

    #[test]
    fn a_path_may_fill_the_address_without_nul_and_is_written_with_one() {
        let name = [b'a'; 108];
        let parsed = UnixName::parse(&un(&name)).unwrap();
        assert_eq!(UnixName::write(parsed.as_ref()).bytes().len(), 111);
        assert_eq!(UnixName::parse(&un(&[b'a'; 109])), Err(Errno::EINVAL));
    }

    #[test]
    fn abstract_names_keep_every_byte() {
        let parsed = UnixName::parse(&un(b"\0a\0b\0")).unwrap();
        assert_eq!(parsed, Some(UnixName::Abstract(b"a\0b\0".to_vec())));
        assert_eq!(UnixName::write(parsed.as_ref()).bytes(), un(b"\0a\0b\0"));
    }

    #[test]
    fn a_bare_family_is_no_name() {
        assert_eq!(UnixName::parse(&un(b"")), Ok(None));
        assert_eq!(UnixName::parse(&[1]), Err(Errno::EINVAL));
        assert_eq!(UnixName::write(None).bytes(), un(b""));
    }

    #[test]
    fn inet_addresses_come_back_as_they_went() {
        let v4 = InetAddr::new("127.0.0.1".parse().unwrap(), 80);
        assert_eq!(InetAddr::parse_v4(v4.write(af::INET).bytes()), Ok(v4));
        assert_eq!(InetAddr::parse_v6(v4.write(af::INET6).bytes()), Ok(v4));
        let v6 = InetAddr { ip: "::1".parse().unwrap(), port: 8080, scope: 3 };
        assert_eq!(InetAddr::parse_v6(v6.write(af::INET6).bytes()), Ok(v6));
        assert_eq!(v6.write(af::INET6).bytes().len(), INET6_LEN);
    }

    proptest! {
        #[test]
        fn garbage_never_panics_and_valid_names_round_trip(raw in proptest::collection::vec(any::<u8>(), 0..160)) {
            let _ = InetAddr::parse_v4(&raw);
            let _ = InetAddr::parse_v6(&raw);
            let _ = UnixName::parse(&raw);
            let named = un(&raw);
            if let Ok(Some(name)) = UnixName::parse(&named) {
                let written = UnixName::write(Some(&name));
                let seen = &written.bytes()[..written.bytes().len().min(UNIX_LEN)];
                prop_assert_eq!(UnixName::parse(seen), Ok(Some(name)));
            }
        }
    }
}
