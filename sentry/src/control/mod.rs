//! What the command line asks of a running sandbox: start its first process, run another one in it, send signals, list,
//! pause, wait.
//!
//! [`protocol`] says what is asked and answered, [`channel`] how that travels (one JSON message a packet of a Unix socket,
//! descriptors by `SCM_RIGHTS`), [`Control`] is the kernel's end. The socket is made by the command line in the
//! container's state directory, which only the container's owner can reach; the sentry gets it before it is confined and
//! can accept on it, nothing else. A peer is therefore trusted to ask, not to be right: every message is bounded in
//! length and count and parsed into types before it is acted upon.
//!
//! Everything runs on the kernel's workers: a waiting connection costs no thread.

pub mod channel;
mod connection;
pub mod home;
mod listing;
mod process;
pub mod protocol;
mod signals;
pub mod streams;

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use abi::Errno;
use rustix::net::SocketFlags;
use sentry_fs::hostfd::{HostReactor, HostTerminal, Watch};
use sentry_sync::{Level, Mutex, WaitQueue};

use crate::Kernel;
use crate::init::Prepared;
use crate::reactor::Reactor;
use crate::task::seccomp;
use channel::Channel;
pub use process::init_of;
use protocol::Reply;

/// Most connections at a time; a command line beyond is refused.
const CONNECTIONS: usize = 4096;

/// How long the end of the sandbox waits for those who have been told of a process's end.
const LEAVING: Duration = Duration::from_millis(200);

/// What the first process is doing.
enum Stage {
    /// The program has not been looked for yet.
    Preparing,
    /// Made, and waiting for the start.
    Created(Box<Prepared>),
    /// Runs, or is about to.
    Running,
}

/// The kernel's end of the control socket.
pub struct Control {
    kernel: Weak<Kernel>,
    reactor: Reactor,
    stage: Mutex<Stage>,
    /// The terminal of the first process.
    terminal: Option<Arc<HostTerminal>>,
    /// The system calls that processes run beside the first may make.
    seccomp: Option<Arc<seccomp::Program>>,
    connections: AtomicUsize,
    /// Those who wait for the end of the sandbox.
    waiting: Mutex<Vec<Arc<Channel>>>,
    /// Those who have been told how a process has ended, and may not have ended themselves yet.
    leaving: Mutex<Vec<Arc<Channel>>>,
}

impl Control {
    /// Makes one for a kernel whose first process has not been made yet.
    pub fn new(
        kernel: &Arc<Kernel>,
        reactor: &Reactor,
        terminal: Option<Arc<HostTerminal>>,
        seccomp: Option<Arc<seccomp::Program>>,
    ) -> Arc<Control> {
        Arc::new(Control {
            kernel: Arc::downgrade(kernel),
            reactor: reactor.clone(),
            stage: Mutex::new(Level::Leaf, Stage::Preparing),
            terminal,
            seccomp,
            connections: AtomicUsize::new(0),
            waiting: Mutex::new(Level::Leaf, Vec::new()),
            leaving: Mutex::new(Level::Leaf, Vec::new()),
        })
    }

    /// Accepts connections on a listening socket from now on. It doesn't block: the caller has set `O_NONBLOCK`.
    pub fn listen(self: &Arc<Control>, listener: OwnedFd) -> Result<(), Errno> {
        let kernel = self.kernel.upgrade().ok_or(Errno::ESRCH)?;
        let (listener, queue) = (Arc::new(listener), WaitQueue::new());
        let watch = self.reactor.watch(&listener, &queue)?;
        kernel.executor.spawn(accept(Arc::clone(self), listener, queue, watch));
        Ok(())
    }

    /// Hands over the first process, to be started by a later request.
    pub fn created(&self, prepared: Prepared) {
        *self.stage.lock() = Stage::Created(Box::new(prepared));
    }

    /// Says that the first process has been started without a request.
    pub fn running(&self) {
        *self.stage.lock() = Stage::Running;
    }

    /// Tells everybody who waits how the sandbox has ended. Called when no worker runs any more.
    pub fn ended(&self, status: i32) {
        for channel in std::mem::take(&mut *self.waiting.lock()) {
            // Whoever has gone meanwhile doesn't want to know.
            let _ = channel.send(&Reply::Exited(status), &[]);
        }
        self.let_go();
    }

    /// Waits a moment for those who are about to say how a process has ended: they live in the sandbox's pid namespace, and
    /// would be killed with it.
    fn let_go(&self) {
        let deadline = Instant::now() + LEAVING;
        let mut leaving = std::mem::take(&mut *self.leaving.lock());
        leaving.retain(|channel| has_peer(channel));
        while !leaving.is_empty() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(1));
            leaving.retain(|channel| has_peer(channel));
        }
    }

    /// Notes whose process has ended.
    fn told(&self, channel: &Arc<Channel>) {
        let mut leaving = self.leaving.lock();
        leaving.retain(|channel| has_peer(channel));
        leaving.push(Arc::clone(channel));
    }

    fn take_prepared(&self) -> Option<Prepared> {
        let mut stage = self.stage.lock();
        if !matches!(*stage, Stage::Created(_)) {
            return None;
        }
        match std::mem::replace(&mut *stage, Stage::Running) {
            Stage::Created(prepared) => Some(*prepared),
            _ => None,
        }
    }

    fn is_created(&self) -> bool {
        matches!(*self.stage.lock(), Stage::Created(_))
    }

    fn is_running(&self) -> bool {
        matches!(*self.stage.lock(), Stage::Running)
    }
}

/// Tells whether the other end is still open.
fn has_peer(channel: &Channel) -> bool {
    !matches!(channel.receive::<serde::de::IgnoredAny>(), Ok(None))
}

async fn accept(control: Arc<Control>, listener: Arc<OwnedFd>, queue: WaitQueue, watch: Watch) {
    let _watch = watch;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let queues = [&queue];
    loop {
        let accepted = crate::wait::until(&queues, || match rustix::net::accept_with(&listener, flags) {
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => None,
            result => Some(result),
        });
        let socket = match accepted.await {
            Ok(socket) => socket,
            // The peer has given up already.
            Err(rustix::io::Errno::CONNABORTED) => continue,
            Err(error) => return tracing::error!(%error, "accepting on the control socket failed"),
        };
        let Some(kernel) = control.kernel.upgrade() else { return };
        if control.connections.fetch_add(1, Ordering::SeqCst) >= CONNECTIONS {
            control.connections.fetch_sub(1, Ordering::SeqCst);
            continue;
        }
        kernel.executor.spawn(connection::serve(Arc::clone(&control), socket));
    }
}
