//! `access`, `faccessat`, `faccessat2`.

use abi::{Errno, Fd, UserAddr};
use sentry::Current;
use sentry::task::{Caps, Cred};
use sentry::vfs::perm::{self, Access};
use sentry::vfs::{MountFlags, Path, walk};
use sentry_fs::FileKind;

use crate::at;

const AT_EACCESS: u32 = at::REMOVEDIR;
const SECBIT_NO_SETUID_FIXUP: u32 = 4;

/// Serves `access(2)`.
pub fn access(cur: &mut Current, pathname: UserAddr, mode: u32) -> Result<(), Errno> {
    faccessat2(cur, Fd::CWD, pathname, mode, 0)
}

/// Serves `faccessat(2)`.
pub fn faccessat(cur: &mut Current, dirfd: Fd, pathname: UserAddr, mode: u32) -> Result<(), Errno> {
    faccessat2(cur, dirfd, pathname, mode, 0)
}

/// Serves `faccessat2(2)`.
pub fn faccessat2(cur: &mut Current, dirfd: Fd, pathname: UserAddr, mode: u32, flags: u32) -> Result<(), Errno> {
    let want = Access::from_bits(mode).ok_or(Errno::EINVAL)?;
    if flags & !(AT_EACCESS | at::NOFOLLOW | at::EMPTY_PATH) != 0 {
        return Err(Errno::EINVAL);
    }
    let text = cur.mem.read_path(pathname)?;
    let start = cur.start();
    let mut walker = start.walker();
    let real = (flags & AT_EACCESS == 0 && differs(walker.cred)).then(|| real(walker.cred));
    if let Some(real) = &real {
        walker.cred = real;
    }
    if text.is_empty() && flags & at::EMPTY_PATH == 0 {
        return Err(Errno::ENOENT);
    }
    if text.is_empty() && dirfd != Fd::CWD {
        let target = at::Target::of_fd(cur, dirfd)?;
        return match target.path() {
            Some(path) => check(walker.cred, path, want),
            None => perm::check_bits(walker.cred, &target.attr()?, want),
        };
    }
    let path = if dirfd == Fd::CWD {
        walk::resolve(&walker, start.cwd(), &text, at::walk_flags(flags))?
    } else {
        walk::resolve(&walker, &at::base(cur, dirfd, &text)?, &text, at::walk_flags(flags))?
    };
    check(walker.cred, &path, want)
}

/// The caller as its real ids would have it (kernel: `access_override_creds`).
fn real(cred: &Cred) -> Cred {
    let mut real = cred.clone();
    real.fsuid = cred.ruid;
    real.fsgid = cred.rgid;
    if cred.securebits & SECBIT_NO_SETUID_FIXUP == 0 {
        real.effective = if cred.ruid == 0 { cred.permitted } else { Caps::empty() };
    }
    real
}

/// Tells whether [`real`] would give another answer.
fn differs(cred: &Cred) -> bool {
    let effective = if cred.ruid == 0 { cred.permitted } else { Caps::empty() };
    let ids = cred.fsuid == cred.ruid && cred.fsgid == cred.rgid;
    !ids || (cred.securebits & SECBIT_NO_SETUID_FIXUP == 0 && cred.effective != effective)
}

fn check(cred: &Cred, path: &Path, want: Access) -> Result<(), Errno> {
    let noexec = path.mount.flags().contains(MountFlags::NOEXEC);
    if want.contains(Access::EXEC) && path.dentry.kind == FileKind::Regular && noexec {
        return Err(Errno::EACCES);
    }
    perm::check(cred, path, want)
}
