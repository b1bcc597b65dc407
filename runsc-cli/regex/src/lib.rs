//! Stands in for the crate `regex`, which `oci-spec` checks one field of `config.json` with (`execCPUAffinity`: numbers and
//! ranges). That brings Unicode's tables along, 184 KB of pointers: the host has to write them in every process of a sandbox,
//! at its start, and keeps them in memory for as long as it lives. `regex-lite` has the same interface and no tables; its `\d` is
//! an ASCII digit, as the field means it.

#![forbid(unsafe_code)]

pub use regex_lite::*;
