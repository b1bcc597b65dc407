//! A sentry that has been taken over sends what it likes: the server stays whole, the trees stay closed.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;

use abi::Errno;
use gofer::{Server, Tree, TreeFlags};
use gofer_proto::{
    Access, Entry, Handle, MAX_MESSAGE, Names, NewNode, Op, Reply, Request, SeqPacket, SetNode, SocketKind, Transport,
    TransportError, VERSION, Writer,
};
use rustix::fs::{CWD, FileType, Mode, OFlags};

/// A connection and what it takes to use it.
struct Peer {
    transport: SeqPacket,
    buf: Vec<u8>,
}

impl Peer {
    fn raw(&mut self, bytes: &[u8]) -> Result<Vec<u8>, TransportError> {
        self.transport.send(bytes, None)?;
        let received = self.transport.receive(&mut self.buf)?;
        Ok(self.buf[..received.len].to_vec())
    }

    fn call(&mut self, request: &Request<'_>) -> Result<(Vec<u8>, Option<OwnedFd>), Errno> {
        self.call_with(request, None)
    }

    fn call_with(
        &mut self,
        request: &Request<'_>,
        fd: Option<BorrowedFd<'_>>,
    ) -> Result<(Vec<u8>, Option<OwnedFd>), Errno> {
        let mut out = Writer::new();
        request.encode(1, &mut out);
        self.transport.send(out.finish().unwrap(), fd).unwrap();
        let received = self.transport.receive(&mut self.buf).unwrap();
        let bytes = self.buf[..received.len].to_vec();
        match Reply::decode(request.op(), &bytes).unwrap().1 {
            Reply::Error(errno) => Err(errno),
            _ => Ok((bytes, received.fd)),
        }
    }

    /// Gives a descriptor to be opened anew.
    fn give(&mut self, file: &OwnedFd) -> Result<OwnedFd, Errno> {
        let mut out = Writer::new();
        Request::MemoryFile.encode(1, &mut out);
        self.transport.send(out.finish().unwrap(), Some(file.as_fd())).unwrap();
        let received = self.transport.receive(&mut self.buf).unwrap();
        match Reply::decode(Op::MemoryFile, &self.buf[..received.len]).unwrap().1 {
            Reply::Error(errno) => Err(errno),
            _ => Ok(received.fd.unwrap()),
        }
    }

    fn entry(&mut self, request: &Request<'_>) -> Result<Entry, Errno> {
        let (bytes, _) = self.call(request)?;
        match Reply::decode(request.op(), &bytes).unwrap().1 {
            Reply::Entry(entry) => Ok(entry),
            Reply::Walked(walked) => Ok(*walked.entries.last().unwrap()),
            other => panic!("{other:?}"),
        }
    }

    fn root(&mut self) -> Handle {
        let request = Request::Hello { version: VERSION };
        let (bytes, _) = self.call(&request).unwrap();
        match Reply::decode(request.op(), &bytes).unwrap().1 {
            Reply::Hello(hello) => hello.mounts[0].root.handle,
            other => panic!("{other:?}"),
        }
    }
}

struct World {
    dir: tempfile::TempDir,
    peers: Vec<Peer>,
    server: JoinHandle<()>,
}

impl World {
    fn new(connections: usize, budget: usize, limit: usize) -> World {
        World::with(TreeFlags::empty(), connections, budget, limit)
    }

    fn with(flags: TreeFlags, connections: usize, budget: usize, limit: usize) -> World {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        std::fs::create_dir(&tree).unwrap();
        std::fs::write(tree.join("file"), b"content").unwrap();
        std::fs::write(dir.path().join("secret"), b"secret").unwrap();
        let root = OwnedFd::from(std::fs::File::open(&tree).unwrap());
        let trees = vec![Tree { id: 0, root, flags }];
        let server = Server::with_limits(trees, budget, limit).unwrap();
        let (ours, theirs): (Vec<_>, Vec<_>) = (0..connections).map(|_| SeqPacket::pair().unwrap()).unzip();
        let server = std::thread::spawn(move || gofer::serve(server, theirs, None, || Ok(()), || ()).unwrap());
        let peers =
            ours.into_iter().map(|socket| Peer { transport: SeqPacket::new(socket), buf: vec![0; MAX_MESSAGE] });
        World { dir, peers: peers.collect(), server }
    }

    fn tree(&self) -> std::path::PathBuf {
        self.dir.path().join("tree")
    }

    fn end(mut self) {
        self.peers.clear();
        self.server.join().unwrap();
    }
}

/// A small generator, so that each run tries the same.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.roll(256)).unwrap()
    }
}

fn walk<'a>(from: Handle, names: &[&'a [u8]]) -> Request<'a> {
    Request::Walk { from, names: Names(names.to_vec()) }
}

#[test]
fn what_is_no_message_ends_its_connection_only() {
    let mut world = World::new(4, 100, 1000);
    let root = world.peers[0].root();
    assert_eq!(world.peers[1].raw(b"x"), Err(TransportError::Closed));
    assert_eq!(world.peers[2].raw(&[0xff; 4000]), Err(TransportError::Closed));
    // A descriptor that nobody asked for.
    let file = std::fs::File::open("/dev/null").unwrap();
    let mut out = Writer::new();
    Request::Hello { version: VERSION }.encode(1, &mut out);
    let peer = &mut world.peers[3];
    peer.transport.send(out.finish().unwrap(), Some(file.as_fd())).unwrap();
    assert!(matches!(peer.transport.receive(&mut peer.buf), Err(TransportError::Closed)));
    world.peers[0].entry(&walk(root, &[b"file"])).unwrap();
    world.end();
}

#[test]
fn only_memory_files_are_opened_anew_and_only_for_reading() {
    let mut world = World::new(2, 100, 1000);
    let memory = rustix::fs::memfd_create("guest", rustix::fs::MemfdFlags::CLOEXEC).unwrap();
    rustix::io::pwrite(&memory, b"abc", 0).unwrap();
    let again = world.peers[0].give(&memory).unwrap();
    let mut buf = [0; 3];
    rustix::io::pread(&again, &mut buf, 0).unwrap();
    assert_eq!(&buf, b"abc");
    assert_eq!(rustix::io::pwrite(&again, b"x", 0), Err(rustix::io::Errno::BADF));
    // A file of the tree by writing only, a directory, a device, a socket, a pipe, a file of another tmpfs that has no
    // name either.
    let open = |path: &Path, flags| rustix::fs::open(path, flags, rustix::fs::Mode::empty()).unwrap();
    let tree = world.tree();
    let shm = tempfile::tempfile_in("/dev/shm").unwrap();
    let others = [
        open(&tree.join("file"), OFlags::WRONLY),
        open(&world.dir.path().join("secret"), OFlags::PATH),
        open(&tree, OFlags::DIRECTORY),
        open(Path::new("/dev/zero"), OFlags::RDONLY),
        open(Path::new("/proc/self/status"), OFlags::RDONLY),
        SeqPacket::pair().unwrap().0,
        rustix::pipe::pipe().unwrap().1,
        shm.into(),
    ];
    for other in others {
        assert_eq!(world.peers[0].give(&other).err(), Some(Errno::EACCES), "{other:?}");
    }
    let mut out = Writer::new();
    Request::MemoryFile.encode(1, &mut out);
    assert_eq!(world.peers[1].raw(out.finish().unwrap()), Err(TransportError::Closed));
    world.peers[0].root();
    world.end();
}

#[test]
fn a_store_makes_unnamed_files_and_nothing_else() {
    let mut world = World::with(TreeFlags::STORE, 1, 100, 1000);
    let peer = &mut world.peers[0];
    let dir = peer.root();
    let new = NewNode { mode: 0o100_600, uid: 0, gid: 0, reserved: 0, rdev: 0 };
    let new = NewNode { uid: rustix::process::getuid().as_raw(), gid: rustix::process::getgid().as_raw(), ..new };
    let (bytes, file) = peer.call(&Request::Tmpfile { dir, new }).unwrap();
    let file = file.expect("a descriptor");
    let Reply::Entry(Entry { handle: node, .. }) = Reply::decode(Op::Tmpfile, &bytes).unwrap().1 else { panic!() };
    rustix::io::pwrite(&file, b"kept", 0).unwrap();
    let mut read = [0; 4];
    let again = peer.give(&file).expect("opened again");
    assert_eq!((rustix::io::pread(&again, &mut read, 0), &read), (Ok(4), b"kept"));
    assert_eq!(rustix::io::pwrite(&again, b"x", 0), Err(rustix::io::Errno::BADF));
    // What can't be read, or has a name, is not opened again.
    let open = |flags| rustix::fs::open(world.dir.path().join("secret"), flags, rustix::fs::Mode::empty()).unwrap();
    for other in [open(OFlags::WRONLY), open(OFlags::RDWR)] {
        assert_eq!(peer.give(&other).err(), Some(Errno::EACCES));
    }
    let name = b"name".as_slice();
    for (request, expected) in [
        (Request::Walk { from: dir, names: Names(vec![b"file"]) }, Errno::ENOENT),
        (Request::Create { dir, name, new }, Errno::EROFS),
        (Request::Mkdir { dir, name, new }, Errno::EROFS),
        (Request::Link { node, dir, name }, Errno::EROFS),
        (Request::Unlink { dir, name: b"file" }, Errno::EROFS),
        (Request::Rename { dir, name: b"file", new_dir: dir, new_name: name, flags: 0 }, Errno::EROFS),
        (Request::SetAttr { node: dir, set: SetNode::default() }, Errno::EROFS),
    ] {
        assert_eq!(peer.call(&request).map(drop), Err(expected), "{request:?}");
    }
    let (bytes, _) = peer.call(&Request::ReadDir { node: dir, cookie: 0 }).unwrap();
    assert!(!bytes.windows(4).any(|part| part == b"file"));
    assert_eq!(std::fs::read_dir(world.tree()).unwrap().count(), 1);
    world.end();
}

#[test]
fn sockets_and_fifos_are_reached_only_where_that_is_allowed() {
    let all = TreeFlags::CONNECT | TreeFlags::BIND | TreeFlags::FIFO;
    for flags in [TreeFlags::empty(), TreeFlags::CONNECT, TreeFlags::BIND, TreeFlags::FIFO, all | TreeFlags::READONLY] {
        let mut world = World::with(flags, 1, 100, 1000);
        let tree = world.tree();
        let _listener = std::os::unix::net::UnixListener::bind(tree.join("socket")).unwrap();
        rustix::fs::mknodat(CWD, tree.join("fifo"), FileType::Fifo, Mode::RWXU, 0).unwrap();
        let peer = &mut world.peers[0];
        let dir = peer.root();
        let names = [&b"socket"[..], b"fifo", b"file"];
        let [socket, fifo, file] = names.map(|name| peer.entry(&walk(dir, &[name])).unwrap().handle);
        let kind = SocketKind::Stream;
        let connected = peer.call(&Request::Connect { node: socket, kind }).map(|(_, fd)| fd.is_some());
        let expected = if flags.contains(TreeFlags::CONNECT) { Ok(true) } else { Err(Errno::ECONNREFUSED) };
        assert_eq!(connected, expected, "{flags:?}");
        // Sockets of its own: one that could wait, and no socket at all.
        let own = std::os::unix::net::UnixDatagram::unbound().unwrap();
        let null = std::fs::File::open("/dev/null").unwrap();
        let may = flags.contains(TreeFlags::CONNECT);
        let with = |allowed| if may { allowed } else { Errno::ECONNREFUSED };
        for (fd, connect, send) in
            [(own.as_fd(), Errno::EINVAL, Errno::EPROTOTYPE), (null.as_fd(), Errno::EINVAL, Errno::ENOTSOCK)]
        {
            let connected = peer.call_with(&Request::Connect { node: socket, kind }, Some(fd)).map(drop);
            assert_eq!(connected, Err(with(connect)), "{flags:?}");
            let sent = peer.call_with(&Request::SendTo { node: socket, data: b"x" }, Some(fd)).map(drop);
            assert_eq!(sent, Err(with(send)), "{flags:?}");
        }
        let opened = peer.call(&Request::Open { node: fifo, access: Access::READ }).map(|(_, fd)| fd.is_some());
        let expected = if flags.contains(TreeFlags::FIFO) { Ok(true) } else { Err(Errno::ENXIO) };
        assert_eq!(opened, expected, "{flags:?}");
        for node in [fifo, file, dir] {
            let refused = peer.call(&Request::Connect { node, kind }).map(drop);
            assert_eq!(refused, Err(Errno::ECONNREFUSED), "{flags:?}");
        }
        let new = NewNode { mode: 0o140_600, ..NewNode::default() };
        let new = NewNode { uid: rustix::process::getuid().as_raw(), gid: rustix::process::getgid().as_raw(), ..new };
        let bind = |name| Request::Bind { dir, name, new, kind };
        let expected = match (flags.contains(TreeFlags::BIND), flags.contains(TreeFlags::READONLY)) {
            (_, true) => Err(Errno::EROFS),
            (true, false) => Ok(()),
            (false, false) => Err(Errno::EOPNOTSUPP),
        };
        assert_eq!(peer.call(&bind(b"new")).map(drop), expected, "{flags:?}");
        assert_eq!(tree.join("new").exists(), expected.is_ok());
        if expected.is_ok() {
            // What was made here may be connected to, once somebody listens; a name is never taken from another.
            assert_eq!(peer.call(&bind(b"file")).map(drop), Err(Errno::EADDRINUSE));
            let node = peer.entry(&walk(dir, &[b"new"])).unwrap().handle;
            assert_eq!(peer.call(&Request::Connect { node, kind }).map(drop), Err(Errno::ECONNREFUSED));
            let long = [b'x'; 255];
            peer.call(&bind(&long)).unwrap();
            assert_eq!(peer.call(&bind(&long)).map(drop), Err(Errno::EEXIST));
            assert_eq!(std::fs::read_dir(&tree).unwrap().count(), 5);
        }
        world.end();
    }
}

/// A socket of the host's, renamed to where a new one is just being made, isn't taken for the new one.
#[test]
fn a_hosts_socket_never_passes_for_a_new_one() {
    let mut world = World::with(TreeFlags::BIND, 2, 100, 1_000_000);
    let tree = world.tree();
    let listener = std::os::unix::net::UnixListener::bind(tree.join("host")).unwrap();
    listener.set_nonblocking(true).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let dir = world.peers[0].root();
    let mut swapper = world.peers.pop().unwrap();
    let swapping = std::thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            let mut swaps = 0;
            while !stop.load(Ordering::Relaxed) {
                let there = Request::Rename { dir, name: b"host", new_dir: dir, new_name: b"new", flags: 0 };
                swaps += u32::from(swapper.call(&there).is_ok());
                let no_replace = rustix::fs::RenameFlags::NOREPLACE.bits();
                let back = Request::Rename { dir, name: b"new", new_dir: dir, new_name: b"host", flags: no_replace };
                let _ = swapper.call(&back);
            }
            swaps
        }
    });
    let new = NewNode { mode: 0o140_600, ..NewNode::default() };
    let new = NewNode { uid: rustix::process::getuid().as_raw(), gid: rustix::process::getgid().as_raw(), ..new };
    let bind = Request::Bind { dir, name: b"new", new, kind: SocketKind::Stream };
    let end = std::time::Instant::now() + std::time::Duration::from_secs(2);
    let (mut made, peer) = (0, &mut world.peers[0]);
    while std::time::Instant::now() < end {
        let Ok(entry) = peer.entry(&bind) else { continue };
        made += 1;
        let connected = peer.call(&Request::Connect { node: entry.handle, kind: SocketKind::Stream }).map(drop);
        assert_eq!(connected, Err(Errno::ECONNREFUSED), "after {made} sockets");
        assert!(listener.accept().is_err());
    }
    stop.store(true, Ordering::Relaxed);
    let swaps = swapping.join().unwrap();
    assert!(made > 10 && swaps > 10, "{made} sockets, {swaps} renames");
    world.end();
}

/// Nobody on the host finds a new socket with a wider mode than it gets.
#[test]
fn a_new_socket_has_its_mode_from_the_start() {
    let mut world = World::with(TreeFlags::BIND, 1, 500, 1000);
    let place = world.tree().join("new");
    let (stop, seen) = (AtomicBool::new(false), AtomicU32::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                let found = std::fs::metadata(&place);
                seen.fetch_or(found.map_or(0, |found| found.mode()), Ordering::Relaxed);
            }
        });
        let peer = &mut world.peers[0];
        let dir = peer.root();
        let new = NewNode { mode: 0o140_600, ..NewNode::default() };
        let new = NewNode { uid: rustix::process::getuid().as_raw(), gid: rustix::process::getgid().as_raw(), ..new };
        let bind = Request::Bind { dir, name: b"new", new, kind: SocketKind::Stream };
        // Each one stays known, and so holds a descriptor.
        for _ in 0..400 {
            if peer.entry(&bind).and_then(|_| peer.call(&Request::Unlink { dir, name: b"new" })).is_err() {
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    assert_eq!(seen.load(Ordering::Relaxed), 0o140_600);
    world.end();
}

#[test]
fn a_message_longer_than_any_ends_its_connection_only() {
    let mut world = World::new(2, 100, 1000);
    assert_eq!(world.peers[1].raw(&vec![1; MAX_MESSAGE + 1]), Err(TransportError::Closed));
    world.peers[0].root();
    world.end();
}

#[test]
fn random_messages_get_an_answer_or_the_end() {
    let mut dice = Dice(7);
    for round in 0..60 {
        let mut world = World::new(1, 100, 1000);
        let peer = &mut world.peers[0];
        for _ in 0..200 {
            let len = dice.roll(120) + 8;
            let mut bytes: Vec<u8> = (0..len).map(|_| dice.byte()).collect();
            bytes[..4].copy_from_slice(&u32::try_from(dice.roll(29)).unwrap().to_le_bytes());
            if len >= 16 && dice.roll(4) > 0 {
                bytes[8..16].copy_from_slice(&dice.roll(5).to_le_bytes());
            }
            // Forget has no answer.
            if bytes[0] == 24 {
                continue;
            }
            if peer.raw(&bytes).is_err() {
                break;
            }
        }
        assert_eq!(std::fs::read(world.dir.path().join("secret")).unwrap(), b"secret", "round {round}");
        world.end();
    }
}

/// A request that could be meant, made of a few handles and names, some of them bad.
fn plausible<'a>(dice: &mut Dice, names: &'a [Vec<u8>]) -> Request<'a> {
    let (node, dir) = (Handle(dice.roll(12)), Handle(dice.roll(4)));
    let name = names[usize::try_from(dice.roll(names.len() as u64)).unwrap()].as_slice();
    let other = names[usize::try_from(dice.roll(names.len() as u64)).unwrap()].as_slice();
    let new = NewNode { mode: u32::try_from(dice.roll(0o200_000)).unwrap(), ..NewNode::default() };
    let number = u32::try_from(dice.roll(8)).unwrap();
    match dice.roll(23) {
        0 => Request::Walk { from: dir, names: Names(vec![name, other]) },
        1 => Request::Mkdir { dir, name, new },
        2 => Request::Create { dir, name, new },
        3 => Request::Symlink { dir, name, target: b"../secret", new },
        4 => Request::Mknod { dir, name, new },
        5 => Request::Link { node, dir, name },
        6 => Request::Unlink { dir, name },
        7 => Request::Rmdir { dir, name },
        8 => Request::Rename { dir, name, new_dir: node, new_name: other, flags: number },
        9 => Request::Readlink { node },
        10 => Request::ReadDir { node, cookie: u64::from(number) },
        11 => Request::Open { node, access: Access::READ | Access::WRITE },
        12 => Request::SetAttr { node, set: SetNode { size: Some(u64::from(number)), ..SetNode::default() } },
        13 => Request::SetAttr { node, set: SetNode { perm: Some(0o777), uid: Some(number), ..SetNode::default() } },
        14 => Request::GetXattr { node, name: b"user.a" },
        15 => Request::SetXattr { node, name: b"user.a", value: name, flags: number },
        16 => Request::Tmpfile { dir, new },
        17 => Request::GetAttr { node },
        18 => Request::ListXattr { node },
        19 => Request::Connect { node, kind: SocketKind::Stream },
        20 => Request::Bind { dir, name, new, kind: SocketKind::Dgram },
        21 => Request::Children { dir, names: Names(vec![name, other]) },
        _ => Request::Walk { from: dir, names: Names(vec![name]) },
    }
}

#[test]
fn plausible_messages_change_nothing_outside() {
    let names: Vec<Vec<u8>> =
        [&b"a"[..], b"b", b"file", b"..", b"", b"../secret", b"/", b"a/b", &[b'x'; 255]].map(<[u8]>::to_vec).to_vec();
    for seed in 0..40 {
        let mut dice = Dice(seed);
        let mut world = World::new(1, 8, 30);
        let before = std::fs::metadata(world.dir.path().join("secret")).unwrap();
        let peer = &mut world.peers[0];
        for _ in 0..150 {
            let _ = peer.call(&plausible(&mut dice, &names));
        }
        peer.root();
        let secret = world.dir.path().join("secret");
        assert_eq!(std::fs::read(&secret).unwrap(), b"secret");
        let after = std::fs::metadata(&secret).unwrap();
        assert_eq!(
            (after.permissions(), after.nlink(), after.uid()),
            (before.permissions(), before.nlink(), before.uid())
        );
        assert_eq!(std::fs::read_dir(world.dir.path()).unwrap().count(), 2, "seed {seed}");
        world.end();
    }
}

#[test]
fn well_formed_nonsense_is_refused() {
    let mut world = World::new(1, 100, 1000);
    let peer = &mut world.peers[0];
    let root = peer.root();
    let file = peer.entry(&walk(root, &[b"file"])).unwrap().handle;
    let forged = [Handle(0), Handle(99), Handle(u64::MAX)];
    for node in forged {
        assert_eq!(peer.call(&Request::GetAttr { node }).err(), Some(Errno::EBADF));
        assert_eq!(peer.call(&Request::Open { node, access: Access::READ }).err(), Some(Errno::EBADF));
        assert_eq!(peer.call(&Request::ReadDir { node, cookie: 0 }).err(), Some(Errno::EBADF));
    }
    let new = NewNode { mode: 0o644, ..NewNode::default() };
    for name in [&b".."[..], b".", b"", b"a/b", b"/etc", b"../secret", b"a\0b"] {
        let requests = [
            walk(root, &[name]),
            walk(root, &[b"file", name]),
            Request::Children { dir: root, names: Names(vec![name]) },
            Request::Children { dir: root, names: Names(vec![b"file", name]) },
            Request::Create { dir: root, name, new },
            Request::Mkdir { dir: root, name, new },
            Request::Mknod { dir: root, name, new },
            Request::Symlink { dir: root, name, target: b"x", new },
            Request::Link { node: file, dir: root, name },
            Request::Unlink { dir: root, name },
            Request::Rmdir { dir: root, name },
            Request::Rename { dir: root, name, new_dir: root, new_name: b"x", flags: 0 },
            Request::Rename { dir: root, name: b"file", new_dir: root, new_name: name, flags: 0 },
        ];
        for request in requests {
            match peer.call(&request) {
                Err(Errno::EINVAL) => {}
                // The second component was never reached, but the first was.
                Ok((bytes, _)) => assert!(matches!(
                    Reply::decode(request.op(), &bytes).unwrap().1,
                    Reply::Walked(walked) if walked.entries.len() == 1 && walked.stopped.is_some()
                )),
                other => panic!("{request:?}: {other:?}"),
            }
        }
    }
    let nobody = SetNode { uid: Some(u32::MAX), ..SetNode::default() };
    assert_eq!(peer.call(&Request::SetAttr { node: file, set: nobody }).err(), Some(Errno::EINVAL));
    assert_eq!(
        peer.call(&Request::Rename { dir: root, name: b"file", new_dir: root, new_name: b"x", flags: 4 }).err(),
        Some(Errno::EINVAL)
    );
    let _ = peer.call(&Request::ReadDir { node: root, cookie: u64::MAX });
    let _ = peer.call(&Request::ReadDir { node: root, cookie: 1 << 62 });
    // Forgetting what was never given, or more often than it was, harms only the forgetter.
    for handles in [vec![(Handle(77), 1)], vec![(root, u64::MAX)], vec![(file, u64::MAX), (file, 1)]] {
        let mut out = Writer::new();
        Request::Forget { handles }.encode(1, &mut out);
        peer.transport.send(out.finish().unwrap(), None).unwrap();
    }
    assert_eq!(peer.call(&Request::GetAttr { node: file }).err(), Some(Errno::EBADF));
    peer.entry(&walk(root, &[b"file"])).unwrap();
    world.end();
}

#[test]
fn limits_hold_for_the_one_who_reaches_them() {
    let mut world = World::new(1, 8, 20);
    let peer = &mut world.peers[0];
    let root = peer.root();
    let new = NewNode { mode: 0o755, ..NewNode::default() };
    let mut made = Vec::new();
    let refused = loop {
        let name = format!("d{}", made.len());
        match peer.entry(&Request::Mkdir { dir: root, name: name.as_bytes(), new }) {
            Ok(entry) => made.push(entry.handle),
            Err(errno) => break errno,
        }
    };
    // More than descriptors, for those are closed and opened again; not more than nodes.
    assert_eq!((refused, made.len()), (Errno::ENFILE, 19));
    for handle in &made {
        peer.call(&Request::GetAttr { node: *handle }).unwrap();
    }
    let mut out = Writer::new();
    Request::Forget { handles: vec![(made[0], 1)] }.encode(1, &mut out);
    peer.transport.send(out.finish().unwrap(), None).unwrap();
    peer.entry(&walk(root, &[b"file"])).unwrap();
    world.end();
}

#[test]
fn unlinked_files_that_hold_all_descriptors_refuse_only_further_ones() {
    let mut world = World::new(1, 8, 1000);
    let peer = &mut world.peers[0];
    let root = peer.root();
    let new = NewNode { mode: 0o644, ..NewNode::default() };
    let refused = (0..100).find_map(|_| {
        let made = peer.entry(&Request::Create { dir: root, name: b"f", new });
        made.and_then(|_| peer.call(&Request::Unlink { dir: root, name: b"f" }).map(|_| ())).err()
    });
    assert_eq!(refused, Some(Errno::EMFILE));
    peer.call(&Request::GetAttr { node: root }).unwrap();
    world.end();
}

/// Swaps a directory with a link to the outside as fast as it can, while the peer walks through it.
#[test]
fn a_directory_that_becomes_a_link_leads_nowhere() {
    let mut world = World::new(1, 1000, 100_000);
    let tree = world.tree();
    std::fs::create_dir(tree.join("d")).unwrap();
    std::fs::write(tree.join("d/secret"), b"inside").unwrap();
    std::os::unix::fs::symlink("..", tree.join("l")).unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| swap(&tree, &stop));
        let peer = &mut world.peers[0];
        let root = peer.root();
        for _ in 0..2000 {
            let Ok(entry) = peer.entry(&walk(root, &[b"d", b"secret"])) else { continue };
            let Ok((_, Some(fd))) = peer.call(&Request::Open { node: entry.handle, access: Access::READ }) else {
                continue;
            };
            let mut buf = [0; 16];
            let count = rustix::io::read(fd, &mut buf).unwrap();
            assert_eq!(&buf[..count], b"inside");
        }
        stop.store(true, Ordering::Relaxed);
    });
    world.end();
}

fn swap(tree: &Path, stop: &AtomicBool) {
    let dir = std::fs::File::open(tree).unwrap();
    while !stop.load(Ordering::Relaxed) {
        rustix::fs::renameat_with(&dir, "d", &dir, "l", rustix::fs::RenameFlags::EXCHANGE).unwrap();
    }
}
