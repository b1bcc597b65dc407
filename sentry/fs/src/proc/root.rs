//! The root of `proc`: files about the system, links to the caller, and the processes.

use std::sync::Arc;

use abi::{Errno, Pid};

use super::source::KernelView;
use super::task::TaskDir;
use super::{sysctl, system};
use crate::FileKind;
use crate::synth::{Dir, Listed, Node, StaticDir, Text};

/// Processes are listed from here on, by their ids.
const FIRST_PID: u64 = 256;

pub(super) struct Root {
    view: Arc<dyn KernelView>,
    fixed: Vec<(&'static str, Node)>,
}

/// A file whose text comes from the kernel.
fn file(view: &Arc<dyn KernelView>, render: fn(&dyn KernelView) -> Vec<u8>) -> Node {
    let view = Arc::clone(view);
    Node::file(0o444, move || Ok(render(&*view)))
}

fn link(text: &'static str) -> Node {
    Node::link(move || Ok(text.as_bytes().to_vec()))
}

impl Root {
    pub(super) fn new(view: Arc<dyn KernelView>, boot_id: [u8; 16], set: &[(String, String)]) -> Root {
        let caller = {
            let view = Arc::clone(&view);
            move || view.caller().ok_or(Errno::ENOENT)
        };
        let own = {
            let caller = caller.clone();
            Node::link(move || -> Text { Ok(caller()?.0.0.to_string().into_bytes()) })
        };
        let own_thread = Node::link(move || -> Text {
            let (process, thread) = caller()?;
            Ok(format!("{}/task/{}", process.0, thread.0).into_bytes())
        });
        let fixed = vec![
            ("cgroups", Node::fixed(0o444, "#subsys_name\thierarchy\tnum_cgroups\tenabled\n")),
            ("cmdline", file(&view, |view| format!("{}\n", view.command_line()).into_bytes())),
            ("cpuinfo", file(&view, |view| view.cpuinfo())),
            ("devices", Node::fixed(0o444, system::DEVICES)),
            ("diskstats", Node::fixed(0o444, "")),
            ("filesystems", file(&view, system::filesystems)),
            ("fs", StaticDir::default().into_node()),
            ("interrupts", file(&view, system::interrupts)),
            ("loadavg", file(&view, system::loadavg)),
            ("locks", file(&view, |view| view.file_locks().into_bytes())),
            ("meminfo", file(&view, system::meminfo)),
            ("modules", Node::fixed(0o444, "")),
            ("mounts", link("self/mounts")),
            ("net", link("self/net")),
            ("partitions", Node::fixed(0o444, "major minor  #blocks  name\n\n")),
            ("self", own),
            ("softirqs", file(&view, system::softirqs)),
            ("stat", file(&view, system::stat)),
            ("swaps", Node::fixed(0o444, "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n")),
            ("sys", sysctl::tree(&view, boot_id, set)),
            ("sysvipc", sysvipc(&view)),
            ("thread-self", own_thread),
            ("tty", tty()),
            ("uptime", file(&view, system::uptime)),
            ("version", file(&view, system::version)),
            ("vmstat", file(&view, system::vmstat)),
        ];
        Root { view, fixed }
    }
}

fn tty() -> Node {
    let mut dir = StaticDir::default();
    dir.add("drivers", Node::fixed(0o444, system::TTY_DRIVERS));
    dir.into_node()
}

fn sysvipc(view: &Arc<dyn KernelView>) -> Node {
    let mut dir = StaticDir::default();
    for name in ["msg", "sem", "shm"] {
        let view = Arc::clone(view);
        dir.add(name, Node::file(0o444, move || view.sysvipc(name).ok_or(Errno::ENOENT)));
    }
    dir.into_node()
}

/// Reads a decimal id exactly as it would be listed.
pub(super) fn parse_id(name: &[u8]) -> Option<i32> {
    let text = std::str::from_utf8(name).ok()?;
    let id: i32 = text.parse().ok().filter(|id| *id >= 0)?;
    (id.to_string() == text).then_some(id)
}

impl Dir for Root {
    fn lookup(&self, name: &[u8]) -> Result<Node, Errno> {
        if let Some((_, node)) = self.fixed.iter().find(|(known, _)| known.as_bytes() == name) {
            return Ok(node.clone());
        }
        let pid = parse_id(name).ok_or(Errno::ENOENT)?;
        let task = self.view.process(Pid(pid)).ok_or(Errno::ENOENT)?;
        Ok(TaskDir::node(&self.view, task, true))
    }

    fn list(&self, from: u64) -> Result<Vec<Listed>, Errno> {
        let mut entries: Vec<Listed> = (2..)
            .zip(&self.fixed)
            .map(|(pos, (name, node))| Listed { pos, name: (*name).to_owned(), kind: node.kind() })
            .collect();
        let mut pids: Vec<i32> = self.view.processes().into_iter().map(|pid| pid.0).collect();
        pids.sort_unstable();
        entries.extend(pids.into_iter().map(|pid| Listed {
            pos: FIRST_PID + u64::from(pid.unsigned_abs()),
            name: pid.to_string(),
            kind: FileKind::Directory,
        }));
        entries.retain(|entry| entry.pos >= from);
        Ok(entries)
    }
}
