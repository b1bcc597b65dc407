//! The command line's end of a sandbox's control socket.

use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with};
use sentry::control::channel::{Channel, ChannelError, Received, read_document};
use sentry::control::protocol::{ProcessInfo, Reply, Request, SandboxStatus};

use crate::state::Container;

/// Name of the socket in a container's directory.
const NAME: &str = "control.sock";

/// How long a sandbox may take to say how it is.
const STATUS_LIMIT: Duration = Duration::from_secs(2);

/// A connection to a sandbox.
pub(crate) struct Client {
    channel: Channel,
    id: String,
}

/// The address of a container's socket, however long the path of its directory is.
fn address(container: &Container) -> Result<(SocketAddrUnix, File)> {
    let dir = File::open(container.dir()).with_context(|| format!("opening {}", container.dir().display()))?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/{NAME}", dir.as_raw_fd()));
    Ok((SocketAddrUnix::new(path).context("naming the control socket")?, dir))
}

/// Makes the socket that a new sandbox listens on.
pub(crate) fn listener(container: &Container) -> Result<OwnedFd> {
    const BACKLOG: i32 = 128;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None);
    let socket = socket.context("making the control socket")?;
    let (address, _dir) = address(container)?;
    bind(&socket, &address).context("binding the control socket")?;
    listen(&socket, BACKLOG).context("listening on the control socket")?;
    Ok(socket)
}

impl Client {
    /// Connects to a container's sandbox. Fails where it has ended; engines know the wording, which is runc's.
    pub(crate) fn connect(container: &Container) -> Result<Client> {
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
        let socket = socket.context("making a socket")?;
        let (address, _dir) = address(container)?;
        match connect(&socket, &address) {
            Ok(()) => Ok(Client { channel: Channel::new(socket), id: container.id.clone() }),
            Err(Errno::CONNREFUSED | Errno::NOENT) => bail!("container not running: {:?}", container.id),
            Err(error) => bail!("connecting to the sandbox of {:?}: {error}", container.id),
        }
    }

    /// Asks, and waits for the answer. A refusal is an error.
    pub(crate) fn call(&self, request: &Request) -> Result<Reply> {
        self.call_with(request, &[]).map(|received| received.body)
    }

    /// Asks with descriptors.
    pub(crate) fn call_with(&self, request: &Request, fds: &[BorrowedFd<'_>]) -> Result<Received<Reply>> {
        match self.channel.send(request, fds) {
            Ok(()) => self.receive(),
            Err(ChannelError::Host(Errno::PIPE | Errno::CONNRESET)) => Err(self.gone()),
            Err(error) => Err(error).context("asking the sandbox"),
        }
    }

    /// Waits for a reply.
    pub(crate) fn receive(&self) -> Result<Received<Reply>> {
        match self.channel.receive().context("waiting for the sandbox's answer")? {
            Some(Received { body: Reply::Refused(why), .. }) => bail!("{why}"),
            Some(received) => Ok(received),
            None => Err(self.gone()),
        }
    }

    fn gone(&self) -> anyhow::Error {
        anyhow::anyhow!("container not running: the sandbox of {:?} has ended", self.id)
    }

    /// Asks how the sandbox is; doesn't wait for long.
    pub(crate) fn status(&self) -> Result<SandboxStatus> {
        set_socket_timeout(&self.channel, Timeout::Recv, Some(STATUS_LIMIT)).context("setting a time limit")?;
        match self.call(&Request::Status)? {
            Reply::Status(status) => Ok(status),
            other => bail!("the sandbox gave a wrong answer: {other:?}"),
        }
    }

    /// Asks what has happened how often inside.
    pub(crate) fn counters(&self) -> Result<Vec<(String, u64)>> {
        match self.call(&Request::Counters)? {
            Reply::Counters(counters) => Ok(counters),
            other => bail!("the sandbox gave a wrong answer: {other:?}"),
        }
    }

    /// Lists the processes inside.
    pub(crate) fn processes(&self) -> Result<Vec<ProcessInfo>> {
        let received = self.call_with(&Request::List, &[])?;
        match (received.body, received.fds.as_slice()) {
            (Reply::Listing, [list]) => read_document(list).context("reading the list of processes"),
            (other, _) => bail!("the sandbox gave a wrong answer: {other:?}"),
        }
    }

    /// Gives the connection away.
    pub(crate) fn into_channel(self) -> Channel {
        self.channel
    }
}
