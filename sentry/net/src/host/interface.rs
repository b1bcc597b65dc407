//! Questions about interfaces by `ioctl(2)` (`man 7 netdevice`), answered by the host.

use std::os::fd::AsFd;

use abi::Errno;
use sentry_platform::host_socket as host;

use super::HostNet;

/// Most entries of one `SIOCGIFCONF`.
pub(crate) const MAX_ENTRIES: usize = 256;

/// Answers a request that takes a `struct ifreq`; `None` where it is not one that only reads.
pub(crate) fn one(net: &HostNet, request: u32, entry: &mut [u8; host::IFREQ]) -> Option<Result<(), Errno>> {
    host::INTERFACE_REQUESTS.contains(&request).then(|| host::interface(net.asking.as_fd(), request, entry))
}

/// Lists the IPv4 addresses.
pub(crate) fn list(net: &HostNet) -> Result<Vec<u8>, Errno> {
    host::interfaces(net.asking.as_fd(), MAX_ENTRIES)
}
