//! `kill`, `tkill`, `tgkill`, `rt_sigqueueinfo`, `rt_tgsigqueueinfo`.

use std::sync::Arc;

use abi::signal::{SigInfo, Signal, si};
use abi::{Errno, Pid, UserRef};
use sentry::signal::send;
use sentry::task::{Caps, INIT};
use sentry::{Current, Process, Task};

/// `None` for the null signal, which only probes; `EINVAL` for no signal at all.
pub(crate) fn signal(number: i32) -> Result<Option<Signal>, Errno> {
    if number == 0 { Ok(None) } else { Signal::new(number).map(Some).ok_or(Errno::EINVAL) }
}

/// Tells whether the caller may send a signal (`man 2 kill`; kernel: `check_kill_permission`).
pub(crate) fn may_signal(cur: &Current, target: &Task, signal: Option<Signal>) -> Result<(), Errno> {
    if Arc::ptr_eq(&target.process, cur.process()) {
        return Ok(());
    }
    let own = cur.task.cred.load();
    let other = target.cred.load();
    let same_user = [own.euid, own.ruid].iter().any(|uid| *uid == other.suid || *uid == other.ruid);
    if same_user || own.has(Caps::KILL) {
        return Ok(());
    }
    if signal == Some(Signal::SIGCONT) {
        let table = cur.kernel().tasks.read();
        let sid = |process: &Process| table.processes.get(&process.pid).map(|entry| entry.sid);
        if sid(cur.process()) == sid(&target.process) {
            return Ok(());
        }
    }
    Err(Errno::EPERM)
}

/// Returns the process and one of its threads: `ESRCH` where there is none. A zombie has no thread and takes any signal
/// silently.
fn find(cur: &Current, pid: Pid) -> Result<(Arc<Process>, Option<Arc<Task>>), Errno> {
    let table = cur.kernel().tasks.read();
    let entry = table.process_of(pid).ok_or(Errno::ESRCH)?;
    Ok((Arc::clone(&entry.process), entry.threads.values().next().cloned()))
}

/// Sends `info` to a process, or only checks where `signal` is `None`.
pub(crate) fn send_to_process(
    cur: &Current,
    pid: Pid,
    signal: Option<Signal>,
    info: impl FnOnce(Signal) -> SigInfo,
) -> Result<(), Errno> {
    let (process, thread) = find(cur, pid)?;
    if let Some(thread) = &thread {
        may_signal(cur, thread, signal)?;
    }
    match (signal, thread) {
        (Some(signal), Some(_)) => send::to_process(cur.kernel(), &process, info(signal)),
        _ => Ok(()),
    }
}

fn from_caller(cur: &Current, code: i32) -> impl Fn(Signal) -> SigInfo + use<> {
    let pid = cur.process().pid.0;
    let uid = cur.task.cred.load().ruid;
    move |signal| SigInfo::from_process(signal, code, pid, uid, 0)
}

/// Serves `kill(2)`.
pub fn kill(cur: &mut Current, pid: Pid, sig: i32) -> Result<(), Errno> {
    let info = from_caller(cur, si::USER);
    match pid.0 {
        1.. => send_to_process(cur, pid, signal(sig)?, info),
        i32::MIN => Err(Errno::ESRCH),
        -1 => send_to_many(cur, None, signal(sig)?, &info),
        0 => {
            let own = sentry::task::session::getpgid(&cur.task, Pid(0))?;
            send_to_many(cur, Some(own), signal(sig)?, &info)
        }
        _ => send_to_many(cur, Some(Pid(-pid.0)), signal(sig)?, &info),
    }
}

/// Sends to a group or to everybody but init and the caller (`None`). Succeeds where one took it.
pub(crate) fn send_to_many(
    cur: &Current,
    pgid: Option<Pid>,
    signal: Option<Signal>,
    info: &impl Fn(Signal) -> SigInfo,
) -> Result<(), Errno> {
    let own = cur.process().pid;
    let targets: Vec<Pid> = {
        let table = cur.kernel().tasks.read();
        let meant = table.processes.values().filter(|entry| match pgid {
            Some(pgid) => entry.pgid == pgid,
            None => entry.process.pid != INIT && entry.process.pid != own,
        });
        meant.map(|entry| entry.process.pid).collect()
    };
    let mut result = Err(Errno::ESRCH);
    for target in targets {
        match send_to_process(cur, target, signal, info) {
            Ok(()) => result = Ok(()),
            Err(errno) if result.is_err() => result = Err(errno),
            Err(_) => {}
        }
    }
    result
}

/// Serves `tkill(2)`.
pub fn tkill(cur: &mut Current, tid: Pid, sig: i32) -> Result<(), Errno> {
    if tid.0 <= 0 {
        return Err(Errno::EINVAL);
    }
    let info = from_caller(cur, si::TKILL);
    send_to_thread(cur, None, tid, signal(sig)?, info)
}

/// Serves `tgkill(2)`.
pub fn tgkill(cur: &mut Current, tgid: Pid, tid: Pid, sig: i32) -> Result<(), Errno> {
    if tgid.0 <= 0 || tid.0 <= 0 {
        return Err(Errno::EINVAL);
    }
    let info = from_caller(cur, si::TKILL);
    send_to_thread(cur, Some(tgid), tid, signal(sig)?, info)
}

fn send_to_thread(
    cur: &Current,
    tgid: Option<Pid>,
    tid: Pid,
    signal: Option<Signal>,
    info: impl FnOnce(Signal) -> SigInfo,
) -> Result<(), Errno> {
    let target = cur.kernel().tasks.read().tasks.get(&tid).cloned().ok_or(Errno::ESRCH)?;
    if tgid.is_some_and(|tgid| tgid != target.process.pid) {
        return Err(Errno::ESRCH);
    }
    may_signal(cur, &target, signal)?;
    match signal {
        Some(signal) => send::to_task(&target, info(signal)),
        None => Ok(()),
    }
}

/// Reads a `siginfo_t` that the caller made up. Only codes below 0 other than `SI_TKILL` may be sent to others.
pub(crate) fn read_info(cur: &Current, sig: i32, info: UserRef<SigInfo>, to_self: bool) -> Result<SigInfo, Errno> {
    let mut info = cur.mem.read(info)?.of_setting(0);
    info.signo = sig;
    if (info.code >= 0 || info.code == si::TKILL) && !to_self {
        return Err(Errno::EPERM);
    }
    Ok(info)
}

/// Serves `rt_sigqueueinfo(2)`.
pub fn rt_sigqueueinfo(cur: &mut Current, tgid: Pid, sig: i32, info: UserRef<SigInfo>) -> Result<(), Errno> {
    let info = read_info(cur, sig, info, tgid == cur.process().pid)?;
    if tgid.0 <= 0 {
        return Err(Errno::EINVAL);
    }
    send_to_process(cur, tgid, signal(sig)?, |_| info)
}

/// Serves `rt_tgsigqueueinfo(2)`.
pub fn rt_tgsigqueueinfo(
    cur: &mut Current,
    tgid: Pid,
    tid: Pid,
    sig: i32,
    info: UserRef<SigInfo>,
) -> Result<(), Errno> {
    let info = read_info(cur, sig, info, tid == cur.task.tid)?;
    if tgid.0 <= 0 || tid.0 <= 0 {
        return Err(Errno::EINVAL);
    }
    send_to_thread(cur, Some(tgid), tid, signal(sig)?, |_| info)
}
