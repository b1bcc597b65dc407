//! Terminal settings: `struct termios` and its relatives (`man 3 termios`, `man 2 ioctl_tty`).

use abi::Errno;
use bitflags::bitflags;

/// Indices of control characters.
#[allow(missing_docs)]
pub(super) mod cc {
    pub(crate) const INTR: usize = 0;
    pub(crate) const QUIT: usize = 1;
    pub(crate) const ERASE: usize = 2;
    pub(crate) const KILL: usize = 3;
    pub(crate) const EOF: usize = 4;
    pub(crate) const TIME: usize = 5;
    pub(crate) const MIN: usize = 6;
    pub(crate) const START: usize = 8;
    pub(crate) const STOP: usize = 9;
    pub(crate) const SUSP: usize = 10;
    pub(crate) const EOL: usize = 11;
    pub(crate) const REPRINT: usize = 12;
    pub(crate) const WERASE: usize = 14;
    pub(crate) const LNEXT: usize = 15;
    pub(crate) const EOL2: usize = 16;
}

bitflags! {
    /// `c_iflag`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Iflag: u32 {
        const PARMRK = 0o10;
        const ISTRIP = 0o40;
        const INLCR = 0o100;
        const IGNCR = 0o200;
        const ICRNL = 0o400;
        const IUCLC = 0o1000;
        const IXON = 0o2000;
        const IXANY = 0o4000;
        const IUTF8 = 0o40000;
        const _ = !0;
    }

    /// `c_oflag`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Oflag: u32 {
        const OPOST = 0o1;
        const OLCUC = 0o2;
        const ONLCR = 0o4;
        const OCRNL = 0o10;
        const ONOCR = 0o20;
        const ONLRET = 0o40;
        const XTABS = 0o14000;
        const _ = !0;
    }

    /// `c_lflag`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Lflag: u32 {
        const ISIG = 0o1;
        const ICANON = 0o2;
        const ECHO = 0o10;
        const ECHOE = 0o20;
        const ECHOK = 0o40;
        const ECHONL = 0o100;
        const NOFLSH = 0o200;
        const TOSTOP = 0o400;
        const ECHOCTL = 0o1000;
        const ECHOPRT = 0o2000;
        const ECHOKE = 0o4000;
        const IEXTEN = 0o100_000;
        const EXTPROC = 0o200_000;
        const _ = !0;
    }
}

/// `CBAUD`.
const CBAUD: u32 = 0o10017;
/// `CBAUDEX`, alone `BOTHER`: the speed is a number.
const BOTHER: u32 = 0o10000;
/// `CSIZE | PARENB`, which pseudo-terminals don't have.
const CSIZE_PARENB: u32 = 0o60 | 0o400;
/// `CS8 | CREAD`, which they always have.
const CS8_CREAD: u32 = 0o60 | 0o200;

const SLOW: [u32; 16] = [0, 50, 75, 110, 134, 150, 200, 300, 600, 1200, 1800, 2400, 4800, 9600, 19200, 38400];
const FAST: [u32; 16] = [
    0, 57600, 115_200, 230_400, 460_800, 500_000, 576_000, 921_600, 1_000_000, 1_152_000, 1_500_000, 2_000_000,
    2_500_000, 3_000_000, 3_500_000, 4_000_000,
];

/// Bytes of the kernel's `struct termios`.
pub(super) const TERMIOS_LEN: usize = 36;
/// Bytes of `struct termios2`.
pub(super) const TERMIOS2_LEN: usize = 44;
/// Bytes of the historic `struct termio`.
pub(super) const TERMIO_LEN: usize = 18;

/// The settings of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Termios {
    pub(super) iflag: Iflag,
    pub(super) oflag: Oflag,
    pub(super) cflag: u32,
    pub(super) lflag: Lflag,
    line: u8,
    pub(super) cc: [u8; 19],
    ispeed: u32,
    ospeed: u32,
}

impl Default for Termios {
    /// `tty_std_termios` as a pseudo-terminal has it.
    fn default() -> Termios {
        let mut cc = [0; 19];
        cc[..17].copy_from_slice(b"\x03\x1c\x7f\x15\x04\x00\x01\x00\x11\x13\x1a\x00\x12\x0f\x17\x16\x00");
        Termios {
            iflag: Iflag::ICRNL | Iflag::IXON,
            oflag: Oflag::OPOST | Oflag::ONLCR,
            cflag: 0o277,
            lflag: Lflag::from_bits_retain(0o105_073),
            line: 0,
            cc,
            ispeed: 38400,
            ospeed: 38400,
        }
    }
}

fn word(bytes: &[u8], at: usize) -> Result<u32, Errno> {
    let bytes = bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok()).ok_or(Errno::EINVAL)?;
    Ok(u32::from_ne_bytes(bytes))
}

fn half(bytes: &[u8], at: usize) -> Result<u32, Errno> {
    let bytes = bytes.get(at..at + 2).and_then(|bytes| bytes.try_into().ok()).ok_or(Errno::EINVAL)?;
    Ok(u32::from(u16::from_ne_bytes(bytes)))
}

impl Termios {
    /// Returns `struct termios2`, of which `struct termios` is the front.
    pub(super) fn to_bytes(self) -> [u8; TERMIOS2_LEN] {
        let mut bytes = [0; TERMIOS2_LEN];
        let words = [self.iflag.bits(), self.oflag.bits(), self.cflag, self.lflag.bits()];
        for (place, word) in bytes.chunks_mut(4).zip(words) {
            place.copy_from_slice(&word.to_ne_bytes());
        }
        bytes[16] = self.line;
        bytes[17..36].copy_from_slice(&self.cc);
        bytes[36..40].copy_from_slice(&self.ispeed.to_ne_bytes());
        bytes[40..44].copy_from_slice(&self.ospeed.to_ne_bytes());
        bytes
    }

    /// Returns the historic `struct termio`, which holds the lower halves.
    pub(super) fn to_termio(self) -> [u8; TERMIO_LEN] {
        let mut bytes = [0; TERMIO_LEN];
        let words = [self.iflag.bits(), self.oflag.bits(), self.cflag, self.lflag.bits()];
        for (place, word) in bytes.chunks_mut(2).zip(words) {
            place.copy_from_slice(&word.to_ne_bytes()[..2]);
        }
        bytes[8] = self.line;
        bytes[9..17].copy_from_slice(&self.cc[..8]);
        bytes
    }

    /// Reads `struct termios` or `struct termios2`, whichever the length says, over these settings.
    pub(super) fn with_bytes(self, bytes: &[u8]) -> Result<Termios, Errno> {
        let mut new = Termios {
            iflag: Iflag::from_bits_retain(word(bytes, 0)?),
            oflag: Oflag::from_bits_retain(word(bytes, 4)?),
            cflag: word(bytes, 8)?,
            lflag: Lflag::from_bits_retain(word(bytes, 12)?),
            line: *bytes.get(16).ok_or(Errno::EINVAL)?,
            ..self
        };
        new.cc.copy_from_slice(bytes.get(17..36).ok_or(Errno::EINVAL)?);
        if bytes.len() >= TERMIOS2_LEN {
            new.ispeed = word(bytes, 36)?;
            new.ospeed = word(bytes, 40)?;
        }
        Ok(new.settled())
    }

    /// Reads `struct termio` over these settings.
    pub(super) fn with_termio(self, bytes: &[u8]) -> Result<Termios, Errno> {
        let low = |old: u32, at: usize| half(bytes, at).map(|new| old & !0xffff | new);
        let mut new = Termios {
            iflag: Iflag::from_bits_retain(low(self.iflag.bits(), 0)?),
            oflag: Oflag::from_bits_retain(low(self.oflag.bits(), 2)?),
            cflag: low(self.cflag, 4)?,
            lflag: Lflag::from_bits_retain(low(self.lflag.bits(), 6)?),
            line: *bytes.get(8).ok_or(Errno::EINVAL)?,
            ..self
        };
        new.cc[..8].copy_from_slice(bytes.get(9..17).ok_or(Errno::EINVAL)?);
        Ok(new.settled())
    }

    /// Applies what a pseudo-terminal can't change, and the speeds that the bits say.
    fn settled(mut self) -> Termios {
        self.cflag = self.cflag & !CSIZE_PARENB | CS8_CREAD;
        let code = self.cflag & CBAUD;
        if code != BOTHER {
            let table = if code & BOTHER == 0 { &SLOW } else { &FAST };
            let speed = table.get(usize::try_from(code & 0o17).unwrap_or(0)).copied().unwrap_or(0);
            (self.ispeed, self.ospeed) = (speed, speed);
        }
        self
    }

    pub(super) fn local(&self, flag: Lflag) -> bool {
        self.lflag.contains(flag)
    }

    /// Tells whether `byte` is the control character `index`, which is set.
    pub(super) fn is(&self, index: usize, byte: u8) -> bool {
        self.cc.get(index).is_some_and(|set| *set == byte && byte != 0)
    }

    /// Tells whether ^S and ^Q stop and start the output (what packet mode reports).
    pub(super) fn has_standard_flow(&self) -> bool {
        self.iflag.contains(Iflag::IXON) && self.cc[cc::STOP] == 0x13 && self.cc[cc::START] == 0x11
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_survive_the_trip_through_guest_memory() {
        let termios = Termios::default();
        assert_eq!(termios.with_bytes(&termios.to_bytes()), Ok(termios));
        assert_eq!(termios.with_bytes(&termios.to_bytes()[..TERMIOS_LEN]), Ok(termios));
        assert_eq!(termios.with_termio(&termios.to_termio()), Ok(termios));
        assert_eq!(termios.with_bytes(&[0; 35]), Err(Errno::EINVAL));
    }

    #[test]
    fn speeds_follow_the_bits() {
        let mut bytes = Termios::default().to_bytes();
        bytes[8..12].copy_from_slice(&0o10002_u32.to_ne_bytes());
        let set = Termios::default().with_bytes(&bytes[..TERMIOS_LEN]).unwrap();
        assert_eq!((set.ospeed, set.cflag & 0o60), (115_200, 0o60));
    }
}
