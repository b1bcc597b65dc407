//! One semaphore set.

use std::collections::BTreeMap;
use std::sync::Arc;

use abi::Errno;
use sentry_sync::{Level, Mutex, Notify};

use super::values::{self, Adjustments, Attempt, SEMVMX, Sem, Sembuf};
use crate::ipc::{Perm, RawPerm, now};
use crate::task::Cred;
use crate::wait::Waiter;

/// What the carrying out of waiting operations came to.
type Outcome = Result<(), Errno>;

/// Operations that wait.
struct Waiting {
    key: u64,
    ops: Vec<Sembuf>,
    pid: i32,
    undo: Option<u64>,
    /// The operation that can't be done.
    blocking: usize,
    outcome: Arc<Mutex<Option<Outcome>>>,
    waiter: Arc<Waiter>,
}

struct State {
    perm: Perm,
    sems: Vec<Sem>,
    otime: i64,
    ctime: i64,
    removed: bool,
    next_key: u64,
    /// Oldest first.
    waiting: Vec<Waiting>,
    /// Adjustments by undo list.
    undos: BTreeMap<u64, Adjustments>,
}

/// A set of semaphores.
pub struct SemSet {
    len: usize,
    state: Mutex<State>,
}

/// What `semctl(IPC_STAT)` tells.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)]
pub struct SemStat {
    pub perm: Perm,
    pub otime: i64,
    pub ctime: i64,
}

/// Whose operations wait in a set; dropping it takes them out.
pub(super) struct Sleeper {
    set: Arc<SemSet>,
    key: u64,
    outcome: Arc<Mutex<Option<Outcome>>>,
}

impl Sleeper {
    /// Returns the outcome once there is one.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        *self.outcome.lock()
    }

    /// Takes the operations out, and returns the outcome if they have just been carried out.
    pub(super) fn withdraw(&self) -> Option<Outcome> {
        self.set.state.lock().waiting.retain(|waiting| waiting.key != self.key);
        self.outcome()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        if self.outcome().is_none() {
            self.withdraw();
        }
    }
}

/// Who is to be woken once the lock is released.
#[must_use]
struct Wakes(Vec<Arc<Waiter>>);

impl Wakes {
    fn send(self) {
        for waiter in self.0 {
            waiter.notify(0);
        }
    }
}

impl State {
    fn attempt(&mut self, ops: &[Sembuf], pid: i32, undo: Option<u64>) -> Attempt<usize> {
        let adjustments = undo.map(|list| self.undos.entry(list).or_default());
        values::attempt(&mut self.sems, ops, pid, adjustments)
    }

    /// Carries out what can be of the waiting operations, until none is left that can.
    fn settle(&mut self) -> Wakes {
        let mut wakes = Vec::new();
        let mut at = 0;
        while at < self.waiting.len() {
            let waiting = &self.waiting[at];
            let adjustments = waiting.undo.map(|list| self.undos.entry(list).or_default());
            let outcome = match values::attempt(&mut self.sems, &waiting.ops, waiting.pid, adjustments) {
                Attempt::Waits(blocking) => {
                    self.waiting[at].blocking = blocking;
                    at += 1;
                    continue;
                }
                Attempt::Done => Ok(()),
                Attempt::Failed(errno) => Err(errno),
            };
            let done = self.waiting.remove(at);
            *done.outcome.lock() = Some(outcome);
            wakes.push(done.waiter);
            if outcome.is_ok() {
                self.otime = now();
                if done.ops.iter().any(|op| op.op != 0) {
                    // Those before may be able to go on now.
                    at = 0;
                }
            }
        }
        Wakes(wakes)
    }

    fn forget_adjustments(&mut self, num: Option<u16>) {
        for adjustments in self.undos.values_mut() {
            match num {
                Some(num) => drop(adjustments.remove(&num)),
                None => adjustments.clear(),
            }
        }
    }
}

impl SemSet {
    /// A set of `len` semaphores at zero.
    pub(super) fn new(perm: Perm, len: usize) -> SemSet {
        let state = State {
            perm,
            sems: vec![Sem::default(); len],
            otime: 0,
            ctime: now(),
            removed: false,
            next_key: 0,
            waiting: Vec::new(),
            undos: BTreeMap::new(),
        };
        SemSet { len, state: Mutex::new(Level::IpcObject, state) }
    }

    /// Returns how many semaphores there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// A set is never empty.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Checks wanted access: `EACCES`.
    pub fn check(&self, cred: &Cred, wanted: u32) -> Result<(), Errno> {
        self.state.lock().perm.check(cred, wanted)
    }

    pub(super) fn check_owner(&self, cred: &Cred) -> Result<(), Errno> {
        self.state.lock().perm.check_owner(cred)
    }

    /// Checks operations before they are tried: `EFBIG` for a semaphore beyond the set, `EACCES`.
    pub(super) fn check_ops(&self, cred: &Cred, ops: &[Sembuf]) -> Result<(), Errno> {
        if ops.iter().any(|op| usize::from(op.num) >= self.len) {
            return Err(Errno::EFBIG);
        }
        let alters = ops.iter().any(|op| op.op != 0);
        self.check(cred, if alters { 0o222 } else { 0o444 })
    }

    /// Carries out operations that [`SemSet::check_ops`] has passed, or leaves them waiting.
    pub(super) fn operate(
        self: &Arc<Self>,
        ops: Vec<Sembuf>,
        pid: i32,
        undo: Option<u64>,
        waiter: &Arc<Waiter>,
    ) -> Attempt<Sleeper> {
        let mut state = self.state.lock();
        if state.removed {
            return Attempt::Failed(Errno::EIDRM);
        }
        match state.attempt(&ops, pid, undo) {
            Attempt::Done => {
                state.otime = now();
                let wakes = state.settle();
                drop(state);
                wakes.send();
                Attempt::Done
            }
            Attempt::Failed(errno) => Attempt::Failed(errno),
            Attempt::Waits(blocking) => {
                let key = state.next_key;
                state.next_key += 1;
                let outcome = Arc::new(Mutex::new(Level::Leaf, None));
                let waiter = Arc::clone(waiter);
                state.waiting.push(Waiting { key, ops, pid, undo, blocking, outcome: Arc::clone(&outcome), waiter });
                Attempt::Waits(Sleeper { set: Arc::clone(self), key, outcome })
            }
        }
    }

    /// Applies what a process that ends leaves undone; values stay within their limits.
    pub(super) fn undo(&self, list: u64, pid: i32) {
        let mut state = self.state.lock();
        let Some(adjustments) = state.undos.remove(&list) else { return };
        for (num, by) in adjustments.into_iter().filter(|(_, by)| *by != 0) {
            let Some(sem) = state.sems.get_mut(usize::from(num)) else { continue };
            let value = (i32::from(sem.value) + by).clamp(0, SEMVMX);
            *sem = Sem { value: u16::try_from(value).unwrap_or(0), pid };
        }
        state.otime = now();
        let wakes = state.settle();
        drop(state);
        wakes.send();
    }

    /// Ends the set: who waits gets `EIDRM`.
    pub(super) fn end(&self) {
        let mut state = self.state.lock();
        state.removed = true;
        state.undos.clear();
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        for waiting in waiting {
            *waiting.outcome.lock() = Some(Err(Errno::EIDRM));
            waiting.waiter.notify(0);
        }
    }

    /// Returns owner, mode and times.
    pub fn stat(&self) -> SemStat {
        let state = self.state.lock();
        SemStat { perm: state.perm, otime: state.otime, ctime: state.ctime }
    }

    /// Changes owner and mode (`IPC_SET`): `EPERM`, `EINVAL`.
    pub fn set_perm(&self, cred: &Cred, from: &RawPerm) -> Result<(), Errno> {
        let mut state = self.state.lock();
        state.perm.check_owner(cred)?;
        state.perm.update(from)?;
        state.ctime = now();
        Ok(())
    }

    fn look<R>(&self, num: i32, get: impl FnOnce(&State, usize) -> R) -> Result<R, Errno> {
        let num = usize::try_from(num).ok().filter(|num| *num < self.len).ok_or(Errno::EINVAL)?;
        let state = self.state.lock();
        if state.removed { Err(Errno::EIDRM) } else { Ok(get(&state, num)) }
    }

    /// Returns a value: `EINVAL` for a number beyond the set.
    pub fn value(&self, num: i32) -> Result<u16, Errno> {
        self.look(num, |state, num| state.sems[num].value)
    }

    /// Returns the process that changed a value last.
    pub fn pid(&self, num: i32) -> Result<i32, Errno> {
        self.look(num, |state, num| state.sems[num].pid)
    }

    /// Counts the threads that wait for a value to become zero, or to grow.
    pub fn waiting(&self, num: i32, zero: bool) -> Result<usize, Errno> {
        self.look(num, |state, num| {
            let meant = |waiting: &&Waiting| {
                let op = &waiting.ops[waiting.blocking];
                usize::from(op.num) == num && if zero { op.op == 0 } else { op.op < 0 }
            };
            state.waiting.iter().filter(meant).count()
        })
    }

    /// Returns all values.
    pub fn values(&self) -> Vec<u16> {
        self.state.lock().sems.iter().map(|sem| sem.value).collect()
    }

    /// Sets one value; adjustments of it are forgotten. The caller has checked the value. `EINVAL`, `EACCES`.
    pub fn set_value(&self, cred: &Cred, num: i32, value: u16, pid: i32) -> Result<(), Errno> {
        let at = u16::try_from(num).ok().filter(|num| usize::from(*num) < self.len).ok_or(Errno::EINVAL)?;
        self.change(cred, |state| {
            state.sems[usize::from(at)] = Sem { value, pid };
            state.forget_adjustments(Some(at));
        })
    }

    /// Sets all values; adjustments are forgotten. The caller has checked the values and their number.
    pub fn set_values(&self, cred: &Cred, values: &[u16], pid: i32) -> Result<(), Errno> {
        self.change(cred, |state| {
            for (sem, value) in state.sems.iter_mut().zip(values) {
                *sem = Sem { value: *value, pid };
            }
            state.forget_adjustments(None);
        })
    }

    fn change(&self, cred: &Cred, work: impl FnOnce(&mut State)) -> Result<(), Errno> {
        let mut state = self.state.lock();
        state.perm.check(cred, 0o222)?;
        if state.removed {
            return Err(Errno::EIDRM);
        }
        work(&mut state);
        state.ctime = now();
        let wakes = state.settle();
        drop(state);
        wakes.send();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::Caps;

    fn set(len: usize) -> Arc<SemSet> {
        let cred = Cred::new(1, 1, Vec::new(), Caps::empty());
        Arc::new(SemSet::new(Perm::new(1, 0, &cred, 0o600), len))
    }

    fn op(num: u16, op: i16) -> Sembuf {
        Sembuf { num, op, flags: 0 }
    }

    fn wait(set: &Arc<SemSet>, ops: Vec<Sembuf>) -> Sleeper {
        match set.operate(ops, 4, None, &Waiter::new()) {
            Attempt::Waits(sleeper) => sleeper,
            _ => panic!("the operations should wait"),
        }
    }

    #[test]
    fn the_oldest_waiter_is_served_first() {
        let set = set(1);
        let first = wait(&set, vec![op(0, -1)]);
        let second = wait(&set, vec![op(0, -1)]);
        assert_eq!(set.waiting(0, false), Ok(2));
        assert!(matches!(set.operate(vec![op(0, 1)], 5, None, &Waiter::new()), Attempt::Done));
        assert_eq!((first.outcome(), second.outcome()), (Some(Ok(())), None));
        assert_eq!((set.value(0), set.pid(0)), (Ok(0), Ok(4)));
    }

    #[test]
    fn who_is_served_may_let_others_go_on() {
        let set = set(2);
        let blocked = wait(&set, vec![op(1, -1)]);
        let passes_on = wait(&set, vec![op(0, -1), op(1, 1)]);
        assert!(matches!(set.operate(vec![op(0, 1)], 5, None, &Waiter::new()), Attempt::Done));
        assert_eq!((passes_on.outcome(), blocked.outcome()), (Some(Ok(())), Some(Ok(()))));
    }

    #[test]
    fn a_sleeper_that_gives_up_leaves_nothing() {
        let set = set(1);
        drop(wait(&set, vec![op(0, -1)]));
        assert_eq!(set.waiting(0, false), Ok(0));
        let sleeper = wait(&set, vec![op(0, -1)]);
        set.end();
        assert_eq!(sleeper.withdraw(), Some(Err(Errno::EIDRM)));
    }

    #[test]
    fn adjustments_are_applied_within_limits_and_forgotten_by_setval() {
        let cred = Cred::new(1, 1, Vec::new(), Caps::empty());
        let set = set(2);
        let undone = |num, by| Sembuf { num, op: by, flags: 0x1000 };
        assert!(matches!(set.operate(vec![undone(0, 3), undone(1, 2)], 5, Some(9), &Waiter::new()), Attempt::Done));
        set.set_value(&cred, 1, 7, 5).unwrap();
        assert!(matches!(set.operate(vec![op(0, -2)], 5, None, &Waiter::new()), Attempt::Done));
        set.undo(9, 6);
        assert_eq!(set.values(), [0, 7]);
        assert_eq!((set.pid(0), set.pid(1)), (Ok(6), Ok(5)));
    }
}
