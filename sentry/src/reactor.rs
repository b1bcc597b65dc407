//! Readiness of host descriptors: one thread in `epoll_wait`, which wakes wait queues.
//!
//! The thread starts with the first watch after [`Reactor::start`], so a sandbox whose standard streams are plain files has none.

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Weak};

use abi::Errno;
use rustix::event::epoll;
use sentry_fs::hostfd::{HostReactor, Watch};
use sentry_sync::{Level, Mutex, WaitQueue};

/// Events taken from the host at a time.
const BATCH: usize = 32;

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

    /// Lets the reactor have its thread, as soon as there is something to watch. Called once the process is confined: a
    /// thread from before would keep what the others give up.
    pub fn start(&self) -> Result<(), Errno> {
        let start = {
            let mut queues = self.0.queues.lock();
            queues.started = true;
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

fn run(shared: &Weak<Shared>) {
    let mut events = Vec::with_capacity(BATCH);
    while let Some(shared) = shared.upgrade() {
        events.clear();
        match epoll::wait(&shared.epoll, rustix::buffer::spare_capacity(&mut events), None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return tracing::error!(%error, "waiting for host descriptors failed"),
        }
        for event in &events {
            let queue = shared.queues.lock().by_key.get(&event.data.u64()).cloned();
            if let Some(queue) = queue {
                // Normal data and its old name are reported together.
                let flags = event.flags;
                let bits = flags.bits();
                let (input, output) = (bits & 1 != 0, bits & 4 != 0);
                queue.wake(bits | if input { 0x40 } else { 0 } | if output { 0x100 } else { 0 });
            }
        }
    }
}
