//! The file calls on a guest thread without a platform, in a tmpfs.

use abi::{Errno, Fd, Restart, SysError, UserAddr, UserRef};
use sentry::{Current, SysResult};

use crate::testing::Guest;
use crate::{chmod, close, cwd, dup, epoll, fcntl, getdents, inotify, link, mknod, open, pipe, poll};
use crate::{read_write, rename, splice, stat, truncate, unlink};

const CREAT_RDWR: u32 = 0o102;
const NONBLOCK: u32 = 0o4000;
const RW: u32 = 0o644;

fn ok(result: Option<SysResult>) -> u64 {
    result.expect("the call does not wait").expect("the call succeeds")
}

fn err(result: Option<SysResult>) -> Errno {
    match result.expect("the call does not wait") {
        Err(SysError::Errno(errno)) => errno,
        other => panic!("{other:?}"),
    }
}

fn path(guest: &mut Guest, text: &str) -> UserAddr {
    let mut bytes = text.as_bytes().to_vec();
    bytes.push(0);
    guest.put(&bytes)
}

fn create(guest: &mut Guest, name: &str) -> Fd {
    let name = path(guest, name);
    let fd = ok(guest.call(|cur| open::open(cur, name, CREAT_RDWR, RW)));
    Fd(i32::try_from(fd).unwrap())
}

fn write(guest: &mut Guest, fd: Fd, bytes: &[u8]) -> Option<SysResult> {
    let at = guest.put(bytes);
    let len = bytes.len();
    guest.call(|cur| read_write::write(cur, fd, at, len))
}

fn read(guest: &mut Guest, fd: Fd, len: usize) -> Result<Vec<u8>, Option<SysResult>> {
    let at = guest.put(&vec![0; len]);
    match guest.call(|cur| read_write::read(cur, fd, at, len)) {
        Some(Ok(got)) => Ok(guest.get(at, usize::try_from(got).unwrap())),
        other => Err(other),
    }
}

fn make_pipe(guest: &mut Guest, flags: u32) -> (Fd, Fd) {
    let at = guest.put(&[0; 8]);
    ok(guest.call(|cur| pipe::pipe2(cur, UserRef::new(at), flags)));
    let raw = guest.get(at, 8);
    let number = |at: usize| Fd(i32::from_ne_bytes(raw[at..at + 4].try_into().unwrap()));
    (number(0), number(4))
}

fn with_path<R>(guest: &mut Guest, name: &str, call: impl FnOnce(&mut Current, UserAddr) -> R) -> R {
    let at = path(guest, name);
    call(&mut guest.cur, at)
}

#[test]
fn a_regular_file_is_read_where_it_was_written() {
    let mut guest = Guest::new();
    let fd = create(&mut guest, "/f");
    assert_eq!(ok(write(&mut guest, fd, b"hello world")), 11);
    assert_eq!(ok(guest.call(|cur| read_write::lseek(cur, fd, -5, 2))), 6);
    assert_eq!(read(&mut guest, fd, 99).unwrap(), b"world");
    assert_eq!(read(&mut guest, fd, 99).unwrap(), b"");
    ok(guest.call(|cur| truncate::ftruncate(cur, fd, 4)));
    assert_eq!(err(guest.call(|cur| read_write::lseek(cur, fd, -1, 0))), Errno::EINVAL);
    assert_eq!(err(guest.call(|cur| read_write::pread64(cur, fd, UserAddr::NULL, 4, -1))), Errno::EINVAL);
    let far = guest.call(|cur| read_write::read(cur, fd, UserAddr::NULL, usize::MAX));
    assert_eq!(err(far), Errno::EFAULT, "the length is checked before it is cut");
}

#[test]
fn a_full_table_makes_no_file() {
    let mut guest = Guest::new();
    for _ in 0..64 {
        create(&mut guest, "/f");
    }
    let name = path(&mut guest, "/new");
    assert_eq!(err(guest.call(|cur| open::open(cur, name, CREAT_RDWR, RW))), Errno::EMFILE);
    let buf = guest.put(&[0; 144]);
    assert_eq!(err(guest.call(|cur| stat::stat(cur, name, UserRef::new(buf)))), Errno::ENOENT);
}

#[test]
fn an_empty_pipe_waits_unless_told_not_to() {
    let mut guest = Guest::new();
    let (reader, writer) = make_pipe(&mut guest, 0);
    assert!(matches!(read(&mut guest, reader, 4), Err(None)), "waits");
    assert_eq!(ok(write(&mut guest, writer, b"ab")), 2);
    assert_eq!(read(&mut guest, reader, 4).unwrap(), b"ab");
    ok(guest.call(|cur| fcntl::fcntl(cur, reader, 4, u64::from(NONBLOCK))));
    assert_eq!(err(read(&mut guest, reader, 4).unwrap_err()), Errno::EAGAIN);
    ok(guest.call(|cur| close::close(cur, writer)));
    assert_eq!(read(&mut guest, reader, 4).unwrap(), b"");
}

#[test]
fn a_broken_pipe_raises_its_signal() {
    let mut guest = Guest::new();
    let (reader, writer) = make_pipe(&mut guest, 0);
    ok(guest.call(|cur| close::close(cur, reader)));
    assert_eq!(err(write(&mut guest, writer, b"x")), Errno::EPIPE);
    assert!(guest.cur.task.signals.pending().contains(abi::signal::Signal::SIGPIPE));
}

#[test]
fn poll_reports_what_is_ready_and_what_is_not_open() {
    let mut guest = Guest::new();
    let (_reader, writer) = make_pipe(&mut guest, 0);
    let mut raw = Vec::new();
    for (fd, events) in [(writer.0, 4u16), (50, 1), (-1, 1)] {
        raw.extend_from_slice(&fd.to_ne_bytes());
        raw.extend_from_slice(&events.to_ne_bytes());
        raw.extend_from_slice(&[0; 2]);
    }
    let at = guest.put(&raw);
    assert_eq!(ok(guest.call(|cur| poll::poll(cur, UserRef::new(at), 3, -1))), 2);
    let back = guest.get(at, 24);
    assert_eq!((back[6], back[14], back[22]), (4, 0x20, 0));
}

#[test]
fn select_looks_at_no_descriptor_beyond_the_table() {
    let mut guest = Guest::new();
    let null = UserAddr::NULL;
    let mut sets = [0u8; 16];
    sets[9] = 0x20;
    let (at, zero) = (guest.put(&sets), guest.put(&[0; 16]));
    let none = guest.call(|cur| poll::select(cur, 78, at, null, null, UserRef::new(zero)));
    assert_eq!(ok(none), 0);
    sets = [0; 16];
    sets[6] = 1;
    let at = guest.put(&sets);
    assert_eq!(err(guest.call(|cur| poll::select(cur, 64, at, null, null, UserRef::new(zero)))), Errno::EBADF);
}

#[test]
fn epoll_hands_out_data_of_ready_files() {
    let mut guest = Guest::new();
    let (reader, writer) = make_pipe(&mut guest, 0);
    let set = Fd(i32::try_from(ok(guest.call(|cur| epoll::epoll_create1(cur, 0)))).unwrap());
    let mut event = 1u32.to_ne_bytes().to_vec();
    event.extend_from_slice(&77u64.to_ne_bytes());
    let (event, out) = (guest.put(&event), guest.put(&[0; 12]));
    ok(guest.call(|cur| epoll::epoll_ctl(cur, set, 1, reader, UserRef::new(event))));
    assert_eq!(ok(guest.call(|cur| epoll::epoll_wait(cur, set, UserRef::new(out), 1, 0))), 0);
    ok(write(&mut guest, writer, b"x"));
    assert_eq!(ok(guest.call(|cur| epoll::epoll_wait(cur, set, UserRef::new(out), 1, -1))), 1);
    assert_eq!(guest.get(out, 12)[4], 77);
    let file = create(&mut guest, "/f");
    let refused = guest.call(|cur| epoll::epoll_ctl(cur, set, 1, file, UserRef::new(event)));
    assert_eq!(err(refused), Errno::EPERM);
}

#[test]
fn names_are_made_listed_moved_and_removed() {
    let mut guest = Guest::new();
    assert_eq!(with_path(&mut guest, "/d", |cur, at| mknod::mkdir(cur, at, 0o777)), Ok(()));
    assert_eq!(with_path(&mut guest, "/d", |cur, at| mknod::mkdir(cur, at, 0o777)), Err(Errno::EEXIST));
    assert_eq!(with_path(&mut guest, "/d", cwd::chdir), Ok(()));
    create(&mut guest, "a");
    let (from, to) = (path(&mut guest, "a"), path(&mut guest, "/d/b"));
    assert_eq!(rename::rename(&mut guest.cur, from, to), Ok(()));
    assert_eq!(link::symlink(&mut guest.cur, to, from), Ok(()));
    let dot = path(&mut guest, ".");
    let dir = Fd(i32::try_from(ok(guest.call(|cur| open::open(cur, dot, 0, 0)))).unwrap());
    let buf = guest.put(&[0; 512]);
    assert_eq!(err(guest.call(|cur| getdents::getdents64(cur, dir, buf, 8))), Errno::EINVAL);
    let len = usize::try_from(ok(guest.call(|cur| getdents::getdents64(cur, dir, buf, 512)))).unwrap();
    let raw = guest.get(buf, len);
    let names: Vec<u8> = raw.chunks(24).map(|entry| entry[19]).collect();
    assert_eq!(names, b"..ba", "dot, dot-dot and the two entries, 24 bytes each");
    assert_eq!(ok(guest.call(|cur| getdents::getdents64(cur, dir, buf, 512))), 0);
    assert_eq!(unlink::rmdir(&mut guest.cur, to), Err(Errno::ENOTDIR));
    assert_eq!(unlink::unlink(&mut guest.cur, from), Ok(()));
    assert_eq!(unlink::unlink(&mut guest.cur, to), Ok(()));
    assert_eq!(with_path(&mut guest, "/d", unlink::rmdir), Ok(()));
    let cwd = guest.put(&[0; 64]);
    assert_eq!(err(guest.call(|cur| cwd::getcwd(cur, cwd, 64))), Errno::ENOENT);
}

#[test]
fn a_user_makes_no_devices_and_gives_nothing_away() {
    let mut guest = Guest::new();
    assert_eq!(with_path(&mut guest, "/c", |cur, at| mknod::mknod(cur, at, 0o020_600, 0x103)), Err(Errno::EPERM));
    create(&mut guest, "/f");
    let give = |cur: &mut Current, at| chmod::chown(cur, at, abi::Uid(0), abi::Gid(u32::MAX));
    assert_eq!(with_path(&mut guest, "/f", give), Err(Errno::EPERM));
    assert_eq!(with_path(&mut guest, "/", |cur, at| chmod::chmod(cur, at, 0o777)), Err(Errno::EPERM));
}

#[test]
fn inotify_sees_names_come_and_go() {
    let mut guest = Guest::new();
    let fd = Fd(i32::try_from(ok(guest.call(|cur| inotify::inotify_init1(cur, NONBLOCK)))).unwrap());
    let root = path(&mut guest, "/");
    assert_eq!(ok(guest.call(|cur| inotify::inotify_add_watch(cur, fd, root, 0x300))), 1);
    create(&mut guest, "/f");
    assert_eq!(with_path(&mut guest, "/f", unlink::unlink), Ok(()));
    let raw = read(&mut guest, fd, 256).unwrap();
    let masks: Vec<u8> = raw.chunks(32).map(|event| event[5]).collect();
    assert_eq!(masks, [1, 2], "IN_CREATE and IN_DELETE, 32 bytes each");
}

#[test]
fn copy_file_range_moves_both_offsets() {
    let mut guest = Guest::new();
    let (a, b) = (create(&mut guest, "/a"), create(&mut guest, "/b"));
    ok(write(&mut guest, a, b"0123456789"));
    let (from, to) = (guest.put(&2i64.to_ne_bytes()), guest.put(&0i64.to_ne_bytes()));
    let copied = guest.call(|cur| splice::copy_file_range(cur, a, UserRef::new(from), b, UserRef::new(to), 5, 0));
    assert_eq!(ok(copied), 5);
    assert_eq!((guest.get(from, 1)[0], guest.get(to, 1)[0]), (7, 5));
    assert_eq!(read(&mut guest, b, 99).unwrap(), b"23456");
    let same = guest.call(|cur| splice::copy_file_range(cur, a, UserRef::new(to), a, UserRef::new(from), 5, 0));
    assert_eq!(err(same), Errno::EINVAL, "overlapping ranges of one file");
}

#[test]
fn a_lock_of_another_description_is_waited_for() {
    let mut guest = Guest::new();
    let (a, b) = (create(&mut guest, "/f"), create(&mut guest, "/f"));
    ok(guest.call(|cur| fcntl::flock(cur, a, 2)));
    assert_eq!(err(guest.call(|cur| fcntl::flock(cur, b, 2 | 4))), Errno::EAGAIN);
    assert!(guest.call(|cur| fcntl::flock(cur, b, 2)).is_none(), "waits");
    let dup = Fd(i32::try_from(ok(guest.call(|cur| dup::dup(cur, a)))).unwrap());
    ok(guest.call(|cur| close::close(cur, a)));
    assert_eq!(err(guest.call(|cur| fcntl::flock(cur, b, 1 | 4))), Errno::EAGAIN, "the duplicate keeps it");
    ok(guest.call(|cur| close::close(cur, dup)));
    ok(guest.call(|cur| fcntl::flock(cur, b, 1)));
}

#[test]
fn an_interrupted_read_starts_again() {
    let mut guest = Guest::new();
    let (reader, _writer) = make_pipe(&mut guest, 0);
    crate::io::raise(&guest.cur.task, abi::signal::Signal::SIGUSR1);
    let result = read(&mut guest, reader, 4).unwrap_err();
    assert_eq!(result, Some(Err(SysError::Restart(Restart::Sys))));
}
