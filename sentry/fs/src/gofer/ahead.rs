//! Looking names up before they are asked for.
//!
//! Whoever lists a directory often asks for its entries then, one by one: in the order of the listing (`find`, `ls -l`, `tar`)
//! or sorted (whatever a shell has expanded). A question to the gofer costs two switches between processes, and as many with
//! one name as with many. So the names that follow go with it once two lookups have followed each other or the first is that
//! of the first entry, and the few others of a short listing in any case; the more of them the more came of those before in
//! this tree ([`Credit`]).
//!
//! What is found stands here until it is asked for or the directory's entries change, and is as fresh as any inode that
//! somebody holds. Only in exclusive trees: there are listings to remember.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::dir::Listing;
use super::node::GoferInode;

/// Most names that go with a question.
const MOST: usize = 31;
/// Most inodes that wait to be asked for, in one directory.
const MOST_WAITING: usize = 64;
/// Entries of a directory of which all are looked for at once.
const SHORT: usize = 6;
/// Entries of a directory beyond which nothing is looked for.
const LONG: usize = 20_000;
/// Lookups in rising order that tell of a sorted list.
const RISING: u32 = 2;

/// What a directory knows of the lookups in it.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    /// By name, with the place in the listing.
    found: HashMap<Box<[u8]>, (Arc<GoferInode>, usize)>,
    /// Place of what was looked up last.
    last: Option<usize>,
    /// Lookups that have followed each other in the order of names.
    rising: u32,
}

/// What looking ahead has been good for in one tree: each name that was asked for makes up for two that were not.
#[derive(Debug, Default)]
pub(super) struct Credit(AtomicUsize);

impl Credit {
    /// Most names on credit.
    const MOST: usize = 256;

    fn change(&self, change: impl Fn(usize) -> usize) {
        let changed = |old| Some(change(old).min(Credit::MOST));
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, changed);
    }

    fn room(&self) -> usize {
        (2 + self.0.load(Ordering::Relaxed)).min(MOST)
    }
}

/// Which names follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Listed,
    Sorted,
}

/// How to go on after a lookup that found nothing here.
#[derive(Debug)]
pub(super) struct Next {
    listing: Arc<Listing>,
    last: Option<usize>,
    rising: u32,
    /// How many names may go with the question.
    room: usize,
}

/// What a lookup comes to.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Where the name stands in the listing.
    pub(super) place: Option<usize>,
    pub(super) rising: u32,
    /// Places of the names that go with the question.
    pub(super) along: Vec<usize>,
}

impl Ahead {
    /// Takes what was found before.
    pub(super) fn take(&mut self, name: &[u8], credit: &Credit) -> Option<Arc<GoferInode>> {
        let (inode, place) = self.found.remove(name)?;
        self.last = Some(place);
        credit.change(|old| old + 2);
        Some(inode)
    }

    /// Returns what is needed to plan a question.
    pub(super) fn next(&self, listing: &Arc<Listing>, credit: &Credit) -> Next {
        let room = credit.room().min(MOST_WAITING.saturating_sub(self.found.len()));
        Next { listing: Arc::clone(listing), last: self.last, rising: self.rising, room }
    }

    /// Notes a lookup, and what came with it.
    pub(super) fn note(&mut self, plan: &Plan, found: Vec<(Box<[u8]>, Arc<GoferInode>)>, credit: &Credit) {
        credit.change(|old| old.saturating_sub(found.len()));
        self.last = plan.place;
        self.rising = plan.rising;
        for ((name, inode), place) in found.into_iter().zip(&plan.along) {
            self.found.insert(name, (inode, *place));
        }
    }
}

impl Next {
    /// Finds out what may follow a name.
    pub(super) fn plan(&self, name: &[u8]) -> Plan {
        let listing = &*self.listing;
        if listing.len() > LONG {
            return Plan::default();
        }
        let following = self.last.map(|last| last + 1).filter(|next| listing.name(*next) == Some(name));
        let place = following.or_else(|| (0..listing.len()).find(|at| listing.name(*at) == Some(name)));
        let Some(at) = place else { return Plan::default() };
        let rises = self.last.and_then(|last| listing.name(last)).is_some_and(|last| last < name);
        let rising = if rises { self.rising + 1 } else { 0 };
        if listing.len() <= SHORT && self.last.is_none() {
            return Plan { place, rising, along: (0..listing.len()).filter(|other| *other != at).collect() };
        }
        let order = if following.is_some() || (self.last.is_none() && at == 0) {
            Some(Order::Listed)
        } else if rising >= RISING && self.last.is_some_and(|last| listing.after(last) == Some(at)) {
            Some(Order::Sorted)
        } else {
            None
        };
        let step = |order: Order, at: usize| match order {
            Order::Listed => Some(at + 1).filter(|next| *next < listing.len()),
            Order::Sorted => listing.after(at),
        };
        let along =
            order.map(|order| std::iter::successors(step(order, at), move |at| step(order, *at)).take(self.room));
        Plan { place, rising, along: along.into_iter().flatten().collect() }
    }

    pub(super) fn name(&self, place: usize) -> &[u8] {
        self.listing.name(place).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(names: &[&[u8]], last: Option<usize>, rising: u32) -> Next {
        Next { listing: Arc::new(Listing::of(names)), last, rising, room: 3 }
    }

    fn plan(next: &Next, name: &[u8]) -> (Option<usize>, u32, Vec<usize>) {
        let Plan { place, rising, along } = next.plan(name);
        (place, rising, along)
    }

    const NAMES: [&[u8]; 7] = [b"e", b"b", b"d", b"a", b"f", b"c", b"z"];

    #[test]
    fn names_follow_in_the_order_of_the_listing() {
        assert_eq!(plan(&next(&NAMES, None, 0), b"e"), (Some(0), 0, vec![1, 2, 3]));
        assert_eq!(plan(&next(&NAMES, None, 0), b"b"), (Some(1), 0, vec![]));
        assert_eq!(plan(&next(&NAMES, Some(0), 0), b"b"), (Some(1), 0, vec![2, 3, 4]));
        assert_eq!(plan(&next(&NAMES, Some(3), 0), b"f"), (Some(4), 1, vec![5, 6]));
        assert_eq!(plan(&next(&NAMES, Some(5), 0), b"z"), (Some(6), 1, vec![]));
    }

    #[test]
    fn names_follow_in_sorted_order_once_that_has_shown() {
        assert_eq!(plan(&next(&NAMES, Some(3), 0), b"b"), (Some(1), 1, vec![]));
        assert_eq!(plan(&next(&NAMES, Some(1), 1), b"c"), (Some(5), 2, vec![2, 0, 4]));
        assert_eq!(plan(&next(&NAMES, Some(5), 2), b"e"), (Some(0), 3, vec![]), "one was left out");
        assert_eq!(plan(&next(&NAMES, Some(0), 3), b"a"), (Some(3), 0, vec![]), "back");
    }

    #[test]
    fn nothing_goes_with_what_is_not_listed() {
        assert_eq!(plan(&next(&NAMES, Some(0), 2), b"g"), (None, 0, vec![]));
        assert_eq!(plan(&next(&[], None, 0), b"g"), (None, 0, vec![]));
    }

    #[test]
    fn a_short_listing_is_looked_up_as_a_whole() {
        assert_eq!(plan(&next(&NAMES[..4], None, 0), b"d"), (Some(2), 0, vec![0, 1, 3]));
        assert_eq!(plan(&next(&NAMES[..4], Some(2), 0), b"e"), (Some(0), 1, vec![]), "once");
    }

    #[test]
    fn what_is_not_used_lets_less_be_found() {
        let credit = Credit::default();
        assert_eq!(credit.room(), 2);
        credit.change(|old| old + 10);
        assert_eq!(credit.room(), 12);
        credit.change(|old| old + 10_000);
        assert_eq!((credit.room(), credit.0.load(Ordering::Relaxed)), (MOST, Credit::MOST));
        credit.change(|old| old.saturating_sub(10_000));
        assert_eq!(credit.room(), 2);
    }
}
