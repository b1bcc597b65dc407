//! What goes to the screen: post-processing of printed bytes, and the echo of typed ones.

use super::{Lflag, LineDiscipline, is_control, to_upper};
use crate::tty::termios::Oflag;

/// Echo beyond this is lost: nobody reads the screen.
const ECHO_MAX: usize = 64 * 1024;

impl LineDiscipline {
    /// Takes what a program prints.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        if !self.termios.oflag.contains(Oflag::OPOST) {
            self.output.extend(bytes);
            return;
        }
        for byte in bytes {
            let (shown, len) = self.process(*byte);
            self.output.extend(&shown[..len]);
        }
    }

    /// `do_output_char`: returns the bytes shown for one printed, at most eight, and follows the column.
    fn process(&mut self, byte: u8) -> ([u8; 8], usize) {
        let oflag = self.termios.oflag;
        let mut shown = [b' '; 8];
        shown[0] = byte;
        match byte {
            b'\n' => {
                if oflag.contains(Oflag::ONLRET) {
                    self.column = 0;
                }
                if oflag.contains(Oflag::ONLCR) {
                    (self.column, self.line_column) = (0, 0);
                    shown[..2].copy_from_slice(b"\r\n");
                    return (shown, 2);
                }
                self.line_column = self.column;
            }
            b'\r' => {
                if oflag.contains(Oflag::ONOCR) && self.column == 0 {
                    return (shown, 0);
                }
                if oflag.contains(Oflag::OCRNL) {
                    shown[0] = b'\n';
                    if oflag.contains(Oflag::ONLRET) {
                        (self.column, self.line_column) = (0, 0);
                    }
                } else {
                    (self.column, self.line_column) = (0, 0);
                }
            }
            b'\t' => {
                let spaces = 8 - self.column % 8;
                self.column += spaces;
                if oflag.contains(Oflag::XTABS) {
                    shown[0] = b' ';
                    return (shown, spaces);
                }
            }
            8 => self.column = self.column.saturating_sub(1),
            _ if !is_control(byte) => {
                if oflag.contains(Oflag::OLCUC) {
                    shown[0] = to_upper(byte);
                }
                if !self.is_continuation(byte) {
                    self.column += 1;
                }
            }
            _ => {}
        }
        (shown, 1)
    }

    /// Puts a byte on the screen, or aside while the output is stopped.
    pub(super) fn show(&mut self, byte: u8) {
        if self.output.len() + self.held.len() >= ECHO_MAX {
            return;
        }
        if self.is_stopped() { self.held.push(byte) } else { self.output.push_back(byte) }
    }

    /// Echoes a byte as it is, but for output processing.
    pub(super) fn echo_raw(&mut self, byte: u8) {
        if !self.termios.oflag.contains(Oflag::OPOST) {
            self.show(byte);
            return;
        }
        let (shown, len) = self.process(byte);
        shown.iter().take(len).for_each(|byte| self.show(*byte));
    }

    /// Echoes a typed byte: control characters as `^X`.
    pub(super) fn echo(&mut self, byte: u8) {
        if self.termios.local(Lflag::ECHOCTL) && is_control(byte) && byte != b'\t' {
            self.show(b'^');
            self.show(byte ^ 0o100);
            self.column += 2;
        } else {
            self.echo_raw(byte);
        }
    }

    /// Remembers where on the screen the line begins, if this is its first character.
    pub(super) fn begin_line(&mut self) {
        if self.input.len() == self.lines {
            self.line_column = self.column;
        }
    }
}
