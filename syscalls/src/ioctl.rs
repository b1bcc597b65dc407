//! `ioctl`: what is common to all files; the rest is the file's.

use std::sync::Arc;

use abi::flags::OpenFlags;
use abi::{Errno, Fd, Pid, SysError, UserAddr, UserRef};
use sentry::ns::NsFile;
use sentry::usermem::UserMem;
use sentry::vfs::{FdFlags, File, WalkFlags};
use sentry::{Current, SysResult};
use sentry_fs::tty::PtyMaster;
use sentry_fs::{FileKind, FileOps, UserMemory};

use crate::{at, io};

/// The letter of the ioctls on namespaces.
const NSIO: u32 = 0xb7;
const FIGETBSZ: u32 = 2;
/// Block size of file systems that exist in the kernel only.
const BLOCK_OF_NO_DISK: u32 = 4096;
const FIONREAD: u32 = 0x541b;
const FIONBIO: u32 = 0x5421;
const FIONCLEX: u32 = 0x5450;
const FIOCLEX: u32 = 0x5451;
const FIOASYNC: u32 = 0x5452;
/// Opens the other side of a pseudo-terminal.
const TIOCGPTPEER: u32 = 0x5441;
const FIOQSIZE: u32 = 0x5460;
const FICLONE: u32 = 0x4004_9409;
const FICLONERANGE: u32 = 0x4020_940d;
const FIDEDUPERANGE: u32 = 0xc018_9436;
const FS_IOC_FIEMAP: u32 = 0xc020_660b;
const FIFREEZE: u32 = 0xc004_5877;
const FITHAW: u32 = 0xc004_5878;

/// Guest memory as a file's own ioctls see it.
struct Memory<'a> {
    mem: &'a UserMem,
    caller: Pid,
}

impl UserMemory for Memory<'_> {
    fn read(&self, addr: UserAddr, buf: &mut [u8]) -> Result<(), Errno> {
        self.mem.read_bytes(addr, buf)
    }

    fn write(&self, addr: UserAddr, buf: &[u8]) -> Result<(), Errno> {
        self.mem.write_bytes(addr, buf)
    }

    fn caller(&self) -> Pid {
        self.caller
    }
}

/// Serves `ioctl(2)`.
pub fn ioctl(cur: &mut Current, fd: Fd, op: u32, argp: u64) -> SysResult {
    let file = io::file_of(cur, fd)?;
    if let Some(result) = generic(cur, fd, &file, op, argp) {
        return result.map_err(SysError::Errno);
    }
    if op >> 8 == NSIO
        && let Ok(namespace) = Arc::clone(&file.ops).as_any().downcast::<NsFile>()
        && let Some(result) = crate::namespace::ioctl(cur, &namespace, op, argp)
    {
        return result.map_err(SysError::Errno);
    }
    let memory = Memory { mem: &cur.mem, caller: cur.task.tid };
    match file.ops.ioctl(&memory, op, argp) {
        Err(Errno::ENOTTY) => stored(cur, &file, op, argp).map_err(SysError::Errno),
        result => result.map_err(io::sys_error),
    }
}

/// Serves what the kernel answers for every file (`do_vfs_ioctl`); `None` for the rest.
fn generic(cur: &Current, fd: Fd, file: &Arc<File>, op: u32, argp: u64) -> Option<Result<u64, Errno>> {
    let files = cur.task.files.load();
    let arg: UserRef<i32> = UserRef::new(UserAddr::new(argp));
    let set = |flag: OpenFlags, on: bool| {
        if flag == OpenFlags::ASYNC && !file.can_signal() {
            return if on == file.flags().contains(flag) { Ok(0) } else { Err(Errno::ENOTTY) };
        }
        let new = if on { file.flags() | flag } else { file.flags() - flag };
        file.ops.set_status_flags(new)?;
        file.set_flags(new, flag);
        Ok(0)
    };
    Some(match op {
        FIOCLEX => files.set_flags(fd, FdFlags::CLOEXEC).map(|()| 0),
        FIONCLEX => files.set_flags(fd, FdFlags::empty()).map(|()| 0),
        FIONBIO => cur.mem.read(arg).and_then(|on| set(OpenFlags::NONBLOCK, on != 0)),
        FIOASYNC => cur.mem.read(arg).and_then(|on| set(OpenFlags::ASYNC, on != 0)).inspect(|_| {
            file.set_async(cur.kernel(), fd);
        }),
        TIOCGPTPEER => peer(cur, file, argp)?,
        FIFREEZE | FITHAW if file.inode.is_some() => Err(Errno::EPERM),
        _ => return None,
    })
}

/// Serves `TIOCGPTPEER` of a pseudo-terminal's master; `None` for anything else. The slave gets its usual name where the
/// caller sees it.
fn peer(cur: &Current, file: &File, flags: u64) -> Option<Result<u64, Errno>> {
    let ops: Arc<dyn FileOps> = Arc::clone(&file.ops);
    let master = ops.as_any().downcast::<PtyMaster>().ok()?;
    let flags = OpenFlags::from_bits_retain(u32::try_from(flags & 0xffff_ffff).unwrap_or_default());
    let opened = master.open_peer(flags).and_then(|slave| {
        let name = format!("/dev/pts/{}", master.pty().index());
        let slave = match at::lookup_text(cur, Fd::CWD, name.as_bytes(), WalkFlags::empty()) {
            Ok(path) => File::with_path(slave, path, flags),
            Err(_) => File::new(slave, None, flags),
        };
        at::install(cur, slave, flags)
    });
    Some(opened.map(|fd| u64::from(fd.0.cast_unsigned())))
}

/// Serves what regular files and directories have in common.
fn stored(cur: &Current, file: &File, op: u32, argp: u64) -> Result<u64, Errno> {
    if op == FIGETBSZ {
        let size = file.inode.as_ref().map_or(Ok(BLOCK_OF_NO_DISK), |inode| inode.attr().map(|attr| attr.blksize))?;
        return cur.mem.write_last(UserRef::new(UserAddr::new(argp)), &size).map(|()| 0);
    }
    let Some(inode) = &file.inode else { return Err(Errno::ENOTTY) };
    let attr = inode.attr()?;
    let is_stored = matches!(attr.kind, FileKind::Regular | FileKind::Directory | FileKind::Symlink);
    match op {
        FIONREAD if attr.kind == FileKind::Regular => {
            let left = attr.size.saturating_sub(file.position());
            let left = i32::try_from(left).unwrap_or(i32::MAX);
            cur.mem.write_last(UserRef::new(UserAddr::new(argp)), &left).map(|()| 0)
        }
        FIOQSIZE if is_stored => {
            // What is allocated, not what is written.
            let size = at::file_attr(file)?.blocks.saturating_mul(512);
            cur.mem.write_last(UserRef::new(UserAddr::new(argp)), &size).map(|()| 0)
        }
        FICLONE => {
            // The other descriptor is looked at first.
            let other = io::file_of(cur, Fd(i32::try_from(argp).map_err(|_| Errno::EBADF)?))?;
            Err(if other.is_regular() && file.is_regular() { Errno::EOPNOTSUPP } else { Errno::EINVAL })
        }
        FICLONERANGE | FIDEDUPERANGE | FS_IOC_FIEMAP if is_stored => Err(Errno::EOPNOTSUPP),
        _ => Err(Errno::ENOTTY),
    }
}
