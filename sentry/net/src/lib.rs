//! Socket families of the guest kernel: unix, inet over loopback, netlink.
//!
//! Sockets are files ([`sentry_fs::FileOps`]) with more verbs. Knows nothing of tasks or descriptors; credentials and
//! passed files come in as values.

#![forbid(unsafe_code)]
