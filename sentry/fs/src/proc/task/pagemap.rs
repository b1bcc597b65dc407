//! `/proc/PID/pagemap` (`man 5 proc_pid_pagemap`), as somebody without rights sees it: frames have no numbers.

use std::any::Any;
use std::sync::Arc;

use abi::{Errno, PAGE_SIZE};

use super::Task;
use crate::synth::Node;
use crate::{FileOps, IoDst, IoFlags};

/// Bytes of an entry.
const ENTRY: u64 = 8;
/// Pages of an address space (`TASK_SIZE`).
const PAGES: u64 = 0x7fff_ffff_f000 / PAGE_SIZE;
/// Entries fetched at once.
const CHUNK: u64 = 512;

pub(super) fn node(task: &Task) -> Node {
    let (checked, opened) = (Arc::clone(task), Arc::clone(task));
    let open = move |_flags| Ok(Arc::new(PageMap(Arc::clone(&opened))) as Arc<dyn FileOps>);
    Node::special(0o400, open).guarded(move || checked.may_inspect())
}

/// An open file: positions are page numbers, times eight.
struct PageMap(Task);

impl FileOps for PageMap {
    fn read(&self, pos: &mut u64, _flags: IoFlags, dst: &mut dyn IoDst) -> Result<usize, Errno> {
        if !pos.is_multiple_of(ENTRY) || !(dst.remaining() as u64).is_multiple_of(ENTRY) {
            return Err(Errno::EINVAL);
        }
        let mut done = 0;
        while dst.remaining() > 0 {
            let first = *pos / ENTRY;
            let count = (dst.remaining() as u64 / ENTRY).min(CHUNK).min(PAGES.saturating_sub(first));
            let entries = self.0.page_entries(first, count)?;
            if entries.is_empty() {
                break;
            }
            let bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.to_ne_bytes()).collect();
            let put = match dst.put(&bytes) {
                Ok(put) => put,
                Err(_) if done > 0 => break,
                Err(errno) => return Err(errno),
            };
            done += put;
            *pos += put as u64;
            if put < bytes.len() {
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
