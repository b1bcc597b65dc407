//! Trees that the gofer gets as mounts: those whose ids the host is to translate, and all of them where its user namespace has
//! other ids than the host, whose root may reach what the gofer's may not (`/var/lib/kubelet` is closed to others).

use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use rustix::fs::CWD;
use rustix::mount::{OpenTreeFlags, open_tree};
use sentry_platform::{mount_ids, spawn};

use super::config::{TreeConfig, TreeIds};

/// Marks the trees that are to be passed as mounts.
pub(super) fn mark(trees: &mut [TreeConfig], own_ids: bool) {
    let privileged = crate::user::is_host_root();
    for tree in trees {
        tree.detached = tree.layers.is_none() && (tree.ids.is_some() || own_ids && privileged);
    }
}

/// Makes the mounts of those that are marked, in their order. They lie nowhere, so no way leads up from them.
pub(super) fn detached(trees: &[TreeConfig]) -> Result<Vec<OwnedFd>> {
    trees.iter().filter(|tree| tree.detached).map(detach).collect()
}

fn detach(tree: &TreeConfig) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    flags.set(OpenTreeFlags::AT_RECURSIVE, tree.recursive);
    let mount = open_tree(CWD, &tree.path, flags);
    let mount = mount.with_context(|| format!("making a mount of {} to serve it to the sandbox", tree.path))?;
    if let Some(ids) = &tree.ids {
        map(&mount, ids).with_context(|| {
            format!("giving the mount of {} ids of its own; can its file system do that (idmapped mounts)?", tree.path)
        })?;
    }
    Ok(mount)
}

fn map(mount: &OwnedFd, ids: &TreeIds) -> Result<()> {
    let namespace = spawn::user_namespace(ids.maps.users.clone(), ids.maps.groups.clone());
    let namespace = namespace.context("making a user namespace of them")?;
    Ok(mount_ids::map(mount.as_fd(), namespace.as_fd(), ids.recursive)?)
}
