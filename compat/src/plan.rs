//! The list of cases, as the multi-call program itself tells it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde::Serialize;

/// One case.
#[derive(Debug, Clone, Serialize)]
pub struct Case {
    /// Unique name.
    pub name: String,
    /// Group that it belongs to.
    pub family: String,
    /// True when it runs as an ordinary user inside.
    pub as_user: bool,
    /// System calls that it tests.
    pub calls: Vec<String>,
}

/// Asks `program` for its cases and checks that names are unique and calls are in the table.
///
/// # Errors
/// Fails when the program can't be run or when a case names an unknown system call.
pub fn cases(program: &Path) -> Result<Vec<Case>> {
    let output = Command::new(program).arg("list").output().with_context(|| format!("run {}", program.display()))?;
    let text = String::from_utf8(output.stdout).context("list of cases")?;
    let cases: Vec<Case> = text.lines().filter_map(parse).collect();
    let known: BTreeSet<&str> = abi::table::ENTRIES.iter().map(|e| e.name).collect();
    let mut seen = BTreeSet::new();
    for case in &cases {
        if !seen.insert(&case.name) {
            bail!("two cases are named {}", case.name);
        }
        for call in &case.calls {
            if !known.contains(call.as_str()) {
                bail!("case {} names {call}, which is not in the table of system calls", case.name);
            }
        }
    }
    Ok(cases)
}

fn parse(line: &str) -> Option<Case> {
    let mut fields = line.split('\t');
    Some(Case {
        name: fields.next()?.to_owned(),
        family: fields.next()?.to_owned(),
        as_user: fields.next()? == "1",
        calls: fields.next()?.split_whitespace().map(str::to_owned).collect(),
    })
}

/// Keeps the cases whose name contains one of the words, or whose family or one of whose calls is one of them; `=name`
/// keeps that case alone.
pub fn filter(cases: Vec<Case>, words: &[String]) -> Vec<Case> {
    if words.is_empty() {
        return cases;
    }
    let hit = |c: &Case, w: &str| match w.strip_prefix('=') {
        Some(name) => c.name == name,
        None => c.name.contains(w) || c.family == w || c.calls.iter().any(|s| s == w),
    };
    cases.into_iter().filter(|c| words.iter().any(|w| hit(c, w))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_line_becomes_a_case() {
        let case = parse("brk_grow\tmemory\t0\tbrk mmap").expect("well-formed");
        assert_eq!((case.name.as_str(), case.family.as_str(), case.as_user), ("brk_grow", "memory", false));
        assert_eq!(case.calls, ["brk", "mmap"]);
    }

    #[test]
    fn the_filter_looks_at_name_family_and_calls() {
        let list = || vec![parse("a_b\tmemory\t0\tbrk").expect("case"), parse("c_d\tfiles\t1\topen").expect("case")];
        let names = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
            filter(list(), &words).into_iter().map(|c| c.name).collect::<Vec<_>>()
        };
        assert_eq!(names(&[]), ["a_b", "c_d"]);
        assert_eq!(names(&["memory"]), ["a_b"]);
        assert_eq!(names(&["open"]), ["c_d"]);
        assert_eq!(names(&["_b", "_d"]), ["a_b", "c_d"]);
        assert_eq!(names(&["=a_b", "=c"]), ["a_b"]);
    }
}
