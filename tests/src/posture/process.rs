//! One live process, held against its row.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::mappings::Mapping;
use super::table::{Identity, Root, Rule};
use super::{Setting, USER, descriptors, mappings};

/// nobody.
const NOBODY: u32 = 65534;

/// A process to look at.
pub(super) struct Process<'a> {
    pub(super) id: u32,
    pub(super) rule: &'a Rule,
    pub(super) setting: Setting<'a>,
    pub(super) sentry: Option<u32>,
    /// What is executable in the launcher.
    pub(super) programs: &'a BTreeSet<Mapping>,
}

impl Process<'_> {
    /// What is not as the table says.
    pub(super) fn violations(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        let threads = fs::read_dir(format!("/proc/{}/task", self.id)).into_iter().flatten().flatten();
        let threads: Vec<String> = threads.map(|entry| entry.path().to_string_lossy().into_owned()).collect();
        if threads.is_empty() {
            found.insert("it is gone".to_owned());
        }
        for thread in &threads {
            found.extend(self.status(thread));
            found.extend(self.namespaces(thread));
            found.extend(self.place(thread));
        }
        found.extend(self.owner());
        found.extend(self.limits());
        found.extend(descriptors::violations(self.id, self.rule, self.setting));
        found.extend(mappings::violations(self.id, self.rule.code, self.programs));
        found
    }

    /// Tells whether there is nothing left of it but its number.
    pub(super) fn has_ended(&self) -> bool {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id)).unwrap_or_default();
        status.lines().find_map(|l| l.strip_prefix("State:")).is_none_or(|state| state.trim().starts_with(['Z', 'X']))
    }

    fn user(&self) -> u32 {
        match (self.rule.identity, self.setting.rootless) {
            (_, true) => USER,
            (Identity::Nobody, false) => NOBODY,
            (Identity::Caller, false) => 0,
        }
    }

    fn status(&self, thread: &str) -> Vec<String> {
        let status = fs::read_to_string(format!("{thread}/status")).unwrap_or_default();
        let field = |key: &str| status.lines().find_map(|l| l.strip_prefix(key)).map(str::trim);
        let user = self.user();
        let ids = vec![user.to_string(); 4].join("\t");
        let capabilities = format!("{:016x}", self.rule.capabilities);
        let none = format!("{:016x}", 0);
        let filters = self.rule.filters.to_string();
        let wanted: [(&str, &str); 11] = [
            ("Uid:", &ids),
            ("Gid:", &ids),
            ("Groups:", ""),
            ("CapInh:", &none),
            ("CapPrm:", &capabilities),
            ("CapEff:", &capabilities),
            ("CapBnd:", &none),
            ("CapAmb:", &none),
            ("NoNewPrivs:", "1"),
            ("Seccomp:", "2"),
            ("Seccomp_filters:", &filters),
        ];
        let odd = wanted.into_iter().filter(|(key, value)| field(key) != Some(*value));
        odd.map(|(key, value)| format!("{key} {} instead of {value:?}", field(key).unwrap_or("?"))).collect()
    }

    fn namespaces(&self, thread: &str) -> Vec<String> {
        let mut found = Vec::new();
        let link = |of: &str, name: &str| fs::read_link(format!("{of}/ns/{name}")).ok();
        for entry in fs::read_dir("/proc/self/ns").into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let theirs = link(thread, &name);
            let plain = name.trim_end_matches("_for_children");
            // An ordinary user can have namespaces of his own in one of his users only.
            let own = self.rule.namespaces.contains(&plain) || plain == "user" && self.setting.rootless;
            let own = own && !(plain == "net" && self.rule.with_sentry && self.setting.host_network);
            let host = theirs == link("/proc/self", &name);
            if theirs.is_none() || own == host {
                found.push(format!("its {name} namespace is {}", if host { "the host's" } else { "one of its own" }));
            }
            let sentry = self.sentry.map(|id| format!("/proc/{id}"));
            if self.rule.with_sentry && sentry.is_some_and(|sentry| link(&sentry, &name) != theirs) {
                found.push(format!("its {name} namespace is not the sentry's"));
            }
        }
        found
    }

    /// Root and working directory.
    fn place(&self, thread: &str) -> Vec<String> {
        let mut found = Vec::new();
        let identity = |link: &str| fs::metadata(format!("{thread}/{link}/.")).map(|m| (m.dev(), m.ino())).ok();
        let root = identity("root");
        if root.is_none() || root != identity("cwd") {
            found.push("its working directory is not its root".to_owned());
        }
        if root == fs::metadata("/").map(|m| (m.dev(), m.ino())).ok() {
            found.push("its root is the host's".to_owned());
        }
        let names = |of: &Path| fs::read_dir(of).map(|entries| entries.flatten().map(|e| e.path()).collect::<Vec<_>>());
        let root = format!("{thread}/root");
        let entries = match names(Path::new(&root)) {
            Ok(entries) => entries,
            Err(error) => return vec![format!("root directory unreadable: {error}")],
        };
        for entry in entries {
            let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let fine = match self.rule.root {
                // An empty place to mount on is nothing to reach.
                Root::Empty => names(&entry).is_ok_and(|names| names.is_empty()),
                Root::Trees => name == "fd" || name.parse::<u32>().is_ok(),
            };
            if !fine {
                found.push(format!("its root holds {name}"));
            }
        }
        let mounts = fs::read_to_string(format!("{thread}/mountinfo")).unwrap_or_default();
        // A view for the host lies over it, out of its own reach.
        let options = mounts.lines().filter(|line| !line.contains(" - fuse runsc ")).find_map(|line| {
            let mut words = line.split(' ').skip(4);
            (words.next() == Some("/")).then(|| words.next().unwrap_or_default().to_owned())
        });
        let options = options.unwrap_or_default();
        for option in ["ro", "nosuid", "nodev", "noexec"] {
            if !options.split(',').any(|o| o == option) {
                found.push(format!("its root is not mounted {option}"));
            }
        }
        found
    }

    /// A process that can't be dumped belongs to root.
    fn owner(&self) -> Option<String> {
        let owner = fs::metadata(format!("/proc/{}", self.id)).map(|m| (m.uid(), m.gid())).ok()?;
        let wanted = (self.user(), self.user());
        (owner != wanted).then(|| format!("it belongs to {owner:?} instead of {wanted:?}"))
    }

    fn limits(&self) -> Vec<String> {
        let limits = fs::read_to_string(format!("/proc/{}/limits", self.id)).unwrap_or_default();
        let field = |name: &str| {
            let words = limits.lines().find_map(|l| l.strip_prefix(name))?.split_whitespace();
            Some(words.take(2).map(str::to_owned).collect::<Vec<_>>())
        };
        let mut found = Vec::new();
        if field("Max core file size").is_none_or(|core| core != ["0", "0"]) {
            found.push("it may leave core files".to_owned());
        }
        // A thread's priority above others' is the host's to give.
        for name in ["Max nice priority", "Max realtime priority"] {
            let own = fs::read_to_string("/proc/self/limits").unwrap_or_default();
            let line = |of: &str| of.lines().find(|l| l.starts_with(name)).map(str::to_owned);
            if line(&limits) != line(&own) {
                found.push(format!("{name} is not the caller's"));
            }
        }
        found
    }
}
