//! Magic links and mounts of a task.

use std::sync::Arc;

use abi::{Errno, Fd};
use sentry_fs::FileSystem;
use sentry_fs::proc::source::{FdInfo, MagicLink, MountInfo};

use super::description;
use crate::mm::MappedDescription;
use crate::task::served;
use crate::vfs::{FdFlags, File, Mount, MountFlags, Path, Propagation};
use crate::{Kernel, Task};

/// Returns the root of whoever looks: paths are shown from there.
fn viewer_root() -> Option<Path> {
    served().map(|task| task.fs.load().root())
}

fn link(path: Path) -> MagicLink {
    let text = path.text(viewer_root().as_ref()).shown();
    MagicLink { text, object: Box::new(path) }
}

fn file_link(file: &Arc<File>) -> MagicLink {
    let text = file.shown_path(viewer_root().as_ref());
    match &file.path {
        Some(path) => MagicLink { text, object: Box::new(path.clone()) },
        None => match description::place(file) {
            Some(path) => MagicLink { text, object: Box::new(path) },
            None => MagicLink { text, object: Box::new(Arc::clone(file)) },
        },
    }
}

pub(super) fn cwd(task: &Task) -> MagicLink {
    link(task.fs.load().cwd())
}

pub(super) fn root(task: &Task) -> MagicLink {
    link(task.fs.load().root())
}

pub(super) fn exe(task: &Task) -> Result<MagicLink, Errno> {
    let exe = task.mm.load().exe().ok_or(Errno::ENOENT)?;
    let description = exe.as_any().downcast_ref::<MappedDescription>().ok_or(Errno::ENOENT)?;
    Ok(file_link(description.file()))
}

pub(super) fn fd(task: &Task, fd: i32) -> Result<MagicLink, Errno> {
    let file = task.files.load().get(Fd(fd)).map_err(|_| Errno::ENOENT)?;
    Ok(file_link(&file))
}

pub(super) fn fd_info(task: &Task, fd: i32) -> Option<FdInfo> {
    /// `O_CLOEXEC`, which `fdinfo` shows among the status flags.
    const CLOEXEC: u32 = 0o2_000_000;
    let files = task.files.load();
    let (file, fd_flags) = files.get_with_flags(Fd(fd)).ok()?;
    let flags = file.flags();
    let cloexec = if fd_flags.contains(FdFlags::CLOEXEC) { CLOEXEC } else { 0 };
    let locks = file.known_locks().map(|(locks, place)| locks.fdinfo(place, file.id, files.lock_owner()));
    let attr = file.inode.as_ref().and_then(|inode| inode.attr().ok());
    Some(FdInfo {
        pos: file.position(),
        flags: flags.bits() | cloexec,
        mount_id: file.path.as_ref().map_or(0, |path| u64::from(path.mount.id)),
        ino: attr.map_or(0, |attr| attr.ino),
        extra: file.ops.fdinfo() + &locks.unwrap_or_default(),
        access: (flags.readable(), flags.writable()),
    })
}

/// Names the options of a mount in the order of `/proc/mounts`.
fn options(flags: MountFlags) -> String {
    let names = [
        (MountFlags::SYNCHRONOUS, "sync"),
        (MountFlags::NOSUID, "nosuid"),
        (MountFlags::NODEV, "nodev"),
        (MountFlags::NOEXEC, "noexec"),
        (MountFlags::NOATIME, "noatime"),
        (MountFlags::NODIRATIME, "nodiratime"),
        (MountFlags::RELATIME, "relatime"),
        (MountFlags::NOSYMFOLLOW, "nosymfollow"),
    ];
    let set: Vec<&str> = names.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, name)| *name).collect();
    set.join(",")
}

fn propagation(mount: &Mount) -> String {
    match mount.propagation() {
        Propagation::Private => String::new(),
        Propagation::Shared(group) => format!("shared:{group}"),
        Propagation::Slave(group) => format!("master:{group}"),
        Propagation::Unbindable => "unbindable".to_owned(),
    }
}

fn describe(mount: &Arc<Mount>, root: &Path) -> Option<MountInfo> {
    let place = mount.root_path().text(Some(root));
    if !place.reachable {
        return None;
    }
    let fs: &dyn FileSystem = &*mount.sb.fs;
    let flags = mount.flags();
    let dev = mount.root.inode.attr().map(|attr| attr.dev).unwrap_or_default();
    Some(MountInfo {
        id: u64::from(mount.id),
        parent: mount.place().map_or(u64::from(mount.id), |(parent, _)| u64::from(parent.id)),
        dev,
        root: mount.root.path_in_fs(),
        point: place.bytes,
        readonly: flags.contains(MountFlags::RDONLY),
        options: options(flags),
        propagation: propagation(mount),
        kind: fs.kind().to_owned(),
        source: mount.source.clone(),
        fs_readonly: false,
        fs_options: fs.show_options(),
    })
}

pub(super) fn mounts(task: &Task) -> Vec<MountInfo> {
    let fs = task.fs.load();
    let root = fs.root();
    fs.namespace().mounts().iter().filter_map(|mount| describe(mount, &root)).collect()
}

/// Returns the lines of `/proc/locks`: all locks are held through a description that some process has open.
pub(super) fn locks(kernel: &Kernel) -> String {
    let tasks: Vec<Arc<Task>> = kernel.tasks.read().tasks.values().cloned().collect();
    let (mut tables, mut seen) = (Vec::new(), Vec::new());
    let (mut next, mut text) = (1, String::new());
    for task in tasks {
        let files = task.files.load_full();
        if tables.contains(&files.lock_owner()) {
            continue;
        }
        tables.push(files.lock_owner());
        for (locks, place) in files.list().iter().filter_map(|(_, file, _)| file.known_locks()) {
            if !seen.iter().any(|known| Arc::ptr_eq(known, &locks)) {
                locks.list(place, &mut next, &mut text);
                seen.push(locks);
            }
        }
    }
    text
}
