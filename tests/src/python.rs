//! `xtask python`: CPython's own test modules, natively and in the sandbox, compared test by test.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::Common;
use crate::host::{Ended, Place, run as run_command};
use crate::setup::{need, output, runsc, workspace};
use crate::tally::Tally;

/// The modules that must do as well as natively.
const MODULES: &[&str] = &[
    "test_os",
    "test_posix",
    "test_subprocess",
    "test_signal",
    "test_threading",
    "test_fork1",
    "test_wait4",
    "test_mmap",
    "test_fcntl",
    "test_select",
    "test_poll",
    "test_epoll",
    "test_selectors",
    "test_socket",
    "test_pty",
    "test_tempfile",
    "test_shutil",
    "test_pathlib",
    "test_io",
    "test_fileio",
    "test_largefile",
    "test_sqlite3",
    "test_multiprocessing_fork",
    "test_multiprocessing_spawn",
    "test_concurrent_futures",
    "test_asyncio",
    "test_resource",
    "test_time",
    "test_stat",
    "test_eintr",
];

/// Runs each module everywhere; every test that passes natively must pass in the sandbox.
pub(crate) fn run(common: &Common, tally: &mut Tally) -> Result<()> {
    need(&[("/usr/bin/python3.11", "python3.11"), ("/usr/lib/python3.11/test/test_os.py", "libpython3.11-testsuite")])?;
    let runsc = runsc(common)?;
    let explained = Explained::read(&workspace().join("tests/python-differences.txt"))?;
    let logs = output("python")?;
    for module in MODULES.iter().filter(|m| common.filter.as_deref().is_none_or(|f| m.contains(f))) {
        tally.suite(module, |t| one(common, &runsc, module, &explained, &logs, t));
    }
    Ok(())
}

fn one(common: &Common, runsc: &Path, module: &str, explained: &Explained, logs: &Path, t: &mut Tally) -> Result<()> {
    let native = results(&execute(&Place::native(), common, module, logs)?);
    if native.is_empty() {
        bail!("no test ran natively: see {}", logs.display());
    }
    for platform in &common.platform {
        let place = Place::sandbox(runsc, platform);
        let ended = execute(&place, common, module, logs)?;
        let sandbox = results(&ended);
        let passes = native.iter().filter(|(_, r)| *r == "ok");
        let lost: Vec<String> = passes
            .filter(|(name, _)| sandbox.get(*name).map(String::as_str) != Some("ok") && !explained.has(name))
            .map(|(name, _)| format!("{name} ({})", sandbox.get(name).map_or("not run", String::as_str)))
            .collect();
        let why = (!lost.is_empty()).then(|| {
            let shown = lost.iter().take(12).cloned().collect::<Vec<_>>().join(", ");
            let late = if ended.code == -1 { "took too long; " } else { "" };
            format!("{late}{} of {} tests fail only here: {shown}", lost.len(), native.len())
        });
        t.check(&format!("{module} on {platform}"), why);
    }
    Ok(())
}

// One test is left out everywhere: it sets the clock of the machine.
fn execute(place: &Place, common: &Common, module: &str, logs: &Path) -> Result<Ended> {
    let limit = common.limit.max(60);
    let words = ["/usr/bin/python3.11", "-m", "test", "-v", "-i", "test_monotonic_settime", module];
    let words: Vec<_> = words.iter().map(Into::into).collect();
    let mut command = place.command(&words);
    command.current_dir("/tmp");
    let ended = run_command(&mut command, Duration::from_secs(limit * 2))?;
    let mut log = ended.stdout.clone();
    log.extend_from_slice(&ended.stderr);
    let path = logs.join(format!("{module}-{}.log", place.name()));
    fs::write(&path, log).with_context(|| format!("write {}", path.display()))?;
    Ok(ended)
}

/// Result of each test by name, from unittest's verbose output on both streams.
fn results(ended: &Ended) -> BTreeMap<String, String> {
    let mut found = parse(&String::from_utf8_lossy(&ended.stdout));
    found.extend(parse(&String::from_utf8_lossy(&ended.stderr)));
    found
}

/// Reads `name (module.Class.name) ... result`; a doc string or a test's own output may stand in between.
fn parse(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut pending: Option<String> = None;
    for line in text.lines() {
        if let Some(name) = test_name(line) {
            pending = Some(name);
        }
        let Some(result) = result_at_end(line) else { continue };
        if let Some(name) = pending.take() {
            found.insert(name, result);
        }
    }
    found
}

fn test_name(line: &str) -> Option<String> {
    let (method, rest) = line.split_once(" (")?;
    let method = method.rsplit_once(' ').map_or(method, |(_, word)| word);
    let (path, _) = rest.split_once(')')?;
    let plain = |s: &str| !s.is_empty() && s.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '.');
    (plain(method) && path.contains('.') && plain(path)).then(|| format!("{path}:{method}"))
}

fn result_at_end(line: &str) -> Option<String> {
    let tail = line.rsplit_once("... ").map_or(line, |(_, tail)| tail).trim();
    // Some modules print the time that a test took before its result.
    let tail = match tail.split_once("s ") {
        Some((seconds, rest)) if seconds.parse::<f64>().is_ok() => rest,
        _ => tail,
    };
    let known = ["ok", "FAIL", "ERROR", "expected failure", "unexpected success"];
    if known.contains(&tail) {
        return Some(tail.to_owned());
    }
    tail.starts_with("skipped ").then(|| "skipped".to_owned())
}

/// Tests that are known to differ: `NAME: why`, one a line.
struct Explained(BTreeMap<String, String>);

impl Explained {
    fn read(path: &Path) -> Result<Self> {
        let text = if path.exists() { fs::read_to_string(path).context("read explanations")? } else { String::new() };
        let mut map = BTreeMap::new();
        for line in text.lines().filter(|l| !l.is_empty() && !l.starts_with('#')) {
            match line.split_once(": ") {
                Some((name, why)) if why.split_whitespace().count() >= 5 => map.insert(name.to_owned(), why.to_owned()),
                _ => bail!("{}: `{line}` doesn't say which test differs and why", path.display()),
            };
        }
        Ok(Self(map))
    }

    fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_found_behind_doc_strings_and_output() {
        let text = "test_a (test.test_os.T.test_a) ... ok\n\
                    test_b (test.test_os.T.test_b)\nSays something. ... FAIL\n\
                    test_c (test.test_os.T.test_c) ... noise\nok\n\
                    test_d (test.test_os.T.test_d) ... skipped 'no'\n\
                    test_e (test.test_os.T.test_e) ...\n\
                    0.10s test_f (test.test_os.T.test_f) ... 1.03s ok\n";
        let found = parse(text);
        let get = |n: &str| found.get(&format!("test.test_os.T.test_{n}:test_{n}")).map(String::as_str);
        assert_eq!((get("a"), get("b"), get("c")), (Some("ok"), Some("FAIL"), Some("ok")));
        assert_eq!((get("d"), get("e"), get("f")), (Some("skipped"), None, Some("ok")));
    }
}
