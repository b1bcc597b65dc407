//! Guest files for descriptors that the caller of `runsc` passes in.

use std::any::Any;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use abi::Errno;
use abi::flags::OpenFlags;
use rustix::fs::OFlags;
use sentry_fs::hostfd::{HostFd, HostTerminal};
use sentry_fs::tmpfs::{TmpFs, TmpfsOptions};
use sentry_fs::{FileOps, FileSystem, IoDst, IoFlags, MapSource};

use crate::Kernel;
use crate::reactor::Reactor;
use crate::vfs::File;

/// Makes guest files of descriptors; a closed one stays closed. All that are terminals are taken to be the same one.
pub fn take_over(
    kernel: &Arc<Kernel>,
    reactor: &Reactor,
    fds: Vec<Option<OwnedFd>>,
) -> Result<(Vec<Option<Arc<File>>>, Option<Arc<HostTerminal>>), Errno> {
    let mut terminal: Option<Arc<HostTerminal>> = None;
    let mut files = Vec::new();
    for fd in fds {
        let Some(fd) = fd else {
            files.push(None);
            continue;
        };
        let status = rustix::fs::fcntl_getfl(&fd).map_err(errno)?;
        // A confined sentry can't open it again to make it so.
        if rustix::termios::isatty(&fd) && !status.contains(OFlags::NONBLOCK) {
            return Err(Errno::EINVAL);
        }
        files.push(Some(adopt(kernel, reactor, fd, status, &mut terminal)?));
    }
    Ok((files, terminal))
}

/// Makes a guest file of one descriptor with these status flags of the host. The first that is a terminal sets `terminal`,
/// which later ones share. One that only names a place (`O_PATH`) stands for a directory, which the caller has kept.
pub fn adopt(
    kernel: &Arc<Kernel>,
    reactor: &Reactor,
    fd: OwnedFd,
    status: OFlags,
    terminal: &mut Option<Arc<HostTerminal>>,
) -> Result<Arc<File>, Errno> {
    if status.contains(OFlags::PATH) {
        return empty_directory();
    }
    let mut host = HostFd::new(fd, reactor)?;
    if host.is_terminal() {
        let shared = terminal.get_or_insert_with(|| HostTerminal::new(kernel.tty_host()));
        host = host.with_terminal(Arc::clone(shared));
    }
    let host = Arc::new(host);
    if let Some(terminal) = terminal.as_ref().filter(|_| host.is_terminal()) {
        terminal.set_file(Arc::clone(&host));
    }
    // The host's own words for access mode and append are Linux's too.
    let kept = OpenFlags::from_bits_retain(OpenFlags::ACCMODE) | OpenFlags::APPEND;
    let flags = OpenFlags::from_bits_retain(status.bits()) & kept;
    let inode = host.inode();
    Ok(File::new(host, Some(inode), flags))
}

/// Makes a directory of nobody's that is open.
fn empty_directory() -> Result<Arc<File>, Errno> {
    let inode = TmpFs::new(TmpfsOptions::default())?.root();
    let flags = OpenFlags::DIRECTORY;
    Ok(File::new(Arc::clone(&inode).open(flags)?, Some(inode), flags))
}

/// The content of a program that was passed in. It has no place among the sandbox's files, and is shown like a memfd's: C
/// libraries rely on an absolute path in `/proc/self/exe`.
struct GivenProgram(Arc<dyn FileOps>);

impl FileOps for GivenProgram {
    fn read(&self, pos: &mut u64, flags: IoFlags, dst: &mut dyn IoDst) -> Result<usize, Errno> {
        self.0.read(pos, flags, dst)
    }

    fn seekable(&self) -> bool {
        self.0.seekable()
    }

    fn map(&self, shared: bool) -> Result<MapSource, Errno> {
        self.0.map(shared)
    }

    fn anon_name(&self) -> Option<String> {
        Some("/exec-fd (deleted)".to_owned())
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// Makes a program of a guest file that was passed in.
pub(super) fn program(file: &File) -> Arc<File> {
    File::new(Arc::new(GivenProgram(Arc::clone(&file.ops))), file.inode.clone(), file.flags())
}

fn errno(error: rustix::io::Errno) -> Errno {
    Errno::from_raw(error.raw_os_error())
}
