//! A confined gofer in a process of its own: what it can still do, what it can't, and how it looks from outside.
//!
//! Has its own `main`: confinement is for single-threaded processes. Needs root (or a user namespace in which it is).

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use abi::Errno;
use abi::types::mode;
use gofer::confine::{self, Recursion, TreeSpec};
use gofer::{TreeFlags, handover};
use gofer_proto::{
    Access, Entry, Handle, MAX_MESSAGE, Names, NewNode, Reply, Request, SeqPacket, SetNode, TimeSet, Transport,
    VERSION, Writer,
};
use rustix::fs::{MemfdFlags, memfd_create};

/// Set in the gofer: the directory to serve, and what to do.
const TREE: &str = "GOFER_TEST_TREE";
const MODE: &str = "GOFER_TEST_MODE";

fn main() {
    if let Ok(tree) = std::env::var(TREE) {
        return gofer_main(&tree);
    }
    if !rustix::process::geteuid().is_root() {
        println!("skipped: not root");
        return;
    }
    let tests: [(&str, fn()); 7] = [
        ("serves_everything_within_its_filter", serves_everything_within_its_filter),
        ("looks_confined_from_outside", looks_confined_from_outside),
        ("looks_confined_in_a_user_namespace", looks_confined_in_a_user_namespace),
        ("dies_of_a_call_that_is_not_listed", dies_of_a_call_that_is_not_listed),
        ("serves_an_ordinary_user_in_a_user_namespace", serves_an_ordinary_user_in_a_user_namespace),
        ("shows_the_hosts_root_without_its_kernel", shows_the_hosts_root_without_its_kernel),
        ("shows_the_hosts_root_to_an_ordinary_user", shows_the_hosts_root_to_an_ordinary_user),
    ];
    for (name, test) in tests {
        test();
        println!("test {name} ... ok");
    }
}

fn gofer_main(tree: &str) {
    let socket = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    let sockets = handover::receive(socket).unwrap();
    let recursion = if tree == "/" { Recursion::Yes } else { Recursion::No };
    let tree = |id, flags| TreeSpec { id, source: PathBuf::from(tree), flags, recursion, layers: None, detached: None };
    let mut trees = vec![tree(1, TreeFlags::empty()), tree(2, TreeFlags::READONLY)];
    // A single file, as container engines mount over /etc/resolv.conf.
    let file = trees[0].source.join(if recursion == Recursion::Yes { "etc/passwd" } else { "file" });
    trees.push(TreeSpec { recursion: Recursion::No, source: file, ..tree(3, TreeFlags::empty()) });
    confine::isolate().unwrap();
    match std::env::var(MODE).as_deref() {
        Ok("escape") => {
            let _confined = confine::enter(&trees).unwrap();
            confine::Confined::lock(TreeFlags::empty(), None).unwrap();
            let _ = std::os::unix::net::UnixStream::pair();
            panic!("a call that isn't listed was let through");
        }
        _ => confine::run(trees, sockets, None, None, || ()).unwrap(),
    }
}

/// A gofer and a connection to it.
struct Gofer {
    child: Child,
    connection: Option<SeqPacket>,
    dir: tempfile::TempDir,
    id: u32,
}

fn command(wrapper: &[&str]) -> Command {
    let exe = std::env::current_exe().unwrap();
    let mut words = wrapper.iter();
    match words.next() {
        Some(first) => {
            let mut command = Command::new(first);
            command.args(words).arg(exe);
            command
        }
        None => Command::new(exe),
    }
}

impl Gofer {
    fn start(mode: &str, wrapper: &[&str]) -> Gofer {
        Gofer::serving(None, mode, wrapper)
    }

    /// Serves a directory of the host, or a temporary one.
    fn serving(path: Option<&str>, mode: &str, wrapper: &[&str]) -> Gofer {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("tree");
        std::fs::create_dir(&tree).unwrap();
        std::fs::write(dir.path().join("secret"), b"secret").unwrap();
        std::fs::write(tree.join("file"), b"content").unwrap();
        std::os::unix::fs::symlink("../secret", tree.join("out")).unwrap();
        std::os::unix::fs::symlink("..", tree.join("up")).unwrap();
        if !wrapper.is_empty() {
            // For the ordinary user.
            for path in [dir.path(), &tree, &tree.join("file")] {
                std::os::unix::fs::chown(path, Some(65534), Some(65534)).unwrap();
            }
        }
        let (control, theirs) = SeqPacket::pair().unwrap();
        let (connection, served) = SeqPacket::pair().unwrap();
        let mut command = command(wrapper);
        command
            .env(TREE, path.map_or(tree.as_path(), Path::new))
            .env(MODE, mode)
            .stdin(Stdio::from(theirs))
            .process_group(0);
        if mode == "escape" {
            command.stderr(Stdio::null());
        }
        let child = command.spawn().unwrap();
        handover::send(control, &[served]).unwrap();
        Gofer { child, connection: Some(SeqPacket::new(connection)), dir, id: 0 }
    }

    fn try_call(&mut self, request: &Request<'_>) -> Result<(Vec<u8>, Option<OwnedFd>), Errno> {
        let connection = self.connection.as_mut().unwrap();
        self.id += 1;
        let mut out = Writer::new();
        request.encode(self.id, &mut out);
        let memory = memfd_create("sentry", MemfdFlags::CLOEXEC).unwrap();
        let given = matches!(request, Request::MemoryFile).then(|| memory.as_fd());
        connection.send(out.finish().unwrap(), given).unwrap();
        let mut buf = vec![0; MAX_MESSAGE];
        let received = connection.receive(&mut buf).unwrap_or_else(|error| panic!("{request:?}: {error}"));
        buf.truncate(received.len);
        match Reply::decode(request.op(), &buf).unwrap() {
            (id, Reply::Error(errno)) => {
                assert_eq!(id, self.id);
                Err(errno)
            }
            (id, _) => {
                assert_eq!(id, self.id);
                Ok((buf, received.fd))
            }
        }
    }

    fn call(&mut self, request: &Request<'_>) -> (Vec<u8>, Option<OwnedFd>) {
        self.try_call(request).unwrap_or_else(|errno| panic!("{request:?}: {errno}"))
    }

    fn error(&mut self, request: &Request<'_>) -> Errno {
        match self.try_call(request) {
            Err(errno) => errno,
            Ok(_) => panic!("{request:?} should fail"),
        }
    }

    fn entry(&mut self, request: &Request<'_>) -> Entry {
        let (bytes, _) = self.call(request);
        match Reply::decode(request.op(), &bytes).unwrap().1 {
            Reply::Entry(entry) => entry,
            Reply::Walked(walked) => *walked.entries.last().unwrap(),
            other => panic!("{request:?}: {other:?}"),
        }
    }

    fn roots(&mut self) -> Vec<Handle> {
        let request = Request::Hello { version: VERSION };
        let (bytes, _) = self.call(&request);
        match Reply::decode(request.op(), &bytes).unwrap().1 {
            Reply::Hello(hello) => hello.mounts.iter().map(|mount| mount.root.handle).collect(),
            other => panic!("{other:?}"),
        }
    }

    fn end(mut self) -> ExitStatus {
        drop(self.connection.take());
        self.child.wait().unwrap()
    }
}

fn walk(from: Handle, names: &[&'static str]) -> Request<'static> {
    Request::Walk { from, names: Names(names.iter().map(|name| name.as_bytes()).collect()) }
}

fn new(bits: u32) -> NewNode {
    NewNode { mode: bits, uid: 0, gid: 0, ..NewNode::default() }
}

/// Asks every question there is; a call that the filter has forgotten kills the gofer.
fn ask_everything(gofer: &mut Gofer) {
    let roots = gofer.roots();
    let root = roots[0];
    let file = gofer.entry(&walk(root, &["file"])).handle;
    let (_, fd) = gofer.call(&Request::Open { node: file, access: Access::READ });
    let mut data = [0; 16];
    let count = rustix::io::read(fd.unwrap(), &mut data).unwrap();
    assert_eq!(&data[..count], b"content");
    gofer.call(&Request::Open { node: file, access: Access::READ | Access::WRITE });
    gofer.call(&Request::GetAttr { node: file });
    let set = SetNode {
        perm: Some(0o640),
        uid: Some(0),
        gid: Some(0),
        size: Some(3),
        atime: Some(TimeSet::Now),
        mtime: Some(TimeSet::At(abi::time::Timespec { sec: 5, nsec: 6 })),
    };
    gofer.call(&Request::SetAttr { node: file, set });
    gofer.call(&Request::Create { dir: root, name: b"created", new: new(0o4755) });
    let dir = gofer.entry(&Request::Mkdir { dir: root, name: b"dir", new: new(0o700) }).handle;
    let link = gofer.entry(&Request::Symlink { dir, name: b"l", target: b"x", new: new(0o777) }).handle;
    gofer.call(&Request::Readlink { node: link });
    gofer.call(&Request::Mknod { dir, name: b"fifo", new: new(mode::IFIFO | 0o644) });
    assert_eq!(gofer.error(&Request::Mknod { dir, name: b"null", new: new(mode::IFCHR | 0o644) }), Errno::EPERM);
    gofer.call(&Request::Link { node: file, dir, name: b"linked" });
    gofer.call(&Request::Rename { dir, name: b"linked", new_dir: root, new_name: b"moved", flags: 0 });
    gofer.call(&Request::Rename { dir, name: b"fifo", new_dir: root, new_name: b"moved", flags: 2 });
    gofer.call(&Request::ReadDir { node: root, cookie: 0 });
    gofer.call(&Request::StatFs { node: root });
    gofer.call(&Request::Sync { node: file });
    gofer.call(&Request::SyncFs { node: root });
    let (_, readonly) = gofer.call(&Request::MemoryFile);
    assert_eq!(rustix::io::write(readonly.unwrap(), b"x"), Err(rustix::io::Errno::BADF));
    // What the host's file system lacks is no fault of the filter.
    let _ = gofer.try_call(&Request::SetXattr { node: file, name: b"user.a", value: b"1", flags: 0 });
    let _ = gofer.try_call(&Request::GetXattr { node: file, name: b"user.a" });
    let _ = gofer.try_call(&Request::RemoveXattr { node: file, name: b"user.a" });
    let _ = gofer.try_call(&Request::Tmpfile { dir: root, new: new(0o600) });
    gofer.call(&Request::ListXattr { node: file });
    gofer.call(&Request::Unlink { dir: root, name: b"moved" });
    gofer.call(&Request::Unlink { dir, name: b"fifo" });
    gofer.call(&Request::Unlink { dir, name: b"l" });
    gofer.call(&Request::Rmdir { dir: root, name: b"dir" });
    // Ways out.
    let out = gofer.entry(&walk(root, &["out"])).handle;
    assert_eq!(gofer.error(&Request::Open { node: out, access: Access::READ }), Errno::ELOOP);
    assert_eq!(gofer.error(&walk(root, &[".."])), Errno::EINVAL);
    assert_eq!(gofer.error(&walk(root, &["../secret"])), Errno::EINVAL);
    let up = gofer.entry(&walk(root, &["up"])).handle;
    assert_eq!(gofer.error(&walk(up, &["secret"])), Errno::ENOTDIR);
    // The same directory, read-only.
    assert_eq!(gofer.error(&Request::Unlink { dir: roots[1], name: b"file" }), Errno::EROFS);
    assert_eq!(gofer.error(&Request::Link { node: file, dir: roots[1], name: b"x" }), Errno::EROFS);
    gofer.call(&walk(roots[1], &["file"]));
    // The file alone.
    gofer.call(&Request::Open { node: roots[2], access: Access::READ | Access::WRITE });
    assert_eq!(gofer.error(&walk(roots[2], &["x"])), Errno::ENOTDIR);
    assert_eq!(gofer.error(&Request::ReadDir { node: roots[2], cookie: 0 }), Errno::ENOTDIR);
}

fn serves_everything_within_its_filter() {
    let start = std::time::Instant::now();
    let mut gofer = Gofer::start("serve", &[]);
    let root = gofer.roots()[0];
    println!("ready after {} us", start.elapsed().as_micros());
    ask_everything(&mut gofer);
    let start = std::time::Instant::now();
    const ROUNDS: u32 = 2000;
    for _ in 0..ROUNDS {
        gofer.call(&Request::GetAttr { node: root });
    }
    println!("{} ns for attributes from the other process", start.elapsed().as_nanos() / u128::from(ROUNDS));
    let status = gofer.end();
    assert!(status.success(), "{status}");
}

fn serves_an_ordinary_user_in_a_user_namespace() {
    if others_can_run_this() {
        let mut gofer = Gofer::start("serve", &USER);
        ask_everything(&mut gofer);
        let status = gofer.end();
        assert!(status.success(), "{status}");
    }
}

/// What `runsc do` serves: everything, but for the file systems that show or steer the host's kernel.
fn ask_for_the_hosts_root(wrapper: &[&str]) {
    let mut gofer = Gofer::serving(Some("/"), "serve", wrapper);
    let root = gofer.roots()[0];
    assert_eq!(gofer.entry(&walk(root, &["usr", "bin"])).attr.mode & mode::IFMT, mode::IFDIR);
    let passwd = gofer.entry(&walk(root, &["etc", "passwd"])).handle;
    gofer.call(&Request::Open { node: passwd, access: Access::READ });
    for sealed in ["proc", "sys"] {
        let handle = gofer.entry(&walk(root, &[sealed])).handle;
        let request = Request::ReadDir { node: handle, cookie: 0 };
        let (bytes, _) = gofer.call(&request);
        let (_, reply) = Reply::decode(request.op(), &bytes).unwrap();
        assert_eq!(reply, Reply::Dir { items: Vec::new(), next: 0 }, "{sealed}");
        assert_eq!(gofer.error(&walk(handle, &["self"])), Errno::ENOENT);
        assert_eq!(gofer.error(&walk(handle, &["fd"])), Errno::ENOENT);
    }
    let null = gofer.entry(&walk(root, &["dev", "null"])).handle;
    assert_eq!(gofer.error(&Request::Open { node: null, access: Access::READ }), Errno::ENXIO);
    assert!(gofer.end().success());
}

const USER: [&str; 8] = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "unshare", "-U", "-r", "-m"];

fn shows_the_hosts_root_without_its_kernel() {
    ask_for_the_hosts_root(&[]);
}

/// Tells whether another user can run this program, which isn't so where the checkout is private.
fn others_can_run_this() -> bool {
    let test =
        Command::new(USER[0]).args(&USER[1..4]).arg("test").arg("-x").arg(std::env::current_exe().unwrap()).status();
    let can = test.is_ok_and(|status| status.success());
    if !can {
        println!("(skipped: the test program can't be run by another user)");
    }
    can
}

fn shows_the_hosts_root_to_an_ordinary_user() {
    if others_can_run_this() {
        ask_for_the_hosts_root(&USER);
    }
}

fn dies_of_a_call_that_is_not_listed() {
    let status = Gofer::start("escape", &[]).end();
    assert_eq!(status.signal(), Some(libc::SIGSYS), "{status}");
}

fn field(status: &str, name: &str) -> String {
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.trim().to_owned()
}

fn looks_confined_from_outside() {
    look(&[]);
}

fn looks_confined_in_a_user_namespace() {
    if others_can_run_this() {
        look(&USER);
    }
}

/// Reads what the host tells of a live gofer.
fn look(wrapper: &[&str]) {
    let mut gofer = Gofer::start("serve", wrapper);
    let root = gofer.roots()[0];
    gofer.entry(&walk(root, &["file"]));
    let proc = PathBuf::from(format!("/proc/{}", gofer.child.id()));
    for task in std::fs::read_dir(proc.join("task")).unwrap() {
        let task = task.unwrap().path();
        let status = std::fs::read_to_string(task.join("status")).unwrap();
        let kept = format!("{:016x}", confine::KEPT.bits());
        assert_eq!(field(&status, "CapEff"), kept);
        assert_eq!(field(&status, "CapPrm"), kept);
        for set in ["CapBnd", "CapInh", "CapAmb"] {
            assert_eq!(field(&status, set), "0000000000000000", "{set}");
        }
        assert_eq!((field(&status, "NoNewPrivs"), field(&status, "Seccomp")), ("1".into(), "2".into()));
    }
    let rollup = std::fs::read_to_string(proc.join("smaps_rollup")).unwrap();
    for what in ["Pss", "Private_Dirty"] {
        println!("{what} of an idle gofer: {}", field(&rollup, what));
    }
    for namespace in ["mnt", "net", "ipc", "uts", "cgroup"] {
        let of = |process: &Path| std::fs::read_link(process.join("ns").join(namespace)).unwrap();
        assert_ne!(of(&proc), of(Path::new("/proc/self")), "{namespace}");
    }
    let mounts = std::fs::read_to_string(proc.join("mountinfo")).unwrap();
    let points: Vec<&str> = mounts.lines().map(|line| line.split(' ').nth(4).unwrap()).collect();
    assert_eq!(points, ["/", "/fd", "/0", "/1", "/2"]);
    assert!(
        mounts
            .lines()
            .filter(|line| !line.contains(" /0 "))
            .all(|line| [" ro,", " /fd ", " /2 "].iter().any(|part| line.contains(part)))
    );
    for fd in std::fs::read_dir(proc.join("fd")).unwrap() {
        let fd = fd.unwrap();
        let Ok(target) = std::fs::read_link(fd.path()) else { continue };
        let target = target.to_string_lossy().into_owned();
        let number: u32 = fd.file_name().to_string_lossy().parse().unwrap();
        let expected = ["socket:", "/0", "/1", "/2", "/fd"].iter().any(|start| target.starts_with(start));
        assert!(number <= 2 || expected, "{number}: {target}");
    }
    assert!(!gofer.dir.path().join("nothing").exists());
    assert!(gofer.end().success());
}
