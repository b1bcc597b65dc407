//! The first stub: forked from the sentry while that has one thread, emptied, confined, and from then on only forked
//! from. No guest code ever runs in it.
//!
//! The sentry maps the stub region into itself, forks, and removes it again; the child jumps into the stub at once, and
//! does everything else as operations that the sentry asks of it.

use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use abi::Errno;

use super::fpu::Fpu;
use super::hub::{Hub, STUB_LOOKS, Setup};
use super::layout::{
    self, CODE_LEN, INTERRUPT, STUB, STUB_END, TASK_END, USER_END, call, command, control, field, frame,
};
use super::process::Proc;
use super::shared::{CONTEXT_SIZE, Shared};
use super::thread::{IDLE, Thread};
use super::{Options, Spin, filter, host, stub};
use crate::ptrace::figures::Figures;
use crate::{PlatformError, Vdso, xstate};

const HINT: &str = "systrap needs Linux 5.15 or newer, seccomp with user notifications, and /proc where the sentry starts; \
                    try --platform=ptrace";
const PAGE: usize = 4096;
/// `mmap_min_addr` of nearly every host.
const LOWEST: u64 = 0x1_0000;
/// How long the zygote may take for one step.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long we wait for a step without sleeping.
const SOON: Duration = Duration::from_millis(1);
/// How often we look for the end of a step before we ask the host about anything.
const ROUNDS: u32 = 1000;

fn failed(what: &'static str) -> impl Fn(Errno) -> PlatformError {
    move |errno| PlatformError::Host { what, errno, hint: HINT }
}

fn raw(error: rustix::io::Errno) -> Errno {
    Errno::from_raw(error.raw_os_error())
}

/// Memory that the sentry shares with stubs.
struct Memory {
    contexts: Shared,
    memory: OwnedFd,
    control: Shared,
    /// The control page for reading only: a mapping of it can't be made writable.
    control_read: OwnedFd,
}

fn memfd(name: &str, len: u64) -> Result<OwnedFd, PlatformError> {
    let what = failed("making shared memory");
    let file = rustix::fs::memfd_create(name, rustix::fs::MemfdFlags::CLOEXEC).map_err(raw).map_err(&what)?;
    rustix::fs::ftruncate(&file, len).map_err(raw).map_err(&what)?;
    Ok(file)
}

fn map_shared(file: &OwnedFd, len: usize) -> Result<Shared, PlatformError> {
    let prot = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_SHARED | libc::MAP_NORESERVE;
    // SAFETY: a new mapping at a place of the host's choice touches no other memory.
    let base = unsafe { libc::mmap(std::ptr::null_mut(), len, prot, flags, file.as_raw_fd(), 0) };
    if base == libc::MAP_FAILED {
        return Err(failed("mapping shared memory")(host::last_errno()));
    }
    // SAFETY: the mapping has this length and is never removed.
    Ok(unsafe { Shared::new(base.cast(), len) })
}

fn make_memory() -> Result<Memory, PlatformError> {
    let len = layout::SLOTS as usize * CONTEXT_SIZE;
    let memory = memfd("runsc-contexts", len as u64)?;
    let contexts = map_shared(&memory, len)?;
    let control_file = memfd("runsc-control", PAGE as u64)?;
    let control = map_shared(&control_file, PAGE)?;
    let path = format!("/proc/self/fd/{}", control_file.as_raw_fd());
    let read = std::fs::File::open(path).map_err(Errno::from).map_err(failed("opening shared memory for reading"))?;
    Ok(Memory { contexts, memory, control, control_read: read.into() })
}

/// Maps at exactly this place in the sentry, where nothing may be.
fn map_here(addr: u64, len: usize, prot: i32, flags: i32, file: Option<&OwnedFd>) -> Result<(), PlatformError> {
    let place = std::ptr::without_provenance_mut(addr as usize);
    let flags = flags | libc::MAP_FIXED_NOREPLACE;
    let fd = file.map_or(-1, AsRawFd::as_raw_fd);
    // SAFETY: NOREPLACE: the mapping replaces nothing.
    let got = unsafe { libc::mmap(place, len, prot, flags, fd, 0) };
    if got == libc::MAP_FAILED {
        return Err(failed("mapping the stub region")(host::last_errno()));
    }
    Ok(())
}

/// Removes the stub region from the sentry.
struct Region;

impl Drop for Region {
    fn drop(&mut self) {
        let len = (STUB_END - STUB) as usize;
        // SAFETY: only `Region::map` has mapped anything there, and nothing in the sentry refers to it.
        unsafe { libc::munmap(std::ptr::without_provenance_mut(STUB as usize), len) };
    }
}

impl Region {
    fn map(memory: &Memory) -> Result<Region, PlatformError> {
        let (read, write) = (libc::PROT_READ, libc::PROT_READ | libc::PROT_WRITE);
        map_here(STUB, CODE_LEN as usize, write, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, None)?;
        let region = Region;
        let code = stub::code();
        let place: *mut u8 = std::ptr::with_exposed_provenance_mut(STUB as usize);
        // SAFETY: the pages were just mapped writable, and the code is shorter (unit test).
        unsafe { std::ptr::copy_nonoverlapping(code.as_ptr(), place, code.len().min(CODE_LEN as usize)) };
        // SAFETY: the pages are those just mapped.
        if unsafe { libc::mprotect(place.cast(), CODE_LEN as usize, read | libc::PROT_EXEC) } != 0 {
            return Err(failed("protecting the stub")(host::last_errno()));
        }
        map_here(layout::CONTROL, PAGE, read, libc::MAP_SHARED, Some(&memory.control_read))?;
        map_here(layout::CONTEXTS, CONTEXT_SIZE, write, libc::MAP_SHARED, Some(&memory.memory))?;
        Ok(region)
    }
}

/// Forks; the child goes straight into the stub with all signals blocked.
fn fork(entry: u64) -> Result<i32, Errno> {
    let flags = libc::CLONE_FILES | libc::SIGCHLD;
    let pid: i64;
    // SAFETY: a fork with a shared descriptor table. The parent goes on as after any system call (rcx and r11 lost). The
    // child leaves for the stub, which is mapped, and never comes back; it uses no memory of ours but its own context.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "mov rsp, r14",
            "mov rbx, r12",
            "jmp r13",
            "2:",
            inlateout("rax") libc::SYS_clone => pid,
            in("rdi") flags,
            in("rsi") 0,
            in("rdx") 0,
            in("r10") 0,
            in("r8") 0,
            in("r12") layout::CONTEXTS,
            in("r13") entry,
            // Outside of the signal stack, so that its first frame stands at the top of that, like all later ones.
            in("r14") layout::CONTEXTS + CONTEXT_SIZE as u64,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    if pid < 0 { Err(Errno::from_raw(i32::try_from(-pid).unwrap_or(libc::EAGAIN))) } else { Ok(pid as i32) }
}

fn with_signals_blocked<T>(act: impl FnOnce() -> T) -> T {
    // SAFETY: the set is plain data, filled by the next call.
    let (mut all, mut before): (libc::sigset_t, libc::sigset_t) = unsafe { std::mem::zeroed() };
    // SAFETY: fills a live set.
    unsafe { libc::sigfillset(&raw mut all) };
    // SAFETY: both sets are live.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before) };
    let result = act();
    // SAFETY: the set was filled by the first call.
    unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, std::ptr::null_mut()) };
    result
}

/// One call that the zygote makes while it is set up.
struct Step {
    /// What a failure says.
    what: &'static str,
    nr: i64,
    args: [u64; 6],
}

/// Calls of the zygote in order, and the bytes that they point to.
#[derive(Default)]
struct Steps {
    steps: Vec<Step>,
    data: Vec<u8>,
}

impl Steps {
    fn add(&mut self, what: &'static str, nr: i64, args: [u64; 6]) {
        self.steps.push(Step { what, nr, args });
    }

    /// Puts bytes into the window; returns their address in the stub.
    fn data(&mut self, bytes: &[u8]) -> u64 {
        let at = self.data.len();
        self.data.extend_from_slice(bytes);
        self.data.resize(self.data.len().next_multiple_of(8), 0);
        layout::CONTEXTS + (field::WINDOW + at) as u64
    }

    /// The same for words.
    fn words(&mut self, words: &[u64]) -> u64 {
        let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.data(&bytes)
    }
}

/// The zygote while it is set up: performs what it is asked for in one go, as a wake-up costs more than a call.
struct Nursling {
    shared: Shared,
    pidfd: OwnedFd,
    request: u32,
}

impl Nursling {
    /// Waits until the stub has answered.
    fn wait(&self) -> Result<(), Errno> {
        let began = Instant::now();
        let answered = || self.shared.u32(field::EVENT).load(Ordering::Acquire) == self.request;
        for _ in 0..ROUNDS {
            if answered() {
                return Ok(());
            }
            std::hint::spin_loop();
        }
        while !answered() {
            if host::wait(self.pidfd.as_fd(), host::Wait::Look).is_some() {
                return Err(Errno::ESRCH);
            }
            match began.elapsed() {
                waited if waited > PATIENCE => return Err(Errno::ETIMEDOUT),
                // What it was asked for takes some microseconds.
                waited if waited < SOON => std::thread::yield_now(),
                _ => std::thread::sleep(Duration::from_micros(20)),
            }
        }
        Ok(())
    }

    fn request(&mut self, what: u32) -> Result<(), Errno> {
        self.request += 1;
        self.shared.u32(field::COMMAND).store(what, Ordering::Relaxed);
        let word = self.shared.u32(field::REQUEST);
        word.store(self.request, Ordering::SeqCst);
        let _ = rustix::thread::futex::wake(word, rustix::thread::futex::Flags::empty(), 1);
        self.wait()
    }

    fn put(&self, at: usize, nr: i64, args: [u64; 6]) {
        let place = field::OPS + at * field::OP_SIZE;
        self.shared.set(place, nr.cast_unsigned());
        for (at, arg) in args.iter().enumerate() {
            self.shared.set(place + 8 + at * 8, *arg);
        }
    }

    /// Makes these calls in order.
    fn perform(&mut self, all: &Steps) -> Result<(), PlatformError> {
        assert!(all.data.len() <= field::WINDOW_LEN, "the window holds what the calls of the zygote point to");
        self.window(&all.data);
        let mut steps = all.steps.as_slice();
        while let Some(first) = steps.first() {
            let count = steps.len().min(field::OPS_MAX);
            for (at, step) in steps.iter().take(count).enumerate() {
                self.put(at, step.nr, step.args);
            }
            self.shared.u32(field::OP_COUNT).store(count as u32, Ordering::Relaxed);
            self.request(command::OPS).map_err(failed(first.what))?;
            let done = (self.shared.u32(field::OP_DONE).load(Ordering::Relaxed) as usize).min(count);
            steps = &steps[done..];
            if let (true, Some(step)) = (done < count, steps.first()) {
                let error = self.shared.get(field::OP_RESULT).cast_signed().wrapping_neg();
                return Err(failed(step.what)(Errno::from_raw(i32::try_from(error).unwrap_or(libc::EIO))));
            }
        }
        Ok(())
    }

    fn call(&mut self, nr: i64, args: [u64; 6]) -> Result<u64, Errno> {
        self.put(0, nr, args);
        self.shared.u32(field::OP_COUNT).store(1, Ordering::Relaxed);
        self.request(command::OPS)?;
        let result = self.shared.get(field::OP_RESULT);
        match result.cast_signed() {
            error @ -4095..=-1 => Err(Errno::from_raw((-error) as i32)),
            _ => Ok(result),
        }
    }

    /// Copies to the window; returns the address in the stub.
    fn window(&self, bytes: &[u8]) -> u64 {
        self.shared.write(field::WINDOW, bytes);
        layout::CONTEXTS + field::WINDOW as u64
    }
}

/// Kills a zygote that doesn't come to be used.
struct Doomed(Option<i32>);

impl Drop for Doomed {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            // SAFETY: a child of ours that nobody has reaped.
            unsafe { libc::kill(pid, libc::SIGKILL) };
            // SAFETY: as above; no status is wanted.
            unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
        }
    }
}

/// Makes the zygote and everything shared.
pub(super) fn make(options: Options) -> Result<(std::sync::Arc<Hub>, std::sync::Arc<Thread>), PlatformError> {
    // A stub that ends must stay until we reap it.
    // SAFETY: sets a disposition; there is no handler.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
    let memory = make_memory()?;
    let vdso_here = find_vdso()?;
    let image = vdso_here.iter().find(|part| part.1).map_or(0..0, |part| part.0.clone());
    let fsgsbase = has_fsgsbase();
    let (spin, rounds) = spinning(options.spin);
    memory.control.u32(control::FSGSBASE).store(fsgsbase.into(), Ordering::Relaxed);
    memory.control.u32(control::SPIN).store(rounds.saturating_mul(STUB_LOOKS), Ordering::Relaxed);
    // While the zygote is set up nobody reads notifications.
    memory.control.u32(control::AWAKE).store(1, Ordering::Relaxed);
    let shared = memory.contexts.part(0, CONTEXT_SIZE);
    shared.u32(field::REQUEST).store(1, Ordering::SeqCst);
    shared.u32(field::ALIVE).store(1, Ordering::Relaxed);

    let region = Region::map(&memory)?;
    // A stub is to be told from its sentry, which names itself when it is confined.
    let own_name = rustix::thread::name();
    let _ = rustix::thread::set_name(c"stub");
    let pid = with_signals_blocked(|| fork(stub::announce())).map_err(failed("forking the first stub"));
    if let Ok(name) = own_name {
        let _ = rustix::thread::set_name(&name);
    }
    let pid = pid?;
    drop(region);
    let mut doomed = Doomed(Some(pid));
    let pidfd = host::pidfd_open(pid).map_err(failed("opening a pidfd of the first stub"))?;
    let mut zygote = Nursling { shared, pidfd, request: 1 };
    zygote.wait().map_err(failed("starting the first stub"))?;
    let place = set_up(&mut zygote, vdso_here)?;
    if !options.no_clocks {
        super::vdso::publish(&memory.control, &image, place.vdso.image.start);
    }
    let (listener, killable) = confine(&mut zygote, place.user.end, fsgsbase)?;
    let (frame_at, fpstate, template, fpu) = first_signal(&mut zygote)?;
    memory.control.u32(control::FRAME).store(frame_at as u32, Ordering::SeqCst);
    memory.control.set(control::FEATURES, fpu.features);
    let patchable =
        killable && place.sync_core && fsgsbase && super::patched::supported() && fpu.size <= field::FPSAVE_LEN;
    if !host::set_sync_wake_up(listener.as_fd()) {
        tracing::info!("the host has no synchronous wake-up by notifications (Linux 6.6)");
    }
    let setup = Setup {
        control: memory.control,
        contexts: memory.contexts,
        memory: memory.memory,
        listener,
        frame: frame_at,
        fpstate,
        template,
        fpu,
        user: place.user,
        vdso: place.vdso,
        fsgsbase,
        thunks: patchable.then(super::patched::Thunks::new),
        figures: Figures::new(),
        spin,
        rounds,
        copies: options.copies,
        limits: options.limits,
    };
    if setup.copies == super::Copies::All {
        super::input::publish(&setup.control);
        if setup.fpu.size <= control::INITIAL_LEN {
            setup.control.write(control::INITIAL, &setup.fpu.initial);
            setup.control.write(control::NOTES, &xstate::notes(setup.fpu.size as u32, setup.fpu.features));
        }
    }
    setup.control.u32(control::AWAKE).store(0, Ordering::SeqCst);
    let hub = Hub::new(setup).map_err(failed("making descriptors"))?;
    let thread = Thread::new(0, shared, zygote.request, IDLE);
    let slot = hub.table.allocate();
    debug_assert_eq!(slot, Some(0));
    let proc = Proc::new(pid, zygote.pidfd);
    proc.add_slot(0);
    if !hub.adopt(&proc) || thread.proc.set(proc).is_err() {
        return Err(failed("watching the first stub")(Errno::EIO));
    }
    thread.tid.store(pid, Ordering::SeqCst);
    hub.know(pid, &thread);
    hub.table.put(0, Some(std::sync::Arc::clone(&thread)));
    // What it holds is that of a new program from now on.
    super::frame::write_fpstate(&hub, &shared, &hub.setup.fpu.initial);
    doomed.0 = None;
    Ok((hub, thread))
}

/// What the sentry and the stub have to do with `rseq`: the C library registers an area for the sentry's thread, and the
/// host would go on writing there in the child.
fn rseq_area() -> Option<(u64, u32)> {
    let (offset, size): (*const i64, *const u32);
    // SAFETY: loads two addresses from the program's own table, where libraries before glibc 2.35 leave 0.
    unsafe {
        std::arch::asm!(
            ".weak __rseq_offset",
            ".weak __rseq_size",
            "mov {}, qword ptr [rip + __rseq_offset@GOTPCREL]",
            "mov {}, qword ptr [rip + __rseq_size@GOTPCREL]",
            out(reg) offset,
            out(reg) size,
            options(nostack, readonly, preserves_flags),
        );
    }
    if offset.is_null() || size.is_null() {
        return None;
    }
    // SAFETY: documented by glibc: a `const ptrdiff_t`.
    let offset = unsafe { *offset };
    // SAFETY: documented by glibc: a `const unsigned int`.
    let size = unsafe { *size };
    let base: u64;
    // SAFETY: the first word of the thread control block is its own address (x86-64 TLS ABI).
    unsafe { std::arch::asm!("mov {}, fs:0", out(reg) base) };
    (size != 0).then(|| (base.wrapping_add_signed(offset), size))
}

struct Place {
    user: Range<u64>,
    /// Threads can be made to see changed code.
    sync_core: bool,
    vdso: Vdso,
}

fn set_up(zygote: &mut Nursling, vdso: Vec<(Range<u64>, bool)>) -> Result<Place, PlatformError> {
    let word = word_of;
    if let Some((area, size)) = rseq_area() {
        const SIGNATURE: u64 = 0x5305_3053;
        // Registered with the size of the area: the original 32 bytes, or what is used rounded up.
        let sizes = [32, u64::from(size), u64::from(size).next_multiple_of(32)];
        let left = sizes.iter().any(|size| zygote.call(libc::SYS_rseq, [area, *size, 1, SIGNATURE, 0, 0]).is_ok());
        if !left {
            tracing::debug!("the first stub has no rseq area to leave");
        }
    }
    // Inherited by all stubs: lets a process with several threads change its code. Registered now since it is cheap while
    // there is one thread.
    const REGISTER_PRIVATE_EXPEDITED_SYNC_CORE: u64 = 1 << 6;
    let register = [REGISTER_PRIVATE_EXPEDITED_SYNC_CORE, 0, 0, 0, 0, 0];
    let sync_core = zygote.call(libc::SYS_membarrier, register).is_ok();
    let mut steps = Steps::default();
    let context = [layout::CONTEXTS, CONTEXT_SIZE as u64, word(libc::MADV_DONTFORK), 0, 0, 0];
    steps.add("keeping the context out of forks", libc::SYS_madvise, context);
    let death = [word(libc::PR_SET_PDEATHSIG), word(libc::SIGKILL), 0, 0, 0, 0];
    steps.add("tying the first stub to the sentry", libc::SYS_prctl, death);
    steps.add("allowing access to stubs", libc::SYS_prctl, [word(libc::PR_SET_DUMPABLE), 1, 0, 0, 0, 0]);
    steps.add("giving up privileges", libc::SYS_prctl, [word(libc::PR_SET_NO_NEW_PRIVS), 1, 0, 0, 0, 0]);
    give_up_capabilities(&mut steps);
    set_handlers(&mut steps);
    zygote.perform(&steps)?;
    let place = Place { sync_core, ..move_vdso(zygote, vdso)? };
    let vdso = place.vdso.data.start.min(place.vdso.image.start)..place.vdso.image.end;
    // The vDSO, where it could not be moved into the region.
    let (below, above) = (!vdso.is_empty() && vdso.end <= STUB, vdso.start >= STUB_END);
    let nothing = TASK_END..TASK_END;
    let keep = match (below, above) {
        (true, _) => [vdso, STUB..STUB_END, nothing],
        (_, true) => [STUB..STUB_END, vdso, nothing],
        _ => [STUB..STUB_END, nothing.clone(), nothing],
    };
    let mut at = 0;
    let mut steps = Steps::default();
    for range in keep {
        if range.start > at {
            steps.add("emptying the first stub", libc::SYS_munmap, [at, range.start - at, 0, 0, 0, 0]);
        }
        at = range.end;
    }
    zygote.perform(&steps)?;
    Ok(place)
}

fn give_up_capabilities(steps: &mut Steps) {
    const VERSION_3: u64 = 0x2008_0522;
    let header = steps.words(&[VERSION_3, 0, 0, 0, 0, 0, 0, 0]);
    let call = [header, header + 16, 0, 0, 0, 0];
    steps.add("dropping the capabilities of the first stub", libc::SYS_capset, call);
    // No core files.
    let limit = steps.words(&[0, 0]);
    steps.add("forbidding core files", libc::SYS_setrlimit, [u64::from(libc::RLIMIT_CORE), limit, 0, 0, 0, 0]);
}

/// Signals of the host that the stub handles.
const HANDLED: [i32; 7] =
    [libc::SIGSYS, libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, INTERRUPT];

fn word_of(number: i32) -> u64 {
    u64::from(number.cast_unsigned())
}

fn set_handlers(steps: &mut Steps) {
    const RESTORER: i32 = 0x0400_0000;
    for signal in (1..=64).filter(|signal| !matches!(*signal, libc::SIGKILL | libc::SIGSTOP)) {
        // The stub's own faults must reach it while it handles another event.
        let own = matches!(signal, libc::SIGSEGV | libc::SIGBUS);
        let (handler, flags) = if HANDLED.contains(&signal) {
            // A patched call is served with interrupts allowed: what the stub asks of the host goes on afterwards.
            let flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART | RESTORER;
            let flags = flags | if own { libc::SA_NODEFER } else { 0 };
            (stub::HANDLER, flags)
        } else {
            (libc::SIG_IGN as u64, 0)
        };
        let mask = !(1u64 << (libc::SIGSEGV - 1) | 1 << (libc::SIGBUS - 1));
        let action = steps.words(&[handler, u64::from(flags.cast_unsigned()), stub::HANDLER, mask]);
        let call = [signal as u64, action, 0, 8, 0, 0];
        steps.add("setting the signal handlers of the first stub", libc::SYS_rt_sigaction, call);
    }
    let stack = layout::CONTEXTS + field::STACK as u64;
    let stack = steps.words(&[stack, 0, (field::STACK_END - field::STACK) as u64]);
    steps.add("setting the signal stack", libc::SYS_sigaltstack, [stack, 0, 0, 0, 0, 0]);
    // Blocked since the fork.
    let args = [word_of(libc::SIG_SETMASK), steps.words(&[0]), 0, 8, 0, 0];
    steps.add("unblocking signals in the first stub", libc::SYS_rt_sigprocmask, args);
}

/// Finds the vDSO and its data in the sentry: ranges, lowest first, and whether each is the image.
pub(super) fn find_vdso() -> Result<Vec<(Range<u64>, bool)>, PlatformError> {
    let maps =
        std::fs::read_to_string("/proc/self/maps").map_err(Errno::from).map_err(failed("reading /proc/self/maps"))?;
    Ok(parse_maps(&maps))
}

fn parse_maps(maps: &str) -> Vec<(Range<u64>, bool)> {
    let hex = |text: &str| u64::from_str_radix(text, 16).ok();
    maps.lines()
        .filter(|line| line.ends_with("[vdso]") || line.contains("[vvar"))
        .filter_map(|line| {
            let (start, rest) = line.split_once('-')?;
            let end = rest.split_whitespace().next()?;
            Some((hex(start)?..hex(end)?, line.ends_with("[vdso]")))
        })
        .collect()
}

/// Brings the vDSO into the stub region, inner distances kept. A host that seals its mappings refuses; then the vDSO
/// stays, and the guest's addresses end below it.
fn move_vdso(zygote: &mut Nursling, parts: Vec<(Range<u64>, bool)>) -> Result<Place, PlatformError> {
    let lowest = std::fs::read_to_string("/proc/sys/vm/mmap_min_addr")
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok())
        .map_or(LOWEST, |value| value.next_multiple_of(PAGE as u64).clamp(PAGE as u64, 1 << 30));
    let Some(first) = parts.first().map(|part| part.0.start) else {
        return Ok(Place { user: lowest..USER_END, sync_core: false, vdso: Vdso { image: 0..0, data: 0..0 } });
    };
    let mut shift = layout::VDSO.wrapping_sub(first);
    let mut moves = parts.iter().map(|(range, _)| {
        let len = range.end - range.start;
        let flags = u64::from((libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED).cast_unsigned());
        [range.start, len, len, flags, range.start.wrapping_add(shift), 0]
    });
    let moved = moves.next().map(|args| zygote.call(libc::SYS_mremap, args));
    if let Some(Err(errno)) = moved {
        tracing::info!(%errno, "the vDSO can't be moved; the guest's addresses end below it");
        shift = 0;
    } else {
        let mut steps = Steps::default();
        moves.for_each(|args| steps.add("moving the vDSO", libc::SYS_mremap, args));
        zygote.perform(&steps)?;
    }
    let span = |image: bool| {
        let mut of_kind = parts.iter().filter(|part| part.1 == image).map(|part| part.0.clone()).peekable();
        let start = of_kind.peek().map_or(0, |range| range.start.wrapping_add(shift));
        start..of_kind.last().map_or(0, |range| range.end.wrapping_add(shift))
    };
    let mut end = USER_END;
    if shift == 0 && first < USER_END {
        // Down to a multiple of 4 GiB: what the filter can check.
        end = first & !0xffff_ffff;
    }
    Ok(Place { user: lowest..end, sync_core: false, vdso: Vdso { image: span(true), data: span(false) } })
}

/// Installs the filter; returns the descriptor of its notifications, which the sentry has as well, and whether a signal
/// leaves a notification that was received alone.
fn confine(zygote: &mut Nursling, user_end: u64, fsgsbase: bool) -> Result<(OwnedFd, bool), PlatformError> {
    const NEW_LISTENER: u64 = 8;
    /// Linux 5.19.
    const WAIT_KILLABLE_RECV: u64 = 32;
    let program = filter::program(user_end, fsgsbase);
    let mut bytes = Vec::with_capacity(16 + program.len() * 8);
    let at = layout::CONTEXTS + field::WINDOW as u64;
    bytes.extend_from_slice(&(program.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&(at + 16).to_le_bytes());
    for insn in &program {
        bytes.extend_from_slice(&insn.code.to_le_bytes());
        bytes.extend_from_slice(&[insn.jt, insn.jf]);
        bytes.extend_from_slice(&insn.k.to_le_bytes());
    }
    let header = zygote.window(&bytes);
    let set = u64::from(libc::SECCOMP_SET_MODE_FILTER);
    let mut install = |flags| zygote.call(libc::SYS_seccomp, [set, flags, header, 0, 0, 0]);
    let (fd, killable) = match install(NEW_LISTENER | WAIT_KILLABLE_RECV) {
        Err(Errno::EINVAL) => (install(NEW_LISTENER), false),
        fd => (fd, true),
    };
    let fd = fd.map_err(failed("confining stubs"))?;
    let fd = i32::try_from(fd).map_err(|_| failed("confining stubs")(Errno::EBADF))?;
    // SAFETY: the descriptor was just made in the table that we share, and nobody else knows of it.
    Ok((unsafe { OwnedFd::from_raw_fd(fd) }, killable))
}

/// Has the zygote make a call that traps; returns where in a context the frame stands, where the floating-point state,
/// and a frame as a pattern.
fn first_signal(zygote: &mut Nursling) -> Result<(usize, usize, Vec<u8>, Fpu), PlatformError> {
    let odd = || failed("understanding the host's signal frame")(Errno::EPROTO);
    // The result of the call stands in the frame, so this is no usual operation.
    zygote.shared.set(field::OPS, call::TRAP.cast_unsigned());
    zygote.shared.u32(field::OP_COUNT).store(1, Ordering::Relaxed);
    zygote.request(command::OPS).map_err(failed("trapping a call of the first stub"))?;
    let offset = |address: u64| {
        let offset = usize::try_from(address.checked_sub(layout::CONTEXTS)?).ok()?;
        (field::STACK..field::STACK_END).contains(&offset).then_some(offset)
    };
    let kind = zygote.shared.u32(field::KIND).load(Ordering::Relaxed);
    let frame_at = offset(zygote.shared.get(field::FIRST_FRAME)).filter(|at| at.is_multiple_of(8)).ok_or_else(odd)?;
    let fpstate = offset(zygote.shared.get(frame_at + frame::FPSTATE)).ok_or_else(odd)?;
    if kind != libc::SIGSYS.cast_unsigned() || fpstate < frame_at + frame::SIZE || !fpstate.is_multiple_of(8) {
        return Err(odd());
    }
    let mut template = vec![0; field::STACK_END - frame_at];
    zygote.shared.read(frame_at, &mut template);
    let fpu = Fpu::learn(&template[fpstate - frame_at..]).ok_or_else(odd)?;
    Ok((frame_at, fpstate, template, fpu))
}

fn has_fsgsbase() -> bool {
    const HWCAP2_FSGSBASE: u64 = 2;
    // SAFETY: takes a number.
    unsafe { libc::getauxval(libc::AT_HWCAP2) & HWCAP2_FSGSBASE != 0 }
}

/// Returns how long workers spin, and how many rounds that are at most for stubs.
fn spinning(spin: Spin) -> (Duration, u32) {
    const AUTO: Duration = Duration::from_micros(10);
    let time = match spin {
        Spin::Off => Duration::ZERO,
        Spin::Auto if std::thread::available_parallelism().is_ok_and(|cpus| cpus.get() < 2) => Duration::ZERO,
        Spin::Auto => AUTO,
        Spin::Micros(micros) => Duration::from_micros(micros.min(1000).into()),
    };
    const SAMPLE: u32 = 200;
    let sample = |_| {
        let began = Instant::now();
        (0..SAMPLE).for_each(|_| std::hint::spin_loop());
        began.elapsed().as_nanos()
    };
    // The host may run something else meanwhile, but not in all of them.
    let round = (0..8).map(sample).min().unwrap_or(1).max(1);
    // A stub waits half as long: it has a CPU that guest code could use.
    let rounds = time.as_nanos() / 2 * u128::from(SAMPLE) / round;
    (time, u32::try_from(rounds).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vdso_is_found_with_its_data() {
        let maps = "7f00-7f10 r--p 00000000 00:00 0    [vvar]\n7f10-7f20 r--p 00000000 00:00 0  [vvar_vclock]\n\
                    7f20-7f40 r-xp 00000000 00:00 0    [vdso]\n7fff-8000 rw-p 00000000 00:00 0   [stack]\n";
        assert_eq!(parse_maps(maps), [(0x7f00..0x7f10, false), (0x7f10..0x7f20, false), (0x7f20..0x7f40, true)]);
    }
}
