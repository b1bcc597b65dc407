//! The guest's files as tools on the host see them that enter the container's mount namespace (`podman cp`, `podman top`,
//! `nsenter -m`): a FUSE file system of the host, mounted there by the command line, and served by the kernel.
//!
//! Nothing of the sandbox itself can reach it: its own root lies below. Who enters sees the tree of the first process's
//! mount namespace as it is inside, overlay, volumes, memory file systems and `/proc` included, without programs to execute,
//! devices or set-id bits (the mount's flags say so), and may change it. Requests are answered one after the other by a
//! worker; none waits for the guest.

mod answer;
mod ids;
mod nodes;
#[cfg(test)]
mod tests;
mod wire;

use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};

use abi::Errno;
use sentry_fs::hostfd::{HostReactor, Watch};
use sentry_sync::WaitQueue;
use zerocopy::{FromBytes, IntoBytes};

use crate::Kernel;
use crate::reactor::Reactor;
use crate::wait::until;
use answer::{Answer, View};
pub use ids::{IdRange, Ids};
use wire::{InHeader, OutHeader};

/// Serves the file system behind `device` (`/dev/fuse`, open without blocking) from now on. `ids` says what users and groups
/// are called outside.
pub fn serve(kernel: &Arc<Kernel>, reactor: &Reactor, device: OwnedFd, ids: Ids) -> Result<(), Errno> {
    let namespace = kernel.vfs.namespace().ok_or(Errno::ENOENT)?;
    let view = View::new(Arc::clone(namespace), ids);
    let (device, queue) = (Arc::new(device), WaitQueue::new());
    let watch = reactor.watch(&device, &queue)?;
    kernel.executor.spawn(listen(Arc::downgrade(kernel), view, device, queue, watch));
    Ok(())
}

/// What the host has sent.
enum Request {
    /// A message of so many bytes.
    Message(usize),
    /// One that somebody gave up, or none.
    None,
    /// The file system is gone.
    End,
}

fn receive(device: &OwnedFd, buf: &mut [u8]) -> Option<Request> {
    use rustix::io::Errno as Host;
    match rustix::io::read(device, buf) {
        Ok(len) => Some(Request::Message(len)),
        Err(Host::AGAIN) => None,
        Err(Host::INTR | Host::NOENT) => Some(Request::None),
        Err(error) => {
            tracing::debug!(%error, "the view for the host has ended");
            Some(Request::End)
        }
    }
}

async fn listen(kernel: Weak<Kernel>, mut view: View, device: Arc<OwnedFd>, queue: WaitQueue, watch: Watch) {
    let _watch = watch;
    // There only while there is something to read.
    let mut buf = Vec::new();
    let queues = [&queue];
    loop {
        let request = until(&queues, || {
            buf.resize(wire::REQUEST_MAX, 0);
            let request = receive(&device, &mut buf);
            if request.is_none() {
                buf = Vec::new();
            }
            request
        });
        let len = match request.await {
            Request::Message(len) => len,
            Request::None => continue,
            Request::End => return,
        };
        let Some(kernel) = kernel.upgrade() else { return };
        let Ok((header, body)) = InHeader::read_from_prefix(&buf[..len]) else {
            tracing::warn!(len, "a request of the host's FUSE is too short");
            return;
        };
        if let Answer::Reply(reply) = view.answer(&kernel.vfs, &header, body) {
            send(&device, header.unique, reply);
        }
    }
}

fn send(device: &OwnedFd, unique: u64, reply: Result<Vec<u8>, Errno>) {
    let (error, data) = match reply {
        Ok(data) => (0, data),
        Err(errno) => (-errno.raw(), Vec::new()),
    };
    let len = size_of::<OutHeader>() + data.len();
    let Ok(whole) = u32::try_from(len) else { return };
    let mut message = Vec::with_capacity(len);
    message.extend_from_slice(OutHeader { len: whole, error, unique }.as_bytes());
    message.extend_from_slice(&data);
    // Nobody may wait for it any more.
    if let Err(error) = rustix::io::write(device, &message) {
        tracing::debug!(%error, "the host does not take an answer");
    }
}
