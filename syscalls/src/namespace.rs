//! `unshare`.

use std::sync::Arc;

use abi::Errno;
use sentry::Current;
use sentry::task::Caps;
use sentry::task::clone::CloneFlags;

/// Serves `unshare(2)`: descriptors, file-system attributes and mounts; other namespaces can't be made anew.
pub fn unshare(cur: &mut Current, flags: u32) -> Result<(), Errno> {
    let flags = CloneFlags::from_bits_retain(u64::from(flags));
    let offered = CloneFlags::FILES | CloneFlags::FS | CloneFlags::SYSVSEM | CloneFlags::NEWNS;
    let alone = CloneFlags::THREAD | CloneFlags::SIGHAND | CloneFlags::VM;
    if !(offered | alone).contains(flags) {
        return Err(Errno::EINVAL);
    }
    // Sharing of memory and handlers can't be undone; asking for it is fine where there is nothing to undo.
    if flags.intersects(alone) {
        let table = cur.kernel().tasks.read();
        let threads = table.processes.get(&cur.process().pid).map_or(1, |entry| entry.threads.len());
        if threads > 1 {
            return Err(Errno::EINVAL);
        }
    }
    if flags.contains(CloneFlags::NEWNS) && !cur.task.cred.load().has(Caps::SYS_ADMIN) {
        return Err(Errno::EPERM);
    }
    if flags.contains(CloneFlags::FILES) {
        let own = cur.task.files.load().duplicate();
        cur.task.files.store(Arc::new(own));
    }
    if flags.intersects(CloneFlags::FS | CloneFlags::NEWNS) {
        let own = cur.task.fs.load().duplicate();
        if flags.contains(CloneFlags::NEWNS) {
            own.unshare_namespace();
        }
        cur.task.fs.store(Arc::new(own));
    }
    Ok(())
}
