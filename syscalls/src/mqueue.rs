//! `mq_open`, `mq_unlink`, `mq_timedsend`, `mq_timedreceive`, `mq_notify`, `mq_getsetattr`.

use abi::{Errno, Fd, UserAddr};
use sentry::Current;

/// Serves `mq_open(2)`.
pub fn mq_open(cur: &mut Current, _name: UserAddr, _oflag: u32, _mode: u32, _attr: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "mq_open")
}

/// Serves `mq_unlink(2)`.
pub fn mq_unlink(cur: &mut Current, _name: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "mq_unlink")
}

/// Serves `mq_timedsend(2)`.
pub fn mq_timedsend(
    cur: &mut Current,
    _mqdes: Fd,
    _msg_ptr: UserAddr,
    _msg_len: usize,
    _msg_prio: u32,
    _abs_timeout: UserAddr,
) -> Result<u64, Errno> {
    crate::unserved(cur, "mq_timedsend")
}

/// Serves `mq_timedreceive(2)`.
pub fn mq_timedreceive(
    cur: &mut Current,
    _mqdes: Fd,
    _msg_ptr: UserAddr,
    _msg_len: usize,
    _msg_prio: UserAddr,
    _abs_timeout: UserAddr,
) -> Result<u64, Errno> {
    crate::unserved(cur, "mq_timedreceive")
}

/// Serves `mq_notify(2)`.
pub fn mq_notify(cur: &mut Current, _mqdes: Fd, _sevp: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "mq_notify")
}

/// Serves `mq_getsetattr(2)`.
pub fn mq_getsetattr(cur: &mut Current, _mqdes: Fd, _newattr: UserAddr, _oldattr: UserAddr) -> Result<u64, Errno> {
    crate::unserved(cur, "mq_getsetattr")
}
