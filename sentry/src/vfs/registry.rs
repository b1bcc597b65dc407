//! What all tasks share of the VFS: file-system types, device numbers, FIFOs, locks.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use abi::Errno;
use sentry_fs::FileSystem;
use sentry_fs::dev::Devices;
use sentry_fs::hostfd::HostReactor;
use sentry_fs::mqueue::QueueTable;
use sentry_fs::pipe::FifoTable;
use sentry_sync::{Level, RwLock};

use super::MountNamespace;
use super::locks::LockWaits;

/// What a file system is made from.
#[derive(Clone, Copy, Debug)]
pub struct MountRequest<'a> {
    /// First argument of `mount(2)`.
    pub source: &'a [u8],
    /// The options.
    pub data: &'a str,
}

type Constructor = Arc<dyn Fn(&MountRequest<'_>) -> Result<Arc<dyn FileSystem>, Errno> + Send + Sync>;

/// The types that `mount(2)` knows.
pub struct FsRegistry(RwLock<BTreeMap<&'static str, Constructor>>);

impl Default for FsRegistry {
    fn default() -> FsRegistry {
        FsRegistry(RwLock::new(Level::Leaf, BTreeMap::new()))
    }
}

impl FsRegistry {
    /// Adds a type.
    pub fn register(
        &self,
        name: &'static str,
        constructor: impl Fn(&MountRequest<'_>) -> Result<Arc<dyn FileSystem>, Errno> + Send + Sync + 'static,
    ) {
        self.0.write().insert(name, Arc::new(constructor));
    }

    /// Makes a file system: `ENODEV` for an unknown type.
    pub fn make(&self, name: &[u8], request: &MountRequest<'_>) -> Result<Arc<dyn FileSystem>, Errno> {
        let name = std::str::from_utf8(name).map_err(|_| Errno::ENODEV)?;
        let constructor = self.0.read().get(name).cloned().ok_or(Errno::ENODEV)?;
        constructor(request)
    }

    /// Returns the names, for `/proc/filesystems`.
    pub fn names(&self) -> Vec<&'static str> {
        self.0.read().keys().copied().collect()
    }
}

/// The part of the VFS that belongs to the kernel as a whole.
#[derive(Default)]
pub struct Vfs {
    /// File-system types for `mount(2)`.
    pub types: FsRegistry,
    /// Pipes behind FIFOs.
    pub fifos: FifoTable,
    /// POSIX message queues by name.
    pub queues: QueueTable,
    /// Who waits for whose file lock.
    pub lock_waits: LockWaits,
    namespace: OnceLock<Arc<MountNamespace>>,
    devices: OnceLock<Arc<Devices>>,
    host_fifos: OnceLock<Arc<dyn HostReactor>>,
}

impl Vfs {
    /// Sets the mount namespace of the first process. Only the first call counts.
    pub fn set_namespace(&self, namespace: Arc<MountNamespace>) {
        let _ = self.namespace.set(namespace);
    }

    /// Returns the mount namespace of the first process, once boot has made it.
    pub fn namespace(&self) -> Option<&Arc<MountNamespace>> {
        self.namespace.get()
    }

    /// Lets FIFOs in trees of the host be the host's from now on. Only the first call counts.
    pub fn use_host_fifos(&self, reactor: Arc<dyn HostReactor>) {
        let _ = self.host_fifos.set(reactor);
    }

    /// Returns what watches FIFOs of the host, where those may be opened.
    pub(super) fn host_fifos(&self) -> Option<&Arc<dyn HostReactor>> {
        self.host_fifos.get()
    }

    /// Sets what stands behind device numbers. Only the first call counts.
    pub fn set_devices(&self, devices: Arc<Devices>) {
        let _ = self.devices.set(devices);
    }

    /// Returns what stands behind device numbers, once boot has made it.
    pub fn devices(&self) -> Option<&Arc<Devices>> {
        self.devices.get()
    }
}
