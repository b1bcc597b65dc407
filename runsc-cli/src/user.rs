//! Who runs this program.

use sentry_platform::spawn::IdMap;

/// The map of the namespace that has every id: the first.
const INITIAL: [&str; 3] = ["0", "0", "4294967295"];

/// Users or groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ids {
    Users,
    Groups,
}

/// Which ids a user namespace has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IdMaps {
    pub(crate) users: Vec<IdMap>,
    pub(crate) groups: Vec<IdMap>,
}

impl IdMaps {
    /// What a user namespace below ours maps to itself, so that it sees every file's owner as we do.
    pub(crate) fn of_caller() -> IdMaps {
        IdMaps { users: Ids::Users.map(), groups: Ids::Groups.map() }
    }
}

impl Ids {
    fn text(self) -> String {
        let name = match self {
            Ids::Users => "uid_map",
            Ids::Groups => "gid_map",
        };
        std::fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default()
    }

    /// All that there is here for root, else only our own id, as root.
    fn map(self) -> Vec<IdMap> {
        if rustix::process::geteuid().is_root() {
            return identity(&self.text());
        }
        let own = match self {
            Ids::Users => rustix::process::geteuid().as_raw(),
            Ids::Groups => rustix::process::getegid().as_raw(),
        };
        vec![IdMap { inside: 0, outside: own, count: 1 }]
    }
}

/// Tells whether there is such a user in our user namespace.
pub(crate) fn exists(user: u32) -> bool {
    contains(&Ids::Users.text(), user)
}

fn contains(map: &str, id: u32) -> bool {
    identity(map).iter().any(|map| id.checked_sub(map.inside).is_some_and(|at| at < map.count))
}

/// Tells whether this is the host's root, and not one of a user namespace.
pub(crate) fn is_host_root() -> bool {
    rustix::process::geteuid().is_root() && is_initial(&Ids::Users.text())
}

fn is_initial(map: &str) -> bool {
    map.split_whitespace().eq(INITIAL)
}

fn identity(map: &str) -> Vec<IdMap> {
    let line = |line: &str| {
        let mut words = line.split_whitespace();
        let first = words.next()?.parse().ok()?;
        Some(IdMap { inside: first, outside: first, count: words.nth(1)?.parse().ok()? })
    };
    map.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_tell_who_is_there() {
        assert!(is_initial("         0          0 4294967295\n"));
        let rootless = "         0       1000          1\n         1     100000      65536\n";
        assert!(!is_initial(rootless));
        let line = |first, count| IdMap { inside: first, outside: first, count };
        assert_eq!(identity(rootless), [line(0, 1), line(1, 65536)]);
        assert!(contains(rootless, 0) && contains(rootless, 65534) && !contains(rootless, 65537));
        assert!(!contains("0 1000 1\n", 65534));
    }
}
