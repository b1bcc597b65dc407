//! Builds the multi-call programs from `cases/*.c` with the system's C compiler.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::SystemTime;

use anyhow::{Context, Result, bail};

/// Paths of the programs that hold all cases.
#[derive(Debug, Clone)]
pub struct Programs {
    /// Dynamically linked, position independent.
    pub dynamic: PathBuf,
    /// Statically linked at a fixed address.
    pub fixed: PathBuf,
    /// Statically linked, position independent.
    pub pie: PathBuf,
}

/// Directory of the C sources.
pub fn source_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("cases")
}

/// Directory that everything built and reported goes to: `compat` under the target directory.
pub fn output_dir() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new(".")).join("target"),
        PathBuf::from,
    );
    target.join("compat")
}

/// Compiles what changed and links the three programs into `out`.
///
/// # Errors
/// Fails when no C compiler is there or when a source doesn't compile.
pub fn build(out: &Path, jobs: usize) -> Result<Programs> {
    let source = source_dir();
    let objects = out.join("obj");
    fs::create_dir_all(&objects).with_context(|| format!("create {}", objects.display()))?;
    if Command::new("gcc").arg("--version").output().is_err() {
        bail!("gcc is missing: install it with `apt-get install gcc libc6-dev`");
    }
    let mut header = None;
    let mut units = Vec::new();
    for entry in fs::read_dir(&source).with_context(|| format!("read {}", source.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "h") {
            header = header.max(modified(&path));
        }
        if path.extension().is_some_and(|e| e == "c") {
            let name = path.file_stem().unwrap_or_default().to_owned();
            units.push((path, objects.join(name).with_extension("o")));
        }
    }
    units.sort();
    let stale: Vec<_> = units
        .iter()
        .filter(|(c, o)| match modified(o) {
            Some(done) => Some(done) < modified(c) || Some(done) < header,
            None => true,
        })
        .collect();
    compile_all(&stale, jobs)?;
    let objects: Vec<OsString> = units.iter().map(|(_, o)| o.into()).collect();
    let programs =
        Programs { dynamic: out.join("cases"), fixed: out.join("cases-static"), pie: out.join("cases-static-pie") };
    let ways: [(&Path, &[&str]); 3] =
        [(&programs.dynamic, &["-pie"]), (&programs.fixed, &["-static", "-no-pie"]), (&programs.pie, &["-static-pie"])];
    for (path, flags) in ways {
        if stale.is_empty() && path.exists() {
            continue;
        }
        let output = Command::new("gcc")
            .args(flags)
            .arg("-pthread")
            .arg("-o")
            .arg(path)
            .args(&objects)
            .args(["-lutil", "-lrt", "-lm"])
            .output()
            .context("run gcc")?;
        if !output.status.success() {
            bail!("link {}: {}", path.display(), String::from_utf8_lossy(&output.stderr));
        }
    }
    Ok(programs)
}

fn modified(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|m| m.modified()).ok()
}

fn compile_all(stale: &[&(PathBuf, PathBuf)], jobs: usize) -> Result<()> {
    let next = AtomicUsize::new(0);
    let errors = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                while let Some((source, object)) = stale.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(e) = compile_one(source, object)
                        && let Ok(mut list) = errors.lock()
                    {
                        list.push(format!("{e:#}"));
                    }
                }
            });
        }
    });
    let errors = errors.into_inner().unwrap_or_default();
    if !errors.is_empty() {
        bail!("{}", errors.join("\n"));
    }
    Ok(())
}

fn compile_one(source: &Path, object: &Path) -> Result<()> {
    let output = Command::new("gcc")
        .args(["-std=gnu17", "-O1", "-fPIE", "-pthread", "-Wall", "-Wextra", "-Werror", "-fno-builtin-printf"])
        .args(["-Wno-nonnull", "-Wno-deprecated-declarations", "-Wno-unused-result", "-Wno-address", "-Wno-clobbered"])
        .args(["-Wno-stringop-overflow", "-Wno-stringop-overread", "-Wno-array-bounds", "-U_FORTIFY_SOURCE"])
        .arg("-c")
        .arg("-o")
        .arg(object)
        .arg(source)
        .output()
        .context("run gcc")?;
    if !output.status.success() {
        bail!("compile {}:\n{}", source.display(), String::from_utf8_lossy(&output.stderr));
    }
    Ok(())
}
