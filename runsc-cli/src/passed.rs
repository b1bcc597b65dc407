//! Descriptors of the caller for a new process: `--preserve-fds`, `--pass-fd`, `--exec-fd`.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use anyhow::{Context, Result, ensure};
use rustix::fs::{FileType, OFlags};

use crate::cli::{FdMapping, PassArgs};
use crate::sandbox::config::ProcessConfig;
use crate::terminal;

/// The first descriptor that `--preserve-fds` takes.
const FIRST: u32 = 3;

/// Descriptors taken over from the caller, in the order in which a sandbox is passed them.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    numbers: Vec<u32>,
    fds: Vec<OwnedFd>,
    given_program: bool,
}

impl Passed {
    /// Takes them over: `preserved` from 3 on, and what `args` name.
    pub(crate) fn new(preserved: u32, args: &PassArgs) -> Result<Passed> {
        let mut taken = Taken::default();
        let mut passed = Passed::default();
        let last = FIRST.checked_add(preserved).context("--preserve-fds is too large")?;
        let preserved = (FIRST..last).map(|number| (FdMapping { host: number, guest: number }, "--preserve-fds"));
        let named = args.pass_fd.iter().map(|mapping| (*mapping, "--pass-fd"));
        for (FdMapping { host, guest }, flag) in preserved.chain(named) {
            ensure!(!passed.numbers.contains(&guest), "{flag}: descriptor {guest} of the process is given twice");
            let copy = taken.get(host, flag).and_then(check_content).and_then(terminal::for_sandbox);
            passed.fds.push(copy.with_context(|| format!("{flag}: passing descriptor {host}"))?);
            passed.numbers.push(guest);
        }
        if let Ok(number) = u32::try_from(args.exec_fd) {
            let program = taken.get(number, "--exec-fd")?;
            check_program(program).with_context(|| format!("--exec-fd={number}"))?;
            passed.fds.push(program.try_clone_to_owned().context("copying the program's descriptor")?);
            passed.given_program = true;
        }
        Ok(passed)
    }

    /// Says in the description of the process what they are, and hands them over.
    pub(crate) fn give(self, process: &mut ProcessConfig) -> Vec<OwnedFd> {
        process.further = self.numbers;
        process.given_program = self.given_program;
        self.fds
    }
}

/// The caller's descriptors, each taken over once; closed when all copies have been made.
#[derive(Default)]
struct Taken(BTreeMap<u32, OwnedFd>);

impl Taken {
    fn get(&mut self, number: u32, flag: &str) -> Result<BorrowedFd<'_>> {
        match number {
            0 => return Ok(rustix::stdio::stdin()),
            1 => return Ok(rustix::stdio::stdout()),
            2 => return Ok(rustix::stdio::stderr()),
            _ => {}
        }
        let fd: &OwnedFd = match self.0.entry(number) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => {
                let index = usize::try_from(number - FIRST).context("a descriptor's number")?;
                let fd = sentry_platform::spawn::callers_fd(index);
                place.insert(fd.with_context(|| format!("{flag}: descriptor {number} isn't open"))?)
            }
        };
        Ok(fd.as_fd())
    }
}

/// Refuses a descriptor that leads to other files: whoever holds a directory reaches all of the host's through its `..`.
fn check_content(fd: BorrowedFd<'_>) -> Result<BorrowedFd<'_>> {
    ensure!(
        !terminal::is_place(fd)?,
        "it is a directory or was opened with O_PATH, and would give the host's files away"
    );
    Ok(fd)
}

/// Checks that a program can be read and mapped from a descriptor. None may be written to, as on Linux (`ETXTBSY`): the
/// process would hold it.
fn check_program(fd: BorrowedFd<'_>) -> Result<()> {
    let kind = FileType::from_raw_mode(rustix::fs::fstat(fd).context("looking at the program")?.st_mode);
    ensure!(kind == FileType::RegularFile, "the program is no regular file");
    let flags = rustix::fs::fcntl_getfl(fd).context("looking at the program")?;
    let readable = !flags.contains(OFlags::PATH) && flags & OFlags::RWMODE == OFlags::RDONLY;
    ensure!(readable, "the program is not open for reading alone");
    Ok(())
}
