//! Owner and mode of a System V object.

use abi::Errno;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::task::{Caps, Cred};

/// Permission bits of a mode.
const RWX: u32 = 0o777;

/// `struct ipc64_perm` of x86-64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
#[allow(missing_docs)]
pub struct RawPerm {
    pub key: i32,
    pub uid: u32,
    pub gid: u32,
    pub cuid: u32,
    pub cgid: u32,
    pub mode: u32,
    pub seq: u16,
    pub pad: [u16; 3],
    pub unused: [u64; 2],
}

/// Owner, creator and mode of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // as in ipc(5)
pub struct Perm {
    pub key: i32,
    pub uid: u32,
    pub gid: u32,
    pub cuid: u32,
    pub cgid: u32,
    /// Permission bits, and above them those of the kind.
    pub mode: u32,
    pub seq: u16,
}

impl Perm {
    /// The permissions of a new object of this creator.
    pub fn new(key: i32, seq: u16, cred: &Cred, mode: u32) -> Perm {
        let (uid, gid) = (cred.euid, cred.egid);
        Perm { key, uid, gid, cuid: uid, cgid: gid, mode: mode & RWX, seq }
    }

    /// Checks wanted access, given as mode bits of any class (0o444 reads, 0o222 writes): `EACCES`.
    pub fn check(&self, cred: &Cred, wanted: u32) -> Result<(), Errno> {
        let wanted = (wanted >> 6) | (wanted >> 3) | wanted;
        let granted = if cred.euid == self.cuid || cred.euid == self.uid {
            self.mode >> 6
        } else if cred.in_group(self.cgid) || cred.in_group(self.gid) {
            self.mode >> 3
        } else {
            self.mode
        };
        if wanted & !granted & 0o7 != 0 && !cred.has(Caps::IPC_OWNER) { Err(Errno::EACCES) } else { Ok(()) }
    }

    /// Checks that the caller may change or remove the object: `EPERM`.
    pub fn check_owner(&self, cred: &Cred) -> Result<(), Errno> {
        let owns = cred.euid == self.cuid || cred.euid == self.uid;
        if owns || cred.has(Caps::SYS_ADMIN) { Ok(()) } else { Err(Errno::EPERM) }
    }

    /// Takes over owner and mode of `IPC_SET`: `EINVAL` for the id that means none.
    pub fn update(&mut self, from: &RawPerm) -> Result<(), Errno> {
        if from.uid == u32::MAX || from.gid == u32::MAX {
            return Err(Errno::EINVAL);
        }
        self.uid = from.uid;
        self.gid = from.gid;
        self.mode = (self.mode & !RWX) | (from.mode & RWX);
        Ok(())
    }

    /// Converts to the guest's form.
    pub fn to_raw(&self) -> RawPerm {
        RawPerm {
            key: self.key,
            uid: self.uid,
            gid: self.gid,
            cuid: self.cuid,
            cgid: self.cgid,
            mode: self.mode,
            seq: self.seq,
            ..RawPerm::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: u32) -> Cred {
        Cred::new(id, id, vec![50], Caps::empty())
    }

    #[test]
    fn the_class_of_the_caller_decides() {
        let perm = Perm::new(1, 0, &user(10), 0o640);
        assert_eq!(perm.check(&user(10), 0o222), Ok(()));
        assert_eq!(perm.check(&user(11), 0o444), Err(Errno::EACCES));
        let shared = Perm { gid: 50, ..perm };
        assert_eq!(shared.check(&user(11), 0o444), Ok(()));
        assert_eq!(shared.check(&user(11), 0o222), Err(Errno::EACCES));
        assert_eq!(perm.check(&Cred::new(11, 11, Vec::new(), Caps::IPC_OWNER), 0o666), Ok(()));
    }

    #[test]
    fn owner_and_creator_may_change() {
        let mut perm = Perm::new(1, 0, &user(10), 0o600);
        perm.update(&RawPerm { uid: 12, gid: 12, mode: 0o7644, ..RawPerm::default() }).unwrap();
        assert_eq!(perm.mode, 0o644);
        assert_eq!(perm.check_owner(&user(10)), Ok(()));
        assert_eq!(perm.check_owner(&user(12)), Ok(()));
        assert_eq!(perm.check_owner(&user(13)), Err(Errno::EPERM));
    }
}
