//! `fadvise64`, `readahead`.

use abi::{Errno, Fd};
use sentry::Current;
use sentry_fs::FileKind;

use crate::{at, io};

/// `POSIX_FADV_NOREUSE`, the highest advice.
const ADVICE_MAX: u32 = 5;

/// Serves `fadvise64(2)`: a hint. The host's page cache decides for itself.
pub fn fadvise64(cur: &mut Current, fd: Fd, _offset: i64, len: i64, advice: u32) -> Result<(), Errno> {
    let file = io::file_of(cur, fd)?;
    if at::file_attr(&file)?.kind == FileKind::Fifo {
        return Err(Errno::ESPIPE);
    }
    if len < 0 || advice > ADVICE_MAX { Err(Errno::EINVAL) } else { Ok(()) }
}

/// Serves `readahead(2)`: a hint.
pub fn readahead(cur: &mut Current, fd: Fd, _offset: i64, _count: usize) -> Result<(), Errno> {
    let file = io::file_of(cur, fd)?;
    if !file.flags().readable() {
        return Err(Errno::EBADF);
    }
    if file.is_regular() { Ok(()) } else { Err(Errno::EINVAL) }
}
