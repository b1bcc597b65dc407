//! From headers to a plan: which memory operations and which bytes make up the new address space.

use std::sync::Arc;

use abi::addr::{page_ceil, page_floor};
use abi::flags::{MapFlags, Prot};
use abi::{Errno, PAGE_SIZE};
use sentry_platform::MemOp;

use super::elf::{ET_DYN, Elf, Segment};
use super::stack::{self, ProgramFacts};
use super::{Executable, LoadError, LoadRequest, Source};
use crate::mm::{Books, Change, FileMap, ImageInfo, Layout, Limits, MapRequest, TASK_SIZE, VmFlags, Vma};

/// Linux makes this much stack present at once.
const STACK_EXPAND: u64 = 128 * 1024;
/// Most stack that is made ready on the host in advance; more grows at faults.
const STACK_RESERVE: u64 = 64 << 20;

/// A new address space, ready to be made.
pub struct Image {
    /// The books as they will be once `ops` have run.
    pub(super) books: Books,
    /// What the host does, in order.
    pub(super) ops: Vec<MemOp>,
    /// Bytes written afterwards: ends of data segments, the stack.
    pub(super) writes: Vec<(u64, Vec<u8>)>,
    /// First instruction.
    pub(super) entry: u64,
    /// Stack pointer.
    pub(super) sp: u64,
    /// Where it stands what the host is told of the program.
    pub(super) description: u64,
    /// The program file.
    pub(super) exe: Arc<dyn Executable>,
}

/// Builds an [`Image`] step by step.
struct Assembler<'a> {
    books: Books,
    ops: Vec<MemOp>,
    writes: Vec<(u64, Vec<u8>)>,
    limits: &'a Limits,
}

/// Where an ELF file has come to lie.
struct Placed {
    bias: u64,
    /// Address of the lowest segment.
    base: u64,
    info: ImageInfo,
    end: u64,
}

/// Plans the address space of a program. Everything that Linux checks before the point of no return fails with an
/// error number; what it would notice later is [`LoadError::Fatal`].
pub(super) fn assemble(request: &LoadRequest<'_>, source: &Source) -> Result<Image, LoadError> {
    let elf = Elf::program(source.file.as_ref(), &source.head)?;
    let interpreter = match elf.interpreter_path(source.file.as_ref())? {
        None => None,
        Some(path) => {
            let file = request.opener.open_exec(&path)?;
            let elf = Elf::interpreter(file.as_ref())?;
            Some((file, elf))
        }
    };
    source.args.check(request.file_name, request.limits.stack)?;
    let layout = Layout::new(request.user.clone(), request.limits.stack, request.entropy);
    let books = Books::new(layout);
    let assembler = Assembler { books, ops: Vec::new(), writes: Vec::new(), limits: &request.limits };
    assembler.fill(request, source, &elf, interpreter).map_err(LoadError::Fatal)
}

impl Assembler<'_> {
    fn fill(
        mut self,
        request: &LoadRequest<'_>,
        source: &Source,
        elf: &Elf,
        interpreter: Option<(Arc<dyn Executable>, Elf)>,
    ) -> Result<Image, Errno> {
        let layout = *self.books.layout();
        let stack_base = self.reserve_stack(elf.executable_stack());
        let with_interpreter = interpreter.is_some();
        let program = self.place(&source.file, elf, with_interpreter)?;
        let mut facts = ProgramFacts {
            headers: program.bias.wrapping_add(elf.headers_addr()),
            header_count: u64::from(elf.header.phnum),
            entry: program.bias.wrapping_add(elf.header.entry),
            interpreter_base: 0,
        };
        if elf.headers_addr() == 0 {
            facts.headers = 0;
        }
        let mut entry = facts.entry;
        let mut heap = page_ceil(program.end).ok_or(Errno::ENOMEM)?;
        if let Some((file, elf)) = &interpreter {
            let placed = self.place(file, elf, false)?;
            facts.interpreter_base = placed.base;
            entry = placed.bias.wrapping_add(elf.header.entry);
        } else if elf.header.kind == ET_DYN && layout.randomized {
            // A static position-independent program lies among the mappings: its heap gets a place with room.
            heap = page_floor(layout.pie_base);
        }
        if entry >= TASK_SIZE {
            return Err(Errno::EINVAL);
        }
        self.books.set_heap(heap.saturating_add(layout.brk_gap));
        let mut info = program.info;
        let slack = request.entropy.map_or(0, |entropy| entropy.stack_align);
        let stack = stack::build(
            layout.stack_top,
            slack,
            request.file_name,
            &source.args,
            &facts,
            &request.identity,
            &request.machine,
            &mut info,
        )?;
        if page_floor(stack.sp) <= stack_base {
            return Err(Errno::E2BIG);
        }
        let used = page_floor(stack.sp).saturating_sub(STACK_EXPAND).max(stack_base);
        *self.books.image_mut() = info;
        self.books.apply(Change::Flags {
            range: used..layout.stack_top,
            clear: VmFlags::RESERVE,
            set: VmFlags::empty(),
        });
        self.writes.push((stack.sp, stack.bytes));
        Ok(Image {
            books: self.books,
            ops: joined(self.ops),
            writes: self.writes,
            entry,
            sp: stack.sp,
            description: stack.description,
            exe: Arc::clone(&source.file),
        })
    }

    /// Maps the stack; returns its lowest address.
    fn reserve_stack(&mut self, executable: bool) -> u64 {
        let top = self.books.layout().stack_top;
        let size = page_floor(self.limits.stack).clamp(2 * STACK_EXPAND, STACK_RESERVE);
        let base = top - size;
        let mut prot = Prot::READ | Prot::WRITE;
        prot.set(Prot::EXEC, executable);
        let flags = (MapFlags::PRIVATE | MapFlags::NORESERVE | MapFlags::STACK).bits();
        self.ops.push(MemOp::MapAnonymous { addr: base, len: size, prot, flags });
        let vma = Vma::anonymous(base..top, prot, VmFlags::GROWSDOWN | VmFlags::RESERVE);
        self.books.apply(Change::Insert(vma));
        base
    }

    /// Places an ELF file and maps its segments.
    fn place(&mut self, file: &Arc<dyn Executable>, elf: &Elf, has_interpreter: bool) -> Result<Placed, Errno> {
        let (low, size) = elf.span().ok_or(Errno::EINVAL)?;
        let alignment = elf.alignment();
        let base = if elf.header.kind != ET_DYN {
            low
        } else if has_interpreter {
            self.books.layout().pie_base & !(alignment - 1)
        } else {
            let room =
                size.checked_add(alignment - PAGE_SIZE).filter(|room| *room <= TASK_SIZE).ok_or(Errno::ENOMEM)?;
            let found = self.books.free_place(room).ok_or(Errno::ENOMEM)?;
            found.checked_next_multiple_of(alignment).ok_or(Errno::ENOMEM)?
        };
        let whole = base..base.checked_add(size).filter(|end| *end <= TASK_SIZE).ok_or(Errno::EINVAL)?;
        if self.books.tree().overlapping(whole).next().is_some() {
            return Err(Errno::EEXIST);
        }
        let bias = base.wrapping_sub(low);
        let mut placed =
            Placed { bias, base, info: ImageInfo { start_code: u64::MAX, ..ImageInfo::default() }, end: 0 };
        for segment in elf.loads() {
            self.map_segment(file, segment, bias)?;
            placed.note(segment);
        }
        if placed.info.end_code == 0 {
            placed.info.start_code = 0;
        }
        Ok(placed)
    }

    /// Maps one segment (Linux: `elf_load`).
    fn map_segment(&mut self, file: &Arc<dyn Executable>, segment: &Segment, bias: u64) -> Result<(), Errno> {
        let start = bias.wrapping_add(segment.vaddr);
        let sound = start < TASK_SIZE && segment.filesz <= segment.memsz && segment.memsz <= TASK_SIZE - start;
        if !sound {
            return Err(Errno::EINVAL);
        }
        let in_page = start % PAGE_SIZE;
        let page = start - in_page;
        let file_end = start + segment.filesz;
        let end = start + segment.memsz;
        let mut zero_from = page;
        if segment.filesz > 0 {
            let offset = segment.offset.checked_sub(in_page).filter(|offset| offset.is_multiple_of(PAGE_SIZE));
            let len = page_ceil(segment.filesz + in_page).ok_or(Errno::ENOMEM)?;
            self.map(MapRequest {
                addr: page,
                len,
                prot: segment.prot(),
                flags: MapFlags::PRIVATE | MapFlags::FIXED,
                offset: offset.ok_or(Errno::EINVAL)?,
                file: Some(file_map(file)),
                extra: VmFlags::empty(),
            })?;
            zero_from = page + len;
            if segment.memsz > segment.filesz && segment.prot().contains(Prot::WRITE) {
                let tail = usize::try_from(zero_from - file_end).unwrap_or(0);
                if tail > 0 {
                    self.writes.push((file_end, vec![0; tail]));
                }
            }
        }
        let zero_to = page_ceil(end).ok_or(Errno::ENOMEM)?;
        if zero_to > zero_from {
            let mut prot = Prot::READ | Prot::WRITE;
            prot.set(Prot::EXEC, segment.prot().contains(Prot::EXEC));
            let mut request = MapRequest::anonymous(zero_to - zero_from, prot);
            request.addr = zero_from;
            request.flags |= MapFlags::FIXED;
            self.map(request)?;
        }
        Ok(())
    }

    fn map(&mut self, request: MapRequest) -> Result<(), Errno> {
        let plan = self.books.plan_map(request, self.limits)?;
        for step in plan.steps {
            self.ops.extend(step.op);
            if let Some(change) = step.change {
                self.books.apply(change);
            }
        }
        plan.result.map(|_| ())
    }
}

/// Maps parts of a file that follow each other as one, and reprotects what differs: the host asks for leave for each
/// mapping of a file.
pub(super) fn joined(ops: Vec<MemOp>) -> Vec<MemOp> {
    let mut out: Vec<MemOp> = Vec::with_capacity(ops.len());
    // The mapping that others may join: where it stands, and where it ends.
    let mut open: Option<(usize, u64, u64)> = None;
    for op in ops {
        let MemOp::MapFile { addr, len, prot, flags, file, offset } = &op else {
            open = None;
            out.push(op);
            continue;
        };
        let (end, after) = (addr.saturating_add(*len), offset.saturating_add(*len));
        if let Some((at, open_end, open_after)) = &mut open
            && let Some(MemOp::MapFile { len: whole, flags: same, file: known, .. }) = out.get_mut(*at)
            && (*open_end, *open_after, *same) == (*addr, *offset, *flags)
            && Arc::ptr_eq(known, file)
        {
            *whole = whole.saturating_add(*len);
            (*open_end, *open_after) = (end, after);
            out.push(MemOp::Protect { addr: *addr, len: *len, prot: *prot });
        } else {
            open = Some((out.len(), end, after));
            out.push(op);
        }
    }
    out
}

fn file_map(file: &Arc<dyn Executable>) -> FileMap {
    let source = Arc::clone(file);
    FileMap {
        file: file.mapped(),
        readable: true,
        writable: false,
        noexec: false,
        append_only: false,
        write_sealed: false,
        source: Box::new(move |_shared| source.map()),
    }
}

impl Placed {
    /// Takes a segment into the outline of the program.
    fn note(&mut self, segment: &Segment) {
        let start = self.bias.wrapping_add(segment.vaddr);
        let file_end = start.wrapping_add(segment.filesz);
        if segment.prot().contains(Prot::EXEC) {
            self.info.start_code = self.info.start_code.min(start);
            self.info.end_code = self.info.end_code.max(file_end);
        }
        self.info.start_data = self.info.start_data.max(start);
        self.info.end_data = self.info.end_data.max(file_end);
        self.end = self.end.max(start.wrapping_add(segment.memsz));
    }
}
