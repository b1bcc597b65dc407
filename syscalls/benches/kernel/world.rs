//! A guest kernel to measure: a root behind an overlay, a gofer's tree and a tmpfs, and one process.

use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll, Waker};

use abi::Pid;
use abi::signal::{SigSet, Signal, StackT};
use abi::types::Rlimit;
use gofer_proto::SeqPacket;
use sentry::mm::{Layout, Mm};
use sentry::signal::{ProcessSignals, TaskSignals};
use sentry::task::{Cred, INIT, NewTask, Process, ProcessEntry, RLIMITS, Resource};
use sentry::usermem::UserMem;
use sentry::vfs::{FdTable, FsContext, Mount, MountFlags, MountNamespace, Path, WalkFlags, Walker, walk};
use sentry::{Current, Kernel, Outcome, Task};
use sentry_fs::dev::Devices;
use sentry_fs::devpts::{DevPts, DevPtsOptions};
use sentry_fs::gofer::{Client, GoferFs};
use sentry_fs::overlay::OverlayFs;
use sentry_fs::tmpfs::{TmpFs, TmpfsOptions};
use sentry_fs::{CachePolicy, FileSystem};
use sentry_platform::{AddressSpace, Context, Interrupt, Registers, Vdso};

use crate::platform::{BASE, Memory, Player, Scripted};

/// Bytes of the data files.
pub(crate) const FILE_LEN: usize = 1 << 20;

/// A kernel and what its processes share.
pub(crate) struct World {
    pub(crate) kernel: Arc<Kernel>,
    memory: Arc<Memory>,
    mm: Arc<Mm>,
    process: Arc<Process>,
    fs: Arc<FsContext>,
    files: Arc<FdTable>,
    next_tid: i32,
    next_data: u64,
    _dirs: Vec<tempfile::TempDir>,
}

/// Serves two host trees; they hold `d1/d2/d3/file`, `link` and a directory of 50 files.
fn trees() -> (Vec<tempfile::TempDir>, Arc<Client>, Vec<sentry_fs::gofer::Mount>) {
    let mut dirs = Vec::new();
    let mut trees = Vec::new();
    for id in 0..2 {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir_all(dir.path().join("d1/d2/d3")).expect("directories");
        std::fs::write(dir.path().join("d1/d2/d3/file"), vec![7; FILE_LEN]).expect("a file");
        std::fs::create_dir(dir.path().join("many")).expect("a directory");
        for at in 0..50 {
            std::fs::write(dir.path().join(format!("many/file-{at}")), b"x").expect("a file");
        }
        std::os::unix::fs::symlink("d1/d2/d3/file", dir.path().join("link")).expect("a link");
        let program = dir.path().join("program");
        std::fs::write(&program, elf()).expect("a program");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("an executable");
        for name in ["gofer", "tmp", "dev"] {
            std::fs::create_dir(dir.path().join(name)).expect("a directory");
        }
        let root = OwnedFd::from(std::fs::File::open(dir.path()).expect("the directory"));
        trees.push(gofer::Tree { id, root, flags: gofer::TreeFlags::empty() });
        dirs.push(dir);
    }
    let server = gofer::Server::with_limits(trees, 100_000, 100_000).expect("a gofer");
    let (ours, theirs): (Vec<OwnedFd>, Vec<OwnedFd>) = (0..2).map(|_| SeqPacket::pair().expect("sockets")).unzip();
    std::thread::spawn(move || gofer::serve(server, theirs, None, || Ok(()), || ()));
    let (client, mounts) = Client::connect(ours, None).expect("the gofer answers");
    (dirs, Arc::new(client), mounts)
}

/// A static program of four segments, as a linker makes them.
fn elf() -> Vec<u8> {
    const SEGMENT: u64 = 0x1000;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let half = |file: &mut Vec<u8>, values: &[u16]| values.iter().for_each(|v| file.extend(v.to_le_bytes()));
    half(&mut file, &[2, 62]);
    file.extend(1_u32.to_le_bytes());
    for word in [0x40_1000_u64, 64, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend(0_u32.to_le_bytes());
    half(&mut file, &[64, 56, 4, 0, 0, 0]);
    for (at, flags, more) in [(0_u64, 4_u32, 0_u64), (1, 5, 0), (2, 4, 0), (3, 6, 0x3000)] {
        file.extend(1_u32.to_le_bytes());
        file.extend(flags.to_le_bytes());
        let (offset, addr) = (at * SEGMENT, 0x40_0000 + at * SEGMENT);
        for word in [offset, addr, addr, SEGMENT - 0x100, SEGMENT - 0x100 + more, SEGMENT] {
            file.extend(word.to_le_bytes());
        }
    }
    file.resize(0x4000, 0x90);
    file
}

fn place(namespace: &Arc<MountNamespace>, path: &[u8]) -> Path {
    let root = namespace.root();
    let cred = Cred::kernel();
    let walker = Walker { root: &root, cred: &cred };
    walk::resolve(&walker, &root, path, WalkFlags::FOLLOW).expect("a mount point")
}

impl World {
    pub(crate) fn new(workers: usize) -> World {
        let kernel = Kernel::new(Arc::new(Scripted { workers }), &syscalls::TABLE);
        let (dirs, client, mounts) = trees();
        let tree = |at: usize| -> Arc<dyn FileSystem> {
            Arc::new(GoferFs::new(&client, &mounts[at], CachePolicy::Exclusive).expect("a tree"))
        };
        let tmpfs = || Arc::new(TmpFs::new(TmpfsOptions::default()).expect("a tmpfs"));
        let root = Arc::new(OverlayFs::new(vec![tree(0)], tmpfs()).expect("an overlay"));
        let namespace = MountNamespace::new(Mount::of(root, b"none", MountFlags::RELATIME).expect("a root directory"));
        kernel.vfs.set_namespace(Arc::clone(&namespace));
        let devpts = Arc::new(DevPts::new(kernel.tty_host(), DevPtsOptions::default()));
        kernel.vfs.set_devices(Arc::new(Devices::new(kernel.tty_host(), devpts)));
        let dev = Arc::new(sentry_fs::dev::new_fs(TmpfsOptions::default(), false).expect("devices"));
        let filesystems: [(&[u8], Arc<dyn FileSystem>); 3] = [(b"/gofer", tree(1)), (b"/tmp", tmpfs()), (b"/dev", dev)];
        for (at, fs) in filesystems {
            let mount = Mount::of(fs, b"none", MountFlags::RELATIME).expect("a root directory");
            namespace.attach(&mount, place(&namespace, at)).expect("a mount");
        }
        let mut limits = [Rlimit { cur: u64::MAX, max: u64::MAX }; RLIMITS];
        limits[Resource::Nofile as usize] = Rlimit { cur: 1024, max: 1024 };
        limits[Resource::Stack as usize] = Rlimit { cur: 8 << 20, max: 8 << 20 };
        let process = Process::init(Pid(1), ProcessSignals::default(), limits, 0);
        kernel.tasks.write().insert_process(ProcessEntry::new(
            Arc::clone(&process),
            Pid(0),
            INIT,
            INIT,
            Some(Signal::SIGCHLD),
        ));
        let memory = Memory::new();
        let layout = Layout::new(0x1_0000..(1 << 47) - 4096, 8 << 20, None);
        let mm = Arc::new(Mm::new(Arc::clone(&memory) as _, layout, Vdso { image: 0..0, data: 0..0 }));
        World {
            fs: Arc::new(FsContext::new(&namespace, 0o22)),
            files: Arc::default(),
            kernel,
            memory,
            mm,
            process,
            next_tid: 1,
            next_data: BASE,
            _dirs: dirs,
        }
    }

    /// Makes a thread of the process, which runs a script.
    pub(crate) fn thread(&mut self, player: Player) -> Current {
        let tid = Pid(self.next_tid);
        self.next_tid += 1;
        // As docker's default: root with capabilities that don't override everything.
        let cred = Cred::kernel();
        let context: Box<dyn Context> = Box::new(player);
        let interrupt: Arc<dyn Interrupt> = context.interrupter();
        let task = Task::new(
            &self.kernel,
            NewTask {
                tid,
                process: Arc::clone(&self.process),
                cred: Arc::new(cred),
                files: Arc::clone(&self.files),
                fs: Arc::clone(&self.fs),
                mm: Arc::clone(&self.mm),
                signals: TaskSignals::new(SigSet::default(), StackT { flags: 2, ..StackT::default() }),
                comm: b"bench".to_vec(),
                interrupt,
            },
        );
        self.kernel.tasks.write().insert_task(&task);
        let regs = Registers { rsp: BASE + 0x8_0000, ..Registers::default() };
        Current::new(task, UserMem::new(Arc::clone(&self.memory) as _), Arc::clone(&self.mm), context, regs)
    }

    /// Puts bytes into guest memory and returns their address.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> u64 {
        let at = self.next_data;
        self.memory.write(at, bytes);
        self.next_data += (bytes.len() as u64).next_multiple_of(64);
        at
    }

    /// Makes a call at once, before the measurement.
    pub(crate) fn call(&mut self, cur: &mut Current, number: u32, args: [u64; 6]) -> u64 {
        let slot = syscalls::TABLE[number as usize].expect("a call of the table");
        let result = match (slot.handler)(cur, &args) {
            Outcome::Done(result) => result,
            Outcome::Block(mut future) => match future.as_mut().poll(&mut TaskContext::from_waker(Waker::noop())) {
                Poll::Ready(result) => result,
                Poll::Pending => panic!("{} waits", slot.entry.name),
            },
            Outcome::NoReturn => panic!("{} does not return", slot.entry.name),
        };
        result.unwrap_or_else(|error| panic!("{}: {error:?}", slot.entry.name))
    }
}
