//! Root directory, working directory and umask.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::{ArcSwap, Guard};
use sentry_sync::{Level, Mutex};

use super::{MountNamespace, Path, Walker};
use crate::Task;
use crate::task::Cred;

/// Where walks start: replaced as a whole, so that a walk borrows it and never waits for a `chdir`.
#[derive(Clone)]
pub struct Places {
    namespace: Arc<MountNamespace>,
    /// Root directory.
    pub root: Path,
    /// Working directory.
    pub cwd: Path,
}

/// Who a walk on behalf of a thread is made by, and where it starts. To be let go of soon.
pub struct Start {
    places: Guard<Arc<Places>>,
    cred: Guard<Arc<Cred>>,
}

impl Start {
    pub(crate) fn new(fs: &FsContext, task: &Task) -> Start {
        Start { places: fs.places(), cred: task.cred.load() }
    }

    /// Returns who walks.
    pub fn walker(&self) -> Walker<'_> {
        self.places.walker(&self.cred)
    }

    /// Returns the working directory.
    pub fn cwd(&self) -> &Path {
        &self.places.cwd
    }
}

impl Places {
    /// Returns who walks with this root and these rights.
    pub fn walker<'a>(&'a self, cred: &'a Cred) -> Walker<'a> {
        Walker { root: &self.root, cred }
    }
}

/// Root directory, working directory, umask and mount namespace of a task; shared by `CLONE_FS`.
pub struct FsContext {
    umask: AtomicU32,
    places: ArcSwap<Places>,
    /// Held while `places` is replaced.
    changing: Mutex<()>,
}

impl FsContext {
    /// The context of the first process: at the root of a namespace.
    pub fn new(namespace: &Arc<MountNamespace>, umask: u32) -> FsContext {
        let root = namespace.root();
        FsContext::with(Places { namespace: Arc::clone(namespace), root: root.clone(), cwd: root }, umask)
    }

    fn with(places: Places, umask: u32) -> FsContext {
        FsContext {
            umask: AtomicU32::new(umask),
            places: ArcSwap::from_pointee(places),
            changing: Mutex::new(Level::Files, ()),
        }
    }

    /// Copies the context (fork).
    #[must_use]
    pub fn duplicate(&self) -> FsContext {
        FsContext::with((**self.places.load()).clone(), self.umask())
    }

    /// Returns the umask.
    pub fn umask(&self) -> u32 {
        self.umask.load(Ordering::Relaxed)
    }

    /// Replaces the umask and returns the old one.
    pub fn set_umask(&self, umask: u32) -> u32 {
        self.umask.swap(umask, Ordering::Relaxed)
    }

    /// Returns where walks start, to be let go of soon.
    pub fn places(&self) -> Guard<Arc<Places>> {
        self.places.load()
    }

    /// Returns the root directory.
    pub fn root(&self) -> Path {
        self.places.load().root.clone()
    }

    /// Returns the working directory.
    pub fn cwd(&self) -> Path {
        self.places.load().cwd.clone()
    }

    /// Returns the mount namespace.
    pub fn namespace(&self) -> Arc<MountNamespace> {
        Arc::clone(&self.places.load().namespace)
    }

    fn change(&self, change: impl FnOnce(&mut Places)) {
        let old = {
            let _changing = self.changing.lock();
            let mut places = (**self.places.load()).clone();
            change(&mut places);
            self.places.swap(Arc::new(places))
        };
        // Without the lock: the last reference to a directory may take any.
        drop(old);
    }

    /// Changes the working directory.
    pub fn set_cwd(&self, cwd: Path) {
        self.change(|places| places.cwd = cwd);
    }

    /// Changes the root directory.
    pub fn set_root(&self, root: Path) {
        self.change(|places| places.root = root);
    }

    /// Moves to a copy of the mount namespace (`CLONE_NEWNS`).
    pub fn unshare_namespace(&self) {
        let (namespace, translate) = self.namespace().duplicate();
        let (root, cwd) = (translate(&self.root()), translate(&self.cwd()));
        self.change(|places| *places = Places { namespace, root, cwd });
    }

    /// Moves to another mount namespace, to its root (`setns`).
    pub fn enter_namespace(&self, namespace: &Arc<MountNamespace>) {
        let root = namespace.root();
        let own = Places { namespace: Arc::clone(namespace), root: root.clone(), cwd: root };
        self.change(|places| *places = own);
    }

    /// Replaces the root and working directory where they are `old` (`pivot_root`).
    pub fn replace_root(&self, old: &Path, new: &Path) {
        self.change(|places| {
            for place in [&mut places.root, &mut places.cwd] {
                if place.same(old) {
                    *place = new.clone();
                }
            }
        });
    }
}
