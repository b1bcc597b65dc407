//! One connection of the control socket, from its request to the last reply.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use abi::Pid;
use rustix::io::Errno as HostErrno;
use sentry_fs::hostfd::{HostReactor, Watch};
use sentry_sync::WaitQueue;

use super::channel::{Channel, ChannelError, Received, document};
use super::protocol::{Reply, Request, SandboxStatus};
use super::{Control, listing, process, signals};
use crate::Kernel;
use crate::wait::until;

/// The other end, whose messages are waited for without blocking.
pub(super) struct Peer {
    pub(super) channel: Arc<Channel>,
    queue: WaitQueue,
    _watch: Watch,
}

/// What comes from a peer: a message, or `None` for its end.
pub(super) type Incoming = Result<Option<Received<Request>>, ChannelError>;

impl Peer {
    fn new(control: &Control, socket: OwnedFd) -> Result<Peer, ChannelError> {
        let (channel, queue) = (Arc::new(Channel::new(socket)), WaitQueue::new());
        let watch = control.reactor.watch(channel.socket(), &queue);
        let watch = watch.map_err(|errno| ChannelError::Malformed(format!("can't be watched: {errno}")))?;
        Ok(Peer { channel, queue, _watch: watch })
    }

    /// Woken when a message may have come.
    pub(super) fn queue(&self) -> &WaitQueue {
        &self.queue
    }

    /// Looks for a message.
    pub(super) fn try_receive(&self) -> Option<Incoming> {
        match self.channel.receive() {
            Err(ChannelError::Host(HostErrno::AGAIN)) => None,
            incoming => Some(incoming),
        }
    }

    pub(super) fn reply(&self, reply: &Reply) -> Result<(), ChannelError> {
        self.channel.send(reply, &[])
    }
}

/// Serves one connection to its end.
pub(super) async fn serve(control: Arc<Control>, socket: OwnedFd) {
    if let Err(error) = converse(&control, socket).await {
        tracing::warn!(%error, "a control connection failed");
    }
    control.connections.fetch_sub(1, Ordering::SeqCst);
}

async fn converse(control: &Arc<Control>, socket: OwnedFd) -> Result<(), ChannelError> {
    let peer = Peer::new(control, socket)?;
    let request = match until(&[peer.queue()], || peer.try_receive()).await {
        Ok(Some(request)) => request,
        Ok(None) => return Ok(()),
        Err(error) => {
            // One of another version can tell that from the reply, whatever it says.
            let _ = peer.reply(&Reply::Refused(error.to_string()));
            return Err(error);
        }
    };
    let Some(kernel) = control.kernel.upgrade() else { return Ok(()) };
    match request.body {
        Request::Start => start(control, &kernel, &peer).await,
        Request::Exec => process::exec(control, &kernel, &peer, request.fds).await,
        Request::Signal { target, number } => peer.reply(&signals::send(control, &kernel, target, number)),
        Request::Forward(_) => peer.reply(&Reply::Refused("nothing was executed on this connection".to_owned())),
        Request::Pause if !control.is_running() => peer.reply(&Reply::Refused("container not running".to_owned())),
        Request::Pause => {
            let done = kernel.pause().await;
            let stuck = || Reply::Refused("some process does not stop".to_owned());
            peer.reply(&if done { Reply::Done } else { stuck() })
        }
        Request::Resume => {
            kernel.resume();
            peer.reply(&Reply::Done)
        }
        Request::List => {
            let list = document(&listing::processes(&kernel))?;
            peer.channel.send(&Reply::Listing, &[list.as_fd()])
        }
        Request::Wait(None) => wait_for_sandbox(control, &peer).await,
        Request::Wait(Some(pid)) => wait_for_process(&kernel, &peer, Pid(pid)).await,
        Request::LimitTasks(limit) => {
            kernel.tasks.write().max_tasks = limit;
            peer.reply(&Reply::Done)
        }
        Request::Counters => {
            let counters = kernel.platform.counters();
            let named = counters.into_iter().map(|(name, count)| (name.to_owned(), count));
            peer.reply(&Reply::Counters(named.collect()))
        }
        Request::Status => peer.reply(&Reply::Status(status(control, &kernel))),
    }
}

fn status(control: &Control, kernel: &Kernel) -> SandboxStatus {
    match control.is_running() {
        false => SandboxStatus::Created,
        true if kernel.is_paused() => SandboxStatus::Paused,
        true => SandboxStatus::Running,
    }
}

/// Starts the first process once the peer, told that it is about to run, has gone: by then the command line has noted
/// the start, and an engine's shim gets the time to watch the container before anything happens in it.
async fn start(control: &Control, kernel: &Arc<Kernel>, peer: &Peer) -> Result<(), ChannelError> {
    let Some(prepared) = control.take_prepared() else {
        return peer.reply(&Reply::Refused("the container is started already".to_owned()));
    };
    let terminal = control.terminal.clone().map(|terminal| terminal as Arc<dyn sentry_fs::tty::Terminal>);
    match prepared.load(terminal).await {
        Ok(loaded) => {
            let told = peer.reply(&Reply::Done);
            if told.is_ok() {
                // However it goes: that a command line was killed is no reason not to run.
                let _ = until(&[peer.queue()], || peer.try_receive()).await;
            }
            loaded.run();
            told
        }
        Err(error) => {
            // What an engine's shim reports where a program could not be executed.
            const NOT_EXECUTABLE: i32 = 127 << 8;
            kernel.end(NOT_EXECUTABLE);
            peer.reply(&Reply::Refused(error.to_string()))
        }
    }
}

async fn wait_for_sandbox(control: &Control, peer: &Peer) -> Result<(), ChannelError> {
    control.waiting.lock().push(Arc::clone(&peer.channel));
    // The reply is sent when the kernel has ended; what comes meanwhile is the peer's end, or nonsense.
    let incoming = until(&[peer.queue()], || peer.try_receive()).await;
    control.waiting.lock().retain(|channel| !Arc::ptr_eq(channel, &peer.channel));
    incoming.map(drop)
}

async fn wait_for_process(kernel: &Arc<Kernel>, peer: &Peer, pid: Pid) -> Result<(), ChannelError> {
    let process = kernel.tasks.read().processes.get(&pid).map(|entry| Arc::clone(&entry.process));
    let Some(process) = process else { return peer.reply(&Reply::NoProcess) };
    enum News {
        Ended(i32),
        Incoming(Incoming),
    }
    let queues = [&process.exit_event, peer.queue()];
    let news = until(&queues, || {
        process::end_of(kernel, &process).map(News::Ended).or_else(|| peer.try_receive().map(News::Incoming))
    });
    match news.await {
        News::Ended(status) => peer.reply(&Reply::Exited(status)),
        News::Incoming(incoming) => incoming.map(drop),
    }
}
