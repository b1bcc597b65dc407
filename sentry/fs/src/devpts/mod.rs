//! devpts: the directory of pseudo-terminal slaves, `/dev/pts`.
//!
//! [`DevPts::open_master`] is what opening `ptmx` does. The slaves are character devices 136:N; the VFS opens them through
//! [`crate::dev::Devices`], like all devices.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Weak};

use abi::flags::OpenFlags;
use abi::time::Timespec;
use abi::types::Statfs;
use abi::{Errno, PAGE_SIZE};
use sentry_sync::{Level, Mutex};

use crate::tty::{Pty, PtyMaster, SLAVE_MAJOR, Terminal, TtyHost};
use crate::{
    Attr, CachePolicy, DeviceId, DirEntry, DirSink, FileKind, FileOps, FileSystem, Inode, InodeRef, SetAttr, SetTime,
    anon_dev, host,
};

/// `DEVPTS_SUPER_MAGIC`.
const MAGIC: i64 = 0x1cd1;
/// Most terminals (`/proc/sys/kernel/pty/max`).
pub const MAX_PTYS: u32 = 4096;
const ROOT_INO: u64 = 1;
const PTMX_INO: u64 = 2;
/// Slave N is inode N + 3.
const FIRST_INO: u64 = 3;
/// `/dev/ptmx`.
pub const PTMX: DeviceId = DeviceId::new(5, 2);

/// Mount options of devpts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DevPtsOptions {
    /// Permission bits of slaves.
    pub mode: u32,
    /// Owner of slaves, instead of who opened the master.
    pub uid: Option<u32>,
    /// Group of slaves, instead of who opened the master.
    pub gid: Option<u32>,
    /// Permission bits of `ptmx`.
    pub ptmx_mode: u32,
}

impl Default for DevPtsOptions {
    fn default() -> DevPtsOptions {
        DevPtsOptions { mode: 0o600, uid: None, gid: None, ptmx_mode: 0 }
    }
}

impl DevPtsOptions {
    /// Reads the data string of `mount(2)`, for example `"newinstance,ptmxmode=0666,mode=0620,gid=5"`.
    pub fn parse(data: &str) -> Result<DevPtsOptions, Errno> {
        let mut options = DevPtsOptions::default();
        let octal = |value: &str| u32::from_str_radix(value, 8).map(|mode| mode & 0o7777).map_err(|_| Errno::EINVAL);
        let id = |value: &str| value.parse().map(Some).map_err(|_| Errno::EINVAL);
        for option in data.split(',').filter(|option| !option.is_empty()) {
            match option.split_once('=').unwrap_or((option, "")) {
                ("mode", value) => options.mode = octal(value)?,
                ("ptmxmode", value) => options.ptmx_mode = octal(value)?,
                ("uid", value) => options.uid = id(value)?,
                ("gid", value) => options.gid = id(value)?,
                ("max", value) => drop(value.parse::<u32>().map_err(|_| Errno::EINVAL)?),
                ("newinstance", "") => {}
                _ => return Err(Errno::EINVAL),
            }
        }
        Ok(options)
    }
}

#[derive(Clone, Copy, Debug)]
struct Meta {
    perm: u32,
    uid: u32,
    gid: u32,
    atime: Timespec,
    mtime: Timespec,
    ctime: Timespec,
}

impl Meta {
    fn new(perm: u32, uid: u32, gid: u32) -> Meta {
        let now = host::now();
        Meta { perm, uid, gid, atime: now, mtime: now, ctime: now }
    }

    fn change(&mut self, set: &SetAttr) {
        let now = host::now();
        let time = |set: SetTime| match set {
            SetTime::Now => now,
            SetTime::At(time) => time,
        };
        self.perm = set.perm.unwrap_or(self.perm);
        self.uid = set.uid.unwrap_or(self.uid);
        self.gid = set.gid.unwrap_or(self.gid);
        self.atime = set.atime.map_or(self.atime, time);
        self.mtime = set.mtime.map_or(self.mtime, time);
        self.ctime = now;
    }
}

struct Slave {
    terminal: SlaveTerminal,
    node: Arc<Node>,
}

enum SlaveTerminal {
    Pty(Arc<Pty>),
    /// A terminal from elsewhere.
    Adopted(Weak<dyn Terminal>),
}

/// The place of a terminal from elsewhere among the pseudo-terminals; given up when dropped.
pub struct Adopted {
    index: u32,
    node: Arc<Node>,
    shared: Weak<Shared>,
}

impl std::fmt::Debug for Adopted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Adopted({})", self.index)
    }
}

impl Adopted {
    /// Returns the device number.
    pub fn device(&self) -> DeviceId {
        DeviceId::new(SLAVE_MAJOR, self.index)
    }

    /// Returns the path, in a sandbox that has its devpts at the usual place.
    pub fn path(&self) -> String {
        format!("/dev/pts/{}", self.index)
    }

    /// Returns the node.
    pub fn inode(&self) -> InodeRef {
        Arc::clone(&self.node) as InodeRef
    }
}

impl Drop for Adopted {
    fn drop(&mut self) {
        let gone = self.shared.upgrade().and_then(|shared| shared.slaves.lock().remove(&self.index));
        drop(gone);
    }
}

/// What the file system and its inodes share.
struct Shared {
    dev: DeviceId,
    slaves: Mutex<BTreeMap<u32, Slave>>,
    root: Mutex<Meta>,
    ptmx: Arc<Node>,
}

/// The file system of pseudo-terminals.
pub struct DevPts {
    shared: Arc<Shared>,
    host: Arc<dyn TtyHost>,
    options: DevPtsOptions,
}

impl std::fmt::Debug for DevPts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DevPts({} terminals)", self.shared.slaves.lock().len())
    }
}

impl DevPts {
    /// Makes one without terminals.
    pub fn new(host: Arc<dyn TtyHost>, options: DevPtsOptions) -> DevPts {
        let dev = anon_dev::next_anon_device();
        let ptmx = Arc::new(Node::new(dev, PTMX_INO, PTMX, Meta::new(options.ptmx_mode, 0, 0)));
        let root = Mutex::new(Level::Leaf, Meta::new(0o755, 0, 0));
        let slaves = Mutex::new(Level::Inode, BTreeMap::new());
        DevPts { shared: Arc::new(Shared { dev, slaves, root, ptmx }), host, options }
    }

    /// Makes a terminal and opens its master. `ENOSPC` where there are too many.
    pub fn open_master(&self) -> Result<Arc<PtyMaster>, Errno> {
        let (uid, gid) = self.host.caller().map_or((0, 0), |caller| caller.ids);
        let mut slaves = self.shared.slaves.lock();
        let index = (0..MAX_PTYS).find(|index| !slaves.contains_key(index)).ok_or(Errno::ENOSPC)?;
        let pty = Pty::new(index, Arc::clone(&self.host));
        let meta = Meta::new(self.options.mode, self.options.uid.unwrap_or(uid), self.options.gid.unwrap_or(gid));
        let device = crate::tty::Terminal::device(&*pty);
        let node = Arc::new(Node::new(self.shared.dev, FIRST_INO + u64::from(index), device, meta));
        slaves.insert(index, Slave { terminal: SlaveTerminal::Pty(Arc::clone(&pty)), node });
        drop(slaves);
        let shared: Weak<Shared> = Arc::downgrade(&self.shared);
        let forget = move |index| {
            let gone = shared.upgrade().and_then(|shared| shared.slaves.lock().remove(&index));
            drop(gone);
        };
        Ok(Arc::new(PtyMaster::new(pty, Box::new(forget))))
    }

    /// Gives a terminal from elsewhere a place here. `ENOSPC` where there are too many.
    pub fn adopt(&self, terminal: Weak<dyn Terminal>) -> Result<Adopted, Errno> {
        let mut slaves = self.shared.slaves.lock();
        let index = (0..MAX_PTYS).find(|index| !slaves.contains_key(index)).ok_or(Errno::ENOSPC)?;
        let (uid, gid) = (self.options.uid.unwrap_or(0), self.options.gid.unwrap_or(0));
        let meta = Meta::new(self.options.mode, uid, gid);
        let device = DeviceId::new(SLAVE_MAJOR, index);
        let node = Arc::new(Node::new(self.shared.dev, FIRST_INO + u64::from(index), device, meta));
        slaves.insert(index, Slave { terminal: SlaveTerminal::Adopted(terminal), node: Arc::clone(&node) });
        Ok(Adopted { index, node, shared: Arc::downgrade(&self.shared) })
    }

    /// Returns a terminal that was made here: `None` if its master has gone.
    pub fn pty(&self, index: u32) -> Option<Arc<Pty>> {
        match &self.shared.slaves.lock().get(&index)?.terminal {
            SlaveTerminal::Pty(pty) => Some(Arc::clone(pty)),
            SlaveTerminal::Adopted(_) => None,
        }
    }

    /// Opens a slave: `EIO` if there is none of that number, or it is locked.
    pub fn open_slave(&self, index: u32, flags: OpenFlags) -> Result<Arc<dyn FileOps>, Errno> {
        let adopted = match &self.shared.slaves.lock().get(&index).ok_or(Errno::EIO)?.terminal {
            SlaveTerminal::Pty(_) => None,
            SlaveTerminal::Adopted(terminal) => Some(terminal.upgrade().ok_or(Errno::EIO)?),
        };
        match adopted {
            Some(terminal) => terminal.open(flags),
            None => Ok(self.pty(index).ok_or(Errno::EIO)?.open_slave(flags)?),
        }
    }
}

impl FileSystem for DevPts {
    fn kind(&self) -> &'static str {
        "devpts"
    }

    fn root(&self) -> InodeRef {
        Arc::new(Root(Arc::clone(&self.shared)))
    }

    fn statfs(&self) -> Result<Statfs, Errno> {
        let size = PAGE_SIZE.cast_signed();
        Ok(Statfs { kind: MAGIC, bsize: size, frsize: size, namelen: 255, ..Statfs::default() })
    }

    fn cache_policy(&self) -> CachePolicy {
        CachePolicy::Never
    }

    fn show_options(&self) -> String {
        let mut text = String::new();
        // Writing to a string can't fail.
        if let Some(uid) = self.options.uid {
            let _ = write!(text, ",uid={uid}");
        }
        if let Some(gid) = self.options.gid {
            let _ = write!(text, ",gid={gid}");
        }
        let _ = write!(text, ",mode={:03o},ptmxmode={:03o}", self.options.mode, self.options.ptmx_mode);
        text
    }
}

/// A slave, or `ptmx`.
#[derive(Debug)]
struct Node {
    dev: DeviceId,
    ino: u64,
    rdev: DeviceId,
    meta: Mutex<Meta>,
}

impl Node {
    fn new(dev: DeviceId, ino: u64, rdev: DeviceId, meta: Meta) -> Node {
        Node { dev, ino, rdev, meta: Mutex::new(Level::Leaf, meta) }
    }
}

fn attr(dev: DeviceId, ino: u64, kind: FileKind, rdev: DeviceId, nlink: u64, meta: &Meta) -> Attr {
    Attr {
        dev,
        ino,
        kind,
        perm: meta.perm,
        nlink,
        uid: meta.uid,
        gid: meta.gid,
        rdev,
        size: 0,
        blksize: 1024,
        blocks: 0,
        atime: meta.atime,
        mtime: meta.mtime,
        ctime: meta.ctime,
        btime: None,
    }
}

impl Inode for Node {
    fn attr(&self) -> Result<Attr, Errno> {
        Ok(attr(self.dev, self.ino, FileKind::CharDevice, self.rdev, 1, &self.meta.lock()))
    }

    fn set_attr(&self, set: &SetAttr) -> Result<(), Errno> {
        self.meta.lock().change(set);
        Ok(())
    }

    fn open(self: Arc<Self>, _flags: OpenFlags) -> Result<Arc<dyn FileOps>, Errno> {
        Err(Errno::ENXIO)
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

struct Root(Arc<Shared>);

impl Inode for Root {
    fn attr(&self) -> Result<Attr, Errno> {
        let meta = *self.0.root.lock();
        Ok(attr(self.0.dev, ROOT_INO, FileKind::Directory, DeviceId::default(), 2, &meta))
    }

    fn set_attr(&self, set: &SetAttr) -> Result<(), Errno> {
        self.0.root.lock().change(set);
        Ok(())
    }

    fn open(self: Arc<Self>, _flags: OpenFlags) -> Result<Arc<dyn FileOps>, Errno> {
        Ok(Arc::new(Listing(Arc::clone(&self.0))))
    }

    fn lookup(&self, name: &[u8]) -> Result<InodeRef, Errno> {
        if name == b"ptmx" {
            return Ok(Arc::clone(&self.0.ptmx) as InodeRef);
        }
        let text = std::str::from_utf8(name).map_err(|_| Errno::ENOENT)?;
        let index: u32 = text.parse().map_err(|_| Errno::ENOENT)?;
        let slaves = self.0.slaves.lock();
        // "+1" and "01" parse too, but are no names.
        let slave = slaves.get(&index).filter(|_| index.to_string() == text).ok_or(Errno::ENOENT)?;
        Ok(Arc::clone(&slave.node) as InodeRef)
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

struct Listing(Arc<Shared>);

impl FileOps for Listing {
    fn read(&self, _pos: &mut u64, _flags: crate::IoFlags, _dst: &mut dyn crate::IoDst) -> Result<usize, Errno> {
        Err(Errno::EISDIR)
    }

    fn seekable(&self) -> bool {
        true
    }

    fn read_dir(&self, pos: u64, sink: &mut dyn DirSink) -> Result<(), Errno> {
        let device = FileKind::CharDevice;
        let directory = FileKind::Directory;
        let mut entries = vec![
            (0, ROOT_INO, directory, ".".to_owned()),
            (1, ROOT_INO, directory, "..".to_owned()),
            (2, PTMX_INO, device, "ptmx".to_owned()),
        ];
        let slaves = self.0.slaves.lock();
        let numbered = slaves.keys().map(|index| {
            let ino = FIRST_INO + u64::from(*index);
            (ino, ino, device, index.to_string())
        });
        entries.extend(numbered);
        drop(slaves);
        for (at, ino, kind, name) in entries.into_iter().filter(|(at, ..)| *at >= pos) {
            if !sink.entry(&DirEntry { ino, kind: Some(kind), name: name.as_bytes(), next: at + 1 }) {
                break;
            }
        }
        Ok(())
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
