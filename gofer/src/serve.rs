//! The process: one thread a connection.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use gofer_proto::{MAX_MESSAGE, Request, SeqPacket, Transport, TransportError, Writer};

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

/// Answers requests on all sockets until the peers have closed every one of them. `ready` is called once all threads
/// exist: the place to install a seccomp filter for all of them.
///
/// If `ready` fails nothing has been answered; the threads wait for ever, so the caller must end the process.
pub fn serve(
    server: Server,
    sockets: Vec<OwnedFd>,
    ready: impl FnOnce() -> Result<(), Box<dyn std::error::Error + Send + Sync>>,
) -> Result<(), ServeError> {
    let server = Arc::new(server);
    let gate = Arc::new(std::sync::Barrier::new(sockets.len() + 1));
    let mut threads = Vec::new();
    for (index, socket) in sockets.into_iter().enumerate() {
        let (server, gate) = (Arc::clone(&server), Arc::clone(&gate));
        let body = move || {
            // Once when the thread has set itself up, which needs more host calls than serving, and once to begin.
            gate.wait();
            gate.wait();
            connection(&server, &mut SeqPacket::new(socket));
        };
        let thread = std::thread::Builder::new().name(format!("gofer-{index}")).stack_size(STACK).spawn(body);
        threads.push(thread.map_err(ServeError::Thread)?);
    }
    gate.wait();
    ready().map_err(ServeError::Ready)?;
    gate.wait();
    for thread in threads {
        if thread.join().is_err() {
            tracing::error!("a gofer thread panicked");
        }
    }
    Ok(())
}

/// Answers the requests of one connection until it is closed or its peer breaks the protocol.
pub(crate) fn connection(server: &Server, transport: &mut dyn Transport) {
    let mut buf = vec![0; MAX_MESSAGE];
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
            (Request::MemoryFile, Some(fd)) => Some(fd),
            (Request::MemoryFile, None) => {
                return tracing::warn!("the sentry sent no descriptor; gofer connection ended");
            }
            (_, None) => None,
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
    }
}
