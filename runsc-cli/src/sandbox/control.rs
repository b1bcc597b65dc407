//! The socket between the command line and its sandbox: one JSON message a packet.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result, bail};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// From the command line to the sandbox.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum ToSandbox {
    /// A signal for the foreground processes.
    Signal(i32),
    /// The command line is about to leave: go on without it.
    Detach,
}

/// From the sandbox to the command line.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum FromSandbox {
    /// The first process is made and waits for its start.
    Created,
    /// The first process has stopped by this signal.
    Stopped(i32),
    /// The first process has ended with this wait status.
    Exited(i32),
    /// The sandbox could not start.
    Failed(String),
}

/// Longest message in bytes.
const MAX: usize = 64 * 1024;

/// Makes a connected pair.
pub(crate) fn pair() -> Result<(OwnedFd, OwnedFd)> {
    rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
        .context("making the control socket")
}

/// Sends one message.
pub(crate) fn send(socket: BorrowedFd<'_>, message: &impl Serialize) -> Result<()> {
    let text = serde_json::to_vec(message)?;
    rustix::net::send(socket, &text, SendFlags::NOSIGNAL).context("sending on the control socket")?;
    Ok(())
}

/// Sends one message if that can be done without waiting.
pub(crate) fn send_now(socket: BorrowedFd<'_>, message: &impl Serialize) -> Result<()> {
    let text = serde_json::to_vec(message)?;
    rustix::net::send(socket, &text, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
        .context("sending on the control socket")?;
    Ok(())
}

/// Receives one message; `None` once the peer is gone.
pub(crate) fn receive<T: DeserializeOwned>(socket: &OwnedFd) -> Result<Option<T>> {
    let mut buf = vec![0; MAX];
    let received = rustix::net::recv(socket.as_fd(), &mut buf[..], RecvFlags::empty());
    let len = match received {
        Ok((len, _)) => len,
        Err(rustix::io::Errno::CONNRESET) => 0,
        Err(error) => bail!("receiving on the control socket: {error}"),
    };
    if len == 0 {
        return Ok(None);
    }
    Ok(Some(serde_json::from_slice(&buf[..len]).context("parsing a message of the control socket")?))
}
