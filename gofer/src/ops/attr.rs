//! Attributes, link targets, file-system figures.

use std::os::fd::{AsFd, BorrowedFd};

use abi::types::{PATH_MAX, Statfs};
use abi::{Errno, time::Timespec};
use gofer_proto::{Handle, SetNode, TimeSet, WireStatfs};
use rustix::fs::{AtFlags, Gid, Mode, OFlags, Timestamps, UTIME_NOW, UTIME_OMIT, Uid};

use super::{Answer, Outcome};
use crate::host::errno;
use crate::policy;
use crate::server::Server;

impl Server {
    pub(super) fn get_attr(&self, node: Handle) -> Outcome {
        let node = self.nodes.get(node)?;
        self.attr(&node).map(Answer::Attr)
    }

    /// Changes attributes: owner before mode, since the host drops set-id bits with the owner; times last, since the
    /// others move them.
    pub(super) fn set_attr(&self, node: Handle, set: &SetNode) -> Outcome {
        let node = self.nodes.get(node)?;
        self.writable(&node)?;
        let fd = self.nodes.fd(&node)?;
        let fd = fd.as_fd();
        if set.uid.is_some() || set.gid.is_some() {
            self.change_owner(fd, set.uid, set.gid)?;
        }
        if let Some(perm) = set.perm {
            if policy::is_symlink(node.kind()) {
                return Err(Errno::EOPNOTSUPP);
            }
            self.change_mode(fd, perm)?;
        }
        if let Some(size) = set.size {
            if !policy::is_regular(node.kind()) {
                return Err(if policy::is_dir(node.kind()) { Errno::EISDIR } else { Errno::EINVAL });
            }
            let file = self.proc_fds.reopen(fd, OFlags::WRONLY | OFlags::NONBLOCK)?;
            rustix::fs::ftruncate(file, size).map_err(errno)?;
        }
        if set.atime.is_some() || set.mtime.is_some() {
            let times = Timestamps { last_access: host_time(set.atime), last_modification: host_time(set.mtime) };
            rustix::fs::utimensat(fd, "", &times, AtFlags::EMPTY_PATH).map_err(errno)?;
        }
        self.attr(&node).map(Answer::Attr)
    }

    /// Sets owner and group, each where given.
    pub(super) fn change_owner(&self, fd: BorrowedFd<'_>, uid: Option<u32>, gid: Option<u32>) -> Result<(), Errno> {
        if uid == Some(u32::MAX) || gid == Some(u32::MAX) {
            return Err(Errno::EINVAL);
        }
        let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        rustix::fs::chownat(fd, "", uid, gid, AtFlags::EMPTY_PATH).map_err(errno)
    }

    /// Sets the permission bits. `fd` must not be a symbolic link.
    pub(super) fn change_mode(&self, fd: BorrowedFd<'_>, perm: u32) -> Result<(), Errno> {
        let mode = Mode::from_raw_mode(perm);
        rustix::fs::chmodat(self.proc_fds.dir(), self.proc_fds.name(fd), mode, AtFlags::empty()).map_err(errno)
    }

    pub(super) fn readlink(&self, node: Handle) -> Outcome {
        let node = self.nodes.get(node)?;
        if !policy::is_symlink(node.kind()) {
            return Err(Errno::EINVAL);
        }
        if node.sealed() {
            return Err(Errno::EACCES);
        }
        let fd = self.nodes.fd(&node)?;
        let target = rustix::fs::readlinkat(fd.as_fd(), "", Vec::with_capacity(256)).map_err(errno)?;
        if target.as_bytes().len() > PATH_MAX {
            Err(Errno::ENAMETOOLONG)
        } else {
            Ok(Answer::Bytes(target.into_bytes()))
        }
    }

    pub(super) fn statfs(&self, node: Handle) -> Outcome {
        let node = self.nodes.get(node)?;
        let found = rustix::fs::fstatfs(self.nodes.fd(&node)?.as_fd()).map_err(errno)?;
        Ok(Answer::StatFs(WireStatfs(Statfs {
            kind: found.f_type,
            bsize: found.f_bsize,
            blocks: found.f_blocks,
            bfree: found.f_bfree,
            bavail: found.f_bavail,
            files: found.f_files,
            ffree: found.f_ffree,
            fsid: [0; 2],
            namelen: found.f_namelen,
            frsize: found.f_frsize,
            flags: 0,
            spare: [0; 4],
        })))
    }
}

fn host_time(time: Option<TimeSet>) -> rustix::fs::Timespec {
    let special = |tv_nsec| rustix::fs::Timespec { tv_sec: 0, tv_nsec };
    match time {
        None => special(UTIME_OMIT),
        Some(TimeSet::Now) => special(UTIME_NOW),
        Some(TimeSet::At(Timespec { sec, nsec })) => rustix::fs::Timespec { tv_sec: sec, tv_nsec: nsec },
    }
}
