//! The MUSTs of the OCI runtime specification, each a clause of `engines/conformance.sh`. runc proves a clause: it holds there,
//! too, unless it is known to be otherwise.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;

use super::{bundle_of, script};
use crate::setup::need;
use crate::tally::Tally;

/// Clauses that the packaged runc (1.1) doesn't obey, with what it does.
const NOT_BY_RUNC: &[(&str, &str)] = &[
    ("hooks: prestart, createRuntime, createContainer run in this order in create", "runs poststart in create"),
    ("hooks: the state is on standard input, poststart", "tells the state before the start"),
    ("hooks: a failing startContainer is an error of start", "start doesn't wait for these hooks"),
    ("hooks: after a failing poststop the others run", "the first that fails is the last"),
    ("ociVersion: not of the form of SemVer is an error", "isn't looked at"),
    ("ociVersion: missing is an error", "isn't looked at"),
    ("process.rlimits: the same type twice is an error", "the last counts"),
    ("mounts: ids of a mount", "they aren't looked at"),
    ("mounts: idmap is by the ids of the container", "knows no such option"),
    ("mounts: idmap without any ids is an error", "knows no such option"),
    ("mounts: ids of users without those of groups are an error", "they aren't looked at"),
    ("maskedPaths, readonlyPaths: not absolute is an error", "a path that isn't there is left out"),
];

/// Whether each clause holds, and what was seen where not.
fn verdicts(text: &str) -> BTreeMap<String, Option<String>> {
    let lines = text.lines().filter_map(|line| {
        let mut parts = line.split('\t');
        let (verdict, clause) = (parts.next()?, parts.next()?);
        match verdict {
            "ok" => Some((clause.to_owned(), None)),
            "no" => Some((clause.to_owned(), Some(parts.next().unwrap_or_default().to_owned()))),
            _ => None,
        }
    });
    lines.collect()
}

/// Runs the battery with both runtimes.
pub(super) fn run(runsc: &Path, work: &Path, tally: &mut Tally) -> Result<()> {
    need(&[("python3", "python3"), ("ip", "iproute2")])?;
    let theirs = script("conformance", work, "runc", &bundle_of(work, "runc", "runc")?)?;
    let ours = script("conformance", work, "runsc", &bundle_of(work, "runsc", &runsc.display().to_string())?)?;
    let (theirs, ours) = (verdicts(&theirs), verdicts(&ours));
    for (clause, by_runc) in &theirs {
        let known = NOT_BY_RUNC.iter().any(|(known, _)| known == clause);
        let problem = match (by_runc, ours.get(clause)) {
            (_, None) => Some("the case has not been run with runsc".to_owned()),
            (_, Some(Some(seen))) => Some(format!("not so; seen: {seen}")),
            (Some(seen), _) if !known => Some(format!("the case isn't proved: runc shows {seen}")),
            (None, _) if known => Some("runc obeys it by now: take it off the list".to_owned()),
            _ => None,
        };
        tally.check(&format!("conformance: {clause}"), problem);
    }
    tally.check("conformance: every clause was tried", (theirs.len() < 90).then(|| format!("only {}", theirs.len())));
    Ok(())
}
