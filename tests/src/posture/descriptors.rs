//! The open descriptors of a process, each of which must belong to a row.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{OFlags, makedev};

use super::Setting;
use super::table::{Descriptor, Rule, Sort};

/// A descriptor as `/proc` shows it.
struct Open {
    number: String,
    /// What the link says.
    target: String,
    flags: OFlags,
    meta: fs::Metadata,
}

impl Open {
    fn read(id: u32, path: &Path) -> Option<Open> {
        let number = path.file_name()?.to_string_lossy().into_owned();
        let info = fs::read_to_string(format!("/proc/{id}/fdinfo/{number}")).ok()?;
        let flags = info.lines().find_map(|l| l.strip_prefix("flags:"))?.trim().to_owned();
        let flags = OFlags::from_bits_retain(u32::from_str_radix(&flags, 8).ok()?);
        let target = fs::read_link(path).ok()?.to_string_lossy().into_owned();
        Some(Open { number, target, flags, meta: fs::metadata(path).ok()? })
    }

    /// Tells whether it is in a list of sockets, without a name: that would be the last field.
    fn listed(&self, sockets: &str) -> bool {
        let inode = self.meta.ino().to_string();
        sockets.lines().any(|line| line.split_whitespace().last() == Some(&inode))
    }

    fn is_path(&self) -> bool {
        self.flags.contains(OFlags::PATH)
    }

    fn access(&self) -> OFlags {
        self.flags & OFlags::RWMODE
    }

    fn is(&self, sort: Sort, sockets: &str) -> bool {
        let kind = self.meta.file_type();
        // How the gofer's root shows a tree.
        let in_tree = || self.target[1..].split('/').next().is_some_and(|first| first.parse::<u32>().is_ok());
        let in_tree = || self.target.starts_with('/') && in_tree();
        match sort {
            Sort::Null => kind.is_char_device() && self.meta.rdev() == makedev(1, 3) && !self.is_path(),
            Sort::Fuse => kind.is_char_device() && self.meta.rdev() == makedev(10, 229) && !self.is_path(),
            Sort::PipeOut => kind.is_fifo() && self.target.starts_with("pipe:[") && self.access() == OFlags::WRONLY,
            Sort::UnixSocket => kind.is_socket() && self.listed(sockets),
            Sort::OtherSocket => kind.is_socket() && !self.listed(sockets),
            Sort::NetFile => {
                let mut parts = self.target.trim_start_matches("/proc").split('/').skip(1);
                let place = (parts.next().is_some_and(|id| id.parse::<u32>().is_ok()), parts.next());
                kind.is_file() && self.access() == OFlags::RDONLY && place == (true, Some("net"))
            }
            Sort::MemoryFigure => {
                let figures = ["memory.usage_in_bytes", "memory.limit_in_bytes", "memory.current", "memory.max"];
                let figure = Path::new(&self.target).file_name().and_then(|name| name.to_str());
                let read_only = kind.is_file() && self.access() == OFlags::RDONLY;
                read_only && self.meta.dev() != 0 && figure.is_some_and(|name| figures.contains(&name))
            }
            Sort::Anon(name) => self.target == format!("anon_inode:{name}"),
            Sort::Memory(name) => kind.is_file() && self.target == format!("/memfd:{name} (deleted)"),
            Sort::FileForReading => kind.is_file() && self.access() == OFlags::RDONLY && !self.is_path() && in_tree(),
            Sort::PathInTree => self.is_path() && in_tree(),
            Sort::Directory(place) => self.is_path() && kind.is_dir() && self.target == place,
        }
    }
}

/// What is open and shouldn't be, or the other way round.
pub(super) fn violations(id: u32, rule: &Rule, setting: Setting<'_>) -> Vec<String> {
    let Ok(entries) = fs::read_dir(format!("/proc/{id}/fd")) else { return vec!["descriptors unreadable".to_owned()] };
    let paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    let sockets = fs::read_to_string("/proc/net/unix").unwrap_or_default();
    let rows: Vec<&Descriptor> = rule.descriptors.iter().filter(|row| row.applies(setting)).collect();
    let mut counts = vec![0; rows.len()];
    let mut found = Vec::new();
    // One that is closed meanwhile can't be read.
    for open in paths.iter().filter_map(|path| Open::read(id, path)) {
        match rows.iter().position(|row| open.is(row.sort, &sockets)) {
            Some(row) => counts[row] += 1,
            None => found.push(format!("descriptor {} is {} ({:?})", open.number, open.target, open.flags)),
        }
    }
    for (row, count) in rows.iter().zip(counts) {
        if !(row.least..=row.most).contains(&count) {
            found.push(format!("{count} descriptors are {:?}, not {} to {}", row.sort, row.least, row.most));
        }
    }
    found
}
