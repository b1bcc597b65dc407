//! Namespaces as guests name them: the links in `/proc/PID/ns`, what opens behind them, and the ones that can be made
//! anew (UTS and, in [`crate::vfs`], mount). There is one of every other kind.

use std::any::Any;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use abi::Errno;
use abi::flags::OpenFlags;
use sentry_fs::tmpfs::{TmpFs, TmpfsOptions};
use sentry_fs::{Attr, DeviceId, FileKind, FileOps, FileSystem, Inode, InodeRef, SetAttr};
use sentry_sync::{Level, Mutex, MutexGuard};

use crate::Task;
use crate::task::clone::CloneFlags;
use crate::vfs::{Dentry, File, Mount, MountFlags, MountNamespace, Path};

/// Returns the number of a new namespace. Those of Linux's initial ones lie below.
pub(crate) fn next_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0xf000_0000);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Host and domain name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UtsNames {
    /// `uname -n`.
    pub hostname: Vec<u8>,
    /// NIS domain; `(none)` unless somebody sets it.
    pub domainname: Vec<u8>,
}

/// A UTS namespace (`man 7 uts_namespaces`).
#[derive(Debug)]
pub struct UtsNamespace {
    number: u64,
    names: Mutex<UtsNames>,
}

impl UtsNamespace {
    /// The namespace of the first process.
    pub(crate) fn initial() -> Arc<UtsNamespace> {
        let names = UtsNames { hostname: b"runsc".to_vec(), domainname: b"(none)".to_vec() };
        Arc::new(UtsNamespace { number: Kind::Uts.initial(), names: Mutex::new(Level::Leaf, names) })
    }

    /// Makes a namespace that begins with the same names.
    #[must_use]
    pub fn duplicate(&self) -> Arc<UtsNamespace> {
        let names = self.names.lock().clone();
        Arc::new(UtsNamespace { number: next_number(), names: Mutex::new(Level::Leaf, names) })
    }

    /// Locks the names.
    pub fn lock(&self) -> MutexGuard<'_, UtsNames> {
        self.names.lock()
    }
}

/// Kinds of namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // as in namespaces(7)
pub enum Kind {
    Cgroup,
    Ipc,
    Mount,
    Net,
    Pid,
    Time,
    User,
    Uts,
}

impl Kind {
    /// Returns the name in the text of links.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Cgroup => "cgroup",
            Kind::Ipc => "ipc",
            Kind::Mount => "mnt",
            Kind::Net => "net",
            Kind::Pid => "pid",
            Kind::Time => "time",
            Kind::User => "user",
            Kind::Uts => "uts",
        }
    }

    /// Returns its `CLONE_NEW*`.
    pub fn flag(self) -> CloneFlags {
        match self {
            Kind::Cgroup => CloneFlags::NEWCGROUP,
            Kind::Ipc => CloneFlags::NEWIPC,
            Kind::Mount => CloneFlags::NEWNS,
            Kind::Net => CloneFlags::NEWNET,
            Kind::Pid => CloneFlags::NEWPID,
            Kind::Time => CloneFlags::NEWTIME,
            Kind::User => CloneFlags::NEWUSER,
            Kind::Uts => CloneFlags::NEWUTS,
        }
    }

    /// Returns the number of the initial one (`include/uapi/linux/nsfs.h`).
    fn initial(self) -> u64 {
        match self {
            Kind::Ipc => 0xefff_ffff,
            Kind::Uts => 0xefff_fffe,
            Kind::User => 0xefff_fffd,
            Kind::Pid => 0xefff_fffc,
            Kind::Cgroup => 0xefff_fffb,
            Kind::Time => 0xefff_fffa,
            Kind::Net => 0xefff_fff9,
            Kind::Mount => 0xefff_fff8,
        }
    }
}

/// A namespace.
#[derive(Clone)]
pub enum Namespace {
    /// Of names.
    Uts(Arc<UtsNamespace>),
    /// Of mounts.
    Mount(Arc<MountNamespace>),
    /// The only one of its kind.
    Only(Kind),
}

/// The links in `/proc/PID/ns`, in order.
pub(crate) const LINKS: [(&str, Kind); 10] = [
    ("cgroup", Kind::Cgroup),
    ("ipc", Kind::Ipc),
    ("mnt", Kind::Mount),
    ("net", Kind::Net),
    ("pid", Kind::Pid),
    ("pid_for_children", Kind::Pid),
    ("time", Kind::Time),
    ("time_for_children", Kind::Time),
    ("user", Kind::User),
    ("uts", Kind::Uts),
];

impl Namespace {
    /// Returns the namespace of this kind that a task is in.
    pub fn of(task: &Task, kind: Kind) -> Namespace {
        match kind {
            Kind::Uts => Namespace::Uts(task.uts.load_full()),
            Kind::Mount => Namespace::Mount(task.fs.load().namespace()),
            other => Namespace::Only(other),
        }
    }

    /// Returns the kind.
    pub fn kind(&self) -> Kind {
        match self {
            Namespace::Uts(_) => Kind::Uts,
            Namespace::Mount(_) => Kind::Mount,
            Namespace::Only(kind) => *kind,
        }
    }

    /// Returns the number in the link's text.
    pub fn number(&self) -> u64 {
        match self {
            Namespace::Uts(uts) => uts.number,
            Namespace::Mount(mounts) => mounts.id,
            Namespace::Only(kind) => kind.initial(),
        }
    }

    fn text(&self) -> String {
        format!("{}:[{}]", self.kind().name(), self.number())
    }

    /// Returns a place in the file system of namespaces that opens as a file standing for this one.
    pub(crate) fn place(&self) -> Result<Path, Errno> {
        static HOME: OnceLock<Arc<Mount>> = OnceLock::new();
        let mount = match HOME.get() {
            Some(mount) => mount,
            None => {
                let fs: Arc<dyn FileSystem> = Arc::new(TmpFs::new(TmpfsOptions::unlimited())?);
                let mount = Mount::of(fs, b"nsfs", MountFlags::empty())?;
                HOME.get_or_init(|| mount)
            }
        };
        let device = mount.root.inode.attr()?.dev;
        let inode: InodeRef = Arc::new(NsInode { namespace: self.clone(), device });
        let name = self.text();
        let dentry = Dentry::unnamed(&mount.sb, inode, name.as_bytes(), Some(Arc::clone(&mount.root)), false)?;
        Ok(Path { mount: Arc::clone(mount), dentry })
    }
}

impl Namespace {
    /// Opens a file that stands for this namespace.
    pub fn open(&self) -> Result<Arc<File>, Errno> {
        let ops: Arc<dyn FileOps> = Arc::new(NsFile(self.clone()));
        Ok(File::with_path(ops, self.place()?, OpenFlags::empty()))
    }
}

struct NsInode {
    namespace: Namespace,
    device: DeviceId,
}

impl Inode for NsInode {
    fn attr(&self) -> Result<Attr, Errno> {
        let now = crate::time::realtime();
        Ok(Attr::nameless(self.device, self.namespace.number(), FileKind::Regular, 0o444, now))
    }

    fn set_attr(&self, _set: &SetAttr) -> Result<(), Errno> {
        Err(Errno::EPERM)
    }

    fn open(self: Arc<Self>, flags: OpenFlags) -> Result<Arc<dyn FileOps>, Errno> {
        if flags.writable() {
            return Err(Errno::EPERM);
        }
        Ok(Arc::new(NsFile(self.namespace.clone())))
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// An open file that stands for a namespace and keeps it alive.
pub struct NsFile(Namespace);

impl NsFile {
    /// Returns the namespace.
    pub fn namespace(&self) -> &Namespace {
        &self.0
    }
}

impl FileOps for NsFile {
    fn anon_name(&self) -> Option<String> {
        Some(self.0.text())
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
