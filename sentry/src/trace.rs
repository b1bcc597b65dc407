//! The log of system calls (`--strace`): one line as a call begins, one as it ends, printed by [`abi::decode`].
//!
//! Lines go straight to the log's descriptor, each by one write, so that what was traced before a crash is there.

use std::fmt::Write;
use std::os::fd::OwnedFd;
use std::sync::OnceLock;
use std::time::Instant;

use abi::UserAddr;
use abi::decode::{self, Limits, Memory};
use abi::table::Entry;
use sentry_platform::AddressSpace;

use crate::Task;
use crate::syscall::SysResult;

/// Writes the log. Without one, a call costs a look at an empty cell.
#[derive(Default)]
pub struct Tracer(OnceLock<Log>);

struct Log {
    file: OwnedFd,
    limits: Limits,
    start: Instant,
}

/// A call that a thread is in.
pub(crate) struct Traced {
    began: Instant,
    texts: Vec<String>,
}

struct TaskMemory<'a>(&'a dyn AddressSpace);

impl Memory for TaskMemory<'_> {
    fn read(&self, addr: UserAddr, buf: &mut [u8]) -> usize {
        // Above the guest's own addresses there is nothing to read.
        let room = crate::mm::TASK_SIZE.saturating_sub(addr.raw());
        let len = usize::try_from(room).unwrap_or(usize::MAX).min(buf.len());
        self.0.read(addr.raw(), &mut buf[..len])
    }
}

impl Tracer {
    /// Begins to log to this file, showing `bytes` of each buffer. To be called before the first task runs; only the
    /// first call counts.
    pub fn start(&self, file: OwnedFd, bytes: usize) {
        let limits = Limits { bytes, ..Limits::default() };
        let _ = self.0.set(Log { file, limits, start: Instant::now() });
    }

    /// Tells whether calls are logged.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.0.get().is_some()
    }

    /// Logs that a call begins.
    #[inline]
    pub(crate) fn enter(&self, task: &Task, entry: &Entry, args: &[u64; 6]) {
        if let Some(log) = self.0.get() {
            log.enter(task, entry, args);
        }
    }

    /// Logs that a call has ended.
    #[inline]
    pub(crate) fn exit(&self, task: &Task, entry: &Entry, args: &[u64; 6], result: &SysResult) {
        if let Some(log) = self.0.get() {
            log.exit(task, entry, args, result);
        }
    }
}

impl Log {
    fn enter(&self, task: &Task, entry: &Entry, args: &[u64; 6]) {
        let mm = task.mm.load();
        let texts = decode::before(entry, args, &TaskMemory(mm.space().as_ref()), self.limits);
        let line = self.line(task, 'E', entry, &texts);
        self.write(line);
        *task.traced.lock() = Some(Box::new(Traced { began: Instant::now(), texts }));
    }

    fn exit(&self, task: &Task, entry: &Entry, args: &[u64; 6], result: &SysResult) {
        let Some(mut traced) = task.traced.lock().take() else { return };
        let took = traced.began.elapsed();
        if let Ok(value) = result {
            let mm = task.mm.load();
            let memory = TaskMemory(mm.space().as_ref());
            decode::after(entry, args, *value, &memory, self.limits, &mut traced.texts);
        }
        let mut line = self.line(task, 'X', entry, &traced.texts);
        // Writing to a string can't fail.
        let _ = write!(line, " = {} <{}.{:06}>", decode::result(entry, result), took.as_secs(), took.subsec_micros());
        self.write(line);
    }

    fn line(&self, task: &Task, mark: char, entry: &Entry, texts: &[String]) -> String {
        let now = self.start.elapsed();
        let (pid, tid) = (task.process.pid.0, task.tid.0);
        let comm = String::from_utf8_lossy(&task.comm.lock()).into_owned();
        let (seconds, micros) = (now.as_secs(), now.subsec_micros());
        let arguments = texts.join(", ");
        format!("{seconds}.{micros:06} [{pid}:{tid}] {comm} {mark} {}({arguments})", entry.name)
    }

    fn write(&self, mut line: String) {
        // A guest names its own threads: it may not break lines.
        line.retain(|char| !char.is_control());
        line.push('\n');
        // A log that can't be written must not stop the guest.
        let _ = rustix::io::write(&self.file, line.as_bytes());
    }
}
