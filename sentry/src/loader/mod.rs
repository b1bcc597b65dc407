//! From a file to a running program: ELF, `#!` scripts, the initial stack.
//!
//! [`plan`] reads and checks the file and decides everything (an [`Image`]), with no effect on anybody; [`Image::load`]
//! then makes the address space. Between the two the caller takes the steps of `execve` that can't be undone. Knows
//! files only as [`Executable`] and [`Opener`].

mod args;
mod elf;
mod image;
mod load;
mod script;
mod stack;

#[cfg(test)]
mod tests;

use std::ops::Range;
use std::sync::Arc;

use abi::Errno;
use sentry_fs::MapSource;

pub use args::{Args, MAX_ARG_STRLEN};
pub use image::Image;
pub use load::Loaded;
pub use script::HEAD_SIZE;

use crate::mm::{Entropy, Limits, MappedFile};

/// A file that is to be executed. Whoever opened it has checked that it is a regular file that may be executed.
pub trait Executable: Send + Sync {
    /// Reads; fewer bytes than asked for only at the end of the file.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, Errno>;

    /// Returns what the host maps for it (privately).
    fn map(&self) -> Result<MapSource, Errno>;

    /// Returns its identity in the books.
    fn mapped(&self) -> Arc<dyn MappedFile>;
}

/// Opens interpreters by name, with the caller's working directory and rights.
pub trait Opener {
    /// Opens a regular file for execution: `ENOENT`, `EACCES`, `ELOOP`, …
    fn open_exec(&self, path: &[u8]) -> Result<Arc<dyn Executable>, Errno>;
}

/// Who the program runs as, and its secret.
#[derive(Clone, Copy, Debug, Default)]
pub struct Identity {
    /// Real user.
    pub uid: u32,
    /// Effective user.
    pub euid: u32,
    /// Real group.
    pub gid: u32,
    /// Effective group.
    pub egid: u32,
    /// The program gained rights (`AT_SECURE`).
    pub secure: bool,
    /// Sixteen random bytes (`AT_RANDOM`).
    pub random: [u8; 16],
}

/// What a program is told of the machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct MachineInfo {
    /// `AT_HWCAP`.
    pub hwcap: u64,
    /// `AT_HWCAP2`.
    pub hwcap2: u64,
    /// `AT_MINSIGSTKSZ`.
    pub min_signal_stack: u64,
    /// `AT_CLKTCK`.
    pub clock_ticks: u64,
    /// Address of the vDSO image, 0 for none.
    pub vdso: u64,
    /// `AT_RSEQ_FEATURE_SIZE`, 0 where the host doesn't say.
    pub rseq_size: u64,
    /// `AT_RSEQ_ALIGN`, 0 where the host doesn't say.
    pub rseq_align: u64,
}

impl MachineInfo {
    /// Asks the host.
    pub fn of_host(vdso: &Range<u64>) -> MachineInfo {
        let (hwcap, hwcap2) = rustix::param::linux_hwcap();
        MachineInfo {
            hwcap: hwcap as u64,
            hwcap2: hwcap2 as u64,
            min_signal_stack: rustix::param::linux_minsigstksz() as u64,
            clock_ticks: rustix::param::clock_ticks_per_second(),
            vdso: if vdso.is_empty() { 0 } else { vdso.start },
            rseq_size: sentry_platform::auxiliary(stack::at::RSEQ_FEATURE_SIZE),
            rseq_align: sentry_platform::auxiliary(stack::at::RSEQ_ALIGN),
        }
    }
}

/// What is to be executed, and for whom.
pub struct LoadRequest<'a> {
    /// The file named by the caller.
    pub file: Arc<dyn Executable>,
    /// Its name as given (`AT_EXECFN`, and what a script's interpreter is told).
    pub file_name: &'a [u8],
    /// The name will not be there after exec (a descriptor that closes): scripts fail with `ENOENT`.
    pub name_vanishes: bool,
    /// Arguments and environment.
    pub args: Args,
    /// Finds interpreters.
    pub opener: &'a dyn Opener,
    /// Limits of the caller.
    pub limits: Limits,
    /// Addresses that the platform lets a guest use.
    pub user: Range<u64>,
    /// Random bits; `None` with `ADDR_NO_RANDOMIZE`.
    pub entropy: Option<Entropy>,
    /// Credentials after the exec.
    pub identity: Identity,
    /// Facts for the auxiliary vector.
    pub machine: MachineInfo,
}

/// Why a program can't be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// `execve` fails with this error.
    Refused(Errno),
    /// Linux finds this only once the old program is gone, and kills the process with SIGSEGV.
    Fatal(Errno),
}

impl LoadError {
    /// Returns the error whichever it is.
    pub fn errno(self) -> Errno {
        match self {
            LoadError::Refused(errno) | LoadError::Fatal(errno) => errno,
        }
    }
}

impl From<Errno> for LoadError {
    fn from(errno: Errno) -> LoadError {
        LoadError::Refused(errno)
    }
}

/// A binary with the arguments that scripts on the way to it have added.
struct Source {
    file: Arc<dyn Executable>,
    head: [u8; HEAD_SIZE],
    args: Args,
}

/// Scripts may name scripts, this often.
const MAX_SCRIPTS: usize = 5;

/// Decides what the new address space will be. Nothing has changed if it fails.
pub fn plan(request: LoadRequest<'_>) -> Result<Image, LoadError> {
    let mut source = Source { file: Arc::clone(&request.file), head: [0; HEAD_SIZE], args: request.args.clone() };
    let mut name = request.file_name.to_vec();
    for depth in 0.. {
        if depth > MAX_SCRIPTS {
            return Err(LoadError::Refused(Errno::ELOOP));
        }
        source.head = read_head(source.file.as_ref())?;
        let Some(script) = script::parse(&source.head)? else { break };
        if request.name_vanishes {
            return Err(LoadError::Refused(Errno::ENOENT));
        }
        let mut argv = vec![script.interpreter.clone()];
        argv.extend(script.argument);
        argv.push(name);
        argv.extend(source.args.argv.drain(..).skip(1));
        source.args.argv = argv;
        source.args.check(request.file_name, request.limits.stack)?;
        if script.interpreter.is_empty() {
            // An empty name is the working directory, which can't be executed.
            return Err(LoadError::Refused(Errno::EACCES));
        }
        source.file = request.opener.open_exec(&script.interpreter)?;
        name = script.interpreter;
    }
    image::assemble(&request, &source)
}

/// Reads the first bytes of a file, padded with NULs.
fn read_head(file: &dyn Executable) -> Result<[u8; HEAD_SIZE], Errno> {
    let mut head = [0; HEAD_SIZE];
    let mut done = 0;
    while done < HEAD_SIZE {
        match file.read_at(done as u64, &mut head[done..])? {
            0 => break,
            got => done += got.min(HEAD_SIZE - done),
        }
    }
    Ok(head)
}
