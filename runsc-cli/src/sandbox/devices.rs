//! Device nodes that config.json asks for, in the file systems of the sandbox.

use std::sync::Arc;

use abi::Errno;
use anyhow::{Context, Result};
use sentry::task::Cred;
use sentry::vfs::change::{NewFile, create_in};
use sentry::vfs::{MountNamespace, WalkFlags, Walker, walk};
use sentry_fs::{DeviceId, FileKind, SetAttr};

use super::config::{DeviceConfig, NodeKind};
use super::mounts::place;

/// Makes the nodes. One whose name is taken stays as it is (as in runc); one for which there is no place, on a root file
/// system that is the host's own, is left out: the sandbox makes no devices on the host.
pub(super) fn make(namespace: &Arc<MountNamespace>, devices: &[DeviceConfig]) -> Result<()> {
    for device in devices {
        match make_one(namespace, device) {
            Err(error) if error.downcast_ref::<Errno>().is_some_and(|errno| *errno == Errno::EPERM) => {
                tracing::warn!(device = device.path, "a device node is left out: {error:#}");
            }
            made => made.with_context(|| format!("making the device node {} in the sandbox", device.path))?,
        }
    }
    Ok(())
}

fn make_one(namespace: &Arc<MountNamespace>, device: &DeviceConfig) -> Result<()> {
    let (dir, name) = device.path.rsplit_once('/').unwrap_or(("", &device.path));
    let dir = place(namespace, dir, false)?;
    let root = namespace.root();
    let cred = Cred::kernel();
    let walker = Walker { root: &root, cred: &cred };
    if walk::resolve(&walker, &dir, name.as_bytes(), WalkFlags::empty()).is_ok() {
        return Ok(());
    }
    let kind = match device.kind {
        NodeKind::Character => FileKind::CharDevice,
        NodeKind::Block => FileKind::BlockDevice,
        NodeKind::Fifo => FileKind::Fifo,
    };
    let rdev = DeviceId::new(device.major, device.minor);
    let new = NewFile { kind, perm: device.perm, rdev, target: None };
    dir.mount.check_writable()?;
    let node = create_in(&cred, &dir, name.as_bytes(), &new)?;
    let (perm, uid, gid) = (Some(device.perm), Some(device.uid), Some(device.gid));
    node.inode.set_attr(&SetAttr { uid, gid, ..SetAttr::default() })?;
    // After the owner, which takes set-id bits away.
    node.inode.set_attr(&SetAttr { perm, ..SetAttr::default() })?;
    Ok(())
}
