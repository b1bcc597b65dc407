//! The `ioctl(2)` requests of terminals (`man 2 ioctl_tty`).

use std::sync::Arc;

use abi::signal::Signal;
use abi::{Errno, Pid, UserAddr};

use super::ldisc::Effects;
use super::pty::{State, WinSize, packet};
use super::termios::{TERMIO_LEN, TERMIOS_LEN, TERMIOS2_LEN, Termios, cc};
use super::{JobControl, Pty, Terminal, TtyHost};
use crate::UserMemory;

#[allow(missing_docs)] // Linux names
mod op {
    pub const TCGETS: u32 = 0x5401;
    pub const TCSETS: u32 = 0x5402;
    pub const TCSETSW: u32 = 0x5403;
    pub const TCSETSF: u32 = 0x5404;
    pub const TCGETA: u32 = 0x5405;
    pub const TCSETA: u32 = 0x5406;
    pub const TCSETAW: u32 = 0x5407;
    pub const TCSETAF: u32 = 0x5408;
    pub const TCSBRK: u32 = 0x5409;
    pub const TCXONC: u32 = 0x540a;
    pub const TCFLSH: u32 = 0x540b;
    pub const TIOCEXCL: u32 = 0x540c;
    pub const TIOCNXCL: u32 = 0x540d;
    pub const TIOCSCTTY: u32 = 0x540e;
    pub const TIOCGPGRP: u32 = 0x540f;
    pub const TIOCSPGRP: u32 = 0x5410;
    pub const TIOCOUTQ: u32 = 0x5411;
    pub const TIOCSTI: u32 = 0x5412;
    pub const TIOCGWINSZ: u32 = 0x5413;
    pub const TIOCSWINSZ: u32 = 0x5414;
    pub const FIONREAD: u32 = 0x541b;
    pub const TIOCPKT: u32 = 0x5420;
    pub const TIOCNOTTY: u32 = 0x5422;
    pub const TIOCSETD: u32 = 0x5423;
    pub const TIOCGETD: u32 = 0x5424;
    pub const TCSBRKP: u32 = 0x5425;
    pub const TIOCSBRK: u32 = 0x5427;
    pub const TIOCCBRK: u32 = 0x5428;
    pub const TIOCGSID: u32 = 0x5429;
    pub const TCGETS2: u32 = 0x802c_542a;
    pub const TCSETS2: u32 = 0x402c_542b;
    pub const TCSETSW2: u32 = 0x402c_542c;
    pub const TCSETSF2: u32 = 0x402c_542d;
    pub const TIOCGPTN: u32 = 0x8004_5430;
    pub const TIOCSPTLCK: u32 = 0x4004_5431;
    pub const TIOCGDEV: u32 = 0x8004_5432;
    pub const TIOCSIG: u32 = 0x4004_5436;
    pub const TIOCVHANGUP: u32 = 0x5437;
    pub const TIOCGPKT: u32 = 0x8004_5438;
    pub const TIOCGPTLCK: u32 = 0x8004_5439;
    pub const TIOCGEXCL: u32 = 0x8004_5440;
    pub const TIOCGPTPEER: u32 = 0x5441;
}

pub use op::*;

pub(crate) fn get_int(memory: &dyn UserMemory, arg: u64) -> Result<i32, Errno> {
    let mut bytes = [0; 4];
    memory.read(UserAddr::new(arg), &mut bytes)?;
    Ok(i32::from_ne_bytes(bytes))
}

pub(crate) fn put_int(memory: &dyn UserMemory, arg: u64, value: i32) -> Result<u64, Errno> {
    memory.write(UserAddr::new(arg), &value.to_ne_bytes())?;
    Ok(0)
}

fn count(bytes: usize) -> i32 {
    i32::try_from(bytes).unwrap_or(i32::MAX)
}

/// The requests about sessions and groups, which any terminal serves alike; `None` for others. `any` is the master side.
pub(crate) fn job(
    control: &JobControl,
    host: &dyn TtyHost,
    terminal: impl FnOnce() -> Arc<dyn Terminal>,
    (readable, any): (bool, bool),
    (memory, op, arg): (&dyn UserMemory, u32, u64),
) -> Option<Result<u64, Errno>> {
    Some(match op {
        TIOCSCTTY => control.acquire(host, terminal(), arg == 1, readable).map(|()| 0),
        TIOCNOTTY => control.release(host).map(|()| 0),
        TIOCGPGRP => control.get_group(host, any).and_then(|group| put_int(memory, arg, group.0)),
        TIOCGSID => control.get_session(host, any).and_then(|session| put_int(memory, arg, session.0)),
        TIOCSPGRP => get_int(memory, arg).and_then(|group| control.set_group(host, Pid(group))).map(|()| 0),
        _ => return None,
    })
}

/// Requests on the master. `TIOCGPTPEER` is the system-call layer's.
pub(super) fn master(pty: &Arc<Pty>, memory: &dyn UserMemory, op: u32, arg: u64) -> Result<u64, Errno> {
    match op {
        TIOCGPTN => put_int(memory, arg, i32::try_from(pty.index()).unwrap_or(i32::MAX)),
        TIOCSPTLCK => {
            pty.state.lock().locked = get_int(memory, arg)? != 0;
            Ok(0)
        }
        TIOCGPTLCK => {
            let locked = pty.state.lock().locked;
            put_int(memory, arg, i32::from(locked))
        }
        TIOCPKT => {
            let on = get_int(memory, arg)? != 0;
            let mut state = pty.state.lock();
            if on && !state.packet {
                state.packet_status = 0;
            }
            state.packet = on;
            Ok(0)
        }
        TIOCGPKT => {
            let on = pty.state.lock().packet;
            put_int(memory, arg, i32::from(on))
        }
        TIOCSIG => {
            let signal = i32::try_from(arg).ok().and_then(Signal::new).ok_or(Errno::EINVAL)?;
            if ![Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTSTP].contains(&signal) {
                return Err(Errno::EINVAL);
            }
            pty.job.signal(&*pty.host, signal);
            Ok(0)
        }
        FIONREAD => {
            let bytes = pty.state.lock().ldisc.output.len();
            put_int(memory, arg, count(bytes))
        }
        // The other way round: what is input here is output there.
        TCFLSH => flush(pty, [1, 0, 2].get(usize::try_from(arg).unwrap_or(3)).copied().ok_or(Errno::EINVAL)?),
        TIOCSTI | TIOCSCTTY => Err(Errno::EIO),
        _ => match self::job(
            &pty.job,
            &*pty.host,
            || Arc::clone(pty) as Arc<dyn Terminal>,
            (true, true),
            (memory, op, arg),
        ) {
            Some(result) => result,
            None => common(pty, memory, op, arg),
        },
    }
}

/// Requests on the slave.
pub(super) fn slave(pty: &Arc<Pty>, readable: bool, memory: &dyn UserMemory, op: u32, arg: u64) -> Result<u64, Errno> {
    let request = (memory, op, arg);
    let terminal = || Arc::clone(pty) as Arc<dyn Terminal>;
    if let Some(result) = self::job(&pty.job, &*pty.host, terminal, (readable, false), request) {
        return result;
    }
    match op {
        FIONREAD => {
            let bytes = pty.state.lock().ldisc.readable();
            put_int(memory, arg, count(bytes))
        }
        TCFLSH => {
            check(pty)?;
            flush(pty, arg)
        }
        TIOCSTI => fake_input(pty, memory, arg),
        _ => common(pty, memory, op, arg),
    }
}

/// Changing a terminal from the background raises `SIGTTOU`.
fn check(pty: &Pty) -> Result<(), Errno> {
    pty.job.check(&*pty.host, Signal::SIGTTOU)
}

fn common(pty: &Arc<Pty>, memory: &dyn UserMemory, op: u32, arg: u64) -> Result<u64, Errno> {
    let addr = UserAddr::new(arg);
    let termios = || pty.state.lock().ldisc.termios;
    match op {
        TCGETS => memory.write(addr, &termios().to_bytes()[..TERMIOS_LEN])?,
        TCGETS2 => memory.write(addr, &termios().to_bytes())?,
        TCGETA => memory.write(addr, &termios().to_termio())?,
        TCSETS | TCSETSW | TCSETSF => set_termios(pty, memory, addr, TERMIOS_LEN, op == TCSETSF)?,
        TCSETS2 | TCSETSW2 | TCSETSF2 => set_termios(pty, memory, addr, TERMIOS2_LEN, op == TCSETSF2)?,
        TCSETA | TCSETAW | TCSETAF => set_termios(pty, memory, addr, TERMIO_LEN, op == TCSETAF)?,
        // A pseudo-terminal has no line to break and nothing to wait for.
        TCSBRK | TCSBRKP => check(pty)?,
        TIOCSBRK | TIOCCBRK => {}
        TCXONC => {
            check(pty)?;
            flow(pty, arg)?;
        }
        TIOCEXCL | TIOCNXCL => pty.state.lock().exclusive = op == TIOCEXCL,
        TIOCGEXCL => {
            let exclusive = pty.state.lock().exclusive;
            return put_int(memory, arg, i32::from(exclusive));
        }
        TIOCOUTQ => return put_int(memory, arg, 0),
        TIOCGWINSZ => {
            let size = pty.state.lock().size;
            memory.write(addr, &size_bytes(size))?;
        }
        TIOCSWINSZ => {
            let mut bytes = [0; 8];
            memory.read(addr, &mut bytes)?;
            pty.resize(size_from(bytes));
        }
        TIOCGETD => return put_int(memory, arg, 0),
        // N_TTY is the only line discipline.
        TIOCSETD if get_int(memory, arg)? == 0 => {}
        TIOCSETD => return Err(Errno::EINVAL),
        TIOCGDEV => {
            let number = pty.device().encode();
            return put_int(memory, arg, i32::try_from(number).unwrap_or(i32::MAX));
        }
        TIOCVHANGUP => {
            if !pty.host.caller().is_some_and(|caller| caller.privileged) {
                return Err(Errno::EPERM);
            }
            pty.hang_up();
        }
        _ => return Err(Errno::ENOTTY),
    }
    Ok(0)
}

/// Returns `struct winsize`.
pub(crate) fn size_bytes(size: WinSize) -> [u8; 8] {
    let mut bytes = [0; 8];
    for (place, value) in bytes.chunks_mut(2).zip(size) {
        place.copy_from_slice(&value.to_ne_bytes());
    }
    bytes
}

pub(crate) fn size_from(bytes: [u8; 8]) -> WinSize {
    let [a, b, c, d, e, f, g, h] = bytes;
    [[a, b], [c, d], [e, f], [g, h]].map(u16::from_ne_bytes)
}

fn set_termios(pty: &Pty, memory: &dyn UserMemory, addr: UserAddr, len: usize, flush: bool) -> Result<(), Errno> {
    check(pty)?;
    let mut bytes = [0; TERMIOS2_LEN];
    memory.read(addr, &mut bytes[..len])?;
    let mut state = pty.state.lock();
    let old = state.ldisc.termios;
    let new = if len == TERMIO_LEN { old.with_termio(&bytes[..len])? } else { old.with_bytes(&bytes[..len])? };
    if flush {
        state.ldisc.flush_input();
        state.packet_status |= packet::FLUSHREAD;
    }
    let effects = state.ldisc.set_termios(new);
    state.note_stopped(effects.stopped);
    note_flow(&mut state, &old, &new);
    pty.settle(state, effects);
    Ok(())
}

/// Records for packet mode whether ^S and ^Q do what they usually do.
fn note_flow(state: &mut State, old: &Termios, new: &Termios) {
    if old.has_standard_flow() != new.has_standard_flow() {
        state.packet_status &= !(packet::DOSTOP | packet::NOSTOP);
        state.packet_status |= if new.has_standard_flow() { packet::DOSTOP } else { packet::NOSTOP };
    }
}

/// `TCFLSH` as seen from the slave: 0 input, 1 output, 2 both.
fn flush(pty: &Pty, what: u64) -> Result<u64, Errno> {
    if what > 2 {
        return Err(Errno::EINVAL);
    }
    let mut state = pty.state.lock();
    if what != 1 {
        state.ldisc.flush_input();
        state.pending.clear();
        state.packet_status |= packet::FLUSHREAD;
    }
    if what != 0 {
        state.ldisc.flush_output();
        state.packet_status |= packet::FLUSHWRITE;
    }
    pty.settle(state, Effects::default());
    Ok(0)
}

/// `TCXONC`: stops or starts our output, or tells the other side to.
fn flow(pty: &Pty, what: u64) -> Result<(), Errno> {
    let mut state = pty.state.lock();
    match what {
        0 | 1 => {
            if state.ldisc.set_stopped(what == 0) {
                state.note_stopped(Some(what == 0));
            }
        }
        2 | 3 => {
            let index = if what == 2 { cc::STOP } else { cc::START };
            let byte = state.ldisc.termios.cc[index];
            if byte != 0 {
                state.ldisc.output.push_back(byte);
            }
        }
        _ => return Err(Errno::EINVAL),
    }
    pty.settle(state, Effects::default());
    Ok(())
}

/// `TIOCSTI`: as if the byte had been typed.
fn fake_input(pty: &Pty, memory: &dyn UserMemory, arg: u64) -> Result<u64, Errno> {
    let caller = pty.host.caller();
    let own = pty.host.controlling().is_some_and(|terminal| std::ptr::eq(terminal.job(), &raw const pty.job));
    if !own && !caller.is_some_and(|caller| caller.privileged) {
        return Err(Errno::EPERM);
    }
    let mut byte = [0; 1];
    memory.read(UserAddr::new(arg), &mut byte)?;
    let mut state = pty.state.lock();
    if state.pending.len() < super::pty::PENDING_MAX {
        state.pending.push_back(byte[0]);
    }
    let effects = Pty::pump(&mut state);
    pty.settle(state, effects);
    Ok(0)
}
