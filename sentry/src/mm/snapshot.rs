//! What `/proc/PID/{maps,smaps,statm,status}` show of an address space, as data and as Linux's text.

use std::io::Write;

use abi::PAGE_SIZE;
use abi::flags::Prot;
use sentry_fs::DeviceId;

use super::books::Books;
use super::space::Mm;
use super::tree::Totals;
use super::vma::{Backing, VmFlags, Vma};

/// One line of `/proc/PID/maps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapEntry {
    /// First byte.
    pub start: u64,
    /// One past the last.
    pub end: u64,
    /// Protection.
    pub prot: Prot,
    /// The most that `mprotect` may allow.
    pub max_prot: Prot,
    /// Everything else.
    pub flags: VmFlags,
    /// Bytes into the file.
    pub offset: u64,
    /// Device of the file.
    pub device: DeviceId,
    /// Inode of the file.
    pub inode: u64,
    /// Path or special name; empty for plain anonymous memory.
    pub name: Vec<u8>,
    /// Whether it is a file (or shared memory) rather than anonymous.
    pub file: bool,
}

/// An address space at one moment.
#[derive(Clone, Debug, Default)]
pub struct MapSnapshot {
    /// In order of address, vDSO included.
    pub entries: Vec<MapEntry>,
    /// Totals in bytes.
    pub totals: Totals,
    /// Bytes of program text (`VmExe`).
    pub text: u64,
}

impl Mm {
    /// Takes a snapshot for `/proc`.
    pub fn snapshot(&self) -> MapSnapshot {
        // File names are asked for after the lock is gone: they come from the file system.
        let (vmas, heap, stack, totals, text) = {
            let books = self.books();
            let shown = books.tree.iter().filter(|vma| !vma.flags.contains(VmFlags::RESERVE));
            let text = books.image.end_code.saturating_sub(books.image.start_code);
            let vmas: Vec<Vma> = shown.cloned().collect();
            (vmas, books.heap(), books.image.start_stack, books.tree.totals(), text)
        };
        let mut entries: Vec<MapEntry> = vmas.iter().map(|vma| describe(vma, &heap, stack)).collect();
        let vdso = self.vdso();
        entries.extend(special(&vdso.data, Prot::READ, b"[vvar]"));
        entries.extend(special(&vdso.image, Prot::READ | Prot::EXEC, b"[vdso]"));
        entries.sort_by_key(|entry| entry.start);
        MapSnapshot { entries, totals, text }
    }
}

impl Books {
    /// Returns the totals.
    pub fn totals(&self) -> Totals {
        self.tree.totals()
    }
}

fn special(range: &std::ops::Range<u64>, prot: Prot, name: &[u8]) -> Option<MapEntry> {
    (!range.is_empty()).then(|| MapEntry {
        start: range.start,
        end: range.end,
        prot,
        max_prot: prot,
        flags: VmFlags::DONTDUMP,
        offset: 0,
        device: DeviceId::default(),
        inode: 0,
        name: name.to_vec(),
        file: false,
    })
}

fn describe(vma: &Vma, heap: &std::ops::Range<u64>, stack: u64) -> MapEntry {
    let mut entry = MapEntry {
        start: vma.start,
        end: vma.end,
        prot: vma.prot,
        max_prot: vma.max_prot,
        flags: vma.flags,
        offset: 0,
        device: DeviceId::default(),
        inode: 0,
        name: Vec::new(),
        file: false,
    };
    match &vma.backing {
        Backing::File { file, offset } => {
            entry.offset = *offset;
            entry.device = file.device();
            entry.inode = file.inode();
            entry.name = file.path();
            entry.file = true;
        }
        Backing::SharedAnonymous { object, offset } => {
            entry.offset = *offset;
            entry.device = DeviceId::new(0, 1);
            entry.inode = *object;
            entry.name = match &vma.name {
                Some(name) => [b"[anon_shmem:", &name[..], b"]"].concat(),
                None => b"/dev/zero (deleted)".to_vec(),
            };
            entry.file = true;
        }
        Backing::Anonymous => {
            if let Some(name) = &vma.name {
                entry.name = [b"[anon:", &name[..], b"]"].concat();
            } else if vma.start < heap.end && vma.end > heap.start {
                entry.name = b"[heap]".to_vec();
            } else if vma.start <= stack && vma.end > stack {
                entry.name = b"[stack]".to_vec();
            }
        }
    }
    entry
}

impl MapEntry {
    /// Returns the length in bytes.
    pub fn size(&self) -> u64 {
        self.end - self.start
    }

    /// Tells whether Linux counts it against what it has promised (`VM_ACCOUNT`).
    fn accounted(&self) -> bool {
        let writable = self.prot.contains(Prot::WRITE) && !self.flags.intersects(VmFlags::SHARED | VmFlags::NORESERVE);
        writable || self.flags.contains(VmFlags::ACCOUNT)
    }

    /// Appends the line of `/proc/PID/maps`, newline included.
    pub fn write_line(&self, out: &mut Vec<u8>) {
        /// Column of the name on 64-bit machines.
        const NAME_COLUMN: usize = 73;
        let bit = |flag: Prot, letter: char| if self.prot.contains(flag) { letter } else { '-' };
        let share = if self.flags.contains(VmFlags::SHARED) { 's' } else { 'p' };
        let from = out.len();
        // Writing to a vector can't fail.
        let _ = write!(
            out,
            "{:08x}-{:08x} {}{}{}{share} {:08x} {:02x}:{:02x} {} ",
            self.start,
            self.end,
            bit(Prot::READ, 'r'),
            bit(Prot::WRITE, 'w'),
            bit(Prot::EXEC, 'x'),
            self.offset,
            self.device.major,
            self.device.minor,
            self.inode,
        );
        if !self.name.is_empty() {
            let column = out.len() - from;
            out.resize(out.len() + NAME_COLUMN.saturating_sub(column), b' ');
            for byte in &self.name {
                match byte {
                    b'\n' => out.extend_from_slice(b"\\012"),
                    byte => out.push(*byte),
                }
            }
        }
        out.push(b'\n');
    }

    /// Appends the `VmFlags:` line of `/proc/PID/smaps`.
    pub fn write_flags(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"VmFlags:");
        let flags = |flag: VmFlags| self.flags.contains(flag);
        let letters = [
            (self.prot.contains(Prot::READ), " rd"),
            (self.prot.contains(Prot::WRITE), " wr"),
            (self.prot.contains(Prot::EXEC), " ex"),
            (flags(VmFlags::SHARED) && self.max_prot.contains(Prot::WRITE), " sh"),
            (self.max_prot.contains(Prot::READ), " mr"),
            (self.max_prot.contains(Prot::WRITE), " mw"),
            (self.max_prot.contains(Prot::EXEC), " me"),
            (flags(VmFlags::SHARED), " ms"),
            (flags(VmFlags::GROWSDOWN), " gd"),
            (flags(VmFlags::LOCKED), " lo"),
            (flags(VmFlags::SEQ_READ), " sr"),
            (flags(VmFlags::RAND_READ), " rr"),
            (flags(VmFlags::DONTFORK), " dc"),
            (self.accounted(), " ac"),
            (flags(VmFlags::NORESERVE), " nr"),
            (flags(VmFlags::LOCKONFAULT), " lf"),
            (flags(VmFlags::WIPEONFORK), " wf"),
            (flags(VmFlags::DONTDUMP), " dd"),
            (flags(VmFlags::HUGEPAGE), " hg"),
            (flags(VmFlags::NOHUGEPAGE), " nh"),
            (flags(VmFlags::MERGEABLE), " mg"),
        ];
        for (set, text) in letters {
            if set {
                out.extend_from_slice(text.as_bytes());
            }
        }
        out.extend_from_slice(b" \n");
    }
}

impl MapSnapshot {
    /// Returns the text of `/proc/PID/maps`.
    pub fn maps(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.entries.len() * 100);
        for entry in &self.entries {
            entry.write_line(&mut out);
        }
        out
    }

    /// Returns the sizes of `/proc/PID/statm` that the books know, in pages: size, text, data.
    pub fn statm_pages(&self) -> (u64, u64, u64) {
        let data = self.totals.data + self.totals.stack;
        (self.totals.total / PAGE_SIZE, self.text.div_ceil(PAGE_SIZE), data / PAGE_SIZE)
    }
}
