//! Threads that were told to end and whose guest code doesn't let them.
//!
//! A thread ends when its context has answered. On an honest platform that takes a moment; but a guest that attacks its stub
//! can block the platform's signal, or have the stub sleep for good, and then nobody would ever see the end of its process:
//! not its parent, nor who kills it from outside. So threads that were told to end are looked at again after [`PATIENCE`],
//! and a stub that owes the same answer twice running is killed, which ends all threads that share its memory.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use sentry_platform::Interrupt;
use sentry_sync::{Level, Mutex};

use crate::{Kernel, Task};

/// Time for an answer, of which a busy host takes part.
const PATIENCE: Duration = Duration::from_secs(2);

struct Straggler {
    task: Weak<Task>,
    /// When it is looked at.
    due: Instant,
    /// What it owed at the last look.
    owed: Option<u64>,
}

/// Those that are watched, the earliest first.
pub(crate) struct Stragglers {
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Straggler>,
    /// Somebody looks at them.
    served: bool,
}

impl Default for Stragglers {
    fn default() -> Stragglers {
        Stragglers { queue: Mutex::new(Level::Leaf, Queue::default()) }
    }
}

/// Watches a thread that was told to end.
pub(crate) fn watch(task: &Arc<Task>) {
    let entry = Straggler { task: Arc::downgrade(task), due: Instant::now() + PATIENCE, owed: None };
    let first = {
        let mut queue = task.kernel.stragglers.queue.lock();
        // Most are gone by the time that others come.
        for _ in 0..2 {
            queue.waiting.pop_front_if(|oldest| oldest.task.strong_count() == 0);
        }
        queue.waiting.push_back(entry);
        !std::mem::replace(&mut queue.served, true)
    };
    if first {
        task.kernel.executor.spawn(serve(Arc::downgrade(&task.kernel)));
    }
}

/// Looks at each in its turn, until there is none.
async fn serve(kernel: Weak<Kernel>) {
    loop {
        let Some(next) = kernel.upgrade().and_then(|kernel| next(&kernel)) else { return };
        async_io::Timer::at(next.due).await;
        let (Some(kernel), Some(task)) = (kernel.upgrade(), next.task.upgrade()) else { continue };
        if let Some(owed) = look(&task, next.owed) {
            let again = Straggler { due: Instant::now() + PATIENCE, owed, ..next };
            kernel.stragglers.queue.lock().waiting.push_back(again);
        }
    }
}

fn next(kernel: &Kernel) -> Option<Straggler> {
    let mut queue = kernel.stragglers.queue.lock();
    let next = queue.waiting.pop_front();
    queue.served = next.is_some();
    next
}

/// Looks at a thread; returns what it owes if it is to be looked at again.
fn look(task: &Arc<Task>, before: Option<u64>) -> Option<Option<u64>> {
    let known = task.kernel.tasks.read().tasks.get(&task.tid).is_some_and(|living| Arc::ptr_eq(living, task));
    if !known {
        return None;
    }
    let interrupt: Arc<dyn Interrupt> = task.interrupter();
    let owed = interrupt.owes();
    if owed.is_some() && owed == before {
        tracing::warn!(?task, "a thread doesn't end though it was told to; its process is killed");
        interrupt.kill("it didn't answer");
    } else {
        // Perhaps it was never told.
        interrupt.interrupt();
    }
    Some(owed)
}
