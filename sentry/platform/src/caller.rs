//! What the process was given by its caller, noted before the standard library's own start changes it: that opens
//! `/dev/null` in place of closed standard descriptors and ignores `SIGPIPE`.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

static CLOSED: AtomicU8 = AtomicU8::new(0);
static IGNORED: AtomicU64 = AtomicU64::new(0);

// SAFETY: the section holds pointers to functions that the C library calls with the arguments of `main`, which one
// without parameters leaves alone, before `main` and on a single thread. `note` needs nothing of the Rust runtime.
#[used]
#[unsafe(link_section = ".init_array")]
static NOTE: extern "C" fn() = note;

extern "C" fn note() {
    for fd in 0..3 {
        // SAFETY: F_GETFD touches no memory and tells whether the number is open.
        if unsafe { libc::fcntl(fd, libc::F_GETFD) } < 0 {
            CLOSED.fetch_or(1 << fd, Ordering::Relaxed);
        }
    }
    for signal in 1..=64 {
        let mut old = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: changes no action, and writes one of the right size to memory that lives here.
        if unsafe { libc::sigaction(signal, std::ptr::null(), old.as_mut_ptr()) } < 0 {
            continue;
        }
        // SAFETY: zeroed bytes are a valid action, and the call above has succeeded in filling it in.
        let old = unsafe { old.assume_init() };
        if old.sa_sigaction == libc::SIG_IGN {
            IGNORED.fetch_or(1 << (signal - 1), Ordering::Relaxed);
        }
    }
}

/// Tells which of the standard descriptors 0 to 2 were closed.
pub fn closed_streams() -> [bool; 3] {
    let closed = CLOSED.load(Ordering::Relaxed);
    [0, 1, 2].map(|fd| closed & (1 << fd) != 0)
}

/// Returns the signals that were ignored; bit 0 is signal 1.
pub fn ignored_signals() -> u64 {
    IGNORED.load(Ordering::Relaxed)
}
