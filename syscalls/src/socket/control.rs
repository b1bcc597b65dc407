//! Control messages: descriptors become files on the way out and descriptors again on the way in; credentials are
//! checked (`man 7 unix`).

use std::sync::Arc;

use abi::flags::OpenFlags;
use abi::{Errno, Fd, Pid};
use sentry::Current;
use sentry::task::Caps;
use sentry::vfs::{FdFlags, File};
use sentry_net::cmsg::{self, MAX_FILES, Writer};
use sentry_net::uapi::{af, scm, so, sol};
use sentry_net::{Control, FileRef, Ucred};

use crate::pidfd;

/// Reads the control messages of a send: `EINVAL`, `EBADF`, `EPERM`.
pub(super) fn read(cur: &Current, domain: u16, raw: &[u8]) -> Result<Vec<Control>, Errno> {
    let passes = matches!(domain, af::UNIX | af::NETLINK);
    let mut found = Vec::new();
    for message in cmsg::parse(raw)? {
        if message.level != sol::SOCKET {
            if !passes {
                let (level, kind, data) = (message.level, message.kind, message.data.to_vec());
                found.push(Control::Other { level, kind, data });
            }
            continue;
        }
        match message.kind {
            scm::RIGHTS | scm::CREDENTIALS if !passes => {}
            scm::RIGHTS if domain != af::UNIX => return Err(Errno::EINVAL),
            scm::RIGHTS => found.push(Control::Rights(files(cur, message.data)?)),
            scm::CREDENTIALS => found.push(Control::Credentials(credentials(cur, message.data)?)),
            so::MARK if !passes => {
                let cred = cur.task.cred.load();
                if !cred.has(Caps::NET_ADMIN) && !cred.has(Caps::NET_RAW) {
                    return Err(Errno::EPERM);
                }
            }
            _ => return Err(Errno::EINVAL),
        }
    }
    let count: usize =
        found.iter().map(|control| if let Control::Rights(files) = control { files.len() } else { 0 }).sum();
    if count > MAX_FILES { Err(Errno::EINVAL) } else { Ok(found) }
}

fn files(cur: &Current, data: &[u8]) -> Result<Vec<FileRef>, Errno> {
    if data.len() / 4 > MAX_FILES {
        return Err(Errno::EINVAL);
    }
    let table = cur.task.files.load();
    let file = |raw: &[u8]| -> Result<FileRef, Errno> {
        let number = raw.first_chunk().map(|raw| i32::from_ne_bytes(*raw)).ok_or(Errno::EINVAL)?;
        let file: Arc<File> = table.get(Fd(number))?;
        Ok(file)
    };
    data.chunks_exact(4).map(file).collect()
}

fn credentials(cur: &Current, data: &[u8]) -> Result<Ucred, Errno> {
    let raw: &[u8; 12] = data.try_into().map_err(|_| Errno::EINVAL)?;
    let word = |at: usize| [raw[at], raw[at + 1], raw[at + 2], raw[at + 3]];
    let given =
        Ucred { pid: i32::from_ne_bytes(word(0)), uid: u32::from_ne_bytes(word(4)), gid: u32::from_ne_bytes(word(8)) };
    let own = cur.task.cred.load();
    if given.uid == u32::MAX || given.gid == u32::MAX {
        return Err(Errno::EINVAL);
    }
    let pid = given.pid == cur.process().pid.0 || own.has(Caps::SYS_ADMIN);
    let uid = [own.ruid, own.euid, own.suid].contains(&given.uid) || own.has(Caps::SETUID);
    let gid = [own.rgid, own.egid, own.sgid].contains(&given.gid) || own.has(Caps::SETGID);
    if pid && uid && gid { Ok(given) } else { Err(Errno::EPERM) }
}

/// Builds the control buffer of a received message and installs its files; tells whether something was left out.
pub(super) fn write(cur: &Current, control: Vec<Control>, room: usize, cloexec: bool) -> (Vec<u8>, bool) {
    let mut writer = Writer::new(room);
    for item in control {
        match item {
            Control::Other { level, kind, data } => writer.put(level, kind, &data),
            Control::Credentials(cred) => {
                let raw = [cred.pid.to_ne_bytes(), cred.uid.to_ne_bytes(), cred.gid.to_ne_bytes()].concat();
                writer.put(sol::SOCKET, scm::CREDENTIALS, &raw);
            }
            Control::Process(_) if writer.fits() < 4 => writer.truncated = true,
            Control::Process(pid) if pid != 0 => {
                // Of a process that is gone the error stands there, as on Linux.
                let fd = match pidfd::install(cur, Pid(pid), false, OpenFlags::RDWR) {
                    Ok(fd) => fd.0,
                    Err(errno) => -errno.raw(),
                };
                writer.put(sol::SOCKET, scm::PIDFD, &fd.to_ne_bytes());
            }
            Control::Process(_) => {}
            Control::Rights(files) => {
                let count = files.len();
                let fds = install(cur, files, writer.fits() / 4, cloexec);
                writer.truncated |= fds.len() < count;
                if !fds.is_empty() {
                    let raw: Vec<u8> = fds.iter().flat_map(|fd| fd.0.to_ne_bytes()).collect();
                    writer.put(sol::SOCKET, scm::RIGHTS, &raw);
                }
            }
        }
    }
    let truncated = writer.truncated;
    (writer.finish(), truncated)
}

/// Installs as many files as fit; the others are closed.
fn install(cur: &Current, files: Vec<FileRef>, room: usize, cloexec: bool) -> Vec<Fd> {
    let flags = if cloexec { FdFlags::CLOEXEC } else { FdFlags::empty() };
    let table = cur.task.files.load();
    let limit = cur.process().fd_limit();
    let open = files.into_iter().take(room).map_while(|file| {
        let file = file.downcast::<File>().ok()?;
        table.install(file, flags, 0, limit).ok()
    });
    open.collect()
}
