//! The gofer process.

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::PathBuf;

use anyhow::{Context, Result};
use gofer::TreeFlags;
use gofer::confine::{Recursion, TreeSpec};
use sentry_platform::spawn::inherited_fd;

use super::config::{HostAccess, SandboxConfig};

/// Serves the trees until the sentry is gone.
pub(crate) fn main() -> Result<u8> {
    let config = SandboxConfig::from_fd(inherited(0, "the configuration")?)?;
    let log = inherited(1, "the debug log")?;
    let log_fd = log.as_raw_fd();
    let words = inherited(2, "standard error")?;
    rustix::stdio::dup2_stderr(&words).context("taking over standard error")?;
    drop(words);
    sentry_platform::refused::speak_of_refused_calls("gofer", Some(log_fd));
    crate::log::install(log.into(), config.debug);
    // What tells it from the command line.
    rustix::thread::set_name(c"runsc-gofer").context("naming the process")?;
    // Most trees are mounted from their paths: a descriptor of the host's mount namespace would have a way up.
    let mut passed = 3..;
    let mut trees = Vec::new();
    for (index, tree) in config.trees.iter().enumerate() {
        let mut flags = match (tree.store, tree.readonly) {
            (true, _) => TreeFlags::STORE,
            (_, true) => TreeFlags::READONLY | special(config.host),
            _ => special(config.host),
        };
        flags.set(TreeFlags::FOLLOWS, tree.follows);
        let source = PathBuf::from(&tree.path);
        let recursion = if tree.recursive { Recursion::Yes } else { Recursion::No };
        let mount = if tree.detached { passed.next() } else { None };
        let detached = mount.map(|index| inherited(index, &format!("the mount of {}", tree.path))).transpose()?;
        let layers = tree.layers.clone().map(CString::new).transpose().context("options of an overlay")?;
        trees.push(TreeSpec { id: u32::try_from(index)?, source, flags, recursion, layers, detached });
    }
    let sockets: Vec<OwnedFd> = passed.map_while(inherited_fd).collect();
    gofer::confine::run(trees, sockets, Some(log_fd), config.looking(), sentry_platform::trim::trim)
        .context("serving files")?;
    Ok(0)
}

/// What may be done with what is neither file nor directory.
fn special(host: HostAccess) -> TreeFlags {
    let mut flags = TreeFlags::empty();
    flags.set(TreeFlags::CONNECT, host.connect);
    flags.set(TreeFlags::BIND, host.bind);
    flags.set(TreeFlags::FIFO, host.fifo);
    flags
}

/// Takes over a descriptor that the command line has passed.
pub(crate) fn inherited(index: usize, what: &str) -> Result<OwnedFd> {
    inherited_fd(index).with_context(|| format!("{what} was not passed: this command is started by runsc itself"))
}
