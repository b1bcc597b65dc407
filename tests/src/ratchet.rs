//! Counts over the sources that may only fall: unsafe blocks, oversized files, unwraps outside tests.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::setup::workspace;
use crate::tally::Tally;

/// Counts of one crate.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Counts {
    /// `unsafe` keywords in code.
    unsafe_uses: usize,
    /// Files of more than 800 lines.
    oversized_files: usize,
    /// `.unwrap()` and `.expect(` outside tests.
    unwraps: usize,
}

type Table = BTreeMap<String, Counts>;

/// Compares the sources with `tests/ratchet.json`.
pub(crate) fn run(update: bool, tally: &mut Tally) -> Result<()> {
    let path = workspace().join("tests/ratchet.json");
    let now = count(&workspace())?;
    if update {
        let text = serde_json::to_string_pretty(&now)? + "\n";
        return fs::write(&path, text).with_context(|| format!("write {}", path.display()));
    }
    let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    let allowed: Table = serde_json::from_str(&text).with_context(|| format!("parse {}", path.display()))?;
    for (name, counts) in &now {
        let limit = allowed.get(name).cloned().unwrap_or_default();
        tally.check(&format!("ratchet {name}"), verdict(counts, &limit));
    }
    Ok(())
}

fn verdict(now: &Counts, limit: &Counts) -> Option<String> {
    let rows = [
        ("uses of unsafe", now.unsafe_uses, limit.unsafe_uses),
        ("files over 800 lines", now.oversized_files, limit.oversized_files),
        ("unwrap/expect outside tests", now.unwraps, limit.unwraps),
    ];
    let grown: Vec<String> =
        rows.iter().filter(|(_, n, l)| n > l).map(|(what, n, l)| format!("{n} {what}, {l} allowed")).collect();
    let fell = rows.iter().any(|(_, n, l)| n < l);
    if !grown.is_empty() {
        return Some(format!(
            "{}: remove some, or argue for it in review and edit tests/ratchet.json",
            grown.join("; ")
        ));
    }
    if fell {
        println!("note: counts fell; write them down with `cargo xtask ratchet --update`");
    }
    None
}

/// Counts every crate of the workspace: a directory with a Cargo.toml owns the sources below its `src`.
fn count(root: &Path) -> Result<Table> {
    let mut table = Table::new();
    for krate in crates(root, 0)? {
        let name = krate.strip_prefix(root).unwrap_or(&krate).display().to_string();
        let mut counts = Counts::default();
        for file in sources(&krate.join("src"))? {
            let text = fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
            add(&mut counts, &text);
        }
        table.insert(name, counts);
    }
    Ok(table)
}

fn crates(dir: &Path, depth: usize) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !path.is_dir() || name.starts_with('.') || ["target", "src", "docs"].contains(&name.as_str()) {
            continue;
        }
        if path.join("Cargo.toml").exists() {
            found.push(path.clone());
        }
        if depth < 2 {
            found.extend(crates(&path, depth + 1)?);
        }
    }
    found.sort();
    Ok(found)
}

fn sources(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(dir) else { return Ok(found) };
    for entry in entries {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|e| e == "rs") && !is_test_file(&path) {
            found.push(path);
        }
    }
    Ok(found)
}

fn is_test_file(path: &Path) -> bool {
    let in_tests = path.components().any(|c| c.as_os_str() == "tests" || c.as_os_str() == "suite");
    let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    let inside_src = path.to_string_lossy().contains("/src/");
    stem == "tests"
        || stem.ends_with("_tests")
        || stem.ends_with("_test")
        || (in_tests && inside_src && after_src_has_tests(path))
}

/// True when a directory below `src` is named `tests`; the crate `tests` itself is no test file.
fn after_src_has_tests(path: &Path) -> bool {
    path.components()
        .skip_while(|c| c.as_os_str() != "src")
        .any(|c| c.as_os_str() == "tests" || c.as_os_str() == "suite")
}

fn add(counts: &mut Counts, text: &str) {
    // A table may be long: the rows of the system-call table are data.
    let is_table = text.contains("macro_rules! syscall_table");
    counts.oversized_files += usize::from(text.lines().count() > 800 && !is_table);
    for line in text.lines() {
        let code = line.split("//").next().unwrap_or_default();
        if code.contains("#[cfg(test)]") || code.contains("#![cfg(test)]") {
            break; // unit tests stand last
        }
        // What is quoted is text.
        for part in code.split('"').step_by(2) {
            let words = part.split(|c: char| !c.is_alphanumeric() && c != '_');
            counts.unsafe_uses += words.filter(|w| *w == "unsafe").count();
        }
        counts.unwraps += code.matches(".unwrap()").count() + code.matches(".expect(").count();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_counts_and_comments_and_tests_do_not() {
        let mut counts = Counts::default();
        add(
            &mut counts,
            "// unsafe\nunsafe { x.unwrap() }\nlet unsafe_thing = \"an unsafe text\";\n#[cfg(test)]\nmod t { y.unwrap(); }\n",
        );
        assert_eq!(counts, Counts { unsafe_uses: 1, oversized_files: 0, unwraps: 1 });
    }

    #[test]
    fn counts_may_only_fall() {
        let two = Counts { unwraps: 2, ..Counts::default() };
        let three = Counts { unwraps: 3, ..Counts::default() };
        assert!(verdict(&two, &two).is_none());
        assert!(verdict(&three, &two).is_some());
        assert!(verdict(&two, &three).is_none());
    }
}
