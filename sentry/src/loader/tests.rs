//! Programs from memory: what is refused how, where things come to lie, and that no header makes the loader panic.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use abi::Errno;
use abi::flags::Prot;
use proptest::prelude::*;
use sentry_fs::{DeviceId, MapSource};
use sentry_platform::MemOp;

use super::*;
use crate::mm::TASK_SIZE;

struct MemFile(Vec<u8>);

impl Executable for MemFile {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize, Errno> {
        let rest = usize::try_from(offset).ok().and_then(|offset| self.0.get(offset..)).unwrap_or_default();
        let count = rest.len().min(buf.len());
        buf[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn map(&self) -> Result<MapSource, Errno> {
        let file = std::fs::File::open("/dev/null").map_err(Errno::from)?;
        Ok(MapSource::Host { file: Arc::new(file.into()), offset: 0 })
    }

    fn mapped(&self) -> Arc<dyn MappedFile> {
        Arc::new(Identity1)
    }
}

struct Identity1;

impl MappedFile for Identity1 {
    fn description(&self) -> u64 {
        1
    }

    fn device(&self) -> DeviceId {
        DeviceId::default()
    }

    fn inode(&self) -> u64 {
        1
    }

    fn path(&self) -> Vec<u8> {
        b"/program".to_vec()
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync) {
        self
    }
}

#[derive(Default)]
struct Files(HashMap<Vec<u8>, Vec<u8>>);

impl Opener for Files {
    fn open_exec(&self, path: &[u8]) -> Result<Arc<dyn Executable>, Errno> {
        let bytes = self.0.get(path).ok_or(Errno::ENOENT)?;
        Ok(Arc::new(MemFile(bytes.clone())))
    }
}

fn word(bytes: &mut Vec<u8>, words: &[(u64, usize)]) {
    for (value, size) in words {
        bytes.extend_from_slice(&value.to_le_bytes()[..*size]);
    }
}

/// One program header: type, flags, offset, address, file size, memory size.
type Part = (u64, u64, u64, u64, u64, u64);

fn elf(kind: u64, parts: &[Part], tail: &[u8]) -> Vec<u8> {
    let mut bytes = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let count = parts.len() as u64;
    let header = [(kind, 2), (62, 2), (1, 4), (0x40_1000, 8), (64, 8), (0, 8), (0, 4), (64, 2), (56, 2), (count, 2)];
    word(&mut bytes, &header);
    word(&mut bytes, &[(0, 6)]);
    for (kind, flags, offset, addr, file, memory) in parts {
        let fields =
            [(*kind, 4), (*flags, 4), (*offset, 8), (*addr, 8), (*addr, 8), (*file, 8), (*memory, 8), (4096, 8)];
        word(&mut bytes, &fields);
    }
    bytes.extend_from_slice(tail);
    bytes
}

/// Text and data of a small program at a fixed address.
const PARTS: [Part; 2] = [(1, 5, 0, 0x40_0000, 0x1234, 0x1234), (1, 6, 0x1234, 0x40_2234, 0x100, 0x3000)];

fn load(file: Vec<u8>, files: &Files, args: &[&str]) -> Result<Image, LoadError> {
    let args = Args { argv: args.iter().map(|arg| arg.as_bytes().to_vec()).collect(), envp: vec![b"A=b".to_vec()] };
    plan(LoadRequest {
        file: Arc::new(MemFile(file)),
        file_name: b"./program",
        name_vanishes: false,
        args,
        opener: files,
        limits: Limits::default(),
        user: 0x1_0000..TASK_SIZE - (1 << 32),
        entropy: None,
        identity: Identity::default(),
        machine: MachineInfo::default(),
    })
}

fn refusal(file: Vec<u8>) -> Option<LoadError> {
    load(file, &Files::default(), &["p"]).err()
}

/// Returns the words from the stack pointer on.
fn stack_words(image: &Image) -> Vec<u64> {
    let (addr, bytes) = image.writes.last().expect("the stack is written");
    assert_eq!(*addr, image.sp);
    bytes.chunks_exact(8).map(|word| u64::from_le_bytes(word.try_into().unwrap())).collect()
}

fn string_at(image: &Image, addr: u64) -> String {
    let (start, bytes) = image.writes.last().unwrap();
    let text = &bytes[usize::try_from(addr - start).unwrap()..];
    let end = text.iter().position(|byte| *byte == 0).unwrap();
    String::from_utf8(text[..end].to_vec()).unwrap()
}

#[test]
fn a_fixed_program_lies_where_it_says() {
    let image = load(elf(2, &PARTS, &[]), &Files::default(), &["p", "x"]).ok().unwrap();
    assert_eq!(image.entry, 0x40_1000);
    let tree = image.books.tree();
    let text = tree.get(0x40_1000).unwrap();
    assert_eq!((text.start, text.end, text.prot.bits()), (0x40_0000, 0x40_2000, 5));
    let data = tree.get(0x40_2234).unwrap();
    assert_eq!((data.start, data.end, data.backing.offset()), (0x40_2000, 0x40_3000, 0x1000));
    let bss = tree.get(0x40_3000).unwrap();
    assert_eq!((bss.end, bss.prot.bits()), (0x40_6000, 3));
    // The end of the data's last page is cleared.
    assert!(image.writes.iter().any(|(at, bytes)| *at == 0x40_2334 && bytes.len() == 0x40_3000 - 0x40_2334));
    assert_eq!(image.books.heap().start, 0x40_6000);
}

#[test]
fn the_stack_is_laid_out_as_the_abi_says() {
    let image = load(elf(2, &PARTS, &[]), &Files::default(), &["p", "two"]).ok().unwrap();
    assert_eq!(image.sp % 16, 0);
    let words = stack_words(&image);
    assert_eq!(words[0], 2);
    assert_eq!(string_at(&image, words[1]), "p");
    assert_eq!(string_at(&image, words[2]), "two");
    assert_eq!((words[3], words[5]), (0, 0));
    assert_eq!(string_at(&image, words[4]), "A=b");
    let auxv: HashMap<u64, u64> =
        words[6..].chunks(2).map_while(|pair| (pair[0] != 0).then_some((pair[0], pair[1]))).collect();
    assert_eq!(auxv[&3], 0x40_0040);
    assert_eq!((auxv[&5], auxv[&6], auxv[&9]), (2, 4096, 0x40_1000));
    assert_eq!(string_at(&image, auxv[&31]), "./program");
    assert_eq!(string_at(&image, auxv[&15]), "x86_64");
    assert!(!auxv.contains_key(&33));
}

#[test]
fn an_interpreter_starts_first() {
    let mut parts = vec![(3, 4, 64 + 3 * 56, 0, 6, 6)];
    parts.extend(
        PARTS.map(|(kind, flags, offset, addr, file, memory)| (kind, flags, offset, addr - 0x40_0000, file, memory)),
    );
    let program = elf(3, &parts, b"/ldso\0");
    assert_eq!(refusal(program.clone()), Some(LoadError::Refused(Errno::ENOENT)));
    let mut files = Files::default();
    files.0.insert(b"/ldso".to_vec(), b"short".to_vec());
    assert_eq!(load(program.clone(), &files, &["p"]).err(), Some(LoadError::Refused(Errno::EIO)));
    files.0.insert(b"/ldso".to_vec(), vec![0; 4096]);
    assert_eq!(load(program.clone(), &files, &["p"]).err(), Some(LoadError::Refused(Errno::ELIBBAD)));
    let interpreter =
        PARTS.map(|(kind, flags, offset, addr, file, memory)| (kind, flags, offset, addr - 0x40_0000, file, memory));
    files.0.insert(b"/ldso".to_vec(), elf(3, &interpreter, &[]));
    let image = load(program, &files, &["p"]).ok().unwrap();
    // Both lie apart, and the interpreter's entry is the one taken.
    assert!(image.entry > image.books.heap().start);
}

#[test]
fn what_is_no_program_is_refused() {
    assert_eq!(refusal(Vec::new()), Some(LoadError::Refused(Errno::ENOEXEC)));
    assert_eq!(refusal(b"\x7fELF".to_vec()), Some(LoadError::Refused(Errno::ENOEXEC)));
    assert_eq!(refusal(elf(1, &PARTS, &[])), Some(LoadError::Refused(Errno::ENOEXEC)));
    assert_eq!(refusal(elf(2, &[], &[])), Some(LoadError::Refused(Errno::ENOEXEC)));
    let no_load = [(4, 4, 0, 0x40_0000, 8, 8)];
    assert_eq!(refusal(elf(2, &no_load, &[])), Some(LoadError::Fatal(Errno::EINVAL)));
    let backwards = [(1, 5, 0, 0x40_0000, 0x2000, 0x1000)];
    assert_eq!(refusal(elf(2, &backwards, &[])), Some(LoadError::Fatal(Errno::EINVAL)));
    let skewed = [(1, 5, 0x10, 0x40_0000, 0x1000, 0x1000)];
    assert_eq!(refusal(elf(2, &skewed, &[])), Some(LoadError::Fatal(Errno::EINVAL)));
    let unterminated = [(3, 4, 64 + 56, 0, 4, 4)];
    assert_eq!(refusal(elf(2, &unterminated, b"/lib")), Some(LoadError::Refused(Errno::ENOEXEC)));
}

#[test]
fn scripts_name_their_interpreters() {
    let mut files = Files::default();
    files.0.insert(b"/bin/sh".to_vec(), elf(2, &PARTS, &[]));
    files.0.insert(b"/a".to_vec(), b"#!/bin/sh -e x\n".to_vec());
    let image = load(b"#! /a\n".to_vec(), &files, &["script", "one"]).ok().unwrap();
    let words = stack_words(&image);
    let argv: Vec<String> = (1..=5).map(|at| string_at(&image, words[at])).collect();
    assert_eq!((words[0], argv), (5, ["/bin/sh", "-e x", "/a", "./program", "one"].map(str::to_owned).to_vec()));
    assert_eq!(load(b"#!/none\n".to_vec(), &files, &["s"]).err(), Some(LoadError::Refused(Errno::ENOENT)));
    files.0.insert(b"/loop".to_vec(), b"#!/loop\n".to_vec());
    assert_eq!(load(b"#!/loop\n".to_vec(), &files, &["s"]).err(), Some(LoadError::Refused(Errno::ELOOP)));
}

#[test]
fn too_many_arguments_are_refused() {
    let long = "x".repeat(MAX_ARG_STRLEN);
    let error = load(elf(2, &PARTS, &[]), &Files::default(), &["p", &long]).err();
    assert_eq!(error, Some(LoadError::Refused(Errno::E2BIG)));
    let half = "x".repeat(MAX_ARG_STRLEN / 2);
    let many = vec![half.as_str(); 40];
    assert_eq!(load(elf(2, &PARTS, &[]), &Files::default(), &many).err(), Some(LoadError::Refused(Errno::E2BIG)));
}

proptest! {
    #[test]
    fn no_header_makes_the_loader_panic(
        kind in 2..4u64,
        parts in proptest::collection::vec(
            (
                prop::sample::select(vec![1u64, 1, 1, 3, 6, 0x6474_e551]),
                0..8u64,
                prop_oneof![0..0x4000u64, any::<u64>()],
                prop_oneof![0..0x80_0000u64, any::<u64>()],
                prop_oneof![0..0x4000u64, any::<u64>()],
                prop_oneof![0..0x8000u64, any::<u64>()],
            ),
            1..5,
        ),
        flips in proptest::collection::vec((0..400usize, any::<u8>()), 0..6),
        random in any::<u64>(),
    ) {
        let mut file = elf(kind, &parts, b"/ldso\0");
        for (at, value) in flips {
            if let Some(byte) = file.get_mut(at) {
                *byte = value;
            }
        }
        let mut files = Files::default();
        files.0.insert(b"/ldso".to_vec(), file.clone());
        let request = LoadRequest {
            file: Arc::new(MemFile(file)),
            file_name: b"p",
            name_vanishes: false,
            args: Args { argv: vec![b"p".to_vec()], envp: Vec::new() },
            opener: &files,
            limits: Limits::default(),
            user: 0x1_0000..TASK_SIZE - (1 << 32),
            entropy: Some(Entropy { stack: random, mmap: random >> 7, brk: random, pie: random >> 3, stack_align: random }),
            identity: Identity::default(),
            machine: MachineInfo::default(),
        };
        if let Ok(image) = plan(request) {
            let size: usize = image.writes.iter().map(|(_, bytes)| bytes.len()).sum();
            prop_assert!(size < 1 << 20);
            for op in &image.ops {
                if let MemOp::MapAnonymous { addr, len, .. } | MemOp::MapFile { addr, len, .. } = op {
                    prop_assert!(*addr >= 0x1_0000 && addr + len <= TASK_SIZE - (1 << 32));
                }
            }
        }
    }
}

#[test]
fn parts_of_a_file_that_follow_each_other_are_mapped_at_once() {
    let file: Arc<std::os::fd::OwnedFd> = Arc::new(std::fs::File::open("/dev/null").unwrap().into());
    let map = |addr, len, prot, offset| MemOp::MapFile { addr, len, prot, flags: 2, file: Arc::clone(&file), offset };
    let (read, text) = (Prot::READ, Prot::READ | Prot::EXEC);
    let ops = vec![
        map(0x1000, 0x1000, read, 0),
        map(0x2000, 0x3000, text, 0x1000),
        map(0x5000, 0x1000, read, 0x4000),
        map(0x7000, 0x1000, read, 0x5000),
        map(0x8000, 0x1000, read, 0x7000),
    ];
    let shape: Vec<_> = image::joined(ops)
        .into_iter()
        .map(|op| match op {
            MemOp::MapFile { addr, len, offset, .. } => (addr, len, Some(offset)),
            MemOp::Protect { addr, len, .. } => (addr, len, None),
            _ => (0, 0, None),
        })
        .collect();
    let expected = [
        (0x1000, 0x5000, Some(0)),
        (0x2000, 0x3000, None),
        (0x5000, 0x1000, None),
        (0x7000, 0x1000, Some(0x5000)),
        (0x8000, 0x1000, Some(0x7000)),
    ];
    assert_eq!(shape, expected);
}
