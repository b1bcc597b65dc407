//! The requests, one file per family.

mod attr;
mod create;
mod dir;
mod memory;
mod name;
mod open;
mod socket;
mod walk;
mod xattr;

use std::os::fd::OwnedFd;

use abi::Errno;
use gofer_proto::{DirItem, Entry, Handle, Hello, Reply, Request, VERSION, Walked, WireAttr, WireStatfs, Writer};

use crate::server::Server;
pub(crate) use dir::Listing;
pub(crate) use memory::MemoryFiles;

/// A request's success.
pub(crate) enum Answer {
    Done,
    Fd(OwnedFd),
    Hello(Hello),
    Changed([Handle; 2]),
    Walked(Walked),
    Entry(Entry),
    EntryFd(Entry, OwnedFd),
    Attr(WireAttr),
    Bytes(Vec<u8>),
    Dir(Listing),
    StatFs(WireStatfs),
}

/// What a request comes to.
pub(crate) type Outcome = Result<Answer, Errno>;

impl Answer {
    /// Writes the reply; returns the descriptor that goes with it.
    pub(crate) fn encode(self, id: u32, out: &mut Writer) -> Option<OwnedFd> {
        let (reply, fd) = match self {
            Answer::Done => (Reply::Done, None),
            Answer::Fd(fd) => (Reply::Done, Some(fd)),
            Answer::Changed(handles) => (Reply::Changed(handles), None),
            Answer::Hello(hello) => (Reply::Hello(hello), None),
            Answer::Walked(walked) => (Reply::Walked(walked), None),
            Answer::Entry(entry) => (Reply::Entry(entry), None),
            Answer::EntryFd(entry, fd) => (Reply::Entry(entry), Some(fd)),
            Answer::Attr(attr) => (Reply::Attr(attr), None),
            Answer::StatFs(figures) => (Reply::StatFs(figures), None),
            Answer::Bytes(bytes) => {
                Reply::Bytes(&bytes).encode(id, out);
                return None;
            }
            Answer::Dir(listing) => {
                let items: Vec<DirItem<'_>> = listing.items().collect();
                Reply::Dir { items, next: listing.next }.encode(id, out);
                return None;
            }
        };
        reply.encode(id, out);
        fd
    }
}

impl Server {
    /// Does what a request asks; `given` is the descriptor that has come with it.
    pub(crate) fn perform(&self, request: Request<'_>, given: Option<OwnedFd>) -> Outcome {
        match request {
            Request::Hello { version: VERSION } => self.hello(),
            Request::Hello { .. } => Err(Errno::EPROTO),
            Request::Walk { from, names } => self.walk(from, &names.0),
            Request::Children { dir, names } => self.children(dir, &names.0),
            Request::GetAttr { node } => self.get_attr(node),
            Request::SetAttr { node, set } => self.set_attr(node, &set),
            Request::Open { node, access } => self.open(node, access),
            Request::Create { dir, name, new } => self.create(dir, name, &new),
            Request::Mkdir { dir, name, new } => self.mkdir(dir, name, &new),
            Request::Symlink { dir, name, target, new } => self.symlink(dir, name, target, &new),
            Request::Mknod { dir, name, new } => self.mknod(dir, name, &new),
            Request::Tmpfile { dir, new } => self.tmpfile(dir, &new),
            Request::Link { node, dir, name } => self.link(node, dir, name),
            Request::Unlink { dir, name } => self.remove(dir, name, false),
            Request::Rmdir { dir, name } => self.remove(dir, name, true),
            Request::Rename { dir, name, new_dir, new_name, flags } => {
                self.rename((dir, name), (new_dir, new_name), flags)
            }
            Request::Readlink { node } => self.readlink(node),
            Request::ReadDir { node, cookie } => self.read_dir(node, cookie),
            Request::StatFs { node } => self.statfs(node),
            Request::GetXattr { node, name } => self.get_xattr(node, name),
            Request::SetXattr { node, name, value, flags } => self.set_xattr(node, name, value, flags),
            Request::RemoveXattr { node, name } => self.remove_xattr(node, name),
            Request::ListXattr { node } => self.list_xattr(node),
            Request::Sync { node } => self.sync(node),
            Request::SyncFs { node } => self.sync_fs(node),
            Request::MemoryFile => self.memory_file(&given.ok_or(Errno::EBADF)?),
            Request::Connect { node, kind } => self.connect(node, kind, given),
            Request::SendTo { node, data } => self.send_to(node, data, &given.ok_or(Errno::EBADF)?),
            Request::Bind { dir, name, new, kind } => self.bind(dir, name, &new, kind),
            Request::Forget { .. } => Err(Errno::EINVAL),
        }
    }
}
