//! `runsc do`: a command on the host's own root file system, behind a memory overlay.

use std::os::unix::ffi::{OsStrExt, OsStringExt};

use anyhow::{Context, Result, bail};
use sentry_platform::caller;

use crate::cli::{DoArgs, FileAccess, Global, NetworkKind};
use crate::sandbox::config::{
    CapsConfig, MountConfig, MountSource, NetworkMode, OverlayConfig, ProcessConfig, RootConfig, SandboxConfig,
    TreeConfig,
};
use crate::sandbox::network::Place;
use crate::sandbox::{launch, view, wait};

/// All 41 capabilities: the guest's own, worth nothing on the host.
pub(crate) const ALL_CAPS: u64 = (1 << 41) - 1;

/// Runs the command.
pub(crate) fn run(global: &Global, args: &DoArgs) -> Result<u8> {
    let cwd = match &args.cwd {
        Some(cwd) => cwd.clone(),
        None => std::env::current_dir().context("finding the working directory; give one with --cwd")?,
    };
    let rootfs = std::fs::canonicalize(&args.rootfs)
        .with_context(|| format!("finding the root directory {}", args.rootfs.display()))?;
    if !rootfs.is_dir() {
        bail!("the root {} is not a directory", rootfs.display());
    }
    let mut trees = vec![TreeConfig::new(text(rootfs)?, args.force_overlay)];
    let mut mounts = crate::oci::kernel_mounts();
    for volume in &args.volume {
        let (source, destination) = volume.split_once(':').unwrap_or((volume, volume));
        let id = u32::try_from(trees.len()).context("too many volumes")?;
        trees.push(TreeConfig::new(source.to_owned(), false));
        mounts.push(MountConfig {
            destination: destination.to_owned(),
            source: MountSource::Tree(id),
            name: "none".to_owned(),
            options: Vec::new(),
            overlay: None,
            exclusive: false,
            copy_up: false,
        });
    }
    let on_host = global.network == NetworkKind::Host;
    let config = SandboxConfig {
        id: format!("runsc-do-{}", std::process::id()),
        platform: global.platform.name().to_owned(),
        spin: global.spin_limit(),
        copies: global.copies.clone(),
        network: if on_host { NetworkMode::Host } else { NetworkMode::Loopback },
        host: global.host_access(),
        strace: global.strace,
        debug: global.debug,
        seccomp_log: global.seccomp_log,
        hostname: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        domainname: rustix::system::uname().domainname().to_string_lossy().into_owned(),
        masked_paths: Vec::new(),
        readonly_paths: Vec::new(),
        sysctls: Vec::new(),
        listener: false,
        extra_files: 0,
        waits: false,
        detached: false,
        max_tasks: None,
        console: false,
        view: None,
        closed_streams: caller::closed_streams(),
        terminals: [false; 3],
        process: ProcessConfig {
            args: args.command.iter().map(|arg| arg.as_bytes().to_vec()).collect(),
            env: std::env::vars_os().map(|(key, value)| [key.as_bytes(), b"=", value.as_bytes()].concat()).collect(),
            cwd: text(cwd)?,
            uid: 0,
            gid: 0,
            groups: Vec::new(),
            umask: umask(),
            caps: CapsConfig { bounding: ALL_CAPS, effective: ALL_CAPS, permitted: ALL_CAPS, ..CapsConfig::default() },
            rlimits: caller_limits(),
            no_new_privs: false,
            ignored_signals: caller::ignored_signals(),
            oom_score_adj: 0,
            container: false,
            hook: false,
            terminal: true,
            further: Vec::new(),
            given_program: false,
        },
        seccomp: Vec::new(),
        devices: Vec::new(),
        root: RootConfig {
            overlay: args.force_overlay.then_some(OverlayConfig { store: None, size: None }),
            readonly: false,
            exclusive: global.file_access == FileAccess::Exclusive,
        },
        mounts,
        trees,
    };
    let signals = wait::block_signals()?;
    let network = if on_host { Place::Callers } else { Place::New };
    let sandbox = launch::launch(
        global,
        config,
        launch::Extras { network, view: view::wanted(global.host_view, None), ..launch::Extras::default() },
    )?;
    wait::wait(sandbox, &signals)
}

/// The caller's limits that hold for a process or its files, by the numbers of `getrlimit(2)`.
fn caller_limits() -> Vec<(u32, u64, u64)> {
    use rustix::process::{Resource, getrlimit};
    let passed = [(Resource::Fsize, 1), (Resource::Stack, 3), (Resource::Core, 4), (Resource::Nofile, 7)];
    let limits = passed.into_iter().map(|(resource, number)| {
        let limit = getrlimit(resource);
        (number, limit.current.unwrap_or(u64::MAX), limit.maximum.unwrap_or(u64::MAX))
    });
    limits.collect()
}

/// The caller's umask, which can only be read by setting it.
fn umask() -> u32 {
    let old = rustix::process::umask(rustix::fs::Mode::empty());
    rustix::process::umask(old);
    old.bits()
}

fn text(path: std::path::PathBuf) -> Result<String> {
    String::from_utf8(path.into_os_string().into_vec()).context("a path that is not UTF-8")
}
