//! `--overlay2`: where what the sandbox writes to the container's files goes.
//!
//! `none`, or `{root|all}:{memory|self|dir=PATH}[,size=SIZE]`, as gVisor has it. `self` and `dir=` keep the larger files in
//! unnamed files of the host, in the root file system's own directory or in another: they are no memory of the
//! sandbox's, and go with it.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::Access;

use crate::sandbox::config::{OverlayConfig, TreeConfig};

/// What is covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// Nothing.
    None,
    /// The root file system.
    Root,
    /// Bind mounts too.
    All,
}

/// Where writes go.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Medium {
    Memory,
    /// The directory that is covered.
    Own,
    Dir(PathBuf),
}

/// The flag's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Overlay {
    scope: Scope,
    medium: Medium,
    /// Most bytes.
    size: Option<u64>,
}

impl Overlay {
    pub(super) fn parse(text: &str) -> Result<Overlay> {
        let help =
            || format!("--overlay2={text} is neither none nor {{root|all}}:{{memory|self|dir=PATH}}[,size=SIZE]");
        if text == "none" {
            return Ok(Overlay { scope: Scope::None, medium: Medium::Memory, size: None });
        }
        let (scope, rest) = text.split_once(':').with_context(help)?;
        let scope = match scope {
            "root" => Scope::Root,
            "all" => Scope::All,
            _ => bail!(help()),
        };
        let (medium, size) = match rest.split_once(',') {
            Some((medium, option)) => (medium, Some(option.strip_prefix("size=").with_context(help)?)),
            None => (rest, None),
        };
        let medium = medium_of(medium).with_context(help)?;
        Ok(Overlay { scope, medium, size: size.map(|size| bytes(size).with_context(help)).transpose()? })
    }

    /// The same for the root file system with another medium, as an annotation has it (`dev.gvisor.spec.rootfs.overlay`).
    pub(super) fn with_medium(self, text: &str) -> Result<Overlay> {
        let medium =
            medium_of(text).with_context(|| format!("an overlay on {text:?}; use memory, self or dir=PATH"))?;
        let scope = if self.scope == Scope::None { Scope::Root } else { self.scope };
        Ok(Overlay { scope, medium, ..self })
    }

    /// What covers the root file system.
    pub(super) fn of_root(&self, rootfs: &Path, trees: &mut Vec<TreeConfig>) -> Result<Option<OverlayConfig>> {
        if self.scope == Scope::None { Ok(None) } else { self.cover(rootfs, trees).map(Some) }
    }

    /// What covers a root file system that can only be read: places for mounts are made in it, whatever the scope.
    pub(super) fn in_memory() -> OverlayConfig {
        OverlayConfig { store: None, size: None }
    }

    /// What covers a bind mount of a directory.
    pub(super) fn of_mount(&self, source: &Path, trees: &mut Vec<TreeConfig>) -> Result<Option<OverlayConfig>> {
        if self.scope == Scope::All && source.is_dir() { self.cover(source, trees).map(Some) } else { Ok(None) }
    }

    /// Tells whether bind mounts are covered, which single files can't be.
    pub(super) fn covers_mounts(&self) -> bool {
        self.scope == Scope::All
    }

    fn cover(&self, own: &Path, trees: &mut Vec<TreeConfig>) -> Result<OverlayConfig> {
        let writable = |dir: &Path| rustix::fs::access(dir, Access::WRITE_OK | Access::EXEC_OK);
        let dir = match &self.medium {
            Medium::Memory => None,
            Medium::Own => match writable(own) {
                Ok(()) => Some(own),
                Err(error) => {
                    tracing::warn!(dir = %own.display(), %error, "writes are kept in memory: the directory can't be written");
                    None
                }
            },
            Medium::Dir(dir) => {
                ensure!(dir.is_dir(), "--overlay2: {} is not a directory", dir.display());
                writable(dir).with_context(|| format!("--overlay2: writing to {}", dir.display()))?;
                Some(dir.as_path())
            }
        };
        let store = dir.map(|dir| {
            let id = u32::try_from(trees.len()).context("too many mounts")?;
            let path = super::mounts::utf8(dir.to_owned())?;
            trees.push(TreeConfig { store: true, ..TreeConfig::new(path, false) });
            anyhow::Ok(id)
        });
        Ok(OverlayConfig { store: store.transpose()?, size: self.size })
    }
}

fn medium_of(text: &str) -> Option<Medium> {
    match text {
        "memory" => Some(Medium::Memory),
        "self" => Some(Medium::Own),
        _ => text.strip_prefix("dir=").filter(|dir| dir.starts_with('/')).map(|dir| Medium::Dir(dir.into())),
    }
}

/// Parses a size with a unit, as gVisor and tmpfs have it.
fn bytes(text: &str) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" => 10,
        "m" | "mb" => 20,
        "g" | "gb" => 30,
        "t" | "tb" => 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift).filter(|size| *size > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_of_the_flag() {
        let overlay = |scope, medium, size| Overlay { scope, medium, size };
        for (text, expected) in [
            ("none", overlay(Scope::None, Medium::Memory, None)),
            ("root:memory", overlay(Scope::Root, Medium::Memory, None)),
            ("root:self,size=2g", overlay(Scope::Root, Medium::Own, Some(2 << 30))),
            ("all:dir=/tmp", overlay(Scope::All, Medium::Dir("/tmp".into()), None)),
        ] {
            assert_eq!(Overlay::parse(text).expect(text), expected);
        }
        for wrong in
            ["", "root", "root:", "root:disk", "some:memory", "root:memory,size=", "root:memory,x=1", "root:dir=rel"]
        {
            assert!(Overlay::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_can_not_be_written_is_covered_by_memory() {
        let mut trees = Vec::new();
        let own = Overlay::parse("root:self").expect("parses");
        assert_eq!(own.of_root(Path::new("/none/there"), &mut trees).expect("memory").map(|o| o.store), Some(None));
        assert!(own.of_mount(Path::new("/tmp"), &mut trees).expect("nothing").is_none());
        assert!(trees.is_empty());
        let elsewhere = Overlay::parse("all:dir=/none/there").expect("parses");
        assert!(elsewhere.of_root(Path::new("/"), &mut trees).is_err());
    }
}
