//! One task as `/proc/PID` sees it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use abi::signal::{SIG_DFL, SIG_IGN, SigSet, Signal};
use abi::types::Rlimit;
use abi::{Errno, Pid};
use sentry_fs::Changes;
use sentry_fs::proc::source::{FdInfo, IoCounts, MagicLink, MountInfo, NamespaceId, Region, TaskSnapshot, TaskView};

use super::{links, memory};
use crate::ns::{LINKS, Namespace};
use crate::task::{AccessMode, Caps, DEFAULT_SLACK, Resource, Usage, check_access, served};
use crate::{Kernel, Process, Task};

/// `PF_FORKNOEXEC`, `PF_RANDOMIZE`.
const FORKED_NO_EXEC: u32 = 0x40;
const RANDOMIZE: u32 = 0x40_0000;

pub(super) struct ProcTask {
    kernel: Arc<Kernel>,
    booted: Instant,
    cpus: u32,
    process: Arc<Process>,
    /// `None` for a zombie.
    task: Option<Arc<Task>>,
    /// Found by its own number: name, number and state are the thread's.
    by_thread: bool,
    /// What is used is that of one thread, not of the process.
    alone: bool,
}

/// What the table of tasks knows.
struct Relations {
    parent: Pid,
    group: Pid,
    session: Pid,
    threads: u64,
    zombie: Option<i32>,
    exit_signal: i32,
    execed: bool,
    usage: Usage,
}

impl ProcTask {
    pub(super) fn new(
        kernel: &Arc<Kernel>,
        booted: Instant,
        cpus: u32,
        process: &Arc<Process>,
        task: Option<Arc<Task>>,
    ) -> ProcTask {
        let process = Arc::clone(process);
        ProcTask { kernel: Arc::clone(kernel), booted, cpus, process, task, by_thread: false, alone: false }
    }

    /// As `/proc/TID`, with the number of any thread, shows it.
    pub(super) fn by_thread(self) -> ProcTask {
        ProcTask { by_thread: true, ..self }
    }

    /// As `/proc/PID/task/TID` shows it.
    pub(super) fn of_thread(self) -> ProcTask {
        ProcTask { by_thread: true, alone: true, ..self }
    }

    fn living(&self) -> Result<&Arc<Task>, Errno> {
        self.task.as_ref().ok_or(Errno::ESRCH)
    }

    /// Returns the thread, if the caller may see and set how it is paced (kernel: `timerslack_ns_show`).
    fn paced(&self) -> Result<&Arc<Task>, Errno> {
        let task = self.living()?;
        let allowed =
            served().is_none_or(|caller| Arc::ptr_eq(&caller, task) || caller.cred.load().has(Caps::SYS_NICE));
        if allowed { Ok(task) } else { Err(Errno::EPERM) }
    }

    fn comm(&self) -> Vec<u8> {
        match &self.task {
            Some(task) if self.by_thread || task.is_leader() => task.comm.lock().clone(),
            _ => self.process.last_comm(),
        }
    }

    fn relations(&self) -> Result<Relations, Errno> {
        let table = self.kernel.tasks.read();
        let entry = table.processes.get(&self.process.pid).ok_or(Errno::ESRCH)?;
        Ok(Relations {
            parent: entry.parent,
            group: entry.pgid,
            session: entry.sid,
            threads: entry.threads.len().max(1) as u64,
            zombie: entry.zombie,
            exit_signal: entry.exit_signal.map_or(0, Signal::number),
            execed: entry.has_execed,
            usage: self.process.usage(entry),
        })
    }

    fn state(&self, relations: &Relations) -> char {
        match &self.task {
            _ if relations.zombie.is_some() => 'Z',
            None => 'Z',
            // The leader has ended, others go on.
            Some(task) if !self.by_thread && !task.is_leader() => 'Z',
            Some(_) if self.process.signals.stopping() => 'T',
            Some(task) if task.is_blocked() => 'S',
            Some(_) => 'R',
        }
    }

    /// Returns the signals that are ignored and those that have handlers.
    fn actions(&self) -> (SigSet, SigSet) {
        let (mut ignored, mut caught) = (SigSet::EMPTY, SigSet::EMPTY);
        for signal in (1..=64).filter_map(Signal::new) {
            match self.process.signals.action(signal).handler {
                SIG_DFL => {}
                SIG_IGN => ignored = ignored.union(SigSet::of(signal)),
                _ => caught = caught.union(SigSet::of(signal)),
            }
        }
        (ignored, caught)
    }
}

impl TaskView for ProcTask {
    fn snapshot(&self) -> Result<TaskSnapshot, Errno> {
        let relations = self.relations()?;
        let task = self.task.as_ref();
        let cred = task.map(|task| task.cred.load_full());
        let real_uid = self.process.real_uid();
        let sched = task.map(|task| task.sched.lock().clone()).unwrap_or_default();
        let (ignored, caught) = self.actions();
        let tty = self.process.terminal();
        let usage = match task {
            Some(task) if self.alone => task.usage(),
            _ => relations.usage,
        };
        let children = self.process.children_usage();
        let tid = task.map_or(self.process.pid, |task| if self.by_thread { task.tid } else { self.process.pid });
        let affinity = sched.affinity.unwrap_or(u64::MAX) & (u64::MAX >> 64_u32.saturating_sub(self.cpus.clamp(1, 64)));
        let started = self.process.started().saturating_duration_since(self.booted);
        Ok(TaskSnapshot {
            tid,
            tgid: self.process.pid,
            comm: self.comm(),
            state: self.state(&relations),
            ppid: relations.parent,
            pgrp: relations.group,
            session: relations.session,
            tty: tty.as_ref().map(|tty| tty.device()),
            tty_pgrp: tty.and_then(|tty| tty.job().group()),
            flags: RANDOMIZE | if relations.execed { 0 } else { FORKED_NO_EXEC },
            min_flt: usage.minor_faults,
            child_min_flt: children.minor_faults,
            maj_flt: usage.major_faults,
            child_maj_flt: children.major_faults,
            user_time: usage.user,
            system_time: usage.system,
            child_user_time: children.user,
            child_system_time: children.system,
            nice: sched.nice,
            policy: u32::try_from(sched.schedule.policy).unwrap_or(0),
            rt_priority: u32::try_from(sched.schedule.priority).unwrap_or(0),
            threads: relations.threads,
            start_time: started,
            exit_signal: relations.exit_signal,
            exit_code: relations.zombie.unwrap_or(0),
            processor: 0,
            memory: task.filter(|_| relations.zombie.is_none()).map(|task| memory::usage(&task.mm.load())),
            rss_limit: self.process.limit(Resource::Rss),
            uids: cred.as_ref().map_or([real_uid; 4], |cred| [cred.ruid, cred.euid, cred.suid, cred.fsuid]),
            gids: cred.as_ref().map_or([0; 4], |cred| [cred.rgid, cred.egid, cred.sgid, cred.fsgid]),
            groups: cred.as_ref().map(|cred| cred.groups.clone()).unwrap_or_default(),
            caps: cred.as_ref().map_or([0; 5], |cred| {
                [cred.inheritable, cred.permitted, cred.effective, cred.bounding, cred.ambient].map(|set| set.bits())
            }),
            no_new_privs: cred.as_ref().is_some_and(|cred| cred.no_new_privs),
            seccomp: task.map_or(0, |task| task.seccomp.mode().number()),
            seccomp_filters: task.map_or(0, |task| u32::try_from(task.seccomp.mode().filters()).unwrap_or(u32::MAX)),
            umask: task.map_or(0, |task| task.fs.load().umask()),
            tracer: Pid(0),
            fd_size: task.map_or(0, |task| task.files.load().list().len().next_multiple_of(64).max(64) as u64),
            ns_ids: vec![[self.process.pid, tid, relations.group, relations.session]],
            pending: task.map_or(SigSet::EMPTY, |task| task.signals.pending()),
            shared_pending: self.process.signals.pending(),
            blocked: task.map_or(SigSet::EMPTY, |task| task.signals.mask()),
            ignored,
            caught,
            queued_signals: self.process.signals.queued() as u64,
            queued_limit: self.process.limit(Resource::Sigpending),
            cpus_allowed: vec![affinity],
            cpus: self.cpus,
            voluntary_switches: 0,
            involuntary_switches: 0,
        })
    }

    fn ids(&self) -> (Pid, Pid) {
        (self.process.pid, self.task.as_ref().map_or(self.process.pid, |task| task.tid))
    }

    fn owner(&self) -> (u32, u32) {
        let dumpable = self.process.attributes.lock().dumpable == 1;
        match &self.task {
            Some(task) if dumpable => {
                let cred = task.cred.load();
                (cred.euid, cred.egid)
            }
            _ => (0, 0),
        }
    }

    fn may_inspect(&self) -> Result<(), Errno> {
        match (served(), &self.task) {
            (Some(caller), Some(task)) => check_access(&caller, task, AccessMode::FsCreds).map_err(|_| Errno::EACCES),
            _ => Ok(()),
        }
    }

    fn cmdline(&self) -> Result<Vec<u8>, Errno> {
        Ok(self.task.as_ref().map(|task| memory::cmdline(task)).unwrap_or_default())
    }

    fn environ(&self) -> Result<Vec<u8>, Errno> {
        Ok(self.task.as_ref().map(|task| memory::environ(task)).unwrap_or_default())
    }

    fn auxv(&self) -> Result<Vec<u8>, Errno> {
        Ok(self.task.as_ref().map(|task| task.mm.load().books().image().auxv.clone()).unwrap_or_default())
    }

    fn set_comm(&self, name: &[u8]) -> Result<(), Errno> {
        let task = self.living()?;
        let same = served().is_none_or(|caller| Arc::ptr_eq(&caller.process, &self.process));
        if !same {
            return Err(Errno::EINVAL);
        }
        *task.comm.lock() = name.to_vec();
        Ok(())
    }

    fn regions(&self, usage: bool) -> Result<Vec<Region>, Errno> {
        Ok(self.task.as_ref().map(|task| memory::regions(&task.mm.load(), usage)).unwrap_or_default())
    }

    fn page_entries(&self, first: u64, count: u64) -> Result<Vec<u64>, Errno> {
        Ok(self.task.as_ref().map(|task| memory::page_entries(&task.mm.load(), first, count)).unwrap_or_default())
    }

    fn read_memory(&self, addr: u64, buf: &mut [u8]) -> Result<usize, Errno> {
        let task = self.living()?;
        let wanted = buf.len();
        memory::transferred(task.mm.load().space().read(addr, buf), wanted)
    }

    fn write_memory(&self, addr: u64, buf: &[u8]) -> Result<usize, Errno> {
        let task = self.living()?;
        memory::transferred(task.mm.load().space().write(addr, buf), buf.len())
    }

    fn limits(&self) -> Result<[Rlimit; 16], Errno> {
        Ok(self.process.limits())
    }

    fn fds(&self) -> Result<Vec<i32>, Errno> {
        let Some(task) = &self.task else { return Ok(Vec::new()) };
        Ok(task.files.load().list().into_iter().map(|(fd, ..)| fd.0).collect())
    }

    fn fd(&self, fd: i32) -> Option<FdInfo> {
        links::fd_info(self.task.as_ref()?, fd)
    }

    fn fd_link(&self, fd: i32) -> Result<MagicLink, Errno> {
        links::fd(self.living()?, fd)
    }

    fn exe(&self) -> Result<MagicLink, Errno> {
        links::exe(self.task.as_ref().ok_or(Errno::ENOENT)?)
    }

    fn cwd(&self) -> Result<MagicLink, Errno> {
        Ok(links::cwd(self.task.as_ref().ok_or(Errno::ENOENT)?))
    }

    fn root(&self) -> Result<MagicLink, Errno> {
        Ok(links::root(self.task.as_ref().ok_or(Errno::ENOENT)?))
    }

    fn namespaces(&self) -> Vec<NamespaceId> {
        let Some(task) = &self.task else { return Vec::new() };
        let number = |kind| Namespace::of(task, kind).number();
        LINKS.iter().map(|(name, kind)| NamespaceId { name, kind: kind.name(), ino: number(*kind) }).collect()
    }

    fn namespace_link(&self, name: &str) -> Result<MagicLink, Errno> {
        let (_, kind) = LINKS.iter().find(|(known, _)| *known == name).ok_or(Errno::ENOENT)?;
        let place = Namespace::of(self.living()?, *kind).place()?;
        Ok(MagicLink { text: Vec::new(), object: Box::new(place) })
    }

    fn mounts(&self) -> Result<Vec<MountInfo>, Errno> {
        Ok(links::mounts(self.task.as_ref().ok_or(Errno::EINVAL)?))
    }

    fn mount_changes(&self) -> Option<Arc<Changes>> {
        Some(Arc::clone(&self.task.as_ref()?.fs.load().namespace().changes))
    }

    fn memory_policy(&self) -> Result<String, Errno> {
        Ok(self.living()?.mem_policy.lock().to_string())
    }

    fn timer_slack(&self) -> Result<u64, Errno> {
        let task = self.paced()?;
        let realtime = task.sched.lock().schedule.priority > 0;
        Ok(if realtime { 0 } else { task.timer_slack.load(Ordering::Relaxed) })
    }

    fn set_timer_slack(&self, nanoseconds: u64) -> Result<(), Errno> {
        let task = self.paced()?;
        if task.sched.lock().schedule.priority == 0 {
            let wanted = if nanoseconds == 0 { DEFAULT_SLACK } else { nanoseconds };
            task.timer_slack.store(wanted, Ordering::Relaxed);
        }
        Ok(())
    }

    fn threads(&self) -> Vec<Pid> {
        let table = self.kernel.tasks.read();
        let threads = table.processes.get(&self.process.pid).map(|entry| entry.threads.keys().copied().collect());
        let threads: Vec<Pid> = threads.unwrap_or_default();
        if threads.is_empty() { vec![self.process.pid] } else { threads }
    }

    fn children(&self) -> Vec<Pid> {
        // Which thread made a child is not kept: all are shown with the leader.
        if self.task.as_ref().is_some_and(|task| !task.is_leader()) {
            return Vec::new();
        }
        let table = self.kernel.tasks.read();
        table.processes.get(&self.process.pid).map(|entry| entry.children.clone()).unwrap_or_default()
    }

    fn io(&self) -> Result<IoCounts, Errno> {
        Ok(IoCounts::default())
    }

    fn oom_score_adj(&self) -> i32 {
        self.process.attributes.lock().oom_score_adj
    }

    fn set_oom_score_adj(&self, value: i32) -> Result<(), Errno> {
        let privileged = served().is_none_or(|caller| caller.cred.load().has(Caps::SYS_RESOURCE));
        let mut attributes = self.process.attributes.lock();
        if value < attributes.oom_score_adj && !privileged {
            return Err(Errno::EACCES);
        }
        attributes.oom_score_adj = value;
        Ok(())
    }

    fn personality(&self) -> u32 {
        self.task.as_ref().map_or(0, |task| task.personality.load(Ordering::Relaxed))
    }

    fn id_map(&self, _groups: bool) -> Vec<[u32; 3]> {
        vec![[0, 0, u32::MAX]]
    }

    fn set_id_map(&self, _groups: bool, _map: &[[u32; 3]]) -> Result<(), Errno> {
        // The initial user namespace is mapped for good.
        Err(Errno::EPERM)
    }

    fn setgroups_allowed(&self) -> bool {
        true
    }

    fn deny_setgroups(&self) -> Result<(), Errno> {
        Err(Errno::EPERM)
    }
}
