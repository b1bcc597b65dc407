//! The matrix: system call × support × tested by × result on each platform, as Markdown and JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use abi::table::{ENTRIES, Entry, Support};
use anyhow::{Context, Result};
use serde::Serialize;

use crate::compare::difference;
use crate::plan::Case;
use crate::run::{Outcome, Ran};

/// How a case went on one platform.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case", tag = "result", content = "detail")]
pub enum Verdict {
    /// As natively.
    Same,
    /// Differs, and the expectations file says why.
    Explained(String),
    /// Differs.
    Differs(String),
    /// The program did not come to an end in the sandbox: no reason explains that.
    Lost(String),
    /// Listed as differing, but the same.
    Unexpected,
}

impl Verdict {
    /// Judges one run by the native result and the reason, if any, why it may differ. Only a program that has ended
    /// can differ for a reason: a dead sandbox or a time limit hit is a failure, whatever the reason says.
    pub fn new(native: &Outcome, ran: &Ran, reason: Option<&str>) -> Self {
        match (difference(native, ran), reason) {
            (None, None) => Self::Same,
            (None, Some(_)) => Self::Unexpected,
            (Some(how), _) if !ran.ended() => Self::Lost(how),
            (Some(_), Some(why)) => Self::Explained(why.to_owned()),
            (Some(how), None) => Self::Differs(how),
        }
    }

    /// True when this fails the run.
    pub fn fails(&self) -> bool {
        matches!(self, Self::Differs(_) | Self::Lost(_) | Self::Unexpected)
    }
}

/// All results of a run.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Every case that was run.
    pub cases: Vec<Case>,
    /// Platforms in the order asked for.
    pub platforms: Vec<String>,
    /// Cases whose native runs fail or disagree, with the reason.
    pub broken: BTreeMap<String, String>,
    /// Verdicts by platform and case.
    pub verdicts: BTreeMap<String, BTreeMap<String, Verdict>>,
}

#[derive(Serialize)]
struct CallRow<'a> {
    number: u32,
    call: &'a str,
    support: &'static str,
    note: String,
    tested_by: Vec<&'a str>,
    results: BTreeMap<&'a str, String>,
}

impl Report {
    /// Verdict of a case on a platform.
    pub fn verdict(&self, platform: &str, case: &str) -> Option<&Verdict> {
        self.verdicts.get(platform)?.get(case)
    }

    /// Number of comparisons that fail, broken cases included.
    pub fn failures(&self) -> usize {
        self.broken.len() + self.verdicts.values().flat_map(BTreeMap::values).filter(|v| v.fails()).count()
    }

    /// Calls that the table calls served and no case tests.
    pub fn untested(&self) -> Vec<&'static str> {
        let tested: BTreeSet<&str> = self.cases.iter().flat_map(|c| c.calls.iter().map(String::as_str)).collect();
        let served = |e: &&Entry| !matches!(e.support, Support::Missing(..));
        ENTRIES.iter().filter(served).map(|e| e.name).filter(|n| !tested.contains(n)).collect()
    }

    fn rows(&self) -> Vec<CallRow<'_>> {
        let mut by_call: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for case in &self.cases {
            for call in &case.calls {
                by_call.entry(call).or_default().push(&case.name);
            }
        }
        ENTRIES.iter().map(|entry| self.row(entry, by_call.remove(entry.name).unwrap_or_default())).collect()
    }

    fn row<'a>(&'a self, entry: &'a Entry, tested_by: Vec<&'a str>) -> CallRow<'a> {
        let (support, note) = match entry.support {
            Support::Full => ("supported", String::new()),
            Support::Partial(why) => ("partial", why.to_owned()),
            Support::Missing(errno, why) => ("missing", format!("{}: {why}", errno.name())),
        };
        let results = self.platforms.iter().map(|p| (p.as_str(), self.tally(p, &tested_by))).collect();
        CallRow { number: entry.number, call: entry.name, support, note, tested_by, results }
    }

    fn tally(&self, platform: &str, cases: &[&str]) -> String {
        let verdicts: Vec<_> = cases.iter().filter_map(|c| self.verdict(platform, c)).collect();
        if verdicts.is_empty() {
            return "–".to_owned();
        }
        let same = verdicts.iter().filter(|v| **v == &Verdict::Same).count();
        format!("{same}/{}", verdicts.len())
    }

    /// Writes `report.json` and `report.md` into `out`.
    ///
    /// # Errors
    /// Fails when the files can't be written.
    pub fn write(&self, out: &Path) -> Result<()> {
        #[derive(Serialize)]
        struct Json<'a> {
            summary: BTreeMap<&'a str, usize>,
            untested: Vec<&'a str>,
            calls: Vec<CallRow<'a>>,
            #[serde(flatten)]
            report: &'a Report,
        }
        let summary = BTreeMap::from([("cases", self.cases.len()), ("failures", self.failures())]);
        let json = Json { summary, untested: self.untested(), calls: self.rows(), report: self };
        let json = serde_json::to_string_pretty(&json).context("encode report")?;
        fs::write(out.join("report.json"), json).context("write report.json")?;
        fs::write(out.join("report.md"), self.markdown()).context("write report.md")
    }

    /// The report as Markdown.
    pub fn markdown(&self) -> String {
        let mut text = String::from("# Compatibility matrix\n\n");
        let _ = writeln!(text, "{} cases, each run natively twice and compared.\n", self.cases.len());
        self.families(&mut text);
        text.push_str("\n## System calls\n\n| nr | call | support | tested by |");
        for p in &self.platforms {
            let _ = write!(text, " {p} |");
        }
        text.push_str(" note |\n| --- | --- | --- | --- |");
        text.push_str(&" --- |".repeat(self.platforms.len() + 1));
        text.push('\n');
        for row in self.rows() {
            let mut names = row.tested_by.iter().take(4).copied().collect::<Vec<_>>().join(", ");
            if row.tested_by.len() > 4 {
                let _ = write!(names, " and {} more", row.tested_by.len() - 4);
            }
            if names.is_empty() {
                names = (if row.support == "missing" { "–" } else { "**untested**" }).to_owned();
            }
            let _ = write!(text, "| {} | {} | {} | {names} |", row.number, row.call, row.support);
            for p in &self.platforms {
                let _ = write!(text, " {} |", row.results.get(p.as_str()).map_or("–", String::as_str));
            }
            let _ = writeln!(text, " {} |", row.note.replace('|', "/"));
        }
        self.details(&mut text);
        text
    }

    fn families(&self, text: &mut String) {
        let mut families: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for case in &self.cases {
            families.entry(&case.family).or_default().push(&case.name);
        }
        text.push_str("| family | cases |");
        for p in &self.platforms {
            let _ = write!(text, " {p} |");
        }
        text.push_str("\n| --- | --- |");
        text.push_str(&" --- |".repeat(self.platforms.len()));
        text.push('\n');
        for (family, cases) in &families {
            let _ = write!(text, "| {family} | {} |", cases.len());
            for p in &self.platforms {
                let _ = write!(text, " {} |", self.tally(p, cases));
            }
            text.push('\n');
        }
    }

    fn details(&self, text: &mut String) {
        if !self.broken.is_empty() {
            text.push_str("\n## Broken cases\n\n");
            for (case, why) in &self.broken {
                let _ = writeln!(text, "### {case}\n\n```\n{why}\n```\n");
            }
        }
        for platform in &self.platforms {
            let Some(verdicts) = self.verdicts.get(platform) else { continue };
            let _ = writeln!(text, "\n## Differences on {platform}\n");
            for case in &self.cases {
                match verdicts.get(&case.name) {
                    Some(Verdict::Differs(how) | Verdict::Lost(how)) => {
                        let _ = writeln!(text, "### {} / {}\n\n```\n{how}```\n", case.family, case.name);
                    }
                    Some(Verdict::Explained(why)) => {
                        let _ = writeln!(text, "### {} / {} (explained)\n\n{why}\n", case.family, case.name);
                    }
                    Some(Verdict::Unexpected) => {
                        let _ =
                            writeln!(text, "### {} / {}\n\nListed as differing, but passes.\n", case.family, case.name);
                    }
                    Some(Verdict::Same) | None => {}
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(how: &str, stdout: &str) -> Outcome {
        Outcome { how: how.into(), stdout: stdout.into(), stderr: String::new(), left: String::new() }
    }

    #[test]
    fn a_reason_explains_a_finished_program_only() {
        let native = outcome("exit:0", "a");
        let done = |how, out| Ran::Done(outcome(how, out));
        assert_eq!(Verdict::new(&native, &done("exit:0", "b"), Some("why")), Verdict::Explained("why".into()));
        assert_eq!(Verdict::new(&native, &done("signal:11", "a"), Some("why")), Verdict::Explained("why".into()));
        for ran in [Ran::Lost("sentry gone".into()), done("timeout", "a")] {
            assert!(matches!(Verdict::new(&native, &ran, Some("why")), Verdict::Lost(_)));
            assert!(Verdict::new(&native, &ran, None).fails());
        }
    }

    #[test]
    fn a_reason_that_explains_nothing_fails() {
        let same = Ran::Done(outcome("exit:0", "a"));
        assert_eq!(Verdict::new(&outcome("exit:0", "a"), &same, None), Verdict::Same);
        let stale = Verdict::new(&outcome("exit:0", "a"), &same, Some("why"));
        assert_eq!(stale, Verdict::Unexpected);
        assert!(stale.fails());
    }
}
