//! `/sys/devices/system/{cpu,node}`: processors that share nothing but the package and the last caches, on one node.

use std::sync::Arc;

use abi::Errno;

use super::cache::{Cache, caches};
use super::{Machine, SysView, line};
use crate::FileKind;
use crate::proc::{mask, mask_list};
use crate::synth::{Dir, Listed, Node, StaticDir};

/// Caches from this level on are the package's.
const SHARED_LEVEL: u32 = 3;

/// The bits of processors from `first` to before `end`.
fn words(first: u32, end: u32) -> Vec<u64> {
    let below = |end: u32, at: u32| match end.saturating_sub(at * 64) {
        0 => 0,
        left @ 1..64 => (1 << left) - 1,
        _ => u64::MAX,
    };
    (0..end.div_ceil(64).max(1)).map(|at| below(end, at) & !below(first, at)).collect()
}

/// A set of processors, as `NAME` and `NAME_list` show it.
struct Set {
    bits: String,
    list: String,
}

impl Set {
    fn new(first: u32, end: u32, cpus: u32) -> Set {
        let words = words(first, end);
        Set { bits: mask(&words, cpus), list: mask_list(&words) }
    }
}

/// `/sys/devices/system/cpu/cpuN/cache`, which asks the processor when it is looked at.
struct Caches {
    cpu: u32,
    cpus: u32,
}

impl Caches {
    fn index(&self, cache: &Cache) -> Node {
        let own = cache.level < SHARED_LEVEL;
        let set = if own { Set::new(self.cpu, self.cpu + 1, self.cpus) } else { Set::new(0, self.cpus, self.cpus) };
        let mut dir = StaticDir::default();
        for (name, text) in [
            ("coherency_line_size", cache.line.to_string()),
            ("id", if own { self.cpu } else { 0 }.to_string()),
            ("level", cache.level.to_string()),
            ("number_of_sets", cache.sets.to_string()),
            ("physical_line_partition", cache.partitions.to_string()),
            ("shared_cpu_list", set.list),
            ("shared_cpu_map", set.bits),
            ("size", format!("{}K", cache.size() / 1024)),
            ("type", cache.kind.to_owned()),
            ("ways_of_associativity", cache.ways.to_string()),
        ] {
            dir.add(name, line(text));
        }
        dir.into_node()
    }
}

impl Dir for Caches {
    fn lookup(&self, name: &[u8]) -> Result<Node, Errno> {
        let number = std::str::from_utf8(name).ok().and_then(|name| name.strip_prefix("index"));
        let number: usize = number.and_then(|number| number.parse().ok()).ok_or(Errno::ENOENT)?;
        let cache = caches().get(number).copied().filter(|_| name == format!("index{number}").as_bytes());
        Ok(self.index(&cache.ok_or(Errno::ENOENT)?))
    }

    fn list(&self, from: u64) -> Result<Vec<Listed>, Errno> {
        let listed = (2..).zip(0..caches().len()).map(|(pos, number)| Listed {
            pos,
            name: format!("index{number}"),
            kind: FileKind::Directory,
        });
        Ok(listed.filter(|entry| entry.pos >= from).collect())
    }
}

fn add_cpu(dir: &mut StaticDir, base: &str, cpu: u32, cpus: u32) {
    let (own, all) = (Set::new(cpu, cpu + 1, cpus), Set::new(0, cpus, cpus));
    let topology = format!("{base}/cpu{cpu}/topology");
    for name in ["physical_package_id", "die_id"] {
        dir.add(&format!("{topology}/{name}"), line(0));
    }
    for name in ["core_id", "cluster_id"] {
        dir.add(&format!("{topology}/{name}"), line(cpu));
    }
    for (name, set) in [
        ("thread_siblings", &own),
        ("core_cpus", &own),
        ("cluster_cpus", &own),
        ("core_siblings", &all),
        ("die_cpus", &all),
        ("package_cpus", &all),
    ] {
        dir.add(&format!("{topology}/{name}"), line(&set.bits));
        dir.add(&format!("{topology}/{name}_list"), line(&set.list));
    }
    dir.add(&format!("{base}/cpu{cpu}/cache"), Node::dir(0o755, Caches { cpu, cpus }));
    if cpu > 0 {
        dir.add(&format!("{base}/cpu{cpu}/online"), line(1));
    }
}

/// Adds the processors and the node that they are on.
pub(super) fn add(dir: &mut StaticDir, machine: &Machine, view: Arc<dyn SysView>) {
    let cpus = machine.cpus;
    let all = Set::new(0, cpus, cpus);
    let base = "devices/system/cpu";
    for name in ["online", "possible", "present"] {
        dir.add(&format!("{base}/{name}"), line(&all.list));
    }
    for name in ["offline", "isolated"] {
        dir.add(&format!("{base}/{name}"), line(""));
    }
    dir.add(&format!("{base}/kernel_max"), line(8191));
    (0..cpus).for_each(|cpu| add_cpu(dir, base, cpu, cpus));

    let base = "devices/system/node";
    for name in ["online", "possible", "has_cpu", "has_memory"] {
        dir.add(&format!("{base}/{name}"), line(0));
    }
    dir.add(&format!("{base}/node0/cpumap"), line(all.bits));
    dir.add(&format!("{base}/node0/cpulist"), line(all.list));
    dir.add(&format!("{base}/node0/distance"), line(10));
    dir.add(&format!("{base}/node0/meminfo"), Node::file(0o444, move || Ok(meminfo(&*view).into_bytes())));
}

/// `node0/meminfo`; libnuma wants the first two.
fn meminfo(view: &dyn SysView) -> String {
    let [total, free] = view.memory().map(|bytes| bytes / 1024);
    let rows = [("MemTotal", total), ("MemFree", free), ("MemUsed", total.saturating_sub(free))];
    rows.map(|(name, kib)| format!("Node 0 {:<16}{kib:>8} kB\n", format!("{name}:"))).concat()
}
