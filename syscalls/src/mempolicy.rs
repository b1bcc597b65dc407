//! `get_mempolicy`, `set_mempolicy`, `mbind`: memory policies of a machine with one node (`man 7 numa`).
//!
//! All memory is on node 0, so a policy has nothing to choose: what is asked for is checked and, for a thread, remembered.
//! Policies of ranges aren't.

use abi::{Errno, PAGE_SIZE, UserAddr, UserRef};
use sentry::Current;
use sentry::task::{Caps, MemPolicy};

const DEFAULT: i32 = 0;
const PREFERRED: i32 = 1;
const BIND: i32 = 2;
const INTERLEAVE: i32 = 3;
const LOCAL: i32 = 4;
const PREFERRED_MANY: i32 = 5;
const WEIGHTED_INTERLEAVE: i32 = 6;
/// Flags beside the mode.
const STATIC_NODES: i32 = 1 << 15;
const RELATIVE_NODES: i32 = 1 << 14;
const NUMA_BALANCING: i32 = 1 << 13;
const MODE_FLAGS: i32 = STATIC_NODES | RELATIVE_NODES | NUMA_BALANCING;
/// Flags of `get_mempolicy`.
const F_NODE: u32 = 1;
const F_ADDR: u32 = 2;
const F_MEMS_ALLOWED: u32 = 4;
/// Flags of `mbind`.
const MF_MOVE_ALL: u64 = 4;
const MF_VALID: u64 = 7;
/// `MAX_NUMNODES`, as distributions build it.
const MAX_NODES: u64 = 1024;
/// The one node, as a set.
const NODES: u64 = 1;
const WORD: u64 = 64;

/// Checks mode and flags (kernel: `sanitize_mpol_flags`).
fn mode(raw: i32) -> Result<(i32, i32), Errno> {
    let (mode, flags) = (raw & !MODE_FLAGS, raw & MODE_FLAGS);
    let balanced = flags & NUMA_BALANCING == 0 || matches!(mode, BIND | PREFERRED_MANY);
    let both = STATIC_NODES | RELATIVE_NODES;
    if (DEFAULT..=WEIGHTED_INTERLEAVE).contains(&mode) && flags & both != both && balanced {
        Ok((mode, flags))
    } else {
        Err(Errno::EINVAL)
    }
}

/// Reads a set of nodes, of which those from 64 on only matter in that there may be some (kernel: `get_nodes`): the first
/// word, and whether a node stands beyond it.
fn nodes(cur: &Current, mask: UserAddr, count: u64) -> Result<(u64, bool), Errno> {
    let count = count.wrapping_sub(1);
    if count == 0 || mask.is_null() {
        return Ok((0, false));
    }
    if count > PAGE_SIZE * 8 {
        return Err(Errno::EINVAL);
    }
    let words = usize::try_from(count.div_ceil(WORD)).map_err(|_| Errno::EINVAL)?;
    let mut set: Vec<u64> = cur.mem.read_array(UserRef::new(mask), words)?;
    if !count.is_multiple_of(WORD)
        && let Some(last) = set.last_mut()
    {
        *last &= (1 << (count % WORD)) - 1;
    }
    let known = usize::try_from(MAX_NODES / WORD).unwrap_or(usize::MAX);
    if set.iter().skip(known).any(|word| *word != 0) {
        return Err(Errno::EINVAL);
    }
    Ok((set.first().copied().unwrap_or(0), set.iter().skip(1).any(|word| *word != 0)))
}

/// Makes a policy (kernel: `mpol_new`, `mpol_set_nodemask`).
fn policy(raw: i32, (set, beyond): (u64, bool)) -> Result<MemPolicy, Errno> {
    let (mode, flags) = mode(raw)?;
    let empty = set == 0 && !beyond;
    let placed = flags & (STATIC_NODES | RELATIVE_NODES) != 0;
    let mode = match mode {
        DEFAULT if empty => return Ok(MemPolicy::default()),
        PREFERRED if empty && !placed => LOCAL,
        LOCAL if empty && !placed => LOCAL,
        DEFAULT | LOCAL => return Err(Errno::EINVAL),
        _ if empty => return Err(Errno::EINVAL),
        mode => mode,
    };
    if mode == LOCAL {
        return Ok(MemPolicy { mode: mode | flags, nodes: 0 });
    }
    // Relative ones are counted around among those that there are.
    let real = if flags & RELATIVE_NODES != 0 { NODES } else { set & NODES };
    if real == 0 {
        return Err(Errno::EINVAL);
    }
    Ok(MemPolicy { mode: mode | flags, nodes: if placed { set } else { real } })
}

/// Serves `set_mempolicy(2)`.
pub fn set_mempolicy(cur: &mut Current, mode: i32, nodemask: UserAddr, maxnode: u64) -> Result<(), Errno> {
    self::mode(mode)?;
    let policy = policy(mode, nodes(cur, nodemask, maxnode)?)?;
    *cur.task.mem_policy.lock() = policy;
    Ok(())
}

/// Serves `mbind(2)`.
pub fn mbind(
    cur: &mut Current,
    addr: UserAddr,
    len: u64,
    mode: i32,
    nodemask: UserAddr,
    maxnode: u64,
    flags: u64,
) -> Result<(), Errno> {
    self::mode(mode)?;
    let nodes = nodes(cur, nodemask, maxnode)?;
    if flags & !MF_VALID != 0 {
        return Err(Errno::EINVAL);
    }
    if flags & MF_MOVE_ALL != 0 && !cur.task.cred.load().has(Caps::SYS_NICE) {
        return Err(Errno::EPERM);
    }
    let start = addr.raw();
    if !start.is_multiple_of(PAGE_SIZE) {
        return Err(Errno::EINVAL);
    }
    let len = len.checked_next_multiple_of(PAGE_SIZE).unwrap_or(0);
    let end = start.checked_add(len).ok_or(Errno::EINVAL)?;
    if end == start {
        return Ok(());
    }
    policy(mode, nodes)?;
    if cur.mm.is_mapped(start..end) { Ok(()) } else { Err(Errno::EFAULT) }
}

/// Serves `get_mempolicy(2)`.
pub fn get_mempolicy(
    cur: &mut Current,
    mode: UserRef<i32>,
    nodemask: UserAddr,
    maxnode: u64,
    addr: UserAddr,
    flags: u32,
) -> Result<(), Errno> {
    if !nodemask.is_null() && maxnode < 1 {
        return Err(Errno::EINVAL);
    }
    let (shown, set) = look(cur, addr, flags)?;
    if !mode.addr().is_null() {
        cur.mem.write(mode, &shown)?;
    }
    if nodemask.is_null() {
        return Ok(());
    }
    // Whole words are written (kernel: `copy_nodes_to_user`).
    let bytes = (maxnode - 1).checked_next_multiple_of(WORD).ok_or(Errno::EINVAL)? / 8;
    if bytes > PAGE_SIZE {
        return Err(Errno::EINVAL);
    }
    let mut out = vec![0; usize::try_from(bytes).map_err(|_| Errno::EINVAL)?];
    if let Some(first) = out.first_chunk_mut::<8>() {
        *first = set.to_ne_bytes();
    }
    cur.mem.write_bytes(nodemask, &out)
}

/// Returns what `get_mempolicy` tells: mode or node, and nodes (kernel: `do_get_mempolicy`).
fn look(cur: &Current, addr: UserAddr, flags: u32) -> Result<(i32, u64), Errno> {
    if flags & !(F_NODE | F_ADDR | F_MEMS_ALLOWED) != 0 {
        return Err(Errno::EINVAL);
    }
    if flags & F_MEMS_ALLOWED != 0 {
        return if flags & (F_NODE | F_ADDR) != 0 { Err(Errno::EINVAL) } else { Ok((0, NODES)) };
    }
    let at = addr.raw();
    if flags & F_ADDR != 0 {
        let end = at.checked_add(1).ok_or(Errno::EFAULT)?;
        if !cur.mm.is_mapped(at..end) {
            return Err(Errno::EFAULT);
        }
    } else if at != 0 {
        return Err(Errno::EINVAL);
    }
    let policy = *cur.task.mem_policy.lock();
    let shown = match policy.mode & !MODE_FLAGS {
        _ if flags & F_NODE == 0 => policy.mode,
        // The node of the page, or the next of the interleaved ones.
        _ if flags & F_ADDR != 0 => 0,
        INTERLEAVE | WEIGHTED_INTERLEAVE => 0,
        _ => return Err(Errno::EINVAL),
    };
    Ok((shown, policy.nodes))
}
