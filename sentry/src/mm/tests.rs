//! The books against a naive host that keeps one entry per page, and Linux's answers to single calls.

use std::any::Any;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use abi::flags::{MapFlags, Prot};
use abi::time::Timespec;
use abi::{Errno, PAGE_SIZE};
use proptest::prelude::*;
use sentry_fs::{DeviceId, MapSource};
use sentry_platform::MemOp;

use super::*;

const WINDOW: u64 = 0x1000_0000;
const RW: Prot = Prot::READ.union(Prot::WRITE);

pub(super) fn books() -> Books {
    Books::new(Layout::new(0x1_0000..TASK_SIZE, 8 << 20, None))
}

/// A file of which nothing is ever read.
struct TestFile(u64);

impl MappedFile for TestFile {
    fn description(&self) -> u64 {
        self.0
    }

    fn device(&self) -> DeviceId {
        DeviceId::new(8, 1)
    }

    fn inode(&self) -> u64 {
        self.0
    }

    fn path(&self) -> Vec<u8> {
        format!("/file{}", self.0).into_bytes()
    }

    /// Of those from 100 on.
    fn lasting(&self) -> Option<u64> {
        (self.0 >= 100).then_some(0x3005)
    }

    /// Of odd ones.
    fn version(&self) -> Option<[Timespec; 2]> {
        (self.0 % 2 == 1).then(Default::default)
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync) {
        self
    }
}

pub(super) fn file(id: u64, readable: bool, writable: bool) -> FileMap {
    let source = || std::fs::File::open("/dev/null").map(|file| Arc::new(file.into())).map_err(Errno::from);
    FileMap {
        file: Arc::new(TestFile(id)),
        readable,
        writable,
        noexec: false,
        append_only: false,
        write_sealed: false,
        source: Box::new(move |_| Ok(MapSource::Host { file: source()?, offset: 0 })),
    }
}

pub(super) fn request(addr: u64, len: u64, prot: Prot, flags: MapFlags) -> MapRequest {
    MapRequest { addr, flags, ..MapRequest::anonymous(len, prot) }
}

fn fixed(addr: u64, len: u64, prot: Prot) -> MapRequest {
    request(addr, len, prot, MapFlags::PRIVATE | MapFlags::ANONYMOUS | MapFlags::FIXED)
}

/// What the naive host knows of one page.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Page {
    prot: Prot,
    shared: bool,
    /// Where its content was first mapped, which moves with it.
    content: Option<u64>,
}

#[derive(Default)]
struct Host {
    pages: BTreeMap<u64, Page>,
}

impl Host {
    fn clear(&mut self, range: Range<u64>) {
        self.pages.retain(|addr, _| !range.contains(addr));
    }

    fn map(&mut self, addr: u64, len: u64, page: impl Fn(u64) -> Page) {
        for at in (addr..addr + len).step_by(4096) {
            self.pages.insert(at, page(at - addr));
        }
    }

    /// Performs an operation, or refuses it as Linux does.
    fn run(&mut self, op: &MemOp) -> Result<(), Errno> {
        match op {
            MemOp::MapAnonymous { addr, len, prot, flags } => {
                let shared = flags & 1 != 0;
                self.map(*addr, *len, |_| Page { prot: *prot, shared, content: None });
            }
            MemOp::MapFile { addr, len, prot, flags, offset, .. } => {
                let shared = flags & 1 != 0;
                self.map(*addr, *len, |at| Page { prot: *prot, shared, content: Some(offset + at) });
            }
            MemOp::Unmap { addr, len } => self.clear(*addr..addr + len),
            MemOp::Protect { addr, len, prot } => {
                for (_, page) in self.pages.range_mut(*addr..addr + len) {
                    page.prot = *prot;
                }
            }
            MemOp::Remap { old, old_len, new, new_len, flags } => {
                let old_pages: Vec<(u64, Page)> =
                    self.pages.range(*old..old + (*old_len).max(1)).map(|(at, page)| (*at, page.clone())).collect();
                // With a length of 0 the target may have covered the source, and then there is nothing left to double.
                let (_, first) = old_pages.first().ok_or(Errno::EFAULT)?.clone();
                let keep = flags & 4 != 0 || *old_len == 0;
                if !keep {
                    self.clear(*old..old + old_len);
                }
                self.map(*new, *new_len, |at| Page {
                    content: first.content.map(|content| content + at),
                    ..first.clone()
                });
            }
            _ => {}
        }
        Ok(())
    }
}

fn run(books: &mut Books, host: &mut Host, plan: Result<Plan, Errno>) -> Result<u64, Errno> {
    let plan = plan?;
    for step in plan.steps {
        if let Some(op) = &step.op {
            host.run(op)?;
        }
        if let Some(change) = step.change {
            books.apply(change);
        }
    }
    plan.result
}

fn check(books: &Books, host: &Host) {
    let mut pages = BTreeMap::new();
    let mut totals = Totals::default();
    let mut last: Option<&Vma> = None;
    for vma in books.tree().iter() {
        assert!(vma.start < vma.end && vma.start % PAGE_SIZE == 0 && vma.end % PAGE_SIZE == 0);
        if let Some(last) = last {
            assert!(last.end <= vma.start, "{last:?} overlaps {vma:?}");
            assert!(!last.joins(vma), "{last:?} and {vma:?} are not joined");
        }
        last = Some(vma);
        totals.total += vma.len();
        totals.data += if vma.is_data() { vma.len() } else { 0 };
        for at in (vma.start..vma.end).step_by(4096) {
            let content = matches!(vma.backing, Backing::File { .. }).then(|| vma.backing.offset() + (at - vma.start));
            pages.insert(at, Page { prot: vma.prot, shared: vma.shared(), content });
        }
    }
    assert_eq!(pages, host.pages);
    assert_eq!((totals.total, totals.data), (books.totals().total, books.totals().data));
}

#[derive(Clone, Debug)]
enum Call {
    Map { page: u64, pages: u64, prot: u32, shared: bool, file: Option<u64>, fixed: bool },
    Unmap { page: u64, pages: u64 },
    Protect { page: u64, pages: u64, prot: u32 },
    Remap { page: u64, old: u64, new: u64, flags: u32, to: u64 },
    Advise { page: u64, pages: u64, advice: i32 },
    Lock { page: u64, pages: u64, lock: bool },
    Break { bytes: u64 },
}

fn call() -> impl Strategy<Value = Call> {
    let page = 0..48u64;
    let pages = 1..12u64;
    prop_oneof![
        4 => (page.clone(), pages.clone(), 0..8u32, any::<bool>(), proptest::option::of(0..3u64), prop::bool::weighted(0.8))
            .prop_map(|(page, pages, prot, shared, file, fixed)| Call::Map { page, pages, prot, shared, file, fixed }),
        2 => (page.clone(), pages.clone()).prop_map(|(page, pages)| Call::Unmap { page, pages }),
        2 => (page.clone(), pages.clone(), 0..8u32)
            .prop_map(|(page, pages, prot)| Call::Protect { page, pages, prot }),
        3 => (page.clone(), 0..8u64, 1..12u64, 0..8u32, 0..64u64)
            .prop_map(|(page, old, new, flags, to)| Call::Remap { page, old, new, flags, to }),
        1 => (page.clone(), pages.clone(), prop::sample::select(vec![0, 1, 4, 10, 11, 16, 18]))
            .prop_map(|(page, pages, advice)| Call::Advise { page, pages, advice }),
        1 => (page, pages, any::<bool>()).prop_map(|(page, pages, lock)| Call::Lock { page, pages, lock }),
        1 => (0..40_000u64).prop_map(|bytes| Call::Break { bytes }),
    ]
}

fn perform(books: &mut Books, host: &mut Host, call: &Call) -> Result<u64, Errno> {
    let limits = Limits::default();
    let at = |page: u64| WINDOW + page * PAGE_SIZE;
    let plan = match *call {
        Call::Map { page, pages, prot, shared, file: id, fixed } => {
            let mut flags = if shared { MapFlags::SHARED } else { MapFlags::PRIVATE };
            flags.set(MapFlags::ANONYMOUS, id.is_none());
            flags.set(MapFlags::FIXED, fixed);
            let mut request = request(at(page), pages * PAGE_SIZE, Prot::from_bits_retain(prot), flags);
            request.file = id.map(|id| file(id, true, true));
            request.offset = if id.is_some() { page * PAGE_SIZE } else { 0 };
            books.plan_map(request, &limits)
        }
        Call::Unmap { page, pages } => books.plan_unmap(at(page), pages * PAGE_SIZE),
        Call::Protect { page, pages, prot } => {
            books.plan_protect(at(page), pages * PAGE_SIZE, Prot::from_bits_retain(prot), -1, &limits)
        }
        Call::Remap { page, old, new, flags, to } => {
            books.plan_remap(at(page), old * PAGE_SIZE, new * PAGE_SIZE, flags, at(to), &limits)
        }
        Call::Advise { page, pages, advice } => books.plan_advise(at(page), pages * PAGE_SIZE, advice),
        Call::Lock { page, pages, lock: true } => books.plan_lock(at(page), pages * PAGE_SIZE, false, &limits),
        Call::Lock { page, pages, lock: false } => books.plan_unlock(at(page), pages * PAGE_SIZE),
        Call::Break { bytes } => Ok(books.plan_break(0x2000_0000 + bytes, &limits)),
    };
    run(books, host, plan)
}

proptest! {
    #[test]
    fn books_agree_with_a_naive_host(calls in proptest::collection::vec(call(), 1..40)) {
        let (mut books, mut host) = (books(), Host::default());
        books.set_heap(0x2000_0000);
        for call in &calls {
            // Whether it succeeds is another test's question.
            let _ = perform(&mut books, &mut host, call);
            check(&books, &host);
        }
    }

    #[test]
    fn free_places_are_free(lens in proptest::collection::vec((1..6u64, any::<prop::sample::Index>()), 1..60)) {
        let (mut books, mut host) = (books(), Host::default());
        let mut placed: Vec<(u64, u64)> = Vec::new();
        for (pages, which) in lens {
            if pages == 5 && !placed.is_empty() {
                let (addr, len) = placed.swap_remove(which.index(placed.len()));
                let plan = books.plan_unmap(addr, len);
                run(&mut books, &mut host, plan).unwrap();
                continue;
            }
            let len = pages * PAGE_SIZE;
            // Different protections, so that nothing is joined.
            let prot = Prot::from_bits_retain((placed.len() % 2) as u32);
            let plan = books.plan_map(MapRequest::anonymous(len, prot), &Limits::default());
            let addr = plan.as_ref().unwrap().result.unwrap();
            prop_assert!(books.tree().overlapping(addr..addr + len).next().is_none());
            // Top-down, first fit: nothing fits above.
            let above = books.layout().mmap_base;
            let fits = (addr + PAGE_SIZE..=above - len).step_by(4096)
                .any(|at| books.tree().overlapping(at..at + len).next().is_none());
            prop_assert!(!fits);
            run(&mut books, &mut host, plan).unwrap();
            placed.push((addr, len));
        }
        check(&books, &host);
    }
}

#[test]
fn mmap_checks_in_the_order_of_linux() {
    let mut books = books();
    let limits = Limits::default();
    let anon = MapFlags::PRIVATE | MapFlags::ANONYMOUS;
    let mut errno = |request| books.plan_map(request, &limits).err();
    assert_eq!(errno(request(0, 0, RW, anon)), Some(Errno::EINVAL));
    assert_eq!(errno(request(0, u64::MAX, RW, anon)), Some(Errno::ENOMEM));
    assert_eq!(errno(request(0, TASK_SIZE, RW, anon)), Some(Errno::ENOMEM));
    assert_eq!(errno(request(0, 4096, RW, MapFlags::ANONYMOUS)), Some(Errno::EINVAL));
    assert_eq!(errno(request(0, 4096, RW, MapFlags::ANONYMOUS | MapFlags::SHARED_VALIDATE)), Some(Errno::EINVAL));
    assert_eq!(errno(request(123, 4096, RW, anon | MapFlags::FIXED)), Some(Errno::EINVAL));
    assert_eq!(errno(request(4096, 4096, RW, anon | MapFlags::FIXED)), Some(Errno::EPERM));
    assert_eq!(errno(request(!4095, 4096, RW, anon | MapFlags::FIXED)), Some(Errno::ENOMEM));
    let with = |prot, flags, readable, writable| MapRequest {
        file: Some(file(1, readable, writable)),
        ..request(0, 4096, prot, flags)
    };
    assert_eq!(errno(with(RW, MapFlags::SHARED, true, false)), Some(Errno::EACCES));
    assert_eq!(errno(with(Prot::READ, MapFlags::PRIVATE, false, true)), Some(Errno::EACCES));
    assert_eq!(errno(with(RW, MapFlags::PRIVATE, true, false)), None);
    assert_eq!(errno(with(RW, MapFlags::SHARED_VALIDATE | MapFlags::SYNC, true, true)), Some(Errno::EOPNOTSUPP));
    assert_eq!(errno(with(RW, MapFlags::SHARED | MapFlags::SYNC, true, true)), None);
    let mut far = with(Prot::READ, MapFlags::PRIVATE, true, true);
    far.offset = !4095;
    far.len = 8192;
    assert_eq!(errno(far), Some(Errno::EOVERFLOW));
}

#[test]
fn fixed_noreplace_refuses_what_is_mapped() {
    let (mut books, mut host) = (books(), Host::default());
    let limits = Limits::default();
    let plan = books.plan_map(fixed(WINDOW, 8192, RW), &limits);
    run(&mut books, &mut host, plan).unwrap();
    let flags = MapFlags::PRIVATE | MapFlags::ANONYMOUS | MapFlags::FIXED_NOREPLACE;
    assert_eq!(books.plan_map(request(WINDOW + 4096, 8192, RW, flags), &limits).err(), Some(Errno::EEXIST));
    assert!(books.plan_map(request(WINDOW + 8192, 4096, RW, flags), &limits).is_ok());
}

#[test]
fn a_read_only_shared_mapping_stays_read_only() {
    let (mut books, mut host) = (books(), Host::default());
    let limits = Limits::default();
    let mut shared = request(WINDOW, 8192, Prot::READ, MapFlags::SHARED | MapFlags::FIXED);
    shared.file = Some(file(1, true, false));
    let plan = books.plan_map(shared, &limits);
    run(&mut books, &mut host, plan).unwrap();
    let plan = books.plan_protect(WINDOW, 4096, RW, -1, &limits);
    assert_eq!(run(&mut books, &mut host, plan), Err(Errno::EACCES));
    check(&books, &host);
}

#[test]
fn mprotect_changes_what_comes_before_a_gap() {
    let (mut books, mut host) = (books(), Host::default());
    let limits = Limits::default();
    let plan = books.plan_map(fixed(WINDOW, 8192, RW), &limits);
    run(&mut books, &mut host, plan).unwrap();
    let plan = books.plan_protect(WINDOW + 4096, 3 * 4096, Prot::READ, -1, &limits);
    assert_eq!(run(&mut books, &mut host, plan), Err(Errno::ENOMEM));
    assert_eq!(books.tree().get(WINDOW).unwrap().prot, RW);
    assert_eq!(books.tree().get(WINDOW + 4096).unwrap().prot, Prot::READ);
    check(&books, &host);
}

#[test]
fn limits_are_kept() {
    let (mut books, mut host) = (books(), Host::default());
    let limits = Limits { address_space: 4 * 4096, data: 2 * 4096, memlock: 4096, ..Limits::default() };
    let plan = books.plan_map(fixed(WINDOW, 2 * 4096, RW), &limits);
    run(&mut books, &mut host, plan).unwrap();
    assert_eq!(books.plan_map(fixed(WINDOW + 0x10000, 4096, RW), &limits).err(), Some(Errno::ENOMEM));
    assert!(books.plan_map(fixed(WINDOW + 0x10000, 2 * 4096, Prot::READ), &limits).is_ok());
    assert_eq!(books.plan_map(fixed(WINDOW + 0x10000, 3 * 4096, Prot::READ), &limits).err(), Some(Errno::ENOMEM));
    assert_eq!(books.plan_lock(WINDOW, 4097, false, &limits).err(), Some(Errno::ENOMEM));
    assert!(books.plan_lock(WINDOW, 4096, false, &limits).is_ok());
    let none = Limits { memlock: 0, ..Limits::default() };
    assert_eq!(books.plan_lock(WINDOW, 4096, false, &none).err(), Some(Errno::EPERM));
    let locked = request(0, 2 * 4096, Prot::READ, MapFlags::PRIVATE | MapFlags::ANONYMOUS | MapFlags::LOCKED);
    assert_eq!(books.plan_map(locked, &limits).err(), Some(Errno::EAGAIN));
}

#[test]
fn mappings_are_counted() {
    let mut books = books();
    let limits = Limits::default();
    for index in 0..=MAX_MAP_COUNT as u64 {
        let vma = Vma::anonymous(WINDOW + index * 8192..WINDOW + index * 8192 + 4096, RW, VmFlags::empty());
        books.apply(Change::Insert(vma));
    }
    assert_eq!(books.plan_map(MapRequest::anonymous(4096, RW), &limits).err(), Some(Errno::ENOMEM));
    books.apply(Change::Remove(WINDOW..WINDOW + 4096));
    assert!(books.plan_map(MapRequest::anonymous(4096, RW), &limits).is_ok());
}

#[test]
fn stack_grows_to_its_limit_and_not_into_others() {
    let (mut books, mut host) = (books(), Host::default());
    let limits = Limits { stack: 16 * 4096, ..Limits::default() };
    let top = WINDOW + (64 << 20);
    let flags = MapFlags::PRIVATE | MapFlags::ANONYMOUS | MapFlags::FIXED | MapFlags::GROWSDOWN;
    let plan = books.plan_map(request(top - 8192, 8192, RW, flags), &limits);
    run(&mut books, &mut host, plan).unwrap();
    assert!(books.plan_growth(top - 17 * 4096, &limits).is_none());
    let plan = books.plan_growth(top - 10 * 4096 + 5, &limits).unwrap();
    run(&mut books, &mut host, Ok(plan)).unwrap();
    assert_eq!(books.tree().get(top - 1).unwrap().start, top - 10 * 4096);
    check(&books, &host);
    let plan = books.plan_map(fixed(top - 14 * 4096, 4096, RW), &limits);
    run(&mut books, &mut host, plan).unwrap();
    assert!(books.plan_growth(top - 11 * 4096, &limits).is_none());
}

#[test]
fn brk_moves_within_its_room_only() {
    let (mut books, mut host) = (books(), Host::default());
    let limits = Limits::default();
    let heap = 0x2000_0000;
    books.set_heap(heap);
    let mut brk = |wanted| {
        let plan = books.plan_break(wanted, &limits);
        let at = run(&mut books, &mut host, Ok(plan)).unwrap();
        check(&books, &host);
        (at, books.totals().total)
    };
    assert_eq!(brk(0), (heap, 0));
    assert_eq!(brk(heap + 10), (heap + 10, 4096));
    assert_eq!(brk(heap + 4097), (heap + 4097, 8192));
    assert_eq!(brk(heap + 1), (heap + 1, 4096));
    assert_eq!(brk(heap - 1), (heap + 1, 4096));
    assert_eq!(brk(u64::MAX), (heap + 1, 4096));
    assert_eq!(brk(heap), (heap, 0));
}

#[test]
fn mremap_checks_in_the_order_of_linux() {
    let (mut books, mut host) = (books(), Host::default());
    let limits = Limits::default();
    let plan = books.plan_map(fixed(WINDOW, 4 * 4096, RW), &limits);
    run(&mut books, &mut host, plan).unwrap();
    let mut errno = |addr, old, new, flags, to| books.plan_remap(addr, old, new, flags, to, &limits).err();
    assert_eq!(errno(WINDOW, 4096, 4096, 8, 0), Some(Errno::EINVAL));
    assert_eq!(errno(WINDOW + 1, 4096, 4096, 0, 0), Some(Errno::EINVAL));
    assert_eq!(errno(WINDOW, 4096, 0, 0, 0), Some(Errno::EINVAL));
    assert_eq!(errno(WINDOW, 4096, 4096, 2, WINDOW + 0x10000), Some(Errno::EINVAL));
    assert_eq!(errno(WINDOW, 8192, 4096, 5, 0), Some(Errno::EINVAL));
    assert_eq!(errno(WINDOW, 8192, 8192, 3, WINDOW + 4096), Some(Errno::EINVAL));
    assert_eq!(errno(WINDOW - 8192, 4096, 8192, 1, 0), Some(Errno::EFAULT));
    assert_eq!(errno(WINDOW, 0, 4096, 1, 0), Some(Errno::EINVAL));
    assert_eq!(errno(WINDOW, 5 * 4096, 6 * 4096, 1, 0), Some(Errno::EFAULT));
    assert_eq!(errno(WINDOW, 4096, 8192, 0, 0), Some(Errno::ENOMEM));
    assert_eq!(errno(WINDOW, 4 * 4096, 8 * 4096, 0, 0), None);
}

#[test]
fn a_fork_loses_locks_and_what_is_not_to_be_copied() {
    let (mut books, mut host) = (books(), Host::default());
    let limits = Limits::default();
    let plan = books.plan_map(fixed(WINDOW, 4 * 4096, RW), &limits);
    run(&mut books, &mut host, plan).unwrap();
    let plan = books.plan_advise(WINDOW, 4096, advice::DONTFORK);
    run(&mut books, &mut host, plan).unwrap();
    let plan = books.plan_lock(WINDOW + 8192, 4096, false, &limits);
    run(&mut books, &mut host, plan).unwrap();
    assert_eq!((books.tree().count(), books.totals().locked), (4, 4096));
    let child = books.forked();
    assert_eq!((child.tree().count(), child.totals().locked, child.totals().total), (1, 0, 3 * 4096));
}

#[test]
fn maps_lines_look_like_those_of_linux() {
    let entry = MapEntry {
        start: 0x40_0000,
        end: 0x45_2000,
        prot: Prot::READ | Prot::EXEC,
        max_prot: PROT_ALL,
        flags: VmFlags::empty(),
        offset: 0x1000,
        device: DeviceId::new(8, 2),
        inode: 173_521,
        name: b"/usr/bin/a\nb".to_vec(),
        file: true,
    };
    let mut line = Vec::new();
    entry.write_line(&mut line);
    let text = String::from_utf8(line).unwrap();
    assert_eq!(text, format!("{:<73}/usr/bin/a\\012b\n", "00400000-00452000 r-xp 00001000 08:02 173521"));
    let mut line = Vec::new();
    MapEntry { name: Vec::new(), flags: VmFlags::SHARED, ..entry }.write_line(&mut line);
    assert_eq!(line, b"00400000-00452000 r-xs 00001000 08:02 173521 \n");
}

#[test]
fn the_same_part_of_a_file_again_is_reprotected() {
    const AT: u64 = 0x1000_0000;
    let map = |books: &mut Books, id: u64, place: u64, offset: u64, prot: Prot, enter: bool| {
        let fixed = request(AT + place, 0x2000, prot, MapFlags::PRIVATE | MapFlags::FIXED);
        let plan = books.plan_map(MapRequest { file: Some(file(id, true, true)), offset, ..fixed }, &Limits::default());
        let mut plan = plan.expect("a place that is free");
        let again = matches!(plan.steps[0].op, Some(MemOp::Protect { .. }));
        if enter {
            plan.steps.drain(..).filter_map(|step| step.change).for_each(|change| books.apply(change));
        }
        again
    };
    let text = Prot::READ | Prot::EXEC;
    let mut books = books();
    let whole = request(AT, 0x6000, Prot::READ, MapFlags::PRIVATE | MapFlags::FIXED);
    let plan = books.plan_map(MapRequest { file: Some(file(1, true, true)), ..whole }, &Limits::default());
    let changes = plan.expect("a place that is free").steps;
    changes.into_iter().filter_map(|step| step.change).for_each(|change| books.apply(change));
    assert!(map(&mut books, 1, 0x1000, 0x1000, text, true));
    assert!(map(&mut books, 1, 0x1000, 0x1000, Prot::READ, false));
    assert_eq!(
        books.tree.get(AT + 0x1000).map(|vma| (vma.prot, vma.start, vma.end)),
        Some((text, AT + 0x1000, AT + 0x3000))
    );
    // Another part, another file, more than one mapping, or to be written to.
    assert!(!map(&mut books, 1, 0x1000, 0x2000, text, false));
    assert!(!map(&mut books, 3, 0x1000, 0x1000, text, false));
    assert!(!map(&mut books, 1, 0x2000, 0x2000, text, false));
    assert!(!map(&mut books, 1, 0x3000, 0x3000, Prot::READ | Prot::WRITE, true));
    assert!(!map(&mut books, 1, 0x3000, 0x3000, Prot::READ, false));
    // One that was written to of late.
    assert!(!map(&mut books, 2, 0x1000, 0x1000, text, true));
    assert!(!map(&mut books, 2, 0x1000, 0x1000, Prot::READ, false));
}

#[test]
fn private_pages_of_what_stays_as_long_as_it_is_can_be_written() {
    const AT: u64 = 0x1000_0000;
    let mut books = books();
    let mut map = |place: u64, id: Option<u64>, prot: Prot, flags: MapFlags| {
        let request = request(AT + place, 0x8000, prot, flags | MapFlags::FIXED);
        let request = MapRequest { file: id.map(|id| file(id, true, true)), offset: 0x1000, ..request };
        let plan = books.plan_map(request, &Limits::default()).expect("a place that is free");
        plan.steps.into_iter().filter_map(|step| step.change).for_each(|change| books.apply(change));
    };
    map(0, Some(100), RW, MapFlags::PRIVATE);
    map(0x10000, Some(1), RW, MapFlags::PRIVATE);
    map(0x20000, Some(100), RW, MapFlags::SHARED);
    map(0x30000, Some(100), Prot::READ, MapFlags::PRIVATE);
    map(0x40000, None, RW, MapFlags::PRIVATE);
    let mut writable = |place: u64, len: u64| books.is_plainly_writable(AT + place, len);
    // The file's bytes from 0x1000 to 0x3005, up to the end of the page.
    assert!(writable(0, 0x3000) && writable(0x2fff, 1));
    assert!(!writable(0, 0x3001) && !writable(0x3000, 1) && !writable(0x7000, 1));
    assert!(!writable(0x10000, 1), "it may become shorter");
    assert!(!writable(0x20000, 1) && !writable(0x30000, 1));
    assert!(writable(0x40000, 0x8000) && !writable(0x40000, 0x8001));
}
