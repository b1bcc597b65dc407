//! Semaphore sets (`man 2 semget`, `man 2 semop`, `man 2 semctl`; kernel: `ipc/sem.c`).
//!
//! [`SemTable`] holds the sets, [`SemSet`] one of them; [`values`] is the pure part: operations on values, all or none.
//! A thread that must wait leaves its operations in the set, and whoever changes values carries them out for it, oldest
//! first.

mod set;
mod undo;
mod values;

pub use set::{SemSet, SemStat};
pub use undo::UndoList;
pub use values::{SEMVMX, Sembuf};

use std::fmt::Write;
use std::sync::Arc;
use std::time::Instant;

use abi::{Errno, SysError};
use sentry_sync::{Level, Mutex};

use super::ids::Found;
use super::{GetFlags, IdTable};
use crate::syscall::SysResult;
use crate::task::Cred;
use crate::wait::{Interruptible, WaitError, Waiter};
use crate::{Current, Task};
use values::Attempt;

/// Most sets (`SEMMNI`).
pub const SEMMNI: usize = 32_000;
/// Most semaphores of a set (`SEMMSL`).
pub const SEMMSL: usize = 32_000;
/// Most semaphores in all (`SEMMNS`).
pub const SEMMNS: usize = SEMMNI * SEMMSL;
/// Most operations of a call (`SEMOPM`).
pub const SEMOPM: usize = 500;

struct Sets {
    ids: IdTable<SemSet>,
    /// Semaphores of all sets.
    used: usize,
}

/// All semaphore sets.
pub struct SemTable(Mutex<Sets>);

impl Default for SemTable {
    fn default() -> SemTable {
        SemTable(Mutex::new(Level::Ipc, Sets { ids: IdTable::new(SEMMNI), used: 0 }))
    }
}

impl SemTable {
    /// Finds or makes a set and returns its id (`semget`).
    pub fn open(&self, cred: &Cred, key: i32, nsems: usize, flags: GetFlags) -> Result<i32, Errno> {
        if nsems > SEMMSL {
            return Err(Errno::EINVAL);
        }
        let mut sets = self.0.lock();
        match sets.ids.look_up(key, flags)? {
            Found::Old(id, set) => {
                if nsems > set.len() {
                    return Err(Errno::EINVAL);
                }
                set.check(cred, flags.0)?;
                Ok(id)
            }
            Found::New if nsems == 0 => Err(Errno::EINVAL),
            Found::New if sets.used + nsems > SEMMNS => Err(Errno::ENOSPC),
            Found::New => {
                let id =
                    sets.ids.add(key, |_, seq| SemSet::new(super::Perm::new(key, seq, cred, flags.mode()), nsems))?;
                sets.used += nsems;
                Ok(id)
            }
        }
    }

    /// Finds a set: `EINVAL`.
    pub fn get(&self, id: i32) -> Result<Arc<SemSet>, Errno> {
        self.0.lock().ids.get(id)
    }

    /// Finds a set by index: `EINVAL`.
    pub fn get_by_index(&self, index: i32) -> Result<(i32, Arc<SemSet>), Errno> {
        self.0.lock().ids.get_by_index(index)
    }

    /// Removes a set; who waits for it gets `EIDRM`. `EINVAL`, `EPERM`.
    pub fn remove(&self, cred: &Cred, id: i32) -> Result<(), Errno> {
        let set = {
            let mut sets = self.0.lock();
            let set = sets.ids.get(id)?;
            set.check_owner(cred)?;
            sets.ids.remove(id);
            sets.used -= set.len();
            set
        };
        set.end();
        Ok(())
    }

    /// Returns the highest index in use, the number of sets and the number of semaphores.
    pub fn usage(&self) -> (u32, usize, usize) {
        let sets = self.0.lock();
        (sets.ids.highest_index(), sets.ids.len(), sets.used)
    }

    /// Renders `/proc/sysvipc/sem`.
    pub fn render(&self) -> Vec<u8> {
        let mut text =
            "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n".to_owned();
        let sets = self.0.lock().ids.list();
        for (id, set) in sets {
            let stat = set.stat();
            let perm = stat.perm;
            // Writing to a string can't fail.
            let _ = writeln!(
                text,
                "{:10} {id:10}  {:4o} {:10} {:5} {:5} {:5} {:5} {:10} {:10}",
                perm.key,
                perm.mode,
                set.len(),
                perm.uid,
                perm.gid,
                perm.cuid,
                perm.cgid,
                stat.otime,
                stat.ctime
            );
        }
        text.into_bytes()
    }
}

/// Gives up the thread's share in its undo list: the last one to do so applies it.
pub(crate) fn exit(task: &Task) {
    let Some(list) = task.sem_undo.lock().take() else { return };
    let Some(list) = Arc::into_inner(list) else { return };
    list.apply(&task.kernel.ipc.sems, task.process.pid.0);
}

/// Carries out operations, waiting as long as they can't be (`semtimedop`). The caller has checked their number.
pub async fn operate(cur: &mut Current, id: i32, ops: Vec<Sembuf>, deadline: Option<Instant>) -> SysResult {
    let task = Arc::clone(&cur.task);
    let set = task.kernel.ipc.sems.get(id)?;
    let undo = ops.iter().any(Sembuf::undoes).then(|| {
        let list = UndoList::of(&task);
        list.note(id);
        list.number()
    });
    set.check_ops(&task.cred.load(), &ops)?;
    let waiter = Waiter::new();
    let sleeper = match set.operate(ops, task.process.pid.0, undo, &waiter) {
        Attempt::Done => return Ok(0),
        Attempt::Failed(errno) => return Err(errno.into()),
        Attempt::Waits(sleeper) => sleeper,
    };
    let ended = task.wait_for(&waiter, deadline, Interruptible::Signals, || sleeper.outcome()).await;
    // Whoever carried the operations out may just have been faster than the signal or the clock.
    match ended {
        Ok(outcome) => outcome.map(|()| 0).map_err(SysError::Errno),
        Err(error) => match (sleeper.withdraw(), error) {
            (Some(outcome), _) => outcome.map(|()| 0).map_err(SysError::Errno),
            (None, WaitError::Interrupted) => Err(Errno::EINTR.into()),
            (None, WaitError::TimedOut) => Err(Errno::EAGAIN.into()),
        },
    }
}
