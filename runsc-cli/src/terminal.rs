//! Terminals that an engine asks for: made here, one end for the container, the other sent to the engine's socket. And what
//! becomes of the caller's standard streams before a sandbox has them.

use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// Makes a terminal, sends its master to the socket, and returns the container's end.
pub(crate) fn make(socket: &Path, size: Option<(u16, u16)>) -> Result<OwnedFd> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags).context("making a terminal")?;
    grantpt(&master).context("making a terminal")?;
    unlockpt(&master).context("making a terminal")?;
    let slave = ioctl_tiocgptpeer(&master, flags).context("opening the terminal")?;
    if let Some((ws_row, ws_col)) = size {
        let size = Winsize { ws_row, ws_col, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&slave, size).context("setting the size of the terminal")?;
    }
    let name = ptsname(&master, Vec::new()).context("naming the terminal")?;
    send(socket, &master, name.as_bytes())
        .with_context(|| format!("sending the terminal to the console socket {}", socket.display()))?;
    Ok(slave)
}

/// Sends a descriptor with its name, as runc does.
fn send(socket: &Path, fd: &OwnedFd, name: &[u8]) -> Result<()> {
    let socket = UnixStream::connect(socket)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [fd.as_fd()];
    ensure!(control.push(SendAncillaryMessage::ScmRights(&fds)), "no room for the descriptor");
    sendmsg(&socket, &[IoSlice::new(name)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Tells whether a descriptor is one of a directory, or of a mere place in the file tree (`O_PATH`).
pub(crate) fn is_place(fd: impl AsFd) -> Result<bool> {
    let mode = rustix::fs::fstat(&fd).context("looking at a descriptor")?.st_mode;
    let flags = rustix::fs::fcntl_getfl(&fd).context("looking at a descriptor")?;
    Ok(FileType::from_raw_mode(mode) == FileType::Directory || flags.contains(OFlags::PATH))
}

/// Puts a place that leads nowhere where a standard stream of ours is a directory: a sandbox that has one could walk from it to all
/// files of the host. The sandbox shows an empty directory there. The first step of every command.
pub(crate) fn part_with_directories() -> Result<()> {
    let streams = [rustix::stdio::stdin(), rustix::stdio::stdout(), rustix::stdio::stderr()];
    let set = [rustix::stdio::dup2_stdin::<OwnedFd>, rustix::stdio::dup2_stdout, rustix::stdio::dup2_stderr::<OwnedFd>];
    for (number, (stream, set)) in streams.into_iter().zip(set).enumerate() {
        if is_place(stream)? {
            let flags = OFlags::PATH | OFlags::CLOEXEC;
            let nowhere = rustix::fs::open("/dev/null", flags, Mode::empty()).context("opening /dev/null")?;
            set(nowhere).with_context(|| format!("replacing descriptor {number}, which is a directory"))?;
        }
    }
    Ok(())
}

/// Opens a descriptor of a terminal again without blocking, for a sandbox to wait on; others are copied.
pub(crate) fn for_sandbox(fd: impl AsFd) -> Result<OwnedFd> {
    let fd = fd.as_fd();
    if rustix::termios::isatty(fd) {
        let own = sentry_fs::hostfd::reopen_terminal(fd);
        return own.with_context(|| format!("opening the terminal on descriptor {} again", fd.as_raw_fd()));
    }
    fd.try_clone_to_owned().context("copying a standard stream")
}
