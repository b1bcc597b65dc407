//! Guest addresses: numbers that a guest chose, never dereferenced, only copied from or to through an address space.

use std::fmt;
use std::marker::PhantomData;

/// Bytes in a page.
pub const PAGE_SIZE: u64 = 4096;

/// Rounds down to a page boundary.
pub const fn page_floor(value: u64) -> u64 {
    value & !(PAGE_SIZE - 1)
}

/// Rounds up to a page boundary; `None` where that leaves 64 bits.
pub const fn page_ceil(value: u64) -> Option<u64> {
    match value.checked_add(PAGE_SIZE - 1) {
        Some(sum) => Some(page_floor(sum)),
        None => None,
    }
}

/// An untrusted address in a guest's address space.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UserAddr(u64);

impl UserAddr {
    /// The null address.
    pub const NULL: UserAddr = UserAddr(0);

    /// Wraps a number that the guest gave.
    pub const fn new(raw: u64) -> UserAddr {
        UserAddr(raw)
    }

    /// Returns the number.
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// Tells whether this is the null address.
    pub const fn is_null(self) -> bool {
        self.0 == 0
    }

    /// Adds a length; `None` on overflow.
    pub fn checked_add(self, bytes: u64) -> Option<UserAddr> {
        self.0.checked_add(bytes).map(UserAddr)
    }

    /// Adds a length modulo 2^64. An address that wrapped faults when it is used, as on Linux.
    pub fn wrapping_add(self, bytes: u64) -> UserAddr {
        UserAddr(self.0.wrapping_add(bytes))
    }

    /// Tells whether the address is a multiple of `align`, a power of two.
    pub fn is_aligned(self, align: u64) -> bool {
        self.0 & (align - 1) == 0
    }
}

impl fmt::Debug for UserAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

/// A guest address at which a `T` is read or written.
pub struct UserRef<T> {
    addr: UserAddr,
    what: PhantomData<fn() -> T>,
}

impl<T> UserRef<T> {
    /// Claims that a `T` is meant at this address.
    pub const fn new(addr: UserAddr) -> UserRef<T> {
        UserRef { addr, what: PhantomData }
    }

    /// Returns the address.
    pub const fn addr(self) -> UserAddr {
        self.addr
    }

    /// Tells whether this is the null address.
    pub const fn is_null(self) -> bool {
        self.addr.is_null()
    }

    /// Returns the reference, or `None` where it is null.
    pub fn non_null(self) -> Option<UserRef<T>> {
        (!self.is_null()).then_some(self)
    }

    /// Returns the `index`th element of an array that starts here.
    pub fn element(self, index: usize) -> UserRef<T> {
        let offset = (index as u64).wrapping_mul(size_of::<T>() as u64);
        UserRef::new(self.addr.wrapping_add(offset))
    }

    /// Reads the same address as another type.
    pub const fn cast<U>(self) -> UserRef<U> {
        UserRef::new(self.addr)
    }
}

impl<T> Clone for UserRef<T> {
    fn clone(&self) -> UserRef<T> {
        *self
    }
}

impl<T> Copy for UserRef<T> {}

impl<T> fmt::Debug for UserRef<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.addr.fmt(f)
    }
}

/// A range of guest memory: untrusted start and length in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct UserSlice {
    /// First byte.
    pub addr: UserAddr,
    /// Length in bytes.
    pub len: usize,
}

impl UserSlice {
    /// Wraps a range that the guest gave.
    pub const fn new(addr: UserAddr, len: usize) -> UserSlice {
        UserSlice { addr, len }
    }
}
