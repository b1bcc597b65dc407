//! Files that the sentry knows: handles, counts, and the `O_PATH` descriptors behind them.
//!
//! A node keeps its descriptor open while the budget allows; beyond it, the oldest are closed and found again through
//! their parent by name, device, inode number and birth time. What can't be found again (unlinked files, roots) stays
//! open. When nothing can be closed, the request in hand fails with `EMFILE` and nothing else does.
//!
//! A descriptor keeps the host from unmounting the file system. In trees that follow the host's mounts, those of nodes
//! that lie on another file system than the tree's root are therefore closed after each request.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use abi::Errno;
use abi::time::Timespec;
use gofer_proto::{Handle, WireAttr};
use parking_lot::Mutex;

use crate::{host, policy};

/// Nodes that may have died and still stand in line.
const SLACK: usize = 256;

/// What makes an inode the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    tree: usize,
    dev: u64,
    ino: u64,
}

/// Where a node can be found again.
#[derive(Debug)]
struct Place {
    parent: Arc<Node>,
    name: Box<[u8]>,
}

#[derive(Debug)]
struct State {
    fd: Option<Arc<OwnedFd>>,
    /// `None`: can't be found again, so `fd` stays.
    place: Option<Place>,
}

/// One file.
#[derive(Debug)]
pub struct Node {
    handle: Handle,
    key: Key,
    /// Type bits of its mode.
    kind: u32,
    btime: (u64, Timespec),
    sealed: bool,
    /// In a tree that follows the host's mounts.
    follows: bool,
    /// On a file system that the host may want to unmount.
    fleeting: bool,
    /// A socket that was made here for the sentry.
    own_socket: AtomicBool,
    state: Mutex<State>,
    /// Open descriptors of all nodes, for the budget.
    open: Arc<AtomicUsize>,
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.state.get_mut().fd.is_some() {
            self.open.fetch_sub(1, Ordering::Relaxed);
        }
        // A long chain of parents is let go one by one: recursion would be as deep as the tree.
        let mut place = self.state.get_mut().place.take();
        while let Some(Place { parent, .. }) = place {
            place = Arc::into_inner(parent).and_then(|mut parent| parent.state.get_mut().place.take());
        }
    }
}

impl Node {
    /// Returns the index of the node's tree.
    pub fn tree(&self) -> usize {
        self.key.tree
    }

    /// Returns the name that the sentry has for it.
    pub fn handle(&self) -> Handle {
        self.handle
    }

    /// Returns the type bits of its mode.
    pub fn kind(&self) -> u32 {
        self.kind
    }

    /// Tells whether it lies on a file system that isn't served: shown, but neither entered nor opened.
    pub fn sealed(&self) -> bool {
        self.sealed
    }

    /// Tells whether it is a socket that was made here for the sentry.
    pub(crate) fn is_own_socket(&self) -> bool {
        self.own_socket.load(Ordering::Relaxed)
    }

    /// Notes that it is a socket just made for the sentry.
    pub(crate) fn set_own_socket(&self) {
        self.own_socket.store(true, Ordering::Relaxed);
    }

    /// Returns the device of its file system.
    pub(crate) fn dev(&self) -> u64 {
        self.key.dev
    }

    fn is(&self, attr: &WireAttr) -> bool {
        (attr.dev, attr.ino) == (self.key.dev, self.key.ino)
            && attr.mode & abi::types::mode::IFMT == self.kind
            && (attr.has_btime, attr.btime) == self.btime
    }
}

#[derive(Debug)]
struct Given {
    node: Arc<Node>,
    count: u64,
}

#[derive(Debug, Default)]
struct Maps {
    by_handle: HashMap<Handle, Given>,
    by_key: HashMap<Key, Handle>,
    last: u64,
}

/// All nodes.
#[derive(Debug)]
pub struct Nodes {
    maps: Mutex<Maps>,
    /// Nodes in the order in which their descriptors were opened.
    order: Mutex<VecDeque<Weak<Node>>>,
    /// Those on file systems that the host may want to unmount, if their descriptors may be open.
    fleeting: Mutex<Vec<Weak<Node>>>,
    open: Arc<AtomicUsize>,
    budget: usize,
    limit: usize,
}

impl Nodes {
    /// Creates an empty table that keeps at most `budget` descriptors open and `limit` nodes known.
    pub fn new(budget: usize, limit: usize) -> Nodes {
        Nodes {
            maps: Mutex::default(),
            order: Mutex::default(),
            fleeting: Mutex::default(),
            open: Arc::default(),
            budget,
            limit,
        }
    }

    /// Finds a node by the name the sentry has for it.
    pub fn get(&self, handle: Handle) -> Result<Arc<Node>, Errno> {
        self.maps.lock().by_handle.get(&handle).map(|given| Arc::clone(&given.node)).ok_or(Errno::EBADF)
    }

    /// Enters the root of a tree, and says whether that follows the host's mounts.
    pub(crate) fn give_root(
        &self,
        tree: usize,
        fd: OwnedFd,
        attr: &WireAttr,
        follows: bool,
    ) -> Result<Arc<Node>, Errno> {
        self.enter(tree, Some(fd), attr, None, follows)
    }

    /// Enters the file behind `fd` (or finds that it is there already) and counts it as given once.
    pub fn give(
        &self,
        tree: usize,
        fd: OwnedFd,
        attr: &WireAttr,
        place: Option<(&Arc<Node>, &[u8])>,
    ) -> Result<Arc<Node>, Errno> {
        let follows = place.is_some_and(|(parent, _)| parent.follows);
        self.enter(tree, Some(fd), attr, place, follows)
    }

    /// Enters a file of its parent's file system that nobody has opened, and counts it as given once.
    pub(crate) fn give_unopened(&self, attr: &WireAttr, place: (&Arc<Node>, &[u8])) -> Result<Arc<Node>, Errno> {
        self.enter(place.0.tree(), None, attr, Some(place), place.0.follows)
    }

    fn enter(
        &self,
        tree: usize,
        fd: Option<OwnedFd>,
        attr: &WireAttr,
        place: Option<(&Arc<Node>, &[u8])>,
        follows: bool,
    ) -> Result<Arc<Node>, Errno> {
        let fleeting = follows && place.is_some_and(|(parent, _)| parent.fleeting || parent.dev() != attr.dev);
        let key = Key { tree, dev: attr.dev, ino: attr.ino };
        let sealed = match place {
            Some((parent, _)) if parent.dev() == attr.dev => parent.sealed,
            // Whoever comes from elsewhere has been opened.
            _ => fd.as_ref().is_none_or(|fd| policy::forbidden_filesystem(fd.as_fd())),
        };
        let place = place.map(|(parent, name)| Place { parent: Arc::clone(parent), name: name.into() });
        let opened;
        let node = {
            let mut maps = self.maps.lock();
            if let Some(node) = maps.again(key, attr) {
                drop(maps);
                if node.refresh(fd, place) {
                    self.opened(&node);
                }
                return Ok(node);
            }
            if maps.by_handle.len() >= self.limit {
                return Err(Errno::ENFILE);
            }
            maps.last += 1;
            let handle = Handle(maps.last);
            if fd.is_some() {
                self.open.fetch_add(1, Ordering::Relaxed);
            }
            opened = fd.is_some();
            let node = Arc::new(Node {
                handle,
                key,
                kind: attr.mode & abi::types::mode::IFMT,
                btime: (attr.has_btime, attr.btime),
                sealed,
                follows,
                fleeting,
                own_socket: AtomicBool::new(false),
                state: Mutex::new(State { fd: fd.map(Arc::new), place }),
                open: Arc::clone(&self.open),
            });
            maps.by_key.insert(key, handle);
            maps.by_handle.insert(handle, Given { node: Arc::clone(&node), count: 1 });
            node
        };
        if opened {
            self.opened(&node);
        }
        Ok(node)
    }

    /// Puts a node whose descriptor has just been opened in line, or among those to be closed soon.
    fn opened(&self, node: &Arc<Node>) {
        if node.fleeting {
            self.fleeting.lock().push(Arc::downgrade(node));
            return;
        }
        let mut order = self.order.lock();
        order.push_back(Arc::downgrade(node));
        if order.len() > 2 * self.open.load(Ordering::Relaxed) + SLACK {
            // Most of these have died.
            order.retain(|node| node.strong_count() > 0);
        }
    }

    /// Closes descriptors that could keep the host from unmounting a file system. They are opened again when needed.
    pub(crate) fn let_go(&self) {
        let fleeting = std::mem::take(&mut *self.fleeting.lock());
        for node in fleeting.iter().filter_map(Weak::upgrade) {
            let mut state = node.state.lock();
            if state.place.is_some() && state.fd.take().is_some() {
                self.open.fetch_sub(1, Ordering::Relaxed);
            }
        }
    }

    /// Takes counts back; a node without any is forgotten.
    pub fn forget(&self, handle: Handle, count: u64) {
        let removed = {
            let mut maps = self.maps.lock();
            let Some(given) = maps.by_handle.get_mut(&handle) else { return };
            given.count = given.count.saturating_sub(count);
            if given.count > 0 {
                return;
            }
            let key = given.node.key;
            if maps.by_key.get(&key) == Some(&handle) {
                maps.by_key.remove(&key);
            }
            maps.by_handle.remove(&handle)
        };
        drop(removed);
    }

    /// Returns the number of nodes known.
    pub fn len(&self) -> usize {
        self.maps.lock().by_handle.len()
    }

    /// Tells whether no node is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes room for one more descriptor: `EMFILE` where none can be closed.
    pub fn reserve(&self) -> Result<(), Errno> {
        if self.open.load(Ordering::Relaxed) < self.budget {
            return Ok(());
        }
        let mut order = self.order.lock();
        let mut tries = order.len();
        while tries > 0 && self.open.load(Ordering::Relaxed) >= self.budget {
            tries -= 1;
            let Some(oldest) = order.pop_front() else { break };
            let Some(node) = oldest.upgrade() else { continue };
            let mut state = node.state.lock();
            if state.place.is_none() {
                order.push_back(oldest);
            } else if state.fd.take().is_some() {
                self.open.fetch_sub(1, Ordering::Relaxed);
            }
        }
        if self.open.load(Ordering::Relaxed) < self.budget { Ok(()) } else { Err(Errno::EMFILE) }
    }

    /// Returns the `O_PATH` descriptor of a node, opening it again where it had been closed: `ESTALE` if the file isn't
    /// where it was.
    pub fn fd(&self, node: &Arc<Node>) -> Result<Arc<OwnedFd>, Errno> {
        // Down from the nearest ancestor whose descriptor is open; iterative, since trees may be deep.
        let mut chain = vec![Arc::clone(node)];
        let mut fd = loop {
            let Some(lowest) = chain.last() else { return Err(Errno::ESTALE) };
            let parent = {
                let state = lowest.state.lock();
                if let Some(fd) = &state.fd {
                    break Arc::clone(fd);
                }
                state.place.as_ref().map(|place| Arc::clone(&place.parent)).ok_or(Errno::ESTALE)?
            };
            chain.push(parent);
        };
        chain.pop();
        while let Some(node) = chain.pop() {
            fd = self.open_again(&node, &fd)?;
        }
        Ok(fd)
    }

    fn open_again(&self, node: &Arc<Node>, parent: &OwnedFd) -> Result<Arc<OwnedFd>, Errno> {
        self.reserve()?;
        let name = match &node.state.lock().place {
            Some(place) => place.name.clone(),
            None => return Err(Errno::ESTALE),
        };
        let fd = host::open_child(parent.as_fd(), &name).map_err(|_| Errno::ESTALE)?;
        if !node.is(&host::stat(fd.as_fd())?) {
            return Err(Errno::ESTALE);
        }
        let fd = {
            let mut state = node.state.lock();
            if let Some(fd) = &state.fd {
                return Ok(Arc::clone(fd));
            }
            let fd = Arc::new(fd);
            state.fd = Some(Arc::clone(&fd));
            self.open.fetch_add(1, Ordering::Relaxed);
            fd
        };
        self.opened(node);
        Ok(fd)
    }

    /// Finds the node of a file that is about to lose or change its name, if the sentry knows it.
    pub(crate) fn known(&self, tree: usize, attr: &WireAttr) -> Option<Arc<Node>> {
        let maps = self.maps.lock();
        let handle = maps.by_key.get(&Key { tree, dev: attr.dev, ino: attr.ino })?;
        maps.by_handle.get(handle).map(|given| Arc::clone(&given.node))
    }

    /// Keeps a file's descriptor open for good, since the name by which it could be found again goes away.
    pub(crate) fn pin(&self, node: &Arc<Node>) -> Result<(), Errno> {
        let fd = self.fd(node)?;
        let place = {
            let mut state = node.state.lock();
            if state.fd.is_none() {
                state.fd = Some(fd);
                self.open.fetch_add(1, Ordering::Relaxed);
            }
            state.place.take()
        };
        drop(place);
        Ok(())
    }

    /// Records a file's new name.
    pub(crate) fn moved(&self, node: &Node, parent: &Arc<Node>, name: &[u8]) {
        let place = Place { parent: Arc::clone(parent), name: name.into() };
        let old = node.state.lock().place.replace(place);
        drop(old);
    }
}

impl Maps {
    /// Counts a node once more if it is still the same file.
    fn again(&mut self, key: Key, attr: &WireAttr) -> Option<Arc<Node>> {
        let handle = *self.by_key.get(&key)?;
        let given = self.by_handle.get_mut(&handle)?;
        if !given.node.is(attr) {
            // The number was used again while the descriptor was closed; the old node keeps its handle and goes stale.
            return None;
        }
        given.count = given.count.saturating_add(1);
        Some(Arc::clone(&given.node))
    }
}

impl Node {
    /// Takes a newer place, and the descriptor if it has none; returns whether it did.
    fn refresh(&self, fd: Option<OwnedFd>, place: Option<Place>) -> bool {
        let mut state = self.state.lock();
        let opened = state.fd.is_none() && fd.is_some();
        if opened {
            state.fd = fd.map(Arc::new);
            self.open.fetch_add(1, Ordering::Relaxed);
        }
        // A root keeps its descriptor and no place, even where it is reached again from elsewhere.
        let old = match (&state.place, place) {
            (Some(_), Some(place)) => state.place.replace(place),
            (_, place) => place,
        };
        drop(state);
        drop(old);
        opened
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_that_come_and_go_leave_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let nodes = Nodes::new(1000, 1000);
        let give = |name: &str, place: Option<&Arc<Node>>| {
            let fd = OwnedFd::from(std::fs::File::open(dir.path().join(name)).unwrap());
            let attr = host::stat(fd.as_fd()).unwrap();
            nodes.give(0, fd, &attr, place.map(|parent| (parent, name.as_bytes()))).unwrap()
        };
        let root = give(".", None);
        std::fs::write(dir.path().join("f"), b"").unwrap();
        for _ in 0..5000 {
            let node = give("f", Some(&root));
            assert_eq!(give("f", Some(&root)).handle(), node.handle());
            nodes.forget(node.handle(), 1);
            assert_eq!(nodes.len(), 2);
            nodes.forget(node.handle(), 1);
        }
        assert_eq!((nodes.len(), nodes.open.load(Ordering::Relaxed)), (1, 1));
        assert!(nodes.order.lock().len() <= 2 * 2 + SLACK + 1);
    }
}
