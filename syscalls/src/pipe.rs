//! `pipe`, `pipe2`.

use abi::flags::OpenFlags;
use abi::{Errno, UserRef};
use sentry::Current;
use sentry::vfs::File;
use sentry_fs::pipe::Pipe;

use crate::at;

/// Serves `pipe(2)`.
pub fn pipe(cur: &mut Current, pipefd: UserRef<[i32; 2]>) -> Result<(), Errno> {
    pipe2(cur, pipefd, 0)
}

/// Serves `pipe2(2)`.
pub fn pipe2(cur: &mut Current, pipefd: UserRef<[i32; 2]>, flags: u32) -> Result<(), Errno> {
    let flags = OpenFlags::from_bits_retain(flags);
    // O_NOTIFICATION_PIPE (O_EXCL) is of a kernel with watch queues.
    if !(OpenFlags::CLOEXEC | OpenFlags::NONBLOCK | OpenFlags::DIRECT).contains(flags) {
        return Err(if flags.contains(OpenFlags::EXCL) { Errno::ENOPKG } else { Errno::EINVAL });
    }
    let (reader, writer) = Pipe::pair();
    let files = cur.task.files.load_full();
    let read = at::install(cur, File::new(reader, None, flags), flags)?;
    let installed = at::install(cur, File::new(writer, None, flags | OpenFlags::WRONLY), flags);
    let told = installed
        .and_then(|write| cur.mem.write(pipefd, &[read.0, write.0]).inspect_err(|_| drop(files.remove(write))));
    if told.is_err() {
        drop(files.remove(read));
    }
    told
}
