//! How guest code is run. *The* unsafe crate: raw host calls, stubs and shared memory live here and nowhere else.
//!
//! Everything above sees three traits: [`Platform`] (makes address spaces, is polled by the kernel's workers),
//! [`AddressSpace`] (one guest memory, read and written from outside) and [`Context`] (one guest thread: registers in,
//! one [`Event`] out). Implementations: `systrap` (seccomp trap and shared memory) and `ptrace` (portable, slow, the
//! reference). Knows nothing of tasks, files or system-call semantics.
//!
//! Guest memory *is* host memory of a stub process. The kernel decides what is mapped where and keeps the books; a
//! context performs the [`MemOp`]s natively in its own address space.

use std::ops::Range;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use abi::Errno;
use abi::flags::Prot;

pub mod caller;
mod counters;
pub mod error;
pub mod ext;
pub mod host_calls;
pub mod host_socket;
mod memory_limits;
pub mod mount_ids;
pub mod ptrace;
pub mod refused;
pub mod regs;
pub mod spawn;
pub mod systrap;
pub mod trim;
pub mod xstate;

pub use error::PlatformError;
pub use ext::{ContextExt, auxiliary};
pub use memory_limits::{MemoryLimit, MemoryLimits};
pub use ptrace::figures::PROC_OF_STUBS;
pub use ptrace::smaps::ResidentPart;
pub use regs::Registers;

/// Why a context stopped running guest code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The guest made a system call: number in `rax`/`orig_rax`, arguments in `rdi rsi rdx r10 r8 r9`, `rip` after the
    /// `syscall` instruction. The kernel answers by setting `rax` and starting the context again.
    Syscall,
    /// Guest code faulted; registers are those at the fault.
    Fault(Fault),
    /// [`Interrupt::interrupt`] was called. No side effect on the registers.
    Interrupted,
    /// The host refused an operation of [`Context::start_after`]: guest code has not run, the registers are as they were.
    Refused(MemOpError),
    /// The host thread behind the context is gone (killed by the host, or it attacked its stub). It can't run again.
    Dead(Death),
}

/// A hardware exception in guest code, as the host's `siginfo_t` and `sigcontext` describe it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Fault {
    /// SIGSEGV, SIGBUS, SIGFPE, SIGILL or SIGTRAP.
    pub signo: i32,
    /// `si_code`.
    pub code: i32,
    /// `si_addr`.
    pub addr: u64,
    /// `trapno` of the signal context.
    pub trapno: u64,
    /// `err` of the signal context.
    pub error: u64,
    /// `cr2` of the signal context.
    pub cr2: u64,
}

/// Why a stub thread died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// The host killed it with this signal.
    Signal(i32),
    /// It broke the protocol between stub and sentry; the text says how.
    Protocol(&'static str),
}

/// One change of an address space, performed by the host on behalf of a context, or one memory question. Addresses are
/// page-aligned and inside [`Platform::user_range`]: the kernel has checked them.
#[derive(Clone, Debug)]
#[allow(missing_docs)] // the fields are the arguments of the call named
pub enum MemOp {
    /// Maps anonymous memory at exactly this place, replacing what is there. `flags` are host `MAP_*` bits besides
    /// FIXED and ANONYMOUS: PRIVATE or SHARED, GROWSDOWN, NORESERVE, POPULATE, LOCKED, STACK.
    MapAnonymous { addr: u64, len: u64, prot: Prot, flags: u32 },
    /// Maps a host file at exactly this place. `flags`: PRIVATE or SHARED, POPULATE, NORESERVE, LOCKED.
    MapFile { addr: u64, len: u64, prot: Prot, flags: u32, file: Arc<OwnedFd>, offset: u64 },
    /// Unmaps.
    Unmap { addr: u64, len: u64 },
    /// Changes protection.
    Protect { addr: u64, len: u64, prot: Prot },
    /// Moves or resizes; the new place is exact (`MREMAP_MAYMOVE|MREMAP_FIXED` where it differs), `flags` may hold
    /// `MREMAP_DONTUNMAP`.
    Remap { old: u64, old_len: u64, new: u64, new_len: u64, flags: u32 },
    /// `madvise(2)` with this advice.
    Advise { addr: u64, len: u64, advice: i32 },
    /// `msync(2)`.
    Sync { addr: u64, len: u64, flags: i32 },
    /// `mlock2(2)` with these flags.
    Lock { addr: u64, len: u64, flags: u32 },
    /// `munlock(2)`.
    Unlock { addr: u64, len: u64 },
    /// `membarrier(2)`; the result is the call's.
    Membarrier { cmd: i32, flags: u32, cpu: i32 },
    /// `rseq(2)` of the thread that performs it: its guest code runs in that host thread, so the host's own aborts at
    /// preemption, migration and signals are the guest's. A new thread of the address space has no registration, a copy
    /// of the process keeps it (as the guest's do).
    Rseq { addr: u64, len: u32, flags: u32, signature: u32 },
    /// Atomically replaces the 32-bit word at `addr` by `new` if it equals `old`; the result is the word found.
    CompareExchange { addr: u64, old: u32, new: u32 },
    /// Writes bytes, at most [`WRITE_MOST`], to memory that the guest may write.
    Write { addr: u64, bytes: Arc<[u8]> },
    /// Stores one byte.
    StoreByte { addr: u64, byte: u8 },
    /// `mincore(2)`; the residency bytes are written to guest memory at `vec` by the host itself.
    Mincore { addr: u64, len: u64, vec: u64 },
    /// Wakes up to `count` threads that sleep on the word at `addr` without the kernel's knowledge
    /// (`FUTEX_WAKE_BITSET | FUTEX_PRIVATE_FLAG`); the result is how many.
    FutexWake { addr: u64, count: u32, bitset: u32 },
    /// Wakes up to `wake` such threads and has up to `requeue` others sleep on the word at `to`, if the word at `addr` holds
    /// `expected` or that doesn't matter (`FUTEX_CMP_REQUEUE` or `FUTEX_REQUEUE`, with `FUTEX_PRIVATE_FLAG`); the result is
    /// how many.
    FutexRequeue { addr: u64, wake: u32, requeue: u32, to: u64, expected: Option<u32> },
    /// Has the host's own `/proc` show the guest's arguments: `PR_SET_MM_MAP` (`man 2 PR_SET_MM`) with the
    /// `struct prctl_mm_map` at `addr` ([`MM_MAP_LEN`] bytes). Hosts without checkpointing refuse.
    Describe { addr: u64 },
}

/// Most bytes of one [`MemOp::Write`].
pub const WRITE_MOST: usize = 0x4000;

/// Length of `struct prctl_mm_map` (`linux/prctl.h`).
pub const MM_MAP_LEN: u32 = 104;

/// Failure of one operation of a batch; earlier ones have taken effect, later ones were not tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemOpError {
    /// Index of the operation that failed.
    pub index: usize,
    /// What the host said. A guest-visible error where the operation is one that the guest asked for.
    pub errno: Errno,
}

/// Future that the platform's few slow operations return.
pub type BoxFuture<'a, T> = std::pin::Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A new address space and the context of its first thread, which has not run yet.
pub type NewProcess = (Arc<dyn AddressSpace>, Box<dyn Context>);

/// Where the host's vDSO and its data pages stand in every guest address space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vdso {
    /// The ELF image; its start is `AT_SYSINFO_EHDR`. Empty if the host has none.
    pub image: Range<u64>,
    /// The data pages in front of it.
    pub data: Range<u64>,
}

/// A way of running guest code.
pub trait Platform: Send + Sync {
    /// Returns `"systrap"` or `"ptrace"`.
    fn name(&self) -> &'static str;

    /// Returns the most workers that may poll this platform, `None` for as many as there are CPUs. With `Some(1)` the one
    /// worker must be the thread that created the platform.
    fn max_workers(&self) -> Option<usize>;

    /// Returns the addresses a guest may use, page-aligned.
    fn user_range(&self) -> Range<u64>;

    /// Returns where the vDSO is; it lies outside [`Platform::user_range`] or in a part the kernel must keep free.
    fn vdso(&self) -> Vdso;

    /// Makes an empty address space (nothing mapped in the user range) and its first context.
    fn new_process(&self) -> BoxFuture<'_, Result<NewProcess, PlatformError>>;

    /// Returns how system calls of a guest can be made cheaper by patching its code, where that is possible.
    fn patching(&self) -> Option<&dyn Patching> {
        None
    }

    /// Looks for events of running contexts without waiting, and wakes the tasks that they belong to. Returns whether
    /// there were any. Called by workers, often.
    fn poll(&self) -> bool;

    /// Sleeps until a context has an event, [`Platform::unpark`] is called or the time is over. An `unpark` that comes
    /// just before counts. Called by a worker that has nothing to do; may spin for a bounded time first.
    fn park(&self, timeout: Option<Duration>);

    /// Has workers look after a descriptor along with the contexts, from now on: `serve` is called whenever it can be
    /// read, and tells whether there was something to do. Once for a platform; false where it can't, and a thread of the
    /// caller's must.
    fn attend(&self, _fd: BorrowedFd<'_>, _serve: Box<dyn Fn() -> bool + Send + Sync>) -> bool {
        false
    }

    /// Wakes one worker that is in, or about to enter, [`Platform::park`]. May be called from any thread.
    fn unpark(&self);

    /// Called every few milliseconds while there is work, and at least once after it: what was put off is done. From any thread.
    fn tidy(&self) {}

    /// Tells that nothing has happened for some time: what is kept for speed alone goes.
    fn rest(&self) {}

    /// Tells that a worker between two polls is held up by the host, and that no guest is to count on it. What guests asked
    /// for before that is found by the next worker that polls: see to it that one does.
    fn worker_lost(&self) {}

    /// Returns what has happened how often, for whoever wants to know why something is slow.
    fn counters(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    /// Takes [`Platform::worker_lost`] back. The two may come in either order.
    fn worker_found(&self) {}

    /// Tells that the calling thread, which [`Platform::worker_lost`] has told of, works no more.
    fn worker_gone(&self) {}

    /// Tells whether the host holds up a thread of this process. One that is ready to run but has no processor isn't.
    fn waits_for_host(&self, _tid: i32) -> bool {
        false
    }
}

/// Makes the code by which a patched system call reaches the sentry without a trap.
///
/// The kernel keeps a *region* of guest memory within 2 GiB of the sites it patches: first [`Patching::common`], then
/// thunks. A site whose call is displaced jumps to its thunk instead of executing the instruction before its `syscall`;
/// the event that comes of it is [`Event::Syscall`] with the registers that a trap would have had, except that `rip`
/// may be told otherwise (`resume`).
pub trait Patching: Send + Sync {
    /// Returns the code at the start of each region.
    fn common(&self) -> &[u8];

    /// Returns the bytes from one thunk to the next, a multiple of 8.
    fn thunk_len(&self) -> u64;

    /// Returns the thunk at address `at` of the region at `region`: executes `displaced` (position-independent, leaves the
    /// call's number in `rax`), and makes a system call that returns to `resume`, two bytes before which a `syscall`
    /// instruction stands. `None` where the places are too far apart.
    fn thunk(&self, region: u64, at: u64, displaced: &[u8], resume: u64) -> Option<Vec<u8>>;

    /// Returns the `resume` of the call that a thread makes which has stopped at `offset` in the common code.
    fn return_address(&self, offset: u64, regs: &Registers) -> u64;

    /// Tells whether [`Patching::cpuid`] makes anything.
    fn knows_cpuid(&self) -> bool;

    /// Returns a thunk that loads what `cpuid` answers for a leaf between `0x8000_0000` and `0x8000_0008`, which is the same on all
    /// processors and for all values of `ecx`, and goes on at `resume`.
    fn cpuid(&self, at: u64, leaf: u32, resume: u64) -> Option<Vec<u8>>;
}

/// Most places of one copy.
pub const PLACES: usize = 16;

/// Copies place by place, each with its part of a buffer, until one can't be copied as a whole; returns the bytes copied.
pub(crate) fn each_place(places: &[(u64, usize)], mut copy: impl FnMut(u64, Range<usize>) -> usize) -> usize {
    let mut done = 0;
    for (addr, len) in places {
        let copied = copy(*addr, done..done + len);
        done += copied;
        if copied < *len {
            break;
        }
    }
    done
}

/// One guest memory.
pub trait AddressSpace: Send + Sync {
    /// Copies from guest memory until the buffer is full or memory can't be read; returns the bytes copied.
    fn read(&self, addr: u64, buf: &mut [u8]) -> usize;

    /// Copies to guest memory until all is written or memory can't be written; returns the bytes copied.
    fn write(&self, addr: u64, buf: &[u8]) -> usize;

    /// As [`AddressSpace::read`], from several places in order, at most [`PLACES`], with lengths that add up to the buffer's.
    fn read_list(&self, places: &[(u64, usize)], buf: &mut [u8]) -> usize {
        each_place(places, |addr, part| self.read(addr, &mut buf[part]))
    }

    /// As [`AddressSpace::write`], to several places in order, at most [`PLACES`], with lengths that add up to the buffer's.
    fn write_list(&self, places: &[(u64, usize)], buf: &[u8]) -> usize {
        each_place(places, |addr, part| self.write(addr, &buf[part]))
    }

    /// Copies what came from this address with the system call that the caller is serving, as far as it is at hand; 0 where
    /// nothing is.
    fn peek(&self, addr: u64, buf: &mut [u8]) -> usize {
        let _ = (addr, buf);
        0
    }

    /// Writes with the reply to the system call that the caller is serving, for a thread of this memory, where that is
    /// cheaper; `false`: not now. To be the last that the call does: by the time of a fault it can't choose any more what
    /// it returns.
    fn write_later(&self, addr: u64, buf: &[u8], short: Short) -> bool {
        let _ = (addr, buf, short);
        false
    }

    /// As [`AddressSpace::write_later`], for bytes of a file that is mapped in this address space, too: its thread copies them
    /// between there and these places in order, at most [`PLACES`], with lengths that add up to theirs. The call returns
    /// their number, or as many as could be moved.
    fn copy_later(&self, places: &[(u64, usize)], bytes: FileBytes) -> bool {
        let _ = (places, bytes);
        false
    }

    /// Returns the addresses above the guest's that the kernel may use for mappings of its own, by [`MemOp::MapFile`],
    /// [`MemOp::Unmap`] and [`MemOp::Advise`]; none where there is no [`AddressSpace::copy_later`]. The guest may read and
    /// falsify what is there, for itself.
    fn own_range(&self) -> Range<u64> {
        0..0
    }

    /// Hears that all memory of a range is private, anonymous, neither locked nor executable: advice about it that changes no mapping
    /// (`MADV_DONTNEED` and its like) need not come to the kernel until an operation is begun that changes this. None may be under way.
    fn let_advise(&self, _range: Range<u64>) {}

    /// Hears which commands of `membarrier(2)` are registered for this memory: those barriers need not come to the kernel.
    fn let_barrier(&self, _registered: i32) {}

    /// Hears that a thread of this memory is about to sleep on the word at `addr` (`FUTEX_PRIVATE_FLAG`), before the word is
    /// looked at. Until [`AddressSpace::end_sleep`] each wake-up there comes to the kernel; others may be answered without.
    fn begin_sleep(&self, _addr: u64) {}

    /// Takes that back.
    fn end_sleep(&self, _addr: u64) {}

    /// Tells whether threads of this memory may sleep on the word at `addr` (`FUTEX_PRIVATE_FLAG`) without the kernel's
    /// knowledge: a wake-up has to go on with [`MemOp::FutexWake`].
    fn may_sleep_on_host(&self, _addr: u64) -> bool {
        false
    }

    /// Hears, before [`MemOp::FutexRequeue`], that such threads may sleep on this word from now on.
    fn expect_moved(&self, _addr: u64) {}

    /// Returns the host process id of the stub process (for `/proc` of the host: smaps and figures), as seen from the
    /// sentry's pid namespace.
    fn host_pid(&self) -> i32;

    /// Returns what of the memory is resident, `None` where the host can't be asked. Takes about ten microseconds.
    fn resident(&self) -> Option<Resident> {
        None
    }

    /// Returns what is resident by mapping of the host, in order; nothing where it can't be asked.
    fn resident_parts(&self) -> Vec<ResidentPart> {
        Vec::new()
    }

    /// Returns the host's entries of `pagemap` for so many pages, from one on; nothing where the host can't be asked.
    fn page_entries(&self, _first: u64, _count: u64) -> Vec<u64> {
        Vec::new()
    }

    /// Hears how many bytes of its own nobody will use any more, before it is given up. What has few may be kept for some
    /// milliseconds.
    fn note_end(&self, _bytes: u64) {}

    /// Returns what will tell what was resident at most, for an address space that nobody will use any more; `None` where the
    /// platform doesn't find out.
    fn peak(&self) -> Option<Arc<dyn Peak>> {
        None
    }

    /// Returns how many bytes are resident, 0 where the host can't be asked. Cheaper than [`AddressSpace::resident`].
    fn resident_now(&self) -> u64 {
        0
    }
}

/// What was resident at most of an address space that ends.
pub trait Peak: Send + Sync {
    /// Returns the bytes, if they are known by now. Takes no lock.
    fn known(&self) -> Option<u64>;

    /// Returns the bytes, having waited for the end of the address space; as many as there have been by now, if others look at
    /// it still.
    fn wait(&self) -> u64;
}

/// Bytes of a file, and where a mapping of an address space has them.
#[derive(Clone)]
pub struct FileBytes {
    /// The file, for what can't be copied by way of the mapping.
    pub file: Arc<dyn MappedFile>,
    /// Their place in the file.
    pub offset: u64,
    /// Their address in the mapping.
    pub at: u64,
    /// How many, more than 0.
    pub len: u32,
    /// Which way they go.
    pub direction: Direction,
    /// The file's own position has been moved by that.
    pub moved: bool,
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the file to guest memory.
    Read,
    /// From guest memory to the file.
    Write,
}

/// A file as the platform knows it.
pub trait MappedFile: Send + Sync {
    /// Reads; returns the bytes, 0 at the end of the file.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, Errno>;

    /// Writes; returns the bytes.
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<usize, Errno>;

    /// Hears that of the bytes up to `end`, by which its position was moved, the last `missing` could not be copied.
    fn fell_short(&self, end: u64, missing: u64);
}

impl std::fmt::Debug for FileBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FileBytes({:?} {} at {})", self.direction, self.len, self.offset)
    }
}

/// What a system call returns where not all of its last bytes can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Short {
    /// `EFAULT`.
    Fails,
    /// The bytes written, with those written before, or `EFAULT` if that is none.
    Counts(u64),
}

impl Short {
    const FAULT: u64 = (-(libc::EFAULT as i64)).cast_unsigned();

    pub(crate) fn result(self, written: u64) -> u64 {
        match self {
            Short::Counts(before) if before.saturating_add(written) > 0 => before.saturating_add(written),
            _ => Short::FAULT,
        }
    }

    /// As one number.
    pub(crate) fn before(self) -> u64 {
        match self {
            Short::Fails => u64::MAX,
            Short::Counts(before) => before,
        }
    }

    pub(crate) fn from_before(before: u64) -> Short {
        if before == u64::MAX { Short::Fails } else { Short::Counts(before) }
    }
}

/// Resident memory in bytes, the stub's own few pages included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resident {
    /// Now.
    pub now: u64,
    /// The most there was.
    pub peak: u64,
    /// Of `now`: anonymous memory.
    pub anonymous: u64,
    /// Of `now`: files.
    pub file: u64,
    /// Of `now`: shared and in memory only.
    pub shared: u64,
}

/// What the host has counted for a guest thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ThreadFigures {
    /// Time in guest code.
    pub user: Duration,
    /// Time of the host's kernel.
    pub system: Duration,
    /// Page faults without I/O.
    pub minor_faults: u64,
    /// Page faults with I/O.
    pub major_faults: u64,
}

/// One guest thread. Owned by the task that it runs; not shared.
pub trait Context: Send {
    /// Lets guest code run with these registers. Ask [`Context::poll_event`] for what comes of it.
    fn start(&mut self, regs: &Registers);

    /// As [`Context::start`], once the host has performed operations on the guest's way back, which saves a crossing. `false`:
    /// not now, or not with these, and nothing was begun. Only between a system call and the next start. Other threads
    /// learn by [`Interrupt::has_performed`] that they are done, the caller by any event but [`Event::Refused`].
    fn start_after(&mut self, ops: &[MemOp], regs: &Registers) -> bool {
        let _ = (ops, regs);
        false
    }

    /// Returns the number of the next run, for [`Interrupt::has_performed`].
    fn next_run(&self) -> u32 {
        0
    }

    /// Returns the event that ended the run, or arranges for `cx` to be woken. With [`Event::Syscall`] only the number and
    /// the arguments are certain to be in `regs`; [`Context::complete`] gets the rest. With other events all registers are
    /// there.
    fn poll_event(&mut self, cx: &mut std::task::Context<'_>, regs: &mut Registers) -> Poll<Event>;

    /// Writes what [`AddressSpace::write_later`] has left, now; returns what the call is to return if that has failed. Only
    /// before guest code is to see something else than the call's end; a start does the same.
    fn flush(&mut self) -> Option<u64> {
        None
    }

    /// Tells that the worker has other tasks to go on with: the next [`Context::poll_event`] that finds nothing shall not
    /// wait for the guest.
    fn hurry(&mut self) {}

    /// Fills in the registers that the last event left out; `rax` stays as it is. The next start takes all registers if
    /// this was called, else it looks at `rax` only.
    fn complete(&mut self, regs: &mut Registers) {
        let _ = regs;
    }

    /// Tells whether the last event was a system call that came by a trap, whose site is worth patching.
    fn trapped(&self) -> bool {
        false
    }

    /// Begins a batch of memory operations in this context's address space. Only between an event and the next start,
    /// one batch at a time.
    fn submit(&mut self, ops: &[MemOp]);

    /// Returns the result of the batch: that of its last operation.
    fn poll_ops(&mut self, cx: &mut std::task::Context<'_>) -> Poll<Result<u64, MemOpError>>;

    /// Returns a handle that interrupts this context from anywhere.
    fn interrupter(&self) -> Arc<dyn Interrupt>;

    /// Makes another thread in this address space. Its floating-point state is a copy of this one's.
    fn new_thread(&mut self) -> BoxFuture<'_, Result<Box<dyn Context>, PlatformError>>;

    /// Copies the address space (copy-on-write, `MADV_DONTFORK` and `MADV_WIPEONFORK` honoured by the host) with a
    /// context that is a copy of this one.
    fn fork(&mut self) -> BoxFuture<'_, Result<NewProcess, PlatformError>>;

    /// Reads the floating-point and vector state in the processor's standard XSAVE layout (what follows `fpstate` in a
    /// signal frame). Bytes 464 to 471 hold the enabled feature mask (`XCR0` less what the host withholds), as in the
    /// `NT_X86_XSTATE` register set of ptrace; the other software-reserved bytes are zero.
    fn fpstate(&mut self) -> BoxFuture<'_, Result<Vec<u8>, PlatformError>>;

    /// Replaces the floating-point state by one in XSAVE layout, as a guest gave it: `EINVAL` where the processor
    /// would refuse it.
    fn set_fpstate<'a>(&'a mut self, xsave: &'a [u8]) -> BoxFuture<'a, Result<(), PlatformError>>;

    /// Returns the bytes of floating-point state that [`Context::write_frame`] would write, notes and end mark included; `None`
    /// where the caller writes signal frames by itself.
    fn frame_state_len(&self) -> Option<u64> {
        None
    }

    /// Writes a signal frame: `frame` to `at`; the floating-point state, laid out as Linux does (`fpstate` of the signal
    /// context), to `state`, a multiple of 64; and then puts that state to the one of a new program. `false`: guest memory
    /// can't take it; some of it may be written. Only where [`Context::frame_state_len`] has said so.
    fn write_frame<'a>(
        &'a mut self,
        at: u64,
        frame: &'a [u8],
        state: u64,
    ) -> BoxFuture<'a, Result<bool, PlatformError>> {
        let _ = (at, frame, state);
        Box::pin(std::future::ready(Ok(false)))
    }

    /// Puts the floating-point state to that of a new program.
    fn reset_fpstate(&mut self);

    /// Tells whether an event that stops guest code inside an `rseq` critical section has already led to the section's
    /// abort. Else the kernel does it where it sees such an event.
    fn aborts_rseq(&self) -> bool;
}

/// What a thread is told about itself; the numbers that [`Answers`] holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the calls that tell them
pub enum Identity {
    Getpid = 1,
    Gettid = 2,
    Getppid = 3,
    Getuid = 4,
    Geteuid = 5,
    Getgid = 6,
    Getegid = 7,
    Getpgrp = 8,
    Getsid = 9,
}

/// What a thread says of itself by a call that has no other effect before the thread ends; [`Answers`] holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Head of the robust list.
    RobustList = 0,
    /// Where its id is to be cleared.
    ClearTid = 1,
}

/// Numbers of the system calls by which a guest changes what [`Answers`] keep for it. It can change that without these calls,
/// too: nothing is to be kept for a thread that may not make one of them.
pub const STATE_CALLS: [u32; 5] = systrap::STATE_CALLS;

/// System calls of one thread that are answered without an event: those about its identity, time and CPU, `sched_yield`, advice about
/// memory, barriers, the base of fs, those that set a [`Word`], `rt_sigprocmask` and `sigaltstack`, for which the thread's signal mask and alternate stack are kept
/// here, and `rt_sigreturn` from frames that change nothing but registers, floating-point state and that mask.
///
/// What stands here is in the hands of the guest. A wrong value deceives nobody but the thread's own process.
pub trait Answers: Send + Sync {
    /// Begins to answer the calls whose numbers are let, with this mask and what was set before. Signals count as pending.
    fn begin(&self, mask: u64, lets: &dyn Fn(u32) -> bool);

    /// Answers from now on only those whose numbers are let.
    fn restrict(&self, lets: &dyn Fn(u32) -> bool);

    /// Ends it: calls that begin after this are events. The mask may still change by one that has begun, until the thread's
    /// next event.
    fn end(&self);

    /// Changes a number.
    fn set(&self, what: Identity, value: u32);

    /// Returns the signal mask, `SIGKILL` and `SIGSTOP` never among it.
    fn mask(&self) -> u64;

    /// Replaces the mask. Only between an event and the next start.
    fn set_mask(&self, mask: u64);

    /// Returns a word as the thread has last set it.
    fn word(&self, word: Word) -> u64;

    /// Changes a word. Only before [`Answers::begin`] and between an event and the next start.
    fn set_word(&self, word: Word, value: u64);

    /// Returns the alternate signal stack: `sp`, `flags` as they were given, `size`. Any values may stand there.
    fn stack(&self) -> (u64, i32, u64);

    /// Replaces the alternate signal stack. Only before [`Answers::begin`] and between an event and the next start.
    fn set_stack(&self, sp: u64, flags: i32, size: u64);

    /// Says whether signals may be pending, blocked ones too. While that is so, each change of the mask is an event. One
    /// under way when it comes to be so ends with [`Event::Interrupted`], unless what follows sees the new mask.
    fn set_pending(&self, pending: bool);

    /// Returns how many calls were answered.
    fn count(&self) -> u64;
}

/// Interrupts one context.
pub trait Interrupt: Send + Sync {
    /// Makes the current or next run end soon with [`Event::Interrupted`] (or with the event it was about to end with).
    /// Interrupts that nobody has seen yet count once.
    fn interrupt(&self);

    /// Returns what the platform can answer for the thread without an event, if it can.
    fn answers(&self) -> Option<Arc<dyn Answers>> {
        None
    }

    /// Tells whether the operations, or the writing ([`AddressSpace::write_later`]), with which this run began are done. That
    /// is the guest's own word: only what it is told about its own memory may rest on it. Ask while the run lasts.
    fn has_performed(&self, run: u32) -> bool {
        let _ = run;
        false
    }

    /// Returns a number of what guest code or its stub has not answered yet; the same number is the same answer. `None` where
    /// nothing is owed, and where the host makes sure of answers.
    fn owes(&self) -> Option<u64> {
        None
    }

    /// Tells whether guest code sleeps without the kernel's knowledge. That is the guest's own word.
    fn sleeps(&self) -> bool {
        false
    }

    /// Kills the process that runs this thread and all others of its address space, which ends all of them.
    fn kill(&self, reason: &'static str) {
        let _ = reason;
    }

    /// Returns the processor time that the guest thread has used, as the host's scheduler counts it.
    fn cpu_time(&self) -> Duration;

    /// Returns everything the host has counted for the guest thread. Dearer than [`Interrupt::cpu_time`].
    fn figures(&self) -> ThreadFigures {
        ThreadFigures { user: self.cpu_time(), ..ThreadFigures::default() }
    }
}
