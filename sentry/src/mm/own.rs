//! Mappings of the kernel's own in a guest's address space, above the guest's addresses: files that are read or written again
//! and again. The thread that reads copies from there by itself, on its way back to guest code, which saves the copies from
//! the file to us and from us to the guest.
//!
//! A guest can look at these mappings and falsify them, for itself: nobody else reads there, and it may read the file
//! anyway. They hold no right to write, or the guest may write the file and map it for that. A mapping lasts until the descriptor is closed by which it was read, so that a
//! deleted file's memory is given back then; a new program and a new process begin without.
//!
//! The host makes and ends them with the reply to some call. Until that call's thread is heard of again their place is used
//! for nothing else, nor is it while somebody may be about to copy from there: he would read another file. One who finds
//! nothing there gets his bytes in another way.

use std::ops::Range;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use abi::flags::{MapFlags, Prot};
use sentry_platform::MemOp;
use sentry_sync::{Level, Mutex};
use smallvec::SmallVec;

use super::advice;

/// Bytes of a file that one mapping shows, beginning at a multiple of that.
const LEN: u64 = 1 << 30;
/// Most mappings.
const MOST: usize = 16;

/// The kernel's own mappings in one address space.
#[derive(Debug)]
pub(crate) struct OwnMappings {
    range: Range<u64>,
    /// Mappings that are there: whoever looks for one mostly finds none.
    count: AtomicU32,
    places: Mutex<Places>,
    /// Threads that may be about to copy from or to each place.
    users: [AtomicU32; MOST],
}

/// Where a thread is about to copy from or to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OwnPlace {
    place: usize,
    /// Address of the bytes.
    pub(crate) at: u64,
}

#[derive(Debug, Default)]
struct Places {
    list: Vec<Place>,
    /// Raised with each use.
    clock: u64,
}

#[derive(Debug)]
enum Place {
    Free,
    /// Being changed, with the reply to a call.
    Changing,
    Ready(Mapping),
}

#[derive(Debug)]
struct Mapping {
    file: Arc<OwnedFd>,
    /// Which part of the file.
    part: u64,
    writable: bool,
    /// The description that it was made for.
    description: u64,
    used: u64,
}

/// A change of own mappings that the host is to perform. What becomes of it is to be told by [`OwnMappings::settle`].
#[derive(Debug)]
pub(crate) struct OwnChange {
    pub(crate) ops: SmallVec<[MemOp; 2]>,
    places: SmallVec<[usize; 2]>,
    opens: Option<Mapping>,
}

impl Mapping {
    /// Tells whether this part of a file can be read, or written, here.
    fn shows(&self, file: &Arc<OwnedFd>, part: u64, write: bool) -> bool {
        self.part == part && (self.writable || !write) && Arc::ptr_eq(&self.file, file)
    }
}

impl OwnChange {
    /// Adds another change, which makes no mapping.
    pub(crate) fn and(mut self, other: OwnChange) -> OwnChange {
        self.ops.extend(other.ops);
        self.places.extend(other.places);
        self
    }
}

impl OwnMappings {
    /// For an address space that has this range for them.
    pub(super) fn new(range: Range<u64>) -> OwnMappings {
        let places = Mutex::new(Level::Leaf, Places::default());
        OwnMappings { range, count: AtomicU32::new(0), places, users: Default::default() }
    }

    /// Tells whether there can be any.
    pub(crate) fn is_possible(&self) -> bool {
        !self.range.is_empty()
    }

    /// Tells whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    fn address(&self, place: usize) -> u64 {
        self.range.start + place as u64 * LEN
    }

    /// Returns where these bytes of a file are, to be read or written there until [`OwnMappings::release`].
    pub(crate) fn find(&self, file: &Arc<OwnedFd>, offset: u64, len: u64, write: bool) -> Option<OwnPlace> {
        let part = offset / LEN;
        if offset.checked_add(len)? > (part + 1).checked_mul(LEN)? {
            return None;
        }
        let mut places = self.places.lock();
        places.clock += 1;
        let clock = places.clock;
        let found = places.list.iter_mut().enumerate().find_map(|(at, place)| match place {
            Place::Ready(mapping) if mapping.shows(file, part, write) => {
                mapping.used = clock;
                Some(at)
            }
            _ => None,
        });
        let place = found?;
        // With the places locked: who wants to use it for something else looks after this.
        self.users[place].fetch_add(1, Ordering::Relaxed);
        Some(OwnPlace { place, at: self.address(place) + offset % LEN })
    }

    /// Hears that the copy has been made, or will not be.
    pub(crate) fn release(&self, source: &OwnPlace) {
        self.users[source.place].fetch_sub(1, Ordering::Release);
    }

    fn is_used(&self, place: usize) -> bool {
        self.users[place].load(Ordering::Acquire) > 0
    }

    /// Plans a mapping for what stands at `offset`, in a place that is free or was not used for longest. `None`: all places
    /// are being changed or read, or there is one already.
    pub(crate) fn open(&self, file: Arc<OwnedFd>, description: u64, offset: u64, writable: bool) -> Option<OwnChange> {
        let room = usize::try_from((self.range.end - self.range.start) / LEN).map_or(MOST, |room| room.min(MOST));
        let part = offset / LEN;
        let mut places = self.places.lock();
        if places.list.iter().any(|place| matches!(place, Place::Ready(it) if it.shows(&file, part, writable))) {
            return None;
        }
        let unused = places.list.iter().enumerate().filter(|(at, _)| !self.is_used(*at));
        let place = match unused.clone().find(|(_, place)| matches!(place, Place::Free)).map(|(at, _)| at) {
            Some(place) => place,
            None if places.list.len() < room => {
                places.list.push(Place::Free);
                places.list.len() - 1
            }
            None => {
                let last_use =
                    |place: &Place| if let Place::Ready(mapping) = place { Some(mapping.used) } else { None };
                unused.filter_map(|(at, place)| Some((last_use(place)?, at))).min()?.1
            }
        };
        let old = self.begin(&mut places, place);
        let used = places.clock;
        drop(places);
        drop(old);
        let addr = self.address(place);
        let (kind, prot) =
            if writable { (MapFlags::SHARED, Prot::READ | Prot::WRITE) } else { (MapFlags::PRIVATE, Prot::READ) };
        let flags = (kind | MapFlags::NORESERVE).bits();
        let map = MemOp::MapFile { addr, len: LEN, prot, flags, file: Arc::clone(&file), offset: part * LEN };
        let ops = SmallVec::from_buf([map, MemOp::Advise { addr, len: LEN, advice: advice::DONTFORK }]);
        let places = SmallVec::from_slice(&[place]);
        Some(OwnChange { ops, places, opens: Some(Mapping { file, part, writable, description, used }) })
    }

    /// Plans the end of the mappings that were made for a description.
    pub(crate) fn close(&self, description: u64) -> Option<OwnChange> {
        if self.is_empty() {
            return None;
        }
        let mut change = OwnChange { ops: SmallVec::new(), places: SmallVec::new(), opens: None };
        let mut old: SmallVec<[Option<Mapping>; 2]> = SmallVec::new();
        let mut places = self.places.lock();
        for place in 0..places.list.len() {
            if matches!(&places.list[place], Place::Ready(mapping) if mapping.description == description) {
                old.push(self.begin(&mut places, place));
                change.ops.push(MemOp::Unmap { addr: self.address(place), len: LEN });
                change.places.push(place);
            }
        }
        drop(places);
        drop(old);
        (!change.ops.is_empty()).then_some(change)
    }

    /// Marks a place as being changed; returns what was there.
    fn begin(&self, places: &mut Places, place: usize) -> Option<Mapping> {
        match std::mem::replace(&mut places.list[place], Place::Changing) {
            Place::Ready(mapping) => {
                self.count.fetch_sub(1, Ordering::Relaxed);
                Some(mapping)
            }
            _ => None,
        }
    }

    /// Hears what has become of a change. One that failed leaves its places unused: nobody knows what is there.
    pub(crate) fn settle(&self, change: OwnChange, done: bool) {
        if !done {
            return;
        }
        let OwnChange { places: changed, mut opens, .. } = change;
        let mut places = self.places.lock();
        for place in changed {
            places.list[place] = match opens.take() {
                Some(mapping) => {
                    self.count.fetch_add(1, Ordering::Relaxed);
                    Place::Ready(mapping)
                }
                None => Place::Free,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 0x7e00_0000_0000;

    fn file() -> Arc<OwnedFd> {
        Arc::new(rustix::fs::memfd_create("own", rustix::fs::MemfdFlags::CLOEXEC).expect("a file"))
    }

    fn own(places: u64) -> OwnMappings {
        OwnMappings::new(START..START + places * LEN)
    }

    fn open(own: &OwnMappings, file: &Arc<OwnedFd>, description: u64, offset: u64) {
        let change = own.open(Arc::clone(file), description, offset, false).expect("a place");
        own.settle(change, true);
    }

    /// Finds bytes, and looks at them no more.
    fn find(own: &OwnMappings, file: &Arc<OwnedFd>, offset: u64, len: u64) -> Option<u64> {
        let source = own.find(file, offset, len, false)?;
        own.release(&source);
        Some(source.at)
    }

    #[test]
    fn bytes_are_found_in_the_part_that_is_mapped() {
        let (own, file, other) = (own(16), file(), file());
        assert!(own.is_empty() && find(&own, &file, 0, 1).is_none());
        open(&own, &file, 1, LEN + 5);
        assert_eq!(find(&own, &file, LEN + 7, 100), Some(START + 7));
        assert_eq!(find(&own, &file, 7, 100), None, "another part");
        assert_eq!(find(&own, &file, 2 * LEN - 100, 100), Some(START + LEN - 100));
        assert_eq!(find(&own, &file, 2 * LEN - 100, 101), None, "across the end");
        assert_eq!(find(&own, &file, u64::MAX, 2), None);
        assert_eq!(find(&own, &other, LEN + 7, 100), None);
        assert!(own.open(Arc::clone(&file), 1, LEN, false).is_none(), "it is there already");
    }

    #[test]
    fn a_place_is_used_for_nothing_while_it_changes() {
        let (own, first, second) = (own(1), file(), file());
        let change = own.open(Arc::clone(&first), 1, 0, false).expect("a place");
        assert!(find(&own, &first, 0, 1).is_none() && own.open(Arc::clone(&second), 2, 0, false).is_none());
        own.settle(change, true);
        let change = own.close(1).expect("it is there");
        assert!(matches!(change.ops[..], [MemOp::Unmap { addr: START, len: LEN }]));
        assert!(find(&own, &first, 0, 1).is_none() && own.open(Arc::clone(&second), 2, 0, false).is_none());
        assert!(own.is_empty() && own.close(1).is_none());
        own.settle(change, true);
        open(&own, &second, 2, 0);
        assert_eq!(find(&own, &second, 0, 1), Some(START));
    }

    #[test]
    fn a_place_that_somebody_reads_stays_what_it_is() {
        let (own, first, second) = (own(1), file(), file());
        open(&own, &first, 1, 0);
        let source = own.find(&first, 0, 1, false).expect("it is there");
        assert!(own.open(Arc::clone(&second), 2, 0, false).is_none());
        // It may go, but nothing else may be there.
        let change = own.close(1).expect("it is there");
        own.settle(change, true);
        assert!(own.open(Arc::clone(&second), 2, 0, false).is_none());
        own.release(&source);
        open(&own, &second, 2, 0);
    }

    #[test]
    fn what_is_to_be_written_wants_a_mapping_of_its_own() {
        let (own, file) = (own(16), file());
        open(&own, &file, 1, 0);
        assert!(own.find(&file, 0, 1, true).is_none());
        let change = own.open(Arc::clone(&file), 1, 0, true).expect("a place");
        let MemOp::MapFile { flags, prot, .. } = &change.ops[0] else { panic!("{change:?}") };
        assert_eq!((flags & MapFlags::SHARED.bits(), *prot), (MapFlags::SHARED.bits(), Prot::READ | Prot::WRITE));
        own.settle(change, true);
        assert_eq!(own.find(&file, 0, 1, true).map(|place| place.at), Some(START + LEN));
    }

    #[test]
    fn a_change_that_failed_loses_its_place() {
        let (own, file) = (own(1), file());
        let change = own.open(Arc::clone(&file), 1, 0, false).expect("a place");
        own.settle(change, false);
        assert!(
            find(&own, &file, 0, 1).is_none() && own.open(Arc::clone(&file), 1, 0, false).is_none() && own.is_empty()
        );
    }

    #[test]
    fn what_was_not_used_for_longest_gives_way() {
        let (own, files) = (own(2), [file(), file(), file()]);
        open(&own, &files[0], 1, 0);
        open(&own, &files[1], 2, 0);
        assert!(find(&own, &files[1], 0, 1).is_some() && find(&own, &files[0], 0, 1).is_some());
        open(&own, &files[2], 3, 0);
        assert_eq!(files.each_ref().map(|file| find(&own, file, 0, 1).is_some()), [true, false, true]);
        assert!(own.close(2).is_none(), "it has given way");
    }

    #[test]
    fn a_description_closes_all_its_mappings_and_no_others() {
        let (own, file) = (own(16), file());
        [0, LEN, 2 * LEN].into_iter().for_each(|offset| open(&own, &file, 1, offset));
        open(&own, &file, 2, 3 * LEN);
        let change = own.close(1).expect("three");
        assert_eq!(change.ops.len(), 3);
        own.settle(change, true);
        assert!(find(&own, &file, LEN, 1).is_none() && find(&own, &file, 3 * LEN, 1).is_some());
    }
}
