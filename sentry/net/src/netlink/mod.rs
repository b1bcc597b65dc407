//! `AF_NETLINK`.

use std::sync::Arc;

use abi::Errno;

use crate::NetNamespace;
use crate::socket::{Caller, Socket};
use crate::uapi::SockType;

/// Ports in use.
pub(crate) struct Ports;

impl Ports {
    pub(crate) fn new() -> Ports {
        Ports
    }
}

/// Makes a socket.
pub(crate) fn socket(
    _ns: &Arc<NetNamespace>,
    _caller: &Caller<'_>,
    _kind: SockType,
    _protocol: i32,
) -> Result<Arc<dyn Socket>, Errno> {
    Err(Errno::EAFNOSUPPORT)
}
