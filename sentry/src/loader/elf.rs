//! ELF64 headers, read and checked in the order of Linux's `load_elf_binary`.

use abi::Errno;
use abi::flags::Prot;
use abi::types::PATH_MAX;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use super::Executable;

/// `ET_EXEC`.
pub(super) const ET_EXEC: u16 = 2;
/// `ET_DYN`.
pub(super) const ET_DYN: u16 = 3;
/// `EM_X86_64`.
const EM_X86_64: u16 = 62;
const PT_LOAD: u32 = 1;
const PT_INTERP: u32 = 3;
const PT_GNU_STACK: u32 = 0x6474_e551;
/// Most bytes of program headers.
const MAX_HEADERS: usize = 65536;

/// `Elf64_Ehdr`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Header {
    pub(super) ident: [u8; 16],
    pub(super) kind: u16,
    pub(super) machine: u16,
    pub(super) version: u32,
    pub(super) entry: u64,
    pub(super) phoff: u64,
    pub(super) shoff: u64,
    pub(super) flags: u32,
    pub(super) ehsize: u16,
    pub(super) phentsize: u16,
    pub(super) phnum: u16,
    pub(super) shentsize: u16,
    pub(super) shnum: u16,
    pub(super) shstrndx: u16,
}

/// `Elf64_Phdr`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub(super) struct Segment {
    pub(super) kind: u32,
    pub(super) flags: u32,
    pub(super) offset: u64,
    pub(super) vaddr: u64,
    pub(super) paddr: u64,
    pub(super) filesz: u64,
    pub(super) memsz: u64,
    pub(super) align: u64,
}

impl Segment {
    /// Tells whether the segment is loaded.
    pub(super) fn loads(&self) -> bool {
        self.kind == PT_LOAD
    }

    /// Returns its protection.
    pub(super) fn prot(&self) -> Prot {
        let mut prot = Prot::empty();
        prot.set(Prot::EXEC, self.flags & 1 != 0);
        prot.set(Prot::WRITE, self.flags & 2 != 0);
        prot.set(Prot::READ, self.flags & 4 != 0);
        prot
    }
}

/// A program or interpreter whose headers are sound.
#[derive(Clone, Debug)]
pub(super) struct Elf {
    pub(super) header: Header,
    pub(super) segments: Vec<Segment>,
}

/// Reads exactly, as `elf_read` does: a short file is `EIO`.
fn read_all(file: &dyn Executable, offset: u64, buf: &mut [u8]) -> Result<(), Errno> {
    let mut done = 0;
    while done < buf.len() {
        let at = offset.checked_add(done as u64).ok_or(Errno::EIO)?;
        match file.read_at(at, &mut buf[done..])? {
            0 => return Err(Errno::EIO),
            got => done += got.min(buf.len() - done),
        }
    }
    Ok(())
}

impl Elf {
    /// Reads the headers of the program itself: `ENOEXEC` for whatever isn't ours.
    pub(super) fn program(file: &dyn Executable, first: &[u8]) -> Result<Elf, Errno> {
        let (header, _) = Header::read_from_prefix(first).map_err(|_| Errno::ENOEXEC)?;
        Elf::check(file, header).ok_or(Errno::ENOEXEC)
    }

    /// Reads the headers of the interpreter: `ELIBBAD` for whatever isn't ours, `EIO` for a stub of a file.
    pub(super) fn interpreter(file: &dyn Executable) -> Result<Elf, Errno> {
        let mut header = Header::new_zeroed();
        read_all(file, 0, header.as_mut_bytes())?;
        Elf::check(file, header).ok_or(Errno::ELIBBAD)
    }

    fn check(file: &dyn Executable, header: Header) -> Option<Elf> {
        let ours = header.ident.starts_with(b"\x7fELF")
            && matches!(header.kind, ET_EXEC | ET_DYN)
            && header.machine == EM_X86_64
            && usize::from(header.phentsize) == size_of::<Segment>();
        let bytes = usize::from(header.phnum) * size_of::<Segment>();
        if !ours || bytes == 0 || bytes > MAX_HEADERS {
            return None;
        }
        let mut segments = vec![Segment::new_zeroed(); usize::from(header.phnum)];
        read_all(file, header.phoff, segments.as_mut_slice().as_mut_bytes()).ok()?;
        Some(Elf { header, segments })
    }

    /// Returns the segments to load.
    pub(super) fn loads(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().filter(|segment| segment.loads())
    }

    /// Returns the path of the interpreter, where the program names one.
    pub(super) fn interpreter_path(&self, file: &dyn Executable) -> Result<Option<Vec<u8>>, Errno> {
        let Some(segment) = self.segments.iter().find(|segment| segment.kind == PT_INTERP) else { return Ok(None) };
        let len = usize::try_from(segment.filesz).ok().filter(|len| (2..=PATH_MAX).contains(len));
        let mut path = vec![0; len.ok_or(Errno::ENOEXEC)?];
        read_all(file, segment.offset, &mut path)?;
        if path.last() != Some(&0) {
            return Err(Errno::ENOEXEC);
        }
        let end = path.iter().position(|byte| *byte == 0).unwrap_or(path.len());
        path.truncate(end);
        Ok(Some(path))
    }

    /// Tells whether the program wants an executable stack.
    pub(super) fn executable_stack(&self) -> bool {
        let stack = self.segments.iter().rev().find(|segment| segment.kind == PT_GNU_STACK);
        stack.is_some_and(|segment| segment.prot().contains(Prot::EXEC))
    }

    /// Returns the bytes from the start of the first page to the end of the last segment (`total_mapping_size`), as
    /// far as they make sense.
    pub(super) fn span(&self) -> Option<(u64, u64)> {
        let low = self.loads().map(|segment| abi::addr::page_floor(segment.vaddr)).min()?;
        let high = self
            .loads()
            .map(|segment| segment.vaddr.checked_add(segment.memsz))
            .try_fold(0, |high, end| end.map(|end| high.max(end)))?;
        let size = abi::addr::page_ceil(high)?.checked_sub(low)?;
        (size > 0).then_some((low, size))
    }

    /// Returns the greatest sensible alignment of a segment.
    pub(super) fn alignment(&self) -> u64 {
        let sound = self.loads().map(|segment| segment.align).filter(|align| align.is_power_of_two());
        sound.max().unwrap_or(0).max(abi::PAGE_SIZE)
    }

    /// Returns where the program headers are in memory, before the load bias; 0 if no segment holds them.
    pub(super) fn headers_addr(&self) -> u64 {
        let phoff = self.header.phoff;
        let holds = |segment: &&Segment| segment.offset <= phoff && phoff - segment.offset < segment.filesz;
        self.loads().find(holds).map_or(0, |segment| (phoff - segment.offset).wrapping_add(segment.vaddr))
    }
}
