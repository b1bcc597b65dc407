//! [`Server`]: the trees, the nodes, and one request at a time.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use abi::Errno;
use bitflags::bitflags;
use gofer_proto::{Entry, Handle, Hello, MountInfo, Reply, Request, WireAttr, Writer};
use parking_lot::RwLock;
use rustix::process::Resource;

use crate::host::{self, ProcFds};
use crate::node::{Node, Nodes};
use crate::ops::{Answer, MemoryFiles, Outcome};

bitflags! {
    /// What may be done in a tree.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct TreeFlags: u32 {
        /// Everything that writes fails with `EROFS`.
        const READONLY = 1;
        /// Device nodes may be made (they are never opened).
        const MAKE_DEVICES = 2;
        /// Unnamed files may be made in it, to hold what the sentry wants to keep on the host. Nothing else: no name in it
        /// can be seen or changed.
        const STORE = 4;
        /// Sockets of the host may be connected to.
        const CONNECT = 8;
        /// Sockets of the host may be made, and those connected to.
        const BIND = 16;
        /// FIFOs of the host may be opened.
        const FIFO = 32;
        /// What the host mounts below it belongs to it, too, for as long as it is mounted, where the host's own mount is shared.
        const FOLLOWS = 64;
    }
}

/// A directory (or a single file) to serve.
#[derive(Debug)]
pub struct Tree {
    /// The caller's number for it, told to the sentry.
    pub id: u32,
    /// `O_PATH` descriptor of the root.
    pub root: OwnedFd,
    /// What may be done.
    pub flags: TreeFlags,
}

/// What a tree is while it is served.
#[derive(Debug)]
pub(crate) struct Served {
    id: u32,
    pub(crate) flags: TreeFlags,
    root: Handle,
}

/// Answers requests; shared by the threads of all connections.
#[derive(Debug)]
pub struct Server {
    pub(crate) trees: Vec<Served>,
    pub(crate) nodes: Nodes,
    pub(crate) proc_fds: ProcFds,
    /// The file system that the host keeps memory files in.
    pub(crate) memory: MemoryFiles,
    /// Held by those who give a name to something that there is, and alone by those who must know what they have just named.
    pub(crate) names: RwLock<()>,
}

/// Descriptors kept free for open files in flight and for the process itself.
const SPARE_FDS: u64 = 64;

/// Most descriptors that nodes keep open, however many the host would allow: each pins kernel memory.
const MAX_FDS: u64 = 200_000;

/// Most nodes that the sentry may know at a time.
const MAX_NODES: usize = 1 << 21;

impl Server {
    /// Takes the trees into service, with `/proc/self/fd` as the process sees it or as it was kept open.
    pub(crate) fn start(trees: Vec<Tree>, proc_fds: ProcFds) -> Result<Server, Errno> {
        let files = rustix::process::getrlimit(Resource::Nofile).current.unwrap_or(MAX_FDS);
        let budget = files.saturating_sub(SPARE_FDS).clamp(1, MAX_FDS);
        Server::with(trees, proc_fds, usize::try_from(budget).unwrap_or(1), MAX_NODES)
    }

    /// Takes the trees into service in a process that isn't confined. Needs `/proc/self/fd`.
    pub fn new(trees: Vec<Tree>) -> Result<Server, Errno> {
        Server::start(trees, ProcFds::open()?)
    }

    /// Takes the trees into service with at most `budget` descriptors open for nodes and `limit` nodes known.
    pub fn with_limits(trees: Vec<Tree>, budget: usize, limit: usize) -> Result<Server, Errno> {
        Server::with(trees, ProcFds::open()?, budget, limit)
    }

    fn with(trees: Vec<Tree>, proc_fds: ProcFds, budget: usize, limit: usize) -> Result<Server, Errno> {
        let memory = MemoryFiles::find()?;
        let mut server =
            Server { trees: Vec::new(), nodes: Nodes::new(budget, limit), proc_fds, memory, names: RwLock::new(()) };
        for (index, tree) in trees.into_iter().enumerate() {
            let attr = host::stat(tree.root.as_fd())?;
            let follows = tree.flags.contains(TreeFlags::FOLLOWS);
            let node = server.nodes.give_root(index, tree.root, &attr, follows)?;
            server.trees.push(Served { id: tree.id, flags: tree.flags, root: node.handle() });
        }
        Ok(server)
    }

    /// Answers one request, which `given` has come with, into `out`; the descriptor goes with the answer. `None`: there is
    /// no answer to this one.
    pub(crate) fn answer(
        &self,
        id: u32,
        request: Request<'_>,
        given: Result<Option<OwnedFd>, Errno>,
        out: &mut Writer,
    ) -> Option<Option<OwnedFd>> {
        if let Request::Forget { handles } = request {
            for (handle, count) in handles {
                if !self.trees.iter().any(|tree| tree.root == handle) {
                    self.nodes.forget(handle, count);
                }
            }
            return None;
        }
        let outcome = given.and_then(|given| self.perform(request, given));
        self.nodes.let_go();
        match outcome {
            Ok(outcome) => Some(outcome.encode(id, out)),
            Err(errno) => {
                Reply::Error(errno).encode(id, out);
                Some(None)
            }
        }
    }

    pub(crate) fn hello(&self) -> Outcome {
        let mut mounts = Vec::new();
        for tree in &self.trees {
            let node = self.nodes.get(tree.root)?;
            let root = Entry { handle: tree.root, attr: self.attr(&node)? };
            mounts.push(MountInfo { id: tree.id, readonly: tree.flags.contains(TreeFlags::READONLY), root });
        }
        Ok(Answer::Hello(Hello { version: gofer_proto::VERSION, mounts }))
    }

    /// Reads the attributes of a node.
    pub(crate) fn attr(&self, node: &Arc<Node>) -> Result<WireAttr, Errno> {
        host::stat(self.nodes.fd(node)?.as_fd())
    }

    /// Returns what may be done in any of the trees.
    pub(crate) fn any_flags(&self) -> TreeFlags {
        self.trees.iter().fold(TreeFlags::empty(), |all, tree| all | tree.flags)
    }

    /// Tells whether the sentry has unnamed files of the host's.
    pub(crate) fn has_store(&self) -> bool {
        self.trees.iter().any(|tree| tree.flags.contains(TreeFlags::STORE))
    }

    /// Returns what may be done in the node's tree.
    pub(crate) fn flags(&self, node: &Node) -> TreeFlags {
        self.trees.get(node.tree()).map_or(TreeFlags::READONLY, |tree| tree.flags)
    }

    /// Checks that the node's tree may be changed.
    pub(crate) fn writable(&self, node: &Node) -> Result<(), Errno> {
        let unchanging = self.flags(node).intersects(TreeFlags::READONLY | TreeFlags::STORE);
        if unchanging || node.sealed() { Err(Errno::EROFS) } else { Ok(()) }
    }
}
