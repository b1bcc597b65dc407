//! Process groups and sessions (`man 2 setpgid`, `man 2 setsid`, `man 7 credentials`).

use abi::{Errno, Pid};

use crate::{Current, Task};

/// Tells whether the task's group is orphaned: terminal stop signals don't stop it then.
pub(crate) fn group_is_orphaned(task: &Task) -> bool {
    let table = task.kernel.tasks.read();
    table.processes.get(&task.process.pid).is_some_and(|entry| table.group_is_orphaned(entry.pgid, None))
}

/// Returns the group of a process; 0 means the caller's.
pub fn getpgid(task: &Task, pid: Pid) -> Result<Pid, Errno> {
    entry(task, pid, |entry| entry.pgid)
}

/// Returns the session of a process; 0 means the caller's.
pub fn getsid(task: &Task, pid: Pid) -> Result<Pid, Errno> {
    entry(task, pid, |entry| entry.sid)
}

fn entry(task: &Task, pid: Pid, get: impl Fn(&super::ProcessEntry) -> Pid) -> Result<Pid, Errno> {
    let table = task.kernel.tasks.read();
    let found = if pid == Pid(0) { table.processes.get(&task.process.pid) } else { table.process_of(pid) };
    found.map(get).ok_or(Errno::ESRCH)
}

/// Moves a process to a group of its session.
pub fn setpgid(task: &Task, pid: Pid, pgid: Pid) -> Result<(), Errno> {
    let caller = task.process.pid;
    let pid = if pid == Pid(0) { caller } else { pid };
    let pgid = if pgid == Pid(0) { pid } else { pgid };
    if pgid.0 < 0 {
        return Err(Errno::EINVAL);
    }
    let mut table = task.kernel.tasks.write();
    let own_sid = table.processes.get(&caller).map(|entry| entry.sid).ok_or(Errno::ESRCH)?;
    // A thread id that isn't a process id is EINVAL on Linux, not ESRCH.
    let target = match table.processes.get(&pid) {
        Some(entry) if entry.zombie.is_none() || pid == caller || entry.parent == caller => entry,
        _ if table.tasks.contains_key(&pid) => return Err(Errno::EINVAL),
        _ => return Err(Errno::ESRCH),
    };
    if target.parent == caller {
        if target.sid != own_sid {
            return Err(Errno::EPERM);
        }
        if target.has_execed {
            return Err(Errno::EACCES);
        }
    } else if pid != caller {
        return Err(Errno::ESRCH);
    }
    if target.sid == pid {
        return Err(Errno::EPERM);
    }
    let sid = target.sid;
    if pgid != pid && !table.processes.values().any(|entry| entry.pgid == pgid && entry.sid == sid) {
        return Err(Errno::EPERM);
    }
    if let Some(target) = table.processes.get_mut(&pid) {
        target.pgid = pgid;
        target.tell_relations();
    }
    Ok(())
}

/// Makes the caller the leader of a new session and group, without a terminal.
pub fn setsid(cur: &Current) -> Result<Pid, Errno> {
    let pid = cur.process().pid;
    let mut table = cur.kernel().tasks.write();
    if table.processes.values().any(|entry| entry.pgid == pid) {
        return Err(Errno::EPERM);
    }
    let entry = table.processes.get_mut(&pid).ok_or(Errno::ESRCH)?;
    entry.pgid = pid;
    entry.sid = pid;
    entry.tell_relations();
    entry.process.set_terminal(None);
    Ok(pid)
}
