//! Who may do what to an inode (`man 7 path_resolution`, `man 7 capabilities`).

use abi::Errno;
use abi::types::mode;
use bitflags::bitflags;
use sentry_fs::{Attr, FileKind, Owner};

use super::{MountFlags, Path};
use crate::task::{Caps, Cred};

bitflags! {
    /// What is to be done.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Access: u32 {
        /// Execute a file, search a directory.
        const EXEC = 1;
        /// Write.
        const WRITE = 2;
        /// Read.
        const READ = 4;
    }
}

/// Checks the permission bits and capabilities (kernel: `generic_permission`): `EACCES`.
pub fn check_bits(cred: &Cred, attr: &Attr, want: Access) -> Result<(), Errno> {
    check_owner(cred, attr.kind, &attr.owner(), want)
}

/// Checks the same where only that part of the attributes is known.
pub fn check_owner(cred: &Cred, kind: FileKind, attr: &Owner, want: Access) -> Result<(), Errno> {
    let class = if attr.uid == cred.fsuid {
        attr.perm >> 6
    } else if cred.in_group(attr.gid) {
        attr.perm >> 3
    } else {
        attr.perm
    };
    if class & want.bits() == want.bits() {
        return Ok(());
    }
    let granted = if kind == FileKind::Directory {
        cred.has(Caps::DAC_OVERRIDE) || (!want.contains(Access::WRITE) && cred.has(Caps::DAC_READ_SEARCH))
    } else {
        let executable = !want.contains(Access::EXEC) || attr.perm & 0o111 != 0;
        (executable && cred.has(Caps::DAC_OVERRIDE)) || (want == Access::READ && cred.has(Caps::DAC_READ_SEARCH))
    };
    if granted { Ok(()) } else { Err(Errno::EACCES) }
}

/// Checks what [`check_bits`] does, and `EROFS` for writing what a read-only mount holds.
pub fn check(cred: &Cred, path: &Path, want: Access) -> Result<(), Errno> {
    let owner = path.inode().owner()?;
    let kind = path.dentry.kind;
    let stored = matches!(kind, FileKind::Regular | FileKind::Directory | FileKind::Symlink);
    if want.contains(Access::WRITE) && stored && path.mount.is_readonly() {
        return Err(Errno::EROFS);
    }
    check_owner(cred, kind, &owner, want)
}

/// Checks that a file may be executed: a regular file, not mounted `noexec`, with an executable bit: `EACCES`.
pub fn check_exec(cred: &Cred, path: &Path) -> Result<Attr, Errno> {
    let attr = path.attr()?;
    if attr.kind != FileKind::Regular || path.mount.flags().contains(MountFlags::NOEXEC) {
        return Err(Errno::EACCES);
    }
    check_bits(cred, &attr, Access::EXEC)?;
    Ok(attr)
}

/// Tells whether the caller is the owner or may act as such.
pub fn owner_or_capable(cred: &Cred, attr: &Attr) -> bool {
    cred.fsuid == attr.uid || cred.has(Caps::FOWNER)
}

/// Checks that a file may get a further name (`fs.protected_hardlinks`): others than its owner need one that they could
/// read and write, and that lends no rights.
pub fn check_hard_link(cred: &Cred, path: &Path) -> Result<(), Errno> {
    let attr = path.attr()?;
    let lends = |bits: u32| attr.perm & bits == bits;
    let harmless = attr.kind == FileKind::Regular
        && !lends(mode::ISUID)
        && !lends(mode::ISGID | 0o010)
        && check_bits(cred, &attr, Access::READ | Access::WRITE).is_ok();
    if harmless || owner_or_capable(cred, &attr) { Ok(()) } else { Err(Errno::EPERM) }
}

/// Checks the sticky bit of a directory before an entry of it goes: `EPERM`.
pub fn check_sticky(cred: &Cred, dir: &Attr, entry: &Attr) -> Result<(), Errno> {
    let free =
        dir.perm & mode::ISVTX == 0 || entry.uid == cred.fsuid || dir.uid == cred.fsuid || cred.has(Caps::FOWNER);
    if free { Ok(()) } else { Err(Errno::EPERM) }
}

/// Returns the bits that a write or change of owner takes off (`should_remove_suid`): set-user-ID, and set-group-ID where
/// the group may execute.
pub fn setid_bits(attr: &Attr) -> u32 {
    if attr.kind == FileKind::Regular { setid_bits_of(attr.perm) } else { 0 }
}

/// The same for the permission bits of a regular file.
pub fn setid_bits_of(perm: u32) -> u32 {
    let group = if perm & 0o010 != 0 { mode::ISGID } else { 0 };
    perm & (mode::ISUID | group)
}

#[cfg(test)]
mod tests {
    use super::*;
    use abi::time::Timespec;
    use sentry_fs::DeviceId;

    fn attr(kind: FileKind, perm: u32, uid: u32, gid: u32) -> Attr {
        Attr { uid, gid, ..Attr::nameless(DeviceId::default(), 1, kind, perm, Timespec::default()) }
    }

    #[test]
    fn the_owner_is_judged_by_the_owner_bits_alone() {
        let cred = Cred::new(7, 7, vec![], Caps::empty());
        let file = attr(FileKind::Regular, 0o077, 7, 7);
        assert_eq!(check_bits(&cred, &file, Access::READ), Err(Errno::EACCES));
    }

    #[test]
    fn supplementary_groups_count() {
        let cred = Cred::new(7, 7, vec![9], Caps::empty());
        let file = attr(FileKind::Regular, 0o040, 1, 9);
        assert_eq!(check_bits(&cred, &file, Access::READ), Ok(()));
        assert_eq!(check_bits(&cred, &file, Access::WRITE), Err(Errno::EACCES));
    }

    #[test]
    fn override_needs_one_executable_bit_to_execute() {
        let cred = Cred::new(0, 0, vec![], Caps::all());
        assert_eq!(check_bits(&cred, &attr(FileKind::Regular, 0o600, 5, 5), Access::EXEC), Err(Errno::EACCES));
        assert_eq!(check_bits(&cred, &attr(FileKind::Regular, 0o001, 5, 5), Access::EXEC), Ok(()));
        assert_eq!(check_bits(&cred, &attr(FileKind::Directory, 0, 5, 5), Access::EXEC), Ok(()));
    }

    #[test]
    fn the_sticky_bit_protects_others_entries() {
        let cred = Cred::new(7, 7, vec![], Caps::empty());
        let dir = attr(FileKind::Directory, 0o1777, 0, 0);
        assert_eq!(check_sticky(&cred, &dir, &attr(FileKind::Regular, 0o644, 8, 8)), Err(Errno::EPERM));
        assert_eq!(check_sticky(&cred, &dir, &attr(FileKind::Regular, 0o644, 7, 8)), Ok(()));
    }
}
