//! Newtyped ids, and how the 64-bit registers of a call become typed arguments.

use crate::addr::{UserAddr, UserRef};

/// A file descriptor number as the guest gave it; may be negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fd(pub i32);

impl Fd {
    /// `AT_FDCWD`: paths start at the working directory.
    pub const CWD: Fd = Fd(-100);
}

/// A process, thread, process-group or session id in the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Pid(pub i32);

/// A user id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Uid(pub u32);

impl Uid {
    /// The superuser.
    pub const ROOT: Uid = Uid(0);
    /// "Leave as it is" in calls that set ids.
    pub const UNCHANGED: Uid = Uid(u32::MAX);
}

/// A group id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Gid(pub u32);

impl Gid {
    /// The superuser's group.
    pub const ROOT: Gid = Gid(0);
    /// "Leave as it is" in calls that set ids.
    pub const UNCHANGED: Gid = Gid(u32::MAX);
}

/// A type that a system-call argument register converts to, exactly as the C prototype in the kernel does (32-bit types
/// take the low half of the register).
pub trait FromArg {
    /// Converts the register.
    fn from_arg(raw: u64) -> Self;
}

macro_rules! from_arg {
    ($($ty:ty: $raw:ident => $value:expr;)*) => {
        $(impl FromArg for $ty {
            // The C ABI truncates here too: `int` and `unsigned` arguments are the low half of the register.
            #[allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap)]
            fn from_arg($raw: u64) -> Self {
                $value
            }
        })*
    };
}

from_arg! {
    u64: raw => raw;
    i64: raw => raw as i64;
    u32: raw => raw as u32;
    i32: raw => raw as i32;
    u16: raw => raw as u16;
    usize: raw => raw as usize;
    UserAddr: raw => UserAddr::new(raw);
    Fd: raw => Fd(raw as i32);
    Pid: raw => Pid(raw as i32);
    Uid: raw => Uid(raw as u32);
    Gid: raw => Gid(raw as u32);
}

impl<T> FromArg for UserRef<T> {
    fn from_arg(raw: u64) -> Self {
        UserRef::new(UserAddr::new(raw))
    }
}
