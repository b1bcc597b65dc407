//! Objects of one kind by id and by key (kernel: `ipc/util.c`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use abi::Errno;

/// The key that makes an object without a key (`IPC_PRIVATE`).
pub const PRIVATE: i32 = 0;

/// Ids are a sequence number times this plus an index; most objects of a kind (`IPCMNI`).
const INDEXES: u32 = 32_768;

const SEQUENCES: u32 = 0x7fff_ffff / INDEXES;

/// Flags of the `*get` calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GetFlags(pub u32);

impl GetFlags {
    const CREAT: u32 = 0o1000;
    const EXCL: u32 = 0o2000;

    fn creates(self) -> bool {
        self.0 & GetFlags::CREAT != 0
    }

    fn exclusive(self) -> bool {
        self.creates() && self.0 & GetFlags::EXCL != 0
    }

    /// Returns the permission bits, which are the new object's, or the access wanted to an old one.
    pub fn mode(self) -> u32 {
        self.0 & 0o777
    }
}

struct Slot<T> {
    id: i32,
    key: i32,
    object: Arc<T>,
}

/// Objects of one kind.
pub struct IdTable<T> {
    slots: BTreeMap<u32, Slot<T>>,
    keys: BTreeMap<i32, u32>,
    /// Freed indexes below `next`.
    free: BTreeSet<u32>,
    next: u32,
    last: Option<u32>,
    sequence: u32,
    most: usize,
}

/// What a `*get` call comes to.
pub enum Found<T> {
    /// This object, of this id.
    Old(i32, Arc<T>),
    /// One is to be made.
    New,
}

fn index(id: i32) -> Result<u32, Errno> {
    u32::try_from(id).map(|id| id % INDEXES).map_err(|_| Errno::EINVAL)
}

impl<T> IdTable<T> {
    /// An empty table that takes `most` objects.
    pub fn new(most: usize) -> IdTable<T> {
        IdTable {
            slots: BTreeMap::new(),
            keys: BTreeMap::new(),
            free: BTreeSet::new(),
            next: 0,
            last: None,
            sequence: 0,
            most,
        }
    }

    /// Looks a key up as `*get` calls do: `ENOENT`, `EEXIST`.
    pub fn look_up(&self, key: i32, flags: GetFlags) -> Result<Found<T>, Errno> {
        if key == PRIVATE {
            return Ok(Found::New);
        }
        match self.keys.get(&key).and_then(|at| self.slots.get(at)) {
            None if flags.creates() => Ok(Found::New),
            None => Err(Errno::ENOENT),
            Some(_) if flags.exclusive() => Err(Errno::EEXIST),
            Some(slot) => Ok(Found::Old(slot.id, Arc::clone(&slot.object))),
        }
    }

    /// Adds an object that `make` creates from its id and sequence number: `ENOSPC` where there are too many.
    pub fn add(&mut self, key: i32, make: impl FnOnce(i32, u16) -> T) -> Result<i32, Errno> {
        if self.slots.len() >= self.most {
            return Err(Errno::ENOSPC);
        }
        let at = match self.free.pop_first() {
            Some(at) => at,
            None if self.next < INDEXES => {
                self.next += 1;
                self.next - 1
            }
            None => return Err(Errno::ENOSPC),
        };
        // An index that comes again gets another sequence number, so that old ids stay invalid.
        if self.last.is_some_and(|last| at <= last) {
            self.sequence = (self.sequence + 1) % SEQUENCES;
        }
        self.last = Some(at);
        let id = i32::try_from(self.sequence * INDEXES + at).map_err(|_| Errno::ENOSPC)?;
        let sequence = u16::try_from(self.sequence).map_err(|_| Errno::ENOSPC)?;
        self.slots.insert(at, Slot { id, key, object: Arc::new(make(id, sequence)) });
        if key != PRIVATE {
            self.keys.insert(key, at);
        }
        Ok(id)
    }

    /// Finds an object: `EINVAL`.
    pub fn get(&self, id: i32) -> Result<Arc<T>, Errno> {
        let slot = self.slots.get(&index(id)?).filter(|slot| slot.id == id).ok_or(Errno::EINVAL)?;
        Ok(Arc::clone(&slot.object))
    }

    /// Finds an object and its id by index alone (`*_STAT`): `EINVAL`.
    pub fn get_by_index(&self, at: i32) -> Result<(i32, Arc<T>), Errno> {
        let slot = self.slots.get(&index(at)?).ok_or(Errno::EINVAL)?;
        Ok((slot.id, Arc::clone(&slot.object)))
    }

    /// Takes an object out.
    pub fn remove(&mut self, id: i32) -> Option<Arc<T>> {
        let at = index(id).ok()?;
        self.slots.get(&at).filter(|slot| slot.id == id)?;
        let slot = self.slots.remove(&at)?;
        if slot.key != PRIVATE {
            self.keys.remove(&slot.key);
        }
        self.free.insert(at);
        Some(slot.object)
    }

    /// Returns the highest index in use; 0 where none is.
    pub fn highest_index(&self) -> u32 {
        self.slots.last_key_value().map_or(0, |(at, _)| *at)
    }

    /// Returns how many objects there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Tells whether there is no object.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Returns all objects with their ids, by index.
    pub fn list(&self) -> Vec<(i32, Arc<T>)> {
        self.slots.values().map(|slot| (slot.id, Arc::clone(&slot.object))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_freed_index_comes_back_with_another_id() {
        let mut table = IdTable::new(10);
        assert_eq!(table.add(PRIVATE, |_, _| 'a'), Ok(0));
        assert_eq!(table.add(PRIVATE, |_, _| 'b'), Ok(1));
        assert!(table.remove(0).is_some());
        assert_eq!(table.add(7, |_, _| 'c'), Ok(32_768));
        assert_eq!(table.get(0), Err(Errno::EINVAL));
        assert_eq!(table.get_by_index(0).unwrap(), (32_768, Arc::new('c')));
        assert_eq!(table.highest_index(), 1);
    }

    #[test]
    fn keys_are_found_created_and_refused() {
        let mut table = IdTable::new(2);
        assert!(matches!(table.look_up(5, GetFlags(0)), Err(Errno::ENOENT)));
        assert!(matches!(table.look_up(5, GetFlags(0o1000)), Ok(Found::New)));
        let id = table.add(5, |_, _| ()).unwrap();
        assert!(matches!(table.look_up(5, GetFlags(0)), Ok(Found::Old(found, _)) if found == id));
        assert!(matches!(table.look_up(5, GetFlags(0o3000)), Err(Errno::EEXIST)));
        assert!(matches!(table.look_up(5, GetFlags(0o2000)), Ok(Found::Old(..))));
    }

    #[test]
    fn a_full_table_refuses() {
        let mut table = IdTable::new(1);
        table.add(PRIVATE, |_, _| ()).unwrap();
        assert_eq!(table.add(PRIVATE, |_, _| ()), Err(Errno::ENOSPC));
    }
}
