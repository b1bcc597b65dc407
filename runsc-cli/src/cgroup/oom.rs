//! Waiting for the host to kill for want of memory.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};
use rustix::fs::inotify;

use super::{Cgroup, Place};

/// Becomes readable when something may have been killed.
pub(crate) struct OomWatch {
    fd: OwnedFd,
    /// The host tells an event as long as this is open.
    _file: Option<File>,
}

impl AsFd for OomWatch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl OomWatch {
    pub(super) fn new(cgroup: &Cgroup) -> io::Result<OomWatch> {
        match &cgroup.place {
            // `Documentation/admin-guide/cgroup-v1/memory.rst`, "OOM Control".
            Place::V1(cgroup) => {
                let dir = cgroup.dirs.get("memory").ok_or(io::ErrorKind::NotFound)?;
                let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
                let file = File::open(dir.join("memory.oom_control"))?;
                let order = format!("{} {}", fd.as_raw_fd(), file.as_raw_fd());
                std::fs::write(dir.join("cgroup.event_control"), order)?;
                Ok(OomWatch { fd, _file: Some(file) })
            }
            // `Documentation/admin-guide/cgroup-v2.rst`: a change of the file is one of its times too.
            Place::V2(cgroup) => {
                let fd = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
                inotify::add_watch(&fd, cgroup.dir.join("memory.events"), inotify::WatchFlags::MODIFY)?;
                Ok(OomWatch { fd, _file: None })
            }
        }
    }

    /// Makes it unreadable again, until the next time.
    pub(crate) fn clear(&self) {
        let mut buf = [0; 4096];
        while rustix::io::read(&self.fd, &mut buf).is_ok_and(|got| got > 0) {}
    }
}
