//! The rules of `epoll(7)`.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use abi::flags::Ready;
use abi::{Errno, Fd};
use sentry_sync::Notify;

use super::{Epoll, EpollEvent, EpollFlags};
use crate::eventfd::EventFd;
use crate::pipe::Pipe;
use crate::{BytesDst, BytesSrc, FileOps, IoFlags};

const IN: u32 = Ready::IN.bits();
const EDGE: u32 = EpollFlags::EDGE.bits();

fn event(events: u32, data: u64) -> EpollEvent {
    EpollEvent { events, data }
}

fn write(file: &Arc<dyn FileOps>) {
    file.write(&mut 0, IoFlags::empty(), &mut BytesSrc::new(&1_u64.to_ne_bytes())).unwrap();
}

fn read(file: &Arc<dyn FileOps>) {
    file.read(&mut 0, IoFlags::empty(), &mut BytesDst::new(&mut [0; 8])).unwrap();
}

fn counter() -> Arc<dyn FileOps> {
    EventFd::new(0, false)
}

#[test]
fn level_triggered_items_are_reported_while_they_are_ready() {
    let (set, file) = (Epoll::new(), counter());
    set.add(Fd(3), &file, event(IN, 7)).unwrap();
    assert_eq!(set.collect(8), []);
    write(&file);
    assert_eq!(set.collect(8), [event(IN, 7)]);
    assert_eq!(set.collect(8), [event(IN, 7)]);
    read(&file);
    assert_eq!(set.collect(8), []);
    assert_eq!(set.ready(), Ready::empty());
}

#[test]
fn edge_triggered_items_are_reported_once_for_each_change() {
    let (set, file) = (Epoll::new(), counter());
    write(&file);
    set.add(Fd(3), &file, event(IN | EDGE, 7)).unwrap();
    assert_eq!(set.collect(8).len(), 1);
    assert_eq!(set.collect(8).len(), 0);
    write(&file);
    assert_eq!(set.collect(8).len(), 1);
    set.modify(Fd(3), &file, event(IN | EDGE, 8)).unwrap();
    assert_eq!(set.collect(8), [event(IN, 8)]);
}

#[test]
fn one_shot_items_fire_once_until_they_are_armed_again() {
    let (set, file) = (Epoll::new(), counter());
    let once = IN | EpollFlags::ONESHOT.bits();
    set.add(Fd(3), &file, event(once, 7)).unwrap();
    write(&file);
    assert_eq!(set.collect(8).len(), 1);
    write(&file);
    assert_eq!(set.collect(8).len(), 0);
    set.modify(Fd(3), &file, event(once, 7)).unwrap();
    assert_eq!(set.collect(8).len(), 1);
}

#[test]
fn hang_ups_are_reported_unasked() {
    let set = Epoll::new();
    let (reader, writer) = Pipe::pair();
    let reader: Arc<dyn FileOps> = reader;
    set.add(Fd(3), &reader, event(0, 7)).unwrap();
    drop(writer);
    assert_eq!(set.collect(8), [event(Ready::HUP.bits(), 7)]);
}

#[test]
fn an_item_is_a_number_and_a_file() {
    let (set, file, other) = (Epoll::new(), counter(), counter());
    set.add(Fd(3), &file, event(IN, 1)).unwrap();
    assert_eq!(set.add(Fd(3), &file, event(IN, 1)), Err(Errno::EEXIST));
    set.add(Fd(4), &file, event(IN, 2)).unwrap();
    set.add(Fd(3), &other, event(IN, 3)).unwrap();
    assert_eq!(set.modify(Fd(5), &file, event(IN, 1)), Err(Errno::ENOENT));
    write(&file);
    assert_eq!(set.collect(8).len(), 2);
    set.remove(Fd(4), &file).unwrap();
    assert_eq!(set.remove(Fd(4), &file), Err(Errno::ENOENT));
    assert_eq!(set.collect(8), [event(IN, 1)]);
    drop(file);
    assert_eq!(set.collect(8), []);
}

#[test]
fn gone_files_do_not_pile_up() {
    let set = Epoll::new();
    for _ in 0..1000 {
        set.add(Fd(3), &counter(), event(IN, 1)).unwrap();
    }
    assert!(set.items.lock().map.len() < 64);
}

#[test]
fn ready_files_take_turns() {
    let set = Epoll::new();
    let files: Vec<_> = (0..3).map(|_| counter()).collect();
    for (at, file) in (0..).zip(&files) {
        set.add(Fd(at), file, event(IN, u64::from(at.unsigned_abs()))).unwrap();
        write(file);
    }
    let turns: Vec<u64> = (0..4).flat_map(|_| set.collect(1)).map(|event| event.data).collect();
    assert_eq!(turns, [0, 1, 2, 0]);
}

#[test]
fn sets_nest_without_loops_and_not_too_deep() {
    let sets: Vec<_> = (0..7).map(|_| Epoll::new()).collect();
    let as_file = |at: usize| Arc::clone(&sets[at]) as Arc<dyn FileOps>;
    assert_eq!(sets[0].add(Fd(9), &as_file(0), event(IN, 0)), Err(Errno::EINVAL));
    for (at, set) in sets.iter().enumerate().take(4) {
        set.add(Fd(9), &as_file(at + 1), event(IN, 0)).unwrap();
    }
    assert_eq!(sets[4].add(Fd(9), &as_file(5), event(IN, 0)), Err(Errno::ELOOP));
    assert_eq!(sets[3].add(Fd(9), &as_file(0), event(IN, 0)), Err(Errno::ELOOP));
    let file = counter();
    sets[4].add(Fd(3), &file, event(IN, 0)).unwrap();
    assert_eq!(sets[0].ready(), Ready::empty());
    write(&file);
    assert_eq!(sets[0].ready(), Ready::READABLE);
    assert_eq!(sets[0].collect(1).len(), 1);
    read(&file);
    assert_eq!(sets[0].collect(1).len(), 0);
}

#[test]
fn an_exclusive_item_takes_few_flags_and_no_changes() {
    let (set, file) = (Epoll::new(), counter());
    let exclusive = EpollFlags::EXCLUSIVE.bits();
    let once = EpollFlags::ONESHOT.bits();
    assert_eq!(set.add(Fd(3), &file, event(IN | exclusive | once, 0)), Err(Errno::EINVAL));
    assert_eq!(set.add(Fd(3), &file, event(Ready::PRI.bits() | exclusive, 0)), Err(Errno::EINVAL));
    set.add(Fd(3), &file, event(IN | exclusive, 0)).unwrap();
    assert_eq!(set.modify(Fd(3), &file, event(IN, 0)), Err(Errno::EINVAL));
}

#[test]
fn one_of_several_exclusive_sets_is_woken() {
    #[derive(Default)]
    struct Count(AtomicU32);
    impl Notify for Count {
        fn notify(&self, _events: u32) -> bool {
            self.0.fetch_add(1, Ordering::Relaxed);
            true
        }
    }
    let (count, file) = (Arc::new(Count::default()), counter());
    let sets: Vec<_> = (0..3).map(|_| Epoll::new()).collect();
    let mut waiting = Vec::new();
    for set in &sets {
        set.add(Fd(3), &file, event(IN | EpollFlags::EXCLUSIVE.bits(), 0)).unwrap();
        waiting.push(set.wait_queue().unwrap().register(IN, Arc::clone(&count) as Arc<dyn Notify>));
    }
    write(&file);
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
}

#[test]
fn the_event_struct_is_packed() {
    let sent = event(0x1234, 0x5678_9abc_def0);
    assert_eq!(EpollEvent::from_bytes(sent.to_bytes()), sent);
}
