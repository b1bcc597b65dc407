//! Files on their way through queues: [`InFlight`] counts them, and [`Flights`] finds sockets that only exist in each
//! other's queues and closes them, as Linux's `unix_gc` does.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use abi::Errno;
use sentry_sync::{Level, Mutex};

use crate::socket::{Caller, Caps, FileRef, Socket};

/// With fewer flights than this a closing socket looks for garbage at once.
const SMALL: usize = 64;
/// With so many flights a send looks for garbage, and again when what is left has doubled.
const MANY: usize = 512;

/// Files on their way through a queue. Clones are the same message seen by `MSG_PEEK`.
#[derive(Clone)]
pub(crate) struct InFlight(Arc<Flight>);

struct Flight {
    id: u64,
    files: Vec<FileRef>,
    /// Which of the files are sockets.
    sockets: Vec<(usize, Weak<dyn Socket>, u64)>,
    /// The socket in whose queue the flight is; 0 before it is in one.
    holder: AtomicU64,
    uid: u32,
    flights: Arc<Flights>,
}

/// All flights of a kernel.
pub(crate) struct Flights {
    counts: Mutex<HashMap<u32, u64>>,
    /// Those that carry sockets.
    table: Mutex<Table>,
    collecting: AtomicBool,
}

#[derive(Default)]
struct Table {
    next: u64,
    flights: HashMap<u64, Weak<Flight>>,
    /// How many make a send look for garbage.
    threshold: usize,
}

impl InFlight {
    /// Puts files in flight. Errors: `ETOOMANYREFS` where the user has more in flight than open files allowed.
    pub(crate) fn new(flights: &Arc<Flights>, caller: &Caller<'_>, files: Vec<FileRef>) -> Result<InFlight, Errno> {
        let uid = caller.cred.uid;
        {
            let mut counts = flights.counts.lock();
            let count = counts.entry(uid).or_default();
            if *count > caller.nofile && !caller.caps.contains(Caps::UNLIMITED_IN_FLIGHT) {
                return Err(Errno::ETOOMANYREFS);
            }
            *count += files.len() as u64;
        }
        let sockets: Vec<_> = files
            .iter()
            .enumerate()
            .filter_map(|(at, file)| {
                let socket = (caller.socket_of)(file)?;
                Some((at, Arc::downgrade(&socket), socket.core().id))
            })
            .collect();
        let (id, crowded) = match sockets.is_empty() {
            true => (0, false),
            false => flights.next_id(),
        };
        if crowded {
            flights.collect();
        }
        let holder = AtomicU64::new(0);
        let flight = Arc::new(Flight { id, files, sockets, holder, uid, flights: Arc::clone(flights) });
        if id != 0 {
            flights.table.lock().flights.insert(id, Arc::downgrade(&flight));
        }
        Ok(InFlight(flight))
    }

    /// Notes in whose queue the files are.
    pub(crate) fn arrive(&self, holder: u64) {
        self.0.holder.store(holder, Ordering::Release);
    }

    /// Returns the files.
    pub(crate) fn files(&self) -> Vec<FileRef> {
        self.0.files.clone()
    }
}

impl Flights {
    pub(crate) fn new() -> Arc<Flights> {
        Arc::new(Flights {
            counts: Mutex::new(Level::Leaf, HashMap::new()),
            table: Mutex::new(Level::Leaf, Table { threshold: MANY, ..Table::default() }),
            collecting: AtomicBool::new(false),
        })
    }

    fn next_id(&self) -> (u64, bool) {
        let mut table = self.table.lock();
        table.next += 1;
        (table.next, table.flights.len() >= table.threshold)
    }

    /// Looks for garbage after a socket was closed, where that is quick.
    pub(crate) fn closed(&self) {
        let len = self.table.lock().flights.len();
        if len > 0 && len < SMALL {
            self.collect();
        }
    }

    /// Closes the sockets that can't be reached any more. Call without locks.
    pub(crate) fn collect(&self) {
        if self.collecting.swap(true, Ordering::AcqRel) {
            return;
        }
        let flights: Vec<Arc<Flight>> = self.table.lock().flights.values().filter_map(Weak::upgrade).collect();
        for socket in garbage(&flights) {
            socket.discard_files();
        }
        drop(flights);
        let mut table = self.table.lock();
        table.threshold = (table.flights.len() * 2).max(MANY);
        drop(table);
        self.collecting.store(false, Ordering::Release);
    }
}

/// Finds the sockets whose every file is in the queue of such a socket.
fn garbage(flights: &[Arc<Flight>]) -> Vec<Arc<dyn Socket>> {
    let mut in_flight: HashMap<u64, (usize, usize, &Weak<dyn Socket>)> = HashMap::new();
    let mut held: HashMap<u64, Vec<&Flight>> = HashMap::new();
    for flight in flights {
        held.entry(flight.holder.load(Ordering::Acquire)).or_default().push(flight);
        for (at, socket, id) in &flight.sockets {
            let references = flight.files.get(*at).map_or(usize::MAX, Arc::strong_count);
            in_flight.entry(*id).or_insert((0, references, socket)).0 += 1;
        }
    }
    // Somebody else has the file: a descriptor, a call under way.
    in_flight.retain(|_, (count, references, _)| count == references);
    let mut queue: Vec<u64> = held.keys().copied().filter(|holder| !in_flight.contains_key(holder)).collect();
    let mut reached: HashSet<u64> = queue.iter().copied().collect();
    while let Some(holder) = queue.pop() {
        let carried = held.get(&holder).into_iter().flatten().flat_map(|flight| &flight.sockets);
        queue.extend(carried.map(|(_, _, id)| *id).filter(|id| reached.insert(*id)));
    }
    let lost = in_flight.iter().filter(|(id, _)| !reached.contains(id));
    lost.filter_map(|(_, (_, _, socket))| socket.upgrade()).collect()
}

impl Drop for Flight {
    fn drop(&mut self) {
        if self.id != 0 {
            self.flights.table.lock().flights.remove(&self.id);
        }
        let mut counts = self.flights.counts.lock();
        if let Some(count) = counts.get_mut(&self.uid) {
            *count = count.saturating_sub(self.files.len() as u64);
            if *count == 0 {
                counts.remove(&self.uid);
            }
        }
        drop(counts);
        drop_files(std::mem::take(&mut self.files));
    }
}

thread_local! {
    /// Files to be dropped by the outermost [`drop_files`] of this thread, where there is one.
    static DROPPING: RefCell<Option<Vec<Vec<FileRef>>>> = const { RefCell::new(None) };
}

/// Drops files one after the other. A file may be a socket whose queue holds files, and so on: a guest can build chains
/// of any length, so nothing here may recurse.
fn drop_files(files: Vec<FileRef>) {
    let nested = DROPPING.with_borrow_mut(|waiting| match waiting {
        Some(waiting) => {
            waiting.push(files);
            None
        }
        None => {
            *waiting = Some(Vec::new());
            Some(files)
        }
    });
    let Some(mut files) = nested else { return };
    loop {
        drop(files);
        match DROPPING.with_borrow_mut(|waiting| waiting.as_mut().and_then(Vec::pop)) {
            Some(next) => files = next,
            None => break,
        }
    }
    DROPPING.set(None);
}
