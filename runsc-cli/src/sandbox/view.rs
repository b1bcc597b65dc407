//! A file system of the host's for those who enter the container's mount namespace there: FUSE, behind which the sentry shows
//! the container's files ([`sentry::host_view`]).
//!
//! It is mounted with the rights of the command line, in its user namespace: those who enter are no members of the sentry's.

use std::collections::HashMap;
use std::os::fd::{AsRawFd, OwnedFd};

use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen,
};
use sentry::host_view::{IdRange, Ids};
use sentry_platform::spawn::IdMap;

use crate::cli::HostView;
use crate::user::IdMaps;

/// Whether there is to be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    No,
    IfPossible,
    Yes,
}

/// Decides that for a container. Podman, which says who it is by an annotation, enters mount namespaces for `cp` and `top`.
pub(crate) fn wanted(flag: HostView, annotations: Option<&HashMap<String, String>>) -> Wanted {
    let manager = annotations.and_then(|all| all.get("io.container.manager"));
    match flag {
        HostView::On => Wanted::Yes,
        HostView::Off => Wanted::No,
        HostView::Auto if manager.is_some_and(|manager| manager == "libpod") => Wanted::IfPossible,
        HostView::Auto => Wanted::No,
    }
}

/// Makes it: its device, and its mount, which lies nowhere yet.
pub(super) fn make(wanted: Wanted) -> Result<Option<[OwnedFd; 2]>> {
    match wanted {
        Wanted::No => Ok(None),
        Wanted::Yes => mount().map(Some).context("--host-view=on"),
        Wanted::IfPossible => match mount() {
            Ok(view) => Ok(Some(view)),
            Err(error) => {
                tracing::warn!("podman cp of a running container and podman top will find no files: {error:#}");
                Ok(None)
            }
        },
    }
}

fn mount() -> Result<[OwnedFd; 2]> {
    let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let device = rustix::fs::open("/dev/fuse", flags, Mode::empty())
        .context("opening /dev/fuse; is the host's module fuse loaded, and may the caller use it?")?;
    let configured = || -> rustix::io::Result<OwnedFd> {
        let context = fsopen("fuse", FsOpenFlags::FSOPEN_CLOEXEC)?;
        let set = |key: &str, value: &str| fsconfig_set_string(&context, key, value);
        set("source", "runsc")?;
        set("fd", &device.as_raw_fd().to_string())?;
        // A directory.
        set("rootmode", "40000")?;
        set("user_id", &rustix::process::geteuid().as_raw().to_string())?;
        set("group_id", &rustix::process::getegid().as_raw().to_string())?;
        fsconfig_set_flag(&context, "allow_other")?;
        fsconfig_set_flag(&context, "default_permissions")?;
        fsconfig_create(&context)?;
        let harmless = MountAttrFlags::MOUNT_ATTR_NOSUID
            | MountAttrFlags::MOUNT_ATTR_NODEV
            | MountAttrFlags::MOUNT_ATTR_NOEXEC
            | MountAttrFlags::MOUNT_ATTR_NOATIME;
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, harmless)
    };
    let mount = configured().context("mounting a file system by FUSE")?;
    Ok([device, mount])
}

/// What ids inside are called outside: the container's own, or the caller's, which are the same on both sides.
pub(super) fn ids(own: Option<&IdMaps>) -> Ids {
    let ranges = |maps: &[IdMap]| -> Vec<IdRange> {
        maps.iter().map(|map| IdRange { inside: map.inside, outside: map.outside, count: map.count }).collect()
    };
    match own {
        Some(maps) => Ids { users: ranges(&maps.users), groups: ranges(&maps.groups) },
        None => {
            let all = vec![IdRange { inside: 0, outside: 0, count: u32::MAX }];
            Ids { users: all.clone(), groups: all }
        }
    }
}
