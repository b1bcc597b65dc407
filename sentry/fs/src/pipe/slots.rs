//! The content of a pipe: a row of slots with at most a page each, as Linux has it (`fs/pipe.c`), so that capacity,
//! merging of small writes and packets come out the same.

use std::collections::VecDeque;
use std::sync::Arc;

use abi::Errno;

use crate::{IoDst, IoSrc};

/// Bytes in a slot; also `PIPE_BUF`, since what fits in a slot is written as a whole or not at all.
pub(super) const SLOT: usize = 4096;

/// Empty pages kept for reuse.
const SPARE: usize = 4;

pub(super) type Page = Arc<[u8; SLOT]>;

/// A part of a page. Pages are shared by `tee`; only one that isn't is written to.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    page: Page,
    start: usize,
    len: usize,
    /// One write in packet mode: a read takes it alone, and drops what doesn't fit.
    packet: bool,
    /// Later writes may be appended.
    merge: bool,
}

impl Slot {
    /// Holds the first `len` bytes of a page that nothing is appended to.
    pub(super) fn fixed(page: Page, len: usize) -> Slot {
        Slot { page, start: 0, len: len.min(SLOT), packet: false, merge: false }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.page.get(self.start..self.start + self.len).unwrap_or_default()
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Returns a slot with the first bytes of this one.
    pub(super) fn front(&self, len: usize) -> Slot {
        let merge = self.merge && len >= self.len;
        Slot { page: Arc::clone(&self.page), len: len.min(self.len), merge, ..*self }
    }

    /// Drops the first bytes.
    pub(super) fn consume(&mut self, len: usize) {
        let len = len.min(self.len);
        self.start += len;
        self.len -= len;
    }
}

/// A bounded row of slots.
#[derive(Debug)]
pub(super) struct Slots {
    row: VecDeque<Slot>,
    limit: usize,
    spare: Vec<Page>,
}

impl Slots {
    pub(super) fn new(limit: usize) -> Slots {
        Slots { row: VecDeque::new(), limit, spare: Vec::new() }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// Changes the number of slots: `EBUSY` if more are in use.
    pub(super) fn resize(&mut self, limit: usize) -> Result<(), Errno> {
        if self.row.len() > limit {
            return Err(Errno::EBUSY);
        }
        self.limit = limit;
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.row.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.row.len() >= self.limit
    }

    pub(super) fn free(&self) -> usize {
        self.limit.saturating_sub(self.row.len())
    }

    pub(super) fn bytes(&self) -> usize {
        self.row.iter().map(|slot| slot.len).sum()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.row.iter()
    }

    pub(super) fn push_back(&mut self, slot: Slot) {
        self.row.push_back(slot);
    }

    pub(super) fn push_front(&mut self, slot: Slot) {
        self.row.push_front(slot);
    }

    /// Takes up to `max` bytes, but at most one slot.
    pub(super) fn pop(&mut self, max: usize) -> Option<Slot> {
        let first = self.row.front_mut()?;
        if first.len <= max {
            return self.row.pop_front();
        }
        let part = first.front(max);
        first.consume(max);
        Some(part)
    }

    fn new_page(&mut self) -> Page {
        self.spare.pop().unwrap_or_else(|| Arc::new([0; SLOT]))
    }

    fn recycle(&mut self, mut page: Page) {
        if self.spare.len() < SPARE && Arc::get_mut(&mut page).is_some() {
            self.spare.push(page);
        }
    }

    /// Takes in as much of `src` as fits. `Ok(0)` means full.
    pub(super) fn fill(&mut self, src: &mut dyn IoSrc, packet: bool) -> Result<usize, Errno> {
        let mut done = 0;
        // The odd bytes go behind what the last slot holds, if they fit as a whole.
        let odd = src.remaining() % SLOT;
        if odd > 0
            && let Some(last) = self.row.back_mut()
            && last.merge
            && last.start + last.len + odd <= SLOT
        {
            let at = last.start + last.len;
            if let Some(page) = Arc::get_mut(&mut last.page) {
                done = src.take(&mut page[at..at + odd])?;
                last.len += done;
                if done < odd {
                    return Ok(done);
                }
            }
        }
        while src.remaining() > 0 && !self.is_full() {
            let want = src.remaining().min(SLOT);
            let mut page = self.new_page();
            let Some(room) = Arc::get_mut(&mut page) else { continue };
            match src.take(&mut room[..want]) {
                Ok(0) => break,
                Ok(taken) => {
                    self.row.push_back(Slot { page, start: 0, len: taken, packet, merge: !packet });
                    done += taken;
                    if taken < want {
                        break;
                    }
                }
                Err(errno) => {
                    self.recycle(page);
                    return if done > 0 { Ok(done) } else { Err(errno) };
                }
            }
        }
        Ok(done)
    }

    /// Gives out bytes of several slots by one copy.
    fn drain_many(&mut self, dst: &mut dyn IoDst, first: usize) -> Result<usize, Errno> {
        let want = self.bytes().min(dst.remaining());
        let (mut slots, mut inside) = (self.row.iter(), 0);
        let mut slot = slots.next();
        let put = dst.fill_with(want, &mut |buf| {
            let mut done = 0;
            while done < buf.len() {
                let Some(rest) = slot.map(|slot| slot.bytes().get(inside..).unwrap_or_default()) else { break };
                let part = rest.len().min(buf.len() - done);
                buf[done..done + part].copy_from_slice(&rest[..part]);
                done += part;
                inside += part;
                if part == rest.len() {
                    slot = slots.next();
                    inside = 0;
                }
            }
            Ok(done)
        })?;
        // As on Linux a page that can't be copied as a whole stays.
        if put < want && put < first {
            return Err(Errno::EFAULT);
        }
        let mut done = 0;
        while let Some(slot) = self.row.front_mut() {
            let part = slot.len.min(want - done);
            if part == 0 || done + part > put {
                break;
            }
            slot.consume(part);
            done += part;
            if slot.len == 0 {
                let slot = self.row.pop_front();
                slot.into_iter().for_each(|slot| self.recycle(slot.page));
            }
        }
        Ok(done)
    }

    /// Gives out what there is and fits, at most one packet. `Ok(0)` means empty.
    pub(super) fn drain(&mut self, dst: &mut dyn IoDst) -> Result<usize, Errno> {
        let first = self.row.front().map_or(0, Slot::len);
        if first < dst.remaining() && self.row.len() > 1 && !self.row.iter().any(|slot| slot.packet) {
            return self.drain_many(dst, first);
        }
        let mut done = 0;
        while dst.remaining() > 0 {
            let Some(first) = self.row.front_mut() else { break };
            let want = first.len.min(dst.remaining());
            let put = match dst.put(&first.bytes()[..want]) {
                // As on Linux a page that can't be copied as a whole stays.
                Ok(put) if put < want && done > 0 => break,
                Ok(put) if put < want => return Err(Errno::EFAULT),
                Ok(put) => put,
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno),
            };
            done += put;
            first.consume(put);
            let packet = first.packet;
            if packet && put == want || first.len == 0 {
                let slot = self.row.pop_front();
                slot.into_iter().for_each(|slot| self.recycle(slot.page));
            }
            if packet {
                break;
            }
        }
        Ok(done)
    }
}
