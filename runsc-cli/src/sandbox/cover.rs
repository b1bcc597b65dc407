//! `linux.maskedPaths` and `linux.readonlyPaths`: mounts over what is in the sandbox already. A path that isn't there needs
//! no cover.

use std::sync::Arc;

use abi::Errno;
use anyhow::{Context, Result, ensure};
use sentry::Kernel;
use sentry::task::Cred;
use sentry::vfs::{Mount, MountFlags, MountNamespace, MountRequest, Path, WalkFlags, Walker, walk};
use sentry_fs::FileKind;

/// What is at a path, if there is anything.
pub(super) fn find(namespace: &Arc<MountNamespace>, path: &str) -> Result<Option<Path>> {
    let root = namespace.root();
    let cred = Cred::kernel();
    let walker = Walker { root: &root, cred: &cred };
    match walk::resolve(&walker, &root, path.as_bytes(), WalkFlags::FOLLOW) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Files of `/proc` that may be replaced by the host's: figures, as in runc.
const FIGURES: &[&str] = &[
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/sys/crypto/fips_enabled",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/uptime",
];

/// Refuses a mount of a host tree that would pose as a part of `/proc`, wherever the path leads.
pub(super) fn check_proc(place: &Path, destination: &str) -> Result<()> {
    let proc = place.dentry.sb.fs.kind() == "proc";
    let plain = destination.split('/').filter(|part| !part.is_empty() && *part != ".");
    let plain: String = plain.flat_map(|part| ["/", part]).collect();
    ensure!(!proc || FIGURES.contains(&plain.as_str()), "it is inside /proc");
    Ok(())
}

/// Hides a directory under an empty one that can't be written, anything else under `/dev/null`.
pub(super) fn mask(kernel: &Arc<Kernel>, namespace: &Arc<MountNamespace>, path: &str) -> Result<()> {
    let Some(at) = find(namespace, path)? else { return Ok(()) };
    if at.attr()?.kind == FileKind::Directory {
        let request = MountRequest { source: b"tmpfs", data: "" };
        let empty = kernel.vfs.types.make(b"tmpfs", &request)?;
        let flags = MountFlags::RDONLY | MountFlags::RELATIME;
        namespace.attach(&Mount::of(empty, b"tmpfs", flags)?, at)?;
    } else {
        let null = find(namespace, "/dev/null")?.context("there is no /dev/null to cover it with")?;
        namespace.bind(&null, at, false)?;
    }
    Ok(())
}

/// Puts a read-only view of the path over itself, mounts below included.
pub(super) fn make_readonly(namespace: &Arc<MountNamespace>, path: &str) -> Result<()> {
    let Some(at) = find(namespace, path)? else { return Ok(()) };
    namespace.bind(&at, at.clone(), true)?;
    let Some(view) = find(namespace, path)? else { return Ok(()) };
    view.mount.set_flags(view.mount.flags() | MountFlags::RDONLY);
    Ok(())
}
