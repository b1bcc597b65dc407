//! What the host has looked up: numbers for places in the guest's tree.

use std::collections::HashMap;
use std::sync::Arc;

use abi::Errno;

use crate::vfs::Path;

/// Number of the root, which the host knows from the start and never forgets.
pub(super) const ROOT: u64 = 1;

/// A place, and how often it was looked up.
struct Node {
    path: Path,
    lookups: u64,
}

/// The places by number. One stays as long as the host remembers it, which is as long as somebody there uses it: nothing that it
/// is told counts for longer than the request.
pub(super) struct Nodes {
    next: u64,
    nodes: HashMap<u64, Node>,
    /// Numbers by the addresses of mount and dentry, which nothing else has while the node is here.
    known: HashMap<(usize, usize), u64>,
}

fn address(path: &Path) -> (usize, usize) {
    (Arc::as_ptr(&path.mount).addr(), Arc::as_ptr(&path.dentry).addr())
}

impl Nodes {
    pub(super) fn new() -> Nodes {
        Nodes { next: ROOT + 1, nodes: HashMap::new(), known: HashMap::new() }
    }

    /// Returns the place with a number other than the root's: `ESTALE` where there is none.
    pub(super) fn get(&self, number: u64) -> Result<Path, Errno> {
        self.nodes.get(&number).map(|node| node.path.clone()).ok_or(Errno::ESTALE)
    }

    /// Counts a look-up, and returns the number.
    pub(super) fn looked_up(&mut self, path: Path) -> u64 {
        let number = *self.known.entry(address(&path)).or_insert(self.next);
        self.next += u64::from(number == self.next);
        self.nodes.entry(number).or_insert(Node { path, lookups: 0 }).lookups += 1;
        number
    }

    /// The host has forgotten so many look-ups.
    pub(super) fn forget(&mut self, number: u64, lookups: u64) {
        let Some(node) = self.nodes.get_mut(&number) else { return };
        node.lookups = node.lookups.saturating_sub(lookups);
        if node.lookups == 0 {
            self.known.remove(&address(&node.path));
            self.nodes.remove(&number);
        }
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        assert_eq!(self.nodes.len(), self.known.len());
        self.nodes.len()
    }
}
