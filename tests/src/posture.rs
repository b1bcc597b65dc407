//! `xtask posture`: what the live processes of a sandbox may do, compared with the table here.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::Common;
use crate::bad_input::processes;
use crate::host::{Place, kill};
use crate::setup::{root, runsc};
use crate::tally::Tally;

/// What one sort of process must be like.
struct Rule {
    /// Name, as [`role`] gives it.
    role: &'static str,
    /// Namespaces that must not be the host's.
    namespaces: &'static [&'static str],
    /// Capabilities that it may hold, as a mask.
    capabilities: u64,
    /// Prefixes of what its descriptors may refer to.
    descriptors: &'static [&'static str],
    /// May hold the root of the detached `/proc` that shows the stubs, and nothing but processes.
    proc_of_stubs: bool,
    /// Names that may stand in its root directory; `None` where its root is a container's tree.
    root: Option<&'static [&'static str]>,
}

const NAMESPACES: &[&str] = &["user", "pid", "net", "ipc", "mnt", "uts"];
/// The sort of descriptor that the gofer donates besides: no directory, no device, nothing to walk from.
const REGULAR_FILE: &str = "a regular file";
const DONATED: &[&str] = &["anon_inode:", "socket:[", "pipe:[", "/memfd:", "/dev/null", REGULAR_FILE];

/// One row for each sort of process.
const RULES: &[Rule] = &[
    Rule {
        role: "sentry",
        namespaces: NAMESPACES,
        capabilities: 0,
        descriptors: DONATED,
        proc_of_stubs: true,
        root: Some(&[]),
    },
    // A stub shares the sentry's descriptors; its filter lets no call take one but a verified mmap.
    Rule {
        role: "stub",
        namespaces: NAMESPACES,
        capabilities: 0,
        descriptors: DONATED,
        proc_of_stubs: true,
        root: Some(&[]),
    },
    // The gofer reads and writes as the container's root would: CHOWN, DAC_OVERRIDE, DAC_READ_SEARCH, FOWNER, FSETID,
    // SETGID, SETUID, MKNOD, SETFCAP, SYS_CHROOT; its descriptors are files of the trees it serves.
    Rule {
        role: "gofer",
        namespaces: &["mnt", "net", "ipc"],
        capabilities: 0x1 | 0x2 | 0x4 | 0x8 | 0x10 | 0x40 | 0x80 | 1 << 27 | 1 << 31 | 1 << 18,
        descriptors: &["anon_inode:", "socket:[", "pipe:[", "/"],
        proc_of_stubs: false,
        root: None,
    },
];

/// Starts a sandbox on each platform and looks at its processes.
pub(crate) fn run(common: &Common, tally: &mut Tally) -> Result<()> {
    root("reading other users' processes under /proc needs it")?;
    let runsc = runsc(common)?;
    for platform in &common.platform {
        let before = processes(&runsc);
        let mut sandbox = start(&runsc, platform)?;
        let result = wait_for(&runsc, &before, &mut sandbox).map(|ids| look(platform, sandbox.id(), &ids, tally));
        kill(&mut sandbox);
        result.with_context(|| format!("on {platform}"))?;
        let deadline = Instant::now() + Duration::from_secs(2);
        while Instant::now() < deadline && processes(&runsc).difference(&before).next().is_some() {
            std::thread::sleep(Duration::from_millis(20));
        }
        let left = processes(&runsc).difference(&before).count();
        tally.check(&format!("{platform}: all end with the sandbox"), (left > 0).then(|| format!("{left} still live")));
    }
    Ok(())
}

fn start(runsc: &Path, platform: &str) -> Result<Child> {
    let words = ["/bin/sh".into(), "-c".into(), "sleep 60 & sleep 60".into()];
    let mut command = Place::sandbox(runsc, platform).command(&words);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    std::os::unix::process::CommandExt::process_group(&mut command, 0);
    command.spawn().context("start a sandbox")
}

/// Waits until the processes of the sandbox are as many as they get.
fn wait_for(runsc: &Path, before: &std::collections::BTreeSet<u32>, sandbox: &mut Child) -> Result<Vec<u32>> {
    let deadline = Instant::now() + Duration::from_secs(5);
    let (mut last, mut same) = (0, 0);
    loop {
        if let Some(status) = sandbox.try_wait().context("wait")? {
            bail!("the sandbox ended with {status}");
        }
        let ids: Vec<u32> = processes(runsc).difference(before).copied().collect();
        same = if ids.len() == last { same + 1 } else { 0 };
        last = ids.len();
        if (ids.len() > 3 && same >= 10) || Instant::now() > deadline {
            return Ok(ids);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn look(platform: &str, launcher: u32, ids: &[u32], tally: &mut Tally) {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let sentry = ids.iter().find(|id| role(**id, launcher, None) == "sentry").copied();
    for id in ids {
        let role = role(*id, launcher, sentry);
        *seen.entry(role).or_default() += 1;
        let Some(rule) = RULES.iter().find(|r| r.role == role) else { continue };
        let problems = violations(*id, rule);
        tally.check(&format!("{platform}: {role} {id}"), (!problems.is_empty()).then(|| problems.join("; ")));
    }
    for rule in RULES {
        let missing = !seen.contains_key(rule.role);
        let why = format!("none is running; seen: {seen:?}");
        tally.check(&format!("{platform}: a {} runs", rule.role), missing.then_some(why));
    }
}

/// What a process is, by its command line: the launcher, the sentry (`boot`), the gofer, else a stub.
fn role(id: u32, launcher: u32, sentry: Option<u32>) -> &'static str {
    if id == launcher {
        return "launcher";
    }
    let line = fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
    let words: Vec<String> = line.split(|b| *b == 0).map(|w| String::from_utf8_lossy(w).into_owned()).collect();
    let names = |word: &str| words.iter().skip(1).any(|w| w == word);
    if names("gofer") {
        "gofer"
    } else if names("boot") && sentry.is_none_or(|s| s == id) {
        "sentry"
    } else {
        "stub"
    }
}

fn violations(id: u32, rule: &Rule) -> Vec<String> {
    let mut found = Vec::new();
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let field = |key: &str| status.lines().find_map(|l| l.strip_prefix(key)).map_or("", str::trim);
    for key in ["CapEff:", "CapPrm:", "CapInh:", "CapAmb:"] {
        match u64::from_str_radix(field(key), 16) {
            Ok(set) if set & !rule.capabilities == 0 => {}
            Ok(set) => found.push(format!("{key} {:#x} beyond the table", set & !rule.capabilities)),
            Err(_) => found.push(format!("{key} unreadable")),
        }
    }
    if field("Seccomp:") != "2" {
        found.push(format!("seccomp mode {}", field("Seccomp:")));
    }
    if field("NoNewPrivs:") != "1" {
        found.push("no_new_privs is off".to_owned());
    }
    for name in rule.namespaces {
        let link = |who: &str| fs::read_link(format!("/proc/{who}/ns/{name}")).ok();
        if link(&id.to_string()).is_none_or(|theirs| Some(theirs) == link("self")) {
            found.push(format!("in the host's {name} namespace"));
        }
    }
    found.extend(descriptors(id, rule));
    found.extend(root_of(id, rule));
    found
}

fn descriptors(id: u32, rule: &Rule) -> Vec<String> {
    let Ok(entries) = fs::read_dir(format!("/proc/{id}/fd")) else { return vec!["descriptors unreadable".to_owned()] };
    let paths = entries.filter_map(|e| Some(e.ok()?.path()));
    let odd = paths.filter_map(|path| {
        let target = fs::read_link(&path).ok()?.to_string_lossy().into_owned();
        let named = rule.descriptors.iter().any(|d| target.starts_with(d)) || rule.proc_of_stubs && target == "/";
        let regular = || rule.descriptors.contains(&REGULAR_FILE) && fs::metadata(&path).is_ok_and(|m| m.is_file());
        (!named && !regular()).then_some(target)
    });
    odd.map(|t| format!("holds {t}")).collect()
}

fn root_of(id: u32, rule: &Rule) -> Option<String> {
    let allowed = rule.root?;
    let entries = match fs::read_dir(format!("/proc/{id}/root/")) {
        Ok(entries) => entries,
        Err(e) => return Some(format!("root directory unreadable: {e}")),
    };
    let names: Vec<String> = entries.filter_map(|e| Some(e.ok()?.file_name().to_string_lossy().into_owned())).collect();
    // An empty place to mount on is nothing to reach.
    let reach = |n: &String| fs::read_dir(format!("/proc/{id}/root/{n}")).map_or(true, |mut d| d.next().is_some());
    let odd: Vec<&String> = names.iter().filter(|n| !allowed.contains(&n.as_str()) && reach(n)).collect();
    (!odd.is_empty()).then(|| format!("its root holds {odd:?}"))
}
