//! What each sort of process may be and hold. Each difference from a live process is a failure.

use super::Setting;

/// Who a process runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Identity {
    /// nobody where root calls, else the caller.
    Nobody,
    /// The caller.
    Caller,
}

/// What one sort of process must be like.
pub(super) struct Rule {
    /// Name, as [`super::role`] gives it.
    pub(super) role: &'static str,
    /// At least so many are there.
    pub(super) least: usize,
    /// All its user and group ids; there are no supplementary groups. A process that may be dumped belongs to them in
    /// `/proc`, too: the sentry must reach its stubs, and rootless engines look at the sentry's namespaces.
    pub(super) identity: Identity,
    /// Exactly these are permitted and effective. Nothing is bounding, inheritable or ambient.
    pub(super) capabilities: u64,
    /// Filters of seccomp that it has.
    pub(super) filters: u32,
    /// Namespaces that are its own; all others must be the caller's.
    pub(super) namespaces: &'static [&'static str],
    /// In the very namespaces of the sentry.
    pub(super) with_sentry: bool,
    /// What its descriptors may be.
    pub(super) descriptors: &'static [Descriptor],
    /// What stands in its root directory.
    pub(super) root: Root,
    /// What may be executable in it.
    pub(super) code: Code,
}

/// The root directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Root {
    /// Places to mount on, with nothing in them.
    Empty,
    /// `fd`, and a number for each tree.
    Trees,
}

/// Executable memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    /// The program and its libraries, as the launcher has them, and none of it writable.
    Program,
    /// Guest code; above the guest's addresses the stub's own code, which can't be written.
    Guest,
}

/// Sorts of descriptors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// The host's null device.
    Null,
    /// The host's FUSE.
    Fuse,
    /// A socket of another family, or of another network namespace.
    OtherSocket,
    /// A file of the sentry's `/proc/net`, open for reading only.
    NetFile,
    /// A figure of a memory cgroup, open for reading only.
    MemoryFigure,
    /// A pipe, for writing only.
    PipeOut,
    /// An unnamed Unix socket of the command line's network namespace.
    UnixSocket,
    /// An anonymous inode of this name.
    Anon(&'static str),
    /// A memory file whose name begins so.
    Memory(&'static str),
    /// A regular file beneath a tree, open for reading only: these sandboxes may write none.
    FileForReading,
    /// Anything beneath a tree of the gofer's, not open (`O_PATH`).
    PathInTree,
    /// A directory at this place in the own root, not open.
    Directory(&'static str),
}

/// When there is a descriptor.
#[derive(Clone, Copy)]
pub(super) enum Only {
    Always,
    /// With sockets of the host.
    HostNetwork,
    /// With a view for the host.
    View,
}

/// One row of descriptors.
pub(super) struct Descriptor {
    pub(super) sort: Sort,
    /// Where not on both platforms.
    pub(super) platform: Option<&'static str>,
    /// Where not in all settings.
    pub(super) only: Only,
    pub(super) least: usize,
    pub(super) most: usize,
    #[expect(dead_code, reason = "for the reader")]
    why: &'static str,
}

impl Descriptor {
    pub(super) fn applies(&self, setting: Setting<'_>) -> bool {
        let there = match self.only {
            Only::Always => true,
            Only::HostNetwork => setting.host_network,
            Only::View => setting.view,
        };
        there && self.platform.is_none_or(|platform| platform == setting.platform)
    }
}

const fn row(sort: Sort, least: usize, most: usize, why: &'static str) -> Descriptor {
    Descriptor { sort, platform: None, only: Only::Always, least, most, why }
}

const fn only(platform: &'static str, sort: Sort, least: usize, most: usize, why: &'static str) -> Descriptor {
    Descriptor { sort, platform: Some(platform), only: Only::Always, least, most, why }
}

const fn on_host(sort: Sort, least: usize, most: usize, why: &'static str) -> Descriptor {
    Descriptor { sort, platform: None, only: Only::HostNetwork, least, most, why }
}

const fn for_view(sort: Sort, least: usize, most: usize, why: &'static str) -> Descriptor {
    Descriptor { sort, platform: None, only: Only::View, least, most, why }
}

/// More than any sandbox of this suite has files.
const MANY: usize = 200;

/// The sentry's, which its stubs share: their filter lets no call take one but a verified mmap.
const OF_SENTRY: &[Descriptor] = &[
    row(Sort::Null, 4, 8, "standard input and error, their copies for the guest, the debug log"),
    row(Sort::PipeOut, 2, 2, "standard output and its copy for the guest"),
    row(Sort::UnixSocket, 5, 5, "two to the gofer; the command line's, and two copies for their threads"),
    row(Sort::Anon("[eventfd]"), 2, 2, "calls for workers and for the reactor"),
    row(Sort::Anon("[timerfd]"), 1, 1, "the reactor's"),
    only("ptrace", Sort::Anon("[eventpoll]"), 2, 2, "the reactor's"),
    only("systrap", Sort::Anon("[eventpoll]"), 3, 3, "the reactor's, and the deaths of stubs"),
    only("systrap", Sort::Anon("[pidfd]"), 3, 4, "one for each stub process"),
    only("systrap", Sort::Anon("seccomp notify"), 1, 1, "notifications of stubs"),
    only("systrap", Sort::Memory("runsc-contexts"), 1, 1, "the memory of all contexts"),
    row(Sort::Memory("tmpfs"), 1, 3, "content of tmpfs and memfd"),
    row(Sort::Memory("sysv"), 1, 2, "a System V segment, and its twin for reading"),
    row(Sort::Directory("/"), 1, 1, "the detached /proc that shows the stubs, and nothing but processes"),
    on_host(
        Sort::OtherSocket,
        2,
        2,
        "ask about interfaces, by ioctl and netlink; the guest here has no internet sockets",
    ),
    on_host(Sort::NetFile, 4, 5, "interfaces and routes as /proc/net shows them; a host without IPv6 has fewer"),
    for_view(Sort::Fuse, 1, 1, "what tools of the host ask for by the view"),
    row(Sort::MemoryFigure, 0, 8, "what is used and allowed, of its cgroup and limited ones above"),
    row(Sort::FileForReading, 0, MANY, "donated files"),
];

/// One row for each sort of process.
pub(super) const RULES: &[Rule] = &[
    Rule {
        role: "sentry",
        least: 1,
        identity: Identity::Nobody,
        capabilities: 0,
        filters: 2,
        // With `--network=host` the caller's `net`. Not `cgroup` and `time`: the sentry sees no file of them, and makes no clock of its own.
        namespaces: &["user", "pid", "net", "ipc", "mnt", "uts"],
        with_sentry: true,
        descriptors: OF_SENTRY,
        root: Root::Empty,
        code: Code::Program,
    },
    Rule {
        role: "stub",
        least: 2,
        identity: Identity::Nobody,
        capabilities: 0,
        filters: 1,
        namespaces: &["user", "pid", "net", "ipc", "mnt", "uts"],
        with_sentry: true,
        descriptors: OF_SENTRY,
        root: Root::Empty,
        code: Code::Guest,
    },
    // Reads and writes files as the container's root would: CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID.
    Rule {
        role: "gofer",
        least: 1,
        identity: Identity::Caller,
        capabilities: 0x1 | 0x2 | 0x4 | 0x8 | 0x10,
        filters: 1,
        // It can signal nobody but itself, and serves the ids of its caller's user namespace where that is root.
        namespaces: &["mnt", "net", "ipc", "uts"],
        with_sentry: false,
        descriptors: &[
            row(Sort::Null, 3, 3, "standard input and output, the debug log"),
            row(Sort::PipeOut, 1, 1, "standard error: last words for the command line"),
            row(Sort::UnixSocket, 2, 2, "to the sentry"),
            row(Sort::Directory("/fd"), 1, 1, "its own /proc/PID/fd, to open a handle by"),
            row(Sort::PathInTree, 1, MANY, "trees and handles"),
            row(Sort::FileForReading, 0, 1, "a file on its way to the sentry"),
        ],
        root: Root::Trees,
        code: Code::Program,
    },
];
