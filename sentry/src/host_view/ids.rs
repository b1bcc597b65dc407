//! Users and groups as the host's FUSE has them: those of whoever mounted it.

use abi::Errno;
use serde::{Deserialize, Serialize};

/// A range of ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    /// The first inside the sandbox.
    pub inside: u32,
    /// The first outside.
    pub outside: u32,
    /// How many.
    pub count: u32,
}

/// How ids inside and outside belong together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ids {
    /// Users.
    pub users: Vec<IdRange>,
    /// Groups.
    pub groups: Vec<IdRange>,
}

/// Shown for ids that don't exist outside (`/proc/sys/kernel/overflowuid`).
const OVERFLOW: u32 = 65534;

fn moved(id: u32, from: u32, to: u32, count: u32) -> Option<u32> {
    id.checked_sub(from).filter(|at| *at < count).map(|at| to + at)
}

/// Returns an id as it is outside.
pub(super) fn outwards(ranges: &[IdRange], id: u32) -> u32 {
    ranges.iter().find_map(|range| moved(id, range.inside, range.outside, range.count)).unwrap_or(OVERFLOW)
}

/// Returns an id as it is inside: `EINVAL` where it doesn't exist there.
pub(super) fn inwards(ranges: &[IdRange], id: u32) -> Result<u32, Errno> {
    ranges.iter().find_map(|range| moved(id, range.outside, range.inside, range.count)).ok_or(Errno::EINVAL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_go_out_and_come_back() {
        let ranges =
            [IdRange { inside: 0, outside: 100_000, count: 1000 }, IdRange { inside: 5000, outside: 7, count: 1 }];
        for (inside, outside) in [(0, 100_000), (999, 100_999), (5000, 7)] {
            assert_eq!(outwards(&ranges, inside), outside);
            assert_eq!(inwards(&ranges, outside), Ok(inside));
        }
        assert_eq!(outwards(&ranges, 1000), OVERFLOW);
        assert_eq!(inwards(&ranges, 0), Err(Errno::EINVAL));
        let all = [IdRange { inside: 0, outside: 0, count: u32::MAX }];
        assert_eq!(outwards(&all, u32::MAX - 1), u32::MAX - 1);
    }
}
