//! [`Client`]: requests to the gofer from any thread.

use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Weak;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use abi::Errno;
use crossbeam::queue::SegQueue;
use gofer_proto::{Entry, Handle, MAX_FORGET, Reply, Request, SeqPacket, Transport, TransportError, VERSION, Writer};
use sentry_sync::{Level, Mutex};

use super::Shared;

/// A tree that the gofer serves.
#[derive(Clone, Copy, Debug)]
pub struct Mount {
    /// The number that the caller gave it when it started the gofer.
    pub id: u32,
    /// The gofer refuses writes.
    pub readonly: bool,
    pub(super) root: Entry,
}

/// Why there is no gofer to talk to.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No connection was given.
    #[error("no connection to the gofer")]
    None,
    /// The gofer is gone or refuses.
    #[error("the gofer doesn't answer: {0}")]
    Host(Errno),
    /// The gofer is of another version.
    #[error("the gofer speaks version {0} of the protocol, expected {VERSION}")]
    Version(u32),
}

/// The connections to one gofer.
#[derive(Debug)]
pub struct Client {
    /// Each is held for the length of a request. Nothing is locked under it.
    connections: Vec<Mutex<Connection>>,
    turn: AtomicUsize,
    /// Inodes that have died, told to the gofer before the next request: they die in places where nothing may wait.
    dead: SegQueue<Dead>,
}

/// An inode that has died.
#[derive(Debug)]
pub(super) struct Dead {
    pub(super) handle: Handle,
    pub(super) given: u64,
    pub(super) fs: Weak<Shared>,
}

struct Connection {
    transport: Box<dyn Transport>,
    out: Writer,
    buf: Vec<u8>,
    last: u32,
    /// An answer was lost: later ones can't be trusted to belong to their questions.
    broken: bool,
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("last", &self.last).field("broken", &self.broken).finish_non_exhaustive()
    }
}

/// Once this many inodes have died they are told of without waiting for their number to grow.
const FORGET_BATCH: usize = 64;

impl Client {
    /// Takes connections into use and asks for the trees. Each serves one request at a time, so have as many as threads
    /// are expected to ask at once.
    ///
    /// `looking` says how long one looks for a reply at most before it sleeps; `None` leaves that to the connection.
    pub fn connect(sockets: Vec<OwnedFd>, looking: Option<Duration>) -> Result<(Client, Vec<Mount>), ConnectError> {
        let transport = |socket| Box::new(SeqPacket::new(socket).looking(looking)) as Box<dyn Transport>;
        let transports = sockets.into_iter().map(transport);
        Client::over(transports.collect())
    }

    /// Takes any transports into use and asks for the trees.
    pub fn over(transports: Vec<Box<dyn Transport>>) -> Result<(Client, Vec<Mount>), ConnectError> {
        if transports.is_empty() {
            return Err(ConnectError::None);
        }
        let connection = |transport| {
            let buf = gofer_proto::buffer();
            Mutex::new(Level::Leaf, Connection { transport, out: Writer::new(), buf, last: 0, broken: false })
        };
        let client = Client {
            connections: transports.into_iter().map(connection).collect(),
            turn: AtomicUsize::new(0),
            dead: SegQueue::new(),
        };
        let hello = client.call(&Request::Hello { version: VERSION }, |reply, _| match reply {
            Reply::Hello(hello) => Ok(hello),
            _ => Err(Errno::EPROTO),
        });
        let hello = hello.map_err(ConnectError::Host)?;
        if hello.version != VERSION {
            return Err(ConnectError::Version(hello.version));
        }
        let mount = |info: &gofer_proto::MountInfo| Mount { id: info.id, readonly: info.readonly, root: info.root };
        Ok((client, hello.mounts.iter().map(mount).collect()))
    }

    /// Asks one question. `read` takes what it needs out of the answer, which is never [`Reply::Error`], and the descriptor
    /// that came with it: `EIO` where none did, `ENFILE` where we have no room for one more.
    pub(super) fn call<R>(
        &self,
        request: &Request<'_>,
        read: impl FnOnce(Reply<'_>, Result<OwnedFd, Errno>) -> Result<R, Errno>,
    ) -> Result<R, Errno> {
        if self.dead.len() >= FORGET_BATCH {
            self.bury();
        }
        self.with_connection(|connection| connection.call(request, None, read))
    }

    /// Asks one question that comes with a descriptor, and is answered with neither values nor descriptors.
    pub(super) fn give(&self, request: &Request<'_>, fd: BorrowedFd<'_>) -> Result<(), Errno> {
        self.with_connection(|connection| connection.call(request, Some(fd), |_, _| Ok(())))
    }

    /// Has a memory file of the sentry's opened once more, for reading only.
    pub(crate) fn reopen_memory(&self, file: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
        self.with_connection(|connection| connection.call(&Request::MemoryFile, Some(file), |_, fd| fd))
    }

    /// Remembers an inode that has died. Never waits.
    pub(super) fn died(&self, dead: Dead) {
        self.dead.push(dead);
    }

    /// Tells the gofer of the inodes that have died.
    pub(super) fn bury(&self) {
        let mut handles = Vec::new();
        while handles.len() < MAX_FORGET
            && let Some(dead) = self.dead.pop()
        {
            if let Some(fs) = dead.fs.upgrade() {
                fs.sweep(dead.handle);
            }
            handles.push((dead.handle, dead.given));
        }
        if !handles.is_empty() {
            self.with_connection(|connection| connection.tell(&Request::Forget { handles }));
        }
    }

    /// Takes a free connection, or waits for the next one in turn.
    fn with_connection<R>(&self, body: impl FnOnce(&mut Connection) -> R) -> R {
        for connection in &self.connections {
            if let Some(mut free) = connection.try_lock() {
                return body(&mut free);
            }
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.connections.len().max(1);
        body(&mut self.connections[turn].lock())
    }
}

impl Connection {
    fn call<R>(
        &mut self,
        request: &Request<'_>,
        given: Option<BorrowedFd<'_>>,
        read: impl FnOnce(Reply<'_>, Result<OwnedFd, Errno>) -> Result<R, Errno>,
    ) -> Result<R, Errno> {
        let id = self.send(request, given)?;
        let received = match self.transport.receive(&mut self.buf) {
            Ok(received) => received,
            Err(error) => return Err(self.lost(error)),
        };
        let answer = Reply::decode(request.op(), self.buf.get(..received.len).unwrap_or_default());
        match answer {
            Ok((answered, reply)) if answered == id => match reply {
                Reply::Error(errno) => Err(errno),
                reply => {
                    let none = if received.fd_lost { Errno::ENFILE } else { Errno::EIO };
                    read(reply, received.fd.ok_or(none))
                }
            },
            Ok(_) => {
                self.broken = true;
                tracing::error!("the gofer answered another question");
                Err(Errno::EIO)
            }
            Err(error) => {
                self.broken = true;
                tracing::error!(%error, "the gofer's answer makes no sense");
                Err(Errno::EIO)
            }
        }
    }

    fn tell(&mut self, request: &Request<'_>) {
        // What fails here fails the next question too, where there is somebody to tell.
        let _ = self.send(request, None);
    }

    fn send(&mut self, request: &Request<'_>, given: Option<BorrowedFd<'_>>) -> Result<u32, Errno> {
        if self.broken {
            return Err(Errno::EIO);
        }
        self.last = self.last.wrapping_add(1);
        self.out.clear();
        request.encode(self.last, &mut self.out);
        let message = self.out.finish().map_err(|_| Errno::E2BIG)?;
        match self.transport.send(message, given) {
            Ok(()) => Ok(self.last),
            Err(error) => Err(self.lost(error)),
        }
    }

    /// The sandbox's own trouble, which the guest sees as a failing disk.
    fn lost(&mut self, error: TransportError) -> Errno {
        self.broken = true;
        tracing::error!(%error, "the gofer is gone");
        Errno::EIO
    }
}
