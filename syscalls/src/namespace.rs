//! `unshare`.

use std::sync::Arc;

use abi::Errno;
use sentry::Current;
use sentry::task::clone::CloneFlags;

/// Serves `unshare(2)`: descriptors and file-system attributes; namespaces can't be made anew.
pub fn unshare(cur: &mut Current, flags: u32) -> Result<(), Errno> {
    let flags = CloneFlags::from_bits_retain(u64::from(flags));
    let offered = CloneFlags::FILES | CloneFlags::FS | CloneFlags::SYSVSEM;
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
    if flags.contains(CloneFlags::FILES) {
        let own = cur.task.files.load().duplicate();
        cur.task.files.store(Arc::new(own));
    }
    if flags.contains(CloneFlags::FS) {
        let own = cur.task.fs.load().duplicate();
        cur.task.fs.store(Arc::new(own));
    }
    Ok(())
}
