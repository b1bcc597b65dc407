//! Links the C library into `runsc` where that works, and has the linker pack relocations.
//!
//! Each sandbox executes `runsc` three times. Two libraries less to find, map and relocate save 0.3 ms each time, and their
//! written pages in each process that stays. Cargo's own way to a static program (`crt-static`) would take a target to be
//! named, which moves the built program, as libraries that macros come from can't be built so. Here the libraries are named
//! before the shared ones that `std` names, which then have nothing left to offer and are dropped. Whether linker and C
//! library play along is tried with a small program; where they don't, `runsc` is linked as any other program.

use std::path::Path;
use std::process::Command;

/// The first version of glibc that knows `DT_RELR`.
const PACKED_SINCE: (u32, u32) = (2, 36);

const PACK: &str = "-Wl,-z,pack-relative-relocs";

/// The C library, and how stacks are walked.
const LIBRARIES: [&str; 2] = ["static:-bundle=c", "static:-bundle=gcc_eh"];

/// A program at an address of the host's choice that needs no linker when it runs. Thread-local variables are at fixed
/// places then, so that nobody has to ask for them; and what isn't there can't come later.
const STATIC: [&str; 2] = ["-static-pie", "-Wl,--defsym=__tls_get_addr=abort,-z,nodynamic-undefined-weak"];

/// Has what depends on the way a program is linked: threads, their variables, and what is called at their ends.
const TRIAL: &str = r#"
use std::sync::atomic::{AtomicU32, Ordering};
struct Counted;
static ENDS: AtomicU32 = AtomicU32::new(0);
impl Drop for Counted {
    fn drop(&mut self) {
        ENDS.fetch_add(1, Ordering::SeqCst);
    }
}
thread_local! {
    static OWN: std::cell::RefCell<Vec<Counted>> = const { std::cell::RefCell::new(Vec::new()) };
}
fn main() {
    let thread = std::thread::spawn(|| OWN.with(|own| own.borrow_mut().push(Counted)));
    assert!(thread.join().is_ok());
    assert_eq!(ENDS.load(Ordering::SeqCst), 1);
    assert!(!std::fs::read_to_string("/proc/self/maps").expect("maps").contains(".so"));
}
"#;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    if libc_version().is_none_or(|version| version < PACKED_SINCE) {
        return;
    }
    println!("cargo::rustc-link-arg-bins={PACK}");
    if let Err(why) = try_static() {
        println!("cargo::warning=runsc is linked to the shared C library: {why}");
        return;
    }
    STATIC.iter().for_each(|arg| println!("cargo::rustc-link-arg-bins={arg}"));
    LIBRARIES.iter().for_each(|library| println!("cargo::rustc-link-lib={library}"));
}

fn var(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Version of this machine's glibc; `None` for another C library, or another machine's.
fn libc_version() -> Option<(u32, u32)> {
    if var("HOST")? != var("TARGET")? || var("CARGO_CFG_TARGET_ENV")? != "gnu" {
        return None;
    }
    let said = Command::new("getconf").arg("GNU_LIBC_VERSION").output().ok()?.stdout;
    let said = String::from_utf8(said).ok()?;
    let (major, minor) = said.trim().strip_prefix("glibc ")?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Links the trial as `runsc` is to be linked, and runs it.
fn try_static() -> Result<(), String> {
    let out = var("OUT_DIR").ok_or("no OUT_DIR")?;
    let (source, program) = (Path::new(&out).join("trial.rs"), Path::new(&out).join("trial"));
    std::fs::write(&source, TRIAL).map_err(|error| error.to_string())?;
    let mut rustc = Command::new(var("RUSTC").ok_or("no RUSTC")?);
    rustc.args(["--edition", "2024", "-C", "panic=abort", "-o"]).arg(&program).arg(&source);
    rustc.args(var("CARGO_ENCODED_RUSTFLAGS").iter().flat_map(|all| all.split('\x1f')).filter(|flag| !flag.is_empty()));
    if let Some(linker) = var("RUSTC_LINKER") {
        rustc.arg(format!("-Clinker={linker}"));
    }
    rustc.args([PACK].iter().chain(&STATIC).map(|arg| format!("-Clink-arg={arg}")));
    rustc.args(LIBRARIES.iter().flat_map(|library| ["-l", library]));
    for (mut command, what) in [(rustc, "a trial can't be linked"), (Command::new(&program), "a trial doesn't run")] {
        let ended = command.output().map_err(|error| format!("{what}: {error}"))?;
        if !ended.status.success() {
            let words = String::from_utf8_lossy(&ended.stderr);
            return Err(format!("{what}: {}", words.lines().last().unwrap_or_default()));
        }
    }
    Ok(())
}
