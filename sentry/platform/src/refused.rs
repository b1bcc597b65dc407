//! Last words of a process whose seccomp filter refuses a call: which one it was.
//!
//! Filters answer with SIGSYS. Its handler writes one line and makes the call again, with the signal blocked, upon which
//! the host kills. The filters let nobody set another handler for SIGSYS; a process that gets past this one has made no
//! call more than with a filter that kills at once.

use std::ffi::{c_int, c_void};
use std::fmt::{self, Write};
use std::sync::OnceLock;

/// Who writes, and where besides standard error.
struct Speaker {
    who: &'static str,
    log: Option<c_int>,
}

static SPEAKER: OnceLock<Speaker> = OnceLock::new();

/// A line that needs no memory but its own.
struct Line {
    text: [u8; 256],
    len: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let room = self.text.get_mut(self.len..).unwrap_or_default();
        let fits = text.len().min(room.len());
        room[..fits].copy_from_slice(&text.as_bytes()[..fits]);
        self.len += fits;
        Ok(())
    }
}

/// Has this process name the call for which its filter ends it. `log` is a descriptor that stays open. To be called before
/// the filter is installed, once.
pub fn speak_of_refused_calls(who: &'static str, log: Option<c_int>) {
    let _ = SPEAKER.set(Speaker { who, log });
    // SAFETY: plain data, for which zeros are an empty mask and no flags.
    let mut action: libc::sigaction = unsafe { std::mem::zeroed() };
    action.sa_sigaction = refused as *const () as usize;
    action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: fills a set of `action`. Nothing else is to interrupt the handler.
    unsafe { libc::sigfillset(&raw mut action.sa_mask) };
    // SAFETY: the handler has the signature that SA_SIGINFO asks for, and takes no lock and no memory.
    unsafe { libc::sigaction(libc::SIGSYS, &raw const action, std::ptr::null_mut()) };
}

/// The registers of a call, in the order of its number and arguments.
const ORDER: [c_int; 7] =
    [libc::REG_RAX, libc::REG_RDI, libc::REG_RSI, libc::REG_RDX, libc::REG_R10, libc::REG_R8, libc::REG_R9];

extern "C" fn refused(_: c_int, _: *mut libc::siginfo_t, context: *mut c_void) {
    let context: *const libc::ucontext_t = context.cast();
    // SAFETY: the host passes its frame to a handler with SA_SIGINFO; a refused call leaves all registers as they were.
    let registers = unsafe { (*context).uc_mcontext.gregs };
    let [nr, a, b, c, d, e, f] = ORDER.map(|at| registers.get(at as usize).copied().unwrap_or(0));
    if let Some(speaker) = SPEAKER.get() {
        let mut line = Line { text: [0; 256], len: 0 };
        let name = abi::table::entry(nr.cast_unsigned()).map_or("unknown", |entry| entry.name);
        // Writing to a line can't fail.
        let _ = writeln!(
            line,
            "runsc: the {} made host call {name} ({nr}) with {a:#x}, {b:#x}, {c:#x}, {d:#x}, which its filter forbids",
            speaker.who
        );
        for fd in [Some(2), speaker.log].into_iter().flatten() {
            // SAFETY: writes from a live array; the result doesn't matter on the way out.
            unsafe { libc::write(fd, line.text.as_ptr().cast(), line.len) };
        }
    }
    // SAFETY: the filter refuses these very arguments, and as the signal is blocked by now, the host kills.
    unsafe { libc::syscall(nr, a, b, c, d, e, f) };
    // SAFETY: ends the process, should it come to that.
    unsafe { libc::_exit(128 + libc::SIGSYS) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_cut_off_where_there_is_no_more_room() {
        let mut line = Line { text: [0; 256], len: 0 };
        for _ in 0..100 {
            let _ = write!(line, "word ");
        }
        assert_eq!(line.len, 256);
        assert!(line.text.starts_with(b"word word "));
    }
}
