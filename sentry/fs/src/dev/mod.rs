//! Devices: what stands behind character-device numbers, and the `/dev` that a container gets.
//!
//! Key types: [`Devices`], which the VFS asks when it opens a device node of any file system; [`new_fs`] makes the tree.

mod mem;
#[cfg(test)]
mod tests;

use std::sync::{Arc, OnceLock};

use abi::Errno;
use abi::flags::OpenFlags;

use crate::devpts::{self, DevPts};
use crate::tmpfs::{TmpFs, TmpfsOptions};
use crate::tty::{Terminal, TtyHost};
use crate::{DeviceId, FileKind, FileOps, FileSystem, InodeRef, NewInode};

pub(crate) use mem::{Full, Null, Random, Zero};

/// `/dev/null`.
pub const NULL: DeviceId = DeviceId::new(1, 3);
/// `/dev/zero`.
pub const ZERO: DeviceId = DeviceId::new(1, 5);
/// `/dev/full`.
pub const FULL: DeviceId = DeviceId::new(1, 7);
/// `/dev/random`.
pub const RANDOM: DeviceId = DeviceId::new(1, 8);
/// `/dev/urandom`.
pub const URANDOM: DeviceId = DeviceId::new(1, 9);
/// `/dev/tty`: the caller's controlling terminal.
pub const TTY: DeviceId = DeviceId::new(5, 0);
/// `/dev/console`.
pub const CONSOLE: DeviceId = DeviceId::new(5, 1);

/// The devices of a sandbox.
pub struct Devices {
    host: Arc<dyn TtyHost>,
    devpts: Arc<DevPts>,
    console: OnceLock<Arc<dyn Terminal>>,
}

impl std::fmt::Debug for Devices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Devices({:?})", self.devpts)
    }
}

impl Devices {
    /// Brings the terminals together; `devpts` serves `ptmx` and the slaves, wherever their nodes are.
    pub fn new(host: Arc<dyn TtyHost>, devpts: Arc<DevPts>) -> Devices {
        Devices { host, devpts, console: OnceLock::new() }
    }

    /// Says what `/dev/console` is: the terminal of the caller of `runsc`, or a pseudo-terminal. Only the first counts.
    pub fn set_console(&self, terminal: Arc<dyn Terminal>) {
        let _ = self.console.set(terminal);
    }

    /// Returns the file system of the pseudo-terminals.
    pub fn devpts(&self) -> &Arc<DevPts> {
        &self.devpts
    }

    /// Opens a device by number: `ENXIO` where nothing stands behind it.
    pub fn open(&self, kind: FileKind, device: DeviceId, flags: OpenFlags) -> Result<Arc<dyn FileOps>, Errno> {
        if kind != FileKind::CharDevice {
            return Err(Errno::ENXIO);
        }
        Ok(match device {
            NULL => Arc::new(Null),
            ZERO => Arc::new(Zero),
            FULL => Arc::new(Full),
            RANDOM => Arc::new(Random::polled()),
            URANDOM => Arc::new(Random::default()),
            TTY => self.host.controlling().ok_or(Errno::ENXIO)?.open(flags)?,
            CONSOLE => Arc::clone(self.console.get().ok_or(Errno::ENXIO)?).open(flags)?,
            devpts::PTMX => self.devpts.open_master()?,
            DeviceId { major: crate::tty::SLAVE_MAJOR, minor } => self.devpts.open_slave(minor, flags)?,
            _ => return Err(Errno::ENXIO),
        })
    }
}

/// Nodes of `/dev`: name, number, permission bits.
const NODES: [(&str, DeviceId, u32); 6] = [
    ("null", NULL, 0o666),
    ("zero", ZERO, 0o666),
    ("full", FULL, 0o666),
    ("random", RANDOM, 0o666),
    ("urandom", URANDOM, 0o666),
    ("tty", TTY, 0o666),
];

const LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];

const DIRS: [(&str, u32); 3] = [("pts", 0o755), ("shm", 0o1777), ("mqueue", 0o1777)];

fn new(kind: FileKind, perm: u32, rdev: DeviceId) -> NewInode {
    NewInode { kind, perm, uid: 0, gid: 0, rdev }
}

/// Makes the `/dev` of a container, with empty directories for the mounts below it. `console` adds its node.
pub fn new_fs(options: TmpfsOptions, console: bool) -> Result<TmpFs, Errno> {
    let fs = TmpFs::new(options)?;
    let root: InodeRef = fs.root();
    for (name, device, perm) in NODES {
        root.create(name.as_bytes(), &new(FileKind::CharDevice, perm, device))?;
    }
    if console {
        root.create(b"console", &new(FileKind::CharDevice, 0o620, CONSOLE))?;
    }
    for (name, target) in LINKS {
        root.symlink(name.as_bytes(), target.as_bytes(), &new(FileKind::Symlink, 0o777, DeviceId::default()))?;
    }
    for (name, perm) in DIRS {
        root.mkdir(name.as_bytes(), &new(FileKind::Directory, perm, DeviceId::default()))?;
    }
    Ok(fs)
}
