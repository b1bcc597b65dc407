//! Attributes of inodes.

use abi::time::Timespec;
use abi::types::mode;

/// Kind of an inode, from the type bits of its mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum FileKind {
    Regular,
    Directory,
    Symlink,
    CharDevice,
    BlockDevice,
    Fifo,
    Socket,
}

impl FileKind {
    /// Reads the type bits of a mode; 0 means a regular file, as in `mknod(2)`.
    pub fn from_mode(bits: u32) -> Option<FileKind> {
        Some(match bits & mode::IFMT {
            0 | mode::IFREG => FileKind::Regular,
            mode::IFDIR => FileKind::Directory,
            mode::IFLNK => FileKind::Symlink,
            mode::IFCHR => FileKind::CharDevice,
            mode::IFBLK => FileKind::BlockDevice,
            mode::IFIFO => FileKind::Fifo,
            mode::IFSOCK => FileKind::Socket,
            _ => return None,
        })
    }

    /// Returns the type bits of a mode.
    pub fn mode_bits(self) -> u32 {
        match self {
            FileKind::Regular => mode::IFREG,
            FileKind::Directory => mode::IFDIR,
            FileKind::Symlink => mode::IFLNK,
            FileKind::CharDevice => mode::IFCHR,
            FileKind::BlockDevice => mode::IFBLK,
            FileKind::Fifo => mode::IFIFO,
            FileKind::Socket => mode::IFSOCK,
        }
    }

    /// Returns `d_type` of `getdents64(2)`.
    #[allow(clippy::cast_possible_truncation)] // four bits remain
    pub fn dirent_type(self) -> u8 {
        (self.mode_bits() >> 12) as u8
    }
}

/// A device number, split as `makedev(3)` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, PartialOrd, Ord)]
pub struct DeviceId {
    /// Driver, 12 bits.
    pub major: u32,
    /// Unit, 20 bits.
    pub minor: u32,
}

impl DeviceId {
    /// Names a device.
    pub const fn new(major: u32, minor: u32) -> DeviceId {
        DeviceId { major, minor }
    }

    /// Returns the 64-bit `st_dev`/`st_rdev` form (`new_encode_dev`).
    pub fn encode(self) -> u64 {
        let (major, minor) = (u64::from(self.major), u64::from(self.minor));
        (minor & 0xff) | (major & 0xfff) << 8 | (minor & !0xff) << 12
    }

    /// Splits the 32-bit form that `mknod(2)` takes.
    pub fn decode(raw: u32) -> DeviceId {
        DeviceId { major: (raw >> 8) & 0xfff, minor: (raw & 0xff) | ((raw >> 12) & 0xf_ff00) }
    }
}

/// The part of the attributes that permission checks look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Permission, set-id and sticky bits only.
    pub perm: u32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// What `stat` shows of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Attr {
    pub dev: DeviceId,
    pub ino: u64,
    pub kind: FileKind,
    /// Permission, set-id and sticky bits only.
    pub perm: u32,
    pub nlink: u64,
    pub uid: u32,
    pub gid: u32,
    pub rdev: DeviceId,
    /// Bytes.
    pub size: u64,
    /// Preferred transfer size in bytes.
    pub blksize: u32,
    /// Units of 512 bytes.
    pub blocks: u64,
    pub atime: Timespec,
    pub mtime: Timespec,
    pub ctime: Timespec,
    /// Creation time, where the file system keeps one.
    pub btime: Option<Timespec>,
}

impl Attr {
    /// Attributes of an inode that no name leads to, as pipes and sockets have them: root's, one link, empty, all times `now`.
    pub fn nameless(dev: DeviceId, ino: u64, kind: FileKind, perm: u32, now: Timespec) -> Attr {
        Attr {
            dev,
            ino,
            kind,
            perm,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: DeviceId::default(),
            size: 0,
            blksize: 4096,
            blocks: 0,
            atime: now,
            mtime: now,
            ctime: now,
            btime: None,
        }
    }

    /// Returns `st_mode`.
    pub fn mode(&self) -> u32 {
        self.kind.mode_bits() | self.perm
    }

    /// Returns the part that permission checks look at.
    pub fn owner(&self) -> Owner {
        Owner { perm: self.perm, uid: self.uid, gid: self.gid }
    }
}

/// A time to set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTime {
    /// The file system's current time (`UTIME_NOW`).
    Now,
    /// This time.
    At(Timespec),
}

/// Attributes to change; `None` leaves one alone. `ctime` follows by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct SetAttr {
    pub perm: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    /// Truncates or extends.
    pub size: Option<u64>,
    pub atime: Option<SetTime>,
    pub mtime: Option<SetTime>,
}

/// A new inode as the VFS has decided it: umask applied, owner and set-gid inheritance resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct NewInode {
    pub kind: FileKind,
    pub perm: u32,
    pub uid: u32,
    pub gid: u32,
    /// Character and block devices only.
    pub rdev: DeviceId,
}
