//! The rules of `inotify(7)`.

use std::sync::Arc;

use abi::Errno;

use super::queue::MAX_EVENTS;
use super::{InMask, Inotify, InotifyWatches};
use crate::{BytesDst, FileOps, IoFlags};

fn watched(mask: InMask) -> (Arc<Inotify>, Arc<InotifyWatches>, i32) {
    let (queue, inode) = (Inotify::new(), Arc::new(InotifyWatches::default()));
    let wd = queue.add_watch(&inode, Arc::new(()), mask.bits()).unwrap();
    (queue, inode, wd)
}

/// Reads everything as (watch, mask, cookie, name).
fn events(queue: &Inotify) -> Vec<(i32, InMask, u32, String)> {
    let mut buf = vec![0; 1 << 20];
    let got = match queue.read(&mut 0, IoFlags::empty(), &mut BytesDst::new(&mut buf)) {
        Ok(got) => got,
        Err(errno) => {
            assert_eq!(errno, Errno::EAGAIN);
            return Vec::new();
        }
    };
    let mut rest = &buf[..got];
    let mut found = Vec::new();
    while !rest.is_empty() {
        let word = |at: usize| u32::from_ne_bytes(rest[at..at + 4].try_into().unwrap());
        let len = usize::try_from(word(12)).unwrap();
        let name = String::from_utf8(rest[16..16 + len].to_vec()).unwrap();
        found.push((
            word(0).cast_signed(),
            InMask::from_bits_retain(word(4)),
            word(8),
            name.trim_end_matches('\0').into(),
        ));
        rest = &rest[16 + len..];
    }
    found
}

#[test]
fn events_are_reported_to_those_who_asked() {
    let (queue, inode, wd) = watched(InMask::CREATE | InMask::MODIFY);
    inode.notify(InMask::CREATE | InMask::ISDIR, 0, Some(b"d"), false);
    inode.notify(InMask::DELETE, 0, Some(b"d"), false);
    inode.notify(InMask::MODIFY, 0, None, false);
    inode.notify(InMask::MODIFY, 0, None, false);
    let expected = [(wd, InMask::CREATE | InMask::ISDIR, 0, "d".into()), (wd, InMask::MODIFY, 0, String::new())];
    assert_eq!(events(&queue), expected);
}

#[test]
fn names_are_padded_and_short_buffers_refused() {
    let (queue, inode, _) = watched(InMask::CREATE);
    inode.notify(InMask::CREATE, 0, Some(b"0123456789abcdef"), false);
    let mut buf = [0; 100];
    let mut read = |len: usize| queue.read(&mut 0, IoFlags::empty(), &mut BytesDst::new(&mut buf[..len]));
    assert_eq!(read(47), Err(Errno::EINVAL));
    assert_eq!(read(48), Ok(48));
    assert_eq!(read(48), Err(Errno::EAGAIN));
}

#[test]
fn a_watch_is_changed_added_to_and_ended() {
    let (queue, inode, wd) = watched(InMask::CREATE);
    let add = |mask: InMask| queue.add_watch(&inode, Arc::new(()), mask.bits());
    assert_eq!(add(InMask::DELETE | InMask::MASK_CREATE), Err(Errno::EEXIST));
    assert_eq!(add(InMask::DELETE | InMask::MASK_ADD), Ok(wd));
    assert_eq!(add(InMask::MASK_ADD | InMask::MASK_CREATE), Err(Errno::EINVAL));
    assert_eq!(add(InMask::empty()), Err(Errno::EINVAL));
    inode.notify(InMask::CREATE, 0, Some(b"a"), false);
    inode.notify(InMask::DELETE, 0, Some(b"a"), false);
    assert_eq!(events(&queue).len(), 2);
    queue.remove_watch(wd).unwrap();
    assert_eq!(queue.remove_watch(wd), Err(Errno::EINVAL));
    assert_eq!(events(&queue), [(wd, InMask::IGNORED, 0, String::new())]);
    assert!(inode.is_empty());
}

#[test]
fn one_shot_watches_and_deleted_inodes_end() {
    let (queue, inode, wd) = watched(InMask::OPEN | InMask::ONESHOT);
    inode.notify(InMask::OPEN, 0, None, false);
    inode.notify(InMask::OPEN, 0, None, false);
    assert_eq!(events(&queue).iter().map(|event| event.1).collect::<Vec<_>>(), [InMask::OPEN, InMask::IGNORED]);
    let again = queue.add_watch(&inode, Arc::new(()), InMask::ALL_EVENTS.bits()).unwrap();
    assert_ne!(again, wd);
    inode.deleted();
    let masks: Vec<InMask> = events(&queue).iter().map(|event| event.1).collect();
    assert_eq!(masks, [InMask::DELETE_SELF, InMask::IGNORED]);
}

#[test]
fn an_overflow_is_reported_once() {
    let (queue, inode, _) = watched(InMask::ALL_EVENTS);
    for at in 0..=MAX_EVENTS + 5 {
        inode.notify(if at % 2 == 0 { InMask::OPEN } else { InMask::ACCESS }, 0, None, false);
    }
    let all = events(&queue);
    assert_eq!(all.len(), MAX_EVENTS + 1);
    assert_eq!(all.last().map(|event| (event.0, event.1)), Some((-1, InMask::Q_OVERFLOW)));
}

#[test]
fn a_closed_queue_leaves_no_watches() {
    let (queue, inode, _) = watched(InMask::ALL_EVENTS);
    drop(queue);
    assert!(inode.is_empty());
}
