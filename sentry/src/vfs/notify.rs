//! Reports to inotify. Costs one load per event while nothing of the file system is watched.

use std::sync::Arc;

use sentry_fs::inotify::InMask;

use super::{Dentry, File};

fn with_dir(dentry: &Dentry, event: InMask) -> InMask {
    if dentry.is_dir() { event | InMask::ISDIR } else { event }
}

/// Reports what happened to an inode: to those who watch it and those who watch its directory.
pub fn event(dentry: &Dentry, event: InMask) {
    if !dentry.sb.is_watched() {
        return;
    }
    let what = with_dir(dentry, event);
    if let Some(parent) = dentry.parent()
        && let Some(watches) = dentry.sb.watches_of(&parent.inode)
    {
        watches.notify(what, 0, Some(&dentry.name()), dentry.is_unlinked());
    }
    if let Some(watches) = dentry.sb.watches_of(&dentry.inode) {
        watches.notify(what, 0, None, dentry.is_unlinked());
    }
}

/// Reports what happened to the inode behind an open file.
pub fn file_event(file: &File, what: InMask) {
    if let Some(path) = &file.path
        && path.dentry.sb.is_watched()
    {
        event(&path.dentry, what);
    }
}

/// Reports what happened to a name in a directory.
pub fn name_event(dir: &Dentry, name: &[u8], is_dir: bool, what: InMask, cookie: u32) {
    if let Some(watches) = dir.sb.watches_of(&dir.inode) {
        let what = if is_dir { what | InMask::ISDIR } else { what };
        watches.notify(what, cookie, Some(name), false);
    }
}

/// Reports something to those who watch the inode itself only.
pub fn self_event(dentry: &Dentry, what: InMask) {
    if let Some(watches) = dentry.sb.watches_of(&dentry.inode) {
        watches.notify(what, 0, None, false);
    }
}

/// Reports that nobody uses a dentry without name any more: if the inode has no other name either it is gone.
pub(super) fn gone(dentry: &Dentry) {
    let Some(watches) = dentry.sb.watches_of(&dentry.inode) else { return };
    let linked = dentry.inode.attr().is_ok_and(|attr| attr.nlink > 0 && !dentry.is_dir());
    if !linked {
        watches.deleted();
        dentry.sb.forget_watches(&dentry.inode);
    }
}

/// Reports that a dentry has been removed from its directory.
pub(super) fn removed(dir: &Arc<Dentry>, dentry: &Dentry) {
    if !dir.sb.is_watched() {
        return;
    }
    if !dentry.is_dir() {
        self_event(dentry, InMask::ATTRIB);
    }
    name_event(dir, &dentry.name(), dentry.is_dir(), InMask::DELETE, 0);
}
