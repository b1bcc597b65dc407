//! `xtask python`: CPython's own test modules, natively and in the sandbox, compared test by test.
//!
//! A test that fails in the sandbox is run once more alone, natively as well: only what differs then is reported.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::Common;
use crate::host::{Ended, Place, run as run_command};
use crate::setup::{need, output, runsc, source, workspace};
use crate::tally::Tally;

/// A module that Debian leaves out of its package of tests: it comes from the source of Python.
const FROM_SOURCE: &str = "test_sqlite3";

/// What is run nowhere: the first sets the clock of the machine, the second waits for ever on a host that has vsock but
/// no loopback for it.
const LEFT_OUT: &[&str] = &["test_monotonic_settime", "ThreadedVSOCKSocketStreamTest"];

/// More tests than this that fail only here are no accident, and aren't run again.
const RERUN: usize = 40;

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
    let suite = Suite {
        runsc: runsc(common)?,
        explained: Explained::read(&workspace().join("tests/python-differences.txt"))?,
        logs: output("python")?,
        limit: Duration::from_secs(common.limit.max(60) * 2),
        platforms: &common.platform,
    };
    for module in MODULES.iter().filter(|m| common.filter.as_deref().is_none_or(|f| m.contains(f))) {
        tally.suite(module, |t| suite.compare(module, t));
    }
    Ok(())
}

/// What is the same for all modules.
struct Suite<'a> {
    runsc: PathBuf,
    explained: Explained,
    logs: PathBuf,
    limit: Duration,
    platforms: &'a [String],
}

impl Suite<'_> {
    fn compare(&self, module: &str, t: &mut Tally) -> Result<()> {
        let native = results(&self.execute(&Place::native(), module, None)?);
        if native.is_empty() {
            bail!("no test ran natively: see {}", self.logs.display());
        }
        for platform in self.platforms {
            let place = Place::sandbox(&self.runsc, platform);
            let ended = self.execute(&place, module, None)?;
            let sandbox = results(&ended);
            println!("{module}: natively {}; on {platform} {}", count(&native), count(&sandbox));
            let lost = self.really_lost(&place, module, self.lost(&native, &sandbox))?;
            let late = if ended.code == -1 { "took too long; " } else { "" };
            let why = (!lost.is_empty()).then(|| {
                let shown: Vec<_> = lost.iter().take(12).map(|(name, result)| format!("{name} ({result})")).collect();
                format!("{late}{} of {} tests fail only here: {}", lost.len(), native.len(), shown.join(", "))
            });
            t.check(&format!("{module} on {platform}"), why);
        }
        Ok(())
    }

    /// Tests that pass natively and not in the sandbox, but for the explained ones, with what they said there.
    fn lost(&self, native: &Results, sandbox: &Results) -> Results {
        let passes = native.iter().filter(|(name, result)| *result == "ok" && !self.explained.has(name));
        let there =
            passes.map(|(name, _)| (name.clone(), sandbox.get(name).map_or("not run", String::as_str).to_owned()));
        there.filter(|(_, result)| result != "ok").collect()
    }

    /// Those of the lost tests that fail alone as well, while they pass alone natively.
    fn really_lost(&self, place: &Place, module: &str, lost: Results) -> Result<Results> {
        if lost.len() > RERUN {
            return Ok(lost);
        }
        let mut real = Results::new();
        for name in lost.keys() {
            let id = name.split_once(':').map_or(name.as_str(), |(id, _)| id);
            println!("{name} fails on {}, once more alone", place.name());
            let native = results(&self.execute(&Place::native(), module, Some(id))?);
            let sandbox = results(&self.execute(place, module, Some(id))?);
            real.extend(self.lost(&native, &sandbox));
        }
        Ok(real)
    }

    /// Runs a module, or one test of it, without those that are [`LEFT_OUT`] everywhere.
    fn execute(&self, place: &Place, module: &str, one: Option<&str>) -> Result<Ended> {
        let mut words = vec!["/usr/bin/python3.11".to_owned()];
        if module == FROM_SOURCE {
            // `-m test` can't be told of a second directory that the package extends to.
            let run = "import sys, test, test.support; more = test.support.STDLIB_DIR = sys.argv.pop(1); \
                       test.__path__.append(more + '/test'); from test.libregrtest.main import main; main()";
            let more = source("python3.11", "Lib", "test/test_sqlite3")?;
            words.extend(["-c".to_owned(), run.to_owned(), more.to_string_lossy().into_owned()]);
        } else {
            words.extend(["-m".to_owned(), "test".to_owned()]);
        }
        words.push("-v".to_owned());
        words.extend(LEFT_OUT.iter().flat_map(|name| ["-i".to_owned(), (*name).to_owned()]));
        words.extend(one.iter().flat_map(|id| ["-m".to_owned(), (*id).to_owned()]));
        words.push(module.to_owned());
        let words: Vec<_> = words.iter().map(Into::into).collect();
        let mut command = place.command(&words);
        command.current_dir("/tmp");
        let ended = run_command(&mut command, self.limit)?;
        let mut log = ended.stdout.clone();
        log.extend_from_slice(&ended.stderr);
        let path = self.logs.join(format!("{}-{}.log", one.unwrap_or(module), place.name()));
        fs::write(&path, log).with_context(|| format!("write {}", path.display()))?;
        Ok(ended)
    }
}

/// Results of tests by name.
type Results = BTreeMap<String, String>;

/// The results in numbers: passed, skipped, others.
fn count(results: &Results) -> String {
    let number = |what: &str| results.values().filter(|r| *r == what).count();
    let (ok, skipped) = (number("ok"), number("skipped"));
    format!("{ok} ok, {skipped} skipped, {} other", results.len() - ok - skipped)
}

/// Result of each test by name, from unittest's verbose output on both streams.
fn results(ended: &Ended) -> Results {
    let mut found = parse(&String::from_utf8_lossy(&ended.stdout));
    found.extend(parse(&String::from_utf8_lossy(&ended.stderr)));
    found
}

/// Reads `name (module.Class.name) ... result`; a doc string or a test's own output may stand in between.
fn parse(text: &str) -> Results {
    let mut found = Results::new();
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
struct Explained(Results);

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
