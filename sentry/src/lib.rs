//! The guest kernel.
#![forbid(unsafe_code)]
