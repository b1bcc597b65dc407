//! Directory listings.

use std::mem::MaybeUninit;
use std::ops::Range;
use std::os::fd::AsFd;

use abi::Errno;
use abi::types::mode;
use gofer_proto::{DirItem, Handle, Reply, check_name};
use rustix::fs::{FileType, OFlags, RawDir, SeekFrom};

use super::{Answer, Outcome};
use crate::host::errno;
use crate::policy;
use crate::server::{Server, TreeFlags};

/// Part of a directory's listing.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    names: Vec<u8>,
    entries: Vec<(u64, u8, Range<usize>)>,
    /// Where the next part begins; 0 at the end.
    pub(crate) next: u64,
}

impl Listing {
    /// Returns the entries.
    pub(crate) fn items(&self) -> impl Iterator<Item = DirItem<'_>> {
        self.entries.iter().map(|(ino, kind, range)| DirItem {
            ino: *ino,
            kind: *kind,
            name: self.names.get(range.clone()).unwrap_or_default(),
        })
    }
}

/// Bytes of entries in one reply, and of the host's entries read at a time (which are never smaller).
const PART: usize = 32 * 1024;

impl Server {
    /// Lists a directory from a position that the host gave out earlier. Stateless: the directory is opened anew.
    pub(super) fn read_dir(&self, node: Handle, cookie: u64) -> Outcome {
        let node = self.nodes.get(node)?;
        if !policy::is_dir(node.kind()) {
            return Err(Errno::ENOTDIR);
        }
        if node.sealed() || self.flags(&node).contains(TreeFlags::STORE) {
            return Ok(Answer::Dir(Listing::default()));
        }
        let fd = self.nodes.fd(&node)?;
        let dir = self.proc_fds.reopen(fd.as_fd(), OFlags::RDONLY | OFlags::DIRECTORY)?;
        if cookie != 0 {
            // A position that the host doesn't know is the host's to refuse.
            rustix::fs::seek(&dir, SeekFrom::Start(cookie)).map_err(errno)?;
        }
        let mut buf = vec![MaybeUninit::uninit(); PART];
        let mut entries = RawDir::new(dir, &mut buf);
        let mut listing = Listing::default();
        let mut size = 0;
        loop {
            let Some(entry) = entries.next() else {
                listing.next = 0;
                return Ok(Answer::Dir(listing));
            };
            let entry = entry.map_err(errno)?;
            let name = entry.file_name().to_bytes();
            if check_name(name).is_ok() {
                size += Reply::dir_item_size(name);
                let start = listing.names.len();
                listing.names.extend_from_slice(name);
                listing.entries.push((entry.ino(), dirent_type(entry.file_type()), start..listing.names.len()));
            }
            listing.next = entry.next_entry_cookie();
            // 0 would mean the end: the host's positions of further entries aren't 0.
            if size >= PART && listing.next != 0 {
                return Ok(Answer::Dir(listing));
            }
        }
    }
}

fn dirent_type(kind: FileType) -> u8 {
    let bits = match kind {
        FileType::RegularFile => mode::IFREG,
        FileType::Directory => mode::IFDIR,
        FileType::Symlink => mode::IFLNK,
        FileType::Fifo => mode::IFIFO,
        FileType::Socket => mode::IFSOCK,
        FileType::CharacterDevice => mode::IFCHR,
        FileType::BlockDevice => mode::IFBLK,
        FileType::Unknown => 0,
    };
    u8::try_from(bits >> 12).unwrap_or(0)
}
