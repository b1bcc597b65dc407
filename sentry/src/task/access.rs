//! Who may look into or take hold of another process (`man 2 ptrace`, "Ptrace access mode checking").

use std::sync::Arc;

use abi::Errno;

use super::{Caps, Cred};
use crate::Task;

/// Whose ids and capabilities the check is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AccessMode {
    /// File-system ids and effective capabilities: `/proc` and calls that only look.
    FsCreds,
    /// Real ids and permitted capabilities: calls that take something or attach.
    RealCreds,
}

/// `SUID_DUMP_USER`.
const DUMPABLE: u32 = 1;

/// Checks that `caller` may look into `target`: `EPERM`.
pub fn check_access(caller: &Task, target: &Task, mode: AccessMode) -> Result<(), Errno> {
    if Arc::ptr_eq(&caller.process, &target.process) {
        return Ok(());
    }
    let dumpable = target.process.attributes.lock().dumpable == DUMPABLE;
    if allowed(&caller.cred.load(), &target.cred.load(), dumpable, mode) { Ok(()) } else { Err(Errno::EPERM) }
}

fn allowed(own: &Cred, other: &Cred, dumpable: bool, mode: AccessMode) -> bool {
    if own.has(Caps::SYS_PTRACE) {
        return true;
    }
    let (uid, gid, caps) = match mode {
        AccessMode::FsCreds => (own.fsuid, own.fsgid, own.effective),
        AccessMode::RealCreds => (own.ruid, own.rgid, own.permitted),
    };
    let same_user = [other.euid, other.suid, other.ruid].iter().all(|id| *id == uid);
    let same_group = [other.egid, other.sgid, other.rgid].iter().all(|id| *id == gid);
    same_user && same_group && dumpable && caps.contains(other.permitted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(uid: u32, caps: Caps) -> Cred {
        Cred::new(uid, uid, Vec::new(), caps)
    }

    #[test]
    fn all_ids_must_agree() {
        let own = user(1000, Caps::empty());
        assert!(allowed(&own, &user(1000, Caps::empty()), true, AccessMode::FsCreds));
        assert!(!allowed(&own, &user(1001, Caps::empty()), true, AccessMode::FsCreds));
        let setuid = Cred { suid: 0, ..user(1000, Caps::empty()) };
        assert!(!allowed(&own, &setuid, true, AccessMode::RealCreds));
    }

    #[test]
    fn more_capabilities_and_undumpable_memory_protect() {
        let own = user(1000, Caps::empty());
        assert!(!allowed(&own, &user(1000, Caps::CHOWN), true, AccessMode::RealCreds));
        assert!(!allowed(&own, &user(1000, Caps::empty()), false, AccessMode::RealCreds));
        let tracer = user(1000, Caps::SYS_PTRACE);
        assert!(allowed(&tracer, &user(0, Caps::all()), false, AccessMode::RealCreds));
    }
}
