//! Objects of `memfd_create(2)` and the seals of `fcntl(2)`.

use std::sync::Arc;

use abi::Errno;
use bitflags::bitflags;

use super::TmpFs;
use super::content::{Content, Seals};
use super::inode::{Body, TmpInode};
use crate::{DeviceId, FileKind, InodeRef, NewInode};

/// Longest name that a memfd may be given.
pub const NAME_MAX: usize = 249;

bitflags! {
    /// `MFD_*` of `memfd_create(2)`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct MemfdFlags: u32 {
        /// Close on exec.
        const CLOEXEC = 1;
        /// Seals may be added.
        const ALLOW_SEALING = 2;
        /// Huge pages.
        const HUGETLB = 4;
        /// Not executable, and sealed so.
        const NOEXEC_SEAL = 8;
        /// Executable.
        const EXEC = 16;
    }
}

/// Makes a memfd's inode, which lives as long as it is open or mapped. `fs` is the kernel's own mount for such files. The
/// VFS opens it with `O_RDWR` and shows it as `/memfd:NAME (deleted)`.
///
/// `EINVAL` for unknown or contradicting flags and for `MFD_HUGETLB`, as where the kernel has no huge pages.
pub fn create(fs: &TmpFs, flags: u32, uid: u32, gid: u32) -> Result<InodeRef, Errno> {
    let flags = MemfdFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
    if flags.contains(MemfdFlags::EXEC | MemfdFlags::NOEXEC_SEAL) || flags.contains(MemfdFlags::HUGETLB) {
        return Err(Errno::EINVAL);
    }
    let (perm, seals) = if flags.contains(MemfdFlags::NOEXEC_SEAL) {
        (0o666, Seals::EXEC)
    } else if flags.contains(MemfdFlags::ALLOW_SEALING) {
        (0o777, Seals::empty())
    } else {
        (0o777, Seals::SEAL)
    };
    let new = NewInode { kind: FileKind::Regular, perm, uid, gid, rdev: DeviceId::default() };
    let body = Body::Regular(Content::new(Arc::clone(&fs.shared.quota), seals));
    let inode = TmpInode::new(&fs.shared, &new, 0, body)?;
    Ok(inode)
}

fn sealable(inode: &InodeRef) -> Result<Arc<TmpInode>, Errno> {
    let inode = Arc::clone(inode).as_any().downcast::<TmpInode>().map_err(|_| Errno::EINVAL)?;
    inode.content().map_err(|_| Errno::EINVAL)?;
    Ok(inode)
}

/// `F_GET_SEALS`: `EINVAL` for files that know no seals.
pub fn get_seals(inode: &InodeRef) -> Result<Seals, Errno> {
    Ok(sealable(inode)?.content()?.seals())
}

/// `F_ADD_SEALS`. `writable` tells whether the caller's descriptor can write. Errors as in `fcntl(2)`: `EPERM` (sealed
/// against it, or not writable), `EINVAL` (unknown seal), `EBUSY` (a shared writable mapping exists).
pub fn add_seals(inode: &InodeRef, writable: bool, seals: u32) -> Result<(), Errno> {
    if !writable {
        return Err(Errno::EPERM);
    }
    let mut seals = Seals::from_bits(seals).ok_or(Errno::EINVAL)?;
    let inode = sealable(inode)?;
    if seals.contains(Seals::EXEC) && inode.meta.lock().perm & 0o111 != 0 {
        seals |= Seals::SHRINK | Seals::GROW | Seals::WRITE | Seals::FUTURE_WRITE;
    }
    inode.content()?.add_seals(seals)
}
