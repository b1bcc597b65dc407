//! OCI bundles: what config.json says, checked and turned into a sandbox's configuration. What makes no sense is refused
//! here, with its place in the document; what this runtime doesn't do is ignored or left to the guest kernel, as in gVisor.

mod caps;
mod devices;
mod hints;
mod ignored;
mod mount_ids;
mod mounts;
mod namespaces;
mod overlay;
mod process;
mod seccomp;
mod sysctl;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use oci_spec::runtime::{Linux, LinuxResources, Spec};
use serde::de::DeserializeOwned;

use crate::cli::{FileAccess, Global};
use crate::sandbox::config::{NetworkMode, RootConfig, SandboxConfig, TreeConfig};

pub(crate) use caps::add as add_capability;
pub(crate) use mounts::{absolute, kernel_mounts};
pub(crate) use namespaces::ids;
use overlay::Overlay;
pub(crate) use process::convert as process;

/// Longest host or domain name.
const NAME_MAX: usize = 64;

/// How the root file system may be tied to others. Inside, nothing is.
const PROPAGATIONS: [&str; 9] =
    ["", "private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable"];

/// Longest config.json in bytes.
const CONFIG_MAX: u64 = 64 << 20;

/// Finds a bundle and reads its config.json.
pub(crate) fn read_bundle(bundle: &Path) -> Result<(PathBuf, Spec)> {
    let bundle = std::fs::canonicalize(bundle).with_context(|| format!("finding the bundle {}", bundle.display()))?;
    let spec = parse(&bundle.join("config.json"))?;
    check_version(spec.version())?;
    Ok((bundle, spec))
}

/// Checks config.json and turns it into a sandbox's configuration.
pub(crate) fn convert(global: &Global, bundle: &Path, spec: &Spec, id: &str) -> Result<SandboxConfig> {
    let path = bundle.join("config.json");
    let root = spec.root().as_ref().with_context(|| format!("{} has no \"root\"", path.display()))?;
    let rootfs = absolute(bundle, root.path());
    if !rootfs.is_dir() {
        bail!("the root file system {} is not a directory", rootfs.display());
    }
    let readonly = root.readonly().unwrap_or(false);
    let hints = hints::Hints::new(spec.annotations().iter().flatten())?;
    let mut overlay = Overlay::parse(&global.overlay2)?;
    if let Some(medium) = &hints.root_overlay {
        overlay = overlay.with_medium(medium)?;
    }
    let mut trees = vec![TreeConfig::new(mounts::utf8(rootfs.clone())?, readonly)];
    // Nothing is written to a root that can only be read.
    let root_overlay = if readonly { Some(Overlay::in_memory()) } else { overlay.of_root(&rootfs, &mut trees)? };
    trees[0].readonly |= root_overlay.is_some();
    let linux = spec.linux().clone().unwrap_or_default();
    let ids = namespaces::ids(&linux)?;
    let given = mounts::Given { bundle, hints: &hints, overlay: &overlay, ids: ids.as_ref() };
    let mounts = mounts::convert(spec.mounts().as_deref().unwrap_or_default(), &given, &mut trees)?;
    let process = spec.process().as_ref().with_context(|| format!("{} has no \"process\"", path.display()))?;
    let propagation = linux.rootfs_propagation().as_deref().unwrap_or("");
    ensure!(PROPAGATIONS.contains(&propagation), "config.json: linux.rootfsPropagation {propagation:?} is unknown");
    let sysctls = sysctl::convert(linux.sysctl().iter().flatten())?;
    let domainname = sysctls.iter().find(|(path, _)| path == "kernel/domainname").map(|(_, name)| name.clone());
    let (shared_host, shared_domain) = namespaces::uts_names(&linux)?.unzip();
    let domainname = domainname.or(shared_domain);
    let domainname = spec.domainname().clone().or(domainname).filter(|name| !name.is_empty());
    let hostname = spec.hostname().clone().filter(|name| !name.is_empty()).or(shared_host);
    Ok(SandboxConfig {
        id: id.to_owned(),
        platform: global.platform.name().to_owned(),
        spin: global.spin_limit(),
        copies: global.copies.clone(),
        network: NetworkMode::Loopback,
        host: global.host_access(),
        strace: global.strace,
        debug: global.debug,
        seccomp_log: global.seccomp_log,
        hostname: name("hostname", hostname.unwrap_or_else(|| id.chars().take(NAME_MAX).collect()))?,
        domainname: name("domainname", domainname.unwrap_or_else(|| "(none)".to_owned()))?,
        listener: false,
        extra_files: 0,
        waits: false,
        detached: false,
        max_tasks: linux.resources().as_ref().and_then(max_tasks),
        console: false,
        view: None,
        closed_streams: sentry_platform::caller::closed_streams(),
        terminals: [false; 3],
        process: process::convert(process)?,
        seccomp: if global.oci_seccomp { seccomp(&linux)? } else { Vec::new() },
        root: RootConfig { overlay: root_overlay, readonly, exclusive: global.file_access == FileAccess::Exclusive },
        mounts,
        devices: devices::convert(linux.devices().as_deref().unwrap_or_default())?,
        masked_paths: paths("maskedPaths", linux.masked_paths().as_deref().unwrap_or_default())?,
        readonly_paths: paths("readonlyPaths", linux.readonly_paths().as_deref().unwrap_or_default())?,
        sysctls,
        trees,
    })
}

/// Reads and parses the document; a file that never ends is not read for ever.
fn parse(path: &Path) -> Result<Spec> {
    use std::io::Read;
    let reading = || format!("reading {}", path.display());
    let file = std::fs::File::open(path).with_context(reading)?;
    ensure!(file.metadata().with_context(reading)?.is_file(), "reading {}: it is not a file", path.display());
    let mut text = Vec::new();
    file.take(CONFIG_MAX).read_to_end(&mut text).with_context(reading)?;
    ignored::warn(&text);
    document(&text).with_context(|| format!("parsing {}", path.display()))
}

/// Parses a document of the specification; capabilities that are unknown here are left out, as it demands.
pub(crate) fn document<T: DeserializeOwned>(text: &[u8]) -> serde_json::Result<T> {
    serde_json::from_slice(text).or_else(|error| {
        // The error of the whole document has the place in it.
        let Ok(mut value) = serde_json::from_slice(text) else { return Err(error) };
        let left_out = caps::leave_out_unknown(&mut value);
        if left_out.is_empty() {
            return Err(error);
        }
        tracing::warn!(?left_out, "unknown capabilities are left out");
        serde_json::from_value(value)
    })
}

/// The limit of processes: the guest obeys it itself, since the host would count the sandbox's own threads too.
pub(crate) fn max_tasks(resources: &LinuxResources) -> Option<usize> {
    let limit = resources.pids().as_ref()?.limit();
    usize::try_from(limit).ok().filter(|limit| *limit > 0)
}

/// The filter that the container's processes run under.
fn seccomp(linux: &Linux) -> Result<Vec<(u16, u8, u8, u32)>> {
    let program = linux.seccomp().as_ref().map(seccomp::convert).transpose()?.flatten().unwrap_or_default();
    Ok(program.into_iter().map(|insn| (insn.code, insn.jt, insn.jf, insn.k)).collect())
}

fn check_version(version: &str) -> Result<()> {
    if version.split('.').next() == Some("1") {
        return Ok(());
    }
    bail!("config.json is of OCI version {version:?}; this runtime knows 1.x")
}

fn name(what: &str, text: String) -> Result<String> {
    ensure!(text.len() <= NAME_MAX, "config.json: {what} is longer than {NAME_MAX} bytes");
    ensure!(!text.contains('\0'), "config.json: {what} has a NUL byte in it");
    Ok(text)
}

fn paths(what: &str, list: &[String]) -> Result<Vec<String>> {
    for path in list {
        let proper = path.starts_with('/') && !path.contains('\0') && !path.split('/').any(|part| part == "..");
        ensure!(proper, "config.json: linux.{what} has {path:?}, which is not an absolute path without \"..\"");
    }
    Ok(list.to_vec())
}
