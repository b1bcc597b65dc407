//! What is served at all.

use std::os::fd::BorrowedFd;

use abi::types::mode;

/// Magic numbers (`statfs(2)`, `linux/magic.h`) of file systems that show or steer the host's kernel. A tree may lie
/// around them (`runsc do` serves the host's root); what they hold is never served.
const FORBIDDEN: &[i64] = &[
    0x9fa0,      // proc
    0x6265_6572, // sysfs
    0x0027_e0eb, // cgroup
    0x6367_7270, // cgroup2
    0x6462_6720, // debugfs
    0x7472_6163, // tracefs
    0x7363_6673, // securityfs
    0xf97c_ff8c, // selinuxfs
    0x4341_5d53, // smackfs
    0x5a3c_69f0, // apparmorfs
    0xcafe_4a11, // bpf
    0xde5e_81e4, // efivarfs
    0x4249_4e4d, // binfmt_misc
    0x1cd1,      // devpts
    0x1980_0202, // mqueue
    0x6265_6570, // configfs
    0x6573_5543, // fusectl
    0x6e73_6673, // nsfs
    0x6165_676c, // pstore
    0x0187,      // autofs
];

/// Tells whether the file system of an open file must not be served.
pub(crate) fn forbidden_filesystem(fd: BorrowedFd<'_>) -> bool {
    // Not knowing means refusing.
    rustix::fs::fstatfs(fd).map_or(true, |figures| FORBIDDEN.contains(&figures.f_type))
}

/// Tells whether a mode is that of a directory.
pub(crate) fn is_dir(bits: u32) -> bool {
    bits & mode::IFMT == mode::IFDIR
}

/// Tells whether a mode is that of a regular file.
pub(crate) fn is_regular(bits: u32) -> bool {
    bits & mode::IFMT == mode::IFREG
}

/// Tells whether a mode is that of a FIFO.
pub(crate) fn is_fifo(bits: u32) -> bool {
    bits & mode::IFMT == mode::IFIFO
}

/// Tells whether a mode is that of a socket.
pub(crate) fn is_socket(bits: u32) -> bool {
    bits & mode::IFMT == mode::IFSOCK
}

/// Tells whether a mode is that of a symbolic link.
pub(crate) fn is_symlink(bits: u32) -> bool {
    bits & mode::IFMT == mode::IFLNK
}
