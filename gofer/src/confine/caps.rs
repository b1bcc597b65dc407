//! Capabilities.

use rustix::thread::{CapabilitySet, CapabilitySets};

use super::{ConfineError, host_step};

/// What a gofer keeps: to act on files of all the container's users, and nothing else.
pub const KEPT: CapabilitySet = CapabilitySet::CHOWN
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::DAC_READ_SEARCH)
    .union(CapabilitySet::FOWNER)
    .union(CapabilitySet::FSETID);

/// Highest capability that any kernel so far knows, and a few more.
const LAST: u32 = 47;

/// Drops all but [`KEPT`] (and MKNOD where device nodes may be made) from every set, and the way back.
pub(super) fn drop_all_but_files(devices: bool) -> Result<(), ConfineError> {
    let wanted = if devices { KEPT | CapabilitySet::MKNOD } else { KEPT };
    for bit in 0..=LAST {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // The kernel doesn't know it.
            Err(rustix::io::Errno::INVAL) => {}
            other => host_step("drop a capability from the bounding set", other)?,
        }
    }
    match rustix::thread::clear_ambient_capability_set() {
        Err(rustix::io::Errno::INVAL) => {}
        other => host_step("clear ambient capabilities", other)?,
    }
    let now = host_step("read capabilities", rustix::thread::capabilities(None))?;
    let permitted = now.permitted & wanted;
    let sets = CapabilitySets { effective: permitted, permitted, inheritable: CapabilitySet::empty() };
    host_step("drop capabilities", rustix::thread::set_capabilities(None, sets))?;
    host_step("set no_new_privs", rustix::thread::set_no_new_privs(true))
}
