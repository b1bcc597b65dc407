//! Says how two results of one case differ.

use crate::run::{Outcome, Ran};

/// Describes the difference between the native and the sandboxed result; `None` when they are equal.
pub fn difference(native: &Outcome, sandbox: &Ran) -> Option<String> {
    match sandbox {
        Ran::Lost(why) => Some(format!("no result: {why}\n")),
        Ran::Done(other) if other == native => None,
        Ran::Done(other) => {
            let mut text = String::new();
            if native.how != other.how {
                text.push_str(&format!("  ended: native {}, sandbox {}\n", native.how, other.how));
            }
            let parts = [
                ("stdout", &native.stdout, &other.stdout),
                ("stderr", &native.stderr, &other.stderr),
                ("files", &native.left, &other.left),
            ];
            for (label, a, b) in parts {
                if a != b {
                    text.push_str(&format!("  {label}:\n"));
                    text.push_str(&lines(a, b));
                }
            }
            Some(text)
        }
    }
}

/// The lines that only one side has: `-` native, `+` sandbox, with one line of context before each group.
fn lines(a: &str, b: &str) -> String {
    let (a, b): (Vec<&str>, Vec<&str>) = (a.lines().take(400).collect(), b.lines().take(400).collect());
    let mut common = vec![vec![0u16; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            common[i][j] = if a[i] == b[j] { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let (mut i, mut j, mut text, mut context) = (0, 0, String::new(), None);
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            context = Some(a[i]);
            i += 1;
            j += 1;
            continue;
        }
        if let Some(line) = context.take() {
            text.push_str(&format!("      {line}\n"));
        }
        if i < a.len() && (j == b.len() || common[i + 1][j] >= common[i][j + 1]) {
            text.push_str(&format!("    - {}\n", a[i]));
            i += 1;
        } else {
            text.push_str(&format!("    + {}\n", b[j]));
            j += 1;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(stdout: &str) -> Outcome {
        Outcome { how: "exit:0".into(), stdout: stdout.into(), stderr: String::new(), left: String::new() }
    }

    #[test]
    fn equal_results_are_no_difference() {
        assert_eq!(difference(&outcome("a\n"), &Ran::Done(outcome("a\n"))), None);
    }

    #[test]
    fn only_the_lines_that_differ_are_shown() {
        let text = difference(&outcome("a\nb\nc\nd\n"), &Ran::Done(outcome("a\nb\nx\nd\n"))).expect("differs");
        assert_eq!(text, "  stdout:\n      b\n    - c\n    + x\n");
    }

    #[test]
    fn a_lost_run_is_a_difference() {
        assert!(difference(&outcome(""), &Ran::Lost("died".into())).is_some());
    }
}
