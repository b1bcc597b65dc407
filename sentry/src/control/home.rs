//! `HOME` of a process where its configuration sets none: what the container's `/etc/passwd` says, as in
//! runc.

use std::sync::Arc;

use crate::vfs::{MountNamespace, WalkFlags, Walker, walk};
use abi::flags::OpenFlags;
use sentry_fs::iobuf::BytesDst;
use sentry_fs::{FileKind, IoFlags};

/// Most bytes of `/etc/passwd` that are looked at.
const PASSWD_MAX: usize = 1 << 20;

/// Where users live of whom nothing is known.
const DEFAULT: &str = "/";

/// Adds `HOME` to the environment unless it is there.
pub fn complete(env: &mut Vec<Vec<u8>>, namespace: &Arc<MountNamespace>, uid: u32) {
    if env.iter().any(|entry| entry.starts_with(b"HOME=") && entry.len() > b"HOME=".len()) {
        return;
    }
    env.retain(|entry| !entry.starts_with(b"HOME="));
    let users = read(namespace).unwrap_or_default();
    env.push(format!("HOME={}", home_of(&users, uid).unwrap_or(DEFAULT)).into_bytes());
}

/// Reads `/etc/passwd`; what isn't a file of text counts as missing.
fn read(namespace: &Arc<MountNamespace>) -> Option<String> {
    let root = namespace.root();
    let cred = crate::task::Cred::new(0, 0, Vec::new(), crate::task::Caps::all());
    let walker = Walker { root: &root, cred: &cred };
    let found = walk::resolve(&walker, &root, b"/etc/passwd", WalkFlags::FOLLOW).ok()?;
    if found.attr().ok()?.kind != FileKind::Regular {
        return None;
    }
    let file = Arc::clone(found.inode()).open(OpenFlags::empty()).ok()?;
    let mut text = Vec::new();
    let mut pos = 0;
    while text.len() < PASSWD_MAX {
        let mut buf = vec![0; 64 * 1024];
        let got = file.read(&mut pos, IoFlags::POSITIONED, &mut BytesDst::new(&mut buf)).ok()?;
        if got == 0 {
            break;
        }
        text.extend_from_slice(buf.get(..got)?);
    }
    String::from_utf8(text).ok()
}

/// Finds the home of a user in text as of `passwd(5)`.
fn home_of(users: &str, uid: u32) -> Option<&str> {
    let line = users.lines().find(|line| line.split(':').nth(2).and_then(|id| id.parse().ok()) == Some(uid))?;
    line.split(':').nth(5).filter(|home| !home.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sixth_field_of_the_users_line_counts() {
        let users = "root:x:0:0:root:/root:/bin/sh\nbroken\nannie:x:1000:1000::/home/annie:/bin/sh\nbare:x:7:7::\n";
        assert_eq!(home_of(users, 1000), Some("/home/annie"));
        assert_eq!(home_of(users, 7), None);
        assert_eq!(home_of(users, 5), None);
    }
}
