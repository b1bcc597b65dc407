//! Copies between the kernel and guest memory: everything is fetched once and private from then on.

use std::sync::Arc;

use abi::types::PATH_MAX;
use abi::{Errno, PAGE_SIZE, UserAddr, UserRef};
use sentry_platform::{AddressSpace, FileBytes, Short};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::mm::TASK_SIZE;

/// Cuts a length to what lies in user space: above it there is nothing that a guest may reach.
fn user_len(addr: UserAddr, len: usize) -> usize {
    let room = TASK_SIZE.saturating_sub(addr.raw());
    usize::try_from(room).unwrap_or(usize::MAX).min(len)
}

/// Access to one guest memory. Cheap to clone.
#[derive(Clone)]
pub struct UserMem(Arc<dyn AddressSpace>);

impl UserMem {
    /// Wraps an address space.
    pub fn new(space: Arc<dyn AddressSpace>) -> UserMem {
        UserMem(space)
    }

    /// Returns the address space.
    pub fn space(&self) -> &Arc<dyn AddressSpace> {
        &self.0
    }

    /// Copies in as much as can be read before a fault; returns the bytes.
    pub fn read_partial(&self, addr: UserAddr, buf: &mut [u8]) -> usize {
        let len = user_len(addr, buf.len());
        self.0.read(addr.raw(), &mut buf[..len])
    }

    /// Copies out as much as can be written before a fault; returns the bytes.
    pub fn write_partial(&self, addr: UserAddr, buf: &[u8]) -> usize {
        let len = user_len(addr, buf.len());
        self.0.write(addr.raw(), &buf[..len])
    }

    /// As [`UserMem::read_partial`], from several places in order, whose lengths add up to the buffer's.
    pub(crate) fn read_places(&self, places: &[(u64, usize)], buf: &mut [u8]) -> usize {
        self.0.read_list(places, buf)
    }

    /// As [`UserMem::write_partial`], to several places in order, whose lengths add up to the buffer's.
    pub(crate) fn write_places(&self, places: &[(u64, usize)], buf: &[u8]) -> usize {
        self.0.write_list(places, buf)
    }

    /// Fills the buffer, or `EFAULT`.
    pub fn read_bytes(&self, addr: UserAddr, buf: &mut [u8]) -> Result<(), Errno> {
        if self.read_partial(addr, buf) == buf.len() { Ok(()) } else { Err(Errno::EFAULT) }
    }

    /// Writes all bytes, or `EFAULT` (with what comes before the fault written, as on Linux).
    pub fn write_bytes(&self, addr: UserAddr, buf: &[u8]) -> Result<(), Errno> {
        if self.write_partial(addr, buf) == buf.len() { Ok(()) } else { Err(Errno::EFAULT) }
    }

    /// Copies a value in.
    pub fn read<T: FromBytes + IntoBytes>(&self, at: UserRef<T>) -> Result<T, Errno> {
        let mut value = T::new_zeroed();
        self.read_bytes(at.addr(), value.as_mut_bytes())?;
        Ok(value)
    }

    /// Copies a value out.
    pub fn write<T: IntoBytes + Immutable>(&self, at: UserRef<T>, value: &T) -> Result<(), Errno> {
        self.write_bytes(at.addr(), value.as_bytes())
    }

    /// Copies a value out as the last that a call does: where it can't be written the call fails with `EFAULT`, be it only
    /// when the guest goes on.
    pub fn write_last<T: IntoBytes + Immutable>(&self, at: UserRef<T>, value: &T) -> Result<(), Errno> {
        self.write_bytes_last(at.addr(), value.as_bytes())
    }

    /// As [`UserMem::write_last`], unless the guest gave a null address.
    pub fn write_opt_last<T: IntoBytes + Immutable>(&self, at: UserRef<T>, value: &T) -> Result<(), Errno> {
        if at.is_null() { Ok(()) } else { self.write_last(at, value) }
    }

    /// As [`UserMem::write_last`], for bytes.
    pub fn write_bytes_last(&self, addr: UserAddr, buf: &[u8]) -> Result<(), Errno> {
        if user_len(addr, buf.len()) == buf.len() && self.0.write_later(addr.raw(), buf, Short::Fails) {
            return Ok(());
        }
        self.write_bytes(addr, buf)
    }

    /// Copies out the last bytes of a call that returns their number; returns whether that will be.
    pub(crate) fn write_last_bytes(&self, addr: UserAddr, buf: &[u8]) -> bool {
        user_len(addr, buf.len()) == buf.len() && self.0.write_later(addr.raw(), buf, Short::Counts(0))
    }

    /// As [`UserMem::write_last_bytes`], for bytes that the calling thread finds in a mapping.
    pub(crate) fn copy_last_bytes(&self, places: &[(u64, usize)], bytes: FileBytes) -> bool {
        self.0.copy_later(places, bytes)
    }

    /// Copies a value out unless the guest gave a null address.
    pub fn write_opt<T: IntoBytes + Immutable>(&self, at: UserRef<T>, value: &T) -> Result<(), Errno> {
        if at.is_null() { Ok(()) } else { self.write(at, value) }
    }

    /// Copies a value in unless the guest gave a null address.
    pub fn read_opt<T: FromBytes + IntoBytes>(&self, at: UserRef<T>) -> Result<Option<T>, Errno> {
        if at.is_null() { Ok(None) } else { self.read(at).map(Some) }
    }

    /// Copies an array in. The caller has bounded `count`.
    pub fn read_array<T: FromBytes + IntoBytes + Immutable + Clone>(
        &self,
        at: UserRef<T>,
        count: usize,
    ) -> Result<Vec<T>, Errno> {
        let mut values = vec![T::new_zeroed(); count];
        self.read_bytes(at.addr(), values.as_mut_slice().as_mut_bytes())?;
        Ok(values)
    }

    /// Copies an array out.
    pub fn write_array<T: IntoBytes + Immutable>(&self, at: UserRef<T>, values: &[T]) -> Result<(), Errno> {
        self.write_bytes(at.addr(), values.as_bytes())
    }

    /// Copies a NUL-terminated string in, without its NUL: `too_long` where no NUL comes within `max` bytes.
    pub fn read_cstr(&self, addr: UserAddr, max: usize, too_long: Errno) -> Result<Vec<u8>, Errno> {
        let mut string = Vec::new();
        let mut chunk = [0; 256];
        let known = self.0.peek(addr.raw(), &mut chunk);
        if let Some(end) = chunk[..known.min(max)].iter().position(|byte| *byte == 0) {
            return Ok(chunk[..end].to_vec());
        }
        while string.len() < max {
            let at = addr.wrapping_add(string.len() as u64);
            // Never across a page boundary: the string may end just before an unmapped page.
            let in_page = usize::try_from(PAGE_SIZE - at.raw() % PAGE_SIZE).unwrap_or(1);
            let want = chunk.len().min(in_page).min(max - string.len());
            let got = self.read_partial(at, &mut chunk[..want]);
            if got == 0 {
                return Err(Errno::EFAULT);
            }
            match chunk[..got].iter().position(|byte| *byte == 0) {
                Some(end) => {
                    string.extend_from_slice(&chunk[..end]);
                    return Ok(string);
                }
                None => string.extend_from_slice(&chunk[..got]),
            }
        }
        Err(too_long)
    }

    /// Copies a path in: `ENAMETOOLONG` from 4096 bytes on. An empty path is the caller's business.
    pub fn read_path(&self, addr: UserAddr) -> Result<Vec<u8>, Errno> {
        self.read_cstr(addr, PATH_MAX, Errno::ENAMETOOLONG)
    }
}
