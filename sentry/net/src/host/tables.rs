//! Files of `/proc/net` where sockets are the host's: interfaces and routes as the host shows them, sockets as far as they
//! are the guest's.

use std::os::unix::fs::FileExt;
use std::sync::{Arc, Weak};

use super::HostNet;
use super::socket::HostSocket;
use crate::proc::Listed;
use crate::socket::Socket;
use crate::uapi::{SockType, ipproto};

/// Most bytes of a file.
const MAX_FILE: usize = 1 << 20;

impl HostNet {
    /// Returns a file that the host keeps.
    pub(crate) fn proc_file(&self, name: &str) -> Option<String> {
        let (_, file) = self.proc_files.iter().find(|(known, _)| *known == name)?;
        let mut text = Vec::new();
        let mut buf = vec![0; 16 * 1024];
        while text.len() < MAX_FILE {
            let at = u64::try_from(text.len()).ok()?;
            match file.read_at(&mut buf, at) {
                Ok(0) | Err(_) => break,
                Ok(got) => text.extend_from_slice(&buf[..got]),
            }
        }
        Some(String::from_utf8_lossy(&text).into_owned())
    }

    /// Returns the guest's sockets of a family that have a port: TCP's or UDP's.
    pub(crate) fn listed(&self, family: u16, stream: bool) -> Vec<Listed> {
        let all: Vec<_> = self.sockets.lock().values().filter_map(Weak::upgrade).collect();
        let wanted = |socket: &Arc<HostSocket>| {
            let core = socket.core();
            core.domain == family && (core.kind == SockType::Stream) == stream && core.protocol != ipproto::ICMP
        };
        let mut found: Vec<_> = all.into_iter().filter(wanted).collect();
        found.sort_unstable_by_key(|socket| socket.core().id);
        let found = found.into_iter().map(|socket| {
            let (state, local, remote) = socket.describe();
            Listed { socket, state, local, remote }
        });
        found.filter(|listed| listed.local.port != 0).collect()
    }
}
