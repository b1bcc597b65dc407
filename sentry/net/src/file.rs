//! [`SocketFile`]: a socket as an open file.

use std::any::Any;
use std::sync::Arc;

use abi::Errno;
use abi::flags::Ready;
use sentry_fs::{FileOps, IoDst, IoFlags, IoSrc, UserMemory};
use sentry_sync::WaitQueue;

use crate::ioctl;
use crate::socket::{Caller, Incoming, Outgoing, Socket};
use crate::uapi::MsgFlags;

/// An open socket. Dropping it closes the socket.
pub struct SocketFile {
    socket: Arc<dyn Socket>,
}

impl SocketFile {
    /// Makes the one file of a socket.
    pub fn new(socket: Arc<dyn Socket>) -> Arc<SocketFile> {
        Arc::new(SocketFile { socket })
    }

    /// Returns the socket.
    pub fn socket(&self) -> &Arc<dyn Socket> {
        &self.socket
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.socket.close();
    }
}

fn io_flags(flags: IoFlags) -> MsgFlags {
    if flags.intersects(IoFlags::NONBLOCK | IoFlags::NOWAIT) { MsgFlags::DONTWAIT } else { MsgFlags::empty() }
}

impl FileOps for SocketFile {
    fn read(&self, _pos: &mut u64, flags: IoFlags, dst: &mut dyn IoDst) -> Result<usize, Errno> {
        if dst.remaining() == 0 {
            return Ok(0);
        }
        self.socket.recv(&mut Incoming { flags: io_flags(flags), dst }).map(|received| received.len)
    }

    fn write(&self, _pos: &mut u64, flags: IoFlags, src: &mut dyn IoSrc) -> Result<usize, Errno> {
        let caller = Caller::plain(self.socket.core().creator);
        let mut message = Outgoing { flags: io_flags(flags), to: None, control: Vec::new(), src };
        self.socket.send(&caller, &mut message)
    }

    fn is_socket(&self) -> bool {
        true
    }

    fn ready(&self) -> Ready {
        self.socket.ready()
    }

    fn wait_queue(&self) -> Option<WaitQueue> {
        Some(self.socket.core().wait.clone())
    }

    fn ioctl(&self, memory: &dyn UserMemory, op: u32, arg: u64) -> Result<u64, Errno> {
        ioctl::serve(&*self.socket, memory, op, arg)
    }

    fn anon_name(&self) -> Option<String> {
        Some(format!("socket:[{}]", self.socket.core().id))
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
