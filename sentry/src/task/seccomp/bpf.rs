//! The classic BPF machine as seccomp knows it: checking and running a filter (kernel: `bpf_check_classic`,
//! `seccomp_check_filter`).
//!
//! Jumps go forward only, so a program ends within as many steps as it has instructions.

use abi::Errno;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Most instructions of a program (`BPF_MAXINSNS`).
pub const MAX_INSNS: usize = 4096;
/// Words of scratch memory (`BPF_MEMWORDS`).
const WORDS: usize = 16;

/// One instruction: `struct sock_filter`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
pub struct Insn {
    /// Operation.
    pub code: u16,
    /// Instructions to skip if true.
    pub jt: u8,
    /// Instructions to skip if false.
    pub jf: u8,
    /// Operand.
    pub k: u32,
}

/// What a filter looks at: `struct seccomp_data`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, IntoBytes, Immutable)]
#[repr(C)]
pub struct Data {
    /// Number of the call.
    pub nr: i32,
    /// `AUDIT_ARCH_*`.
    pub arch: u32,
    /// Address behind the `syscall` instruction.
    pub instruction_pointer: u64,
    /// Arguments.
    pub args: [u64; 6],
}

/// Bytes of [`Data`].
const DATA_SIZE: u32 = size_of::<Data>() as u32;

/// Two-operand arithmetic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alu {
    Add,
    Sub,
    Mul,
    Div,
    Or,
    And,
    Lsh,
    Rsh,
    Xor,
}

/// Comparisons.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Test {
    Equal,
    Greater,
    GreaterOrEqual,
    AnySet,
}

/// Second operand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operand {
    K(u32),
    X,
}

/// A decoded instruction, with nothing left to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    LoadData(usize),
    LoadA(u32),
    LoadX(u32),
    LoadMemA(usize),
    LoadMemX(usize),
    StoreA(usize),
    StoreX(usize),
    AToX,
    XToA,
    Negate,
    Alu(Alu, Operand),
    Jump(usize),
    Branch(Test, Operand, usize, usize),
    Return(u32),
    ReturnA,
}

/// A checked program.
#[derive(Debug)]
pub struct Program(Vec<Op>);

/// Decodes one instruction; `None` where seccomp doesn't know it.
fn decode(insn: &Insn) -> Option<Op> {
    let word = || usize::try_from(insn.k).ok().filter(|word| *word < WORDS);
    Some(match insn.code {
        // BPF_LD: ABS, IMM, MEM, LEN
        0x20 if insn.k < DATA_SIZE && insn.k.is_multiple_of(4) => Op::LoadData(insn.k as usize),
        0x00 => Op::LoadA(insn.k),
        0x60 => Op::LoadMemA(word()?),
        0x80 => Op::LoadA(DATA_SIZE),
        // BPF_LDX: IMM, MEM, LEN
        0x01 => Op::LoadX(insn.k),
        0x61 => Op::LoadMemX(word()?),
        0x81 => Op::LoadX(DATA_SIZE),
        0x02 => Op::StoreA(word()?),
        0x03 => Op::StoreX(word()?),
        0x07 => Op::AToX,
        0x87 => Op::XToA,
        0x84 => Op::Negate,
        0x06 => Op::Return(insn.k),
        0x16 => Op::ReturnA,
        0x05 => Op::Jump(usize::try_from(insn.k).ok()?),
        code if code & 7 == 4 => {
            let operand = operand(insn);
            let alu = match code & !8 {
                0x04 => Alu::Add,
                0x14 => Alu::Sub,
                0x24 => Alu::Mul,
                0x34 => Alu::Div,
                0x44 => Alu::Or,
                0x54 => Alu::And,
                0x64 => Alu::Lsh,
                0x74 => Alu::Rsh,
                0xa4 => Alu::Xor,
                _ => return None,
            };
            match (alu, operand) {
                (Alu::Div, Operand::K(0)) | (Alu::Lsh | Alu::Rsh, Operand::K(32..)) => return None,
                _ => Op::Alu(alu, operand),
            }
        }
        code if code & 7 == 5 => {
            let test = match code & !8 {
                0x15 => Test::Equal,
                0x25 => Test::Greater,
                0x35 => Test::GreaterOrEqual,
                0x45 => Test::AnySet,
                _ => return None,
            };
            Op::Branch(test, operand(insn), insn.jt.into(), insn.jf.into())
        }
        _ => return None,
    })
}

fn operand(insn: &Insn) -> Operand {
    if insn.code & 8 == 0 { Operand::K(insn.k) } else { Operand::X }
}

impl Program {
    /// Accepts a program: `EINVAL` for an unknown instruction, a jump out of it, a word of scratch memory that is read
    /// before it is written on some way, or a missing return at the end.
    pub fn new(insns: &[Insn]) -> Result<Program, Errno> {
        if insns.is_empty() || insns.len() > MAX_INSNS {
            return Err(Errno::EINVAL);
        }
        let ops: Option<Vec<Op>> = insns.iter().map(decode).collect();
        let ops = ops.ok_or(Errno::EINVAL)?;
        let returns = matches!(ops.last(), Some(Op::Return(_) | Op::ReturnA));
        if returns && flows(&ops) { Ok(Program(ops)) } else { Err(Errno::EINVAL) }
    }

    /// Number of instructions.
    pub(super) fn cost(&self) -> usize {
        self.0.len()
    }

    /// Returns what the program asks for whatever the arguments of a call are; `None` where it looks at them, or does more
    /// than compare (kernel: `seccomp_is_const_allow`).
    pub(super) fn whatever_arguments(&self, number: u32, arch: u32) -> Option<u32> {
        const ARCH_AT: usize = 4;
        let (mut a, mut at) = (0_u32, 0);
        while let Some(op) = self.0.get(at) {
            at += 1;
            match *op {
                Op::LoadData(0) => a = number,
                Op::LoadData(ARCH_AT) => a = arch,
                Op::Alu(Alu::And, Operand::K(k)) => a &= k,
                Op::Jump(skip) => at += skip,
                Op::Branch(test, Operand::K(k), jt, jf) => at += if compare(test, a, k) { jt } else { jf },
                Op::Return(k) => return Some(k),
                _ => return None,
            }
        }
        None
    }

    /// Runs the program; returns the action that it asks for.
    pub fn run(&self, data: &Data) -> u32 {
        let bytes = data.as_bytes();
        let (mut a, mut x, mut words) = (0_u32, 0_u32, [0_u32; WORDS]);
        let mut at = 0;
        while let Some(op) = self.0.get(at) {
            at += 1;
            let value = |operand| match operand {
                Operand::K(k) => k,
                Operand::X => x,
            };
            match *op {
                Op::LoadData(offset) => a = load(bytes, offset),
                Op::LoadA(k) => a = k,
                Op::LoadX(k) => x = k,
                Op::LoadMemA(word) => a = words[word],
                Op::LoadMemX(word) => x = words[word],
                Op::StoreA(word) => words[word] = a,
                Op::StoreX(word) => words[word] = x,
                Op::AToX => x = a,
                Op::XToA => a = x,
                Op::Negate => a = a.wrapping_neg(),
                Op::Alu(alu, operand) => match compute(alu, a, value(operand)) {
                    Some(result) => a = result,
                    // A division by zero ends the program.
                    None => return 0,
                },
                Op::Jump(skip) => at += skip,
                Op::Branch(test, operand, jt, jf) => at += if compare(test, a, value(operand)) { jt } else { jf },
                Op::Return(k) => return k,
                Op::ReturnA => return a,
            }
        }
        // Not reached: the last instruction returns and no jump leads behind it.
        0
    }
}

/// Checks jumps and the use of scratch memory (kernel: `check_load_and_stores`).
fn flows(ops: &[Op]) -> bool {
    // Words written on every way to an instruction.
    let mut masks = vec![u16::MAX; ops.len()];
    let mut valid = 0_u16;
    for (at, op) in ops.iter().enumerate() {
        valid &= masks[at];
        let mut reach = |skip: usize, valid: u16| match masks.get_mut(at + 1 + skip) {
            Some(mask) => {
                *mask &= valid;
                true
            }
            None => false,
        };
        match *op {
            Op::StoreA(word) | Op::StoreX(word) => valid |= 1 << word,
            Op::LoadMemA(word) | Op::LoadMemX(word) if valid & (1 << word) == 0 => return false,
            Op::Jump(skip) => {
                if !reach(skip, valid) {
                    return false;
                }
                valid = u16::MAX;
            }
            Op::Branch(_, _, jt, jf) => {
                if !reach(jt, valid) || !reach(jf, valid) {
                    return false;
                }
                valid = u16::MAX;
            }
            _ => {}
        }
    }
    true
}

fn load(bytes: &[u8], offset: usize) -> u32 {
    let word = bytes.get(offset..offset + 4).and_then(|word| word.try_into().ok());
    word.map(u32::from_ne_bytes).unwrap_or_default()
}

fn compute(alu: Alu, a: u32, b: u32) -> Option<u32> {
    Some(match alu {
        Alu::Add => a.wrapping_add(b),
        Alu::Sub => a.wrapping_sub(b),
        Alu::Mul => a.wrapping_mul(b),
        Alu::Div => return a.checked_div(b),
        Alu::Or => a | b,
        Alu::And => a & b,
        Alu::Lsh => a.wrapping_shl(b),
        Alu::Rsh => a.wrapping_shr(b),
        Alu::Xor => a ^ b,
    })
}

fn compare(test: Test, a: u32, b: u32) -> bool {
    match test {
        Test::Equal => a == b,
        Test::Greater => a > b,
        Test::GreaterOrEqual => a >= b,
        Test::AnySet => a & b != 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn insn(code: u16, k: u32) -> Insn {
        Insn { code, jt: 0, jf: 0, k }
    }

    fn run(insns: &[Insn], data: &Data) -> u32 {
        Program::new(insns).expect("sound").run(data)
    }

    const RET_A: Insn = Insn { code: 0x16, jt: 0, jf: 0, k: 0 };

    #[test]
    fn data_is_read_at_linux_offsets() {
        let data = Data {
            nr: 7,
            arch: 9,
            instruction_pointer: 0x1_0000_0002,
            args: [0, 0x3_0000_0004, 0, 0, 0, 0x5_0000_0006],
        };
        for (offset, want) in [(0, 7), (4, 9), (8, 2), (12, 1), (24, 4), (28, 3), (56, 6), (60, 5)] {
            assert_eq!(run(&[insn(0x20, offset), RET_A], &data), want);
        }
        assert_eq!(run(&[insn(0x80, 0), RET_A], &data), 64);
    }

    #[test]
    fn arithmetic_wraps_and_a_division_by_zero_ends_the_program() {
        let value = |steps: &[Insn]| {
            let mut all = vec![insn(0, 10)];
            all.extend(steps);
            all.push(RET_A);
            run(&all, &Data::default())
        };
        assert_eq!(value(&[insn(0x14, 11)]), u32::MAX);
        assert_eq!(value(&[insn(0x84, 0)]), 10_u32.wrapping_neg());
        assert_eq!(value(&[insn(0x34, 3)]), 3);
        assert_eq!(value(&[insn(0x01, 0), insn(0x3c, 0), insn(0, 5)]), 0);
        assert_eq!(value(&[insn(0x01, 33), insn(0x6c, 0)]), 20);
        assert_eq!(value(&[insn(0x02, 3), insn(0, 1), insn(0x60, 3)]), 10);
    }

    #[test]
    fn branches_skip_forward() {
        let jump = |k| Insn { code: 0x15, jt: 1, jf: 0, k };
        let program = |k| [insn(0x20, 0), jump(k), insn(0x06, 1), insn(0x06, 2)];
        assert_eq!(run(&program(0), &Data::default()), 2);
        assert_eq!(run(&program(1), &Data::default()), 1);
    }

    #[test]
    fn what_depends_on_the_number_alone_is_known_beforehand() {
        // Number 7: allowed; 8: whatever the first argument is; else refused.
        let is = |k, jt| Insn { code: 0x15, jt, jf: 0, k };
        let program = [insn(0x20, 0), is(7, 2), is(8, 2), insn(0x06, 1), insn(0x06, 2), insn(0x20, 16), RET_A];
        let program = Program::new(&program).expect("sound");
        assert_eq!([7, 8, 9].map(|number| program.whatever_arguments(number, 0)), [Some(2), None, Some(1)]);
        let masked = [insn(0x20, 4), insn(0x54, 0xff), is(5, 1), insn(0x06, 1), insn(0x06, 2)];
        assert_eq!(Program::new(&masked).expect("sound").whatever_arguments(0, 0x105), Some(2));
        let computed = [insn(0x20, 0), insn(0x04, 1), RET_A];
        assert_eq!(Program::new(&computed).expect("sound").whatever_arguments(0, 0), None);
    }

    #[test]
    fn unsound_programs_are_refused() {
        let ret = insn(0x06, 0);
        let bad: &[&[Insn]] = &[
            &[],
            &[insn(0x20, 0)],
            &[insn(0x20, 64), ret],
            &[insn(0x20, 2), ret],
            &[insn(0x28, 0), ret],
            &[insn(0x94, 3), ret],
            &[insn(0x34, 0), ret],
            &[insn(0x64, 32), ret],
            &[insn(0x60, 0), ret],
            &[insn(0x02, 16), ret],
            &[insn(0x05, 1), ret],
            &[insn(0x05, u32::MAX), ret],
            &[Insn { code: 0x15, jt: 1, jf: 0, k: 0 }, ret],
            // Written on one of two ways only.
            &[Insn { code: 0x15, jt: 1, jf: 0, k: 0 }, insn(0x02, 0), insn(0x60, 0), ret],
        ];
        for program in bad {
            assert_eq!(Program::new(program).map(|_| ()), Err(Errno::EINVAL), "{program:?}");
        }
        assert!(Program::new(&vec![ret; MAX_INSNS]).is_ok());
        assert!(Program::new(&vec![ret; MAX_INSNS + 1]).is_err());
    }
}
