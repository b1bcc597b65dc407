//! Root directory, working directory and umask.

use std::sync::Arc;

use sentry_sync::{Level, Mutex};

use super::{MountNamespace, Path, Walker};
use crate::task::Cred;

struct Places {
    namespace: Arc<MountNamespace>,
    root: Path,
    cwd: Path,
}

/// Root directory, working directory, umask and mount namespace of a task; shared by `CLONE_FS`.
pub struct FsContext {
    /// Permission bits taken off new files.
    pub umask: Mutex<u32>,
    places: Mutex<Places>,
}

impl FsContext {
    /// The context of the first process: at the root of a namespace.
    pub fn new(namespace: &Arc<MountNamespace>, umask: u32) -> FsContext {
        let root = namespace.root();
        let places = Places { namespace: Arc::clone(namespace), root: root.clone(), cwd: root };
        FsContext { umask: Mutex::new(Level::Files, umask), places: Mutex::new(Level::Files, places) }
    }

    /// Copies the context (fork).
    #[must_use]
    pub fn duplicate(&self) -> FsContext {
        let umask = *self.umask.lock();
        let places = self.places.lock();
        let (namespace, root, cwd) = (Arc::clone(&places.namespace), places.root.clone(), places.cwd.clone());
        drop(places);
        let places = Places { namespace, root, cwd };
        FsContext { umask: Mutex::new(Level::Files, umask), places: Mutex::new(Level::Files, places) }
    }

    /// Returns the umask.
    pub fn umask(&self) -> u32 {
        *self.umask.lock()
    }

    /// Returns the root directory.
    pub fn root(&self) -> Path {
        self.places.lock().root.clone()
    }

    /// Returns the working directory.
    pub fn cwd(&self) -> Path {
        self.places.lock().cwd.clone()
    }

    /// Returns the mount namespace.
    pub fn namespace(&self) -> Arc<MountNamespace> {
        Arc::clone(&self.places.lock().namespace)
    }

    /// Changes the working directory.
    pub fn set_cwd(&self, cwd: Path) {
        let old = std::mem::replace(&mut self.places.lock().cwd, cwd);
        drop(old);
    }

    /// Changes the root directory.
    pub fn set_root(&self, root: Path) {
        let old = std::mem::replace(&mut self.places.lock().root, root);
        drop(old);
    }

    /// Moves to a copy of the mount namespace (`CLONE_NEWNS`).
    pub fn unshare_namespace(&self) {
        let (namespace, translate) = self.namespace().duplicate();
        let (root, cwd) = (translate(&self.root()), translate(&self.cwd()));
        let old = std::mem::replace(&mut *self.places.lock(), Places { namespace, root, cwd });
        drop(old);
    }

    /// Moves to another mount namespace, to its root (`setns`).
    pub fn enter_namespace(&self, namespace: &Arc<MountNamespace>) {
        let root = namespace.root();
        let places = Places { namespace: Arc::clone(namespace), root: root.clone(), cwd: root };
        let old = std::mem::replace(&mut *self.places.lock(), places);
        drop(old);
    }

    /// Replaces the root and working directory where they are `old` (`pivot_root`).
    pub fn replace_root(&self, old: &Path, new: &Path) {
        if self.root().same(old) {
            self.set_root(new.clone());
        }
        if self.cwd().same(old) {
            self.set_cwd(new.clone());
        }
    }

    /// Returns who walks with this root and these rights.
    pub fn walker(&self, cred: Arc<Cred>) -> Walker {
        Walker { root: self.root(), cred }
    }
}
