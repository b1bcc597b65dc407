//! Path walks: from text to a [`Path`] (`man 7 path_resolution`).

use std::borrow::Cow;
use std::sync::Arc;

use abi::Errno;
use abi::types::{NAME_MAX, PATH_MAX};
use bitflags::bitflags;
use sentry_fs::{FileKind, LinkTarget};

use super::perm::{self, Access};
use super::{Dentry, Mount, MountFlags, Path};
use crate::task::Cred;

/// Most symbolic links that one walk follows.
const MAX_LINKS: usize = 40;

bitflags! {
    /// How a path is walked.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct WalkFlags: u32 {
        /// Follow a symbolic link that is the last component.
        const FOLLOW = 1;
        /// The end must be a directory.
        const DIRECTORY = 2;
        /// An empty path means the start itself (`AT_EMPTY_PATH`).
        const EMPTY = 4;
        /// `RESOLVE_NO_XDEV`.
        const NO_XDEV = 8;
        /// `RESOLVE_NO_MAGICLINKS`.
        const NO_MAGICLINKS = 16;
        /// `RESOLVE_NO_SYMLINKS`.
        const NO_SYMLINKS = 32;
        /// `RESOLVE_BENEATH`.
        const BENEATH = 64;
        /// `RESOLVE_IN_ROOT`.
        const IN_ROOT = 128;
    }
}

/// Who walks.
#[derive(Clone, Copy)]
pub struct Walker<'a> {
    /// Where `/` leads.
    pub root: &'a Path,
    /// With whose rights.
    pub cred: &'a Cred,
}

/// What a path names last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Last {
    /// An entry of the directory reached; `slash` tells that the path ends with one.
    Name {
        /// The component.
        name: Vec<u8>,
        /// A slash follows.
        slash: bool,
    },
    /// `.`, or nothing but slashes: the directory reached itself.
    Dot,
    /// `..`: the directory reached is already the parent.
    DotDot,
    /// `/`.
    Root,
}

/// A directory and what a path names in it.
#[derive(Clone, Debug)]
pub struct Parent {
    /// The directory.
    pub dir: Path,
    /// The last component.
    pub last: Last,
}

/// Walks to the end of a path. `base` is where a relative one starts.
pub fn resolve(walker: &Walker<'_>, base: &Path, path: &[u8], flags: WalkFlags) -> Result<Path, Errno> {
    Walk::start(walker, base, path, flags)?.walk_to_end()
}

/// Walks to the directory of a path's last component, which isn't looked up.
pub fn resolve_parent(walker: &Walker<'_>, base: &Path, path: &[u8], flags: WalkFlags) -> Result<Parent, Errno> {
    let mut walk = Walk::start(walker, base, path, flags - WalkFlags::EMPTY)?;
    walk.walk_to_parent()
}

/// A walk under way.
pub(super) struct Walk<'a> {
    walker: Walker<'a>,
    flags: WalkFlags,
    /// Where `..` stops: the walker's root, or the start with `IN_ROOT` and `BENEATH`.
    root: &'a Path,
    /// Where the walk is: here, but for what has been replaced since. Most walks stay in one mount, and none needs
    /// references of its own to where it starts.
    from: &'a Path,
    mount: Option<Arc<Mount>>,
    dentry: Option<Arc<Dentry>>,
    text: Cow<'a, [u8]>,
    pos: usize,
    links: usize,
    last: Last,
}

impl<'a> Walk<'a> {
    pub(super) fn start(
        walker: &Walker<'a>,
        base: &'a Path,
        path: &'a [u8],
        flags: WalkFlags,
    ) -> Result<Walk<'a>, Errno> {
        if path.len() >= PATH_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        if path.is_empty() && !flags.contains(WalkFlags::EMPTY) {
            return Err(Errno::ENOENT);
        }
        let scoped = flags.intersects(WalkFlags::BENEATH | WalkFlags::IN_ROOT);
        let root = if scoped { base } else { walker.root };
        let mut from = base;
        if path.first() == Some(&b'/') {
            if flags.contains(WalkFlags::BENEATH) {
                return Err(Errno::EXDEV);
            }
            from = root;
            if flags.contains(WalkFlags::NO_XDEV) && !Arc::ptr_eq(&from.mount, &base.mount) {
                return Err(Errno::EXDEV);
            }
        } else if !path.is_empty() && !from.dentry.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        let last = if path.first() == Some(&b'/') { Last::Root } else { Last::Dot };
        let text = Cow::Borrowed(path);
        Ok(Walk { walker: *walker, flags, root, from, mount: None, dentry: None, text, pos: 0, links: 0, last })
    }

    fn mount(&self) -> &Arc<Mount> {
        self.mount.as_ref().unwrap_or(&self.from.mount)
    }

    fn dentry(&self) -> &Arc<Dentry> {
        self.dentry.as_ref().unwrap_or(&self.from.dentry)
    }

    /// Returns where the walk is.
    pub(super) fn place(&self) -> Path {
        Path { mount: Arc::clone(self.mount()), dentry: Arc::clone(self.dentry()) }
    }

    fn into_place(self) -> Path {
        let mount = self.mount.unwrap_or_else(|| Arc::clone(&self.from.mount));
        let dentry = self.dentry.unwrap_or_else(|| Arc::clone(&self.from.dentry));
        Path { mount, dentry }
    }

    fn go_to(&mut self, place: Path) {
        self.mount = Some(place.mount);
        self.dentry = Some(place.dentry);
    }

    /// Returns the next component as a range of the text, and whether it is the last.
    fn next(&mut self) -> Option<(usize, usize, bool)> {
        let text = &self.text;
        while text.get(self.pos) == Some(&b'/') {
            self.pos += 1;
        }
        let start = self.pos;
        let end = text[start..].iter().position(|byte| *byte == b'/').map_or(text.len(), |at| start + at);
        if start == end {
            return None;
        }
        self.pos = end;
        let last = text[end..].iter().all(|byte| *byte == b'/');
        Some((start, end, last))
    }

    fn enter_dir(&self) -> Result<(), Errno> {
        let dentry = self.dentry();
        if !dentry.is_dir() {
            return Err(Errno::ENOTDIR);
        }
        if dentry.inode.searchable_by_all() {
            return Ok(());
        }
        perm::check_owner(self.walker.cred, dentry.kind, &dentry.inode.owner()?, Access::EXEC)
    }

    /// Walks the rest, following the last component as the flags say.
    fn walk_to_end(mut self) -> Result<Path, Errno> {
        while let Some((start, end, last)) = self.next() {
            if self.dots(start, end)? {
                continue;
            }
            let slash = last && end < self.text.len();
            let child = self.lookup(start, end)?;
            if child.kind == FileKind::Symlink && (!last || slash || self.flags.contains(WalkFlags::FOLLOW)) {
                self.follow(&child, end)?;
                continue;
            }
            self.step(child)?;
            if (!last || slash) && !self.dentry().is_dir() {
                return Err(Errno::ENOTDIR);
            }
        }
        if self.flags.contains(WalkFlags::DIRECTORY) && !self.dentry().is_dir() {
            return Err(Errno::ENOTDIR);
        }
        Ok(self.into_place())
    }

    /// Walks up to the last component.
    pub(super) fn walk_to_parent(&mut self) -> Result<Parent, Errno> {
        loop {
            let Some((start, end, last)) = self.next() else {
                return Ok(Parent { dir: self.place(), last: self.last.clone() });
            };
            if self.dots(start, end)? {
                continue;
            }
            if last {
                self.enter_dir()?;
                if end - start > NAME_MAX {
                    return Err(Errno::ENAMETOOLONG);
                }
                let name = self.text[start..end].to_vec();
                let slash = end < self.text.len();
                return Ok(Parent { dir: self.place(), last: Last::Name { name, slash } });
            }
            let child = self.lookup(start, end)?;
            if child.kind == FileKind::Symlink {
                self.follow(&child, end)?;
                continue;
            }
            self.step(child)?;
            if !self.dentry().is_dir() {
                return Err(Errno::ENOTDIR);
            }
        }
    }

    /// Goes on from the last component, which [`Walk::walk_to_parent`] has found to be this symbolic link.
    pub(super) fn follow_last(&mut self, link: &Arc<Dentry>) -> Result<(), Errno> {
        let end = self.pos;
        self.follow(link, end)
    }

    /// Tells whether no component is left.
    pub(super) fn is_over(&self) -> bool {
        self.text[self.pos..].iter().all(|byte| *byte == b'/') && self.last == Last::Dot && self.text.is_empty()
    }

    /// Deals with `.` and `..`.
    fn dots(&mut self, start: usize, end: usize) -> Result<bool, Errno> {
        match &self.text[start..end] {
            b"." => {
                self.enter_dir()?;
                self.last = Last::Dot;
                Ok(true)
            }
            b".." => {
                self.enter_dir()?;
                self.up()?;
                self.last = Last::DotDot;
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn up(&mut self) -> Result<(), Errno> {
        let at = self.place();
        if self.flags.contains(WalkFlags::BENEATH) && at.same(self.root) {
            return Err(Errno::EXDEV);
        }
        let next = at.up(self.root);
        if self.flags.contains(WalkFlags::NO_XDEV) && !Arc::ptr_eq(&next.mount, self.mount()) {
            return Err(Errno::EXDEV);
        }
        self.go_to(next);
        Ok(())
    }

    fn lookup(&mut self, start: usize, end: usize) -> Result<Arc<Dentry>, Errno> {
        self.enter_dir()?;
        if end - start > NAME_MAX {
            return Err(Errno::ENAMETOOLONG);
        }
        self.dentry().lookup(&self.text[start..end])
    }

    /// Goes to a child, and into what is mounted there.
    pub(super) fn step(&mut self, child: Arc<Dentry>) -> Result<(), Errno> {
        if !child.is_mount_point() {
            self.dentry = Some(child);
            return Ok(());
        }
        let next = Path { mount: Arc::clone(self.mount()), dentry: child }.cross();
        if self.flags.contains(WalkFlags::NO_XDEV) && !Arc::ptr_eq(&next.mount, self.mount()) {
            return Err(Errno::EXDEV);
        }
        self.go_to(next);
        Ok(())
    }

    /// Replaces the part of the text up to `end` by what a link points to.
    fn follow(&mut self, link: &Arc<Dentry>, end: usize) -> Result<(), Errno> {
        self.links += 1;
        if self.links > MAX_LINKS || self.flags.contains(WalkFlags::NO_SYMLINKS) {
            return Err(Errno::ELOOP);
        }
        if self.mount().flags().contains(MountFlags::NOSYMFOLLOW) {
            return Err(Errno::ELOOP);
        }
        match link.inode.follow()? {
            LinkTarget::Path(target) => self.splice(&target, end),
            LinkTarget::Object(object) => {
                if self.flags.contains(WalkFlags::NO_MAGICLINKS) {
                    return Err(Errno::ELOOP);
                }
                if self.flags.intersects(WalkFlags::BENEATH | WalkFlags::IN_ROOT) {
                    return Err(Errno::EXDEV);
                }
                let path = object.downcast::<Path>().map_err(|_| Errno::ENOENT)?;
                if self.flags.contains(WalkFlags::NO_XDEV) && !Arc::ptr_eq(&path.mount, self.mount()) {
                    return Err(Errno::EXDEV);
                }
                let more = end < self.text.len();
                self.go_to(*path);
                self.text = Cow::Owned(self.text[end..].to_vec());
                self.pos = 0;
                self.last = Last::Dot;
                if more && !self.dentry().is_dir() { Err(Errno::ENOTDIR) } else { Ok(()) }
            }
        }
    }

    fn splice(&mut self, target: &[u8], end: usize) -> Result<(), Errno> {
        if target.is_empty() {
            return Err(Errno::ENOENT);
        }
        if target.first() == Some(&b'/') {
            if self.flags.contains(WalkFlags::BENEATH) {
                return Err(Errno::EXDEV);
            }
            if self.flags.contains(WalkFlags::NO_XDEV) && !Arc::ptr_eq(&self.root.mount, self.mount()) {
                return Err(Errno::EXDEV);
            }
            self.from = self.root;
            self.mount = None;
            self.dentry = None;
            self.last = Last::Root;
        } else {
            self.last = Last::Dot;
        }
        let mut text = target.to_vec();
        text.extend_from_slice(&self.text[end..]);
        self.text = Cow::Owned(text);
        self.pos = 0;
        Ok(())
    }
}
