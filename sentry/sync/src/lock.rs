//! `Mutex` and `RwLock` with a level: locks are taken in ascending order of level, never two of the same level at once
//! (except [`Level::Leaf`], below which nothing may be taken).

use std::ops::{Deref, DerefMut};

/// The order of all locks, lowest first. A thread that holds a lock may only take one of a higher level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// The offset of an open file description: held while the file is read or written, whatever that looks at (files of
    /// `/proc` look at everything).
    Offset = 5,
    /// Tables of the whole kernel: processes, sessions.
    Kernel = 10,
    /// A mount namespace, the mount tree.
    Mount = 20,
    /// Rename of directories, one per file system.
    Rename = 25,
    /// One directory's entries.
    Dentry = 30,
    /// A process (thread group): threads, children, state.
    Process = 40,
    /// Signal actions of a process.
    SigHand = 48,
    /// Signal state that a process shares: pending signals, stops.
    Signal = 50,
    /// Pending signals of one thread.
    SignalTask = 52,
    /// A file-descriptor table, a working directory.
    Files = 60,
    /// Nesting of epoll sets.
    File = 65,
    /// Memory maps of one address space. Planning a mapping asks the file what to map.
    Mm = 66,
    /// Names in one overlay.
    OverlayNames = 67,
    /// The content of one file of an overlay while it is copied up.
    OverlayCopy = 68,
    /// An inode of an upper file system (overlay) above another one.
    InodeUpper = 70,
    /// An inode's content while it is written: writes are atomic to each other.
    InodeWrite = 73,
    /// An inode: content and attributes.
    Inode = 75,
    /// All System V objects of a kind.
    Ipc = 82,
    /// One System V object.
    IpcObject = 83,
    /// A futex bucket.
    Futex = 85,
    /// An epoll instance or similar collector of other files' readiness.
    Epoll = 86,
    /// One socket, pipe or terminal.
    Socket = 88,
    /// A queue of data between two sockets.
    SocketQueue = 89,
    /// Timers.
    Timer = 90,
    /// A platform context or address space.
    Platform = 94,
    /// Anything under which nothing is taken but a wait queue.
    Leaf = 100,
    /// The entries of a wait queue, and who waits there: the very last.
    Wait = 110,
}

#[cfg(debug_assertions)]
mod held {
    use super::Level;
    use std::cell::RefCell;

    thread_local! {
        static HELD: RefCell<Vec<Level>> = const { RefCell::new(Vec::new()) };
    }

    #[derive(Debug)]
    pub(super) struct Token(Level);

    #[track_caller]
    pub(super) fn enter(level: Level) -> Token {
        // Outside the closures, so that the message names the caller.
        let highest = HELD.with_borrow(|held| held.iter().max().copied());
        assert!(highest.is_none_or(|highest| highest < level), "lock order: {level:?} taken while {highest:?} is held");
        HELD.with_borrow_mut(|held| held.push(level));
        Token(level)
    }

    /// Enters a lock beside another one of its level, which the caller orders itself.
    pub(super) fn enter_beside(level: Level) -> Token {
        HELD.with_borrow_mut(|held| held.push(level));
        Token(level)
    }

    impl Drop for Token {
        fn drop(&mut self) {
            HELD.with_borrow_mut(|held| {
                if let Some(at) = held.iter().rposition(|level| *level == self.0) {
                    held.remove(at);
                }
            });
        }
    }
}

#[cfg(not(debug_assertions))]
mod held {
    use super::Level;

    #[derive(Debug)]
    pub(super) struct Token;

    pub(super) fn enter(_level: Level) -> Token {
        Token
    }

    pub(super) fn enter_beside(_level: Level) -> Token {
        Token
    }
}

/// Mutual exclusion at a fixed place in the lock order.
#[derive(Debug)]
pub struct Mutex<T: ?Sized> {
    level: Level,
    inner: parking_lot::Mutex<T>,
}

/// Holds a [`Mutex`]. Not `Send`, so that no future can carry it across an await.
#[derive(Debug)]
pub struct MutexGuard<'a, T: ?Sized> {
    guard: parking_lot::MutexGuard<'a, T>,
    _token: held::Token,
}

impl<T> Mutex<T> {
    /// Creates an unlocked mutex of this level.
    pub const fn new(level: Level, value: T) -> Mutex<T> {
        Mutex { level, inner: parking_lot::Mutex::new(value) }
    }

    /// Returns the content.
    pub fn into_inner(self) -> T {
        self.inner.into_inner()
    }
}

impl<T: ?Sized> Mutex<T> {
    /// Locks, waiting for the holder where there is one.
    #[track_caller]
    pub fn lock(&self) -> MutexGuard<'_, T> {
        let token = held::enter(self.level);
        MutexGuard { guard: self.inner.lock(), _token: token }
    }

    /// Locks while another lock of the same level is held: the caller takes such pairs in a fixed order of its own.
    pub fn lock_same_level(&self) -> MutexGuard<'_, T> {
        let token = held::enter_beside(self.level);
        MutexGuard { guard: self.inner.lock(), _token: token }
    }

    /// Locks if nobody holds it. Exempt from the lock order, since it never waits.
    pub fn try_lock(&self) -> Option<impl DerefMut<Target = T> + '_> {
        self.inner.try_lock()
    }
}

impl<T: ?Sized> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T: ?Sized> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

/// Many readers or one writer, at a fixed place in the lock order.
#[derive(Debug)]
pub struct RwLock<T: ?Sized> {
    level: Level,
    inner: parking_lot::RwLock<T>,
}

/// Holds a [`RwLock`] for reading.
#[derive(Debug)]
pub struct RwLockReadGuard<'a, T: ?Sized> {
    guard: parking_lot::RwLockReadGuard<'a, T>,
    _token: held::Token,
}

/// Holds a [`RwLock`] for writing.
#[derive(Debug)]
pub struct RwLockWriteGuard<'a, T: ?Sized> {
    guard: parking_lot::RwLockWriteGuard<'a, T>,
    _token: held::Token,
}

impl<T> RwLock<T> {
    /// Creates an unlocked lock of this level.
    pub const fn new(level: Level, value: T) -> RwLock<T> {
        RwLock { level, inner: parking_lot::RwLock::new(value) }
    }
}

impl<T: ?Sized> RwLock<T> {
    /// Locks for reading.
    #[track_caller]
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        let token = held::enter(self.level);
        RwLockReadGuard { guard: self.inner.read(), _token: token }
    }

    /// Locks for writing.
    #[track_caller]
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        let token = held::enter(self.level);
        RwLockWriteGuard { guard: self.inner.write(), _token: token }
    }
}

impl<T: ?Sized> Deref for RwLockReadGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T: ?Sized> Deref for RwLockWriteGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.guard
    }
}

impl<T: ?Sized> DerefMut for RwLockWriteGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.guard
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ascending_order_is_accepted() {
        let low = Mutex::new(Level::Process, 1);
        let high = Mutex::new(Level::Leaf, 2);
        let a = low.lock();
        let b = high.lock();
        assert_eq!(*a + *b, 3);
    }

    #[cfg(debug_assertions)]
    #[test]
    #[should_panic(expected = "lock order")]
    fn descending_order_panics() {
        let low = Mutex::new(Level::Process, 1);
        let high = Mutex::new(Level::Leaf, 2);
        let _b = high.lock();
        let _a = low.lock();
    }
}
