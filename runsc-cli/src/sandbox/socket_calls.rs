//! Host calls of a sentry whose guest has sockets on the host, besides those in [`super::host_calls`].
//!
//! Internet sockets for streams and datagrams and nothing else: no raw sockets, no packets, no netlink (the one that asks
//! about interfaces is opened before), no unix sockets. Options are those of `sentry_net::host::options`.

use sentry_net::host::options::{IP, IPV6, SOCKET, TCP, UDP};

use super::host_calls::{Check, HostCall, call};

/// `AF_INET`, `AF_INET6`.
const FAMILIES: &[u64] = &[2, 10];
const FLAGS: u64 = libc::SOCK_CLOEXEC as u64 | libc::SOCK_NONBLOCK as u64;
const STREAM: &[u64] = &[libc::SOCK_STREAM as u64 | FLAGS];
const DATAGRAM: &[u64] = &[libc::SOCK_DGRAM as u64 | FLAGS];
/// UDP, and the echo requests of ping(8) in both families.
const DATAGRAMS: &[u64] = &[17, 1, 58];
/// `SIOCOUTQ`, `SIOCATMARK` (`SIOCINQ` is a terminal's too), the list of addresses, and what only reads about an
/// interface.
const IOCTLS: &[u64] =
    &[0x5411, 0x8905, 0x8912, 0x8910, 0x8913, 0x8915, 0x8917, 0x8919, 0x891b, 0x891d, 0x8921, 0x8927, 0x8933, 0x8942];

/// All of them.
pub(crate) const SOCKET_CALLS: &[HostCall] = &[
    call(libc::SYS_socket, &[Check::In(0, FAMILIES), Check::In(1, STREAM), Check::In(2, &[6])], "the guest's TCP"),
    call(
        libc::SYS_socket,
        &[Check::In(0, FAMILIES), Check::In(1, DATAGRAM), Check::In(2, DATAGRAMS)],
        "the guest's UDP and pings",
    ),
    call(libc::SYS_bind, &[], "the guest's sockets"),
    call(libc::SYS_connect, &[], "the guest's sockets; the root is empty, so no path leads anywhere"),
    call(libc::SYS_listen, &[], "the guest's sockets"),
    call(libc::SYS_shutdown, &[], "the guest's sockets"),
    call(libc::SYS_getsockname, &[], "the guest's sockets"),
    call(libc::SYS_getpeername, &[], "the guest's sockets"),
    call(libc::SYS_ioctl, &[Check::In(1, IOCTLS)], "queues of sockets, questions about interfaces"),
    call(libc::SYS_setsockopt, &[Check::In(1, &[SOCKET.level]), Check::In(2, SOCKET.set)], "options of sockets"),
    call(libc::SYS_setsockopt, &[Check::In(1, &[IP.level]), Check::In(2, IP.set)], "options of IPv4"),
    call(libc::SYS_setsockopt, &[Check::In(1, &[IPV6.level]), Check::In(2, IPV6.set)], "options of IPv6"),
    call(libc::SYS_setsockopt, &[Check::In(1, &[TCP.level]), Check::In(2, TCP.set)], "options of TCP"),
    call(libc::SYS_setsockopt, &[Check::In(1, &[UDP.level]), Check::In(2, UDP.set)], "options of UDP"),
    call(libc::SYS_getsockopt, &[Check::In(1, &[SOCKET.level]), Check::In(2, SOCKET.set)], "options of sockets"),
    call(libc::SYS_getsockopt, &[Check::In(1, &[SOCKET.level]), Check::In(2, SOCKET.get)], "states of sockets"),
    call(libc::SYS_getsockopt, &[Check::In(1, &[IP.level]), Check::In(2, IP.set)], "options of IPv4"),
    call(libc::SYS_getsockopt, &[Check::In(1, &[IP.level]), Check::In(2, IP.get)], "states of IPv4"),
    call(libc::SYS_getsockopt, &[Check::In(1, &[IPV6.level]), Check::In(2, IPV6.set)], "options of IPv6"),
    call(libc::SYS_getsockopt, &[Check::In(1, &[IPV6.level]), Check::In(2, IPV6.get)], "states of IPv6"),
    call(libc::SYS_getsockopt, &[Check::In(1, &[TCP.level]), Check::In(2, TCP.set)], "options of TCP"),
    call(libc::SYS_getsockopt, &[Check::In(1, &[TCP.level]), Check::In(2, TCP.get)], "states of TCP"),
    call(libc::SYS_getsockopt, &[Check::In(1, &[UDP.level]), Check::In(2, UDP.set)], "options of UDP"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sockets_of_internet_streams_and_datagrams_can_be_made() {
        let sockets: Vec<_> = SOCKET_CALLS.iter().filter(|call| call.nr == libc::SYS_socket).collect();
        assert_eq!(sockets.len(), 2);
        for call in sockets {
            assert_eq!(call.checks[0], Check::In(0, &[libc::AF_INET as u64, libc::AF_INET6 as u64]));
            let Check::In(1, [kind]) = call.checks[1] else { panic!("{:?}", call.checks) };
            assert_eq!(kind & FLAGS, FLAGS);
            assert!(matches!(call.checks[2], Check::In(2, protocols) if !protocols.contains(&0)));
        }
    }

    #[test]
    fn options_and_requests_are_always_checked() {
        let checked = [libc::SYS_setsockopt, libc::SYS_getsockopt, libc::SYS_ioctl];
        let of_them = SOCKET_CALLS.iter().filter(|call| checked.contains(&call.nr));
        assert!(of_them.into_iter().all(|call| !call.checks.is_empty() && !call.why.is_empty()));
    }
}
