//! The line discipline of terminals, N_TTY: what becomes of the bytes between keyboard, program and screen.
//!
//! A pure state machine after the rules of the kernel's `drivers/tty/n_tty.c`: [`LineDiscipline::receive`] takes typed
//! bytes, [`LineDiscipline::read`] gives them to programs, [`LineDiscipline::write`] takes what programs print; what goes
//! to the screen gathers in `output`, signals to send are returned.

mod edit;
mod output;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use abi::Errno;
use abi::signal::Signal;

use super::termios::{Iflag, Lflag, Termios, cc};
use crate::IoDst;

/// Most bytes of input that wait (`N_TTY_BUF_SIZE`).
const INPUT_MAX: usize = 4096;

/// What ends a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    /// Nothing: an ordinary byte.
    None,
    /// This byte, which belongs to the line.
    Line,
    /// The end-of-file character, which nobody sees.
    Eof,
}

/// What the caller has to do after bytes were received.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Effects {
    /// Signals for the foreground process group.
    pub(super) signals: Vec<Signal>,
    /// Output that nobody has read was thrown away (packet mode reports it).
    pub(super) flushed: bool,
    /// Bytes on the way to the screen when this input began.
    shown_before: Option<usize>,
    /// Output was stopped (`Some(true)`) or started.
    pub(super) stopped: Option<bool>,
}

/// The state of one terminal's line discipline.
#[derive(Debug)]
pub(super) struct LineDiscipline {
    pub(super) termios: Termios,
    input: VecDeque<(u8, Mark)>,
    /// How much of `input` is complete lines.
    lines: usize,
    /// The next byte is taken literally.
    literal: bool,
    /// Inside the backslash of `ECHOPRT`.
    erasing: bool,
    /// On its way to the screen.
    pub(super) output: VecDeque<u8>,
    /// Echo held back while the output is stopped.
    held: Vec<u8>,
    /// `^S`.
    stopped: bool,
    column: usize,
    /// Column at which the line being edited began.
    line_column: usize,
}

fn is_control(byte: u8) -> bool {
    byte < 32 || byte == 127
}

/// Letters and digits of Latin-1, which is what the kernel's `isalnum` knows.
fn is_alphanumeric(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte >= 0xc0 && !matches!(byte, 0xd7 | 0xf7)
}

fn to_lower(byte: u8) -> u8 {
    if byte.is_ascii_uppercase() || matches!(byte, 0xc0..=0xde) && byte != 0xd7 { byte + 32 } else { byte }
}

fn to_upper(byte: u8) -> u8 {
    if byte.is_ascii_lowercase() || matches!(byte, 0xe0..=0xfe) && byte != 0xf7 { byte - 32 } else { byte }
}

impl LineDiscipline {
    pub(super) fn new() -> LineDiscipline {
        LineDiscipline {
            termios: Termios::default(),
            input: VecDeque::new(),
            lines: 0,
            literal: false,
            erasing: false,
            output: VecDeque::new(),
            held: Vec::new(),
            stopped: false,
            column: 0,
            line_column: 0,
        }
    }

    fn canonical(&self) -> bool {
        self.termios.local(Lflag::ICANON) && !self.termios.local(Lflag::EXTPROC)
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Stops or starts the output. Returns whether that changes anything.
    pub(super) fn set_stopped(&mut self, stopped: bool) -> bool {
        let changed = self.stopped != stopped;
        self.stopped = stopped;
        if !stopped {
            let held = std::mem::take(&mut self.held);
            self.output.extend(held);
        }
        changed
    }

    /// Changes the settings. Switching between lines and bytes keeps what has been typed: it becomes a line.
    pub(super) fn set_termios(&mut self, new: Termios) -> Effects {
        let was = self.canonical();
        self.termios = new;
        if was != self.canonical() {
            self.input.iter_mut().for_each(|cell| cell.1 = Mark::None);
            self.lines = 0;
            self.literal = false;
            if self.canonical() && !self.input.is_empty() {
                // No byte of its own ends it; reads end where it does.
                self.lines = self.input.len();
            }
        }
        let mut effects = Effects::default();
        if !new.iflag.contains(Iflag::IXON) && self.stopped {
            self.set_stopped(false);
            effects.stopped = Some(false);
        }
        effects
    }

    /// Tells whether another byte can be received. A line that is too long takes bytes and loses them.
    pub(super) fn has_room(&self) -> bool {
        self.input.len() < INPUT_MAX - 1 || self.canonical() && self.lines == 0
    }

    /// Returns the bytes that a read could get (`FIONREAD`).
    pub(super) fn readable(&self) -> usize {
        if self.canonical() {
            self.input.iter().take(self.lines).filter(|cell| cell.1 != Mark::Eof).count()
        } else {
            self.input.len()
        }
    }

    /// Tells whether `poll` reports input.
    pub(super) fn poll_readable(&self) -> bool {
        if self.canonical() {
            return self.lines > 0;
        }
        let (min, time) = (self.termios.cc[cc::MIN], self.termios.cc[cc::TIME]);
        let least = if time == 0 && min > 0 { usize::from(min) } else { 1 };
        self.input.len() >= least
    }

    /// Returns how long a read that would block may wait, in tenths of a second (`VTIME`).
    pub(super) fn read_timeout(&self) -> Option<u8> {
        let (min, time) = (self.termios.cc[cc::MIN], self.termios.cc[cc::TIME]);
        (!self.canonical() && time > 0 && (min == 0 || !self.input.is_empty())).then_some(time)
    }

    /// Gives input to a program: a line, or what there is. `partial` takes less than `VMIN` asks for (not blocking, or
    /// the time is over). `EAGAIN` if there isn't enough.
    pub(super) fn read(&mut self, dst: &mut dyn IoDst, nonblock: bool, timed_out: bool) -> Result<usize, Errno> {
        if self.canonical() { self.read_line(dst) } else { self.read_raw(dst, nonblock, timed_out) }
    }

    fn read_line(&mut self, dst: &mut dyn IoDst) -> Result<usize, Errno> {
        if self.lines == 0 {
            return Err(Errno::EAGAIN);
        }
        let line = self.input.iter().take(self.lines);
        let end = line.clone().position(|cell| cell.1 != Mark::None);
        let eof = end.is_some_and(|end| self.input.get(end).is_some_and(|cell| cell.1 == Mark::Eof));
        // Bytes to show, without the end-of-file character.
        let len = end.map_or(self.lines, |end| if eof { end } else { end + 1 });
        let bytes: Vec<u8> = line.take(len.min(dst.remaining())).map(|cell| cell.0).collect();
        let put = if bytes.is_empty() { 0 } else { dst.put(&bytes)? };
        // An end-of-file character goes with the last byte before it.
        let gone = if eof && put == len { put + 1 } else { put };
        self.input.drain(..gone);
        self.lines -= gone;
        Ok(put)
    }

    fn read_raw(&mut self, dst: &mut dyn IoDst, nonblock: bool, timed_out: bool) -> Result<usize, Errno> {
        let (min, time) = (usize::from(self.termios.cc[cc::MIN]), self.termios.cc[cc::TIME]);
        if self.input.is_empty() {
            return if min == 0 && (time == 0 || timed_out) { Ok(0) } else { Err(Errno::EAGAIN) };
        }
        if self.input.len() < min.min(dst.remaining()) && !nonblock && !timed_out {
            return Err(Errno::EAGAIN);
        }
        let bytes: Vec<u8> = self.input.iter().take(dst.remaining()).map(|cell| cell.0).collect();
        let put = dst.put(&bytes)?;
        self.input.drain(..put);
        Ok(put)
    }

    /// Throws the input away.
    pub(super) fn flush_input(&mut self) {
        self.input.clear();
        self.lines = 0;
        self.literal = false;
        self.erasing = false;
    }

    /// Throws away what is on its way to the screen.
    pub(super) fn flush_output(&mut self) {
        self.output.clear();
        self.held.clear();
    }

    fn put(&mut self, byte: u8, mark: Mark) {
        // A line that is too long loses its last byte for the next one.
        if self.input.len() >= INPUT_MAX {
            self.input.pop_back();
        }
        self.input.push_back((byte, mark));
        if mark != Mark::None {
            self.lines = self.input.len();
        }
    }

    fn put_data(&mut self, byte: u8, mark: Mark) {
        if byte == 0xff && self.termios.iflag.contains(Iflag::PARMRK) {
            self.put(byte, Mark::None);
        }
        self.put(byte, mark);
    }

    /// Takes one typed byte.
    pub(super) fn receive(&mut self, byte: u8, effects: &mut Effects) {
        effects.shown_before.get_or_insert(self.output.len());
        let iflag = self.termios.iflag;
        let mut byte = if iflag.contains(Iflag::ISTRIP) { byte & 0x7f } else { byte };
        if iflag.contains(Iflag::IUCLC) && self.termios.local(Lflag::IEXTEN) {
            byte = to_lower(byte);
        }
        if self.termios.local(Lflag::EXTPROC) {
            self.put(byte, Mark::None);
            return;
        }
        if std::mem::take(&mut self.literal) {
            self.ordinary(byte, false);
            return;
        }
        if self.flow(byte, effects) || self.signal(byte, effects) {
            return;
        }
        if self.stopped && iflag.contains(Iflag::IXON | Iflag::IXANY) {
            self.resume(effects);
        }
        let typed = byte;
        byte = match byte {
            b'\r' if iflag.contains(Iflag::IGNCR) => return,
            b'\r' if iflag.contains(Iflag::ICRNL) => b'\n',
            b'\n' if iflag.contains(Iflag::INLCR) => b'\r',
            other => other,
        };
        if !(self.termios.local(Lflag::ICANON) && self.edit(byte)) {
            self.ordinary(byte, typed == b'\r');
        }
    }

    fn resume(&mut self, effects: &mut Effects) {
        if self.set_stopped(false) {
            effects.stopped = Some(false);
        }
    }

    fn flow(&mut self, byte: u8, effects: &mut Effects) -> bool {
        if !self.termios.iflag.contains(Iflag::IXON) {
            return false;
        }
        if self.termios.is(cc::START, byte) {
            self.resume(effects);
            return true;
        }
        if self.termios.is(cc::STOP, byte) {
            if self.set_stopped(true) {
                effects.stopped = Some(true);
            }
            return true;
        }
        false
    }

    fn signal(&mut self, byte: u8, effects: &mut Effects) -> bool {
        if !self.termios.local(Lflag::ISIG) {
            return false;
        }
        let signals = [(cc::INTR, Signal::SIGINT), (cc::QUIT, Signal::SIGQUIT), (cc::SUSP, Signal::SIGTSTP)];
        let Some((_, signal)) = signals.into_iter().find(|(index, _)| self.termios.is(*index, byte)) else {
            return false;
        };
        effects.signals.push(signal);
        if !self.termios.local(Lflag::NOFLSH) {
            self.flush_input();
            // What came of earlier input is with the reader already.
            self.output.truncate(effects.shown_before.unwrap_or(0));
            self.held.clear();
            effects.flushed = true;
        }
        if self.termios.iflag.contains(Iflag::IXON) {
            self.resume(effects);
        }
        if self.termios.local(Lflag::ECHO) {
            self.echo(byte);
        }
        true
    }

    /// Takes a byte without a meaning. A newline shows as `^J` unless it was typed as a carriage return.
    fn ordinary(&mut self, byte: u8, was_return: bool) {
        if self.termios.local(Lflag::ECHO) {
            self.finish_erasing();
            if byte == b'\n' && was_return {
                self.echo_raw(b'\n');
            } else {
                self.begin_line();
                self.echo(byte);
            }
        }
        self.put_data(byte, Mark::None);
    }
}
