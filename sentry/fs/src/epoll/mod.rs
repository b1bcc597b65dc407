//! Sets of files of `epoll(7)`.
//!
//! A file wakes its item, the item enters the list of those that may be ready, and [`Epoll::collect`] looks at these
//! only. Files are looked at without any lock of the set held, so that sets can be nested. An item belongs to a descriptor
//! number and an open file together; it goes when the file does, since the set holds it weakly.

mod item;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use abi::flags::Ready;
use abi::{Errno, Fd};
use bitflags::bitflags;
use sentry_sync::{Level, Mutex, WaitQueue};

use crate::{FileOps, UserMemory};
use item::{Item, ItemWaker, ReadyList, WeakFile};

/// Most sets that one path of nested sets goes through below the first (`EP_MAX_NESTS`).
const MAX_NESTING: usize = 4;

bitflags! {
    /// Events and input flags of `epoll_ctl(2)`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct EpollFlags: u32 {
        /// Wake only one of several sets that wait for the same file.
        const EXCLUSIVE = 1 << 28;
        /// Keep the machine awake: without effect here.
        const WAKEUP = 1 << 29;
        /// Report once, then not before `EPOLL_CTL_MOD`.
        const ONESHOT = 1 << 30;
        /// Report changes, not states.
        const EDGE = 1 << 31;
        /// The event bits.
        const EVENTS = 0x0fff_ffff;
    }
}

impl EpollFlags {
    /// What a one-shot item keeps after it has fired (`EP_PRIVATE_BITS`).
    const KEPT: EpollFlags =
        EpollFlags::EXCLUSIVE.union(EpollFlags::WAKEUP).union(EpollFlags::ONESHOT).union(EpollFlags::EDGE);

    /// Events that an exclusive item may ask for.
    const EXCLUSIVE_EVENTS: u32 = Ready::IN.bits() | Ready::OUT.bits() | Ready::ERR.bits() | Ready::HUP.bits();

    fn events(self) -> u32 {
        (self & EpollFlags::EVENTS).bits()
    }

    fn is_armed(self) -> bool {
        self.events() != 0
    }

    fn interest(self) -> Ready {
        Ready::from_bits_retain(self.events())
    }

    /// As asked for, with the two events that are always reported.
    fn asked(events: u32) -> EpollFlags {
        EpollFlags::from_bits_retain((events | Ready::ALWAYS.bits()) & !EpollFlags::WAKEUP.bits())
    }
}

/// What `epoll_wait(2)` reports of one file (`struct epoll_event`, which is packed in guest memory: 12 bytes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpollEvent {
    /// Events that are ready.
    pub events: u32,
    /// What the guest gave with the file.
    pub data: u64,
}

impl EpollEvent {
    /// Returns the form in guest memory.
    pub fn to_bytes(self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes[..4].copy_from_slice(&self.events.to_ne_bytes());
        bytes[4..].copy_from_slice(&self.data.to_ne_bytes());
        bytes
    }

    /// Reads the form in guest memory.
    pub fn from_bytes(bytes: [u8; 12]) -> EpollEvent {
        let [a, b, c, d, data @ ..] = bytes;
        EpollEvent { events: u32::from_ne_bytes([a, b, c, d]), data: u64::from_ne_bytes(data) }
    }
}

/// Descriptor number and address of the open file.
type Key = (Fd, usize);

#[derive(Debug, Default)]
struct Items {
    map: HashMap<Key, Arc<Item>>,
    /// Items whose files have gone are swept out when the map reaches this size.
    sweep_at: usize,
}

impl Items {
    /// Takes out the items of files that have gone, if enough has been added since the last time.
    fn sweep(&mut self) -> Vec<Arc<Item>> {
        if self.map.len() < self.sweep_at.max(16) {
            return Vec::new();
        }
        let gone = self.map.extract_if(|_, item| item.file.is_gone()).map(|(_, item)| item).collect();
        self.sweep_at = self.map.len() * 2;
        gone
    }
}

/// An epoll set.
#[derive(Debug)]
pub struct Epoll {
    ready: Arc<ReadyList>,
    items: Mutex<Items>,
    /// Sets that this one is in.
    parents: Mutex<Vec<Weak<Epoll>>>,
}

/// Held while one set is put into another, so that two such additions can't close a loop together.
static NESTING: Mutex<()> = Mutex::new(Level::File, ());

impl Epoll {
    /// Makes an empty set.
    pub fn new() -> Arc<Epoll> {
        Arc::new(Epoll {
            ready: Arc::new(ReadyList::new()),
            items: Mutex::new(Level::Epoll, Items::default()),
            parents: Mutex::new(Level::Leaf, Vec::new()),
        })
    }

    /// `EPOLL_CTL_ADD`. Errors as in `epoll_ctl(2)`: `EPERM` (can't be waited for), `EINVAL` (the set itself, or
    /// `EPOLLEXCLUSIVE` with more than it allows), `ELOOP`, `EEXIST`.
    pub fn add(self: &Arc<Epoll>, fd: Fd, file: &Arc<dyn FileOps>, event: EpollEvent) -> Result<(), Errno> {
        let queue = file.wait_queue().ok_or(Errno::EPERM)?;
        let inner = Arc::clone(file).as_any().downcast::<Epoll>().ok();
        if inner.as_ref().is_some_and(|inner| Arc::ptr_eq(inner, self)) {
            return Err(Errno::EINVAL);
        }
        let flags = EpollFlags::asked(event.events);
        if flags.contains(EpollFlags::EXCLUSIVE) {
            let extra = flags.events() & !EpollFlags::EXCLUSIVE_EVENTS != 0 || flags.contains(EpollFlags::ONESHOT);
            if extra || inner.is_some() {
                return Err(Errno::EINVAL);
            }
        }
        let weak = WeakFile::new(file);
        let key = (fd, weak.address());
        let item = Item::new(&self.ready, weak, flags, event.data);
        {
            let _nesting = inner.is_some().then(|| NESTING.lock());
            if let Some(inner) = &inner {
                self.check_nesting(inner)?;
            }
            let gone = {
                let mut items = self.items.lock();
                if items.map.contains_key(&key) {
                    return Err(Errno::EEXIST);
                }
                let gone = items.sweep();
                items.map.insert(key, Arc::clone(&item));
                gone
            };
            drop(gone);
            if let Some(inner) = &inner {
                inner.parents.lock().push(Arc::downgrade(self));
            }
        }
        // Without that lock: looking at the file takes locks of its own.
        self.watch(&item, &queue, flags);
        Ok(())
    }

    /// `EPOLL_CTL_MOD`. `ENOENT` if it isn't in, `EINVAL` with `EPOLLEXCLUSIVE`.
    pub fn modify(self: &Arc<Epoll>, fd: Fd, file: &Arc<dyn FileOps>, event: EpollEvent) -> Result<(), Errno> {
        let queue = file.wait_queue().ok_or(Errno::EPERM)?;
        self.not_itself(file)?;
        let flags = EpollFlags::asked(event.events);
        if flags.contains(EpollFlags::EXCLUSIVE) {
            return Err(Errno::EINVAL);
        }
        let key = (fd, WeakFile::new(file).address());
        let item = self.items.lock().map.get(&key).cloned().ok_or(Errno::ENOENT)?;
        if item.flags().contains(EpollFlags::EXCLUSIVE) {
            return Err(Errno::EINVAL);
        }
        item.data.store(event.data, Ordering::SeqCst);
        item.events.store(flags.bits(), Ordering::SeqCst);
        self.watch(&item, &queue, flags);
        Ok(())
    }

    /// `EPOLL_CTL_DEL`. `ENOENT` if it isn't in.
    pub fn remove(self: &Arc<Epoll>, fd: Fd, file: &Arc<dyn FileOps>) -> Result<(), Errno> {
        file.wait_queue().ok_or(Errno::EPERM)?;
        self.not_itself(file)?;
        let key = (fd, WeakFile::new(file).address());
        let item = self.items.lock().map.remove(&key).ok_or(Errno::ENOENT)?;
        item.removed.store(true, Ordering::SeqCst);
        let registration = item.registration.lock().take();
        drop(registration);
        if let Ok(inner) = Arc::clone(file).as_any().downcast::<Epoll>() {
            let mut parents = inner.parents.lock();
            if let Some(at) = parents.iter().position(|parent| std::ptr::eq(parent.as_ptr(), Arc::as_ptr(self))) {
                parents.swap_remove(at);
            }
        }
        Ok(())
    }

    fn not_itself(self: &Arc<Epoll>, file: &Arc<dyn FileOps>) -> Result<(), Errno> {
        let own: Arc<dyn FileOps> = Arc::clone(self) as Arc<dyn FileOps>;
        let same = std::ptr::addr_eq(Arc::as_ptr(&own), Arc::as_ptr(file));
        if same { Err(Errno::EINVAL) } else { Ok(()) }
    }

    /// Registers an item with its file and enters it if the file is ready already.
    fn watch(&self, item: &Arc<Item>, queue: &WaitQueue, flags: EpollFlags) {
        let waker = Arc::new(ItemWaker(Arc::downgrade(item)));
        let registration = if flags.contains(EpollFlags::EXCLUSIVE) {
            queue.register_exclusive(flags.events(), waker)
        } else {
            queue.register(flags.events(), waker)
        };
        let before = item.registration.lock().replace(registration);
        drop(before);
        if !item.poll().is_empty() {
            self.ready.push(item);
            self.ready.queue.wake(Ready::READABLE.bits());
        }
    }

    /// Returns up to `max` ready files without waiting. Wait on [`FileOps::wait_queue`] for [`Ready::IN`] if there are none.
    pub fn collect(&self, max: usize) -> Vec<EpollEvent> {
        let mut found = Vec::new();
        let mut again = Vec::new();
        // Items that are woken meanwhile enter behind and are left for the next call.
        for _ in 0..self.ready.len() {
            if found.len() == max {
                break;
            }
            let Some(item) = self.ready.pop() else { break };
            let events = item.poll();
            if events.is_empty() {
                continue;
            }
            let flags = item.flags();
            if flags.contains(EpollFlags::ONESHOT) {
                // Two who collect at once: one of them has it.
                let kept = (flags & EpollFlags::KEPT).bits();
                let fired = item.events.compare_exchange(flags.bits(), kept, Ordering::SeqCst, Ordering::SeqCst);
                if fired.is_err() {
                    continue;
                }
            } else if !flags.contains(EpollFlags::EDGE) {
                again.push(Arc::clone(&item));
            }
            found.push(EpollEvent { events: events.bits(), data: item.data.load(Ordering::SeqCst) });
        }
        let more = !again.is_empty();
        again.iter().for_each(|item| self.ready.push(item));
        if more {
            // Another waiter may have found the list empty while the items were out of it.
            self.ready.queue.wake(Ready::READABLE.bits());
        }
        found
    }

    fn inner_sets(&self) -> Vec<Arc<Epoll>> {
        let files: Vec<_> = self.items.lock().map.values().filter_map(|item| item.file.get()).collect();
        files.into_iter().filter_map(|file| file.as_any().downcast::<Epoll>().ok()).collect()
    }

    /// Returns how many sets lie below this one, `ELOOP` where that is too many or `target` is among them.
    fn depth_below(&self, target: &Epoll, level: usize) -> Result<usize, Errno> {
        let mut depth = 0;
        for inner in self.inner_sets() {
            if std::ptr::eq(Arc::as_ptr(&inner), target) || level >= MAX_NESTING {
                return Err(Errno::ELOOP);
            }
            depth = depth.max(1 + inner.depth_below(target, level + 1)?);
        }
        Ok(depth)
    }

    fn depth_above(&self, level: usize) -> usize {
        let parents: Vec<_> = self.parents.lock().iter().filter_map(Weak::upgrade).collect();
        if level > MAX_NESTING {
            return 0;
        }
        parents.iter().map(|parent| 1 + parent.depth_above(level + 1)).max().unwrap_or(0)
    }

    fn check_nesting(&self, inner: &Arc<Epoll>) -> Result<(), Errno> {
        let below = inner.depth_below(self, 0)?;
        if below + 1 + self.depth_above(0) > MAX_NESTING { Err(Errno::ELOOP) } else { Ok(()) }
    }
}

impl FileOps for Epoll {
    fn ready(&self) -> Ready {
        for _ in 0..self.ready.len() {
            let Some(item) = self.ready.pop() else { break };
            if !item.poll().is_empty() {
                self.ready.unpop(&item);
                return Ready::READABLE;
            }
        }
        Ready::empty()
    }

    fn wait_queue(&self) -> Option<WaitQueue> {
        Some(self.ready.queue.clone())
    }

    fn fdinfo(&self) -> String {
        let items = self.items.lock();
        let line = |((fd, _), item): (&Key, &Arc<Item>)| {
            let (events, data) = (item.events.load(Ordering::SeqCst), item.data.load(Ordering::SeqCst));
            format!("tfd: {:8} events: {events:8x} data: {data:16x}  pos:0 ino:0 sdev:0\n", fd.0)
        };
        items.map.iter().filter(|(_, item)| !item.file.is_gone()).map(line).collect()
    }

    fn ioctl(&self, _memory: &dyn UserMemory, op: u32, _arg: u64) -> Result<u64, Errno> {
        /// `EPIOCSPARAMS` and `EPIOCGPARAMS` of `ioctl_eventpoll(2)`: no device here is polled busily.
        const PARAMETERS: [u32; 2] = [0x4008_8a01, 0x8008_8a02];
        Err(if PARAMETERS.contains(&op) { Errno::EOPNOTSUPP } else { Errno::EINVAL })
    }

    fn anon_name(&self) -> Option<String> {
        Some("anon_inode:[eventpoll]".to_owned())
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
