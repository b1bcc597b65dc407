//! Queues of file events of `inotify(7)`.
//!
//! The VFS keeps an [`InotifyWatches`] for each inode that somebody watches (it can drop one that is
//! [unwatched](InotifyWatches::is_empty)) and calls [`InotifyWatches::notify`] after each operation: on the inode itself
//! without a name, on its directory with one. The watches of an inode and the queue that they feed know each other: the
//! queue holds the inode, the inode holds the queue weakly.

#[allow(missing_docs)] // Linux names, documented in the manual page
mod mask;
mod queue;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Weak};

use abi::flags::Ready;
use abi::{Errno, UserAddr};
use sentry_sync::{Level, Mutex, WaitQueue};

use crate::{FileOps, IoDst, IoFlags, UserMemory};
use queue::{Event, EventQueue};

pub use mask::InMask;

/// Most watches of one queue (`/proc/sys/fs/inotify/max_user_watches`, which Linux counts by user).
pub const MAX_WATCHES: usize = 65536;

/// A watch as its queue knows it.
struct Watch {
    mask: InMask,
    target: Arc<InotifyWatches>,
    /// Keeps what the VFS needs to find the inode again.
    _pin: Arc<dyn Any + Send + Sync>,
}

struct State {
    events: EventQueue,
    watches: BTreeMap<i32, Watch>,
    last_wd: i32,
}

/// A queue of events: what `inotify_init(2)` opens.
pub struct Inotify {
    state: Mutex<State>,
    queue: WaitQueue,
}

impl std::fmt::Debug for Inotify {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Inotify")
    }
}

/// The watches of one inode.
#[derive(Debug)]
pub struct InotifyWatches {
    list: Mutex<Vec<Entry>>,
    /// All events that some watch wants: most inodes can be passed over after one load.
    interest: AtomicU32,
}

#[derive(Clone, Debug)]
struct Entry {
    owner: Weak<Inotify>,
    wd: i32,
    mask: InMask,
}

/// Returns a value for [`InotifyWatches::notify`] that ties the two halves of a rename together.
pub fn next_cookie() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Default for InotifyWatches {
    fn default() -> InotifyWatches {
        InotifyWatches { list: Mutex::new(Level::Leaf, Vec::new()), interest: AtomicU32::new(0) }
    }
}

impl InotifyWatches {
    /// Tells whether nobody watches.
    pub fn is_empty(&self) -> bool {
        self.interest.load(Ordering::Acquire) == 0
    }

    /// Reports an event to all who watch for it. `name` is the entry concerned, when this is its directory; `unlinked`
    /// tells that the entry has no name any more. `ISDIR` in `event` is passed on.
    pub fn notify(&self, event: InMask, cookie: u32, name: Option<&[u8]>, unlinked: bool) {
        let what = event & InMask::ALL_EVENTS;
        if self.interest.load(Ordering::Acquire) & what.bits() == 0 {
            return;
        }
        for entry in self.wanting(what) {
            if unlinked && name.is_some() && entry.mask.contains(InMask::EXCL_UNLINK) {
                continue;
            }
            if let Some(owner) = entry.owner.upgrade() {
                owner.report(entry.wd, event, cookie, name);
            }
        }
    }

    /// Reports that the inode is gone: no name and nobody has it open. Ends all watches.
    pub fn deleted(&self) {
        self.notify(InMask::DELETE_SELF, 0, None, false);
        self.end_all();
    }

    /// Reports that the file system is gone. Ends all watches.
    pub fn unmounted(&self) {
        for entry in self.snapshot() {
            if let Some(owner) = entry.owner.upgrade() {
                owner.push(Event::new(entry.wd, InMask::UNMOUNT, 0, None));
            }
        }
        self.end_all();
    }

    fn end_all(&self) {
        for entry in self.snapshot() {
            if let Some(owner) = entry.owner.upgrade() {
                let _ = owner.remove_watch(entry.wd);
            }
        }
    }

    fn snapshot(&self) -> Vec<Entry> {
        self.list.lock().clone()
    }

    fn wanting(&self, what: InMask) -> Vec<Entry> {
        self.list.lock().iter().filter(|entry| entry.mask.intersects(what)).cloned().collect()
    }

    fn change(&self, work: impl FnOnce(&mut Vec<Entry>)) {
        let mut list = self.list.lock();
        work(&mut list);
        let interest = list.iter().fold(0, |all, entry| all | (entry.mask & InMask::ALL_EVENTS).bits());
        self.interest.store(interest, Ordering::Release);
    }
}

impl Inotify {
    /// Makes an empty queue.
    pub fn new() -> Arc<Inotify> {
        let state = State { events: EventQueue::default(), watches: BTreeMap::new(), last_wd: 0 };
        Arc::new(Inotify { state: Mutex::new(Level::Socket, state), queue: WaitQueue::new() })
    }

    /// Watches an inode, or changes the watch of one that this queue watches already; returns its number. `pin` is kept
    /// as long as the watch. The VFS deals with `IN_ONLYDIR` and `IN_DONT_FOLLOW`. Errors as in `inotify_add_watch(2)`:
    /// `EINVAL` (no event asked for), `EEXIST` (`IN_MASK_CREATE`), `ENOSPC` (too many).
    pub fn add_watch(
        self: &Arc<Inotify>,
        target: &Arc<InotifyWatches>,
        pin: Arc<dyn Any + Send + Sync>,
        mask: u32,
    ) -> Result<i32, Errno> {
        let mask = Inotify::check_mask(mask)?;
        let mut state = self.state.lock();
        let existing = state.watches.iter_mut().find(|(_, watch)| Arc::ptr_eq(&watch.target, target));
        if let Some((wd, watch)) = existing {
            if mask.contains(InMask::MASK_CREATE) {
                return Err(Errno::EEXIST);
            }
            let kept = mask & InMask::KEPT;
            watch.mask = if mask.contains(InMask::MASK_ADD) { watch.mask | kept } else { kept };
            let (wd, mask) = (*wd, watch.mask);
            let own = Arc::as_ptr(self);
            target.change(|list| {
                let mine = list.iter_mut().filter(|entry| std::ptr::eq(entry.owner.as_ptr(), own) && entry.wd == wd);
                mine.for_each(|entry| entry.mask = mask);
            });
            return Ok(wd);
        }
        if state.watches.len() >= MAX_WATCHES {
            return Err(Errno::ENOSPC);
        }
        let mask = mask & InMask::KEPT;
        let wd = state.last_wd.checked_add(1).ok_or(Errno::ENOSPC)?;
        state.last_wd = wd;
        state.watches.insert(wd, Watch { mask, target: Arc::clone(target), _pin: pin });
        target.change(|list| list.push(Entry { owner: Arc::downgrade(self), wd, mask }));
        Ok(wd)
    }

    /// Checks the mask of `inotify_add_watch(2)`, which Linux does before it looks at the path.
    pub fn check_mask(mask: u32) -> Result<InMask, Errno> {
        let mask = InMask::from_bits(mask).ok_or(Errno::EINVAL)?;
        if mask.contains(InMask::MASK_ADD | InMask::MASK_CREATE) || mask.is_empty() {
            return Err(Errno::EINVAL);
        }
        Ok(mask)
    }

    /// Ends a watch, which is reported as `IN_IGNORED`. `EINVAL` if there is none of that number.
    pub fn remove_watch(&self, wd: i32) -> Result<(), Errno> {
        let watch = self.state.lock().watches.remove(&wd).ok_or(Errno::EINVAL)?;
        self.forget(wd, &watch);
        self.push(Event::new(wd, InMask::IGNORED, 0, None));
        Ok(())
    }

    fn forget(&self, wd: i32, watch: &Watch) {
        let own = std::ptr::from_ref(self);
        watch.target.change(|list| list.retain(|entry| entry.wd != wd || !std::ptr::eq(entry.owner.as_ptr(), own)));
    }

    fn report(&self, wd: i32, event: InMask, cookie: u32, name: Option<&[u8]>) {
        let shown = event & (InMask::ALL_EVENTS | InMask::ISDIR);
        let once = {
            let state = self.state.lock();
            let Some(watch) = state.watches.get(&wd) else { return };
            watch.mask.contains(InMask::ONESHOT)
        };
        self.push(Event::new(wd, shown, cookie, name));
        if once {
            // Somebody else may have ended it in between.
            let _ = self.remove_watch(wd);
        }
    }

    fn push(&self, event: Event) {
        self.state.lock().events.push(event);
        self.queue.wake(Ready::READABLE.bits());
    }
}

impl Drop for Inotify {
    fn drop(&mut self) {
        let watches = std::mem::take(&mut self.state.lock().watches);
        for (wd, watch) in &watches {
            self.forget(*wd, watch);
        }
    }
}

impl FileOps for Inotify {
    fn read(&self, _pos: &mut u64, _flags: IoFlags, dst: &mut dyn IoDst) -> Result<usize, Errno> {
        let mut state = self.state.lock();
        let mut done = 0;
        while let Some(event) = state.events.front() {
            let bytes = event.to_bytes();
            if bytes.len() > dst.remaining() {
                return if done > 0 { Ok(done) } else { Err(Errno::EINVAL) };
            }
            state.events.pop();
            if dst.put(&bytes)? < bytes.len() {
                return Err(Errno::EFAULT);
            }
            done += bytes.len();
        }
        if done > 0 { Ok(done) } else { Err(Errno::EAGAIN) }
    }

    fn ready(&self) -> Ready {
        if self.state.lock().events.front().is_some() { Ready::READABLE } else { Ready::empty() }
    }

    fn wait_queue(&self) -> Option<WaitQueue> {
        Some(self.queue.clone())
    }

    fn ioctl(&self, memory: &dyn UserMemory, op: u32, arg: u64) -> Result<u64, Errno> {
        /// `FIONREAD` of `ioctl_tty(2)`.
        const FIONREAD: u32 = 0x541b;
        if op != FIONREAD {
            return Err(Errno::ENOTTY);
        }
        let bytes = i32::try_from(self.state.lock().events.bytes()).unwrap_or(i32::MAX);
        memory.write(UserAddr::new(arg), &bytes.to_ne_bytes())?;
        Ok(0)
    }

    fn fdinfo(&self) -> String {
        let mut text = String::new();
        for (wd, watch) in &self.state.lock().watches {
            // Writing to a string can't fail.
            let _ = writeln!(text, "inotify wd:{wd:x} ino:0 sdev:0 mask:{:x} ignored_mask:0", watch.mask.bits());
        }
        text
    }

    fn anon_name(&self) -> Option<String> {
        Some("anon_inode:inotify".to_owned())
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
