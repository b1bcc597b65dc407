//! Where file data go to and come from: guest memory in the kernel, plain bytes in tests and kernel-internal copies.

use abi::Errno;

/// Destination of a read.
pub trait IoDst {
    /// Returns the bytes that still fit.
    fn remaining(&self) -> usize;

    /// Takes bytes from the front of `data`; returns how many arrived, which is fewer than offered only where the
    /// destination is full or faults. `EFAULT` only if none arrived.
    fn put(&mut self, data: &[u8]) -> Result<usize, Errno>;

    /// Lets `fill` write up to `max` bytes into a buffer (which may be the destination itself) and takes the count that
    /// it returns. For sources that a failed copy can't hurt: files with positions.
    fn fill_with(
        &mut self,
        max: usize,
        fill: &mut dyn FnMut(&mut [u8]) -> Result<usize, Errno>,
    ) -> Result<usize, Errno> {
        const CHUNK: usize = 64 * 1024;
        let mut buf = vec![0; max.min(self.remaining()).min(CHUNK)];
        let mut done = 0;
        while done < max && self.remaining() > 0 {
            let want = buf.len().min(max - done).min(self.remaining());
            let got = match fill(&mut buf[..want]) {
                Ok(got) => got,
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno),
            };
            if got == 0 {
                break;
            }
            let put = match self.put(&buf[..got]) {
                Ok(put) => put,
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno),
            };
            done += put;
            if put < got || got < want {
                break;
            }
        }
        Ok(done)
    }
}

/// Source of a write.
pub trait IoSrc {
    /// Returns the bytes that are left.
    fn remaining(&self) -> usize;

    /// Copies bytes into `buf` and consumes them; returns how many, which is fewer than `buf` holds only where the
    /// source ends or faults. `EFAULT` only if none could be read.
    fn take(&mut self, buf: &mut [u8]) -> Result<usize, Errno>;

    /// Gives the last `bytes` taken back, since they could not be used.
    fn untake(&mut self, bytes: usize);
}

/// Reads into plain memory.
#[derive(Debug)]
pub struct BytesDst<'a> {
    buf: &'a mut [u8],
    done: usize,
}

impl<'a> BytesDst<'a> {
    /// Fills `buf` from its start.
    pub fn new(buf: &'a mut [u8]) -> BytesDst<'a> {
        BytesDst { buf, done: 0 }
    }
}

impl IoDst for BytesDst<'_> {
    fn remaining(&self) -> usize {
        self.buf.len() - self.done
    }

    fn put(&mut self, data: &[u8]) -> Result<usize, Errno> {
        let count = data.len().min(self.remaining());
        self.buf[self.done..self.done + count].copy_from_slice(&data[..count]);
        self.done += count;
        Ok(count)
    }

    fn fill_with(
        &mut self,
        max: usize,
        fill: &mut dyn FnMut(&mut [u8]) -> Result<usize, Errno>,
    ) -> Result<usize, Errno> {
        let want = max.min(self.remaining());
        let got = fill(&mut self.buf[self.done..self.done + want])?.min(want);
        self.done += got;
        Ok(got)
    }
}

/// Writes from plain memory.
#[derive(Debug)]
pub struct BytesSrc<'a> {
    buf: &'a [u8],
    done: usize,
}

impl<'a> BytesSrc<'a> {
    /// Gives out `buf` from its start.
    pub fn new(buf: &'a [u8]) -> BytesSrc<'a> {
        BytesSrc { buf, done: 0 }
    }
}

impl IoSrc for BytesSrc<'_> {
    fn remaining(&self) -> usize {
        self.buf.len() - self.done
    }

    fn take(&mut self, buf: &mut [u8]) -> Result<usize, Errno> {
        let count = buf.len().min(self.remaining());
        buf[..count].copy_from_slice(&self.buf[self.done..self.done + count]);
        self.done += count;
        Ok(count)
    }

    fn untake(&mut self, bytes: usize) {
        self.done = self.done.saturating_sub(bytes);
    }
}
