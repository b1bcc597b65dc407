//! What the sentry and the gofer are told at start: one JSON document, passed in a memfd.

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::time::Duration;

use anyhow::{Context, Result};
pub(crate) use sentry::control::protocol::{CapsConfig, ProcessConfig};
use sentry::host_view::Ids;
use serde::{Deserialize, Serialize};

use crate::user::IdMaps;

/// A sandbox with its one container.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct SandboxConfig {
    /// Container id.
    pub(crate) id: String,
    /// `"systrap"` or `"ptrace"`.
    pub(crate) platform: String,
    /// Longest spinning in microseconds; `None` leaves it to the platform.
    pub(crate) spin: Option<u32>,
    /// The ways in which guest memory is copied: `"all"`, `"stub"` or `"host"`.
    pub(crate) copies: String,
    /// What network the guest has.
    pub(crate) network: NetworkMode,
    /// What of the host's file trees may be used besides files.
    pub(crate) host: HostAccess,
    /// Log every system call.
    pub(crate) strace: bool,
    /// Log debug messages.
    pub(crate) debug: bool,
    /// Let host calls that the sentry's filter doesn't know pass, and have the host log them.
    pub(crate) seccomp_log: bool,
    /// UTS names.
    pub(crate) hostname: String,
    /// NIS domain.
    pub(crate) domainname: String,
    /// A file system of the host's to serve the container's files on is passed, and its ids are these.
    pub(crate) view: Option<Ids>,
    /// Which of the caller's standard descriptors were closed.
    pub(crate) closed_streams: [bool; 3],
    /// Which of them are terminals, passed as descriptors of the sentry's own.
    pub(crate) terminals: [bool; 3],
    /// A socket to listen on for other command lines is passed.
    pub(crate) listener: bool,
    /// How many descriptors are passed that the first process gets as 3, 4, ….
    pub(crate) extra_files: usize,
    /// The first process waits for a request to start.
    pub(crate) waits: bool,
    /// Outlives the command line that starts it, once told so. What the gofer says, and its end, are for the sentry then.
    pub(crate) detached: bool,
    /// The standard streams are a terminal made for this container: signals that it makes are for the first process.
    pub(crate) console: bool,
    /// Most processes and threads of the guest.
    pub(crate) max_tasks: Option<usize>,
    /// The first process.
    pub(crate) process: ProcessConfig,
    /// The filter that it and those beside it run under, as instructions of classic BPF; empty for none.
    pub(crate) seccomp: Vec<(u16, u8, u8, u32)>,
    /// The root file system.
    pub(crate) root: RootConfig,
    /// Mounts below it, in order.
    pub(crate) mounts: Vec<MountConfig>,
    /// Device nodes to make.
    pub(crate) devices: Vec<DeviceConfig>,
    /// Paths inside that show as empty.
    pub(crate) masked_paths: Vec<String>,
    /// Paths inside that can't be written.
    pub(crate) readonly_paths: Vec<String>,
    /// Paths below `/proc/sys`, and what they hold.
    pub(crate) sysctls: Vec<(String, String)>,
    /// Trees that the gofer serves, by id (their index).
    pub(crate) trees: Vec<TreeConfig>,
}

/// What of the host's file trees the guest may use besides files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HostAccess {
    /// Unix sockets may be connected to.
    pub(crate) connect: bool,
    /// Unix sockets may be made.
    pub(crate) bind: bool,
    /// FIFOs may be opened.
    pub(crate) fifo: bool,
}

impl HostAccess {
    /// Tells whether guests may have Unix sockets of the host.
    pub(crate) fn sockets(self) -> bool {
        self.connect || self.bind
    }
}

/// Where the guest's internet sockets are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum NetworkMode {
    /// In the sentry's own stack, which knows a loopback.
    Loopback,
    /// On the host, in the sentry's network namespace.
    Host,
    /// On the host if the sentry's namespace has an interface when the container is created, else in its own stack.
    Found,
    /// The same in a namespace that others may be in, too: there a loopback suffices, since it may be what they share.
    Shared,
}

/// The root file system: tree 0 of the gofer.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct RootConfig {
    /// Writes go elsewhere.
    pub(crate) overlay: Option<OverlayConfig>,
    /// Writes are refused.
    pub(crate) readonly: bool,
    /// Nobody else changes the tree.
    pub(crate) exclusive: bool,
}

/// Where writes go that the files below are spared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct OverlayConfig {
    /// A tree of the gofer's that makes unnamed files for them; memory by default.
    pub(crate) store: Option<u32>,
    /// Most bytes.
    pub(crate) size: Option<u64>,
}

/// A mount below the root.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct MountConfig {
    /// Absolute path inside the sandbox.
    pub(crate) destination: String,
    /// What is mounted.
    pub(crate) source: MountSource,
    /// Writes go elsewhere.
    pub(crate) overlay: Option<OverlayConfig>,
    /// Nobody else changes the tree.
    pub(crate) exclusive: bool,
    /// Start with a copy of what is there (`tmpcopyup`).
    pub(crate) copy_up: bool,
    /// What `/proc/mounts` shows as the device.
    pub(crate) name: String,
    /// `ro`, `nosuid`, `nodev`, `noexec` and file-system specific options.
    pub(crate) options: Vec<String>,
}

/// What is mounted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum MountSource {
    /// A tree of the gofer.
    Tree(u32),
    /// A file system of the guest kernel, by its Linux name.
    Kernel(String),
}

/// A device node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct DeviceConfig {
    /// Absolute path inside the sandbox.
    pub(crate) path: String,
    pub(crate) kind: NodeKind,
    pub(crate) major: u32,
    pub(crate) minor: u32,
    /// Permission bits.
    pub(crate) perm: u32,
    /// Owner.
    pub(crate) uid: u32,
    /// Group.
    pub(crate) gid: u32,
}

/// What a device node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum NodeKind {
    Character,
    Block,
    Fifo,
}

/// A tree of the host that the gofer serves.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct TreeConfig {
    /// Path on the host.
    pub(crate) path: String,
    /// Writes are refused.
    pub(crate) readonly: bool,
    /// Holds unnamed files only, which the sentry has it make.
    pub(crate) store: bool,
    /// File systems mounted below it belong to it.
    pub(crate) recursive: bool,
    /// Ids of its own, which the command line sees to.
    #[serde(skip)]
    pub(crate) ids: Option<TreeIds>,
    /// It is an overlay of the host with these options, mounted by the gofer.
    pub(crate) layers: Option<String>,
    /// The gofer gets it as a mount, not by its path.
    pub(crate) detached: bool,
    /// What the host mounts below it later belongs to it, too.
    pub(crate) follows: bool,
}

/// Ids that the host translates for one tree (`man 2 mount_setattr`): inside are those of its file system, outside those of
/// the host that its files have in their place.
#[derive(Clone, Debug)]
pub(crate) struct TreeIds {
    pub(crate) maps: IdMaps,
    /// Those of file systems mounted below it, too.
    pub(crate) recursive: bool,
}

impl TreeConfig {
    /// A tree as most are: with what is mounted below it, and the ids that it has.
    pub(crate) fn new(path: String, readonly: bool) -> TreeConfig {
        TreeConfig {
            path,
            readonly,
            store: false,
            recursive: true,
            ids: None,
            layers: None,
            detached: false,
            follows: false,
        }
    }
}

impl SandboxConfig {
    /// Returns how long sentry and gofer look for each other's messages at most.
    pub(crate) fn looking(&self) -> Option<Duration> {
        self.spin.map(|limit| Duration::from_micros(u64::from(limit)))
    }

    /// Puts the document into a memfd to pass on.
    pub(crate) fn to_memfd(&self) -> Result<OwnedFd> {
        let fd = rustix::fs::memfd_create("runsc-config", rustix::fs::MemfdFlags::CLOEXEC)
            .context("making a memfd for the sandbox configuration")?;
        let mut file = File::from(fd);
        // In one piece: the writer of the library writes each token by itself.
        let text = serde_json::to_vec(self).context("writing the sandbox configuration")?;
        file.write_all(&text).context("writing the sandbox configuration")?;
        Ok(file.into())
    }

    /// Reads the document that was passed.
    pub(crate) fn from_fd(fd: OwnedFd) -> Result<SandboxConfig> {
        let mut file = File::from(fd);
        // The offset is shared with whoever wrote or read it before.
        file.rewind().context("reading the sandbox configuration")?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).context("reading the sandbox configuration")?;
        serde_json::from_slice(&text).context("parsing the sandbox configuration")
    }
}
