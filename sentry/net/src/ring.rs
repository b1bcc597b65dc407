//! [`Ring`]: a byte queue that grows with what is in it and lets readers and writers copy straight to and from guest
//! memory.

use abi::Errno;
use sentry_fs::{IoDst, IoSrc};

/// First allocation, bytes.
const FIRST: usize = 4096;
/// Most bytes allocated for in one step.
const STEP: usize = 64 * 1024;
/// An empty ring keeps at most this much memory: enough for a reader that keeps up with large writes.
const KEEP: usize = 256 * 1024;

/// A growable circular byte buffer.
#[derive(Debug, Default)]
pub(crate) struct Ring {
    /// Length zero or a power of two.
    buf: Vec<u8>,
    head: usize,
    len: usize,
}

impl Ring {
    /// Returns the bytes inside.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    fn reserve(&mut self, extra: usize) {
        let need = self.len + extra;
        if need <= self.buf.len() {
            return;
        }
        let mut grown = vec![0; need.max(FIRST).next_power_of_two()];
        let (front, back) = self.slices(0, self.len);
        grown[..front.len()].copy_from_slice(front);
        grown[front.len()..front.len() + back.len()].copy_from_slice(back);
        self.buf = grown;
        self.head = 0;
    }

    /// Returns the `count` bytes from `offset` on, in two parts. The range must lie inside.
    fn slices(&self, offset: usize, count: usize) -> (&[u8], &[u8]) {
        if count == 0 {
            return (&[], &[]);
        }
        let start = (self.head + offset) & (self.buf.len() - 1);
        let first = count.min(self.buf.len() - start);
        (&self.buf[start..start + first], &self.buf[..count - first])
    }

    /// Appends up to `max` bytes; returns how many. Errors: `EFAULT` where none could be read.
    pub(crate) fn write_from(&mut self, src: &mut dyn IoSrc, max: usize) -> Result<usize, Errno> {
        let want = max.min(src.remaining());
        let mut done = 0;
        // Grows in steps, so that a huge request that faults early allocates little.
        while done < want {
            let step = (want - done).min(STEP);
            self.reserve(step);
            let start = (self.head + self.len) & (self.buf.len() - 1);
            let room = step.min(self.buf.len() - start);
            let got = match src.take(&mut self.buf[start..start + room]) {
                Ok(got) => got.min(room),
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => break,
            };
            self.len += got;
            done += got;
            if got < room {
                break;
            }
        }
        Ok(done)
    }

    /// Takes back the last `count` bytes written.
    pub(crate) fn unwrite(&mut self, count: usize) {
        self.len -= count.min(self.len);
    }

    /// Copies up to `count` bytes from `offset` on without consuming them; returns how many arrived.
    pub(crate) fn peek_to(&self, offset: usize, count: usize, dst: &mut dyn IoDst) -> Result<usize, Errno> {
        let count = count.min(self.len.saturating_sub(offset)).min(dst.remaining());
        let (front, back) = self.slices(offset, count);
        let mut done = 0;
        for part in [front, back] {
            if part.is_empty() {
                continue;
            }
            match dst.put(part) {
                Ok(put) => {
                    done += put;
                    if put < part.len() {
                        break;
                    }
                }
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => break,
            }
        }
        Ok(done)
    }

    /// Drops bytes from the front.
    pub(crate) fn consume(&mut self, count: usize) {
        let count = count.min(self.len);
        self.len -= count;
        if self.len == 0 {
            self.head = 0;
            if self.buf.len() > KEEP {
                self.buf = Vec::new();
            }
        } else {
            self.head = (self.head + count) & (self.buf.len() - 1);
        }
    }

    /// Removes one byte at `offset`, shifting those before it.
    pub(crate) fn remove(&mut self, offset: usize) {
        if offset >= self.len {
            return;
        }
        let mask = self.buf.len() - 1;
        for at in (0..offset).rev() {
            self.buf[(self.head + at + 1) & mask] = self.buf[(self.head + at) & mask];
        }
        self.consume(1);
    }

    /// Returns one byte.
    pub(crate) fn get(&self, offset: usize) -> Option<u8> {
        (offset < self.len).then(|| self.buf[(self.head + offset) & (self.buf.len() - 1)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use sentry_fs::{BytesDst, BytesSrc};
    use std::collections::VecDeque;

    #[derive(Clone, Debug)]
    enum Step {
        Write(Vec<u8>),
        Read(usize),
        Unwrite(usize),
        Remove(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..9000).prop_map(Step::Write),
            (0_usize..9000).prop_map(Step::Read),
            (0_usize..100).prop_map(Step::Unwrite),
            (0_usize..100).prop_map(Step::Remove),
        ]
    }

    proptest! {
        #[test]
        fn behaves_as_a_plain_queue(steps in proptest::collection::vec(step(), 0..40)) {
            let mut ring = Ring::default();
            let mut model: VecDeque<u8> = VecDeque::new();
            for step in steps {
                match step {
                    Step::Write(data) => {
                        prop_assert_eq!(ring.write_from(&mut BytesSrc::new(&data), usize::MAX), Ok(data.len()));
                        model.extend(&data);
                    }
                    Step::Read(count) => {
                        let mut out = vec![0; count];
                        let got = ring.peek_to(0, count, &mut BytesDst::new(&mut out)).unwrap();
                        let want: Vec<u8> = model.drain(..count.min(model.len())).collect();
                        prop_assert_eq!(&out[..got], &want[..]);
                        ring.consume(got);
                    }
                    Step::Unwrite(count) => {
                        ring.unwrite(count);
                        model.truncate(model.len() - count.min(model.len()));
                    }
                    Step::Remove(at) => {
                        prop_assert_eq!(ring.get(at), model.get(at).copied());
                        ring.remove(at);
                        model.remove(at);
                    }
                }
                prop_assert_eq!(ring.len(), model.len());
            }
        }
    }
}
