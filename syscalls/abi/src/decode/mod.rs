//! Prints a system call as `strace(1)` does, from its declaration in [`mod@crate::table`] and the caller's memory.
//!
//! In two steps, since a call changes the memory that its arguments point to: [`before`] prints what goes in, [`after`]
//! adds what came out, [`result`] prints what was returned. Whatever can't be read is printed as an address; lengths are
//! bounded by [`Limits`], whatever numbers a guest gives.

mod structs;
mod text;
mod words;

use std::fmt::Write;

use crate::table::{Arg, Entry, Kind};
use crate::{SysError, UserAddr};

/// Reads the caller's memory.
pub trait Memory {
    /// Copies until the buffer is full or memory can't be read; returns the bytes copied.
    fn read(&self, addr: UserAddr, buf: &mut [u8]) -> usize;
}

/// How much is printed.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a string or buffer.
    pub bytes: usize,
    /// Elements of an array.
    pub elements: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { bytes: 64, elements: 8 }
    }
}

/// Returns the low half of a register as the C prototype takes it.
fn int(value: u64) -> i32 {
    <i32 as crate::FromArg>::from_arg(value)
}

fn uint(value: u64) -> u32 {
    <u32 as crate::FromArg>::from_arg(value)
}

fn signed(value: u64) -> i64 {
    value.cast_signed()
}

fn address(value: u64) -> String {
    if value == 0 { "NULL".to_owned() } else { format!("{value:#x}") }
}

/// Prints a descriptor that may be `AT_FDCWD`.
fn dir_fd(value: u64) -> String {
    if int(value) == crate::Fd::CWD.0 { "AT_FDCWD".to_owned() } else { int(value).to_string() }
}

struct Call<'a> {
    args: &'a [u64; 6],
    mem: &'a dyn Memory,
    limits: Limits,
}

impl Call<'_> {
    fn length(&self, at: u8) -> usize {
        let raw = self.args.get(usize::from(at)).copied().unwrap_or(0);
        usize::try_from(raw).unwrap_or(usize::MAX)
    }

    /// Prints what an argument says before the call.
    fn input(&self, arg: &Arg, value: u64) -> String {
        match arg.kind {
            Kind::Fd => int(value).to_string(),
            Kind::DirFd => dir_fd(value),
            Kind::Path | Kind::Str => text::string(self.mem, value, self.limits),
            Kind::StrArray => text::strings(self.mem, value, self.limits),
            Kind::InBuf(len) if arg.name.contains("addr") => structs::sockaddr(self.mem, value, self.length(len)),
            Kind::InBuf(len) => text::bytes(self.mem, value, self.length(len), self.limits),
            Kind::InIov(count) => text::iovecs(self.mem, value, self.length(count), None, self.limits),
            Kind::In(name) | Kind::InOut(name) => self.object(name, value),
            Kind::OutBuf(_) | Kind::OutIov(_) | Kind::Out(_) | Kind::Addr => address(value),
            Kind::Int | Kind::Pid | Kind::Sig if arg.name == "sig" || arg.kind == Kind::Sig => {
                words::signal(int(value))
            }
            Kind::Int | Kind::Pid => int(value).to_string(),
            Kind::Uint => uint(value).to_string(),
            Kind::Uid | Kind::Gid if uint(value) == u32::MAX => "-1".to_owned(),
            Kind::Uid | Kind::Gid => uint(value).to_string(),
            Kind::Long | Kind::Off => signed(value).to_string(),
            Kind::Ulong if value > 0xffff => format!("{value:#x}"),
            Kind::Ulong | Kind::Size => value.to_string(),
            Kind::Mode => format!("0{:03o}", uint(value)),
            Kind::Flags(set) => words::flags(set, value),
            Kind::Op(set) => words::operation(set, value),
            Kind::Sig => words::signal(int(value)),
            Kind::Clock => words::clock(int(value)),
            Kind::Dev => {
                format!("makedev({:#x}, {:#x})", (value >> 8) & 0xfff, (value & 0xff) | ((value >> 12) & 0xfff00))
            }
        }
    }

    /// Prints what an argument says after a call that returned `value`; `None` where nothing new.
    fn output(&self, arg: &Arg, raw: u64, value: u64) -> Option<String> {
        let returned = usize::try_from(value).unwrap_or(usize::MAX);
        match arg.kind {
            Kind::OutBuf(len) => {
                let written = returned.min(self.length(len));
                Some(text::bytes(self.mem, raw, written, self.limits))
            }
            Kind::OutIov(count) => Some(text::iovecs(self.mem, raw, self.length(count), Some(returned), self.limits)),
            Kind::Out("sockaddr") => {
                // The length stands behind the next argument.
                let at = self.args.iter().position(|other| *other == raw)?;
                let len = self.args.get(at + 1).and_then(|len| text::word(self.mem, *len, 4));
                Some(structs::sockaddr(self.mem, raw, usize::try_from(len.unwrap_or(0)).unwrap_or(0)))
            }
            Kind::Out("epoll_event[]") => Some(structs::epoll_events(self.mem, raw, returned, self.limits)),
            Kind::Out(name) | Kind::InOut(name) => Some(self.object(name, raw)),
            _ => None,
        }
    }

    fn object(&self, name: &str, addr: u64) -> String {
        if addr == 0 {
            return "NULL".to_owned();
        }
        structs::object(self.mem, name, addr, self.args, self.limits).unwrap_or_else(|| address(addr))
    }
}

/// Tells whether the call takes this argument at all: `open` takes a mode only when it creates.
fn taken(entry: &Entry, at: usize, args: &[u64; 6]) -> bool {
    const CREATES: u64 = 0o100 | 0o20_000_000;
    if entry.args[at].kind != Kind::Mode {
        return true;
    }
    let flags = entry.args.iter().zip(args).find(|(arg, _)| arg.kind == Kind::Flags("open"));
    flags.is_none_or(|(_, flags)| flags & CREATES != 0)
}

/// Prints the arguments as they are before the call.
pub fn before(entry: &Entry, args: &[u64; 6], mem: &dyn Memory, limits: Limits) -> Vec<String> {
    let call = Call { args, mem, limits };
    let meant = entry.args.iter().zip(args).enumerate().filter(|(at, _)| taken(entry, *at, args));
    meant.map(|(_, (arg, value))| call.input(arg, *value)).collect()
}

/// Adds to the arguments what a call that succeeded with `value` has written.
pub fn after(entry: &Entry, args: &[u64; 6], value: u64, mem: &dyn Memory, limits: Limits, texts: &mut [String]) {
    let call = Call { args, mem, limits };
    for ((arg, raw), text) in entry.args.iter().zip(args).zip(texts) {
        let Some(new) = call.output(arg, *raw, value) else { continue };
        match arg.kind {
            Kind::InOut(_) if *text == new => {}
            Kind::InOut(_) => {
                let _ = write!(text, " => {new}");
            }
            _ => *text = new,
        }
    }
}

/// Prints what a call returned, with the name of an error.
pub fn result(entry: &Entry, result: &Result<u64, SysError>) -> String {
    match result {
        Ok(value) if matches!(entry.name, "mmap" | "brk" | "mremap" | "shmat") => format!("{value:#x}"),
        Ok(value) => signed(*value).to_string(),
        Err(SysError::Errno(errno)) => format!("-1 {} ({})", errno.name(), errno.text()),
        Err(SysError::Restart(restart)) => {
            let name = match restart {
                crate::Restart::Sys => "ERESTARTSYS",
                crate::Restart::NoIntr => "ERESTARTNOINTR",
                crate::Restart::NoHand => "ERESTARTNOHAND",
                crate::Restart::Block => "ERESTART_RESTARTBLOCK",
            };
            format!("? {name} (interrupted)")
        }
    }
}

#[cfg(test)]
mod tests;
