use std::collections::BTreeMap;

use super::*;
use crate::table::{ENTRIES, entry, nr};
use crate::{Errno, Restart};

/// Pieces of memory by start address.
#[derive(Default)]
struct Pieces(BTreeMap<u64, Vec<u8>>);

impl Memory for Pieces {
    fn read(&self, addr: UserAddr, buf: &mut [u8]) -> usize {
        let Some((start, piece)) = self.0.range(..=addr.raw()).next_back() else { return 0 };
        let rest = usize::try_from(addr.raw() - start).ok().and_then(|at| piece.get(at..)).unwrap_or_default();
        let len = rest.len().min(buf.len());
        buf[..len].copy_from_slice(&rest[..len]);
        len
    }
}

fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn memory(pieces: &[(u64, &[u8])]) -> Pieces {
    Pieces(pieces.iter().map(|(at, bytes)| (*at, bytes.to_vec())).collect())
}

/// The whole line of a call that ended like this.
fn line(number: u32, args: &[u64], mem: &Pieces, ended: Result<u64, SysError>) -> String {
    let entry = entry(u64::from(number)).unwrap();
    let mut all = [0; 6];
    all[..args.len()].copy_from_slice(args);
    let limits = Limits { bytes: 8, elements: 2 };
    let mut texts = before(entry, &all, mem, limits);
    if let Ok(value) = ended {
        after(entry, &all, value, mem, limits, &mut texts);
    }
    format!("{}({}) = {}", entry.name, texts.join(", "), result(entry, &ended))
}

const CWD: u64 = 0xffff_ff9c;

#[test]
fn a_file_is_opened_and_the_mode_shown_only_where_it_counts() {
    let mem = memory(&[(0x1000, b"/etc/x\0")]);
    assert_eq!(
        line(nr::openat, &[CWD, 0x1000, 0o2_000_000, 0o644], &mem, Ok(3)),
        "openat(AT_FDCWD, \"/etc/x\", O_RDONLY|O_CLOEXEC) = 3"
    );
    assert_eq!(
        line(nr::openat, &[CWD, 0x1000, 0o1101, 0o644], &mem, Err(Errno::EACCES.into())),
        "openat(AT_FDCWD, \"/etc/x\", O_WRONLY|O_CREAT|O_TRUNC, 0644) = -1 EACCES (Permission denied)"
    );
}

#[test]
fn buffers_are_cut_and_show_what_was_read() {
    let mem = memory(&[(0x1000, b"ab\n\x01\x0029\"\\z")]);
    assert_eq!(line(nr::read, &[0, 0x1000, 100], &mem, Ok(3)), "read(0, \"ab\\n\", 100) = 3");
    assert_eq!(line(nr::write, &[1, 0x1000, 10], &mem, Ok(10)), "write(1, \"ab\\n\\1\\00029\\\"\"..., 10) = 10");
    assert_eq!(
        line(nr::read, &[0, 0x1000, 100], &mem, Err(Restart::Sys.into())),
        "read(0, 0x1000, 100) = ? ERESTARTSYS (interrupted)"
    );
    assert_eq!(line(nr::write, &[1, 0x9000, 4], &mem, Ok(4)), "write(1, 0x9000, 4) = 4");
}

#[test]
fn arrays_and_structs_are_shown() {
    let iov = words(&[0x2000, 2, 0x2000, 1, 0x2000, 1]);
    let mem = memory(&[(0x1000, &iov), (0x2000, b"xy")]);
    assert_eq!(
        line(nr::writev, &[1, 0x1000, 3], &mem, Ok(4)),
        "writev(1, [{iov_base=\"xy\", iov_len=2}, {iov_base=\"x\", iov_len=1}, ...], 3) = 4"
    );
    let mem = memory(&[(0x1000, &words(&[1, 5]))]);
    assert_eq!(
        line(nr::clock_nanosleep, &[1, 1, 0x1000, 0], &mem, Ok(0)),
        "clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, {tv_sec=1, tv_nsec=5}, NULL) = 0"
    );
    let mem = memory(&[(0x1000, &words(&[1 << 1, 0]))]);
    assert_eq!(
        line(nr::rt_sigprocmask, &[0, 0x1000, 0, 8], &mem, Ok(0)),
        "rt_sigprocmask(SIG_BLOCK, [INT], NULL, 8) = 0"
    );
}

#[test]
fn words_are_named_as_in_strace() {
    let mem = Pieces::default();
    assert_eq!(
        line(nr::mmap, &[0, 4096, 3, 0x22, 0xffff_ffff, 0], &mem, Ok(0x7f00_0000_0000)),
        "mmap(NULL, 4096, PROT_READ|PROT_WRITE, MAP_PRIVATE|MAP_ANONYMOUS, -1, 0) = 0x7f0000000000"
    );
    assert_eq!(line(nr::clone, &[0x11, 0, 0, 0, 0], &mem, Ok(7)), "clone(SIGCHLD, NULL, NULL, NULL, 0) = 7");
    assert_eq!(line(nr::kill, &[7, 15], &mem, Ok(0)), "kill(7, SIGTERM) = 0");
    assert_eq!(line(nr::futex, &[0x1000, 129, 1, 0, 0, 0], &mem, Ok(0)).split(", ").nth(1), Some("FUTEX_WAKE_PRIVATE"));
    assert_eq!(line(nr::socket, &[1, 0o2_000_001, 0], &mem, Ok(3)), "socket(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC, 0) = 3");
    assert_eq!(super::words::flags("prot", 0), "PROT_NONE");
    assert_eq!(super::words::flags("at", 0x1_0100), "AT_SYMLINK_NOFOLLOW|0x10000");
}

#[test]
fn socket_addresses_are_shown() {
    let mem = memory(&[(0x1000, &[2, 0, 0, 80, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0])]);
    assert_eq!(
        line(nr::connect, &[3, 0x1000, 16], &mem, Ok(0)),
        "connect(3, {sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr(\"127.0.0.1\")}, 16) = 0"
    );
    let mem = memory(&[(0x1000, b"\x01\x00/s\0")]);
    assert_eq!(line(nr::bind, &[3, 0x1000, 5], &mem, Ok(0)), "bind(3, {sa_family=AF_UNIX, sun_path=\"/s\"}, 5) = 0");
}

#[test]
fn every_call_survives_every_argument() {
    let page = vec![0xff; 4096];
    let mem = memory(&[(0x1000, &page)]);
    for entry in &ENTRIES {
        for value in [0, 1, 0x1000, 0x1ff8, u64::MAX, 1 << 63, 0x7fff_ffff, 0xffff_fffe] {
            let args = [value; 6];
            let mut texts = before(entry, &args, &mem, Limits::default());
            after(entry, &args, value, &mem, Limits::default(), &mut texts);
            assert!(texts.iter().all(|text| text.len() < 20_000), "{}", entry.name);
        }
    }
}
