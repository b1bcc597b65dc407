//! Readiness of host descriptors: an epoll set of the host, whose events wake wait queues.
//!
//! The workers of the platform look after the set while they look after guest threads, so that a packet that a guest
//! waits for wakes one thread of the sentry and no second one. On a platform that can't do that a thread of our own waits,
//! from the first watch after [`Reactor::start`] on.

use std::collections::HashMap;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Weak};

use abi::Errno;
use rustix::event::{Timespec, epoll};
use sentry_fs::hostfd::{HostReactor, Watch};
use sentry_platform::Platform;
use sentry_sync::{Level, Mutex, WaitQueue};

/// Events taken from the host at a time.
const BATCH: usize = 64;
/// No waiting.
const NOW: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

struct Shared {
    epoll: OwnedFd,
    queues: Mutex<Queues>,
}

#[derive(Default)]
struct Queues {
    next: u64,
    by_key: HashMap<u64, WaitQueue>,
    started: bool,
    running: bool,
}

/// Watches host descriptors.
#[derive(Clone)]
pub struct Reactor(Arc<Shared>);

/// Ends a watch when dropped.
struct Watched {
    shared: Weak<Shared>,
    fd: Arc<OwnedFd>,
    key: u64,
}

impl Reactor {
    /// Creates a reactor that watches nothing before [`Reactor::start`].
    pub fn new() -> Result<Reactor, Errno> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(errno)?;
        Ok(Reactor(Arc::new(Shared { epoll, queues: Mutex::new(Level::Leaf, Queues::default()) })))
    }

    /// Lets the platform's workers look after host descriptors, or where they can't, the reactor have its thread as soon as
    /// there is something to watch. Called once the process is confined: a thread from before would keep what the others
    /// give up.
    pub fn start(&self, platform: &dyn Platform) -> Result<(), Errno> {
        let shared = Arc::downgrade(&self.0);
        let serve = move || shared.upgrade().is_some_and(|shared| shared.serve(Some(&NOW)));
        let attended = platform.attend(self.0.epoll.as_fd(), Box::new(serve));
        let start = {
            let mut queues = self.0.queues.lock();
            queues.started = true;
            queues.running |= attended;
            !queues.by_key.is_empty() && !std::mem::replace(&mut queues.running, true)
        };
        if start { self.spawn() } else { Ok(()) }
    }

    fn spawn(&self) -> Result<(), Errno> {
        let shared = Arc::downgrade(&self.0);
        let thread = std::thread::Builder::new().name("reactor".to_owned());
        thread.spawn(move || run(&shared)).map_err(|error| Errno::from_io(&error))?;
        Ok(())
    }
}

fn errno(error: rustix::io::Errno) -> Errno {
    Errno::from_raw(error.raw_os_error())
}

impl HostReactor for Reactor {
    fn watch(&self, fd: &Arc<OwnedFd>, queue: &WaitQueue) -> Result<Watch, Errno> {
        let (key, start) = {
            let mut queues = self.0.queues.lock();
            let key = queues.next;
            queues.next += 1;
            queues.by_key.insert(key, queue.clone());
            (key, queues.started && !std::mem::replace(&mut queues.running, true))
        };
        let watched = Watched { shared: Arc::downgrade(&self.0), fd: Arc::clone(fd), key };
        let flags = epoll::EventFlags::IN
            | epoll::EventFlags::OUT
            | epoll::EventFlags::PRI
            | epoll::EventFlags::RDHUP
            | epoll::EventFlags::ET;
        epoll::add(&self.0.epoll, fd, epoll::EventData::new_u64(key), flags).map_err(errno)?;
        if start {
            self.spawn()?;
        }
        Ok(Box::new(watched))
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let Some(shared) = self.shared.upgrade() else { return };
        // The descriptor may never have been added.
        let _ = epoll::delete(&shared.epoll, &self.fd);
        shared.queues.lock().by_key.remove(&self.key);
    }
}

impl Shared {
    /// Wakes those who wait for what is ready now or, without a limit, next; tells whether there was anything.
    fn serve(&self, limit: Option<&Timespec>) -> bool {
        let mut events = [const { MaybeUninit::uninit() }; BATCH];
        let events = match epoll::wait(&self.epoll, &mut events, limit) {
            Ok((events, _)) => events,
            Err(rustix::io::Errno::INTR) => return false,
            Err(error) => {
                tracing::error!(%error, "waiting for host descriptors failed");
                return false;
            }
        };
        for event in &*events {
            let queue = self.queues.lock().by_key.get(&event.data.u64()).cloned();
            if let Some(queue) = queue {
                // Normal data and its old name are reported together.
                let flags = event.flags;
                let bits = flags.bits();
                let (input, output) = (bits & 1 != 0, bits & 4 != 0);
                queue.wake(bits | if input { 0x40 } else { 0 } | if output { 0x100 } else { 0 });
            }
        }
        !events.is_empty()
    }
}

fn run(shared: &Weak<Shared>) {
    while let Some(shared) = shared.upgrade() {
        shared.serve(None);
    }
}
