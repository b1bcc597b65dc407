//! `/proc` and `/sys` over a real kernel object: everything in them can be read, under the checks of the lock order.

use std::sync::Arc;

use abi::flags::OpenFlags;
use abi::signal::Signal;
use abi::{Errno, Pid};
use sentry::proc_view::KernelProc;
use sentry::task::ProcessEntry;
use sentry::vfs::{FdFlags, File};
use sentry_fs::eventfd::EventFd;
use sentry_fs::proc::{KernelView, ProcFs};
use sentry_fs::sys::{CgroupFs, Machine, SysFs, SysView};
use sentry_fs::{BytesDst, DirEntry, DirSink, FileKind, FileSystem, InodeRef, IoFlags};

use crate::testing::Guest;

/// A guest that is in the table of tasks, with a file open, and the view of its kernel.
fn guest() -> (Guest, Arc<KernelProc>) {
    let guest = Guest::new();
    let task = Arc::clone(&guest.cur.task);
    let kernel = Arc::clone(&task.kernel);
    let process = Arc::clone(&task.process);
    {
        let mut table = kernel.tasks.write();
        table.insert_process(ProcessEntry::new(process, Pid(0), Pid(7), Pid(7), Some(Signal::SIGCHLD)));
        table.insert_task(&task);
    }
    let file = File::new(EventFd::new(3, false), None, OpenFlags::RDWR);
    guest.files().install(file, FdFlags::CLOEXEC, 5, 64).unwrap();
    let view = KernelProc::new(&kernel, "processor\t: 0\n\n");
    (guest, view)
}

fn read(inode: &InodeRef) -> Result<Vec<u8>, Errno> {
    let file = Arc::clone(inode).open(OpenFlags::empty())?;
    let mut text = vec![0; 1 << 16];
    let got = file.read(&mut 0, IoFlags::empty(), &mut BytesDst::new(&mut text))?;
    text.truncate(got);
    Ok(text)
}

struct Names(Vec<Vec<u8>>);

impl DirSink for Names {
    fn entry(&mut self, entry: &DirEntry<'_>) -> bool {
        if !matches!(entry.name, b"." | b"..") {
            self.0.push(entry.name.to_vec());
        }
        true
    }
}

/// Reads everything below a directory; returns how many files and links.
fn crawl(dir: &InodeRef, path: &str) -> usize {
    let mut names = Names(Vec::new());
    Arc::clone(dir).open(OpenFlags::empty()).unwrap().read_dir(0, &mut names).unwrap();
    let mut count = 0;
    for name in names.0 {
        let path = format!("{path}/{}", String::from_utf8_lossy(&name));
        let inode = dir.lookup(&name).unwrap_or_else(|errno| panic!("{path} is listed but {errno}"));
        match inode.attr().unwrap().kind {
            FileKind::Directory => count += crawl(&inode, &path),
            FileKind::Symlink => {
                // A task without a program has no exe; `self` is nobody outside of a call.
                let none = path.ends_with("/exe") || path.ends_with("self");
                assert_eq!(inode.readlink().is_ok(), !none, "{path}");
                assert_eq!(inode.follow().is_ok(), !none, "{path}");
                count += 1;
            }
            _ => {
                let unmapped = path.ends_with("/mem");
                assert_eq!(read(&inode).is_ok(), !unmapped, "{path}");
                count += 1;
            }
        }
    }
    count
}

fn text(fs: &dyn FileSystem, path: &str) -> String {
    let inode = path.split('/').try_fold(fs.root(), |dir, name| dir.lookup(name.as_bytes())).unwrap();
    String::from_utf8(read(&inode).unwrap()).unwrap()
}

#[test]
fn everything_in_proc_and_sys_can_be_read() {
    let (_guest, view) = guest();
    let proc = ProcFs::new(Arc::clone(&view) as Arc<dyn KernelView>, [1; 16]);
    assert!(crawl(&proc.root(), "/proc") > 200);
    let machine = Machine { cpus: 2, huge_pages: "never".into() };
    assert!(crawl(&SysFs::new(&machine, Arc::clone(&view) as Arc<dyn SysView>).root(), "/sys") > 40);
    assert!(crawl(&CgroupFs::new(view).root(), "/sys/fs/cgroup") > 4);
}

#[test]
fn a_task_is_described() {
    let (guest, view) = guest();
    let proc = ProcFs::new(view, [1; 16]);
    assert!(text(&proc, "7/stat").starts_with("7 (test) R 0 7 7 0 -1 "));
    let status = text(&proc, "7/status");
    assert!(status.contains("\nUid:\t1000\t1000\t1000\t1000\n") && status.contains("\nUmask:\t0022\n"), "{status}");
    assert_eq!(text(&proc, "7/mounts"), "tmpfs / tmpfs rw,inode64 0 0\n");
    assert!(text(&proc, "7/fdinfo/5").starts_with("pos:\t0\nflags:\t02000002\n"));
    let link = proc.root().lookup(b"7").and_then(|dir| dir.lookup(b"fd")).and_then(|dir| dir.lookup(b"5")).unwrap();
    assert_eq!(link.readlink().unwrap(), b"anon_inode:[eventfd]");
    assert_eq!(text(&proc, "7/comm"), "test\n");
    *guest.cur.task.comm.lock() = b"other".to_vec();
    assert_eq!(text(&proc, "7/task/7/comm"), "other\n");
}

#[test]
fn a_zombie_is_still_there() {
    let (guest, view) = guest();
    let kernel = Arc::clone(guest.cur.kernel());
    {
        let mut table = kernel.tasks.write();
        assert!(table.remove_task(&guest.cur.task));
        if let Some(entry) = table.processes.get_mut(&Pid(7)) {
            entry.zombie = Some(256);
        }
    }
    let proc = ProcFs::new(view, [1; 16]);
    assert!(text(&proc, "7/status").contains("State:\tZ (zombie)\n"));
    assert_eq!((text(&proc, "7/cmdline"), text(&proc, "7/maps")), (String::new(), String::new()));
    assert!(text(&proc, "7/stat").ends_with(" 256\n"));
}
