//! New files of all kinds.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use abi::Errno;
use abi::types::mode;
use gofer_proto::{Entry, Handle, NewNode, WireAttr, check_name};
use rustix::fs::{AtFlags, Dev, FileType, Mode, OFlags};

use super::{Answer, Outcome};
use crate::host::{self, errno};
use crate::node::Node;
use crate::policy;
use crate::server::{Server, TreeFlags};

impl Server {
    /// Finds the directory of a change and checks that it may be changed there.
    pub(super) fn parent(&self, dir: Handle, name: &[u8]) -> Result<(Arc<Node>, Arc<OwnedFd>), Errno> {
        check_name(name)?;
        let dir = self.nodes.get(dir)?;
        if !policy::is_dir(dir.kind()) {
            return Err(Errno::ENOTDIR);
        }
        self.writable(&dir)?;
        let fd = self.nodes.fd(&dir)?;
        Ok((dir, fd))
    }

    pub(super) fn create(&self, dir: Handle, name: &[u8], new: &NewNode) -> Outcome {
        let (dir, dir_fd) = self.parent(dir, name)?;
        self.nodes.reserve()?;
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = host::open_beneath(dir_fd.as_fd(), name, flags, perm(new))?;
        let made = (|| {
            // From the descriptor and not by name, so that it is the file just made.
            let path = self.proc_fds.reopen(file.as_fd(), OFlags::PATH)?;
            let attr = self.dress(path.as_fd(), new)?;
            let node = self.nodes.give(dir.tree(), path, &attr, Some((&dir, name)))?;
            Ok(Entry { handle: node.handle(), attr })
        })();
        match made {
            Ok(entry) => Ok(Answer::EntryFd(entry, file)),
            Err(errno) => Err(undo(dir_fd.as_fd(), name, AtFlags::empty(), errno)),
        }
    }

    pub(super) fn tmpfile(&self, dir: Handle, new: &NewNode) -> Outcome {
        let store = self.nodes.get(dir).ok().filter(|dir| self.flags(dir).contains(TreeFlags::STORE));
        let (dir, dir_fd) = match store {
            Some(dir) => (Arc::clone(&dir), self.nodes.fd(&dir)?),
            None => self.parent(dir, b"tmpfile")?,
        };
        self.nodes.reserve()?;
        let store = self.flags(&dir).contains(TreeFlags::STORE);
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        let flags = if store { flags | OFlags::EXCL } else { flags };
        let file = match rustix::fs::openat(dir_fd.as_fd(), ".", flags, perm(new)).map_err(errno) {
            Err(Errno::EOPNOTSUPP | Errno::EISDIR) if store => self.named_for_a_moment(dir_fd.as_fd(), new)?,
            made => made?,
        };
        let path = self.proc_fds.reopen(file.as_fd(), OFlags::PATH)?;
        let attr = self.dress(path.as_fd(), new)?;
        let node = self.nodes.give(dir.tree(), path, &attr, None)?;
        Ok(Answer::EntryFd(Entry { handle: node.handle(), attr }, file))
    }

    /// Makes a file and takes its name away, where the host's file system knows no unnamed ones.
    fn named_for_a_moment(&self, dir: BorrowedFd<'_>, new: &NewNode) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let mut attempt = 0_u32;
        loop {
            let name = format!(".runsc.filestore.{}.{attempt}", std::process::id());
            match host::open_beneath(dir, name.as_bytes(), flags, perm(new)) {
                Err(Errno::EEXIST) if attempt < 1000 => attempt += 1,
                made => {
                    let file = made?;
                    rustix::fs::unlinkat(dir, name, AtFlags::empty()).map_err(errno)?;
                    return Ok(file);
                }
            }
        }
    }

    pub(super) fn mkdir(&self, dir: Handle, name: &[u8], new: &NewNode) -> Outcome {
        let (dir, dir_fd) = self.parent(dir, name)?;
        self.nodes.reserve()?;
        rustix::fs::mkdirat(dir_fd.as_fd(), name, perm(new)).map_err(errno)?;
        self.made(&dir, dir_fd.as_fd(), name, new, mode::IFDIR)
    }

    pub(super) fn symlink(&self, dir: Handle, name: &[u8], target: &[u8], new: &NewNode) -> Outcome {
        if target.is_empty() || target.contains(&0) {
            return Err(Errno::ENOENT);
        }
        let (dir, dir_fd) = self.parent(dir, name)?;
        self.nodes.reserve()?;
        rustix::fs::symlinkat(target, dir_fd.as_fd(), name).map_err(errno)?;
        self.made(&dir, dir_fd.as_fd(), name, new, mode::IFLNK)
    }

    pub(super) fn mknod(&self, dir: Handle, name: &[u8], new: &NewNode) -> Outcome {
        let (dir, dir_fd) = self.parent(dir, name)?;
        let (kind, device) = match new.mode & mode::IFMT {
            0 | mode::IFREG => (FileType::RegularFile, 0),
            mode::IFIFO => (FileType::Fifo, 0),
            mode::IFSOCK => (FileType::Socket, 0),
            bits @ (mode::IFCHR | mode::IFBLK) => {
                if !self.flags(&dir).contains(TreeFlags::MAKE_DEVICES) {
                    return Err(Errno::EPERM);
                }
                let kind = if bits == mode::IFCHR { FileType::CharacterDevice } else { FileType::BlockDevice };
                (kind, device(new.rdev)?)
            }
            _ => return Err(Errno::EINVAL),
        };
        self.nodes.reserve()?;
        rustix::fs::mknodat(dir_fd.as_fd(), name, kind, perm(new), device).map_err(errno)?;
        self.made(&dir, dir_fd.as_fd(), name, new, kind.as_raw_mode() & mode::IFMT)
    }

    /// Enters what was just made under `name`, or takes it away again.
    fn made(&self, dir: &Arc<Node>, dir_fd: BorrowedFd<'_>, name: &[u8], new: &NewNode, kind: u32) -> Outcome {
        self.made_as(dir, dir_fd, name, new, kind, |_| true)
    }

    /// Does the same where `ours` can tell more of it than that it has the right kind.
    pub(super) fn made_as(
        &self,
        dir: &Arc<Node>,
        dir_fd: BorrowedFd<'_>,
        name: &[u8],
        new: &NewNode,
        kind: u32,
        ours: impl Fn(&WireAttr) -> bool,
    ) -> Outcome {
        let entry = (|| {
            let path = host::open_child(dir_fd, name)?;
            let found = host::stat(path.as_fd())?;
            if found.mode & mode::IFMT != kind || !ours(&found) {
                // Somebody on the host was quicker; what is there now isn't ours to dress.
                return Err(Errno::ESTALE);
            }
            let attr = self.dress(path.as_fd(), new)?;
            let node = self.nodes.give(dir.tree(), path, &attr, Some((dir, name)))?;
            Ok(Answer::Entry(Entry { handle: node.handle(), attr }))
        })();
        let how = if kind == mode::IFDIR { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        entry.map_err(|errno| if errno == Errno::ESTALE { errno } else { undo(dir_fd, name, how, errno) })
    }

    /// Gives a new file the owner and mode that the sentry decided, where the host chose others.
    fn dress(&self, path: BorrowedFd<'_>, new: &NewNode) -> Result<WireAttr, Errno> {
        let attr = host::stat(path)?;
        let uid = (attr.uid != new.uid).then_some(new.uid);
        let gid = (attr.gid != new.gid).then_some(new.gid);
        let owner_changes = uid.is_some() || gid.is_some();
        if owner_changes {
            self.change_owner(path, uid, gid)?;
        }
        let wanted = new.mode & mode::PERM;
        let set_ids = mode::ISUID | mode::ISGID;
        let mode_changes = attr.mode & mode::PERM != wanted || (owner_changes && wanted & set_ids != 0);
        if mode_changes && !policy::is_symlink(attr.mode) {
            self.change_mode(path, wanted)?;
        }
        if owner_changes || mode_changes { host::stat(path) } else { Ok(attr) }
    }
}

fn perm(new: &NewNode) -> Mode {
    Mode::from_raw_mode(new.mode & mode::PERM)
}

fn device(rdev: u64) -> Result<Dev, Errno> {
    let part = |bits: u64| u32::try_from(bits).map_err(|_| Errno::EINVAL);
    let (major, minor) = (part(rdev >> 32)?, part(rdev & 0xffff_ffff)?);
    if major > 0xfff || minor > 0xf_ffff { Err(Errno::EINVAL) } else { Ok(rustix::fs::makedev(major, minor)) }
}

fn undo(dir: BorrowedFd<'_>, name: &[u8], how: AtFlags, errno: Errno) -> Errno {
    if let Err(error) = rustix::fs::unlinkat(dir, name, how) {
        tracing::debug!(%error, "can't remove a half-made file");
    }
    errno
}
