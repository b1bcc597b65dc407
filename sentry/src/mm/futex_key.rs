//! What makes two futex words the same.

use abi::flags::Prot;
use abi::{Errno, UserAddr};

use super::layout::TASK_SIZE;
use super::space::Mm;
use super::vma::Backing;

/// Identity of a futex word. Two tasks that wait and wake meet if their keys are equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum FutexKey {
    /// `FUTEX_PRIVATE_FLAG`: an address in one address space.
    Private {
        /// [`Mm::id`].
        mm: u64,
        /// Address.
        addr: u64,
    },
    /// No private flag, but memory that nobody shares. Linux keeps it apart from the above.
    Unshared {
        /// [`Mm::id`].
        mm: u64,
        /// Address.
        addr: u64,
    },
    /// Shared anonymous memory.
    Object {
        /// Its number.
        object: u64,
        /// Bytes into it.
        offset: u64,
    },
    /// A mapped file.
    File {
        /// Encoded device number.
        device: u64,
        /// Inode number.
        inode: u64,
        /// Bytes into the file.
        offset: u64,
    },
}

impl Mm {
    /// Returns the key of a word. `private` is `FUTEX_PRIVATE_FLAG`. Fails with `EFAULT` where nothing is mapped (with
    /// the flag, only outside user space) and `EINVAL` where the address isn't aligned to 4.
    pub fn futex_key(&self, addr: UserAddr, private: bool) -> Result<FutexKey, Errno> {
        if !addr.is_aligned(4) {
            return Err(Errno::EINVAL);
        }
        let (mm, addr) = (self.id(), addr.raw());
        if addr > TASK_SIZE - 4 {
            return Err(Errno::EFAULT);
        }
        if private {
            return Ok(FutexKey::Private { mm, addr });
        }
        let books = self.books();
        let vma = books.tree().get(addr).ok_or(Errno::EFAULT)?;
        if vma.prot == Prot::empty() {
            return Err(Errno::EFAULT);
        }
        let offset = vma.backing.offset().wrapping_add(addr - vma.start);
        Ok(match &vma.backing {
            Backing::SharedAnonymous { object, .. } => FutexKey::Object { object: *object, offset },
            // A private file page that can't have been written to is still the file's.
            Backing::File { file, .. } if vma.shared() || !vma.prot.contains(Prot::WRITE) => {
                FutexKey::File { device: file.device().encode(), inode: file.inode(), offset }
            }
            // Without the flag the kernel takes hold of the page, and a private one it must be able to write to.
            _ if !vma.prot.contains(Prot::WRITE) => return Err(Errno::EFAULT),
            _ => FutexKey::Unshared { mm, addr },
        })
    }
}
