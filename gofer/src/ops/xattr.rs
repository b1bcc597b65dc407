//! Extended attributes.

use abi::Errno;
use gofer_proto::{Handle, MAX_XATTR};
use rustix::fs::XattrFlags;

use super::name::carries_xattrs;
use super::{Answer, Outcome};
use crate::host::errno;
use crate::server::Server;

/// Checks a name. `trusted.`, `system.` and `security.` (but for file capabilities, which the host guards) steer the host's
/// kernel and are not the guest's.
fn check(name: &[u8]) -> Result<(), Errno> {
    if name.contains(&0) {
        return Err(Errno::EINVAL);
    }
    let allowed =
        name.starts_with(b"user.") || name.starts_with(b"system.posix_acl_") || name == b"security.capability";
    if allowed { Ok(()) } else { Err(Errno::EOPNOTSUPP) }
}

impl Server {
    fn xattr_target(&self, node: Handle, missing: Errno) -> Result<std::os::fd::OwnedFd, Errno> {
        let known = self.nodes.get(node)?;
        if !carries_xattrs(known.kind()) || known.sealed() {
            return Err(missing);
        }
        self.reopened(node)
    }

    pub(super) fn get_xattr(&self, node: Handle, name: &[u8]) -> Outcome {
        check(name)?;
        let fd = self.xattr_target(node, Errno::ENODATA)?;
        let mut value = vec![0; MAX_XATTR];
        let len = rustix::fs::fgetxattr(fd, name, value.as_mut_slice()).map_err(errno)?;
        value.truncate(len);
        Ok(Answer::Bytes(value))
    }

    pub(super) fn set_xattr(&self, node: Handle, name: &[u8], value: &[u8], flags: u32) -> Outcome {
        check(name)?;
        let flags = XattrFlags::from_bits(flags).ok_or(Errno::EINVAL)?;
        self.writable(&*self.nodes.get(node)?)?;
        let fd = self.xattr_target(node, Errno::EPERM)?;
        rustix::fs::fsetxattr(fd, name, value, flags).map_err(errno)?;
        Ok(Answer::Done)
    }

    pub(super) fn remove_xattr(&self, node: Handle, name: &[u8]) -> Outcome {
        check(name)?;
        self.writable(&*self.nodes.get(node)?)?;
        let fd = self.xattr_target(node, Errno::EPERM)?;
        rustix::fs::fremovexattr(fd, name).map_err(errno)?;
        Ok(Answer::Done)
    }

    /// Lists the names that [`Server::get_xattr`] would serve.
    pub(super) fn list_xattr(&self, node: Handle) -> Outcome {
        let Ok(fd) = self.xattr_target(node, Errno::ENODATA) else { return Ok(Answer::Bytes(Vec::new())) };
        let mut names = vec![0; MAX_XATTR];
        let len = match rustix::fs::flistxattr(fd, names.as_mut_slice()) {
            Err(rustix::io::Errno::OPNOTSUPP) => 0,
            other => other.map_err(errno)?,
        };
        names.truncate(len);
        let mut served = Vec::new();
        for name in names.split_inclusive(|byte| *byte == 0) {
            let bare = name.strip_suffix(&[0]).unwrap_or(name);
            if check(bare).is_ok() {
                served.extend_from_slice(bare);
                served.push(0);
            }
        }
        Ok(Answer::Bytes(served))
    }
}
