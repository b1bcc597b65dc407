//! Sites in files that earlier processes have used, so that later ones need not learn them again.
//!
//! Some of the processes that run a file *teach*: their traps are counted, and they are patched as they go. The others are
//! *pupils*: they get at once the sites whose pages are worth it, going by what a teacher traps on average. The first few
//! processes teach, then one of [`EVERY`], and old lessons count ever less, so that what is patched follows what is used.
//!
//! A lesson is a hint, no proof. It holds the code before the call, which must be the same where it is applied, and that
//! is looked at as if the call had trapped there. What it can't show again is that somebody has made the call at this
//! place, not in the middle of something else; so a process is only led by those that could trace it ([`Class`]).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use abi::PAGE_SIZE;
use sentry_fs::DeviceId;
use sentry_sync::{Level, Mutex};

use super::code::{BEFORE, What};

/// Processes that teach at first.
const FIRST: u32 = 4;
/// Afterwards one of so many does.
const EVERY: u32 = 16;
/// Teachers at which all counts are halved.
const OLD: u32 = 16;
/// Most of those that are found by reading a text.
const READ_MOST: usize = 64;
/// Most sites of all files, of some 60 bytes each.
const MOST: usize = 2048;

/// What must be alike in two processes for one to be led by the other: user, group, and how many filters of system calls
/// confine them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Class {
    /// Effective user.
    pub euid: u32,
    /// Effective group.
    pub egid: u32,
    /// Filters of system calls.
    pub filters: usize,
}

/// A file, as processes of one class know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct FileKey {
    pub(super) class: Class,
    pub(super) device: DeviceId,
    pub(super) inode: u64,
}

/// A site that is worth patching.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hint {
    /// Where in the file the code behind it is.
    pub(super) offset: u64,
    /// What was done there, in the case of calls.
    pub(super) what: What,
    /// The code that ends there.
    pub(super) before: [u8; BEFORE],
}

/// What a process is to a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Its traps are counted.
    Teacher,
    /// It is to be patched here.
    Pupil(Vec<Hint>),
}

struct Site {
    number: u64,
    /// `None`: can't be patched.
    before: Option<[u8; BEFORE]>,
    /// Of teachers.
    traps: u32,
}

#[derive(Default)]
struct Text {
    processes: u32,
    teachers: u32,
    /// When it was last asked for.
    used: u64,
    sites: HashMap<u64, Site>,
    /// What was found by reading the text, if that has been done.
    read: Option<Vec<Hint>>,
}

#[derive(Default)]
struct Table {
    texts: HashMap<FileKey, Text>,
    clock: u64,
    /// Of all texts.
    sites: usize,
}

/// What the processes of a sandbox have learned.
pub struct Learned {
    table: Mutex<Table>,
    /// The host has let us patch.
    works: AtomicBool,
}

impl Default for Learned {
    fn default() -> Learned {
        Learned { table: Mutex::new(Level::Leaf, Table::default()), works: AtomicBool::new(false) }
    }
}

impl Text {
    fn len(&self) -> usize {
        self.sites.len() + self.read.iter().flatten().count()
    }

    fn role(&mut self, least: u32, begins: bool) -> Role {
        self.processes = self.processes.wrapping_add(1);
        if self.teachers >= FIRST && !self.processes.is_multiple_of(EVERY) {
            return Role::Pupil(self.hints(least, begins));
        }
        if self.teachers >= OLD {
            self.teachers /= 2;
            self.sites.values_mut().for_each(|site| site.traps /= 2);
        }
        self.teachers += 1;
        Role::Teacher
    }

    /// Chooses the sites of pages with at least three traps in two processes, where those save so many traps in all. (To copy
    /// a page costs a little more than one trap.) What was found by reading counts as a trap each in a program that begins,
    /// which asks the processor first of all.
    fn hints(&self, least: u32, begins: bool) -> Vec<Hint> {
        let known = || self.sites.iter().filter(|(_, site)| site.before.is_some() && site.traps > 0);
        let read = || self.read.iter().flatten().filter(|_| begins);
        let mut pages: HashMap<u64, u32> = HashMap::new();
        for (offset, site) in known() {
            *pages.entry(offset / PAGE_SIZE).or_default() += site.traps;
        }
        for hint in read() {
            *pages.entry(hint.offset / PAGE_SIZE).or_default() += self.teachers;
        }
        pages.retain(|_, traps| traps.saturating_mul(2) >= self.teachers.saturating_mul(3));
        if pages.values().sum::<u32>() < least.saturating_mul(self.teachers) {
            return Vec::new();
        }
        let is_chosen = |offset: u64| pages.contains_key(&(offset / PAGE_SIZE));
        let hint = |(offset, site): (&u64, &Site)| {
            Some(Hint { offset: *offset, what: What::Call(site.number), before: site.before? })
        };
        let mut hints: Vec<Hint> = known().filter(|(offset, _)| is_chosen(**offset)).filter_map(hint).collect();
        hints.extend(read().filter(|hint| is_chosen(hint.offset)));
        hints.sort_unstable_by_key(|hint| hint.offset);
        hints
    }
}

impl Table {
    /// Finds a file, and notes that it is in use.
    fn text(&mut self, key: FileKey) -> Option<&mut Text> {
        self.clock += 1;
        let text = self.texts.get_mut(&key)?;
        text.used = self.clock;
        Some(text)
    }

    /// Forgets the files that nobody has asked for in the longest time.
    fn make_room(&mut self) {
        while self.sites + self.texts.len() >= MOST {
            let Some(key) = self.texts.iter().min_by_key(|(_, text)| text.used).map(|(key, _)| *key) else { return };
            let gone = self.texts.remove(&key).map_or(0, |text| text.len());
            self.sites -= gone;
        }
    }
}

impl Learned {
    /// Says what a program that begins is to a file that has taught something, patched if it saves so many traps. `look` reads the
    /// text, once it is known to be used.
    pub(super) fn role(&self, key: FileKey, least: u32, look: impl FnOnce() -> Vec<Hint>) -> Option<Role> {
        let unread = self.table.lock().text(key).is_some_and(|text| text.read.is_none() && text.teachers >= FIRST);
        let read = unread.then(look);
        let mut table = self.table.lock();
        if let Some(mut read) = read {
            table.make_room();
            read.truncate(READ_MOST);
            let found = read.len();
            let text = table.text(key)?;
            if text.read.replace(read).is_none() {
                table.sites += found;
            }
        }
        Some(table.text(key)?.role(least, true))
    }

    /// The same of any file.
    pub(super) fn begin(&self, key: FileKey, least: u32) -> Role {
        let mut table = self.table.lock();
        if let Some(text) = table.text(key) {
            return text.role(least, false);
        }
        table.make_room();
        let mut text = Text { used: table.clock, ..Text::default() };
        let role = text.role(least, false);
        table.texts.insert(key, text);
        role
    }

    /// Counts a teacher's trap; `false`: the site is new ([`Learned::add`]).
    pub(super) fn trap(&self, key: FileKey, offset: u64) -> bool {
        let mut table = self.table.lock();
        let site = table.text(key).and_then(|text| text.sites.get_mut(&offset));
        site.map(|site| site.traps = site.traps.saturating_add(1)).is_some()
    }

    /// Adds a site that has trapped once.
    pub(super) fn add(&self, key: FileKey, offset: u64, number: u64, before: Option<[u8; BEFORE]>) {
        let mut table = self.table.lock();
        table.make_room();
        let Some(text) = table.text(key) else { return };
        if text.sites.insert(offset, Site { number, before, traps: 1 }).is_none() {
            table.sites += 1;
        }
    }

    /// Forgets a site whose code is no longer the same.
    pub(super) fn forget(&self, key: FileKey, offset: u64) {
        let mut table = self.table.lock();
        if table.text(key).is_some_and(|text| text.sites.remove(&offset).is_some()) {
            table.sites -= 1;
        }
    }

    /// Hears that a site was patched.
    pub(super) fn note_works(&self) {
        self.works.store(true, Ordering::Relaxed);
    }

    /// Tells whether patching has worked: new programs are only made with patched code if it has.
    pub(super) fn works(&self) -> bool {
        self.works.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE_CALL: [u8; BEFORE] = [0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0xb8, 39, 0, 0, 0, 0x0f, 0x05];

    fn key(inode: u64) -> FileKey {
        FileKey { class: Class::default(), device: DeviceId::new(8, 1), inode }
    }

    fn traps(learned: &Learned, key: FileKey, offset: u64, times: u32) {
        for _ in 0..times {
            if !learned.trap(key, offset) {
                learned.add(key, offset, 39, Some(BEFORE_CALL));
            }
        }
    }

    fn offsets(role: &Role) -> Option<Vec<u64>> {
        match role {
            Role::Teacher => None,
            Role::Pupil(hints) => Some(hints.iter().map(|hint| hint.offset).collect()),
        }
    }

    /// Has the first processes teach, each with these traps.
    fn taught(sites: &[(u64, u32)]) -> Learned {
        let learned = Learned::default();
        for _ in 0..FIRST {
            assert_eq!(learned.begin(key(1), 1), Role::Teacher);
            sites.iter().for_each(|(offset, times)| traps(&learned, key(1), *offset, *times));
        }
        learned
    }

    #[test]
    fn the_first_teach_and_later_ones_now_and_then() {
        let learned = taught(&[(0x1010, 5)]);
        let roles: Vec<Role> = (0..10 * EVERY).map(|_| learned.begin(key(1), 1)).collect();
        let teachers = roles.iter().filter(|role| **role == Role::Teacher).count();
        assert_eq!(teachers, 10);
        assert_eq!(offsets(&roles[0]), Some(vec![0x1010]));
    }

    #[test]
    fn pages_are_chosen_by_the_traps_that_they_save() {
        let learned = taught(&[(0x1010, 3), (0x1020, 1), (0x2010, 1), (0x2020, 1), (0x3010, 1)]);
        assert_eq!(offsets(&learned.begin(key(1), 6)), Some(vec![0x1010, 0x1020, 0x2010, 0x2020]));
        assert_eq!(offsets(&learned.begin(key(1), 7)), Some(vec![]));
    }

    #[test]
    fn what_is_used_no_longer_is_forgotten_in_the_end() {
        let learned = taught(&[(0x1010, 5)]);
        for _ in 0..8 * EVERY * OLD {
            if learned.begin(key(1), 1) == Role::Teacher {
                traps(&learned, key(1), 0x5010, 5);
            }
        }
        assert_eq!(offsets(&learned.begin(key(1), 1)), Some(vec![0x5010]));
    }

    #[test]
    fn what_is_found_by_reading_leads_programs_that_begin() {
        let learned = taught(&[(0x1010, 5)]);
        let found = |offset| Hint { offset, what: What::Cpuid(0x8000_0000), before: BEFORE_CALL };
        let read = || vec![found(0x1020), found(0x2010), found(0x3010), found(0x3020)];
        // One question alone isn't worth a page, and in a program under way they have been asked.
        let role = learned.role(key(1), 8, read).expect("known");
        assert_eq!(offsets(&role), Some(vec![0x1010, 0x1020, 0x3010, 0x3020]));
        assert_eq!(offsets(&learned.begin(key(1), 8)), Some(vec![]));
        assert_eq!(offsets(&learned.begin(key(1), 5)), Some(vec![0x1010]));
        let again = learned.role(key(1), 8, || panic!("it is read once"));
        assert!(again.is_some_and(|role| offsets(&role).is_some_and(|found| found.len() == 4)));
    }

    #[test]
    fn others_teach_nothing() {
        let learned = taught(&[(0x1010, 5)]);
        assert_eq!(learned.role(key(2), 1, Vec::new), None);
        let other = FileKey { class: Class { euid: 7, ..Class::default() }, ..key(1) };
        assert_eq!(learned.role(other, 1, Vec::new), None);
        assert_eq!(learned.begin(other, 1), Role::Teacher);
    }

    #[test]
    fn hopeless_and_changed_sites_are_no_hints() {
        let learned = taught(&[(0x1010, 5)]);
        learned.add(key(1), 0x1020, 39, None);
        (0..20).for_each(|_| assert!(learned.trap(key(1), 0x1020)));
        assert_eq!(offsets(&learned.begin(key(1), 1)), Some(vec![0x1010]));
        learned.forget(key(1), 0x1010);
        assert_eq!(offsets(&learned.begin(key(1), 0)), Some(vec![]));
    }

    #[test]
    fn the_table_is_bounded() {
        let learned = Learned::default();
        for inode in 0..3 * MOST as u64 {
            learned.begin(key(inode), 1);
            (0..3).for_each(|site| traps(&learned, key(inode), 0x1010 + site, 1));
        }
        let table = learned.table.lock();
        assert!(table.sites + table.texts.len() <= MOST);
        assert_eq!(table.sites, table.texts.values().map(|text| text.len()).sum::<usize>());
        assert!(table.texts.contains_key(&key(3 * MOST as u64 - 1)));
    }
}
