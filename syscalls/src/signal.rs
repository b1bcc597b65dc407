//! `rt_sigaction`, `rt_sigprocmask`, `rt_sigreturn`, `rt_sigpending`, `rt_sigtimedwait`, `rt_sigsuspend`, `sigaltstack`,
//! `pause`, `restart_syscall`.

use std::sync::Arc;
use std::time::Instant;

use abi::signal::{SigAction, SigInfo, SigSet, Signal, StackT, sa};
use abi::time::Timespec;
use abi::{Errno, Restart, SysError, UserRef};
use sentry::signal::send::retarget;
use sentry::signal::{accept_stack, ignored, reported_flags, sigreturn};
use sentry::wait::WaitError;
use sentry::{Current, Outcome};

const SIGSET_SIZE: usize = 8;
const SIG_BLOCK: i32 = 0;
const SIG_UNBLOCK: i32 = 1;
const SIG_SETMASK: i32 = 2;
const KNOWN_FLAGS: u64 = sa::NOCLDSTOP
    | sa::NOCLDWAIT
    | sa::SIGINFO
    | sa::EXPOSE_TAGBITS
    | sa::RESTORER
    | sa::ONSTACK
    | sa::RESTART
    | sa::NODEFER
    | sa::RESETHAND;

/// Serves `rt_sigaction(2)`.
pub fn rt_sigaction(
    cur: &mut Current,
    signum: i32,
    act: UserRef<SigAction>,
    oldact: UserRef<SigAction>,
    size: usize,
) -> Result<(), Errno> {
    if size != SIGSET_SIZE {
        return Err(Errno::EINVAL);
    }
    let new = cur.mem.read_opt(act)?;
    let signal = Signal::new(signum).ok_or(Errno::EINVAL)?;
    let unblockable = SigSet::UNBLOCKABLE.contains(signal);
    if unblockable && new.is_some() {
        return Err(Errno::EINVAL);
    }
    let hand = cur.process().signals.hand.load_full();
    let old = match new {
        Some(mut action) => {
            // Unknown flags are cleared, so that a program can ask which ones are known (SA_UNSUPPORTED).
            action.flags &= KNOWN_FLAGS;
            action.mask = action.mask.without(SigSet::UNBLOCKABLE);
            let old = hand.set(signal, action);
            if ignored(signal, &action) {
                discard_pending(cur, signal);
            } else {
                cur.process().interval_timers.unignored(signal);
                cur.process().posix_timers.unignored(signal);
            }
            old
        }
        None => hand.get(signal),
    };
    cur.mem.write_opt_last(oldact, &old)
}

/// A signal that is now ignored loses its pending instances, blocked or not.
fn discard_pending(cur: &Current, signal: Signal) {
    let set = SigSet::of(signal);
    cur.process().signals.discard(set);
    let table = cur.kernel().tasks.read();
    if let Some(entry) = table.processes.get(&cur.process().pid) {
        entry.threads.values().for_each(|thread| thread.signals.discard(set));
    }
}

/// Serves `rt_sigprocmask(2)`.
pub fn rt_sigprocmask(
    cur: &mut Current,
    how: i32,
    set: UserRef<SigSet>,
    oldset: UserRef<SigSet>,
    size: usize,
) -> Result<(), Errno> {
    if size != SIGSET_SIZE {
        return Err(Errno::EINVAL);
    }
    let old = cur.task.signals.mask();
    if let Some(set) = cur.mem.read_opt(set)? {
        let new = match how {
            SIG_BLOCK => old.union(set),
            SIG_UNBLOCK => old.without(set),
            SIG_SETMASK => set,
            _ => return Err(Errno::EINVAL),
        };
        cur.task.signals.set_mask(new);
        retarget(&cur.task);
        cur.task.signals.look(&cur.process().signals);
    }
    cur.mem.write_opt_last(oldset, &old)
}

/// Serves `rt_sigreturn(2)`.
pub fn rt_sigreturn(cur: &mut Current) -> Outcome<'_> {
    Outcome::block(async move {
        sigreturn(cur).await;
        cur.registers_final = true;
        Ok(0)
    })
}

/// Serves `uretprobe`, which only a probe of the kernel's own may call (Linux: `SIGILL` for all others, and a result of -1).
pub fn uretprobe(cur: &mut Current) -> Result<u64, Errno> {
    sentry::signal::send::force(&cur.task, SigInfo::from_kernel(Signal::SIGILL));
    Ok(u64::MAX)
}

/// Serves `rt_sigpending(2)`.
pub fn rt_sigpending(cur: &mut Current, set: UserRef<SigSet>, size: usize) -> Result<(), Errno> {
    if size > SIGSET_SIZE {
        return Err(Errno::EINVAL);
    }
    let pending = cur.task.signals.pending().union(cur.process().signals.pending());
    let blocked = pending.intersection(cur.task.signals.mask());
    cur.mem.write_bytes(set.addr(), &blocked.0.to_le_bytes()[..size])
}

/// Serves `rt_sigtimedwait(2)`.
pub fn rt_sigtimedwait(
    cur: &mut Current,
    set: UserRef<SigSet>,
    info: UserRef<SigInfo>,
    timeout: UserRef<Timespec>,
    size: usize,
) -> Outcome<'_> {
    Outcome::block(async move {
        if size != SIGSET_SIZE {
            return Err(Errno::EINVAL.into());
        }
        let wanted = cur.mem.read(set)?.without(SigSet::UNBLOCKABLE);
        let deadline = match cur.mem.read_opt(timeout)? {
            Some(time) => Some(Instant::now().checked_add(time.duration()?)),
            None => None,
        };
        let found = wait_for_signal(cur, wanted, deadline.flatten()).await?;
        cur.mem.write_opt(info, &found)?;
        Ok(u64::from(found.signo.unsigned_abs()))
    })
}

async fn wait_for_signal(cur: &mut Current, wanted: SigSet, deadline: Option<Instant>) -> Result<SigInfo, SysError> {
    let task = Arc::clone(&cur.task);
    let signals = &task.signals;
    let take = || signals.dequeue(&task.process, SigSet(!wanted.0));
    if let Some(found) = take() {
        return Ok(found);
    }
    // While it waits, the wanted signals count as unblocked for the sender's choice of thread, yet aren't delivered.
    let mask = signals.mask();
    signals.set_waited(wanted);
    signals.set_mask(mask.union(wanted));
    let ended = task.wait(&signals.arrival, !0, deadline, take).await;
    signals.set_mask(mask);
    signals.set_waited(SigSet::EMPTY);
    match ended {
        Ok(found) => Ok(found),
        Err(WaitError::TimedOut) => Err(Errno::EAGAIN.into()),
        Err(WaitError::Interrupted) => Err(Errno::EINTR.into()),
    }
}

/// Serves `rt_sigsuspend(2)`.
pub fn rt_sigsuspend(cur: &mut Current, mask: UserRef<SigSet>, size: usize) -> Outcome<'_> {
    Outcome::block(async move {
        if size != SIGSET_SIZE {
            return Err(Errno::EINVAL.into());
        }
        let mask = cur.mem.read(mask)?;
        cur.saved_mask = Some(cur.task.signals.set_mask(mask));
        cur.task.sleep(None).await;
        Err(Restart::NoHand.into())
    })
}

/// Serves `pause(2)`.
pub fn pause(cur: &mut Current) -> Outcome<'_> {
    Outcome::block(async move {
        cur.task.sleep(None).await;
        Err(Restart::NoHand.into())
    })
}

/// Serves `sigaltstack(2)`.
pub fn sigaltstack(cur: &mut Current, new: UserRef<StackT>, old: UserRef<StackT>) -> Result<(), Errno> {
    let rsp = cur.regs().rsp;
    let wanted = cur.mem.read_opt(new)?;
    let before = cur.task.signals.altstack();
    if let Some(stack) = wanted {
        cur.task.signals.set_altstack(accept_stack(rsp, &before, stack)?);
    }
    let report = StackT { flags: reported_flags(rsp, &before), pad: 0, ..before };
    cur.mem.write_opt_last(old, &report)
}

/// Serves `restart_syscall(2)`: goes on with the call that a stop or an ignored signal has interrupted.
pub fn restart_syscall(cur: &mut Current) -> Outcome<'_> {
    match cur.restart_block.take() {
        Some(block) => block(cur),
        None => Outcome::Done(Err(Errno::EINTR.into())),
    }
}
