//! Flag words shared by several layers. Unknown guest bits are kept (`from_bits_retain`) and judged by the call.

#[allow(missing_docs)] // Linux names, documented in the manual pages
mod words {
    use bitflags::bitflags;
    bitflags! {
        /// `PROT_*` of `mmap(2)`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub struct Prot: u32 {
            /// Pages may be read.
            const READ = 1;
            /// Pages may be written.
            const WRITE = 2;
            /// Pages may be executed.
            const EXEC = 4;
            /// `mprotect` extends down to the start of a growing mapping.
            const GROWSDOWN = 0x0100_0000;
            /// `mprotect` extends up to the end of a growing mapping.
            const GROWSUP = 0x0200_0000;
        }

        /// `MAP_*` of `mmap(2)`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[allow(missing_docs)]
        pub struct MapFlags: u32 {
            const SHARED = 0x1;
            const PRIVATE = 0x2;
            const SHARED_VALIDATE = 0x3;
            const FIXED = 0x10;
            const ANONYMOUS = 0x20;
            const MAP_32BIT = 0x40;
            const GROWSDOWN = 0x100;
            const DENYWRITE = 0x800;
            const EXECUTABLE = 0x1000;
            const LOCKED = 0x2000;
            const NORESERVE = 0x4000;
            const POPULATE = 0x8000;
            const NONBLOCK = 0x1_0000;
            const STACK = 0x2_0000;
            const HUGETLB = 0x4_0000;
            const SYNC = 0x8_0000;
            const FIXED_NOREPLACE = 0x10_0000;
        }

        /// `O_*` of `open(2)`: access mode, creation flags and status flags.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
        #[allow(missing_docs)]
        pub struct OpenFlags: u32 {
            const WRONLY = 0o1;
            const RDWR = 0o2;
            const CREAT = 0o100;
            const EXCL = 0o200;
            const NOCTTY = 0o400;
            const TRUNC = 0o1000;
            const APPEND = 0o2000;
            const NONBLOCK = 0o4000;
            const DSYNC = 0o10000;
            const ASYNC = 0o20000;
            const DIRECT = 0o40000;
            const LARGEFILE = 0o100000;
            const DIRECTORY = 0o200000;
            const NOFOLLOW = 0o400000;
            const NOATIME = 0o1000000;
            const CLOEXEC = 0o2000000;
            const SYNC = 0o4010000;
            const PATH = 0o10000000;
            const TMPFILE = 0o20200000;
        }

        /// `POLL*` / `EPOLL*` readiness bits (the two families share their numbers).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
        #[allow(missing_docs)]
        pub struct Ready: u32 {
            const IN = 0x1;
            const PRI = 0x2;
            const OUT = 0x4;
            const ERR = 0x8;
            const HUP = 0x10;
            const NVAL = 0x20;
            const RDNORM = 0x40;
            const RDBAND = 0x80;
            const WRNORM = 0x100;
            const WRBAND = 0x200;
            const MSG = 0x400;
            const RDHUP = 0x2000;
        }
    }
}

pub use words::{MapFlags, OpenFlags, Prot, Ready};

impl OpenFlags {
    /// The access-mode bits, `O_ACCMODE`.
    pub const ACCMODE: u32 = 0o3;

    /// Tells whether the access mode allows reading (`O_RDONLY`, `O_RDWR`; not `O_PATH`).
    pub fn readable(self) -> bool {
        !self.contains(OpenFlags::PATH) && matches!(self.bits() & OpenFlags::ACCMODE, 0 | 2)
    }

    /// Tells whether the access mode allows writing (`O_WRONLY`, `O_RDWR`; not `O_PATH`).
    pub fn writable(self) -> bool {
        !self.contains(OpenFlags::PATH) && matches!(self.bits() & OpenFlags::ACCMODE, 1 | 2)
    }
}

impl Ready {
    /// What a plain readable file reports.
    pub const READABLE: Ready = Ready::IN.union(Ready::RDNORM);
    /// What a plain writable file reports.
    pub const WRITABLE: Ready = Ready::OUT.union(Ready::WRNORM);
    /// Reported whether asked for or not.
    pub const ALWAYS: Ready = Ready::ERR.union(Ready::HUP);
}
