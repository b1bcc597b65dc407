//! Editing a line before it is read: erase, kill, word erase, reprint, literal next, and the ends of lines.

use super::{Lflag, LineDiscipline, Mark, is_alphanumeric, is_control};
use crate::tty::termios::{Iflag, cc};

/// How much goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Erase {
    Char,
    Word,
    Line,
}

impl LineDiscipline {
    /// Serves a byte that means something in canonical mode; false if it doesn't.
    pub(super) fn edit(&mut self, byte: u8) -> bool {
        let extended = self.termios.local(Lflag::IEXTEN);
        let echo = self.termios.local(Lflag::ECHO);
        if self.termios.is(cc::ERASE, byte) {
            self.erase(Erase::Char);
        } else if self.termios.is(cc::KILL, byte) {
            self.kill();
        } else if extended && self.termios.is(cc::WERASE, byte) {
            self.erase(Erase::Word);
        } else if extended && self.termios.is(cc::LNEXT, byte) {
            self.literal = true;
            if echo {
                self.finish_erasing();
                if self.termios.local(Lflag::ECHOCTL) {
                    self.echo_raw(b'^');
                    self.echo_raw(8);
                }
            }
        } else if extended && echo && self.termios.is(cc::REPRINT, byte) {
            self.reprint(byte);
        } else if byte == b'\n' {
            if echo || self.termios.local(Lflag::ECHONL) {
                self.echo_raw(b'\n');
            }
            self.put(byte, Mark::Line);
        } else if self.termios.is(cc::EOF, byte) {
            self.put(0, Mark::Eof);
        } else if self.termios.is(cc::EOL, byte) || extended && self.termios.is(cc::EOL2, byte) {
            if echo {
                self.begin_line();
                self.echo(byte);
            }
            self.put_data(byte, Mark::Line);
        } else {
            return false;
        }
        true
    }

    fn reprint(&mut self, byte: u8) {
        self.finish_erasing();
        self.echo(byte);
        self.echo_raw(b'\n');
        let line: Vec<u8> = self.input.iter().skip(self.lines).map(|cell| cell.0).collect();
        line.into_iter().for_each(|byte| self.echo(byte));
    }

    fn kill(&mut self) {
        if self.input.len() == self.lines {
            return;
        }
        let visible = Lflag::ECHO | Lflag::ECHOK | Lflag::ECHOKE | Lflag::ECHOE;
        if self.termios.lflag.contains(visible) {
            self.erase(Erase::Line);
            return;
        }
        self.input.truncate(self.lines);
        if self.termios.local(Lflag::ECHO) {
            self.finish_erasing();
            self.echo(self.termios.cc[cc::KILL]);
            if self.termios.local(Lflag::ECHOK) {
                self.echo_raw(b'\n');
            }
        }
    }

    pub(super) fn is_continuation(&self, byte: u8) -> bool {
        self.termios.iflag.contains(Iflag::IUTF8) && byte & 0xc0 == 0x80
    }

    fn erase(&mut self, what: Erase) {
        if self.input.len() == self.lines {
            return;
        }
        let mut seen_word = false;
        while self.input.len() > self.lines {
            // One character, which may be several bytes.
            let mut at = self.input.len() - 1;
            while at > self.lines && self.is_continuation(self.input[at].0) {
                at -= 1;
            }
            let byte = self.input[at].0;
            if self.is_continuation(byte) {
                break;
            }
            if what == Erase::Word {
                if is_alphanumeric(byte) || byte == b'_' {
                    seen_word = true;
                } else if seen_word {
                    break;
                }
            }
            let erased: Vec<u8> = self.input.drain(at..).map(|cell| cell.0).collect();
            if self.termios.local(Lflag::ECHO) {
                self.echo_erased(&erased, what);
            }
            if what == Erase::Char {
                break;
            }
        }
        if self.input.len() == self.lines && self.termios.local(Lflag::ECHO) {
            self.finish_erasing();
        }
    }

    /// Shows that a character went.
    fn echo_erased(&mut self, erased: &[u8], what: Erase) {
        let Some(byte) = erased.first().copied() else { return };
        if self.termios.local(Lflag::ECHOPRT) {
            if !self.erasing {
                self.echo_raw(b'\\');
                self.erasing = true;
            }
            // The kernel shows the bytes of the character in order, and steps back a column for each further one.
            self.echo(byte);
            for byte in erased.iter().skip(1) {
                self.echo_raw(*byte);
                self.column = self.column.saturating_sub(1);
            }
        } else if what == Erase::Char && !self.termios.local(Lflag::ECHOE) {
            self.echo(self.termios.cc[cc::ERASE]);
        } else if byte == b'\t' {
            self.echo_erased_tab();
        } else {
            let ctl = self.termios.local(Lflag::ECHOCTL);
            let width = match (is_control(byte), ctl) {
                (true, true) => 2,
                (true, false) => 0,
                (false, _) => 1,
            };
            for _ in 0..width {
                for byte in [8, b' ', 8] {
                    self.echo_raw(byte);
                }
            }
        }
    }

    fn echo_erased_tab(&mut self) {
        let mut width = 0;
        let mut after_tab = false;
        for (byte, _) in self.input.iter().skip(self.lines).rev() {
            if *byte == b'\t' {
                after_tab = true;
                break;
            }
            if is_control(*byte) {
                width += if self.termios.local(Lflag::ECHOCTL) { 2 } else { 0 };
            } else if !self.is_continuation(*byte) {
                width += 1;
            }
        }
        if !after_tab {
            width += self.line_column;
        }
        for _ in 0..8 - width % 8 {
            self.column = self.column.saturating_sub(1);
            self.show(8);
        }
    }

    /// Ends what `ECHOPRT` began.
    pub(super) fn finish_erasing(&mut self) {
        if self.erasing {
            self.echo_raw(b'/');
            self.erasing = false;
        }
    }
}
