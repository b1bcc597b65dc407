//! Counts checks and prints each as it ends.

use anyhow::Result;

/// Checks that passed, and descriptions of those that failed.
#[derive(Default)]
pub(crate) struct Tally {
    passed: usize,
    failures: Vec<String>,
}

impl Tally {
    /// Records one check: `None` is a success.
    pub(crate) fn check(&mut self, name: &str, problem: Option<String>) {
        match problem {
            None => {
                println!("ok   {name}");
                self.passed += 1;
            }
            Some(why) => {
                println!("FAIL {name}: {why}");
                self.failures.push(format!("{name}: {why}"));
            }
        }
    }

    /// Records many at once, from a suite that has printed them itself.
    pub(crate) fn add(&mut self, passed: usize, failures: impl IntoIterator<Item = String>) {
        self.passed += passed;
        self.failures.extend(failures);
    }

    /// Runs a suite; an error that ends it is one failure.
    pub(crate) fn suite(&mut self, name: &str, run: impl FnOnce(&mut Self) -> Result<()>) {
        println!("== {name}");
        if let Err(e) = run(self) {
            self.check(name, Some(format!("{e:#}")));
        }
    }

    /// Number of successes.
    pub(crate) fn passed(&self) -> usize {
        self.passed
    }

    /// Number of failures.
    pub(crate) fn failed(&self) -> usize {
        self.failures.len()
    }

    /// What failed, in the order in which it did.
    pub(crate) fn failures(&self) -> &[String] {
        &self.failures
    }

    /// Number of checks.
    pub(crate) fn total(&self) -> usize {
        self.passed + self.failures.len()
    }
}
