//! The devices without a device: null, zero, full, random (`man 4 null`, `full`, `random`).

use std::any::Any;
use std::sync::Arc;

use abi::{Errno, UserAddr};
use rustix::rand::GetRandomFlags;
use sentry_sync::WaitQueue;

use crate::{FileOps, IoDst, IoFlags, IoSrc, MapSource, UserMemory, host};

static ZEROS: [u8; 65536] = [0; 65536];

fn read_zeros(dst: &mut dyn IoDst) -> Result<usize, Errno> {
    let mut done = 0;
    while dst.remaining() > 0 {
        let want = dst.remaining().min(ZEROS.len());
        match dst.put(&ZEROS[..want]) {
            Ok(put) => {
                done += put;
                if put < want {
                    break;
                }
            }
            Err(_) if done > 0 => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(done)
}

/// Takes everything without looking at it: not even a bad address fails.
fn swallow(src: &dyn IoSrc) -> usize {
    src.remaining()
}

/// `/dev/null`.
#[derive(Debug)]
pub(crate) struct Null;

impl FileOps for Null {
    fn read(&self, _pos: &mut u64, _flags: IoFlags, _dst: &mut dyn IoDst) -> Result<usize, Errno> {
        Ok(0)
    }

    fn write(&self, _pos: &mut u64, _flags: IoFlags, src: &mut dyn IoSrc) -> Result<usize, Errno> {
        Ok(swallow(src))
    }

    fn seekable(&self) -> bool {
        true
    }

    fn seek(&self, _offset: i64, _whence: u32) -> Option<Result<u64, Errno>> {
        Some(Ok(0))
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// `/dev/zero`.
#[derive(Debug)]
pub(crate) struct Zero;

impl FileOps for Zero {
    fn read(&self, _pos: &mut u64, _flags: IoFlags, dst: &mut dyn IoDst) -> Result<usize, Errno> {
        read_zeros(dst)
    }

    fn write(&self, _pos: &mut u64, _flags: IoFlags, src: &mut dyn IoSrc) -> Result<usize, Errno> {
        Ok(swallow(src))
    }

    fn seekable(&self) -> bool {
        true
    }

    fn seek(&self, _offset: i64, _whence: u32) -> Option<Result<u64, Errno>> {
        Some(Ok(0))
    }

    fn map(&self, _shared: bool) -> Result<MapSource, Errno> {
        Ok(MapSource::Anonymous)
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// `/dev/full`.
#[derive(Debug)]
pub(crate) struct Full;

impl FileOps for Full {
    fn read(&self, _pos: &mut u64, _flags: IoFlags, dst: &mut dyn IoDst) -> Result<usize, Errno> {
        read_zeros(dst)
    }

    fn write(&self, _pos: &mut u64, _flags: IoFlags, _src: &mut dyn IoSrc) -> Result<usize, Errno> {
        Err(Errno::ENOSPC)
    }

    fn seekable(&self) -> bool {
        true
    }

    fn seek(&self, _offset: i64, _whence: u32) -> Option<Result<u64, Errno>> {
        Some(Ok(0))
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// `/dev/random` and `/dev/urandom`: the host's generator.
#[derive(Debug, Default)]
pub(crate) struct Random {
    /// `/dev/random` can be waited for, though it never has to be.
    queue: Option<WaitQueue>,
}

impl Random {
    pub(super) fn polled() -> Random {
        Random { queue: Some(WaitQueue::new()) }
    }
}

impl FileOps for Random {
    fn read(&self, _pos: &mut u64, _flags: IoFlags, dst: &mut dyn IoDst) -> Result<usize, Errno> {
        let mut buf = [0; 4096];
        let mut done = 0;
        while dst.remaining() > 0 {
            let want = dst.remaining().min(buf.len());
            let got = rustix::rand::getrandom(&mut buf[..want], GetRandomFlags::empty()).map_err(host::errno)?;
            match dst.put(&buf[..got]) {
                Ok(put) => {
                    done += put;
                    if put < got {
                        break;
                    }
                }
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno),
            }
        }
        Ok(done)
    }

    fn write(&self, _pos: &mut u64, _flags: IoFlags, src: &mut dyn IoSrc) -> Result<usize, Errno> {
        // Linux mixes it in; the host's pool isn't the guest's to stir. A bad address fails, as there.
        let mut buf = [0; 4096];
        let mut done = 0;
        while src.remaining() > 0 {
            let want = src.remaining().min(buf.len());
            match src.take(&mut buf[..want]) {
                Ok(taken) => {
                    done += taken;
                    if taken < want {
                        break;
                    }
                }
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno),
            }
        }
        Ok(done)
    }

    fn seekable(&self) -> bool {
        true
    }

    fn seek(&self, _offset: i64, _whence: u32) -> Option<Result<u64, Errno>> {
        Some(Ok(0))
    }

    fn wait_queue(&self) -> Option<WaitQueue> {
        self.queue.clone()
    }

    fn ioctl(&self, memory: &dyn UserMemory, op: u32, arg: u64) -> Result<u64, Errno> {
        /// `RNDGETENTCNT` of `random(4)`.
        const RNDGETENTCNT: u32 = 0x8004_5200;
        match op {
            RNDGETENTCNT => {
                memory.write(UserAddr::new(arg), &256_i32.to_ne_bytes())?;
                Ok(0)
            }
            // The others of random(4) need privilege over the host's pool.
            0x4004_5201 | 0x4008_5203 | 0x5204 | 0x5206 | 0x5207 => Err(Errno::EPERM),
            _ => Err(Errno::EINVAL),
        }
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
