//! The file server of a sandbox: holds the container's file trees and opens files beneath them for the sentry.
//!
//! Key types: [`Tree`] (a directory or file to serve), [`Server`] (answers requests), [`serve`] (the whole process: one
//! thread a connection, ends when all are closed), [`confine`] (locks the process up before it serves).
//!
//! What it may rely on: nothing that the sentry says. Files are named by handles from [`node`], whose descriptors are
//! `O_PATH`; names are single components, opened one by one beneath a descriptor, never through a symbolic link; only
//! regular files are ever opened for I/O. Read-only trees are refused writes here, whatever the mount says.
//! Knows nothing of the guest kernel.

#![forbid(unsafe_code)]

pub mod confine;
pub mod handover;
mod host;
pub mod host_calls;
pub mod node;
mod ops;
mod policy;
mod serve;
mod server;

pub use serve::{ServeError, serve};
pub use server::{Server, Tree, TreeFlags};
