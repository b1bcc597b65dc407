//! `RLIMIT_CPU`: SIGXCPU each second from the soft limit on, SIGKILL at the hard one (`man 2 getrlimit`).

use std::sync::{Arc, Weak};
use std::time::Duration;

use abi::signal::{SigInfo, Signal};
use abi::types::Rlimit;

use super::Resource;
use crate::signal::send;
use crate::time::after;
use crate::time::alarm::Alarm;
use crate::{Kernel, Process};

/// Shortest time between two looks at the consumed time.
const TICK: Duration = Duration::from_millis(10);

/// What is to be done at this point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Nothing for so long.
    Wait(Duration),
    /// SIGXCPU, and from now on this soft limit.
    Warn(u64),
    /// SIGKILL.
    Kill,
    /// Nothing ever.
    Unlimited,
}

fn step(used: Duration, limit: Rlimit) -> Step {
    // A limit of no time at all means a second, as in the kernel.
    let (soft, hard) = (limit.cur.max(1), limit.max.max(1));
    if hard != u64::MAX && used.as_secs() >= hard {
        return Step::Kill;
    }
    if soft != u64::MAX && used.as_secs() >= soft {
        return Step::Warn(soft.saturating_add(1));
    }
    match soft.min(hard) {
        u64::MAX => Step::Unlimited,
        next => Step::Wait(Duration::from_secs(next).saturating_sub(used)),
    }
}

/// Watches the processor time of a process that has a limit. Called when it gets one, by fork or `setrlimit`.
pub fn watch(kernel: &Arc<Kernel>, process: &Arc<Process>) {
    let limit = process.limits()[Resource::Cpu as usize];
    if step(Duration::ZERO, limit) == Step::Unlimited {
        return;
    }
    let mut alarm = process.cpu_alarm.lock();
    let alarm = alarm.get_or_insert_with(|| {
        let watched: (Weak<Kernel>, Weak<Process>) = (Arc::downgrade(kernel), Arc::downgrade(process));
        Alarm::new(&kernel.executor, move || {
            if let (Some(kernel), Some(process)) = (watched.0.upgrade(), watched.1.upgrade()) {
                look(&kernel, &process);
            }
        })
    });
    alarm.set(Some(after(TICK)));
}

fn look(kernel: &Arc<Kernel>, process: &Arc<Process>) {
    let used = {
        let table = kernel.tasks.read();
        match table.processes.get(&process.pid).filter(|entry| entry.zombie.is_none()) {
            Some(entry) => process.cpu_time(entry),
            None => return,
        }
    };
    let limit = process.limits()[Resource::Cpu as usize];
    let wait = match step(used, limit) {
        Step::Unlimited => return,
        Step::Wait(wait) => wait.max(TICK),
        Step::Kill => {
            // The kernel's own signals are never refused.
            let _ = send::to_process(kernel, process, SigInfo::from_kernel(Signal::SIGKILL));
            return;
        }
        Step::Warn(soft) => {
            process.set_limit(Resource::Cpu, Rlimit { cur: soft, ..limit });
            let _ = send::to_process(kernel, process, SigInfo::from_kernel(Signal::SIGXCPU));
            TICK
        }
    };
    if let Some(alarm) = process.cpu_alarm.lock().as_ref() {
        alarm.set(Some(after(wait)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warnings_come_each_second_until_the_hard_limit() {
        let limit = Rlimit { cur: 2, max: 4 };
        assert_eq!(step(Duration::from_millis(1500), limit), Step::Wait(Duration::from_millis(500)));
        assert_eq!(step(Duration::from_secs(2), limit), Step::Warn(3));
        assert_eq!(step(Duration::from_secs(4), limit), Step::Kill);
        assert_eq!(step(Duration::from_secs(9), Rlimit { cur: u64::MAX, max: u64::MAX }), Step::Unlimited);
        assert_eq!(step(Duration::ZERO, Rlimit { cur: 0, max: u64::MAX }), Step::Wait(Duration::from_secs(1)));
    }
}
