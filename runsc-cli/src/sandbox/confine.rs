//! Confinement of the sentry: an empty root, an ordinary user, no capabilities, no new privileges.
//!
//! Two steps around the creation of the platform, which needs `/proc` and must already run as the user that the sentry
//! will be (host memory copies between processes of different users are refused). The seccomp filter comes last, in
//! [`super::filter`].

use std::os::fd::OwnedFd;

use anyhow::{Context, Result, bail};
use rustix::fs::{CWD, Mode, mkdirat};
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, UnmountFlags, mount, mount_bind_recursive, mount_change,
    mount_remount, move_mount, unmount,
};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, chdir, pivot_root, set_dumpable_behavior, set_parent_process_death_signal,
    setrlimit,
};
use rustix::thread::{
    CapabilitySet, CapabilitySets, Gid, Uid, remove_capability_from_bounding_set, set_capabilities,
    set_keep_capabilities, set_no_new_privs, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use sentry_platform::PROC_OF_STUBS as STUBS;

use super::launch::NOBODY;

/// Where the new root is put together: a directory that every host has and that the sentry needs no longer.
const STAGE: &str = "/sys";

/// Enters a root that holds nothing but `/proc`, and becomes an ordinary user. Keeps the right to unmount `/proc`.
/// One that is `detached` doesn't end with the command line that has started it.
pub(crate) fn enter(detached: bool) -> Result<()> {
    // While CAP_SETPCAP is still there, and before the first stub, which inherits it.
    drop_bounding_set()?;
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).context("forbidding core files of the sentry")?;
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .context("making the sentry's mounts private; the host may restrict unprivileged user namespaces (sysctl kernel.apparmor_restrict_unprivileged_userns)")?;
    let hardened = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("runsc", STAGE, "tmpfs", hardened, Some(c"size=64k,mode=755")).context("mounting the sentry's empty root")?;
    chdir(STAGE).context("entering the sentry's empty root")?;
    mkdirat(CWD, "proc", Mode::from_raw_mode(0o555)).context("making a place for /proc")?;
    mount_bind_recursive("/proc", "proc").context("keeping /proc for start-up")?;
    show_stubs();
    pivot_root(".", ".").context("changing the sentry's root")?;
    unmount(".", UnmountFlags::DETACH).context("leaving the host's file systems")?;
    chdir("/").context("entering the sentry's root")?;
    become_nobody(detached)
}

/// Makes sure that no capability can ever be had back.
fn drop_bounding_set() -> Result<()> {
    for bit in 0..64 {
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << bit)) {
            // The host knows no more.
            Err(rustix::io::Errno::INVAL) => break,
            other => other.context("dropping a capability from the bounding set")?,
        }
    }
    Ok(())
}

/// Mounts what the platform reads the stubs' figures from: a `/proc` of the sentry's own pid namespace, with nothing but
/// processes in it. A host that hides parts of its own `/proc` refuses; then there are no figures.
fn show_stubs() {
    let hardened = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RDONLY;
    let made = mount("proc", STUBS.trim_start_matches('/'), "proc", hardened, Some(c"subset=pid"));
    if let Err(error) = made {
        tracing::debug!(%error, "no /proc of the stubs: their memory and processor time will be estimated");
    }
}

/// Takes on the identity of a user that owns nothing, where the caller was privileged enough to map one.
fn become_nobody(detached: bool) -> Result<()> {
    if crate::user::exists(NOBODY) {
        set_keep_capabilities(true).context("keeping capabilities for the rest of start-up")?;
        set_thread_groups(&[]).context("dropping supplementary groups")?;
        let (uid, gid) = (Uid::from_raw(NOBODY), Gid::from_raw(NOBODY));
        set_thread_res_gid(gid, gid, gid).context("becoming group nobody")?;
        set_thread_res_uid(uid, uid, uid).context("becoming user nobody")?;
        let kept = CapabilitySets {
            effective: CapabilitySet::SYS_ADMIN,
            permitted: CapabilitySet::SYS_ADMIN,
            inheritable: CapabilitySet::empty(),
        };
        set_capabilities(None, kept).context("dropping capabilities")?;
        // Changing users has also cleared what the command line had asked for.
        let kill = (!detached).then_some(rustix::process::Signal::KILL);
        set_parent_process_death_signal(kill).context("asking to die with the command line")?;
    }
    // Changing users has made the process undumpable, which would forbid it to reach its own stubs' memory.
    set_dumpable_behavior(DumpableBehavior::Dumpable).context("allowing access to stubs")
}

/// Gives up what [`enter`] has kept: `/proc`, every capability, and new privileges for good. A `view` is mounted over the root:
/// it is for those who enter the mount namespace, and out of reach for whoever is here already.
pub(crate) fn lock(view: Option<OwnedFd>) -> Result<()> {
    // Capabilities belong to threads: another one would keep its own.
    let threads = std::fs::read_dir("/proc/self/task").context("counting the sentry's threads")?.count();
    if threads != 1 {
        bail!("the sentry has {threads} threads before it is confined");
    }
    // With what is mounted in it: the stubs' figures are reached by descriptor from now on.
    unmount("/proc", UnmountFlags::DETACH).context("unmounting /proc")?;
    mount_remount("/", MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC, c"")
        .context("making the sentry's root read-only")?;
    if let Some(view) = view {
        move_mount(view, "", CWD, "/", MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
            .context("mounting a view for the host; --host-view=off does without")?;
    }
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, none).context("dropping all capabilities")?;
    set_no_new_privs(true).context("setting no_new_privs")
}
