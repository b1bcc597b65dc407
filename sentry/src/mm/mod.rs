//! Guest address spaces.
//!
//! The kernel decides and keeps the books ([`Books`] over a [`VmaTree`] of [`Vma`]s); the host executes. Every call is
//! planned against the books, performed by the caller's context as a batch of [`sentry_platform::MemOp`], and entered
//! in the books as far as the host has performed it. [`Mm`] ties the two together; `user` copies to and from guest
//! memory, `snapshot` serves `/proc`. Knows files only as [`MappedFile`], and nothing of tasks.

mod advise;
mod begun;
mod books;
mod brk;
mod caller;
mod futex_key;
mod layout;
mod lock;
mod map;
mod mapped;
mod own;
mod patch;
mod protect;
mod remap;
mod snapshot;
mod space;
mod tree;
mod user;
mod vma;

#[cfg(test)]
mod tests;

pub use advise::advice;
pub use begun::{Begin, Begun};
pub use books::{Books, Change, ImageInfo, Limits, OnFailure, Plan, Step};
pub use futex_key::FutexKey;
pub use layout::{Entropy, Layout, MAX_MAP_COUNT, MMAP_MIN_ADDR, STACK_GUARD_GAP, TASK_SIZE};
pub use lock::MLOCK_ONFAULT;
pub use map::{FileMap, MapRequest, new_object};
pub use mapped::MappedDescription;
pub(crate) use own::{OwnChange, OwnPlace};
pub use patch::{Class, Learned, Lessons, Prepared, Touch};
pub use remap::RemapFlags;
pub use snapshot::{MapEntry, MapSnapshot};
pub use space::Mm;
pub use tree::{Totals, VmaTree};
pub use user::{IovecList, UserDst, UserSrc, access_ok};
pub use vma::{Backing, MappedFile, PROT_ALL, VmFlags, Vma};
