//! Lists of guest buffers, as destination of reads and source of writes.
//!
//! The host enforces protection: a copy that meets unmapped or protected memory ends early, and that is how `EFAULT`
//! comes about. Nothing here looks at the mappings.

use std::cell::RefCell;

use abi::types::{IOV_MAX, Iovec, MAX_RW_COUNT};
use abi::{Errno, UserAddr};
use sentry_fs::{IoDst, IoSrc};
use smallvec::SmallVec;
use zerocopy::IntoBytes;

use super::layout::TASK_SIZE;
use crate::Current;
use crate::usermem::UserMem;
use sentry_platform::PLACES;

/// A list of guest buffers, checked.
pub type IovecList = SmallVec<[Iovec; 8]>;

impl UserMem {
    /// Copies an array of iovecs in and checks it: at most `UIO_MAXIOV`, no negative length, addresses of user space,
    /// the total cut to `MAX_RW_COUNT`.
    pub fn read_iovecs(&self, addr: UserAddr, count: u64) -> Result<IovecList, Errno> {
        self.read_list(addr, count, access_ok)
    }

    /// Copies in an array of iovecs that mean another process's memory: their addresses are not checked.
    pub fn read_remote_iovecs(&self, addr: UserAddr, count: u64) -> Result<IovecList, Errno> {
        self.read_list(addr, count, |_, _| true)
    }

    fn read_list(&self, addr: UserAddr, count: u64, accept: impl Fn(u64, u64) -> bool) -> Result<IovecList, Errno> {
        let count = usize::try_from(count).ok().filter(|count| *count <= IOV_MAX).ok_or(Errno::EINVAL)?;
        let mut list: IovecList = SmallVec::from_elem(Iovec::default(), count);
        self.read_bytes(addr, list.as_mut_slice().as_mut_bytes())?;
        let mut left = MAX_RW_COUNT as u64;
        for iovec in &mut list {
            if i64::try_from(iovec.len).is_err() {
                return Err(Errno::EINVAL);
            }
            // All of it is checked before it is cut.
            if !accept(iovec.base, iovec.len) {
                return Err(Errno::EFAULT);
            }
            iovec.len = iovec.len.min(left);
            left -= iovec.len;
        }
        Ok(list)
    }

    /// Returns the one buffer of a plain `read` or `write`: `EFAULT` outside user space, cut to `MAX_RW_COUNT`.
    pub fn one_iovec(addr: UserAddr, len: usize) -> Result<IovecList, Errno> {
        // All of it is checked before it is cut.
        if !access_ok(addr.raw(), len as u64) {
            return Err(Errno::EFAULT);
        }
        let len = len.min(MAX_RW_COUNT) as u64;
        Ok(SmallVec::from_slice(&[Iovec { base: addr.raw(), len }]))
    }
}

/// Tells whether a range lies in user space; what is mapped there is another question (Linux: `access_ok`).
pub fn access_ok(addr: u64, len: u64) -> bool {
    addr.checked_add(len).is_some_and(|end| end <= TASK_SIZE)
}

/// Walks a list of guest buffers.
#[derive(Clone, Debug)]
struct Cursor<'a> {
    list: &'a [Iovec],
    index: usize,
    offset: u64,
    remaining: usize,
}

impl<'a> Cursor<'a> {
    fn new(list: &'a [Iovec]) -> Cursor<'a> {
        let total: u64 = list.iter().map(|iovec| iovec.len).sum();
        Cursor { list, index: 0, offset: 0, remaining: usize::try_from(total).unwrap_or(usize::MAX) }
    }

    /// Returns address and length of the next buffer with room.
    fn front(&mut self) -> Option<(UserAddr, usize)> {
        while let Some(iovec) = self.list.get(self.index) {
            let left = iovec.len - self.offset;
            if left > 0 {
                let len = usize::try_from(left).unwrap_or(usize::MAX);
                return Some((UserAddr::new(iovec.base).wrapping_add(self.offset), len));
            }
            self.index += 1;
            self.offset = 0;
        }
        None
    }

    /// Returns where the next bytes stand, at most `most` of them, as far as so many places hold; and their number.
    fn places(&self, most: usize) -> (SmallVec<[(u64, usize); PLACES]>, usize) {
        let mut ahead = self.clone();
        let (mut places, mut total) = (SmallVec::new(), 0);
        while places.len() < PLACES && total < most {
            let Some((addr, len)) = ahead.front() else { break };
            let len = len.min(most - total);
            places.push((addr.raw(), len));
            ahead.advance(len);
            total += len;
        }
        (places, total)
    }

    fn advance(&mut self, bytes: usize) {
        self.remaining -= bytes;
        let mut left = bytes as u64;
        while let Some(room) = self.list.get(self.index).map(|iovec| iovec.len - self.offset)
            && left > room
        {
            left -= room;
            self.index += 1;
            self.offset = 0;
        }
        self.offset += left;
    }

    fn retreat(&mut self, bytes: usize) {
        let mut left = bytes as u64;
        self.remaining = self.remaining.saturating_add(bytes);
        while left > self.offset {
            left -= self.offset;
            let Some(index) = self.index.checked_sub(1) else {
                self.offset = 0;
                return;
            };
            self.index = index;
            self.offset = self.list.get(index).map_or(0, |iovec| iovec.len);
        }
        self.offset -= left;
    }
}

/// Most bytes that go to the guest with the reply: with more the host is quicker.
const WITH_REPLY: u64 = 512;

/// Guest buffers that data are read into.
pub struct UserDst<'a> {
    mem: &'a UserMem,
    cursor: Cursor<'a>,
    /// How many of the first bytes may be left for the way back to guest code; 0 once there are some.
    last: usize,
    left: bool,
}

impl<'a> UserDst<'a> {
    /// Fills the buffers in order.
    pub fn new(mem: &'a UserMem, list: &'a [Iovec]) -> UserDst<'a> {
        UserDst { mem, cursor: Cursor::new(list), last: 0, left: false }
    }

    /// The call ends with what is put here and returns the number of bytes, and nothing keeps so many of the first ones
    /// ([`UserDst::leading`]) from being written when the guest goes on.
    pub fn to_be_last(self, last: usize) -> UserDst<'a> {
        UserDst { last, ..self }
    }

    /// Tells whether something was left to be written then.
    pub fn has_left(&self) -> bool {
        self.left
    }

    /// Has memory held for the first bytes of the one buffer of a list, as many as are better written by the guest's own
    /// thread on its way back; returns how many. What has been taken from a file or pipe can't be put back, so nothing
    /// may keep them from being written then. [`Current::release_memory`] is to follow unless something is left.
    pub fn leading(cur: &mut Current, list: &[Iovec]) -> usize {
        let [iovec] = list else { return 0 };
        let len = iovec.len.min(WITH_REPLY);
        if len > 0 && cur.hold_memory(iovec.base, len) { usize::try_from(len).unwrap_or(0) } else { 0 }
    }
}

/// Bytes moved at once between a host file and guest memory.
const CHUNK: usize = 128 * 1024;

thread_local! {
    /// A buffer that each worker reuses, so that no read pays for allocating and clearing one.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Runs `f` with a buffer of at least `len` bytes, content unspecified.
fn with_scratch<R>(len: usize, f: impl FnOnce(&mut [u8]) -> R) -> R {
    // Taken out for the time being: `f` may come here again.
    let mut buf = SCRATCH.take();
    if buf.len() < len {
        buf.resize(len.next_power_of_two(), 0);
    }
    let result = f(&mut buf[..len]);
    // `LocalKey::set` is a call to a function of its own.
    SCRATCH.with(|scratch| *scratch.borrow_mut() = buf);
    result
}

impl IoDst for UserDst<'_> {
    fn remaining(&self) -> usize {
        self.cursor.remaining
    }

    fn put(&mut self, data: &[u8]) -> Result<usize, Errno> {
        let mut done = 0;
        while done < data.len() {
            let Some((addr, room)) = self.cursor.front() else { break };
            let want = room.min(data.len() - done);
            if done + want < data.len() {
                let (places, total) = self.cursor.places(data.len() - done);
                let put = self.mem.write_places(&places, &data[done..done + total]);
                self.cursor.advance(put);
                done += put;
                if put < total {
                    return if done == 0 { Err(Errno::EFAULT) } else { Ok(done) };
                }
                continue;
            }
            let piece = &data[done..done + want];
            let leading = std::mem::take(&mut self.last);
            let later = want == data.len() && want <= leading && self.mem.write_last_bytes(addr, piece);
            self.left = later;
            let put = if later { want } else { self.mem.write_partial(addr, piece) };
            self.cursor.advance(put);
            done += put;
            if put < want {
                return if done == 0 { Err(Errno::EFAULT) } else { Ok(done) };
            }
        }
        Ok(done)
    }

    fn fill_with(
        &mut self,
        max: usize,
        fill: &mut dyn FnMut(&mut [u8]) -> Result<usize, Errno>,
    ) -> Result<usize, Errno> {
        let total = max.min(self.remaining());
        with_scratch(total.min(CHUNK), |buf| {
            let mut done = 0;
            while done < total {
                let want = buf.len().min(total - done);
                let moved = fill(&mut buf[..want]).and_then(|got| {
                    let got = got.min(want);
                    self.put(&buf[..got]).map(|put| (got, put))
                });
                match moved {
                    Ok((got, put)) => {
                        done += put;
                        if put < got || got < want {
                            break;
                        }
                    }
                    Err(_) if done > 0 => break,
                    Err(errno) => return Err(errno),
                }
            }
            Ok(done)
        })
    }
}

/// Guest buffers that data are written from.
pub struct UserSrc<'a> {
    mem: &'a UserMem,
    cursor: Cursor<'a>,
    ahead: Ahead,
}

/// What has been read before it was asked for. Whoever takes a second time takes page by page, and a copy of a page
/// costs the host hardly less than one of many.
#[derive(Default)]
struct Ahead {
    takes: u32,
    /// The worker's own buffer, while there is something in it.
    buf: Vec<u8>,
    filled: usize,
    used: usize,
}

impl Drop for Ahead {
    fn drop(&mut self) {
        if !self.buf.is_empty() {
            SCRATCH.set(std::mem::take(&mut self.buf));
        }
    }
}

/// Most bytes that are read ahead.
const AHEAD: usize = 64 * 1024;

impl<'a> UserSrc<'a> {
    /// Takes from the buffers in order.
    pub fn new(mem: &'a UserMem, list: &'a [Iovec]) -> UserSrc<'a> {
        UserSrc { mem, cursor: Cursor::new(list), ahead: Ahead::default() }
    }
}

impl UserSrc<'_> {
    /// Copies from the cursor's place, where the guest's buffer has `len` bytes.
    fn copy(&mut self, addr: UserAddr, len: usize, buf: &mut [u8]) -> usize {
        let ahead = &mut self.ahead;
        if ahead.used == ahead.filled {
            if ahead.takes < 2 || len <= buf.len() {
                return self.mem.read_partial(addr, buf);
            }
            if ahead.buf.is_empty() {
                ahead.buf = SCRATCH.take();
            }
            let want = len.min(AHEAD);
            if ahead.buf.len() < want {
                ahead.buf.resize(want.next_power_of_two(), 0);
            }
            ahead.filled = self.mem.read_partial(addr, &mut ahead.buf[..want]);
            ahead.used = 0;
        }
        let rest = &ahead.buf[ahead.used..ahead.filled];
        let count = rest.len().min(buf.len());
        buf[..count].copy_from_slice(&rest[..count]);
        ahead.used += count;
        count
    }
}

impl IoSrc for UserSrc<'_> {
    fn remaining(&self) -> usize {
        self.cursor.remaining
    }

    fn take(&mut self, buf: &mut [u8]) -> Result<usize, Errno> {
        let mut done = 0;
        self.ahead.takes += 1;
        while done < buf.len() {
            let Some((addr, len)) = self.cursor.front() else { break };
            let mut want = len.min(buf.len() - done);
            let got = if done + want < buf.len() && self.ahead.used == self.ahead.filled {
                let (places, total) = self.cursor.places(buf.len() - done);
                want = total;
                self.mem.read_places(&places, &mut buf[done..done + total])
            } else {
                self.copy(addr, len, &mut buf[done..done + want])
            };
            self.cursor.advance(got);
            done += got;
            if got == 0 {
                return if done == 0 { Err(Errno::EFAULT) } else { Ok(done) };
            }
        }
        Ok(done)
    }

    fn untake(&mut self, bytes: usize) {
        self.ahead = Ahead::default();
        self.cursor.retreat(bytes);
    }
}
