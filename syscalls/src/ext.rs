//! Structs that grow with the kernel: the caller says how large its version is (`copy_struct_from_user`).

use abi::{Errno, UserAddr, UserRef};
use sentry::usermem::UserMem;
use zerocopy::{FromBytes, FromZeros, IntoBytes};

/// Reads the first `size` bytes of a struct; fields beyond them are zero. `E2BIG` where the caller's version is larger
/// and has anything but zeros in the part that isn't known here. The caller has bounded `size` by a page.
pub(crate) fn read_extensible<T: FromBytes + IntoBytes + FromZeros>(
    mem: &UserMem,
    at: UserAddr,
    size: usize,
) -> Result<T, Errno> {
    let mut value = T::new_zeroed();
    let known = size.min(size_of::<T>());
    mem.read_bytes(at, &mut value.as_mut_bytes()[..known])?;
    if size > known {
        let rest: UserRef<u8> = UserRef::new(at.wrapping_add(known as u64));
        if mem.read_array(rest, size - known)?.iter().any(|byte| *byte != 0) {
            return Err(Errno::E2BIG);
        }
    }
    Ok(value)
}
