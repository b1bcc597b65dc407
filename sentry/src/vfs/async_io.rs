//! Signals of files with `O_ASYNC` (`man 2 fcntl`, `F_SETOWN` and `F_SETSIG`).

use std::sync::{Arc, Weak};

use abi::flags::{OpenFlags, Ready};
use abi::signal::{SigInfo, Signal};
use abi::{Fd, Pid};
use sentry_sync::Notify;

use super::{File, Owner, OwnerKind};
use crate::Kernel;
use crate::signal::send;

/// What is reported.
const EVENTS: Ready = Ready::READABLE.union(Ready::WRITABLE).union(Ready::PRI).union(Ready::ALWAYS);

struct Sender {
    file: Weak<File>,
    kernel: Weak<Kernel>,
    fd: Fd,
}

impl Notify for Sender {
    fn notify(&self, events: u32) -> bool {
        let (Some(file), Some(kernel)) = (self.file.upgrade(), self.kernel.upgrade()) else { return false };
        let owner = file.owner();
        if owner.id == 0 {
            return false;
        }
        let info = info(&owner, Ready::from_bits_retain(events), self.fd);
        // Whoever wakes the queue may hold locks; and the file must not be dropped here.
        let executor = Arc::clone(&kernel.executor);
        executor.spawn(async move {
            drop(file);
            deliver(&kernel, &owner, info);
        });
        true
    }
}

fn info(owner: &Owner, events: Ready, fd: Fd) -> SigInfo {
    // POLL_IN, POLL_OUT, POLL_ERR, POLL_PRI, POLL_HUP are 1, 2, 4, 5, 6.
    let code = if events.contains(Ready::HUP) {
        6
    } else if events.contains(Ready::ERR) {
        4
    } else if events.intersects(Ready::READABLE) {
        1
    } else if events.intersects(Ready::WRITABLE) {
        2
    } else {
        5
    };
    match Signal::new(owner.signal) {
        Some(signal) => SigInfo::poll(signal, code, i64::from(events.bits()), fd.0),
        None => SigInfo::from_kernel(Signal::SIGIO),
    }
}

fn deliver(kernel: &Kernel, owner: &Owner, info: SigInfo) {
    let id = Pid(owner.id);
    // A full queue loses the signal, as on Linux once it has fallen back to SIGIO.
    match owner.kind {
        OwnerKind::Group => drop(send::to_group(kernel, id, info)),
        OwnerKind::Process => {
            let process = kernel.tasks.read().process_of(id).map(|entry| Arc::clone(&entry.process));
            if let Some(process) = process {
                let _ = send::to_process(kernel, &process, info);
            }
        }
        OwnerKind::Thread => {
            let task = kernel.tasks.read().tasks.get(&id).cloned();
            if let Some(task) = task {
                let _ = send::to_task(&task, info);
            }
        }
    }
}

impl File {
    /// Tells whether it can send signals (`fasync` of the kernel): pipes, sockets, terminals and inotify can.
    pub fn can_signal(&self) -> bool {
        let anonymous = self.ops.anon_name().filter(|name| name.starts_with("anon_inode:"));
        self.ops.wait_queue().is_some() && anonymous.is_none_or(|name| name == "anon_inode:inotify")
    }

    /// Begins or ends to send signals, as `O_ASYNC` among the status flags says. `fd` is named in them.
    pub fn set_async(self: &Arc<File>, kernel: &Arc<Kernel>, fd: Fd) {
        let on = self.flags().contains(OpenFlags::ASYNC);
        let registration = self.ops.wait_queue().filter(|_| on).map(|queue| {
            let sender = Sender { file: Arc::downgrade(self), kernel: Arc::downgrade(kernel), fd };
            queue.register(EVENTS.bits(), Arc::new(sender))
        });
        let old = std::mem::replace(&mut *self.signals.lock(), registration);
        drop(old);
    }
}
