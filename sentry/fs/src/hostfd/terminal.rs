//! A terminal of the host: its settings are the host's, its session and foreground group are the guest's own.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, OnceLock};

use abi::flags::OpenFlags;
use abi::signal::Signal;
use abi::{Errno, UserAddr};
use rustix::termios::{
    Action, ControlModes, InputModes, LocalModes, OptionalActions, OutputModes, QueueSelector, SpecialCodeIndex,
};
use sentry_sync::{Level, Mutex};

use super::HostFd;
use crate::devpts::{Adopted, DevPts};
use crate::tty::{JobControl, Terminal, TtyHost, ioctl};
use crate::{DeviceId, FileOps, UserMemory, dev, host};

/// Bytes of the kernel's `struct termios`.
const TERMIOS_LEN: usize = 36;

const CODES: [SpecialCodeIndex; 17] = [
    SpecialCodeIndex::VINTR,
    SpecialCodeIndex::VQUIT,
    SpecialCodeIndex::VERASE,
    SpecialCodeIndex::VKILL,
    SpecialCodeIndex::VEOF,
    SpecialCodeIndex::VTIME,
    SpecialCodeIndex::VMIN,
    SpecialCodeIndex::VSWTC,
    SpecialCodeIndex::VSTART,
    SpecialCodeIndex::VSTOP,
    SpecialCodeIndex::VSUSP,
    SpecialCodeIndex::VEOL,
    SpecialCodeIndex::VREPRINT,
    SpecialCodeIndex::VDISCARD,
    SpecialCodeIndex::VWERASE,
    SpecialCodeIndex::VLNEXT,
    SpecialCodeIndex::VEOL2,
];

/// A terminal that the caller of `runsc` sits at.
pub struct HostTerminal {
    host: Arc<dyn TtyHost>,
    job: JobControl,
    /// What opening it again gives.
    file: Mutex<Option<Arc<HostFd>>>,
    /// Its place in the sandbox's `/dev/pts`.
    place: OnceLock<Adopted>,
}

impl std::fmt::Debug for HostTerminal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("HostTerminal")
    }
}

impl HostTerminal {
    /// Makes one without a session. [`HostTerminal::set_file`] completes it.
    pub fn new(host: Arc<dyn TtyHost>) -> Arc<HostTerminal> {
        let file = Mutex::new(Level::Leaf, None);
        Arc::new(HostTerminal { host, job: JobControl::default(), file, place: OnceLock::new() })
    }

    /// Gives it a place among the sandbox's pseudo-terminals.
    pub fn settle(self: &Arc<HostTerminal>, devpts: &DevPts) -> Result<(), Errno> {
        let terminal = Arc::clone(self) as Arc<dyn Terminal>;
        let place = devpts.adopt(Arc::downgrade(&terminal))?;
        // One that has a place keeps it.
        let _ = self.place.set(place);
        Ok(())
    }

    pub(super) fn place(&self) -> Option<&Adopted> {
        self.place.get()
    }

    /// Lets go of the host's descriptor: it is closed once no guest has it open any more, and can't be opened anew.
    pub fn release(&self) {
        let file = self.file.lock().take();
        drop(file);
    }

    /// Says what `/dev/tty` and `/dev/console` open. Only the first counts.
    pub fn set_file(&self, file: Arc<HostFd>) {
        self.file.lock().get_or_insert(file);
    }

    pub(super) fn check(&self, signal: Signal) -> Result<(), Errno> {
        self.job.check(&*self.host, signal)
    }

    /// A guest has read while the host's foreground job is another: stops its group, as the host would have stopped a
    /// native program, and the caller's shell hears of that. Returns what the read is to answer.
    pub(super) fn background(&self) -> Errno {
        match self.host.caller() {
            Some(caller) if !caller.ignores_ttin && !caller.orphaned => {
                self.host.signal_group(caller.group, Signal::SIGTTIN);
                Errno::ERESTART
            }
            _ => Errno::EIO,
        }
    }

    /// Tells the foreground group that the window has another size: the kernel hears of that from the command line.
    pub fn resized(&self) {
        self.job.signal(&*self.host, Signal::SIGWINCH);
    }
}

impl Terminal for HostTerminal {
    fn job(&self) -> &JobControl {
        &self.job
    }

    fn device(&self) -> DeviceId {
        self.place().map_or(dev::CONSOLE, Adopted::device)
    }

    fn open(self: Arc<Self>, flags: OpenFlags) -> Result<Arc<dyn FileOps>, Errno> {
        let file = self.file.lock().clone().ok_or(Errno::ENXIO)?;
        if !flags.contains(OpenFlags::NOCTTY) {
            let (host, terminal) = (Arc::clone(&self.host), Arc::clone(&self) as Arc<dyn Terminal>);
            self.job.acquire_on_open(&*host, &terminal);
        }
        Ok(file)
    }
}

/// The requests that reach the host's terminal; everything else is `ENOTTY`.
pub(super) fn ioctl(
    fd: &OwnedFd,
    terminal: Option<&Arc<HostTerminal>>,
    memory: &dyn UserMemory,
    op: u32,
    arg: u64,
) -> Result<u64, Errno> {
    let addr = UserAddr::new(arg);
    if let Some(own) = terminal {
        let make = || Arc::clone(own) as Arc<dyn Terminal>;
        if let Some(result) = ioctl::job(&own.job, &*own.host, make, (true, false), (memory, op, arg)) {
            return result;
        }
    }
    let changes = !matches!(op, ioctl::TCGETS | ioctl::TIOCGWINSZ | ioctl::FIONREAD | ioctl::TIOCOUTQ);
    if let Some(own) = terminal.filter(|_| changes) {
        own.check(Signal::SIGTTOU)?;
    }
    match op {
        ioctl::TCGETS => memory.write(addr, &get_termios(fd)?)?,
        ioctl::TCSETS | ioctl::TCSETSW | ioctl::TCSETSF => {
            let mut bytes = [0; TERMIOS_LEN];
            memory.read(addr, &mut bytes)?;
            if op == ioctl::TCSETSF {
                rustix::termios::tcflush(fd, QueueSelector::IFlush).map_err(host::errno)?;
            }
            // Not waiting for the output to drain: that could block the thread.
            set_termios(fd, &bytes)?;
        }
        ioctl::TIOCGWINSZ => {
            let size = rustix::termios::tcgetwinsize(fd).map_err(host::errno)?;
            memory.write(addr, &ioctl::size_bytes([size.ws_row, size.ws_col, size.ws_xpixel, size.ws_ypixel]))?;
        }
        ioctl::TIOCSWINSZ => {
            let mut bytes = [0; 8];
            memory.read(addr, &mut bytes)?;
            let [row, col, xpixel, ypixel] = ioctl::size_from(bytes);
            let size = rustix::termios::Winsize { ws_row: row, ws_col: col, ws_xpixel: xpixel, ws_ypixel: ypixel };
            rustix::termios::tcsetwinsize(fd, size).map_err(host::errno)?;
            if let Some(own) = terminal {
                own.resized();
            }
        }
        ioctl::TCFLSH => {
            let what = match arg {
                0 => QueueSelector::IFlush,
                1 => QueueSelector::OFlush,
                2 => QueueSelector::IOFlush,
                _ => return Err(Errno::EINVAL),
            };
            rustix::termios::tcflush(fd, what).map_err(host::errno)?;
        }
        ioctl::TCXONC => {
            let action = match arg {
                0 => Action::OOff,
                1 => Action::OOn,
                2 => Action::IOff,
                3 => Action::IOn,
                _ => return Err(Errno::EINVAL),
            };
            rustix::termios::tcflow(fd, action).map_err(host::errno)?;
        }
        ioctl::TCSBRK | ioctl::TCSBRKP => {}
        ioctl::FIONREAD => {
            let bytes = rustix::io::ioctl_fionread(fd).map_err(host::errno)?;
            return ioctl::put_int(memory, arg, i32::try_from(bytes).unwrap_or(i32::MAX));
        }
        ioctl::TIOCOUTQ | ioctl::TIOCGETD => return ioctl::put_int(memory, arg, 0),
        _ => return Err(Errno::ENOTTY),
    }
    Ok(0)
}

fn get_termios(fd: impl AsFd) -> Result<[u8; TERMIOS_LEN], Errno> {
    let termios = rustix::termios::tcgetattr(fd).map_err(host::errno)?;
    let words = [
        termios.input_modes.bits(),
        termios.output_modes.bits(),
        termios.control_modes.bits(),
        termios.local_modes.bits(),
    ];
    let mut bytes = [0; TERMIOS_LEN];
    for (place, word) in bytes.chunks_mut(4).zip(words) {
        place.copy_from_slice(&word.to_ne_bytes());
    }
    bytes[16] = termios.line_discipline;
    for (place, code) in bytes[17..].iter_mut().zip(CODES) {
        *place = termios.special_codes[code];
    }
    Ok(bytes)
}

fn set_termios(fd: impl AsFd, bytes: &[u8; TERMIOS_LEN]) -> Result<(), Errno> {
    let mut termios = rustix::termios::tcgetattr(&fd).map_err(host::errno)?;
    let mut words = [0; 4];
    for (word, place) in words.iter_mut().zip(bytes.chunks_exact(4)) {
        *word = u32::from_ne_bytes(place.try_into().map_err(|_| Errno::EINVAL)?);
    }
    termios.input_modes = InputModes::from_bits_retain(words[0]);
    termios.output_modes = OutputModes::from_bits_retain(words[1]);
    termios.control_modes = ControlModes::from_bits_retain(words[2]);
    termios.local_modes = LocalModes::from_bits_retain(words[3]);
    for (place, code) in bytes[17..].iter().zip(CODES) {
        termios.special_codes[code] = *place;
    }
    rustix::termios::tcsetattr(fd, OptionalActions::Now, &termios).map_err(host::errno)
}
