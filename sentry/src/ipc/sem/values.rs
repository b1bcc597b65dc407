//! Values of a set, and operations on them: all of a call or none.

use std::collections::BTreeMap;

use abi::Errno;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Highest value of a semaphore.
pub const SEMVMX: i32 = 32_767;
/// Most that an adjustment at exit may come to.
const SEMAEM: i32 = SEMVMX;

const IPC_NOWAIT: u16 = 0o4000;
const SEM_UNDO: u16 = 0x1000;

/// `struct sembuf`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Sembuf {
    /// Semaphore of the set.
    pub num: u16,
    /// Added to the value; 0 waits for zero.
    pub op: i16,
    /// `IPC_NOWAIT`, `SEM_UNDO`.
    pub flags: u16,
}

impl Sembuf {
    /// Tells whether the operation is taken back when the process ends.
    pub fn undoes(&self) -> bool {
        self.flags & SEM_UNDO != 0
    }
}

/// One semaphore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sem {
    pub(super) value: u16,
    /// Process that changed it last.
    pub(super) pid: i32,
}

/// What operations came to; `W` stands for whoever waits.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Attempt<W> {
    /// They are done.
    Done,
    /// They can never be done, or not without waiting.
    Failed(Errno),
    /// They have to wait.
    Waits(W),
}

/// Adjustments of one process, by semaphore.
pub(super) type Adjustments = BTreeMap<u16, i32>;

/// Tries all operations; `undo` holds the process's adjustments. Waiting names the operation that has to.
pub(super) fn attempt(
    sems: &mut [Sem],
    ops: &[Sembuf],
    pid: i32,
    mut undo: Option<&mut Adjustments>,
) -> Attempt<usize> {
    for (at, op) in ops.iter().enumerate() {
        if let Some(failed) = step(sems, op, undo.as_deref_mut()) {
            take_back(sems, &ops[..at], undo);
            return match failed {
                Attempt::Waits(()) if op.flags & IPC_NOWAIT != 0 => Attempt::Failed(Errno::EAGAIN),
                Attempt::Waits(()) => Attempt::Waits(at),
                Attempt::Failed(errno) => Attempt::Failed(errno),
                Attempt::Done => Attempt::Done,
            };
        }
    }
    for op in ops {
        sems[usize::from(op.num)].pid = pid;
    }
    Attempt::Done
}

/// Carries out one operation, or says why not. The caller has checked the semaphore's number.
fn step(sems: &mut [Sem], op: &Sembuf, undo: Option<&mut Adjustments>) -> Option<Attempt<()>> {
    let sem = &mut sems[usize::from(op.num)];
    if op.op == 0 {
        return (sem.value != 0).then_some(Attempt::Waits(()));
    }
    let result = i32::from(sem.value) + i32::from(op.op);
    if result < 0 {
        return Some(Attempt::Waits(()));
    }
    if result > SEMVMX {
        return Some(Attempt::Failed(Errno::ERANGE));
    }
    if op.undoes()
        && let Some(undo) = undo
    {
        let adjustment = undo.get(&op.num).copied().unwrap_or(0) - i32::from(op.op);
        if !(-SEMAEM - 1..=SEMAEM).contains(&adjustment) {
            return Some(Attempt::Failed(Errno::ERANGE));
        }
        undo.insert(op.num, adjustment);
    }
    sem.value = u16::try_from(result).unwrap_or(u16::MAX);
    None
}

fn take_back(sems: &mut [Sem], ops: &[Sembuf], mut undo: Option<&mut Adjustments>) {
    for op in ops.iter().rev() {
        let sem = &mut sems[usize::from(op.num)];
        sem.value = u16::try_from(i32::from(sem.value) - i32::from(op.op)).unwrap_or(0);
        if op.undoes()
            && let Some(undo) = undo.as_deref_mut()
        {
            *undo.entry(op.num).or_default() += i32::from(op.op);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn op(num: u16, op: i16, flags: u16) -> Sembuf {
        Sembuf { num, op, flags }
    }

    fn sems(values: &[u16]) -> Vec<Sem> {
        values.iter().map(|value| Sem { value: *value, pid: 0 }).collect()
    }

    #[test]
    fn operations_see_those_before_them() {
        let mut set = sems(&[0]);
        assert_eq!(attempt(&mut set, &[op(0, 2, 0), op(0, -1, 0)], 9, None), Attempt::Done);
        assert_eq!(set[0], Sem { value: 1, pid: 9 });
    }

    #[test]
    fn all_or_none() {
        let mut set = sems(&[1, 0]);
        assert_eq!(attempt(&mut set, &[op(0, -1, 0), op(1, -1, 0)], 9, None), Attempt::Waits(1));
        assert_eq!(set, sems(&[1, 0]));
        assert_eq!(attempt(&mut set, &[op(0, -1, 0), op(1, -1, IPC_NOWAIT)], 9, None), Attempt::Failed(Errno::EAGAIN));
        assert_eq!(attempt(&mut set, &[op(0, 0, 0)], 9, None), Attempt::Waits(0));
    }

    #[test]
    fn values_and_adjustments_have_limits() {
        let mut set = sems(&[32_767]);
        assert_eq!(attempt(&mut set, &[op(0, 1, IPC_NOWAIT)], 9, None), Attempt::Failed(Errno::ERANGE));
        let mut undo = Adjustments::from([(0, 32_767)]);
        assert_eq!(attempt(&mut set, &[op(0, -1, SEM_UNDO)], 9, Some(&mut undo)), Attempt::Failed(Errno::ERANGE));
        assert_eq!(undo[&0], 32_767);
    }

    proptest! {
        #[test]
        fn whatever_is_not_done_leaves_no_trace(
            values in proptest::collection::vec(0u16..4, 3),
            ops in proptest::collection::vec((0u16..3, -3i16..4, prop::sample::select(vec![0u16, IPC_NOWAIT, SEM_UNDO])), 1..6),
        ) {
            let mut set = sems(&values);
            let ops: Vec<Sembuf> = ops.into_iter().map(|(num, by, flags)| op(num, by, flags)).collect();
            let mut undo = Adjustments::new();
            let done = attempt(&mut set, &ops, 5, Some(&mut undo)) == Attempt::Done;
            for (num, sem) in set.iter().enumerate() {
                let own = ops.iter().filter(|op| usize::from(op.num) == num);
                let (sum, undone) = own.fold((0, 0), |(sum, undone), op| {
                    (sum + i32::from(op.op), undone - if op.undoes() { i32::from(op.op) } else { 0 })
                });
                let expected = i32::from(values[num]) + if done { sum } else { 0 };
                prop_assert_eq!(i32::from(sem.value), expected);
                let adjustment = undo.get(&u16::try_from(num).unwrap()).copied().unwrap_or(0);
                prop_assert_eq!(adjustment, if done { undone } else { 0 });
            }
        }
    }
}
