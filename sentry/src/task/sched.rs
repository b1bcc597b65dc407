//! Scheduling attributes: what a program asks for is remembered and reported; the host schedules as it likes.

/// `SCHED_OTHER`.
const OTHER: i32 = 0;

/// Policy and priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// `SCHED_*`.
    pub policy: i32,
    /// 1 to 99 for the real-time policies, else 0.
    pub priority: i32,
    /// Children start with the default policy.
    pub reset_on_fork: bool,
}

/// Scheduling attributes of a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sched {
    /// Policy and priority.
    pub schedule: Schedule,
    /// -20 to 19.
    pub nice: i32,
    /// CPUs that the thread may run on, one bit each; `None` for all.
    pub affinity: Option<u64>,
    /// `ioprio_set(2)`.
    pub io_priority: i32,
}

impl Default for Sched {
    fn default() -> Sched {
        let schedule = Schedule { policy: OTHER, priority: 0, reset_on_fork: false };
        Sched { schedule, nice: 0, affinity: None, io_priority: 0 }
    }
}

impl Sched {
    /// What a child starts with.
    #[must_use]
    pub fn for_child(&self) -> Sched {
        let mut child = self.clone();
        if self.schedule.reset_on_fork {
            child.schedule = Sched::default().schedule;
            child.nice = child.nice.max(0);
        }
        child
    }
}
