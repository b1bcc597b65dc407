//! Unix sockets that come to be sockets of the host: the host's end is one of a pair made here.

use std::any::Any;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixStream as HostStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use abi::Errno;
use abi::flags::{OpenFlags, Ready};
use abi::time::Timespec;
use sentry_fs::hostfd::{HostReactor, Watch};
use sentry_fs::{Attr, BytesDst, BytesSrc, DeviceId, FileKind, FileOps, Inode, InodeRef, SetAttr};
use sentry_sync::{Level, Mutex, Notify, WaitQueue};

use crate::NetNamespace;
use crate::addr::UnixName;
use crate::socket::{
    Caller, Caps, Control, Incoming, Outgoing, PathBinding, PathKey, Received, Socket, Ucred, UnixPaths,
};
use crate::uapi::{MsgFlags, af};

const STREAM: u32 = 1;
const DGRAM: u32 = 2;

struct NoReactor;

impl HostReactor for NoReactor {
    fn watch(&self, _fd: &Arc<OwnedFd>, _queue: &WaitQueue) -> Result<Watch, Errno> {
        Ok(Box::new(()))
    }
}

/// A socket inode of the host: gives out what was put in.
#[derive(Default)]
struct HostInode(std::sync::Mutex<Vec<OwnedFd>>);

impl HostInode {
    fn take(&self) -> Result<OwnedFd, Errno> {
        self.0.lock().unwrap().pop().ok_or(Errno::ECONNREFUSED)
    }
}

impl Inode for HostInode {
    fn attr(&self) -> Result<Attr, Errno> {
        Ok(Attr::nameless(DeviceId::default(), 1, FileKind::Socket, 0o777, Timespec::default()))
    }

    fn set_attr(&self, _set: &SetAttr) -> Result<(), Errno> {
        Err(Errno::EPERM)
    }

    fn open(self: Arc<Self>, _flags: OpenFlags) -> Result<Arc<dyn FileOps>, Errno> {
        Err(Errno::ENXIO)
    }

    fn connect_host(&self, _kind: u32) -> Result<OwnedFd, Errno> {
        self.take()
    }

    fn send_host_from(&self, socket: BorrowedFd<'_>, data: &[u8]) -> Result<(), Errno> {
        // The pair's other end stands for any name.
        sentry_platform::host_socket::send(socket, data, 0).map(drop)
    }

    fn connect_host_from(&self, _socket: BorrowedFd<'_>) -> Result<(), Errno> {
        // As above: it is connected already.
        self.take().map(drop)
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// One name, which may be bound in this kernel too.
struct Paths {
    inode: Arc<HostInode>,
    /// `bind` makes sockets of the host.
    creates: bool,
    removed: Mutex<usize>,
}

const KEY: PathKey = PathKey { dev: 1, ino: 1 };

impl UnixPaths for Paths {
    fn create(&self, _path: &[u8]) -> Result<PathBinding, Errno> {
        Ok(PathBinding { key: KEY, pin: Arc::new(()) })
    }

    fn remove(&self, _path: &[u8]) {
        *self.removed.lock() += 1;
    }

    fn resolve(&self, _path: &[u8]) -> Result<PathKey, Errno> {
        Ok(KEY)
    }

    fn host_socket(&self, _path: &[u8]) -> Result<(PathKey, InodeRef), Errno> {
        Ok((KEY, Arc::clone(&self.inode) as InodeRef))
    }

    fn create_host(&self, path: &[u8], _kind: u32) -> Result<(PathBinding, OwnedFd), Errno> {
        if self.creates { Ok((self.create(path)?, self.inode.take()?)) } else { Err(Errno::EOPNOTSUPP) }
    }
}

struct World {
    ns: Arc<NetNamespace>,
    paths: Paths,
}

impl World {
    fn new(creates: bool) -> World {
        let ns = NetNamespace::new();
        ns.use_host_unix(Arc::new(NoReactor));
        let removed = Mutex::new(Level::Leaf, 0);
        World { ns, paths: Paths { inode: Arc::default(), creates, removed } }
    }

    fn offer(&self, fd: impl Into<OwnedFd>) {
        self.paths.inode.0.lock().unwrap().push(fd.into());
    }

    fn caller(&self) -> Caller<'_> {
        let cred = Ucred { pid: 7, uid: 1000, gid: 100 };
        Caller { cred, caps: Caps::empty(), nofile: 4, paths: &self.paths, socket_of: |_| None }
    }

    fn socket(&self, kind: u32) -> Arc<dyn Socket> {
        self.ns.socket(&self.caller(), i32::from(af::UNIX), kind, 0).unwrap()
    }

    fn send(&self, socket: &dyn Socket, data: &[u8], to: Option<&[u8]>, control: Vec<Control>) -> Result<usize, Errno> {
        let mut src = BytesSrc::new(data);
        let mut message = Outgoing { flags: MsgFlags::DONTWAIT, to, control, src: &mut src };
        socket.send(&self.caller(), &mut message)
    }
}

fn recv(socket: &dyn Socket) -> Result<(Vec<u8>, Received), Errno> {
    let mut buf = vec![0; 100];
    let received = socket.recv(&mut Incoming { flags: MsgFlags::DONTWAIT, dst: &mut BytesDst::new(&mut buf) })?;
    buf.truncate(received.len);
    Ok((buf, received))
}

fn name() -> Vec<u8> {
    UnixName::write(Some(&UnixName::Path(b"/host.sock".to_vec()))).bytes().to_vec()
}

#[test]
fn a_connection_goes_to_the_host_where_nobody_listens_inside() {
    let world = World::new(false);
    let socket = world.socket(STREAM);
    assert_eq!(socket.connect(&world.caller(), &name()), Err(Errno::ECONNREFUSED));
    let (ours, theirs) = HostStream::pair().unwrap();
    world.offer(theirs);
    socket.connect(&world.caller(), &name()).unwrap();
    assert_eq!(world.send(&*socket, b"out", None, Vec::new()), Ok(3));
    std::io::Write::write_all(&mut &ours, b"in").unwrap();
    assert!(socket.ready().contains(Ready::IN | Ready::RDNORM | Ready::OUT));
    let (data, received) = recv(&*socket).unwrap();
    assert_eq!((&data[..], received.from.unwrap().bytes()), (&b"in"[..], &name()[..]));
    assert_eq!(recv(&*socket).map(|(data, _)| data), Err(Errno::EAGAIN));
    assert_eq!(socket.peer_name().unwrap().bytes(), name());
    assert_eq!(socket.local_name().unwrap(), UnixName::write(None));
    assert_eq!(socket.peer_cred(), Some(Ucred { pid: 0, uid: 65534, gid: 65534 }));
    // What the host need not be asked, and must not be.
    assert_eq!(socket.connect(&world.caller(), &name()), Err(Errno::EISCONN));
    assert_eq!(socket.listen(&world.caller(), 1), Err(Errno::EINVAL));
    assert_eq!(world.send(&*socket, b"x", Some(&name()), Vec::new()), Err(Errno::EISCONN));
    for control in [Control::Rights(vec![Arc::new(())]), Control::Credentials(Ucred::default())] {
        assert_eq!(world.send(&*socket, b"x", None, vec![control]), Err(Errno::EINVAL));
    }
    assert_eq!((socket.backlog(), socket.at_mark()), (None, Err(Errno::ENOTTY)));
    std::io::Read::read_exact(&mut &ours, &mut [0; 3]).unwrap();
    drop(ours);
    assert_eq!(recv(&*socket).map(|(data, _)| data.len()), Ok(0));
}

#[test]
fn whoever_listens_inside_comes_first() {
    let world = World::new(false);
    let (_ours, theirs) = HostStream::pair().unwrap();
    world.offer(theirs);
    let listener = world.socket(STREAM);
    listener.bind(&world.caller(), &name()).unwrap();
    listener.listen(&world.caller(), 1).unwrap();
    let socket = world.socket(STREAM);
    socket.connect(&world.caller(), &name()).unwrap();
    assert!(listener.ready().contains(Ready::IN));
    assert_eq!(world.paths.inode.0.lock().unwrap().len(), 1);
    // Nor does a connected socket turn to the host.
    listener.close();
    assert_eq!(socket.connect(&world.caller(), &name()), Err(Errno::EISCONN));
}

#[test]
fn descriptors_from_the_host_are_lost_and_that_is_seen() {
    let world = World::new(false);
    let socket = world.socket(STREAM);
    let (ours, theirs) = HostStream::pair().unwrap();
    world.offer(theirs);
    socket.connect(&world.caller(), &name()).unwrap();
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = rustix::net::SendAncillaryBuffer::new(&mut space);
    let fds = [ours.as_fd()];
    assert!(control.push(rustix::net::SendAncillaryMessage::ScmRights(&fds)));
    let part = [std::io::IoSlice::new(b"with")];
    rustix::net::sendmsg(&ours, &part, &mut control, rustix::net::SendFlags::empty()).unwrap();
    let (data, received) = recv(&*socket).unwrap();
    assert_eq!((&data[..], received.control.len()), (&b"with"[..], 0));
    assert!(received.flags.contains(MsgFlags::CTRUNC));
}

#[test]
fn a_name_on_the_host_makes_a_listener_there() {
    let world = World::new(true);
    let dir = tempfile::tempdir().unwrap();
    let bound = std::os::unix::net::UnixListener::bind(dir.path().join("s")).unwrap();
    bound.set_nonblocking(true).unwrap();
    world.offer(bound);
    let listener = world.socket(STREAM);
    listener.bind(&world.caller(), &name()).unwrap();
    assert_eq!(listener.local_name().unwrap().bytes(), name());
    assert_eq!(listener.bind(&world.caller(), &name()), Err(Errno::EINVAL));
    listener.listen(&world.caller(), 1).unwrap();
    assert!(listener.is_listening());
    assert!(matches!(listener.accept(), Err(Errno::EAGAIN)));
    let client = HostStream::connect(dir.path().join("s")).unwrap();
    let accepted = listener.accept().unwrap();
    assert_eq!(accepted.local_name().unwrap().bytes(), name());
    std::io::Write::write_all(&mut &client, b"hello").unwrap();
    assert_eq!(recv(&*accepted).unwrap().0, b"hello");
    assert_eq!(accepted.connect(&world.caller(), &name()), Err(Errno::EISCONN));
    assert_eq!(*world.paths.removed.lock(), 0);
}

#[test]
fn datagrams_find_the_host_with_and_without_a_connection() {
    let world = World::new(false);
    let socket = world.socket(DGRAM);
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    world.offer(theirs);
    // The second goes over what the first has made.
    for data in [&b"one"[..], b"two"] {
        assert_eq!(world.send(&*socket, data, Some(&name()), Vec::new()), Ok(3));
        let mut buf = [0; 10];
        assert_eq!((ours.recv(&mut buf).unwrap(), &buf[..3]), (3, data));
    }
    assert_eq!(world.send(&*socket, b"x", None, Vec::new()), Err(Errno::ENOTCONN));
    drop(ours);
    assert_eq!(world.send(&*socket, b"x", Some(&name()), Vec::new()), Err(Errno::ECONNREFUSED));
    // Whoever listens anew is found anew.
    let (again, theirs) = UnixDatagram::pair().unwrap();
    world.offer(theirs);
    assert_eq!(world.send(&*socket, b"three", Some(&name()), Vec::new()), Ok(5));
    let mut buf = [0; 10];
    assert_eq!(again.recv(&mut buf).unwrap(), 5);
    let (peer, theirs) = UnixDatagram::pair().unwrap();
    world.offer(theirs);
    socket.connect(&world.caller(), &name()).unwrap();
    assert_eq!(world.send(&*socket, b"four", None, Vec::new()), Ok(4));
    assert_eq!(peer.recv(&mut buf).unwrap(), 4);
    socket.connect(&world.caller(), &af::UNSPEC.to_ne_bytes()).unwrap();
    assert_eq!(world.send(&*socket, b"x", None, Vec::new()), Err(Errno::ENOTCONN));
}

#[test]
fn a_stream_with_a_name_on_the_host_connects_there() {
    let world = World::new(true);
    let (ours, theirs) = HostStream::pair().unwrap();
    world.offer(theirs);
    let socket = world.socket(STREAM);
    socket.bind(&world.caller(), &name()).unwrap();
    assert_eq!(socket.connect(&world.caller(), &name()), Err(Errno::ECONNREFUSED));
    world.offer(std::fs::File::open("/dev/null").unwrap());
    socket.connect(&world.caller(), &name()).unwrap();
    assert_eq!(socket.peer_name().unwrap().bytes(), name());
    assert_eq!(world.send(&*socket, b"out", None, Vec::new()), Ok(3));
    std::io::Read::read_exact(&mut &ours, &mut [0; 3]).unwrap();
    assert_eq!(socket.connect(&world.caller(), &name()), Err(Errno::EISCONN));
}

#[test]
fn a_peer_on_the_host_is_kept_where_another_is_refused() {
    let world = World::new(true);
    let (ours, theirs) = UnixDatagram::pair().unwrap();
    world.offer(theirs);
    let socket = world.socket(DGRAM);
    socket.bind(&world.caller(), &name()).unwrap();
    world.offer(std::fs::File::open("/dev/null").unwrap());
    socket.connect(&world.caller(), &name()).unwrap();
    let other = world.socket(DGRAM);
    let inside = UnixName::write(Some(&UnixName::Abstract(b"inside".to_vec())));
    other.bind(&world.caller(), inside.bytes()).unwrap();
    assert_eq!(socket.connect(&world.caller(), inside.bytes()), Err(Errno::EOPNOTSUPP));
    assert_eq!(world.send(&*socket, b"out", None, Vec::new()), Ok(3));
    assert_eq!(ours.recv(&mut [0; 10]).unwrap(), 3);
    assert_eq!(recv(&*other).map(|(data, _)| data), Err(Errno::EAGAIN));
}

/// The events that have come.
#[derive(Default)]
struct Woken(AtomicU32);

impl Notify for Woken {
    fn notify(&self, events: u32) -> bool {
        self.0.fetch_or(events, Ordering::Relaxed);
        true
    }
}

#[test]
fn whoever_waits_looks_again_when_a_socket_comes_to_be_the_hosts() {
    let world = World::new(false);
    let (_ours, theirs) = HostStream::pair().unwrap();
    world.offer(theirs);
    let socket = world.socket(STREAM);
    let woken = Arc::new(Woken::default());
    let _watch = socket.core().wait.register(Ready::IN.bits(), Arc::clone(&woken) as Arc<dyn Notify>);
    socket.connect(&world.caller(), &name()).unwrap();
    assert_ne!(Ready::IN.bits() & woken.0.load(Ordering::Relaxed), 0);
}

#[test]
fn names_that_lead_over_a_gofers_descriptors_are_none() {
    let of = |path: &[u8]| UnixName::write(Some(&UnixName::Path(path.to_vec())));
    assert_eq!(super::as_seen_inside(of(b"/fd/7/name")), UnixName::write(None));
    assert_eq!(super::as_seen_inside(of(b"/run/fd/7")), of(b"/run/fd/7"));
}
