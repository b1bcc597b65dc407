//! Host calls of a sentry whose guest may use Unix sockets of the host (`--host-uds`), besides those in
//! [`super::host_calls`], by which such sockets are sent to and received from already.
//!
//! The gofer connects and binds them: the sentry still makes none and gives none a name. Options are those of
//! `sentry_net::host::options`.

use sentry_net::host::options::UNIX;

use super::host_calls::{Check, HostCall, call};

/// `SIOCOUTQ` (`SIOCINQ` is a terminal's too).
const IOCTLS: &[u64] = &[0x5411];

/// Of all sockets.
pub(crate) const UNIX_CALLS: &[HostCall] = &[
    call(libc::SYS_shutdown, &[], "the guest's sockets"),
    call(libc::SYS_ioctl, &[Check::In(1, IOCTLS)], "queues of sockets"),
    call(libc::SYS_setsockopt, &[Check::In(1, &[UNIX.level]), Check::In(2, UNIX.set)], "options of sockets"),
    call(libc::SYS_getsockopt, &[Check::In(1, &[UNIX.level]), Check::In(2, UNIX.set)], "options of sockets"),
    call(libc::SYS_getsockopt, &[Check::In(1, &[UNIX.level]), Check::In(2, UNIX.get)], "states of sockets"),
];

/// Of those that the guest may bind.
pub(crate) const LISTEN_CALLS: &[HostCall] = &[call(libc::SYS_listen, &[], "sockets that the gofer has bound")];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_socket_is_made_or_named() {
        let never = [libc::SYS_socket, libc::SYS_socketpair, libc::SYS_connect, libc::SYS_bind];
        assert!(UNIX_CALLS.iter().chain(LISTEN_CALLS).all(|call| !never.contains(&call.nr)));
    }
}
