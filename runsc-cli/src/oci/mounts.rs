//! Mounts of config.json.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use oci_spec::runtime::Mount;

use super::hints::{Hints, Use};
use super::mount_ids;
use super::overlay::Overlay;
use crate::sandbox::config::{MountConfig, MountSource, OverlayConfig, TreeConfig};
use crate::sandbox::mounts::split_options;
use crate::user::IdMaps;

/// File systems that the guest kernel makes itself.
const KERNEL_TYPES: &[&str] = &["proc", "sysfs", "tmpfs", "devpts", "devtmpfs", "mqueue", "cgroup", "cgroup2"];

/// Where cgroups are, on the host and inside.
const CGROUPS: &str = "/sys/fs/cgroup";

/// What every sandbox has besides the mounts it is given.
pub(crate) fn kernel_mounts() -> Vec<MountConfig> {
    let mount = |destination: &str, kind: &str, options: &[&str]| MountConfig {
        destination: destination.to_owned(),
        source: MountSource::Kernel(kind.to_owned()),
        name: kind.to_owned(),
        options: options.iter().map(|option| (*option).to_owned()).collect(),
        overlay: None,
        exclusive: false,
        copy_up: false,
    };
    vec![
        mount("/proc", "proc", &[]),
        mount("/sys", "sysfs", &["ro"]),
        mount("/dev", "devtmpfs", &[]),
        mount("/dev/pts", "devpts", &["gid=5", "mode=620", "ptmxmode=666"]),
        mount("/dev/shm", "tmpfs", &["mode=1777"]),
    ]
}

/// What mounts are converted by.
pub(super) struct Given<'a> {
    pub(super) bundle: &'a Path,
    pub(super) hints: &'a Hints,
    pub(super) overlay: &'a Overlay,
    /// Those of the container, if it has a user namespace with its own.
    pub(super) ids: Option<&'a IdMaps>,
}

/// Turns a bundle's mounts into ours, in their order; binds become trees of the gofer.
pub(super) fn convert(mounts: &[Mount], given: &Given<'_>, trees: &mut Vec<TreeConfig>) -> Result<Vec<MountConfig>> {
    let mut converted = Vec::new();
    for mount in mounts {
        converted.extend(convert_one(mount, given, trees)?);
    }
    add_missing(&mut converted);
    Ok(converted)
}

/// Adds the mounts that programs can't do without where the bundle leaves them out: before all others, or right after the
/// mount that they lie in.
fn add_missing(mounts: &mut Vec<MountConfig>) {
    let at = |mounts: &[MountConfig], place: &str| {
        mounts.iter().position(|mount| mount.destination.trim_end_matches('/') == place)
    };
    let mut first = 0;
    for mount in kernel_mounts().into_iter().filter(|mount| mount.destination != "/dev/shm") {
        if at(mounts, &mount.destination).is_some() {
            continue;
        }
        let parent = mount.destination.rsplit_once('/').map_or("", |(parent, _)| parent);
        match at(mounts, parent).filter(|_| !parent.is_empty()) {
            Some(parent) => mounts.insert(parent + 1, mount),
            None => {
                mounts.insert(first, mount);
                first += 1;
            }
        }
    }
}

fn convert_one(mount: &Mount, given: &Given<'_>, trees: &mut Vec<TreeConfig>) -> Result<Option<MountConfig>> {
    // As in runc: a relative one starts at the root.
    let destination = &Path::new("/").join(mount.destination());
    if !mount.destination().is_absolute() {
        tracing::warn!(destination = %destination.display(), "a mount destination is not absolute");
    }
    let mut options = mount.options().clone().unwrap_or_default();
    let kind = mount.typ().as_deref().unwrap_or("none");
    let bind = kind == "bind" || options.iter().any(|option| option == "bind" || option == "rbind");
    let ids = mount_ids::of(mount, given.ids)?;
    ensure!(
        ids.is_none() || bind,
        "the mount on {} is no bind mount: it can't have ids of its own",
        destination.display()
    );
    let host_cgroup = bind && mount.source().as_ref().is_some_and(|source| source.starts_with(CGROUPS));
    if host_cgroup && destination.starts_with(CGROUPS) && destination != Path::new(CGROUPS) {
        // A part of the host's tree, which the guest doesn't see.
        tracing::warn!(destination = %destination.display(), "a mount of the host's cgroups is left out");
        return Ok(None);
    }
    let name = mount.source().as_ref().map_or_else(|| kind.to_owned(), |source| source.to_string_lossy().into_owned());
    let (mut overlay, mut exclusive) = (None, false);
    let source = if host_cgroup && destination == Path::new(CGROUPS) {
        // The guest's own cgroups stand for those of the host.
        MountSource::Kernel("cgroup".to_owned())
    } else if bind {
        let source = mount.source().as_ref();
        let source = source.with_context(|| format!("the bind mount on {} has no source", destination.display()))?;
        let named = absolute(given.bundle, source);
        let source = std::fs::canonicalize(&named).with_context(|| {
            format!("finding {}, the source of the mount on {}", named.display(), destination.display())
        })?;
        let used = given.hints.of(&named);
        exclusive = used == Use::Exclusive;
        if used == Use::Memory && ids.is_none() {
            options.extend(like(&source)?);
            MountSource::Kernel("tmpfs".to_owned())
        } else {
            let readonly = is_readonly(&options);
            if let Some(ids) = ids.as_ref().filter(|_| !readonly) {
                mount_ids::check_writer(ids, given.ids)
                    .with_context(|| format!("mounting on {}", destination.display()))?;
            }
            // Where only the ids are recursive, so is what they are for.
            let deep = options.iter().any(|option| option == "rbind") || ids.as_ref().is_some_and(|ids| ids.recursive);
            let follows = follows_host(&options, destination);
            let tree = TreeConfig { recursive: deep, ids, follows, ..TreeConfig::new(utf8(source)?, readonly) };
            let (source, covered) = bind_tree(tree, given.overlay, trees)?;
            overlay = covered;
            source
        }
    } else if kind == "overlay" {
        overlay_tree(&name, &options, given.overlay, trees)?
    } else if kind == "tmpfs" && destination == Path::new("/dev") {
        // What runtimes put on /dev is filled with device nodes by them; here the guest kernel does that.
        MountSource::Kernel("devtmpfs".to_owned())
    } else if KERNEL_TYPES.contains(&kind) {
        MountSource::Kernel(kind.to_owned())
    } else {
        tracing::warn!(kind, destination = %destination.display(), "mount of an unknown type is left out");
        return Ok(None);
    };
    let copy_up = options.iter().any(|option| option == "tmpcopyup");
    ensure!(!copy_up || kind == "tmpfs", "the mount on {} is no tmpfs: it can't tmpcopyup", destination.display());
    let destination = utf8(destination.clone())?;
    Ok(Some(MountConfig { destination, source, name, options, overlay, exclusive, copy_up }))
}

/// Has the gofer mount and serve an overlay of the host.
fn overlay_tree(name: &str, options: &[String], overlay: &Overlay, trees: &mut Vec<TreeConfig>) -> Result<MountSource> {
    let id = u32::try_from(trees.len()).context("too many mounts")?;
    let readonly = is_readonly(options) || overlay.covers_mounts();
    let layers = Some(split_options(options).1);
    trees.push(TreeConfig { layers, ..TreeConfig::new(name.to_owned(), readonly) });
    Ok(MountSource::Tree(id))
}

/// Has the gofer serve what is bound, and what covers it where writes are to go elsewhere.
fn bind_tree(
    tree: TreeConfig,
    overlay: &Overlay,
    trees: &mut Vec<TreeConfig>,
) -> Result<(MountSource, Option<OverlayConfig>)> {
    let id = u32::try_from(trees.len()).context("too many mounts")?;
    let source = PathBuf::from(&tree.path);
    // A single file can't be covered, and its writes must not reach the host.
    let readonly = tree.readonly || overlay.covers_mounts();
    trees.push(TreeConfig { readonly, ..tree });
    let covered = overlay.of_mount(&source, trees)?;
    Ok((MountSource::Tree(id), covered))
}

/// Tells whether what the host mounts later below a bind mount is to be seen: the last option that speaks of it counts.
fn follows_host(options: &[String], destination: &Path) -> bool {
    const KINDS: [&str; 4] = ["private", "slave", "shared", "unbindable"];
    let asked = options
        .iter()
        .rev()
        .find_map(|option| KINDS.into_iter().find(|kind| option == kind || option.strip_prefix('r') == Some(kind)));
    if asked == Some("shared") {
        let destination = destination.display();
        tracing::warn!(%destination, "what the guest mounts there isn't seen on the host: the mount is a slave");
    }
    matches!(asked, Some("slave" | "shared"))
}

/// Tells whether writes are refused: the last option that speaks of it counts.
fn is_readonly(options: &[String]) -> bool {
    let rights = options.iter().rfind(|option| matches!(option.as_str(), "ro" | "rro" | "rw" | "rrw"));
    rights.is_some_and(|option| option == "ro" || option == "rro")
}

/// Options that give a new file system's root the owner and mode of a directory.
fn like(dir: &Path) -> Result<Vec<String>> {
    use std::os::unix::fs::MetadataExt;
    let found = std::fs::metadata(dir).with_context(|| format!("looking at {}", dir.display()))?;
    Ok(vec![
        format!("mode={:o}", found.mode() & 0o7777),
        format!("uid={}", found.uid()),
        format!("gid={}", found.gid()),
    ])
}

/// Resolves a path that is relative to the bundle.
pub(crate) fn absolute(bundle: &Path, path: &Path) -> PathBuf {
    if path.is_absolute() { path.to_owned() } else { bundle.join(path) }
}

/// A path that can be passed on: UTF-8 without NUL.
pub(super) fn utf8(path: PathBuf) -> Result<String> {
    let text = path.into_os_string().into_string();
    let text = text.map_err(|path| anyhow::anyhow!("the path {} is not UTF-8", path.display()))?;
    if text.contains('\0') {
        bail!("the path {text:?} has a NUL byte in it");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(given: &[&str]) -> Vec<String> {
        let mount = |place: &&str| MountConfig {
            destination: (*place).to_owned(),
            source: MountSource::Kernel("tmpfs".to_owned()),
            name: "tmpfs".to_owned(),
            options: Vec::new(),
            overlay: None,
            exclusive: false,
            copy_up: false,
        };
        let mut mounts: Vec<MountConfig> = given.iter().map(mount).collect();
        add_missing(&mut mounts);
        mounts.into_iter().map(|mount| mount.destination).collect()
    }

    #[test]
    fn missing_mounts_come_before_what_may_lie_in_them() {
        assert_eq!(places(&[]), ["/proc", "/sys", "/dev", "/dev/pts"]);
        assert_eq!(places(&["/dev/x", "/data"]), ["/proc", "/sys", "/dev", "/dev/pts", "/dev/x", "/data"]);
    }

    #[test]
    fn the_last_word_on_propagation_counts() {
        let follows = |options: &[&str]| {
            let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
            follows_host(&options, Path::new("/v"))
        };
        assert!(["slave", "rslave", "shared", "rshared"].iter().all(|option| follows(&["rbind", option, "ro"])));
        assert!(!["private", "rprivate", "unbindable", "runbindable", "ro"].iter().any(|option| follows(&[option])));
        assert!(!follows(&["rslave", "rprivate"]) && follows(&["private", "slave"]));
    }

    #[test]
    fn the_bundles_order_stays() {
        assert_eq!(
            places(&["/a/b", "/a", "/dev", "/dev/shm"]),
            ["/proc", "/sys", "/a/b", "/a", "/dev", "/dev/pts", "/dev/shm"]
        );
    }
}
