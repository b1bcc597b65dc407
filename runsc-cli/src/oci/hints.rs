//! What annotations say of mounts, with gVisor's names: `dev.gvisor.spec.mount.NAME.{source,type,share,options}` and
//! `dev.gvisor.spec.rootfs.overlay`.
//!
//! A volume that only this container uses (`share` is `container` or `pod`: a sandbox holds one container here) need not be
//! the host's: of type `tmpfs` it lies in the sandbox's memory, of type `bind` its files are cached as the root's are.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, ensure};

const MOUNT: &str = "dev.gvisor.spec.mount.";
const ROOT_OVERLAY: &str = "dev.gvisor.spec.rootfs.overlay";

/// What is known of the volumes with a source.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Hint {
    source: String,
    tmpfs: bool,
    shared: bool,
}

/// What the annotations say.
#[derive(Debug, Default)]
pub(super) struct Hints {
    mounts: Vec<Hint>,
    /// Where writes to the root file system go.
    pub(super) root_overlay: Option<String>,
}

/// What becomes of a bind mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// As it is: others may change it.
    Shared,
    /// Nobody else changes it.
    Exclusive,
    /// A file system in memory takes its place.
    Memory,
}

impl Hints {
    pub(super) fn new<'a>(annotations: impl Iterator<Item = (&'a String, &'a String)>) -> Result<Hints> {
        let mut hints = Hints::default();
        let mut by_name: BTreeMap<&str, BTreeMap<&str, &str>> = BTreeMap::new();
        for (key, value) in annotations {
            if key == ROOT_OVERLAY {
                hints.root_overlay = Some(value.clone());
            } else if let Some((name, field)) = key.strip_prefix(MOUNT).and_then(|rest| rest.rsplit_once('.')) {
                by_name.entry(name).or_default().insert(field, value);
            }
        }
        for (name, fields) in by_name {
            let field = |field: &str| fields.get(field).copied().unwrap_or_default();
            let (source, kind, share) = (field("source"), field("type"), field("share"));
            let of = format!("config.json: annotations: {MOUNT}{name}");
            ensure!(source.starts_with('/'), "{of}.source is {source:?}, which is no absolute path");
            ensure!(["tmpfs", "bind"].contains(&kind), "{of}.type is {kind:?}; use tmpfs or bind");
            ensure!(
                ["container", "pod", "shared"].contains(&share),
                "{of}.share is {share:?}; use container, pod or shared"
            );
            hints.mounts.push(Hint { source: source.to_owned(), tmpfs: kind == "tmpfs", shared: share == "shared" });
        }
        Ok(hints)
    }

    /// What becomes of a bind mount with this source.
    pub(super) fn of(&self, source: &Path) -> Use {
        match self.mounts.iter().find(|hint| Path::new(&hint.source) == source) {
            Some(hint) if hint.shared => Use::Shared,
            Some(hint) if hint.tmpfs && source.is_dir() => Use::Memory,
            Some(_) => Use::Exclusive,
            None => Use::Shared,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hints(pairs: &[(&str, &str)]) -> Result<Hints> {
        let pairs: Vec<(String, String)> = pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Hints::new(pairs.iter().map(|(key, value)| (key, value)))
    }

    #[test]
    fn volumes_of_one_container_need_not_be_the_hosts() {
        let mount = |kind: &str, share: &str| {
            let (kind, share) = (("dev.gvisor.spec.mount.v.type", kind), ("dev.gvisor.spec.mount.v.share", share));
            hints(&[("dev.gvisor.spec.mount.v.source", "/tmp"), kind, share])
                .map(|hints| hints.of(Path::new("/tmp")))
                .ok()
        };
        assert_eq!(mount("tmpfs", "pod"), Some(Use::Memory));
        assert_eq!(mount("tmpfs", "shared"), Some(Use::Shared));
        assert_eq!(mount("bind", "container"), Some(Use::Exclusive));
        assert_eq!(mount("nosuch", "container"), None);
        assert_eq!(mount("bind", "nobody"), None);
        let other = hints(&[("dev.gvisor.spec.rootfs.overlay", "memory")]).expect("good");
        assert_eq!((other.of(Path::new("/tmp")), other.root_overlay.as_deref()), (Use::Shared, Some("memory")));
    }
}
