//! `/proc/PID/{maps,smaps,smaps_rollup,mem}`.

use std::any::Any;
use std::fmt::Write as _;
use std::sync::Arc;

use abi::{Errno, PAGE_SIZE};

use super::Task;
use crate::proc::source::{Region, TaskView};
use crate::proc::text::escape;
use crate::synth::{Node, Text};
use crate::{FileOps, IoDst, IoFlags, IoSrc};

const CHUNK: usize = 4096;

pub(super) fn maps(task: &dyn TaskView) -> Text {
    Ok(task.regions(false)?.into_iter().flat_map(|region| region.line).collect())
}

/// Appends the lines that `smaps` and `smaps_rollup` share.
fn usage(out: &mut String, region: &Region, rollup: bool) {
    let shmem = 0;
    let (resident, locked) = (region.resident, region.locked);
    let file = resident.rss.saturating_sub(resident.anonymous);
    let mut lines = vec![("Rss", resident.rss), ("Pss", resident.pss), ("Pss_Dirty", resident.private_dirty)];
    if rollup {
        lines.extend([("Pss_Anon", resident.anonymous), ("Pss_File", file), ("Pss_Shmem", shmem)]);
    }
    lines.extend([
        ("Shared_Clean", resident.shared_clean),
        ("Shared_Dirty", resident.shared_dirty),
        ("Private_Clean", resident.private_clean),
        ("Private_Dirty", resident.private_dirty),
        ("Referenced", resident.referenced),
        ("Anonymous", resident.anonymous),
        ("KSM", 0),
        ("LazyFree", 0),
        ("AnonHugePages", 0),
        ("ShmemPmdMapped", 0),
        ("FilePmdMapped", 0),
        ("Shared_Hugetlb", 0),
        ("Private_Hugetlb", 0),
        ("Swap", resident.swap),
        ("SwapPss", resident.swap),
        ("Locked", locked),
    ]);
    for (name, bytes) in lines {
        // Linux pads this one less.
        let width = if name == "Private_Hugetlb" { 7 } else { 8 };
        kilobytes(out, name, bytes, width);
    }
}

fn kilobytes(out: &mut String, name: &str, bytes: u64, width: usize) {
    // Writing to a string can't fail.
    let _ = writeln!(out, "{:<15} {:>width$} kB", format!("{name}:"), bytes / 1024);
}

pub(super) fn smaps(task: &dyn TaskView) -> Text {
    let mut out = Vec::new();
    for region in task.regions(true)? {
        let mut text = String::new();
        kilobytes(&mut text, "Size", region.end.saturating_sub(region.start), 8);
        kilobytes(&mut text, "KernelPageSize", 4096, 8);
        kilobytes(&mut text, "MMUPageSize", 4096, 8);
        usage(&mut text, &region, false);
        text.push_str("THPeligible:           0\n");
        out.extend_from_slice(&region.line);
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(&region.flags);
    }
    Ok(out)
}

pub(super) fn smaps_rollup(task: &dyn TaskView) -> Text {
    let regions = task.regions(true)?;
    let mut sum = Region::default();
    for region in &regions {
        sum.resident.add(region.resident);
        sum.locked += region.locked;
    }
    let start = regions.first().map_or(0, |region| region.start);
    let end = regions.last().map_or(0, |region| region.end);
    let head = format!("{start:08x}-{end:08x} ---p 00000000 00:00 0 ");
    let mut out = format!("{head:<73}[rollup]\n");
    usage(&mut out, &sum, true);
    Ok(out.into_bytes())
}

/// All pages are on the first node (kernel: `show_numa_map`).
pub(super) fn numa_maps(task: &dyn TaskView) -> Text {
    let policy = task.memory_policy()?;
    let mut out = Vec::new();
    for region in task.regions(true)? {
        out.extend_from_slice(format!("{:08x} {policy}", region.start).as_bytes());
        let name = region.line.splitn(6, |byte| *byte == b' ').nth(5).unwrap_or_default().trim_ascii();
        match name {
            b"[heap]" => out.extend_from_slice(b" heap"),
            b"[stack]" => out.extend_from_slice(b" stack"),
            [b'/', ..] => {
                out.extend_from_slice(b" file=");
                escape(&mut out, name, b"\n\t= ");
            }
            _ => {}
        }
        let resident = region.resident;
        let [pages, anonymous, dirty] =
            [resident.rss, resident.anonymous, resident.private_dirty + resident.shared_dirty].map(|b| b / PAGE_SIZE);
        let counts = [
            ("anon", anonymous, anonymous > 0),
            ("dirty", dirty, dirty > 0),
            ("mapped", pages, pages != anonymous && pages != dirty),
            ("N0", pages, true),
            ("kernelpagesize_kB", PAGE_SIZE / 1024, true),
        ];
        for (name, count, _) in counts.into_iter().filter(|(_, _, shown)| *shown && pages > 0) {
            out.extend_from_slice(format!(" {name}={count}").as_bytes());
        }
        out.push(b'\n');
    }
    Ok(out)
}

pub(super) fn mem(task: &Task) -> Node {
    let (checked, opened) = (Arc::clone(task), Arc::clone(task));
    Node::special(0o600, move |_flags| Ok(Arc::new(Mem(Arc::clone(&opened))))).guarded(move || checked.may_inspect())
}

/// An open `/proc/PID/mem`: positions are addresses.
struct Mem(Task);

impl FileOps for Mem {
    fn read(&self, pos: &mut u64, _flags: IoFlags, dst: &mut dyn IoDst) -> Result<usize, Errno> {
        let mut buf = [0; CHUNK];
        let mut done = 0;
        while dst.remaining() > 0 {
            let want = buf.len().min(dst.remaining());
            let got = match self.0.read_memory(*pos, &mut buf[..want]) {
                Ok(0) => break,
                Ok(got) => got.min(want),
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno),
            };
            let put = match dst.put(&buf[..got]) {
                Ok(put) => put,
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno),
            };
            done += put;
            *pos = pos.wrapping_add(put as u64);
            if put < want {
                break;
            }
        }
        Ok(done)
    }

    fn write(&self, pos: &mut u64, _flags: IoFlags, src: &mut dyn IoSrc) -> Result<usize, Errno> {
        let mut buf = [0; CHUNK];
        let mut done = 0;
        while src.remaining() > 0 {
            let want = buf.len().min(src.remaining());
            let taken = match src.take(&mut buf[..want]) {
                Ok(taken) => taken,
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno),
            };
            let put = match self.0.write_memory(*pos, &buf[..taken]) {
                Ok(put) => put.min(taken),
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno),
            };
            done += put;
            *pos = pos.wrapping_add(put as u64);
            if put < want {
                break;
            }
        }
        Ok(done)
    }

    fn seekable(&self) -> bool {
        true
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
