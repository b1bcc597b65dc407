//! Files that are made up when they are looked at: what `proc` and `sys` are built of.
//!
//! A tree of [`Node`]s: directories that list and find their entries, files whose text is rendered when it is read from the
//! start, links. [`SynthFs`] turns a root node into a file system. Inode numbers follow from the path.

mod file;

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use abi::flags::OpenFlags;
use abi::time::Timespec;
use abi::types::Statfs;
use abi::{Errno, PAGE_SIZE};

use crate::{
    Attr, CachePolicy, Changes, DeviceId, FileKind, FileOps, FileSystem, Inode, InodeRef, LinkTarget, SetAttr,
    anon_dev, host,
};
use file::{Listing, TextFile};

/// What a rendering closure returns.
pub(crate) type Text = Result<Vec<u8>, Errno>;
type Render = Arc<dyn Fn() -> Text + Send + Sync>;
type Store = Arc<dyn Fn(&[u8]) -> Result<(), Errno> + Send + Sync>;
type Opener = Arc<dyn Fn(OpenFlags) -> Result<Arc<dyn FileOps>, Errno> + Send + Sync>;
type Guard = Arc<dyn Fn() -> Result<(), Errno> + Send + Sync>;
type Watched = Arc<dyn Fn() -> Option<Arc<Changes>> + Send + Sync>;
type Follow = Arc<dyn Fn() -> Result<LinkTarget, Errno> + Send + Sync>;

/// One entry of a listing.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    /// Where it stands: at least 2, ascending; kept by this entry as long as it is there.
    pub(crate) pos: u64,
    pub(crate) name: String,
    pub(crate) kind: FileKind,
}

/// A directory of made-up entries.
pub(crate) trait Dir: Send + Sync {
    /// Finds an entry.
    fn lookup(&self, name: &[u8]) -> Result<Node, Errno>;

    /// Lists the entries from a position on, without `.` and `..`.
    fn list(&self, from: u64) -> Result<Vec<Listed>, Errno>;

    /// Checks that the directory may be opened or searched beyond its mode bits.
    fn check(&self) -> Result<(), Errno> {
        Ok(())
    }
}

#[derive(Clone, Default)]
struct FileBody {
    render: Option<Render>,
    store: Option<Store>,
    opener: Option<Opener>,
    guard: Option<Guard>,
    watched: Option<Watched>,
}

#[derive(Clone)]
enum Body {
    Dir(Arc<dyn Dir>),
    File(FileBody),
    Link { read: Render, follow: Option<Follow> },
}

/// A made-up file, directory or link.
#[derive(Clone)]
pub(crate) struct Node {
    body: Body,
    perm: u32,
    owner: (u32, u32),
}

impl Node {
    /// A directory.
    pub(crate) fn dir(perm: u32, dir: impl Dir + 'static) -> Node {
        Node { body: Body::Dir(Arc::new(dir)), perm, owner: (0, 0) }
    }

    /// A file with a rendered text.
    pub(crate) fn file(perm: u32, render: impl Fn() -> Text + Send + Sync + 'static) -> Node {
        let body = FileBody { render: Some(Arc::new(render)), ..FileBody::default() };
        Node { body: Body::File(body), perm, owner: (0, 0) }
    }

    /// A file whose text never changes.
    pub(crate) fn fixed(perm: u32, text: impl Into<Vec<u8>>) -> Node {
        let text = text.into();
        Node::file(perm, move || Ok(text.clone()))
    }

    /// A file that opens in its own way.
    pub(crate) fn special(
        perm: u32,
        opener: impl Fn(OpenFlags) -> Result<Arc<dyn FileOps>, Errno> + Send + Sync + 'static,
    ) -> Node {
        let body = FileBody { opener: Some(Arc::new(opener)), ..FileBody::default() };
        Node { body: Body::File(body), perm, owner: (0, 0) }
    }

    /// A symbolic link.
    pub(crate) fn link(read: impl Fn() -> Text + Send + Sync + 'static) -> Node {
        let body = Body::Link { read: Arc::new(read), follow: None };
        Node { body, perm: 0o777, owner: (0, 0) }
    }

    /// Makes a file accept writes: each is handed over as a whole.
    pub(crate) fn stored(mut self, work: impl Fn(&[u8]) -> Result<(), Errno> + Send + Sync + 'static) -> Node {
        if let Body::File(body) = &mut self.body {
            body.store = Some(Arc::new(work));
        }
        self
    }

    /// Checks more than the mode bits when the file is opened.
    pub(crate) fn guarded(mut self, check: impl Fn() -> Result<(), Errno> + Send + Sync + 'static) -> Node {
        if let Body::File(body) = &mut self.body {
            body.guard = Some(Arc::new(check));
        }
        self
    }

    /// Has `poll(2)` tell of changes of what the file shows, if there is something that counts them.
    pub(crate) fn watched(mut self, find: impl Fn() -> Option<Arc<Changes>> + Send + Sync + 'static) -> Node {
        if let Body::File(body) = &mut self.body {
            body.watched = Some(Arc::new(find));
        }
        self
    }

    /// Makes a link magic: it leads to an object, whatever its text says.
    pub(crate) fn followed(
        mut self,
        perm: u32,
        work: impl Fn() -> Result<LinkTarget, Errno> + Send + Sync + 'static,
    ) -> Node {
        if let Body::Link { follow, .. } = &mut self.body {
            *follow = Some(Arc::new(work));
        }
        self.perm = perm;
        self
    }

    /// Says who owns it.
    pub(crate) fn owned(mut self, owner: (u32, u32)) -> Node {
        self.owner = owner;
        self
    }

    /// Sets the mode bits.
    pub(crate) fn with_perm(mut self, perm: u32) -> Node {
        self.perm = perm;
        self
    }

    pub(crate) fn kind(&self) -> FileKind {
        match self.body {
            Body::Dir(_) => FileKind::Directory,
            Body::File(_) => FileKind::Regular,
            Body::Link { .. } => FileKind::Symlink,
        }
    }
}

/// Entries by their paths, from which fixed directories are made.
#[derive(Default)]
pub(crate) struct StaticDir {
    entries: BTreeMap<String, Node>,
}

impl StaticDir {
    /// Adds an entry at a path of one or more components.
    pub(crate) fn add(&mut self, path: &str, node: Node) {
        self.entries.insert(path.to_owned(), node);
    }

    /// Makes the directories.
    pub(crate) fn into_node(self) -> Node {
        let mut files = BTreeMap::new();
        let mut below: BTreeMap<String, StaticDir> = BTreeMap::new();
        for (path, node) in self.entries {
            match path.split_once('/') {
                Some((first, rest)) => {
                    below.entry(first.to_owned()).or_default().entries.insert(rest.to_owned(), node);
                }
                None => {
                    files.insert(path, node);
                }
            }
        }
        files.extend(below.into_iter().map(|(name, dir)| (name, dir.into_node())));
        Node::dir(0o555, Tree { files })
    }
}

struct Tree {
    files: BTreeMap<String, Node>,
}

impl Dir for Tree {
    fn lookup(&self, name: &[u8]) -> Result<Node, Errno> {
        let name = std::str::from_utf8(name).map_err(|_| Errno::ENOENT)?;
        self.files.get(name).cloned().ok_or(Errno::ENOENT)
    }

    fn list(&self, from: u64) -> Result<Vec<Listed>, Errno> {
        let listed =
            (2..).zip(&self.files).map(|(pos, (name, node))| Listed { pos, name: name.clone(), kind: node.kind() });
        Ok(listed.filter(|entry| entry.pos >= from).collect())
    }
}

/// What all inodes of one file system share.
struct Shared {
    kind: &'static str,
    magic: i64,
    dev: DeviceId,
    made: Timespec,
    root: Node,
}

/// A file system of made-up files.
pub(crate) struct SynthFs(Arc<Shared>);

const ROOT_INO: u64 = 1;

impl SynthFs {
    pub(crate) fn new(kind: &'static str, magic: i64, root: Node) -> SynthFs {
        SynthFs(Arc::new(Shared { kind, magic, dev: anon_dev::next_anon_device(), made: host::now(), root }))
    }
}

impl FileSystem for SynthFs {
    fn kind(&self) -> &'static str {
        self.0.kind
    }

    fn root(&self) -> InodeRef {
        Arc::new(SynthInode { fs: Arc::clone(&self.0), ino: ROOT_INO, parent: ROOT_INO, node: self.0.root.clone() })
    }

    fn statfs(&self) -> Result<Statfs, Errno> {
        let size = PAGE_SIZE.cast_signed();
        Ok(Statfs { kind: self.0.magic, bsize: size, frsize: size, namelen: 255, ..Statfs::default() })
    }

    fn cache_policy(&self) -> CachePolicy {
        CachePolicy::Never
    }
}

/// Derives an inode number from the directory's and the name (FNV-1a), so that it is the same at each lookup.
fn child_ino(parent: u64, name: &[u8]) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325 ^ parent.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let hash = name.iter().fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
    // In the range that Linux uses for such inodes, clear of the root.
    0xf000_0000 + (hash >> 20) % 0x0fff_ffff
}

struct SynthInode {
    fs: Arc<Shared>,
    ino: u64,
    parent: u64,
    node: Node,
}

impl SynthInode {
    fn dir(&self) -> Result<&Arc<dyn Dir>, Errno> {
        match &self.node.body {
            Body::Dir(dir) => Ok(dir),
            _ => Err(Errno::ENOTDIR),
        }
    }
}

impl Inode for SynthInode {
    fn attr(&self) -> Result<Attr, Errno> {
        let kind = self.node.kind();
        Ok(Attr {
            dev: self.fs.dev,
            ino: self.ino,
            kind,
            perm: self.node.perm,
            nlink: if kind == FileKind::Directory { 2 } else { 1 },
            uid: self.node.owner.0,
            gid: self.node.owner.1,
            rdev: DeviceId::default(),
            size: match kind {
                FileKind::Regular if self.fs.kind == "sysfs" => PAGE_SIZE,
                // As Linux shows the links of `/proc/PID/fd`.
                FileKind::Symlink if self.node.perm != 0o777 => 64,
                _ => 0,
            },
            blksize: if self.fs.kind == "sysfs" { 4096 } else { 1024 },
            blocks: 0,
            atime: self.fs.made,
            mtime: self.fs.made,
            ctime: self.fs.made,
            btime: None,
        })
    }

    /// Truncation for writing means nothing here; mode and owner are what they are.
    fn set_attr(&self, set: &SetAttr) -> Result<(), Errno> {
        let fixed = set.perm.is_some_and(|perm| perm != self.node.perm)
            || set.uid.is_some_and(|uid| uid != self.node.owner.0)
            || set.gid.is_some_and(|gid| gid != self.node.owner.1);
        if fixed { Err(Errno::EPERM) } else { Ok(()) }
    }

    fn open(self: Arc<Self>, flags: OpenFlags) -> Result<Arc<dyn FileOps>, Errno> {
        match &self.node.body {
            Body::Dir(dir) => {
                dir.check()?;
                Ok(Arc::new(Listing { dir: Arc::clone(dir), ino: self.ino, parent: self.parent }))
            }
            Body::File(FileBody { render, store, opener, guard, watched }) => {
                guard.as_ref().map_or(Ok(()), |guard| guard())?;
                match opener {
                    Some(opener) => opener(flags),
                    None => {
                        let watch = watched.as_ref().and_then(|find| find()).map(Changes::watch);
                        Ok(Arc::new(TextFile::new(render.clone(), store.clone(), watch)))
                    }
                }
            }
            Body::Link { .. } => Err(Errno::ELOOP),
        }
    }

    fn lookup(&self, name: &[u8]) -> Result<InodeRef, Errno> {
        let node = self.dir()?.lookup(name)?;
        let ino = child_ino(self.ino, name);
        Ok(Arc::new(SynthInode { fs: Arc::clone(&self.fs), ino, parent: self.ino, node }))
    }

    fn readlink(&self) -> Result<Vec<u8>, Errno> {
        match &self.node.body {
            Body::Link { read, .. } => read(),
            _ => Err(Errno::EINVAL),
        }
    }

    fn follow(&self) -> Result<LinkTarget, Errno> {
        match &self.node.body {
            Body::Link { follow: Some(follow), .. } => follow(),
            _ => self.readlink().map(LinkTarget::Path),
        }
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
