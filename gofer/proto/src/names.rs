//! File names: single components, checked at both ends.

use abi::Errno;
use abi::types::NAME_MAX;

use crate::MAX_WALK;
use crate::wire::{ProtoError, Reader, Writer};

/// Checks that a name is one component that means an entry: not empty, `.` or `..`, without `/` and NUL, at most 255
/// bytes.
pub fn check_name(name: &[u8]) -> Result<(), Errno> {
    if name.len() > NAME_MAX {
        return Err(Errno::ENAMETOOLONG);
    }
    let special = matches!(name, b"" | b"." | b"..");
    if special || name.iter().any(|byte| matches!(byte, b'/' | 0)) { Err(Errno::EINVAL) } else { Ok(()) }
}

/// The components of a walk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names<'a>(pub Vec<&'a [u8]>);

impl<'a> Names<'a> {
    pub(crate) fn encode(&self, out: &mut Writer) {
        // A list that is too long is refused by the decoder.
        out.put(&u32::try_from(self.0.len()).unwrap_or(u32::MAX));
        for name in &self.0 {
            out.bytes(name);
        }
    }

    pub(crate) fn decode(from: &mut Reader<'a>) -> Result<Names<'a>, ProtoError> {
        let count = usize::try_from(from.get::<u32>()?).map_err(|_| ProtoError::Bad("walk"))?;
        if count == 0 || count > MAX_WALK {
            return Err(ProtoError::Bad("walk"));
        }
        let mut names = Vec::with_capacity(count);
        for _ in 0..count {
            names.push(from.bytes(NAME_MAX)?);
        }
        Ok(Names(names))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_leave_the_directory_are_refused() {
        for bad in [&b""[..], b".", b"..", b"a/b", b"/", b"a\0b", b"\0"] {
            assert_eq!(check_name(bad), Err(Errno::EINVAL), "{bad:?}");
        }
        assert_eq!(check_name(&[b'a'; 256]), Err(Errno::ENAMETOOLONG));
        for good in [&b"a"[..], b"...", b"..a", b" ", b"\xff\xfe", &[b'a'; 255]] {
            assert_eq!(check_name(good), Ok(()));
        }
    }
}
