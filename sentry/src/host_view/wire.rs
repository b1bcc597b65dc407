//! The protocol between the host's FUSE and its server, as far as it is spoken here (`linux/fuse.h`, version 7.31).
//!
//! A request is an [`InHeader`], a structure that depends on the operation, and names, each ended by a NUL, or data. A reply is
//! an [`OutHeader`] and what the operation returns. All numbers are in the machine's own order.

use abi::Errno;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Version of the protocol.
pub(super) const MAJOR: u32 = 7;
/// The same: newer hosts speak older minor versions, too.
pub(super) const MINOR: u32 = 31;

/// Most bytes of a write.
pub(super) const WRITE_MAX: usize = 128 * 1024;
/// Longest request.
pub(super) const REQUEST_MAX: usize = size_of::<InHeader>() + size_of::<WriteIn>() + WRITE_MAX;

/// What a request asks for (`enum fuse_opcode`).
pub(super) mod op {
    pub(crate) const LOOKUP: u32 = 1;
    pub(crate) const FORGET: u32 = 2;
    pub(crate) const GETATTR: u32 = 3;
    pub(crate) const SETATTR: u32 = 4;
    pub(crate) const READLINK: u32 = 5;
    pub(crate) const SYMLINK: u32 = 6;
    pub(crate) const MKNOD: u32 = 8;
    pub(crate) const MKDIR: u32 = 9;
    pub(crate) const UNLINK: u32 = 10;
    pub(crate) const RMDIR: u32 = 11;
    pub(crate) const RENAME: u32 = 12;
    pub(crate) const LINK: u32 = 13;
    pub(crate) const OPEN: u32 = 14;
    pub(crate) const READ: u32 = 15;
    pub(crate) const WRITE: u32 = 16;
    pub(crate) const STATFS: u32 = 17;
    pub(crate) const RELEASE: u32 = 18;
    pub(crate) const FSYNC: u32 = 20;
    pub(crate) const SETXATTR: u32 = 21;
    pub(crate) const GETXATTR: u32 = 22;
    pub(crate) const LISTXATTR: u32 = 23;
    pub(crate) const REMOVEXATTR: u32 = 24;
    pub(crate) const INIT: u32 = 26;
    pub(crate) const OPENDIR: u32 = 27;
    pub(crate) const READDIR: u32 = 28;
    pub(crate) const RELEASEDIR: u32 = 29;
    pub(crate) const INTERRUPT: u32 = 36;
    pub(crate) const CREATE: u32 = 35;
    pub(crate) const BATCH_FORGET: u32 = 42;
    pub(crate) const RENAME2: u32 = 45;
}

/// Attributes that [`SetAttrIn`] holds (`FATTR_*`).
pub(super) mod fattr {
    pub(crate) const MODE: u32 = 1;
    pub(crate) const UID: u32 = 2;
    pub(crate) const GID: u32 = 4;
    pub(crate) const SIZE: u32 = 8;
    pub(crate) const ATIME: u32 = 16;
    pub(crate) const MTIME: u32 = 32;
    pub(crate) const ATIME_NOW: u32 = 128;
    pub(crate) const MTIME_NOW: u32 = 256;
}

/// `FUSE_ATOMIC_O_TRUNC`: `open` gets `O_TRUNC`, instead of a truncation before it.
const ATOMIC_TRUNC: u32 = 1 << 3;
/// `FUSE_BIG_WRITES`: writes of more than a page.
const BIG_WRITES: u32 = 1 << 5;
/// What is wanted of the features that the host offers.
pub(super) const FEATURES: u32 = ATOMIC_TRUNC | BIG_WRITES;
/// `FOPEN_DIRECT_IO`: the host keeps no pages of a file, and believes no size.
pub(super) const DIRECT_IO: u32 = 1;

/// Declares structures of the protocol.
macro_rules! wire {
    ($($(#[$meta:meta])* $name:ident { $($field:ident: $kind:ty),* $(,)? })*) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, KnownLayout, Immutable)]
        #[repr(C)]
        pub(super) struct $name { $(pub(super) $field: $kind),* }
    )*};
}

wire! {
    /// `struct fuse_in_header`.
    InHeader { len: u32, opcode: u32, unique: u64, node: u64, uid: u32, gid: u32, pid: u32, extensions: u16, padding: u16 }
    /// `struct fuse_out_header`: the error is 0 or a negated number.
    OutHeader { len: u32, error: i32, unique: u64 }
    /// `struct fuse_init_in`, up to what all versions have.
    InitIn { major: u32, minor: u32, max_readahead: u32, flags: u32 }
    /// `struct fuse_init_out`.
    InitOut {
        major: u32, minor: u32, max_readahead: u32, flags: u32, max_background: u16, congestion_threshold: u16,
        max_write: u32, time_gran: u32, max_pages: u16, map_alignment: u16, flags2: u32, unused: [u32; 7],
    }
    /// `struct fuse_attr`.
    Attributes {
        ino: u64, size: u64, blocks: u64, atime: u64, mtime: u64, ctime: u64, atime_nsec: u32, mtime_nsec: u32,
        ctime_nsec: u32, mode: u32, nlink: u32, uid: u32, gid: u32, rdev: u32, blksize: u32, flags: u32,
    }
    /// `struct fuse_entry_out`: how long the host may believe both is 0.
    EntryOut {
        node: u64, generation: u64, entry_valid: u64, attr_valid: u64, entry_valid_nsec: u32, attr_valid_nsec: u32,
        attr: Attributes,
    }
    /// `struct fuse_attr_out`.
    AttrOut { attr_valid: u64, attr_valid_nsec: u32, padding: u32, attr: Attributes }
    /// `struct fuse_setattr_in`.
    SetAttrIn {
        valid: u32, padding: u32, handle: u64, size: u64, lock_owner: u64, atime: u64, mtime: u64, ctime: u64,
        atime_nsec: u32, mtime_nsec: u32, ctime_nsec: u32, mode: u32, unused: u32, uid: u32, gid: u32, unused2: u32,
    }
    /// `struct fuse_forget_in`.
    ForgetIn { lookups: u64 }
    /// `struct fuse_batch_forget_in`; [`ForgetOne`] follows, `count` times.
    BatchForgetIn { count: u32, padding: u32 }
    /// `struct fuse_forget_one`.
    ForgetOne { node: u64, lookups: u64 }
    /// `struct fuse_mknod_in`; a name follows.
    MknodIn { mode: u32, rdev: u32, umask: u32, padding: u32 }
    /// `struct fuse_mkdir_in`; a name follows.
    MkdirIn { mode: u32, umask: u32 }
    /// `struct fuse_rename_in`; the old and the new name follow.
    RenameIn { new_dir: u64 }
    /// `struct fuse_rename2_in`; the same follows.
    Rename2In { new_dir: u64, flags: u32, padding: u32 }
    /// `struct fuse_link_in`; the new name follows.
    LinkIn { old_node: u64 }
    /// `struct fuse_open_in`.
    OpenIn { flags: u32, open_flags: u32 }
    /// `struct fuse_create_in`; a name follows.
    CreateIn { flags: u32, mode: u32, umask: u32, open_flags: u32 }
    /// `struct fuse_open_out`.
    OpenOut { handle: u64, open_flags: u32, padding: u32 }
    /// `struct fuse_read_in`.
    ReadIn { handle: u64, offset: u64, size: u32, read_flags: u32, lock_owner: u64, flags: u32, padding: u32 }
    /// `struct fuse_write_in`; the data follow.
    WriteIn { handle: u64, offset: u64, size: u32, write_flags: u32, lock_owner: u64, flags: u32, padding: u32 }
    /// `struct fuse_write_out`.
    WriteOut { size: u32, padding: u32 }
    /// `struct fuse_release_in`.
    ReleaseIn { handle: u64, flags: u32, release_flags: u32, lock_owner: u64 }
    /// `struct fuse_fsync_in`: bit 0 of the flags asks for the data only.
    FsyncIn { handle: u64, flags: u32, padding: u32 }
    /// `struct fuse_setxattr_in`, as without `FUSE_SETXATTR_EXT`; name and value follow.
    SetXattrIn { size: u32, flags: u32 }
    /// `struct fuse_getxattr_in`; a name follows, where one is asked for.
    GetXattrIn { size: u32, padding: u32 }
    /// `struct fuse_getxattr_out`: how long it is, for a size of 0.
    GetXattrOut { size: u32, padding: u32 }
    /// `struct fuse_statfs_out`.
    StatfsOut {
        blocks: u64, bfree: u64, bavail: u64, files: u64, ffree: u64, bsize: u32, namelen: u32, frsize: u32, padding: u32,
        spare: [u32; 6],
    }
    /// `struct fuse_dirent`; the name follows, filled up to eight bytes.
    Dirent { ino: u64, off: u64, namelen: u32, kind: u32 }
}

/// What follows the header of a request, taken piece by piece.
pub(super) struct Body<'a>(pub(super) &'a [u8]);

impl<'a> Body<'a> {
    /// Takes a structure: `EINVAL` where there is less.
    pub(super) fn take<T: FromBytes>(&mut self) -> Result<T, Errno> {
        let (value, rest) = T::read_from_prefix(self.0).map_err(|_| Errno::EINVAL)?;
        self.0 = rest;
        Ok(value)
    }

    /// Takes what ends with a NUL, which goes with it.
    pub(super) fn text(&mut self) -> Result<&'a [u8], Errno> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or(Errno::EINVAL)?;
        let (text, rest) = self.0.split_at(end);
        self.0 = &rest[1..];
        Ok(text)
    }

    /// Takes the name of an entry.
    pub(super) fn name(&mut self) -> Result<&'a [u8], Errno> {
        let name = self.text()?;
        let plain = !name.is_empty() && name != b"." && name != b".." && !name.contains(&b'/');
        if plain { Ok(name) } else { Err(Errno::EINVAL) }
    }

    /// Takes bytes.
    pub(super) fn bytes(&mut self, count: u32) -> Result<&'a [u8], Errno> {
        let (bytes, rest) = self.0.split_at_checked(count as usize).ok_or(Errno::EINVAL)?;
        self.0 = rest;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structures_have_the_sizes_of_the_header() {
        let sizes = [
            (size_of::<InHeader>(), 40),
            (size_of::<OutHeader>(), 16),
            (size_of::<InitOut>(), 64),
            (size_of::<Attributes>(), 88),
            (size_of::<EntryOut>(), 128),
            (size_of::<AttrOut>(), 104),
            (size_of::<SetAttrIn>(), 88),
            (size_of::<ReadIn>(), 40),
            (size_of::<WriteIn>(), 40),
            (size_of::<StatfsOut>(), 80),
            (size_of::<Dirent>(), 24),
        ];
        for (ours, theirs) in sizes {
            assert_eq!(ours, theirs);
        }
    }

    #[test]
    fn a_body_gives_no_more_than_it_has() {
        let mut body = Body(b"name\0rest");
        assert_eq!(body.name(), Ok(&b"name"[..]));
        assert_eq!(body.text(), Err(Errno::EINVAL), "no NUL");
        assert_eq!(body.bytes(5), Err(Errno::EINVAL));
        assert_eq!(body.bytes(4), Ok(&b"rest"[..]));
        assert!(body.take::<ForgetIn>().is_err());
    }

    #[test]
    fn only_plain_names_are_names() {
        for text in [&b"\0"[..], b".\0", b"..\0", b"a/b\0"] {
            assert_eq!(Body(text).name(), Err(Errno::EINVAL));
        }
    }
}
