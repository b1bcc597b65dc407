//! The gofer process.

use std::os::fd::OwnedFd;

use anyhow::{Context, Result};
use gofer::{Server, Tree, TreeFlags};
use sentry_platform::spawn::inherited_fd;

use super::config::SandboxConfig;

/// Serves the trees until the sentry is gone.
pub(crate) fn main() -> Result<u8> {
    let config = SandboxConfig::from_fd(inherited(0, "the configuration")?)?;
    crate::log::install(inherited(1, "the debug log")?.into(), config.debug);
    let first_tree = 2;
    let first_socket = first_tree + config.trees.len();
    let mut trees = Vec::new();
    for (index, tree) in config.trees.iter().enumerate() {
        let root = inherited(first_tree + index, "a file tree")?;
        let flags = if tree.readonly { TreeFlags::READONLY } else { TreeFlags::empty() };
        trees.push(Tree { id: u32::try_from(index)?, root, flags });
    }
    let sockets: Vec<OwnedFd> = (first_socket..).map_while(inherited_fd).collect();
    let server = Server::new(trees).context("taking the file trees into service")?;
    gofer::serve(server, sockets, || Ok(())).context("serving files")?;
    Ok(0)
}

/// Takes over a descriptor that the command line has passed.
pub(crate) fn inherited(index: usize, what: &str) -> Result<OwnedFd> {
    inherited_fd(index).with_context(|| format!("{what} was not passed: this command is started by runsc itself"))
}
