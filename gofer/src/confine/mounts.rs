//! The root directory of a confined gofer.

use std::os::fd::OwnedFd;
use std::path::{Display, Path};

use abi::Errno;
use rustix::fs::{CWD, FileType, Mode, OFlags, StatVfsMountFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags};

use super::{ConfineError, TreeSpec, host_step, step};
use crate::server::TreeFlags;

/// Whether file systems mounted below a tree belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recursion {
    /// What lies under them shows instead. In a user namespace the host may refuse this.
    No,
    /// They do (those that show or steer the host's kernel are refused when a walk enters them).
    Yes,
}

/// The process's own descriptors, in the new root.
pub(super) const FDS: &str = "/fd";

/// Where the new root is built: a directory that is surely there, and whose content is needed no more.
const STAGE: &str = "/proc";

/// Returns where a tree lies in the new root.
pub(super) fn tree_path(index: usize) -> String {
    format!("/{index}")
}

/// Builds the new root and makes it this process's only one.
pub(super) fn build(trees: &[TreeSpec]) -> Result<(), ConfineError> {
    // Nothing that is mounted here reaches the host. What a tree's mount is a copy of decides what it hears of.
    let follows = trees.iter().any(follows);
    host_step("make mounts private", rustix::mount::mount_change("/", propagation(follows)))?;
    // What the stage covers is still reached from the working directory.
    host_step("enter /proc/self/fd", rustix::process::chdir("/proc/self/fd"))?;
    let own = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let mounted = rustix::mount::mount("tmpfs", STAGE, "tmpfs", own, c"mode=0755,size=1m");
    host_step("mount a tmpfs", mounted)?;
    let fds = format!("{STAGE}{FDS}");
    host_step("make a directory", rustix::fs::mkdir(&fds, Mode::RWXU))?;
    host_step("bind /proc/self/fd", rustix::mount::mount_bind(".", &fds))?;
    for (index, tree) in trees.iter().enumerate() {
        bind(tree, &format!("{STAGE}{}", tree_path(index)))?;
    }
    host_step("enter the new root", rustix::process::chdir(STAGE))?;
    change_root()?;
    let readonly = MountFlags::BIND | MountFlags::RDONLY | own;
    host_step("make the new root read-only", rustix::mount::mount_remount("/", readonly, ""))
}

/// Tells whether what the host mounts below a tree later belongs to it.
fn follows(tree: &TreeSpec) -> bool {
    tree.flags.contains(TreeFlags::FOLLOWS)
}

/// Mounts that hear of the host's later ones, or don't.
fn propagation(follows: bool) -> MountPropagationFlags {
    let kind = if follows { MountPropagationFlags::DOWNSTREAM } else { MountPropagationFlags::PRIVATE };
    kind | MountPropagationFlags::REC
}

/// Makes the working directory the root and lets the old one go.
fn change_root() -> Result<(), ConfineError> {
    match rustix::process::pivot_root(".", ".") {
        Ok(()) => host_step("unmount the old root", rustix::mount::unmount(".", UnmountFlags::DETACH))?,
        Err(rustix::io::Errno::INVAL) => {
            // The host runs from its initial RAM disk, which can't be unmounted; covering it has to do.
            host_step("move the new root", rustix::mount::mount_move(".", "/"))?;
            host_step("change the root", rustix::process::chroot("."))?;
        }
        Err(error) => return host_step("change the root", Err(error)),
    }
    host_step("enter the new root", rustix::process::chdir("/"))
}

/// Mounts one tree at `target`.
fn bind(tree: &TreeSpec, target: &str) -> Result<(), ConfineError> {
    let source = &tree.source;
    let shown = source.display();
    let found = match (&tree.detached, &tree.layers) {
        (Some(mount), _) => rustix::fs::fstat(mount),
        // The stage is a directory, as every overlay is.
        (None, Some(_)) => rustix::fs::stat(STAGE),
        (None, None) => rustix::fs::stat(source),
    };
    let found = host_step(format!("find {shown}"), found)?;
    match FileType::from_raw_mode(found.st_mode) {
        FileType::Directory => host_step("make a directory", rustix::fs::mkdir(target, Mode::RWXU))?,
        // A bind mount covers a file with a socket or FIFO, too.
        FileType::RegularFile | FileType::Socket | FileType::Fifo => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            host_step("make a file", rustix::fs::openat(CWD, target, flags, Mode::RUSR))?;
        }
        _ => return step(format!("serve {shown}, which is a device"), Err(Errno::EINVAL)),
    }
    match (&tree.detached, &tree.layers) {
        (Some(mount), _) => attach(mount, target, &shown)?,
        (None, Some(layers)) => {
            let flags = MountFlags::NOSUID | MountFlags::NODEV;
            let mounted = rustix::mount::mount("overlay", target, "overlay", flags, layers.as_c_str());
            host_step(format!("mount the overlay {shown} with the options {layers:?}"), mounted)?;
        }
        (None, None) => bind_path(tree, target, &shown)?,
    }
    let hears = rustix::mount::mount_change(target, propagation(follows(tree)));
    host_step(format!("set what the mount of {shown} hears of the host's"), hears)?;
    restrict(tree, source, target)
}

/// Puts a mount where it is to lie.
fn attach(mount: &OwnedFd, target: &str, shown: &Display<'_>) -> Result<(), ConfineError> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    host_step(format!("attach {shown}"), rustix::mount::move_mount(mount, "", CWD, target, flags))
}

/// Mounts what lies at the tree's path.
fn bind_path(tree: &TreeSpec, target: &str, shown: &Display<'_>) -> Result<(), ConfineError> {
    let source = &tree.source;
    let bound = match tree.recursion {
        Recursion::No => rustix::mount::mount_bind(source, target),
        Recursion::Yes => rustix::mount::mount_bind_recursive(source, target),
    };
    host_step(format!("bind {shown}"), bound)?;
    if let (Recursion::Yes, Ok(below)) = (tree.recursion, Path::new(STAGE).strip_prefix(source)) {
        // The tree lies around the stage: what was mounted there by us is no part of it.
        host_step(
            "leave the stage out of a tree",
            rustix::mount::unmount(Path::new(target).join(below), UnmountFlags::DETACH),
        )?;
    }
    Ok(())
}

/// Takes from the mount what serving doesn't need. Flags that the host has set already stay: a user namespace may not
/// clear them.
fn restrict(tree: &TreeSpec, source: &Path, target: &str) -> Result<(), ConfineError> {
    let shown = source.display();
    let now = host_step(format!("look at {shown}"), rustix::fs::statvfs(target))?.f_flag;
    let mut flags = MountFlags::BIND | MountFlags::NOSUID | MountFlags::NODEV;
    let kept = [
        (StatVfsMountFlags::RDONLY, MountFlags::RDONLY),
        (StatVfsMountFlags::NOEXEC, MountFlags::NOEXEC),
        (StatVfsMountFlags::NOATIME, MountFlags::NOATIME),
        (StatVfsMountFlags::NODIRATIME, MountFlags::NODIRATIME),
        (StatVfsMountFlags::RELATIME, MountFlags::RELATIME),
    ];
    for (_, flag) in kept.into_iter().filter(|(there, _)| now.contains(*there)) {
        flags |= flag;
    }
    if tree.flags.contains(TreeFlags::READONLY) {
        flags |= MountFlags::RDONLY;
    }
    host_step(format!("restrict the mount of {shown}"), rustix::mount::mount_remount(target, flags, ""))
}
