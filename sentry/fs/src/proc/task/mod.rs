//! `/proc/PID` and `/proc/PID/task/TID`.

mod fd;
mod limits;
mod memory;
mod mounts;
mod pagemap;
mod stat;
mod status;

use std::sync::Arc;

use abi::{Errno, Pid};

use super::root::parse_id;
use super::source::{KernelView, MagicLink, TaskView};
use crate::synth::{Dir, Listed, Node, Text};
use crate::{FileKind, LinkTarget};

type Task = Arc<dyn TaskView>;

/// The directory of a process, or of one thread.
pub(super) struct TaskDir {
    view: Arc<dyn KernelView>,
    task: Task,
    /// `/proc/PID` rather than below `task`.
    process: bool,
}

/// Files and directories of a task, in the order of their listing. Links and directories say so.
const ENTRIES: &[(&str, FileKind)] = &[
    ("attr", FileKind::Directory),
    ("auxv", FileKind::Regular),
    ("cgroup", FileKind::Regular),
    ("cmdline", FileKind::Regular),
    ("comm", FileKind::Regular),
    ("coredump_filter", FileKind::Regular),
    ("cwd", FileKind::Symlink),
    ("environ", FileKind::Regular),
    ("exe", FileKind::Symlink),
    ("fd", FileKind::Directory),
    ("fdinfo", FileKind::Directory),
    ("gid_map", FileKind::Regular),
    ("io", FileKind::Regular),
    ("limits", FileKind::Regular),
    ("loginuid", FileKind::Regular),
    ("maps", FileKind::Regular),
    ("mem", FileKind::Regular),
    ("mountinfo", FileKind::Regular),
    ("mounts", FileKind::Regular),
    ("net", FileKind::Directory),
    ("ns", FileKind::Directory),
    ("numa_maps", FileKind::Regular),
    ("oom_adj", FileKind::Regular),
    ("oom_score", FileKind::Regular),
    ("oom_score_adj", FileKind::Regular),
    ("pagemap", FileKind::Regular),
    ("personality", FileKind::Regular),
    ("root", FileKind::Symlink),
    ("sched", FileKind::Regular),
    ("schedstat", FileKind::Regular),
    ("sessionid", FileKind::Regular),
    ("setgroups", FileKind::Regular),
    ("smaps", FileKind::Regular),
    ("smaps_rollup", FileKind::Regular),
    ("stat", FileKind::Regular),
    ("statm", FileKind::Regular),
    ("status", FileKind::Regular),
    ("uid_map", FileKind::Regular),
    ("wchan", FileKind::Regular),
    // Only of a process.
    ("mountstats", FileKind::Regular),
    ("task", FileKind::Directory),
    ("timerslack_ns", FileKind::Regular),
    // Only of a thread.
    ("children", FileKind::Regular),
];

fn is_entry(name: &str, process: bool) -> bool {
    match name {
        "mountstats" | "task" | "timerslack_ns" => process,
        "children" => !process,
        _ => true,
    }
}

impl TaskDir {
    /// Returns the directory of a task.
    pub(super) fn node(view: &Arc<dyn KernelView>, task: Task, process: bool) -> Node {
        let owner = task.owner();
        Node::dir(0o555, TaskDir { view: Arc::clone(view), task, process }).owned(owner)
    }

    fn file(&self, perm: u32, render: fn(&dyn TaskView) -> Text) -> Node {
        let task = Arc::clone(&self.task);
        Node::file(perm, move || render(&*task))
    }

    /// A file that shows what only those may see who may trace the task.
    fn secret(&self, perm: u32, render: fn(&dyn TaskView) -> Text) -> Node {
        let task = Arc::clone(&self.task);
        self.file(perm, render).guarded(move || task.may_inspect())
    }

    /// A file that shows the mounts: it tells of changes.
    fn mounts(&self, render: fn(&dyn TaskView) -> Text) -> Node {
        let task = Arc::clone(&self.task);
        self.file(0o444, render).watched(move || task.mount_changes())
    }

    fn magic(&self, find: fn(&dyn TaskView) -> Result<MagicLink, Errno>) -> Node {
        let task = Arc::clone(&self.task);
        magic_link(0o777, move || {
            task.may_inspect()?;
            find(&*task)
        })
    }

    fn stored(&self, node: Node, store: fn(&dyn TaskView, &[u8]) -> Result<(), Errno>) -> Node {
        let task = Arc::clone(&self.task);
        node.stored(move |data| store(&*task, data))
    }

    fn entry(&self, name: &str) -> Option<Node> {
        let (view, task) = (&self.view, &self.task);
        Some(match name {
            "attr" => Node::dir(0o555, Empty),
            "auxv" => self.secret(0o400, |task| task.auxv()),
            "cgroup" => self.file(0o444, |task| Ok(task.cgroup().into_bytes())),
            "children" => self.file(0o444, status::children),
            "cmdline" => self.file(0o444, |task| task.cmdline()),
            "comm" => self.stored(self.file(0o644, status::comm), |task, name| {
                let end = name.iter().position(|byte| matches!(byte, b'\n' | 0)).unwrap_or(name.len());
                task.set_comm(&name[..end.min(15)])
            }),
            "coredump_filter" => Node::fixed(0o444, "00000033\n"),
            "cwd" => self.magic(|task| task.cwd()),
            "environ" => self.secret(0o400, |task| task.environ()),
            "exe" => self.magic(|task| task.exe()),
            "fd" => fd::links(task),
            "fdinfo" => fd::infos(task),
            "gid_map" => self.stored(self.file(0o644, |task| status::id_map(task, true)), |task, text| {
                task.set_id_map(true, &status::parse_id_map(text)?)
            }),
            "io" => self.secret(0o400, status::io),
            "limits" => self.file(0o444, limits::render),
            "loginuid" | "sessionid" => Node::fixed(0o444, u32::MAX.to_string()),
            "maps" => self.secret(0o444, memory::maps),
            "mem" => memory::mem(task),
            "mountinfo" => self.mounts(mounts::mountinfo),
            "mounts" => self.mounts(mounts::mounts),
            "mountstats" => self.file(0o400, mounts::mountstats),
            "net" => Node::dir(0o555, Net(Arc::clone(view))),
            "ns" => Node::dir(0o511, Namespaces(Arc::clone(task))),
            "numa_maps" => self.secret(0o444, memory::numa_maps),
            "oom_adj" => self.file(0o444, |task| Ok(format!("{}\n", task.oom_score_adj() * 17 / 1000).into_bytes())),
            "oom_score" => {
                let (view, task) = (Arc::clone(view), Arc::clone(task));
                Node::file(0o444, move || status::oom_score(&*view, &*task))
            }
            "oom_score_adj" => {
                let render = |task: &dyn TaskView| Ok(format!("{}\n", task.oom_score_adj()).into_bytes());
                self.stored(self.file(0o644, render), status::set_oom_score_adj)
            }
            "pagemap" => pagemap::node(task),
            "personality" => self.secret(0o400, |task| Ok(format!("{:08x}\n", task.personality()).into_bytes())),
            "root" => self.magic(|task| task.root()),
            "sched" => self.file(0o444, stat::sched),
            "schedstat" => self.file(0o444, stat::schedstat),
            "setgroups" => self.stored(self.file(0o644, status::setgroups), status::set_setgroups),
            "smaps" => self.secret(0o444, memory::smaps),
            "smaps_rollup" => self.secret(0o444, memory::smaps_rollup),
            "stat" => self.file(0o444, stat::stat),
            "statm" => self.file(0o444, stat::statm),
            "status" => self.file(0o444, status::status),
            "task" => Node::dir(0o555, Threads { view: Arc::clone(view), task: Arc::clone(task) }),
            "timerslack_ns" => self.stored(self.file(0o666, stat::timer_slack), stat::set_timer_slack),
            "uid_map" => self.stored(self.file(0o644, |task| status::id_map(task, false)), |task, text| {
                task.set_id_map(false, &status::parse_id_map(text)?)
            }),
            "wchan" => Node::fixed(0o444, "0"),
            _ => return None,
        })
    }
}

impl Dir for TaskDir {
    fn lookup(&self, name: &[u8]) -> Result<Node, Errno> {
        let name = std::str::from_utf8(name).map_err(|_| Errno::ENOENT)?;
        let known = ENTRIES.iter().any(|(entry, _)| *entry == name) && is_entry(name, self.process);
        let node = self.entry(name).filter(|_| known).ok_or(Errno::ENOENT)?;
        Ok(node.owned(self.task.owner()))
    }

    fn list(&self, from: u64) -> Result<Vec<Listed>, Errno> {
        let entries = (2..).zip(ENTRIES).filter(|(pos, (name, _))| *pos >= from && is_entry(name, self.process));
        Ok(entries.map(|(pos, (name, kind))| Listed { pos, name: (*name).to_owned(), kind: *kind }).collect())
    }
}

/// A link to an object.
pub(super) fn magic_link(
    perm: u32,
    find: impl Fn() -> Result<MagicLink, Errno> + Send + Sync + Clone + 'static,
) -> Node {
    let text = find.clone();
    Node::link(move || Ok(text()?.text)).followed(perm, move || Ok(LinkTarget::Object(find()?.object)))
}

/// A directory with nothing in it.
struct Empty;

impl Dir for Empty {
    fn lookup(&self, _name: &[u8]) -> Result<Node, Errno> {
        Err(Errno::ENOENT)
    }

    fn list(&self, _from: u64) -> Result<Vec<Listed>, Errno> {
        Ok(Vec::new())
    }
}

/// `/proc/PID/task`.
struct Threads {
    view: Arc<dyn KernelView>,
    task: Task,
}

impl Dir for Threads {
    fn lookup(&self, name: &[u8]) -> Result<Node, Errno> {
        let tid = parse_id(name).ok_or(Errno::ENOENT)?;
        let thread = self.view.thread(self.task.ids().0, Pid(tid)).ok_or(Errno::ENOENT)?;
        Ok(TaskDir::node(&self.view, thread, false))
    }

    fn list(&self, from: u64) -> Result<Vec<Listed>, Errno> {
        let mut tids: Vec<i32> = self.task.threads().into_iter().map(|tid| tid.0).collect();
        tids.sort_unstable();
        let listed = tids.into_iter().map(|tid| Listed {
            pos: 2 + u64::from(tid.unsigned_abs()),
            name: tid.to_string(),
            kind: FileKind::Directory,
        });
        Ok(listed.filter(|entry| entry.pos >= from).collect())
    }
}

/// `/proc/PID/net`: the caller's network namespace.
struct Net(Arc<dyn KernelView>);

impl Dir for Net {
    fn lookup(&self, name: &[u8]) -> Result<Node, Errno> {
        let name = self.0.net_files().into_iter().find(|known| known.as_bytes() == name).ok_or(Errno::ENOENT)?;
        let view = Arc::clone(&self.0);
        Ok(Node::file(0o444, move || view.net_file(name).ok_or(Errno::ENOENT)))
    }

    fn list(&self, from: u64) -> Result<Vec<Listed>, Errno> {
        let listed = (2..).zip(self.0.net_files()).map(|(pos, name)| Listed {
            pos,
            name: name.to_owned(),
            kind: FileKind::Regular,
        });
        Ok(listed.filter(|entry| entry.pos >= from).collect())
    }
}

/// `/proc/PID/ns`.
struct Namespaces(Task);

impl Dir for Namespaces {
    fn lookup(&self, name: &[u8]) -> Result<Node, Errno> {
        let known = self.0.namespaces().into_iter().find(|known| known.name.as_bytes() == name);
        let known = known.ok_or(Errno::ENOENT)?;
        let task = Arc::clone(&self.0);
        let find = move || {
            task.may_inspect()?;
            let link = task.namespace_link(known.name)?;
            Ok(MagicLink { text: format!("{}:[{}]", known.kind, known.ino).into_bytes(), object: link.object })
        };
        Ok(magic_link(0o777, find).owned(self.0.owner()))
    }

    fn list(&self, from: u64) -> Result<Vec<Listed>, Errno> {
        let listed = (2..).zip(self.0.namespaces()).map(|(pos, known)| Listed {
            pos,
            name: known.name.to_owned(),
            kind: FileKind::Symlink,
        });
        Ok(listed.filter(|entry| entry.pos >= from).collect())
    }

    fn check(&self) -> Result<(), Errno> {
        self.0.may_inspect()
    }
}
