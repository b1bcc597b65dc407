//! `uname`, `sethostname`, `setdomainname`.

use std::sync::atomic::Ordering;

use abi::{Errno, UserAddr, UserRef};
use sentry::Current;
use sentry::kernel::{RELEASE, VERSION};
use sentry::task::Caps;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

const FIELD: usize = 65;
/// Longest host name (`__NEW_UTS_LEN`).
const NAME_MAX: usize = 64;

/// `struct new_utsname`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct UtsName {
    fields: [[u8; FIELD]; 6],
}

fn field(text: &[u8]) -> [u8; FIELD] {
    let mut field = [0; FIELD];
    let len = text.len().min(NAME_MAX);
    field[..len].copy_from_slice(&text[..len]);
    field
}

/// The machine's name, or what a program that asked for a 32-bit Linux is told instead.
fn machine(cur: &Current) -> &'static [u8] {
    const PER_MASK: u32 = 0xff;
    const PER_LINUX32: u32 = 8;
    let persona = cur.task.personality.load(Ordering::Relaxed) & PER_MASK;
    if persona == PER_LINUX32 { b"i686" } else { b"x86_64" }
}

/// Serves `uname(2)`.
pub fn uname(cur: &mut Current, buf: UserRef<UtsName>) -> Result<(), Errno> {
    let names = cur.task.uts.load_full();
    let (host, domain) = {
        let names = names.lock();
        (names.hostname.clone(), names.domainname.clone())
    };
    let fields = [b"Linux", host.as_slice(), RELEASE.as_bytes(), VERSION.as_bytes(), machine(cur), domain.as_slice()];
    cur.mem.write_last(buf, &UtsName { fields: fields.map(field) })
}

fn read_name(cur: &Current, name: UserAddr, len: i32) -> Result<Vec<u8>, Errno> {
    if !cur.task.cred.load().has(Caps::SYS_ADMIN) {
        return Err(Errno::EPERM);
    }
    let len = usize::try_from(len).ok().filter(|len| *len <= NAME_MAX).ok_or(Errno::EINVAL)?;
    let mut text = vec![0; len];
    cur.mem.read_bytes(name, &mut text)?;
    let end = text.iter().position(|byte| *byte == 0).unwrap_or(len);
    text.truncate(end);
    Ok(text)
}

/// Serves `sethostname(2)`.
pub fn sethostname(cur: &mut Current, name: UserAddr, len: i32) -> Result<(), Errno> {
    let name = read_name(cur, name, len)?;
    cur.task.uts.load().lock().hostname = name;
    Ok(())
}

/// Serves `setdomainname(2)`.
pub fn setdomainname(cur: &mut Current, name: UserAddr, len: i32) -> Result<(), Errno> {
    let name = read_name(cur, name, len)?;
    cur.task.uts.load().lock().domainname = name;
    Ok(())
}
