//! Counters of `eventfd(2)`.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use abi::Errno;
use abi::flags::Ready;
use sentry_sync::WaitQueue;

use crate::{FileOps, IoDst, IoFlags, IoSrc};

static NEXT_ID: AtomicU64 = AtomicU64::new(0);

/// Highest value that writing reaches.
const FULL: u64 = u64::MAX - 1;

/// An event counter.
#[derive(Debug)]
pub struct EventFd {
    id: u64,
    count: AtomicU64,
    semaphore: bool,
    queue: WaitQueue,
}

impl EventFd {
    /// Makes a counter; with `semaphore` (`EFD_SEMAPHORE`) each read takes one.
    pub fn new(initial: u32, semaphore: bool) -> Arc<EventFd> {
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        Arc::new(EventFd { id, count: AtomicU64::new(u64::from(initial)), semaphore, queue: WaitQueue::new() })
    }

    /// Adds without waiting, as the kernel itself does: stops at the highest value, which polls as `EPOLLERR`.
    pub fn signal(&self, amount: u64) {
        let add = |count: u64| Some(count.saturating_add(amount));
        let _ = self.count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, add);
        self.queue.wake(Ready::IN.bits());
    }

    fn take(&self) -> Result<u64, Errno> {
        let semaphore = self.semaphore;
        let less = |count: u64| (count > 0).then(|| if semaphore { count - 1 } else { 0 });
        let before = self.count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).map_err(|_| Errno::EAGAIN)?;
        Ok(if semaphore { 1 } else { before })
    }
}

impl FileOps for EventFd {
    fn read(&self, _pos: &mut u64, _flags: IoFlags, dst: &mut dyn IoDst) -> Result<usize, Errno> {
        if dst.remaining() < 8 {
            return Err(Errno::EINVAL);
        }
        let value = self.take()?;
        self.queue.wake(Ready::OUT.bits());
        // As on Linux the count is gone even if the copy fails.
        if dst.put(&value.to_ne_bytes())? == 8 { Ok(8) } else { Err(Errno::EFAULT) }
    }

    fn write(&self, _pos: &mut u64, _flags: IoFlags, src: &mut dyn IoSrc) -> Result<usize, Errno> {
        if src.remaining() < 8 {
            return Err(Errno::EINVAL);
        }
        let mut bytes = [0; 8];
        if src.take(&mut bytes)? < 8 {
            return Err(Errno::EFAULT);
        }
        let amount = u64::from_ne_bytes(bytes);
        if amount == u64::MAX {
            return Err(Errno::EINVAL);
        }
        let add = |count: u64| count.checked_add(amount).filter(|sum| *sum <= FULL);
        if self.count.fetch_update(Ordering::SeqCst, Ordering::SeqCst, add).is_err() {
            src.untake(8);
            return Err(Errno::EAGAIN);
        }
        self.queue.wake(Ready::IN.bits());
        Ok(8)
    }

    fn ready(&self) -> Ready {
        let count = self.count.load(Ordering::SeqCst);
        let mut ready = Ready::empty();
        ready.set(Ready::IN, count > 0);
        ready.set(Ready::ERR, count == u64::MAX);
        ready.set(Ready::OUT, count < FULL);
        ready
    }

    fn wait_queue(&self) -> Option<WaitQueue> {
        Some(self.queue.clone())
    }

    fn fdinfo(&self) -> String {
        let count = self.count.load(Ordering::SeqCst);
        let semaphore = u8::from(self.semaphore);
        format!("eventfd-count: {count:16x}\neventfd-id: {}\neventfd-semaphore: {semaphore}\n", self.id)
    }

    fn anon_name(&self) -> Option<String> {
        Some("anon_inode:[eventfd]".to_owned())
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BytesDst, BytesSrc};

    fn read(file: &EventFd) -> Result<u64, Errno> {
        let mut buf = [0; 8];
        file.read(&mut 0, IoFlags::empty(), &mut BytesDst::new(&mut buf))?;
        Ok(u64::from_ne_bytes(buf))
    }

    fn write(file: &EventFd, amount: u64) -> Result<usize, Errno> {
        file.write(&mut 0, IoFlags::empty(), &mut BytesSrc::new(&amount.to_ne_bytes()))
    }

    #[test]
    fn a_counter_adds_up_and_is_taken_as_a_whole() {
        let file = EventFd::new(3, false);
        write(&file, 4).unwrap();
        assert_eq!(read(&file), Ok(7));
        assert_eq!(read(&file), Err(Errno::EAGAIN));
        assert_eq!(write(&file, u64::MAX), Err(Errno::EINVAL));
        write(&file, FULL).unwrap();
        assert_eq!(write(&file, 1), Err(Errno::EAGAIN));
        assert_eq!(file.ready(), Ready::IN);
        file.signal(5);
        assert_eq!(file.ready(), Ready::IN | Ready::ERR);
    }

    #[test]
    fn a_semaphore_is_taken_one_by_one() {
        let file = EventFd::new(2, true);
        assert_eq!((read(&file), read(&file), read(&file)), (Ok(1), Ok(1), Err(Errno::EAGAIN)));
    }

    #[test]
    fn short_buffers_are_refused() {
        let file = EventFd::new(2, false);
        let mut buf = [0; 7];
        let mut dst = BytesDst::new(&mut buf);
        assert_eq!(file.read(&mut 0, IoFlags::empty(), &mut dst), Err(Errno::EINVAL));
        let mut src = BytesSrc::new(&[0; 7]);
        assert_eq!(file.write(&mut 0, IoFlags::empty(), &mut src), Err(Errno::EINVAL));
    }
}
