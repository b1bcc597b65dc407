//! Argument and environment strings of `execve`, and their limits.

use abi::{Errno, UserAddr, UserRef};

use crate::usermem::UserMem;

/// Longest single string, NUL included (`MAX_ARG_STRLEN`).
pub const MAX_ARG_STRLEN: usize = 32 * 4096;
/// What is always allowed in total (`ARG_MAX`).
const ARG_MAX: u64 = 128 * 1024;
const PAGE: usize = 4096;
/// Three quarters of the default stack.
const MOST: u64 = (8 << 20) / 4 * 3;

/// The strings that a new program gets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Args {
    /// Arguments, never empty once read from a guest.
    pub argv: Vec<Vec<u8>>,
    /// Environment.
    pub envp: Vec<Vec<u8>>,
}

/// Returns the bytes that strings and pointers may take in all (Linux: `bprm_stack_limits`).
fn budget(stack_limit: u64) -> u64 {
    (stack_limit / 4).clamp(ARG_MAX, MOST)
}

impl Args {
    /// Copies the strings of the calling program: `E2BIG` beyond the limits, `EFAULT` for bad addresses. An empty
    /// argument list becomes one empty string.
    pub fn read(mem: &UserMem, argv: UserAddr, envp: UserAddr, stack_limit: u64) -> Result<Args, Errno> {
        let limit = budget(stack_limit);
        let argv = read_pointers(mem, argv, limit)?;
        let envp = read_pointers(mem, envp, limit)?;
        let pointers = (argv.len().max(1) + envp.len()) as u64 * 8;
        let mut left = limit.checked_sub(pointers).filter(|left| *left > 0).ok_or(Errno::E2BIG)?;
        // Linux copies the environment first, from its last string on.
        let mut pages = Pages { mem, at: u64::MAX, bytes: Vec::new() };
        let envp = read_strings(&mut pages, &envp, &mut left)?;
        let mut argv = read_strings(&mut pages, &argv, &mut left)?;
        if argv.is_empty() {
            argv.push(Vec::new());
        }
        Ok(Args { argv, envp })
    }

    /// Fails with `E2BIG` where the strings, with `file_name`, are too many for a stack limited to `stack_limit`.
    pub(super) fn check(&self, file_name: &[u8], stack_limit: u64) -> Result<(), Errno> {
        let all = self.argv.iter().chain(&self.envp);
        if all.clone().any(|string| string.len() >= MAX_ARG_STRLEN) {
            return Err(Errno::E2BIG);
        }
        let strings: u64 = all.map(|string| string.len() as u64 + 1).sum();
        let pointers = (self.argv.len().max(1) + self.envp.len()) as u64 * 8;
        let used = strings + pointers + file_name.len() as u64 + 1;
        if used > budget(stack_limit) { Err(Errno::E2BIG) } else { Ok(()) }
    }
}

/// Reads a NULL-terminated array of pointers; a null array is an empty one.
fn read_pointers(mem: &UserMem, array: UserAddr, limit: u64) -> Result<Vec<UserAddr>, Errno> {
    let mut pointers = Vec::new();
    if array.is_null() {
        return Ok(pointers);
    }
    let array: UserRef<u64> = UserRef::new(array);
    let mut chunk = [0u8; 512];
    loop {
        let at = array.element(pointers.len()).addr();
        // The array may end just before an unmapped page.
        let in_page = usize::try_from(abi::PAGE_SIZE - at.raw() % abi::PAGE_SIZE).unwrap_or(8);
        let want = chunk.len().min(in_page.max(8));
        let got = mem.read_partial(at, &mut chunk[..want]);
        if got < 8 {
            return Err(Errno::EFAULT);
        }
        for word in chunk[..got].chunks_exact(8) {
            match word.iter().rev().fold(0u64, |value, byte| value << 8 | u64::from(*byte)) {
                0 => return Ok(pointers),
                pointer => pointers.push(UserAddr::new(pointer)),
            }
        }
        if pointers.len() as u64 * 8 > limit {
            return Err(Errno::E2BIG);
        }
    }
}

/// Reads strings by whole pages: they mostly stand together, and a copy costs the same for one as for all of them.
struct Pages<'a> {
    mem: &'a UserMem,
    /// Address of the page that was copied last.
    at: u64,
    bytes: Vec<u8>,
}

impl Pages<'_> {
    /// Copies a string without its NUL: `E2BIG` from [`MAX_ARG_STRLEN`] on.
    fn read_cstr(&mut self, addr: UserAddr) -> Result<Vec<u8>, Errno> {
        let mut string = Vec::new();
        while string.len() < MAX_ARG_STRLEN {
            let at = addr.wrapping_add(string.len() as u64).raw();
            let page = abi::addr::page_floor(at);
            if page != self.at {
                self.bytes.resize(PAGE, 0);
                let got = self.mem.read_partial(UserAddr::new(page), &mut self.bytes);
                self.bytes.truncate(got);
                self.at = page;
            }
            let inside = usize::try_from(at - page).unwrap_or(PAGE);
            let rest = self.bytes.get(inside..).filter(|rest| !rest.is_empty()).ok_or(Errno::EFAULT)?;
            let rest = &rest[..rest.len().min(MAX_ARG_STRLEN - string.len())];
            match rest.iter().position(|byte| *byte == 0) {
                Some(end) => {
                    string.extend_from_slice(&rest[..end]);
                    return Ok(string);
                }
                None => string.extend_from_slice(rest),
            }
        }
        Err(Errno::E2BIG)
    }
}

fn read_strings(pages: &mut Pages<'_>, pointers: &[UserAddr], left: &mut u64) -> Result<Vec<Vec<u8>>, Errno> {
    let mut strings = Vec::with_capacity(pointers.len());
    for pointer in pointers {
        let string = pages.read_cstr(*pointer)?;
        *left = left.checked_sub(string.len() as u64 + 1).ok_or(Errno::E2BIG)?;
        strings.push(string);
    }
    Ok(strings)
}
