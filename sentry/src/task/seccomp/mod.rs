//! Secure computing (`seccomp(2)`): what a thread has forbidden itself, asked before each of its calls.
//!
//! A thread's filters are a list that only grows; copies of the list share the programs. Its own lock is a leaf; the
//! list is replaced while the table of tasks is locked, so that a new thread never misses one.

mod bpf;
mod restriction;

pub use bpf::{Data, Insn, MAX_INSNS, Program};
pub use restriction::Restriction;

use std::sync::Arc;

use abi::signal::{SigInfo, Signal};
use abi::table::nr;
use abi::{Errno, Pid};

use super::Task;
use super::exit::exit_group;
use crate::signal::send;
use crate::{Current, task::Caps};

/// `AUDIT_ARCH_X86_64`.
const ARCH: u32 = 0xc000_003e;
/// Most instructions in all filters of a thread (`MAX_INSNS_PER_PATH`), each counting four for itself.
const MAX_INSNS_PER_PATH: usize = 32_768;
const FILTER_COST: usize = 4;
/// Largest error number that a filter can ask for (`MAX_ERRNO`).
const MAX_ERRNO: u32 = 4095;

/// Actions in the upper half of what a filter returns (`SECCOMP_RET_*`). The lowest one, as a signed number, wins.
pub mod action {
    /// Ends the process by SIGSYS.
    pub const KILL_PROCESS: u32 = 0x8000_0000;
    /// Ends the thread.
    pub const KILL_THREAD: u32 = 0;
    /// Sends SIGSYS instead of the call.
    pub const TRAP: u32 = 0x0003_0000;
    /// Returns the error in the lower half.
    pub const ERRNO: u32 = 0x0005_0000;
    /// Asks a supervisor, of which there are none here.
    pub const USER_NOTIF: u32 = 0x7fc0_0000;
    /// Asks the tracer.
    pub const TRACE: u32 = 0x7ff0_0000;
    /// Logs and allows.
    pub const LOG: u32 = 0x7ffc_0000;
    /// Allows.
    pub const ALLOW: u32 = 0x7fff_0000;
    /// The bits of the action.
    pub const MASK: u32 = 0xffff_0000;
    /// The bits of its data.
    pub const DATA: u32 = 0xffff;
}

/// What a thread has forbidden itself.
#[derive(Clone, Debug, Default)]
pub enum Mode {
    /// Nothing.
    #[default]
    Disabled,
    /// All but `read`, `write`, `exit` and `rt_sigreturn`.
    Strict,
    /// What these programs, oldest first, say.
    Filter(Arc<Vec<Arc<Program>>>),
}

impl Mode {
    /// The number that `prctl(PR_GET_SECCOMP)` and `/proc/PID/status` tell.
    pub fn number(&self) -> u32 {
        match self {
            Mode::Disabled => 0,
            Mode::Strict => 1,
            Mode::Filter(_) => 2,
        }
    }

    /// How many filters there are.
    pub fn filters(&self) -> usize {
        match self {
            Mode::Filter(filters) => filters.len(),
            _ => 0,
        }
    }

    /// Tells whether `other` has all of these filters, and in the same order before its own.
    fn is_ancestor_of(&self, other: &[Arc<Program>]) -> bool {
        match self {
            Mode::Disabled => true,
            Mode::Strict => false,
            Mode::Filter(own) => {
                own.len() <= other.len() && own.iter().zip(other).all(|(own, other)| Arc::ptr_eq(own, other))
            }
        }
    }
}

/// How the other threads of the process are to get a new filter (`SECCOMP_FILTER_FLAG_TSYNC`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Not at all.
    Alone,
    /// All of them; one that can't is told by its id.
    TellThread,
    /// All of them; one that can't is `ESRCH`.
    TellError,
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// It is served.
    Serve,
    /// It returns this error (0: success) without being served.
    Fail(u32),
    /// It isn't served, and the thread's signals tell or it ends.
    Gone,
}

/// Decides about the call in the registers.
#[inline]
pub(super) fn check(cur: &mut Current) -> Decision {
    let restriction = &cur.task.seccomp;
    if !restriction.is_active() {
        return Decision::Serve;
    }
    cur.task.signals.answers.leave_if_ended();
    if restriction.always_allows(cur.call_number()) { Decision::Serve } else { check_mode(cur) }
}

fn check_mode(cur: &mut Current) -> Decision {
    match cur.task.seccomp.mode() {
        Mode::Disabled => Decision::Serve,
        Mode::Strict => strict(cur),
        Mode::Filter(filters) => filtered(cur, &filters),
    }
}

fn strict(cur: &Current) -> Decision {
    let number = cur.call_number();
    if [nr::read, nr::write, nr::exit, nr::rt_sigreturn].iter().any(|allowed| u64::from(*allowed) == number) {
        return Decision::Serve;
    }
    cur.task.request_exit(Signal::SIGKILL.number());
    Decision::Gone
}

fn filtered(cur: &mut Current, filters: &[Arc<Program>]) -> Decision {
    let regs = *cur.regs();
    // The number is the low half of the register, as the host's filters see it.
    let number = (regs.orig_rax & u64::from(u32::MAX)) as u32;
    let data = Data { nr: number.cast_signed(), arch: ARCH, instruction_pointer: regs.rip, args: regs.syscall_args() };
    let order = |value: u32| (value & action::MASK).cast_signed();
    let mut verdict = action::ALLOW;
    for filter in filters.iter().rev() {
        let value = filter.run(&data);
        if order(value) < order(verdict) {
            verdict = value;
        }
    }
    let told = verdict & action::DATA;
    match verdict & action::MASK {
        action::ALLOW => {
            cur.task.seccomp.learn(number);
            Decision::Serve
        }
        action::LOG => {
            tracing::info!(task = ?cur.task, number, "a filter of the guest logs a call");
            Decision::Serve
        }
        action::ERRNO => Decision::Fail(told.min(MAX_ERRNO)),
        // Nobody to ask.
        action::TRACE | action::USER_NOTIF => Decision::Fail(Errno::ENOSYS.raw().cast_unsigned()),
        action::TRAP => {
            let info = SigInfo::seccomp(told.cast_signed(), regs.rip, number.cast_signed(), ARCH);
            cur.set_result(regs.orig_rax);
            send::force(&cur.task, info);
            Decision::Gone
        }
        action::KILL_THREAD if super::exit::threads_of(&cur.task).len() > 1 => {
            cur.task.request_exit(Signal::SIGSYS.number());
            Decision::Gone
        }
        _ => {
            exit_group(&cur.task, Signal::SIGSYS.number());
            Decision::Gone
        }
    }
}

/// Puts a container's filter on a thread that is about to run its first program. Where the filter doesn't let it be
/// executed, as whoever put it on before `execve` would find, this is the error.
pub(crate) fn confine_first(task: &Task, program: &Arc<Program>) -> Result<(), Errno> {
    let data = Data { nr: nr::execve.cast_signed(), arch: ARCH, ..Data::default() };
    let verdict = program.run(&data);
    match verdict & action::MASK {
        action::ALLOW | action::LOG => {}
        action::ERRNO => return Err(Errno::from_raw((verdict & action::DATA).cast_signed())),
        _ => return Err(Errno::EPERM),
    }
    task.seccomp.set(Mode::Filter(Arc::new(vec![Arc::clone(program)])));
    Ok(())
}

/// Restricts the calling thread to strict mode: `EINVAL` where it has filters.
pub fn set_strict(task: &Task) -> Result<(), Errno> {
    // The table keeps the other threads from putting filters on this one.
    let _table = task.kernel.tasks.read();
    if matches!(task.seccomp.mode(), Mode::Filter(_)) {
        return Err(Errno::EINVAL);
    }
    task.signals.answers.leave();
    task.seccomp.set(Mode::Strict);
    Ok(())
}

/// Tells whether the thread may add filters: it can't gain rights that would then run under them.
pub fn may_filter(task: &Task) -> bool {
    let cred = task.cred.load();
    cred.no_new_privs || cred.has(Caps::SYS_ADMIN)
}

/// Adds a filter to the calling thread and, as `sync` says, to the others of its process. Returns the id of a thread
/// that stands in the way, 0 for none.
pub fn add_filter(task: &Arc<Task>, program: Program, sync: Sync) -> Result<Pid, Errno> {
    // The table keeps new threads out meanwhile.
    let table = task.kernel.tasks.write();
    let mut filters = match task.seccomp.mode() {
        Mode::Disabled => Vec::new(),
        Mode::Strict => return Err(Errno::EINVAL),
        Mode::Filter(filters) => filters.to_vec(),
    };
    let cost: usize = filters.iter().map(|filter| filter.cost() + FILTER_COST).sum();
    if cost + program.cost() > MAX_INSNS_PER_PATH {
        return Err(Errno::ENOMEM);
    }
    let entry = table.processes.get(&task.process.pid).filter(|_| sync != Sync::Alone);
    let others: Vec<&Arc<Task>> =
        entry.into_iter().flat_map(|entry| entry.threads.values()).filter(|other| other.tid != task.tid).collect();
    if let Some(other) = others.iter().find(|other| !other.seccomp.mode().is_ancestor_of(&filters)) {
        return if sync == Sync::TellError { Err(Errno::ESRCH) } else { Ok(other.tid) };
    }
    filters.push(Arc::new(program));
    let mode = Mode::Filter(Arc::new(filters));
    let no_new_privs = task.cred.load().no_new_privs;
    for other in others {
        other.seccomp.set(mode.clone());
        if other.seccomp.lets_answer() {
            other.signals.answers.restrict(&other.seccomp);
        } else {
            other.signals.answers.end();
        }
        let cred = other.cred.load_full();
        if no_new_privs && !cred.no_new_privs {
            other.set_cred(super::Cred { no_new_privs, ..(*cred).clone() });
        }
    }
    task.seccomp.set(mode);
    if task.seccomp.lets_answer() {
        task.signals.answers.restrict(&task.seccomp);
    } else {
        task.signals.answers.leave();
    }
    Ok(Pid(0))
}
