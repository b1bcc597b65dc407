//! Signal frames, in the exact layout of Linux on x86-64 (`arch/x86/include/uapi/asm/sigcontext.h`,
//! `arch/x86/kernel/signal_64.c`), and their way back.

use abi::signal::{SigAction, SigInfo, SigSet, Signal, StackT, sa};
use abi::{Errno, UserAddr};
use sentry_platform::regs::{USER_CS, USER_EFLAGS, USER_SS};
use sentry_platform::xstate;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::{SS_DISABLE, send};
use crate::Current;

const SS_ONSTACK: i32 = 1;
/// Smallest alternate stack, in bytes (`MINSIGSTKSZ`).
const MIN_STACK: u64 = 2048;
const SS_AUTODISARM: i32 = i32::MIN;
const UC_FP_XSTATE: u64 = 1;
const UC_SIGCONTEXT_SS: u64 = 2;
const UC_STRICT_RESTORE_SS: u64 = 4;
const RED_ZONE: u64 = 128;
/// Bytes of the header of the extended state, behind the legacy area.
const HEADER_LEN: usize = 64;
/// Largest XSAVE image taken from a guest, in bytes.
const XSTATE_MAX: usize = 16 * 1024;
/// Bytes of the legacy area.
const FXSAVE_LEN: usize = xstate::HEADER;
const EFLAGS_TF: u64 = 1 << 8;
const EFLAGS_DF: u64 = 1 << 10;
const EFLAGS_RF: u64 = 1 << 16;

/// `struct sigcontext`.
#[derive(Clone, Copy, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct SigContext {
    r8: u64,
    r9: u64,
    r10: u64,
    r11: u64,
    r12: u64,
    r13: u64,
    r14: u64,
    r15: u64,
    rdi: u64,
    rsi: u64,
    rbp: u64,
    rbx: u64,
    rdx: u64,
    rax: u64,
    rcx: u64,
    rsp: u64,
    rip: u64,
    eflags: u64,
    cs: u16,
    gs: u16,
    fs: u16,
    ss: u16,
    err: u64,
    trapno: u64,
    oldmask: u64,
    cr2: u64,
    fpstate: u64,
    reserved: [u64; 8],
}

/// `struct rt_sigframe` with its `ucontext` laid open.
#[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Frame {
    return_to: u64,
    uc_flags: u64,
    uc_link: u64,
    uc_stack: StackT,
    uc_mcontext: SigContext,
    uc_sigmask: SigSet,
    info: SigInfo,
}

const FRAME_LEN: u64 = size_of::<Frame>() as u64;

/// Writes the frame for a handler onto the guest stack and points the registers at the handler. `EFAULT` where the
/// stack can't take it; nothing has changed then.
pub(super) async fn push(
    cur: &mut Current,
    signal: Signal,
    info: &SigInfo,
    action: &SigAction,
    saved_mask: SigSet,
) -> Result<(), Errno> {
    if action.flags & sa::RESTORER == 0 {
        return Err(Errno::EFAULT);
    }
    let altstack = cur.task.signals.altstack();
    let (stack, on_altstack) = stack_for(cur.regs().rsp, &altstack, action)?;
    // The stub's part of it, or ours.
    let (image, fp_len) = match cur.context.frame_state_len() {
        Some(len) => (None, len),
        None => {
            let mut image = cur.context.fpstate().await.map_err(|error| error.errno())?;
            let len = seal_image(&mut image)? as u64;
            (Some(image), len)
        }
    };
    let below = |top: u64, len: u64| top.checked_sub(len).ok_or(Errno::EFAULT);
    let fp_at = below(stack, fp_len)? & !63;
    let frame_at = below(below(fp_at, FRAME_LEN)? & !15, 8)?;
    if on_altstack && (frame_at <= altstack.sp || frame_at - altstack.sp > altstack.size) {
        return Err(Errno::EFAULT);
    }
    let fault = cur.fault.take().unwrap_or_default();
    let regs = *cur.regs();
    let frame = Frame {
        return_to: action.restorer,
        uc_flags: UC_FP_XSTATE | UC_SIGCONTEXT_SS | UC_STRICT_RESTORE_SS,
        uc_link: 0,
        uc_stack: StackT { pad: 0, ..altstack },
        uc_mcontext: SigContext {
            r8: regs.r8,
            r9: regs.r9,
            r10: regs.r10,
            r11: regs.r11,
            r12: regs.r12,
            r13: regs.r13,
            r14: regs.r14,
            r15: regs.r15,
            rdi: regs.rdi,
            rsi: regs.rsi,
            rbp: regs.rbp,
            rbx: regs.rbx,
            rdx: regs.rdx,
            rax: regs.rax,
            rcx: regs.rcx,
            rsp: regs.rsp,
            rip: regs.rip,
            eflags: regs.eflags,
            cs: 0x33,
            gs: 0,
            fs: 0,
            ss: 0x2b,
            err: fault.error,
            trapno: fault.trapno,
            oldmask: saved_mask.0,
            cr2: fault.cr2,
            fpstate: fp_at,
            reserved: [0; 8],
        },
        uc_sigmask: saved_mask,
        info: *info,
    };
    let between = fp_at - frame_at - FRAME_LEN;
    cur.frame_len = usize::try_from(FRAME_LEN + between + fp_len).map_err(|_| Errno::EFAULT)?;
    match image {
        Some(image) => {
            // In one copy, with what lies between them: dead stack, less than a line of the cache.
            let mut bytes = Vec::with_capacity(cur.frame_len);
            bytes.extend_from_slice(frame.as_bytes());
            bytes.resize(cur.frame_len - image.len(), 0);
            bytes.extend_from_slice(&image);
            cur.mem.write_bytes(UserAddr::new(frame_at), &bytes)?;
            cur.context.reset_fpstate();
        }
        None => {
            let written = cur.context.write_frame(frame_at, frame.as_bytes(), fp_at).await;
            if !written.map_err(|error| error.errno())? {
                return Err(Errno::EFAULT);
            }
        }
    }
    if altstack.flags & SS_AUTODISARM != 0 {
        cur.task.signals.set_altstack(super::TaskSignals::no_altstack());
    }
    let regs = cur.regs();
    regs.rdi = u64::from(signal.number().unsigned_abs());
    regs.rsi = frame_at + (FRAME_LEN - size_of::<SigInfo>() as u64);
    regs.rdx = frame_at + 8;
    regs.rax = 0;
    regs.rsp = frame_at;
    regs.rip = action.handler;
    regs.eflags &= !(EFLAGS_DF | EFLAGS_RF | EFLAGS_TF);
    regs.cs = USER_CS;
    regs.ss = USER_SS;
    Ok(())
}

/// Tells whether the stack pointer is on the alternate stack; one that disarms itself never counts.
pub fn on_altstack(rsp: u64, altstack: &StackT) -> bool {
    altstack.flags & SS_AUTODISARM == 0 && rsp > altstack.sp && rsp - altstack.sp <= altstack.size
}

/// Returns `ss_flags` as `sigaltstack(2)` reports them.
pub fn reported_flags(rsp: u64, altstack: &StackT) -> i32 {
    let own = altstack.flags & SS_AUTODISARM;
    if altstack.size == 0 {
        SS_DISABLE | own
    } else if on_altstack(rsp, altstack) {
        SS_ONSTACK | own
    } else {
        own
    }
}

/// Picks the stack: its top, and whether it is the alternate one.
fn stack_for(rsp: u64, altstack: &StackT, action: &SigAction) -> Result<(u64, bool), Errno> {
    let nested = on_altstack(rsp, altstack);
    if action.flags & sa::ONSTACK != 0 && !nested && altstack.size != 0 {
        let top = altstack.sp.checked_add(altstack.size).ok_or(Errno::EFAULT)?;
        return Ok((top, true));
    }
    Ok((rsp.checked_sub(RED_ZONE).ok_or(Errno::EFAULT)?, nested))
}

/// Puts the software-reserved bytes and the end marker into an XSAVE image; returns its new length.
fn seal_image(image: &mut Vec<u8>) -> Result<usize, Errno> {
    if image.len() < FXSAVE_LEN || image.len() > XSTATE_MAX {
        return Err(Errno::EFAULT);
    }
    let features: [u8; 8] =
        image[xstate::NOTES.start..xstate::NOTES.start + 8].try_into().map_err(|_| Errno::EFAULT)?;
    let xstate_len = u32::try_from(image.len()).map_err(|_| Errno::EFAULT)?;
    image[xstate::NOTES].copy_from_slice(&xstate::notes(xstate_len, u64::from_le_bytes(features)));
    image.extend_from_slice(&xstate::MAGIC2.to_le_bytes());
    Ok(image.len())
}

/// `rt_sigreturn(2)`: puts back what the frame at the stack pointer says. A frame that can't be read or whose
/// floating-point state the processor refuses is a SIGSEGV.
pub async fn sigreturn(cur: &mut Current) {
    if restore(cur).await.is_err() {
        send::force(&cur.task, SigInfo::from_kernel(Signal::SIGSEGV));
    }
}

async fn restore(cur: &mut Current) -> Result<(), Errno> {
    // The handler's `ret` has popped the return address.
    let frame_at = cur.regs().rsp.wrapping_sub(8);
    // A frame of ours is followed by the floating-point state: both come by one copy, and what is private then is used.
    let mut bytes = vec![0; cur.frame_len.clamp(size_of::<Frame>(), size_of::<Frame>() + XSTATE_MAX)];
    let got = cur.mem.read_partial(UserAddr::new(frame_at), &mut bytes);
    bytes.truncate(got);
    let (frame, rest) = Frame::read_from_prefix(&bytes).map_err(|_| Errno::EFAULT)?;
    let saved = &frame.uc_mcontext;
    let copied = Copied { at: frame_at.wrapping_add(FRAME_LEN), bytes: rest };
    cur.task.signals.set_mask(frame.uc_sigmask);
    let regs = cur.regs();
    regs.r8 = saved.r8;
    regs.r9 = saved.r9;
    regs.r10 = saved.r10;
    regs.r11 = saved.r11;
    regs.r12 = saved.r12;
    regs.r13 = saved.r13;
    regs.r14 = saved.r14;
    regs.r15 = saved.r15;
    regs.rdi = saved.rdi;
    regs.rsi = saved.rsi;
    regs.rbp = saved.rbp;
    regs.rbx = saved.rbx;
    regs.rdx = saved.rdx;
    regs.rax = saved.rax;
    regs.rcx = saved.rcx;
    regs.rsp = saved.rsp;
    regs.rip = saved.rip;
    regs.eflags = (regs.eflags & !USER_EFLAGS) | (saved.eflags & USER_EFLAGS);
    regs.cs = USER_CS;
    regs.ss = USER_SS;
    regs.orig_rax = u64::MAX;
    restore_fpstate(cur, saved.fpstate, &copied).await?;
    // Errors are ignored, as Linux does: the handler may have run with a stack that has gone since.
    let known = cur.task.signals.altstack();
    if let Ok(stack) = accept_stack(cur.regs().rsp, &known, frame.uc_stack) {
        cur.task.signals.set_altstack(stack);
    }
    Ok(())
}

/// Returns the alternate stack that `sigaltstack(2)` makes of what it is given: flags as they were given, no place if it is
/// disabled. `EPERM` while the stack pointer is on the one known so far.
pub fn accept_stack(rsp: u64, known: &StackT, stack: StackT) -> Result<StackT, Errno> {
    if on_altstack(rsp, known) {
        return Err(Errno::EPERM);
    }
    // What changes nothing is not looked at.
    if (stack.sp, stack.flags, stack.size) == (known.sp, known.flags, known.size) {
        return Ok(*known);
    }
    match stack.flags & !SS_AUTODISARM {
        SS_DISABLE => Ok(StackT { flags: stack.flags, ..StackT::default() }),
        0 | SS_ONSTACK if stack.size < MIN_STACK => Err(Errno::ENOMEM),
        0 | SS_ONSTACK => Ok(StackT { pad: 0, ..stack }),
        _ => Err(Errno::EINVAL),
    }
}

/// Makes of what a guest may have written anywhere an alternate stack that it could have by calls.
pub(crate) fn sound_stack(stack: StackT) -> StackT {
    match stack.flags & !SS_AUTODISARM {
        0 | SS_ONSTACK if stack.size >= MIN_STACK => stack,
        0..=SS_DISABLE => StackT { flags: stack.flags, ..StackT::default() },
        _ => super::TaskSignals::no_altstack(),
    }
}

/// Bytes of the guest's stack that have been copied already.
struct Copied<'a> {
    at: u64,
    bytes: &'a [u8],
}

impl Copied<'_> {
    /// Fills the buffer from here where that is possible, else from guest memory.
    fn read(&self, cur: &Current, at: u64, buf: &mut [u8]) -> Result<(), Errno> {
        let start = at.checked_sub(self.at).and_then(|start| usize::try_from(start).ok());
        let here = start.and_then(|start| self.bytes.get(start..start.checked_add(buf.len())?));
        match here {
            Some(bytes) => {
                buf.copy_from_slice(bytes);
                Ok(())
            }
            None => cur.mem.read_bytes(UserAddr::new(at), buf),
        }
    }
}

async fn restore_fpstate(cur: &mut Current, at: u64, copied: &Copied<'_>) -> Result<(), Errno> {
    if at == 0 {
        cur.context.reset_fpstate();
        return Ok(());
    }
    let mut image = vec![0; FXSAVE_LEN];
    copied.read(cur, at, &mut image)?;
    let word =
        |offset: usize| image.get(offset..offset + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
    let number = |offset| word(offset).and_then(|len| usize::try_from(len).ok()).unwrap_or(0);
    let (xstate_len, all_len) = (number(xstate::NOTES.start + 16), number(xstate::NOTES.start + 4));
    let known_len = (FXSAVE_LEN + HEADER_LEN..=XSTATE_MAX).contains(&xstate_len) && xstate_len <= all_len;
    let mut mark = [0; 4];
    if word(xstate::NOTES.start) == Some(xstate::MAGIC1) && known_len {
        copied.read(cur, at.wrapping_add(xstate_len as u64), &mut mark)?;
    }
    let mut components = 3_u64.to_le_bytes();
    if mark == xstate::MAGIC2.to_le_bytes() {
        components.copy_from_slice(&image[xstate::NOTES.start + 8..xstate::NOTES.start + 16]);
        image.resize(xstate_len, 0);
        copied.read(cur, at, &mut image)?;
    } else {
        // Only what every processor has.
        image.extend_from_slice(&components);
        image.resize(FXSAVE_LEN + HEADER_LEN, 0);
    }
    // What the processor would say where the kernel has it load the state from the frame.
    let alignment = if image.len() > FXSAVE_LEN + HEADER_LEN { 64 } else { 16 };
    if !at.is_multiple_of(alignment) {
        return Err(Errno::EFAULT);
    }
    image[xstate::NOTES].fill(0);
    cur.context.set_fpstate(&image).await.map_err(|error| error.errno())?;
    let present = &mut image[FXSAVE_LEN..FXSAVE_LEN + components.len()];
    if present.iter().zip(components).all(|(present, named)| present & !named == 0) {
        return Ok(());
    }
    // What the notes leave out becomes that of a new program (kernel: `restore_fpregs_from_user`).
    present.iter_mut().zip(components).for_each(|(present, named)| *present &= named);
    cur.context.set_fpstate(&image).await.map_err(|error| error.errno())
}
