//! Where the paths of the `*at` calls start, and what they lead to.

use std::sync::Arc;

use abi::flags::OpenFlags;
use abi::time::Timespec;
use abi::{Errno, Fd, UserAddr};
use sentry::Current;
use sentry::vfs::{File, Path, WalkFlags, walk};
use sentry_fs::{Attr, DeviceId, FileKind, InodeRef};

/// `AT_SYMLINK_NOFOLLOW`.
pub(crate) const NOFOLLOW: u32 = 0x100;
/// `AT_REMOVEDIR`, `AT_EACCESS`.
pub(crate) const REMOVEDIR: u32 = 0x200;
/// `AT_SYMLINK_FOLLOW`.
pub(crate) const FOLLOW: u32 = 0x400;
/// `AT_NO_AUTOMOUNT`.
pub(crate) const NO_AUTOMOUNT: u32 = 0x800;
/// `AT_EMPTY_PATH`.
pub(crate) const EMPTY_PATH: u32 = 0x1000;

/// Returns the directory at which a path starts: `EBADF`, and `ENOTDIR` for what is no directory.
pub(crate) fn base(cur: &Current, dirfd: Fd, path: &[u8]) -> Result<Path, Errno> {
    if dirfd == Fd::CWD || path.first() == Some(&b'/') {
        return Ok(cur.fs().cwd());
    }
    let file = cur.file(dirfd)?;
    file.path.clone().ok_or(Errno::ENOTDIR)
}

/// Reads a path and walks it.
pub(crate) fn lookup(cur: &Current, dirfd: Fd, path: UserAddr, flags: WalkFlags) -> Result<Path, Errno> {
    let text = cur.mem.read_path(path)?;
    lookup_text(cur, dirfd, &text, flags)
}

/// Walks a path.
pub(crate) fn lookup_text(cur: &Current, dirfd: Fd, text: &[u8], flags: WalkFlags) -> Result<Path, Errno> {
    if text.is_empty() && !flags.contains(WalkFlags::EMPTY) {
        return Err(Errno::ENOENT);
    }
    let start = cur.start();
    if dirfd == Fd::CWD || text.first() == Some(&b'/') {
        return walk::resolve(&start.walker(), start.cwd(), text, flags);
    }
    let file = cur.file(dirfd)?;
    walk::resolve(&start.walker(), file.path.as_ref().ok_or(Errno::ENOTDIR)?, text, flags)
}

/// Turns `AT_SYMLINK_NOFOLLOW` and `AT_EMPTY_PATH` into walk flags.
pub(crate) fn walk_flags(flags: u32) -> WalkFlags {
    let mut walk = WalkFlags::empty();
    walk.set(WalkFlags::FOLLOW, flags & NOFOLLOW == 0);
    walk.set(WalkFlags::EMPTY, flags & EMPTY_PATH != 0);
    walk
}

/// What a call acts on: a place in the tree, or an open file that may have none.
pub(crate) enum Target {
    Path(Path),
    File(Arc<File>),
}

impl Target {
    /// The file behind a descriptor, `O_PATH` or not.
    pub(crate) fn of_fd(cur: &Current, fd: Fd) -> Result<Target, Errno> {
        Ok(Target::of_file(cur.file(fd)?))
    }

    /// The file behind a descriptor that isn't `O_PATH`.
    pub(crate) fn of_io_fd(cur: &Current, fd: Fd) -> Result<Target, Errno> {
        Ok(Target::of_file(crate::io::file_of(cur, fd)?))
    }

    fn of_file(file: Arc<File>) -> Target {
        match &file.path {
            Some(path) => Target::Path(path.clone()),
            None => Target::File(file),
        }
    }

    /// What a path and the flags of an `*at` call name. A null path counts as empty with `AT_EMPTY_PATH` where `null_ok`.
    pub(crate) fn at(cur: &Current, dirfd: Fd, path: UserAddr, flags: u32, null_ok: bool) -> Result<Target, Errno> {
        let empty_ok = flags & EMPTY_PATH != 0;
        let text = if null_ok && empty_ok && path.is_null() { Vec::new() } else { cur.mem.read_path(path)? };
        if text.is_empty() && empty_ok && dirfd != Fd::CWD {
            return Target::of_fd(cur, dirfd);
        }
        lookup_text(cur, dirfd, &text, walk_flags(flags)).map(Target::Path)
    }

    pub(crate) fn inode(&self) -> Option<&InodeRef> {
        match self {
            Target::Path(path) => Some(path.inode()),
            Target::File(file) => file.inode.as_ref(),
        }
    }

    pub(crate) fn path(&self) -> Option<&Path> {
        match self {
            Target::Path(path) => Some(path),
            Target::File(file) => file.path.as_ref(),
        }
    }

    /// Returns the attributes.
    pub(crate) fn attr(&self) -> Result<Attr, Errno> {
        match self {
            Target::Path(path) => path.attr(),
            Target::File(file) => file_attr(file),
        }
    }
}

/// Returns the attributes of an open file; those without an inode show what Linux's pipefs, sockfs and anonymous inodes
/// show, told apart by the name that `/proc/PID/fd` gives them.
pub(crate) fn file_attr(file: &File) -> Result<Attr, Errno> {
    if let Some(inode) = &file.inode {
        return inode.attr();
    }
    let name = file.ops.anon_name().unwrap_or_default();
    let number = name.split(['[', ']']).nth(1).and_then(|number| number.parse().ok());
    let (kind, perm, minor) = if name.starts_with("pipe:") {
        (FileKind::Fifo, 0o600, PIPEFS)
    } else if name.starts_with("socket:") {
        (FileKind::Socket, 0o777, SOCKFS)
    } else {
        (FileKind::Regular, 0o600, ANONFS)
    };
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    let now = Timespec { sec: now.tv_sec, nsec: now.tv_nsec };
    Ok(Attr::nameless(DeviceId::new(0, minor), number.unwrap_or(ANON_INO), kind, perm, now))
}

/// Device minors of the kernel's own file systems, as a Linux system gives them early at boot.
const PIPEFS: u32 = 14;
const SOCKFS: u32 = 8;
const ANONFS: u32 = 15;
/// All anonymous inodes are one.
const ANON_INO: u64 = 1;

/// Tells whether a file shows no type in its mode: Linux's anonymous inodes don't.
pub(crate) fn is_typeless(file: &File) -> bool {
    file.inode.is_none()
        && !file.ops.anon_name().is_some_and(|name| name.starts_with("pipe:") || name.starts_with("socket:"))
}

/// Puts an open file into the table at the lowest free descriptor.
pub(crate) fn install(cur: &Current, file: Arc<File>, flags: OpenFlags) -> Result<Fd, Errno> {
    let own = if flags.contains(OpenFlags::CLOEXEC) { sentry::vfs::FdFlags::CLOEXEC } else { Default::default() };
    cur.task.files.load().install(file, own, 0, cur.process().fd_limit())
}
