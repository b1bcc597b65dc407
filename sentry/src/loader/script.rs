//! `#!` lines (Linux: `fs/binfmt_script.c`).

use abi::Errno;

/// Bytes of a file that decide what it is (`BINPRM_BUF_SIZE`).
pub const HEAD_SIZE: usize = 256;

/// What a `#!` line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Script {
    /// Path of the interpreter.
    pub(super) interpreter: Vec<u8>,
    /// The one optional argument, spaces and all.
    pub(super) argument: Option<Vec<u8>>,
}

fn blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// Reads the line in the first bytes of a file, which are padded with NULs. `None` if it isn't a script, `ENOEXEC` if
/// it is a broken one.
pub(super) fn parse(head: &[u8; HEAD_SIZE]) -> Result<Option<Script>, Errno> {
    if !head.starts_with(b"#!") {
        return Ok(None);
    }
    let last = HEAD_SIZE - 1;
    let nul = head.iter().position(|byte| *byte == 0).unwrap_or(HEAD_SIZE);
    let newline = head[..nul].iter().position(|byte| *byte == b'\n');
    let mut end = match newline {
        Some(end) => end,
        None => {
            // Without a newline in sight the name must at least end in sight.
            let name = (2..=last).find(|at| !blank(head[*at])).ok_or(Errno::ENOEXEC)?;
            (name..=last).find(|at| blank(head[*at]) || head[*at] == 0).ok_or(Errno::ENOEXEC)?;
            last
        }
    };
    while end > 2 && blank(head[end - 1]) {
        end -= 1;
    }
    let name = (2..end).find(|at| !blank(head[*at])).ok_or(Errno::ENOEXEC)?;
    let name_end = (name..end).find(|at| blank(head[*at]) || head[*at] == 0).unwrap_or(end);
    let mut argument = None;
    if name_end < end && head[name_end] != 0 {
        let text = head[name_end..end].iter().copied().skip_while(|byte| blank(*byte));
        let text: Vec<u8> = text.take_while(|byte| *byte != 0).collect();
        argument = (!text.is_empty()).then_some(text);
    }
    Ok(Some(Script { interpreter: head[name..name_end].to_vec(), argument }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &[u8]) -> Result<Option<(String, Option<String>)>, Errno> {
        let mut head = [0; HEAD_SIZE];
        let len = text.len().min(HEAD_SIZE);
        head[..len].copy_from_slice(&text[..len]);
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        parse(&head).map(|script| script.map(|script| (text(script.interpreter), script.argument.map(text))))
    }

    #[test]
    fn name_and_one_argument_are_split() {
        let want = |name: &str, argument: Option<&str>| Ok(Some((name.to_owned(), argument.map(str::to_owned))));
        assert_eq!(line(b"#!/bin/sh\necho"), want("/bin/sh", None));
        assert_eq!(line(b"#! \t/bin/sh -e  -x \t\n"), want("/bin/sh", Some("-e  -x")));
        assert_eq!(line(b"#!/bin/sh"), want("/bin/sh", None));
        assert_eq!(line(b"#!/bin/sh -e"), want("/bin/sh", Some("-e")));
        assert_eq!(line(b"\x7fELF"), Ok(None));
    }

    #[test]
    fn broken_lines_are_no_programs() {
        // Nothing but the mark names nothing; opening that fails later.
        assert_eq!(line(b"#!"), Ok(Some((String::new(), None))));
        assert_eq!(line(b"#!   \n"), Err(Errno::ENOEXEC));
        assert_eq!(line(b"#!\n"), Err(Errno::ENOEXEC));
        assert_eq!(line(&[b"#!/".to_vec(), vec![b'a'; 300]].concat()), Err(Errno::ENOEXEC));
    }

    #[test]
    fn a_long_line_is_cut_only_in_its_argument() {
        let text = [b"#!/bin/sh ".to_vec(), vec![b'a'; 300]].concat();
        let (name, argument) = line(&text).unwrap().unwrap();
        assert_eq!((name.as_str(), argument.unwrap().len()), ("/bin/sh", 255 - 10));
    }
}
