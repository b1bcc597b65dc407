//! Has the linker pack relocations where the C library can unpack them.

use std::process::Command;

/// The first version of glibc that knows `DT_RELR`.
const PACKED_SINCE: (u32, u32) = (2, 36);

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if libc_version().is_some_and(|version| version >= PACKED_SINCE) {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Version of this machine's glibc; `None` for another C library, or another machine's.
fn libc_version() -> Option<(u32, u32)> {
    let var = |name: &str| std::env::var(name).ok();
    if var("HOST")? != var("TARGET")? || var("CARGO_CFG_TARGET_ENV")? != "gnu" {
        return None;
    }
    let said = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?.stdout;
    let said = String::from_utf8(said).ok()?;
    let (major, minor) = said.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
