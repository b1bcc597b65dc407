//! `runsc run`: a container from an OCI bundle, in the foreground.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use oci_spec::runtime::{Capabilities, Capability, Mount, Process, Spec};

use crate::cli::{FileAccess, Global, RunArgs};
use crate::sandbox::config::{
    CapsConfig, MountConfig, MountSource, ProcessConfig, RootConfig, SandboxConfig, TreeConfig,
};
use crate::sandbox::{launch, wait};

/// File systems that the guest kernel makes itself.
const KERNEL_TYPES: &[&str] = &["proc", "sysfs", "tmpfs", "devpts", "devtmpfs", "mqueue", "cgroup", "cgroup2"];

/// Creates the container, waits for its first process and removes it.
pub(crate) fn run(global: &Global, args: &RunArgs) -> Result<u8> {
    check_id(&args.id)?;
    let config = read_bundle(global, &args.bundle, &args.id)?;
    let signals = wait::block_signals()?;
    let sandbox = launch::launch(global, config)?;
    if let Some(path) = &args.pid_file {
        let written = std::fs::write(path, sandbox.sentry.pid.to_string());
        written.with_context(|| format!("writing the pid file {}", path.display()))?;
    }
    wait::wait(sandbox, &signals)
}

/// Accepts what gVisor and runc accept as a container id.
fn check_id(id: &str) -> Result<()> {
    let valid = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
    if id.is_empty() || id == "." || id == ".." || !id.chars().all(valid) {
        bail!("invalid container id {id:?}: use letters, digits, _ + - and .");
    }
    Ok(())
}

/// What every sandbox has besides the mounts it is given.
pub(crate) fn kernel_mounts() -> Vec<MountConfig> {
    let mount = |destination: &str, kind: &str, options: &[&str]| MountConfig {
        destination: destination.to_owned(),
        source: MountSource::Kernel(kind.to_owned()),
        options: options.iter().map(|option| (*option).to_owned()).collect(),
    };
    vec![
        mount("/proc", "proc", &[]),
        mount("/sys", "sysfs", &["ro"]),
        mount("/dev", "devtmpfs", &[]),
        mount("/dev/pts", "devpts", &[]),
        mount("/dev/shm", "tmpfs", &["mode=1777"]),
    ]
}

/// Reads a bundle's config.json.
fn read_bundle(global: &Global, bundle: &Path, id: &str) -> Result<SandboxConfig> {
    let bundle = std::fs::canonicalize(bundle).with_context(|| format!("finding the bundle {}", bundle.display()))?;
    let path = bundle.join("config.json");
    let text = std::fs::read(&path).with_context(|| format!("reading {}", path.display()))?;
    let spec: Spec = serde_json::from_slice(&text).with_context(|| format!("parsing {}", path.display()))?;
    check_version(spec.version())?;
    let root = spec.root().as_ref().with_context(|| format!("{} has no \"root\"", path.display()))?;
    let rootfs = absolute(&bundle, root.path());
    if !rootfs.is_dir() {
        bail!("the root file system {} is not a directory", rootfs.display());
    }
    let readonly = root.readonly().unwrap_or(false);
    let overlay = match global.overlay2.as_str() {
        "none" => false,
        text if text.starts_with("root:memory") || text.starts_with("all:memory") => true,
        other => bail!("--overlay2={other} is not supported; use none, root:memory or all:memory"),
    };
    let mut trees = vec![TreeConfig { path: utf8(rootfs)?, readonly: readonly || overlay }];
    let mut mounts = Vec::new();
    for mount in spec.mounts().as_deref().unwrap_or_default() {
        mounts.extend(convert_mount(mount, &bundle, &mut trees)?);
    }
    add_missing(&mut mounts);
    let process = spec.process().as_ref().with_context(|| format!("{} has no \"process\"", path.display()))?;
    Ok(SandboxConfig {
        id: id.to_owned(),
        platform: global.platform.name().to_owned(),
        strace: global.strace,
        debug: global.debug,
        seccomp_log: global.seccomp_log,
        hostname: spec.hostname().clone().unwrap_or_else(|| id.to_owned()),
        closed_streams: sentry_platform::caller::closed_streams(),
        terminals: [false; 3],
        process: convert_process(process)?,
        root: RootConfig { overlay, readonly, exclusive: global.file_access == FileAccess::Exclusive },
        mounts,
        trees,
    })
}

fn check_version(version: &str) -> Result<()> {
    if version.split('.').next() == Some("1") {
        return Ok(());
    }
    bail!("config.json is of OCI version {version:?}; this runtime knows 1.x")
}

fn absolute(bundle: &Path, path: &Path) -> PathBuf {
    if path.is_absolute() { path.to_owned() } else { bundle.join(path) }
}

fn utf8(path: PathBuf) -> Result<String> {
    path.into_os_string().into_string().map_err(|path| anyhow::anyhow!("the path {} is not UTF-8", path.display()))
}

/// Adds the mounts that programs can't do without where the bundle leaves them out.
fn add_missing(mounts: &mut Vec<MountConfig>) {
    for mount in kernel_mounts() {
        let given = mounts.iter().any(|given| given.destination.trim_end_matches('/') == mount.destination);
        if !given && mount.destination != "/dev/shm" {
            mounts.push(mount);
        }
    }
    // Parents before children, whatever the order in which they were added.
    mounts.sort_by_key(|mount| mount.destination.matches('/').count());
}

fn convert_mount(mount: &Mount, bundle: &Path, trees: &mut Vec<TreeConfig>) -> Result<Option<MountConfig>> {
    let destination = mount.destination();
    if !destination.is_absolute() {
        bail!("the mount destination {} is not absolute", destination.display());
    }
    let options = mount.options().clone().unwrap_or_default();
    let kind = mount.typ().as_deref().unwrap_or("none");
    let bind = kind == "bind" || options.iter().any(|option| option == "bind" || option == "rbind");
    let source = if bind {
        let source = mount.source().as_ref();
        let source = source.with_context(|| format!("the bind mount on {} has no source", destination.display()))?;
        let source = absolute(bundle, source);
        let source = std::fs::canonicalize(&source).with_context(|| {
            format!("finding {}, the source of the mount on {}", source.display(), destination.display())
        })?;
        let id = u32::try_from(trees.len()).context("too many mounts")?;
        let readonly = options.iter().any(|option| option == "ro");
        trees.push(TreeConfig { path: utf8(source)?, readonly });
        MountSource::Tree(id)
    } else if kind == "tmpfs" && destination == Path::new("/dev") {
        // What runtimes put on /dev is filled with device nodes by them; here the guest kernel does that.
        MountSource::Kernel("devtmpfs".to_owned())
    } else if KERNEL_TYPES.contains(&kind) {
        MountSource::Kernel(kind.to_owned())
    } else {
        tracing::warn!(kind, destination = %destination.display(), "mount of an unknown type is left out");
        return Ok(None);
    };
    Ok(Some(MountConfig { destination: utf8(destination.clone())?, source, options }))
}

fn convert_process(process: &Process) -> Result<ProcessConfig> {
    let args = process.args().clone().unwrap_or_default();
    if args.is_empty() {
        bail!("config.json: process.args is empty");
    }
    let cwd = process.cwd();
    if !cwd.is_absolute() {
        bail!("config.json: process.cwd {} is not absolute", cwd.display());
    }
    let user = process.user();
    let rlimits = process.rlimits().iter().flatten().map(|limit| {
        // `oci-spec` lists the limits in Linux's order.
        (limit.typ() as u32, limit.soft(), limit.hard())
    });
    Ok(ProcessConfig {
        args: args.into_iter().map(String::into_bytes).collect(),
        env: process.env().clone().unwrap_or_default().into_iter().map(String::into_bytes).collect(),
        cwd: utf8(cwd.clone())?,
        uid: user.uid(),
        gid: user.gid(),
        groups: user.additional_gids().clone().unwrap_or_default(),
        umask: user.umask().unwrap_or(0o022),
        caps: process.capabilities().as_ref().map(convert_caps).unwrap_or_default(),
        rlimits: rlimits.collect(),
        no_new_privs: process.no_new_privileges().unwrap_or(false),
        ignored_signals: 0,
        shielded: true,
        terminal: process.terminal().unwrap_or(false),
    })
}

fn convert_caps(caps: &oci_spec::runtime::LinuxCapabilities) -> CapsConfig {
    let bits = |set: &Option<Capabilities>| set.iter().flatten().map(|cap| 1 << capability_number(*cap)).sum();
    CapsConfig {
        bounding: bits(caps.bounding()),
        effective: bits(caps.effective()),
        permitted: bits(caps.permitted()),
        inheritable: bits(caps.inheritable()),
        ambient: bits(caps.ambient()),
    }
}

/// Numbers of `linux/capability.h`.
fn capability_number(cap: Capability) -> u32 {
    match cap {
        Capability::Chown => 0,
        Capability::DacOverride => 1,
        Capability::DacReadSearch => 2,
        Capability::Fowner => 3,
        Capability::Fsetid => 4,
        Capability::Kill => 5,
        Capability::Setgid => 6,
        Capability::Setuid => 7,
        Capability::Setpcap => 8,
        Capability::LinuxImmutable => 9,
        Capability::NetBindService => 10,
        Capability::NetBroadcast => 11,
        Capability::NetAdmin => 12,
        Capability::NetRaw => 13,
        Capability::IpcLock => 14,
        Capability::IpcOwner => 15,
        Capability::SysModule => 16,
        Capability::SysRawio => 17,
        Capability::SysChroot => 18,
        Capability::SysPtrace => 19,
        Capability::SysPacct => 20,
        Capability::SysAdmin => 21,
        Capability::SysBoot => 22,
        Capability::SysNice => 23,
        Capability::SysResource => 24,
        Capability::SysTime => 25,
        Capability::SysTtyConfig => 26,
        Capability::Mknod => 27,
        Capability::Lease => 28,
        Capability::AuditWrite => 29,
        Capability::AuditControl => 30,
        Capability::Setfcap => 31,
        Capability::MacOverride => 32,
        Capability::MacAdmin => 33,
        Capability::Syslog => 34,
        Capability::WakeAlarm => 35,
        Capability::BlockSuspend => 36,
        Capability::AuditRead => 37,
        Capability::Perfmon => 38,
        Capability::Bpf => 39,
        Capability::CheckpointRestore => 40,
    }
}
