//! The file of explained differences: `CASE PLATFORM[,PLATFORM…]: why`, one a line, `#` starts a comment.
//!
//! An entry without a real explanation is refused, and an entry whose case passes is an error: the file can only
//! shrink by itself.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Platforms that an entry may name.
const PLATFORMS: [&str; 2] = ["systrap", "ptrace"];

/// Explained differences by case and platform.
#[derive(Debug, Default)]
pub struct Expectations {
    reasons: BTreeMap<(String, String), String>,
}

impl Expectations {
    /// Reads the file; a missing file is an empty one.
    ///
    /// # Errors
    /// Fails on a line that doesn't parse or explains nothing.
    pub fn read(path: &Path) -> Result<Self> {
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("in {}", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let mut reasons = BTreeMap::new();
        for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
            let Some((head, reason)) = line.split_once(':') else { bail!("no `:` in `{line}`") };
            let Some((case, platforms)) = head.trim().split_once(' ') else { bail!("no platform in `{line}`") };
            let reason = reason.trim();
            if reason.split_whitespace().count() < 5 {
                bail!("`{line}` doesn't explain the difference: say what differs and why");
            }
            for platform in platforms.trim().split(',') {
                if !PLATFORMS.contains(&platform.trim()) {
                    bail!("`{line}` names the platform {platform}, known are {}", PLATFORMS.join(" and "));
                }
                reasons.insert((case.to_owned(), platform.trim().to_owned()), reason.to_owned());
            }
        }
        Ok(Self { reasons })
    }

    /// Why this case may differ on this platform.
    pub fn reason(&self, case: &str, platform: &str) -> Option<&str> {
        self.reasons.get(&(case.to_owned(), platform.to_owned())).map(String::as_str)
    }

    /// Names of all cases in the file.
    pub fn cases(&self) -> impl Iterator<Item = &str> {
        self.reasons.keys().map(|(case, _)| case.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_names_case_platforms_and_reason() {
        let list = Expectations::parse("# note\nfoo systrap,ptrace: the host has no such thing at all\n").expect("ok");
        assert!(list.reason("foo", "ptrace").is_some());
        assert!(list.reason("foo", "kvm").is_none());
        assert!(list.reason("bar", "systrap").is_none());
    }

    #[test]
    fn an_excuse_is_refused() {
        assert!(Expectations::parse("foo systrap: flaky").is_err());
    }

    #[test]
    fn an_unknown_platform_is_refused() {
        assert!(Expectations::parse("foo sistrap: the host has no such thing at all").is_err());
    }
}
