//! [`Socket`]: what every family offers, and the values that go in and out of its calls.
//!
//! Neighbours: [`crate::file::SocketFile`] makes a socket an open file, [`crate::opts`] serves `SOL_SOCKET`. Calls never
//! wait: `EAGAIN` (and `EINPROGRESS`, `EALREADY` of `connect`) mean "register on [`Core::wait`], try again".

use std::any::Any;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use abi::Errno;
use abi::flags::Ready;
use bitflags::bitflags;
use sentry_fs::{InodeRef, IoDst, IoSrc};
use sentry_sync::{Level, Mutex, WaitQueue};

use crate::NetNamespace;
use crate::addr::RawAddr;
use crate::opts::Options;
use crate::uapi::{MsgFlags, SockType};

/// An open file description in flight, opaque to this crate.
pub type FileRef = Arc<dyn Any + Send + Sync>;

/// `struct ucred`. The ids are the kernel's global ones; whoever shows them translates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Ucred {
    pub pid: i32,
    pub uid: u32,
    pub gid: u32,
}

bitflags! {
    /// The capabilities of a caller that matter to sockets.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct Caps: u8 {
        /// May bind ports below 1024.
        const NET_BIND_SERVICE = 1;
        /// May change network administration.
        const NET_ADMIN = 2;
        /// May use raw sockets.
        const NET_RAW = 4;
        /// May exceed the limit of files in flight (`CAP_SYS_RESOURCE` or `CAP_SYS_ADMIN`).
        const UNLIMITED_IN_FLIGHT = 8;
    }
}

/// Identity of a socket inode: equal exactly for the same inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PathKey {
    /// File system, for example the encoded `st_dev`.
    pub dev: u64,
    /// Inode number.
    pub ino: u64,
}

/// A socket inode made by `bind`.
pub struct PathBinding {
    /// Its identity.
    pub key: PathKey,
    /// Keeps the inode (and so its number) alive as long as the socket is bound to it.
    pub pin: FileRef,
}

/// What unix sockets need from the VFS, on behalf of one caller.
pub trait UnixPaths {
    /// Makes a socket inode: `EADDRINUSE` where the path exists, else the errors of `mknod(2)`.
    fn create(&self, path: &[u8]) -> Result<PathBinding, Errno>;
    /// Removes what [`UnixPaths::create`] has made, since the socket could not be bound after all.
    fn remove(&self, path: &[u8]);
    /// Finds a socket inode: the errors of a path walk, `EACCES` without write permission, `ECONNREFUSED` where it is no
    /// socket.
    fn resolve(&self, path: &[u8]) -> Result<PathKey, Errno>;

    /// Finds a socket inode that may be one of the host: the same errors.
    fn host_socket(&self, _path: &[u8]) -> Result<(PathKey, InodeRef), Errno> {
        Err(Errno::ECONNREFUSED)
    }

    /// Makes a socket of the host, of a type `SOCK_*`: `EOPNOTSUPP` where the path doesn't lead there, else the errors of
    /// [`UnixPaths::create`].
    fn create_host(&self, _path: &[u8], _kind: u32) -> Result<(PathBinding, OwnedFd), Errno> {
        Err(Errno::EOPNOTSUPP)
    }
}

/// A VFS without files: for sockets that have no paths to resolve.
#[derive(Clone, Copy, Debug)]
pub struct NoPaths;

impl UnixPaths for NoPaths {
    fn create(&self, _path: &[u8]) -> Result<PathBinding, Errno> {
        Err(Errno::EACCES)
    }

    fn remove(&self, _path: &[u8]) {}

    fn resolve(&self, _path: &[u8]) -> Result<PathKey, Errno> {
        Err(Errno::ENOENT)
    }
}

/// Who makes a call.
#[derive(Clone, Copy)]
pub struct Caller<'a> {
    /// Process id and effective ids.
    pub cred: Ucred,
    /// Capabilities in the network namespace's user namespace.
    pub caps: Caps,
    /// `RLIMIT_NOFILE`: bounds files in flight.
    pub nofile: u64,
    /// Path resolution with the caller's root, directory and rights.
    pub paths: &'a dyn UnixPaths,
    /// Tells which socket a passed file is, if it is one: sockets in flight may keep each other alive.
    pub socket_of: fn(&FileRef) -> Option<Arc<dyn Socket>>,
}

impl Caller<'_> {
    /// A caller of which only the credentials are known (`read`, `write` and the like).
    pub fn plain(cred: Ucred) -> Caller<'static> {
        Caller { cred, caps: Caps::empty(), nofile: 1024, paths: &NoPaths, socket_of: |_| None }
    }
}

/// One control message.
#[derive(Clone)]
pub enum Control {
    /// `SCM_RIGHTS`: open files.
    Rights(Vec<FileRef>),
    /// `SCM_CREDENTIALS`; the sender's right to these ids has been checked.
    Credentials(Ucred),
    /// `SCM_PIDFD`: the process that sent a received message; 0 where nobody knows.
    Process(i32),
    /// Anything else, as bytes.
    Other {
        /// `cmsg_level`.
        level: i32,
        /// `cmsg_type`.
        kind: i32,
        /// Payload.
        data: Vec<u8>,
    },
}

/// A message to send.
pub struct Outgoing<'a> {
    /// `MSG_*` of the call, plus `DONTWAIT` for a non-blocking socket.
    pub flags: MsgFlags,
    /// Destination as the guest gave it.
    pub to: Option<&'a [u8]>,
    /// Control messages. Taken by the first try that sends something.
    pub control: Vec<Control>,
    /// Data.
    pub src: &'a mut dyn IoSrc,
}

/// Where a message is received.
pub struct Incoming<'a> {
    /// `MSG_*` of the call, plus `DONTWAIT` for a non-blocking socket.
    pub flags: MsgFlags,
    /// Destination.
    pub dst: &'a mut dyn IoDst,
}

/// What was received.
#[derive(Default)]
pub struct Received {
    /// The result of the call: bytes received, or the whole length of a truncated message where `MSG_TRUNC` asks for it.
    pub len: usize,
    /// `msg_flags`.
    pub flags: MsgFlags,
    /// Source address; `None` where the protocol gives none (`msg_namelen` 0).
    pub from: Option<RawAddr>,
    /// Control messages in the order in which Linux writes them.
    pub control: Vec<Control>,
    /// A stream may go on filling the buffer (`MSG_WAITALL`, `SO_RCVLOWAT`); false at a boundary or the end.
    pub more: bool,
}

/// Which directions `shutdown(2)` ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// `SHUT_RD`.
    Read,
    /// `SHUT_WR`.
    Write,
    /// `SHUT_RDWR`.
    Both,
}

impl Shutdown {
    /// Reads the argument of the call: `EINVAL` where it is none.
    pub fn from_raw(how: i32) -> Result<Shutdown, Errno> {
        match how {
            0 => Ok(Shutdown::Read),
            1 => Ok(Shutdown::Write),
            2 => Ok(Shutdown::Both),
            _ => Err(Errno::EINVAL),
        }
    }

    /// Tells whether receiving ends.
    pub fn reads(self) -> bool {
        self != Shutdown::Write
    }

    /// Tells whether sending ends.
    pub fn writes(self) -> bool {
        self != Shutdown::Read
    }
}

/// What all sockets have.
pub struct Core {
    /// Namespace the socket was made in.
    pub ns: Arc<NetNamespace>,
    /// `AF_*`.
    pub domain: u16,
    /// `SOCK_*`.
    pub kind: SockType,
    /// `IPPROTO_*` or the family's own.
    pub protocol: i32,
    /// Woken with [`Ready`] bits.
    pub wait: WaitQueue,
    /// Number unique in the kernel: `SO_COOKIE`, `socket:[N]`.
    pub id: u64,
    /// Who made the socket.
    pub creator: Ucred,
    /// Generic options.
    pub opts: Mutex<Options>,
    /// Pending `SO_ERROR`, 0 if none.
    error: AtomicI32,
}

impl Core {
    /// Makes the common part of a socket.
    pub fn new(ns: &Arc<NetNamespace>, domain: u16, kind: SockType, protocol: i32, creator: Ucred) -> Arc<Core> {
        Arc::new(Core {
            ns: Arc::clone(ns),
            domain,
            kind,
            protocol,
            wait: WaitQueue::new(),
            id: ns.next_id(),
            creator,
            opts: Mutex::new(Level::Leaf, Options::new(domain, kind)),
            error: AtomicI32::new(0),
        })
    }

    /// Makes the common part of an accepted socket, which inherits the listener's options.
    pub fn child(parent: &Core) -> Arc<Core> {
        let opts = parent.opts.lock().inherited();
        Arc::new(Core {
            ns: Arc::clone(&parent.ns),
            domain: parent.domain,
            kind: parent.kind,
            protocol: parent.protocol,
            wait: WaitQueue::new(),
            id: parent.ns.next_id(),
            creator: parent.creator,
            opts: Mutex::new(Level::Leaf, opts),
            error: AtomicI32::new(0),
        })
    }

    /// Takes the pending error.
    pub fn take_error(&self) -> Result<(), Errno> {
        match self.error.load(Ordering::Relaxed) {
            0 => Ok(()),
            _ => match self.error.swap(0, Ordering::AcqRel) {
                0 => Ok(()),
                number => Err(Errno::from_raw(number)),
            },
        }
    }

    /// Sets the pending error.
    pub fn set_error(&self, errno: Errno) {
        self.error.store(errno.raw(), Ordering::Release);
    }

    /// Tells whether an error is pending.
    pub fn has_error(&self) -> bool {
        self.error.load(Ordering::Acquire) != 0
    }

    /// Wakes with these bits.
    pub fn wake(&self, ready: Ready) {
        self.wait.wake(ready.bits());
    }
}

/// A socket of any family.
pub trait Socket: Send + Sync + Any {
    /// Returns the common part.
    fn core(&self) -> &Arc<Core>;

    /// Returns what is ready now.
    fn ready(&self) -> Ready;

    /// `bind(2)`.
    fn bind(&self, caller: &Caller<'_>, addr: &[u8]) -> Result<(), Errno>;

    /// `listen(2)`.
    fn listen(&self, _caller: &Caller<'_>, _backlog: i32) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Takes a connection from the queue: `EAGAIN` where there is none.
    fn accept(&self) -> Result<Arc<dyn Socket>, Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Starts or continues `connect(2)`. A blocking caller waits for [`Ready::OUT`] and calls again on `EAGAIN`,
    /// `EINPROGRESS` and `EALREADY`.
    fn connect(&self, caller: &Caller<'_>, addr: &[u8]) -> Result<(), Errno>;

    /// Returns how long a `connect`, or a send to an address, that has said `EAGAIN` waits before it tries again although
    /// nobody has woken it.
    fn pause(&self) -> Option<Duration> {
        None
    }

    /// Sends as much as fits now.
    fn send(&self, caller: &Caller<'_>, message: &mut Outgoing<'_>) -> Result<usize, Errno>;

    /// Receives what is there now.
    fn recv(&self, message: &mut Incoming<'_>) -> Result<Received, Errno>;

    /// `shutdown(2)`.
    fn shutdown(&self, how: Shutdown) -> Result<(), Errno>;

    /// `getsockname(2)`.
    fn local_name(&self) -> Result<RawAddr, Errno>;

    /// `getpeername(2)`.
    fn peer_name(&self) -> Result<RawAddr, Errno>;

    /// What `accept(2)` tells of the peer: `ECONNABORTED` where it is gone again and left no name.
    fn accepted_name(&self) -> Result<RawAddr, Errno> {
        self.peer_name().map_err(|_| Errno::ECONNABORTED)
    }

    /// `SO_ACCEPTCONN`.
    fn is_listening(&self) -> bool {
        false
    }

    /// Connections that wait to be accepted, and how many may; `None` of a socket that doesn't listen.
    fn backlog(&self) -> Option<(usize, usize)> {
        None
    }

    /// Number of the connected unix socket.
    fn peer_id(&self) -> Option<u64> {
        None
    }

    /// `SO_PEERCRED`.
    fn peer_cred(&self) -> Option<Ucred> {
        None
    }

    /// Sets an option of `SOL_SOCKET` in a way of the socket's own; `None` leaves it to [`crate::opts`].
    fn set_generic(&self, _caller: &Caller<'_>, _name: i32, _value: &[u8]) -> Option<Result<(), Errno>> {
        None
    }

    /// Returns an option of `SOL_SOCKET` that the socket keeps itself; `None` leaves it to [`crate::opts`].
    fn get_generic(&self, _name: i32, _len: usize) -> Option<Result<Vec<u8>, Errno>> {
        None
    }

    /// Sets an option of a level other than `SOL_SOCKET`.
    fn set_option(&self, _caller: &Caller<'_>, _level: i32, _name: i32, _value: &[u8]) -> Result<(), Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Returns an option of a level other than `SOL_SOCKET`; at most `len` bytes of it are used.
    fn get_option(&self, _level: i32, _name: i32, _len: usize) -> Result<Vec<u8>, Errno> {
        Err(Errno::EOPNOTSUPP)
    }

    /// Bytes that a receive would find (`SIOCINQ`, `FIONREAD`).
    fn inq(&self) -> Result<usize, Errno> {
        Err(Errno::EINVAL)
    }

    /// Bytes sent but not yet received (`SIOCOUTQ`).
    fn outq(&self) -> Result<usize, Errno> {
        Err(Errno::EINVAL)
    }

    /// Tells whether the next byte read follows the urgent one (`SIOCATMARK`).
    fn at_mark(&self) -> Result<bool, Errno> {
        Err(Errno::ENOTTY)
    }

    /// Tells whether `EPIPE` from a send comes with `SIGPIPE`.
    fn raises_sigpipe(&self) -> bool {
        false
    }

    /// Throws away received messages that carry files, since nobody will ever receive them.
    fn discard_files(&self) {}

    /// Ends the socket: the last descriptor is closed. Called once.
    fn close(&self);
}
