//! One guest memory: a stub process.

use std::sync::Arc;

use super::Inner;
use super::host;
use crate::{AddressSpace, Peak, Resident};

/// A stub process. Killed when the last context and the last address-space handle are gone.
pub(super) struct Process {
    pub(super) pid: i32,
    /// Keeps the platform, which reaps the process.
    inner: Arc<Inner>,
}

impl Process {
    /// Takes over a process whose threads are adopted.
    pub(super) fn new(pid: i32, inner: Arc<Inner>) -> Arc<Process> {
        Arc::new(Process { pid, inner })
    }
}

impl AddressSpace for Process {
    fn read(&self, addr: u64, buf: &mut [u8]) -> usize {
        let mut done = 0;
        // The host stops at the first page that can't be read, having copied what is before it; whether it says how much
        // may depend on the batch it was in, so ask again until it copies nothing.
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let Some(from) = addr.checked_add(done as u64) else { break };
            match host::read_memory(self.pid, from, rest) {
                0 => break,
                copied => done += copied,
            }
        }
        done
    }

    fn write(&self, addr: u64, buf: &[u8]) -> usize {
        let mut done = 0;
        while let Some(rest) = buf.get(done..).filter(|rest| !rest.is_empty()) {
            let Some(to) = addr.checked_add(done as u64) else { break };
            match host::write_memory(self.pid, to, rest) {
                0 => break,
                copied => done += copied,
            }
        }
        done
    }

    fn host_pid(&self) -> i32 {
        self.pid
    }

    fn resident(&self) -> Option<Resident> {
        self.inner.tracees.figures.resident(self.pid)
    }

    fn resident_parts(&self) -> Vec<crate::ResidentPart> {
        self.inner.tracees.figures.resident_parts(self.pid)
    }

    fn page_entries(&self, first: u64, count: u64) -> Vec<u64> {
        self.inner.tracees.figures.page_entries(self.pid, first, count)
    }

    fn peak(&self) -> Option<Arc<dyn Peak>> {
        self.resident().map(|resident| Arc::new(Known(resident.peak)) as Arc<dyn Peak>)
    }

    fn resident_now(&self) -> u64 {
        self.inner.tracees.figures.resident_now(self.pid)
    }
}

/// What was resident at most when somebody asked, which is at the end.
struct Known(u64);

impl Peak for Known {
    fn known(&self) -> Option<u64> {
        Some(self.0)
    }

    fn wait(&self) -> u64 {
        self.0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.inner.end_process(self.pid);
    }
}
