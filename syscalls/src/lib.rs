//! Handlers of the system calls, one file per family.
#![forbid(unsafe_code)]
