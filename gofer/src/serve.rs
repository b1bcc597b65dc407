//! The process: one thread a connection.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::Thread;
use std::time::Duration;

use abi::Errno;
use gofer_proto::{Request, SeqPacket, Transport, TransportError, Writer};

use crate::server::Server;

/// Why serving could not begin.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// No thread for a connection.
    #[error("can't start a thread: {0}")]
    Thread(std::io::Error),
    /// The caller's last step failed.
    #[error("can't confine the gofer: {0}")]
    Ready(Box<dyn std::error::Error + Send + Sync>),
}

/// Stack of a connection's thread: requests are decoded in place and nothing recurses.
const STACK: usize = 256 * 1024;

/// Rest after which the caller is told of it.
const LONG_REST: Duration = Duration::from_millis(500);

/// What the thread that has started all others knows of them.
struct Watch {
    starter: Thread,
    /// Connections that are served.
    open: AtomicUsize,
    /// Requests answered.
    answered: AtomicUsize,
    /// Something has been asked since the last rest.
    busy: AtomicBool,
}

impl Watch {
    /// A request has been answered.
    fn answered(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        if !self.busy.load(Ordering::Relaxed) && !self.busy.swap(true, Ordering::SeqCst) {
            self.starter.unpark();
        }
    }

    /// Watches until no connection is served.
    fn keep(&self, mut at_rest: impl FnMut()) {
        while self.open.load(Ordering::SeqCst) > 0 {
            if !self.busy.load(Ordering::SeqCst) {
                std::thread::park();
                continue;
            }
            let before = self.answered.load(Ordering::Relaxed);
            std::thread::park_timeout(LONG_REST);
            if self.answered.load(Ordering::Relaxed) == before {
                self.busy.store(false, Ordering::SeqCst);
                at_rest();
            }
        }
    }
}

/// A connection that is served; tells of its end when dropped.
struct Open<'a>(&'a Watch);

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
        self.0.starter.unpark();
    }
}

/// Answers requests on all sockets until the peers have closed every one of them. `ready` is called once all threads
/// exist: the place to install a seccomp filter for all of them; `at_rest` when nothing has been asked for a while.
///
/// `looking` says how long each thread looks for a request at most before it sleeps; `None` leaves that to the connection.
///
/// If `ready` fails nothing has been answered; the threads wait for ever, so the caller must end the process.
pub fn serve(
    server: Server,
    sockets: Vec<OwnedFd>,
    looking: Option<Duration>,
    ready: impl FnOnce() -> Result<(), Box<dyn std::error::Error + Send + Sync>>,
    at_rest: impl FnMut(),
) -> Result<(), ServeError> {
    let server = Arc::new(server);
    let gate = Arc::new(std::sync::Barrier::new(sockets.len() + 1));
    let watch = Arc::new(Watch {
        starter: std::thread::current(),
        open: AtomicUsize::new(sockets.len()),
        answered: AtomicUsize::new(0),
        busy: AtomicBool::new(false),
    });
    let mut threads = Vec::new();
    for (index, socket) in sockets.into_iter().enumerate() {
        let (server, gate, watch) = (Arc::clone(&server), Arc::clone(&gate), Arc::clone(&watch));
        let mut transport = SeqPacket::new(socket).looking(looking);
        let body = move || {
            // Once when the thread has set itself up, which needs more host calls than serving, and once to begin.
            gate.wait();
            gate.wait();
            let open = Open(&watch);
            connection(&server, &mut transport, || watch.answered());
            drop(open);
        };
        let thread = std::thread::Builder::new().name(format!("gofer-{index}")).stack_size(STACK).spawn(body);
        threads.push(thread.map_err(ServeError::Thread)?);
    }
    gate.wait();
    ready().map_err(ServeError::Ready)?;
    gate.wait();
    watch.keep(at_rest);
    for thread in threads {
        if thread.join().is_err() {
            tracing::error!("a gofer thread panicked");
        }
    }
    Ok(())
}

/// Answers the requests of one connection until it is closed or its peer breaks the protocol; tells of each.
pub(crate) fn connection(server: &Server, transport: &mut dyn Transport, answered: impl Fn()) {
    let mut buf = gofer_proto::buffer();
    let mut out = Writer::new();
    loop {
        let received = match transport.receive(&mut buf) {
            Ok(received) => received,
            Err(TransportError::Closed) => return,
            Err(error) => return tracing::warn!(%error, "gofer connection ended"),
        };
        let (id, request) = match Request::decode(buf.get(..received.len).unwrap_or_default()) {
            Ok(decoded) => decoded,
            Err(error) => return tracing::warn!(%error, "gofer connection ended"),
        };
        let given = match (&request, received.fd) {
            (_, None) if received.fd_lost => Err(Errno::ENFILE),
            (Request::MemoryFile | Request::SendTo { .. } | Request::Connect { .. }, Some(fd)) => Ok(Some(fd)),
            (Request::MemoryFile | Request::SendTo { .. }, None) => {
                return tracing::warn!("the sentry sent no descriptor; gofer connection ended");
            }
            (_, None) => Ok(None),
            (_, Some(_)) => return tracing::warn!("the sentry sent a descriptor; gofer connection ended"),
        };
        out.clear();
        let Some(fd) = server.answer(id, request, given, &mut out) else { continue };
        let sent = match out.finish() {
            Ok(message) => transport.send(message, fd.as_ref().map(AsFd::as_fd)),
            Err(error) => return tracing::error!(%error, "gofer connection ended"),
        };
        if let Err(error) = sent {
            return tracing::debug!(%error, "gofer connection ended");
        }
        answered();
    }
}
