//! System V shared memory segments (`man 2 shmget`).
//!
//! A segment is a host memory file. The table holds it until `IPC_RMID`; from then on only its attachments do, and the
//! last one to go takes it along.

use std::any::Any;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use abi::{Errno, PAGE_SIZE};
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use sentry_fs::DeviceId;
use sentry_sync::{Level, Mutex};

use crate::mm::MappedFile;
use crate::task::{Caps, Cred};

/// Flags of `shmget` and `shmat`.
#[allow(missing_docs)]
pub mod shm_flags {
    pub const IPC_CREAT: u32 = 0o1000;
    pub const IPC_EXCL: u32 = 0o2000;
    pub const SHM_HUGETLB: u32 = 0o4000;
    pub const SHM_RDONLY: u32 = 0o10000;
    pub const SHM_RND: u32 = 0o20000;
    pub const SHM_REMAP: u32 = 0o40000;
    pub const SHM_EXEC: u32 = 0o100_000;
}

/// Most segments (`SHMMNI`).
const SEGMENTS_MAX: usize = 4096;
/// Largest segment (`SHMMAX`).
const SIZE_MAX: u64 = u64::MAX - (1 << 24);
/// Key of a segment that nobody finds by key.
const IPC_PRIVATE: i32 = 0;
/// Ids are slots plus a multiple of this, which counts how often the slot was used.
const SEQUENCE: i32 = 32768;

/// What may change about a segment.
#[derive(Clone, Copy, Debug, Default)]
#[allow(missing_docs)]
pub struct ShmInfo {
    pub key: i32,
    pub uid: u32,
    pub gid: u32,
    pub cuid: u32,
    pub cgid: u32,
    /// Permission bits.
    pub mode: u32,
    /// `IPC_RMID` was called.
    pub removed: bool,
    pub locked: bool,
    pub atime: i64,
    pub dtime: i64,
    pub ctime: i64,
    pub cpid: i32,
    pub lpid: i32,
}

/// One segment.
pub struct Segment {
    /// Identifier.
    pub id: i32,
    /// Size in bytes as asked for.
    pub size: u64,
    key: i32,
    memory: Arc<OwnedFd>,
    /// The same file through a descriptor that can't write, made when first wanted.
    readonly: OnceLock<Arc<OwnedFd>>,
    info: Mutex<ShmInfo>,
}

/// Who makes a segment.
#[derive(Clone, Copy)]
pub struct Creator<'a> {
    /// Credentials.
    pub cred: &'a Cred,
    /// Process id.
    pub pid: i32,
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

impl Segment {
    fn create(id: i32, key: i32, size: u64, mode: u32, creator: Creator<'_>) -> Result<Segment, Errno> {
        let host = |errno: rustix::io::Errno| match Errno::from_raw(errno.raw_os_error()) {
            // A file may not be as large as memory that is never touched may be.
            Errno::EFBIG | Errno::EINVAL => Errno::ENOMEM,
            errno => errno,
        };
        let memory = memfd_create("sysv", MemfdFlags::CLOEXEC).map_err(host)?;
        ftruncate(&memory, size.next_multiple_of(PAGE_SIZE)).map_err(host)?;
        let Cred { euid, egid, .. } = *creator.cred;
        let info = ShmInfo {
            key,
            uid: euid,
            gid: egid,
            cuid: euid,
            cgid: egid,
            mode: mode & 0o777,
            ctime: now(),
            cpid: creator.pid,
            ..ShmInfo::default()
        };
        Ok(Segment {
            id,
            size,
            key,
            memory: Arc::new(memory),
            readonly: OnceLock::new(),
            info: Mutex::new(Level::Leaf, info),
        })
    }

    /// Returns the host file, through a descriptor with no more rights than the attachment: a guest can change the
    /// protection of what it has mapped by itself.
    pub fn memory(&self, writable: bool) -> Result<Arc<OwnedFd>, Errno> {
        if writable {
            return Ok(Arc::clone(&self.memory));
        }
        if let Some(file) = self.readonly.get() {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(sentry_fs::host::reopen_readonly(self.memory.as_fd())?);
        Ok(Arc::clone(self.readonly.get_or_init(|| file)))
    }

    /// Returns what `IPC_STAT` shows.
    pub fn info(&self) -> ShmInfo {
        *self.info.lock()
    }

    /// Notes an attach or detach by this process.
    pub fn touched(&self, pid: i32, attached: bool) {
        let mut info = self.info.lock();
        info.lpid = pid;
        if attached {
            info.atime = now();
        } else {
            info.dtime = now();
        }
    }

    /// Changes owner and mode (`IPC_SET`).
    pub fn set(&self, uid: u32, gid: u32, mode: u32) {
        let mut info = self.info.lock();
        (info.uid, info.gid, info.mode) = (uid, gid, mode & 0o777);
        info.ctime = now();
    }

    /// Notes `SHM_LOCK` and `SHM_UNLOCK`.
    pub fn set_locked(&self, locked: bool) {
        self.info.lock().locked = locked;
    }

    /// Checks access bits (`0o4` read, `0o2` write) as `ipcperms` does: `EACCES`.
    pub fn check(&self, cred: &Cred, wanted: u32) -> Result<(), Errno> {
        let info = self.info();
        let granted = if cred.euid == info.uid || cred.euid == info.cuid {
            info.mode >> 6
        } else if cred.in_group(info.gid) || cred.in_group(info.cgid) {
            info.mode >> 3
        } else {
            info.mode
        };
        if wanted & !granted & 0o7 == 0 || cred.has(Caps::IPC_OWNER) { Ok(()) } else { Err(Errno::EACCES) }
    }

    /// Checks the right to change or remove it: `EPERM`.
    pub fn check_owner(&self, cred: &Cred) -> Result<(), Errno> {
        let info = self.info();
        let own = cred.euid == info.uid || cred.euid == info.cuid || cred.has(Caps::SYS_ADMIN);
        if own { Ok(()) } else { Err(Errno::EPERM) }
    }
}

impl MappedFile for Segment {
    fn description(&self) -> u64 {
        // Above the numbers of open file descriptions.
        1 << 63 | u64::from(self.id.cast_unsigned())
    }

    fn device(&self) -> DeviceId {
        DeviceId::new(0, 1)
    }

    fn inode(&self) -> u64 {
        u64::from(self.id.cast_unsigned())
    }

    fn path(&self) -> Vec<u8> {
        format!("/SYSV{:08x} (deleted)", self.key).into_bytes()
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync) {
        self
    }
}

/// How the table holds a segment.
enum Hold {
    Kept(Arc<Segment>),
    /// After `IPC_RMID`.
    Attached(Weak<Segment>),
}

impl Hold {
    fn get(&self) -> Option<Arc<Segment>> {
        match self {
            Hold::Kept(segment) => Some(Arc::clone(segment)),
            Hold::Attached(segment) => segment.upgrade(),
        }
    }
}

#[derive(Default)]
struct Segments {
    /// By slot.
    slots: BTreeMap<i32, (i32, Hold)>,
    sequence: i32,
}

/// All segments of the sandbox.
pub struct ShmTable(Mutex<Segments>);

impl Default for ShmTable {
    fn default() -> ShmTable {
        ShmTable(Mutex::new(Level::Socket, Segments::default()))
    }
}

impl ShmTable {
    /// Finds a segment by key or makes one (`shmget(2)`).
    pub fn get(&self, key: i32, size: u64, flags: u32, creator: Creator<'_>) -> Result<i32, Errno> {
        let mut table = self.0.lock();
        table.slots.retain(|_, (_, hold)| hold.get().is_some());
        let found = table.slots.values().filter_map(|(_, hold)| match hold {
            Hold::Kept(segment) => Some(segment),
            Hold::Attached(_) => None,
        });
        let found = found.filter(|_| key != IPC_PRIVATE).find(|segment| segment.key == key);
        if let Some(segment) = found {
            let exclusive = shm_flags::IPC_CREAT | shm_flags::IPC_EXCL;
            if flags & exclusive == exclusive {
                return Err(Errno::EEXIST);
            }
            if segment.size < size {
                return Err(Errno::EINVAL);
            }
            segment.check(creator.cred, (flags >> 6 | flags >> 3 | flags) & 0o7)?;
            return Ok(segment.id);
        }
        if key != IPC_PRIVATE && flags & shm_flags::IPC_CREAT == 0 {
            return Err(Errno::ENOENT);
        }
        if size == 0 || size > SIZE_MAX {
            return Err(Errno::EINVAL);
        }
        if table.slots.len() >= SEGMENTS_MAX {
            return Err(Errno::ENOSPC);
        }
        if flags & shm_flags::SHM_HUGETLB != 0 {
            return Err(Errno::ENOMEM);
        }
        let slot = (0..).find(|slot| !table.slots.contains_key(slot)).ok_or(Errno::ENOSPC)?;
        let id = slot + table.sequence * SEQUENCE;
        let segment = Segment::create(id, key, size, flags, creator)?;
        table.sequence = (table.sequence + 1) % (i32::MAX / SEQUENCE);
        table.slots.insert(slot, (id, Hold::Kept(Arc::new(segment))));
        Ok(id)
    }

    /// Finds a segment by id: `EINVAL`.
    pub fn find(&self, id: i32) -> Result<Arc<Segment>, Errno> {
        let slot = id.checked_rem(SEQUENCE).filter(|_| id >= 0).ok_or(Errno::EINVAL)?;
        let table = self.0.lock();
        let (found, hold) = table.slots.get(&slot).ok_or(Errno::EINVAL)?;
        hold.get().filter(|_| *found == id).ok_or(Errno::EINVAL)
    }

    /// Finds the segment in a slot (`SHM_STAT`): `EINVAL`.
    pub fn in_slot(&self, slot: i32) -> Result<Arc<Segment>, Errno> {
        self.0.lock().slots.get(&slot).and_then(|(_, hold)| hold.get()).ok_or(Errno::EINVAL)
    }

    /// Removes a segment once nobody has it attached (`IPC_RMID`). The caller's right has been checked.
    pub fn remove(&self, segment: &Arc<Segment>) {
        {
            let mut info = segment.info.lock();
            info.removed = true;
            info.key = IPC_PRIVATE;
        }
        let mut table = self.0.lock();
        let slot = segment.id % SEQUENCE;
        if let Some((id, hold)) = table.slots.get_mut(&slot)
            && *id == segment.id
        {
            *hold = Hold::Attached(Arc::downgrade(segment));
        }
    }

    /// Returns all segments in order of slots.
    pub fn list(&self) -> Vec<(i32, Arc<Segment>)> {
        let table = self.0.lock();
        table.slots.iter().filter_map(|(slot, (_, hold))| hold.get().map(|segment| (*slot, segment))).collect()
    }
}
