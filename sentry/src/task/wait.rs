//! Waiting for children: what a parent is told, and how zombies are reaped (`man 2 wait4`, kernel: `kernel/exit.c`).

use std::sync::Arc;
use std::time::Duration;

use abi::signal::{SIG_IGN, SigInfo, Signal, sa};
use abi::{Errno, Pid};

use super::usage::{Peaks, Usage};
use super::{ProcessEntry, TaskTable};
use crate::signal::send;
use crate::{Kernel, Process, Task};

/// `CLD_*` codes of SIGCHLD.
#[allow(missing_docs)]
pub mod cld {
    pub const EXITED: i32 = 1;
    pub const KILLED: i32 = 2;
    pub const DUMPED: i32 = 3;
    pub const STOPPED: i32 = 5;
    pub const CONTINUED: i32 = 6;
}

/// Wait status of a continued child.
const STATUS_CONTINUED: i32 = 0xffff;

/// Which children are meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// Any child.
    Any,
    /// The child with this id.
    Pid(Pid),
    /// Any child in this group.
    Group(Pid),
}

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Ended children (`WEXITED`).
    pub exited: bool,
    /// Stopped children (`WSTOPPED`, `WUNTRACED`).
    pub stopped: bool,
    /// Continued children (`WCONTINUED`).
    pub continued: bool,
    /// Leave the child waitable (`WNOWAIT`).
    pub peek: bool,
    /// Children with an exit signal other than SIGCHLD only (`__WCLONE`).
    pub clone_only: bool,
    /// Both kinds (`__WALL`).
    pub all: bool,
    /// Children that the calling thread itself has made (`__WNOTHREAD`).
    pub own_only: bool,
}

/// A child's change of state.
#[derive(Clone)]
pub struct Report {
    /// The child.
    pub pid: Pid,
    /// Its real user id.
    pub uid: u32,
    /// In the form of `wait4(2)`.
    pub status: i32,
    /// `CLD_*`.
    pub code: i32,
    usage: Usage,
    peaks: Peaks,
}

impl Report {
    /// Returns what the process has used, and the children that it has waited for. May wait for the host.
    pub fn usage(&self) -> Usage {
        Usage { peak_rss: self.usage.peak_rss.max(self.peaks.wait()), ..self.usage }
    }

    /// Returns `si_status`: the exit code or the signal.
    pub fn si_status(&self) -> i32 {
        match self.code {
            cld::EXITED => (self.status >> 8) & 0xff,
            cld::STOPPED => (self.status >> 8) & 0xff,
            cld::CONTINUED => Signal::SIGCONT.number(),
            _ => self.status & 0x7f,
        }
    }
}

/// Splits an end status into `CLD_*` code and itself.
fn end_code(status: i32) -> i32 {
    if status & 0x7f == 0 {
        cld::EXITED
    } else if status & 0x80 != 0 {
        cld::DUMPED
    } else {
        cld::KILLED
    }
}

fn report(entry: &ProcessEntry, status: i32, code: i32) -> Report {
    let process = &entry.process;
    let mut usage = process.usage(entry);
    usage.add(&process.children_usage());
    Report { pid: process.pid, uid: process.real_uid(), status, code, usage, peaks: process.peaks() }
}

/// Looks once for a child that has something to report: `Ok(None)` if there are children but no news, `ECHILD` if no
/// child is meant.
pub fn try_wait(task: &Task, which: Which, options: &Options) -> Result<Option<Report>, Errno> {
    let mut table = task.kernel.tasks.write();
    let parent = task.process.pid;
    let children = table.processes.get(&parent).map(|entry| entry.children.clone()).unwrap_or_default();
    let mut any = false;
    for pid in children {
        let Some(entry) = table.processes.get_mut(&pid) else { continue };
        let eligible = match which {
            Which::Any => true,
            Which::Pid(wanted) => wanted == pid,
            Which::Group(pgid) => entry.pgid == pgid,
        };
        let clone_child = entry.exit_signal != Some(Signal::SIGCHLD);
        let others_child = options.own_only && entry.parent_thread != task.tid;
        if !eligible || others_child || !(options.all || clone_child == options.clone_only) {
            continue;
        }
        any = true;
        if let Some(found) = news(entry, options) {
            let ended = (entry.zombie.is_some() && !options.peek).then(|| Arc::clone(&entry.process));
            if let Some(process) = ended {
                reap(&mut table, pid);
                drop(table);
                // Pidfds hang up now.
                process.exit_event.wake(!0);
                process.thread_gone.wake(!0);
            }
            return Ok(Some(found));
        }
    }
    if any { Ok(None) } else { Err(Errno::ECHILD) }
}

fn news(entry: &mut ProcessEntry, options: &Options) -> Option<Report> {
    if let Some(status) = entry.zombie {
        return options.exited.then(|| report(entry, status, end_code(status)));
    }
    if options.stopped
        && let Some(signal) = entry.stop_report
    {
        if !options.peek {
            entry.stop_report = None;
        }
        return Some(report(entry, (signal.number() << 8) | 0x7f, cld::STOPPED));
    }
    if options.continued && entry.continue_report {
        if !options.peek {
            entry.continue_report = false;
        }
        return Some(report(entry, STATUS_CONTINUED, cld::CONTINUED));
    }
    None
}

/// Removes a zombie; its times go to its parent.
fn reap(table: &mut TaskTable, pid: Pid) {
    let Some(entry) = table.remove_process(pid) else { return };
    if let Some(parent) = table.processes.get(&entry.parent) {
        parent.process.add_child(&entry.process);
    }
}

/// Tells the parent that a process has stopped.
pub(crate) fn report_stopped(kernel: &Kernel, process: &Arc<Process>, signal: Signal) {
    if process.pid == super::table::INIT
        && let Some(tell) = kernel.init_stopped.get()
    {
        tell(signal);
    }
    tell_parent(kernel, process, cld::STOPPED, signal.number(), |entry| {
        entry.stop_report = Some(signal);
        entry.continue_report = false;
    });
}

/// Tells the parent that a process has continued.
pub(crate) fn report_continued(kernel: &Kernel, process: &Arc<Process>) {
    tell_parent(kernel, process, cld::CONTINUED, Signal::SIGCONT.number(), |entry| {
        entry.stop_report = None;
        entry.continue_report = true;
    });
}

fn tell_parent(
    kernel: &Kernel,
    process: &Arc<Process>,
    code: i32,
    status: i32,
    change: impl FnOnce(&mut ProcessEntry),
) {
    let parent = {
        let mut table = kernel.tasks.write();
        let Some(entry) = table.processes.get_mut(&process.pid) else { return };
        change(entry);
        let parent = entry.parent;
        table.processes.get(&parent).map(|entry| Arc::clone(&entry.process))
    };
    let Some(parent) = parent else { return };
    let action = parent.signals.action(Signal::SIGCHLD);
    if action.handler != SIG_IGN && action.flags & sa::NOCLDSTOP == 0 {
        let info = SigInfo::child(code, process.pid.0, process.real_uid(), status, 0, 0);
        let _ = send::to_process(kernel, &parent, info);
    }
    parent.child_events.wake(!0);
}

/// Makes a process whose last thread has ended a zombie, gives its children away, and tells whom it concerns.
pub(crate) fn process_ended(kernel: &Kernel, process: &Arc<Process>, status: i32) {
    let mut news: Vec<(Arc<Process>, Option<SigInfo>)> = Vec::new();
    let mut hangups: Vec<Pid> = Vec::new();
    {
        let mut table = kernel.tasks.write();
        let reaper = table.reaper_of(process.pid);
        let adopter = table.processes.get(&reaper).and_then(|entry| entry.threads.keys().next().copied());
        let adopting_thread = adopter.unwrap_or(reaper);
        let Some(entry) = table.processes.get_mut(&process.pid) else { return };
        entry.zombie = Some(status);
        let orphans = std::mem::take(&mut entry.children);
        let (pgid, parent) = (entry.pgid, entry.parent);
        for child in orphans {
            let Some(orphan) = table.processes.get_mut(&child) else { continue };
            orphan.parent = reaper;
            orphan.tell_relations();
            orphan.parent_thread = adopting_thread;
            // An adopted child reports its end like any other (kernel: `reparent_leader`).
            orphan.exit_signal = Some(Signal::SIGCHLD);
            let (group, ended) = (orphan.pgid, orphan.zombie);
            if let Some(adopter) = table.processes.get_mut(&reaper) {
                adopter.children.push(child);
            }
            if let Some(status) = ended {
                end_report(&mut table, child, status, &mut news);
            } else if group != pgid && table.group_is_orphaned(group, None) && table.group_has_stopped(group) {
                hangups.push(group);
            }
        }
        let leaves_orphans =
            parent != Pid(0) && table.group_is_orphaned(pgid, Some(process.pid)) && table.group_has_stopped(pgid);
        if leaves_orphans {
            hangups.push(pgid);
        }
        end_report(&mut table, process.pid, status, &mut news);
    }
    for pgid in hangups {
        send::to_group(kernel, pgid, SigInfo::from_kernel(Signal::SIGHUP));
        send::to_group(kernel, pgid, SigInfo::from_kernel(Signal::SIGCONT));
    }
    process.exit_event.wake(!0);
    for (parent, info) in news {
        if let Some(info) = info {
            let _ = send::to_process(kernel, &parent, info);
        }
        parent.child_events.wake(!0);
    }
}

/// Notes what the parent of an ended process is told, and reaps at once where the parent doesn't want to know.
fn end_report(table: &mut TaskTable, pid: Pid, status: i32, news: &mut Vec<(Arc<Process>, Option<SigInfo>)>) {
    let Some(entry) = table.processes.get(&pid) else { return };
    let Some(parent) = table.processes.get(&entry.parent) else { return };
    let parent = Arc::clone(&parent.process);
    let action = parent.signals.action(Signal::SIGCHLD);
    let is_sigchld = entry.exit_signal == Some(Signal::SIGCHLD);
    let unwanted = is_sigchld && (action.handler == SIG_IGN || action.flags & sa::NOCLDWAIT != 0);
    let found = report(entry, status, end_code(status));
    let info = entry.exit_signal.filter(|_| !(is_sigchld && action.handler == SIG_IGN)).map(|signal| {
        let own = entry.process.usage(entry);
        let ticks = |time: Duration| i64::try_from(time.as_millis() / 10).unwrap_or(i64::MAX);
        let (user, system) = (ticks(own.user), ticks(own.system));
        let mut info = SigInfo::child(found.code, pid.0, found.uid, found.si_status(), user, system);
        info.signo = signal.number();
        info
    });
    if unwanted {
        reap(table, pid);
    }
    news.push((parent, info));
}
