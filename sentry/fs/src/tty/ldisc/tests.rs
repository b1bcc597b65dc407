//! What typing does, compared with what Linux was seen to do.

use abi::Errno;
use abi::signal::Signal;

use super::{Effects, LineDiscipline};
use crate::BytesDst;
use crate::tty::termios::{Iflag, Lflag, Oflag, cc};

fn typed(tty: &mut LineDiscipline, bytes: &[u8]) -> Effects {
    let mut effects = Effects::default();
    for byte in bytes {
        tty.receive(*byte, &mut effects);
    }
    effects
}

fn read(tty: &mut LineDiscipline, max: usize) -> Result<Vec<u8>, Errno> {
    let mut buf = vec![0; max];
    let got = tty.read(&mut BytesDst::new(&mut buf), false, false)?;
    buf.truncate(got);
    Ok(buf)
}

fn screen(tty: &mut LineDiscipline) -> Vec<u8> {
    tty.output.drain(..).collect()
}

fn raw(min: u8, time: u8) -> LineDiscipline {
    let mut tty = LineDiscipline::new();
    let mut termios = tty.termios;
    termios.lflag.remove(Lflag::ICANON | Lflag::ECHO | Lflag::ISIG);
    termios.cc[cc::MIN] = min;
    termios.cc[cc::TIME] = time;
    tty.set_termios(termios);
    tty
}

#[test]
fn a_line_is_read_when_it_is_complete() {
    let mut tty = LineDiscipline::new();
    typed(&mut tty, b"ab");
    assert_eq!(read(&mut tty, 9), Err(Errno::EAGAIN));
    typed(&mut tty, b"c\rnext\n");
    assert_eq!((tty.readable(), tty.poll_readable()), (9, true));
    assert_eq!(read(&mut tty, 2).unwrap(), b"ab");
    assert_eq!(read(&mut tty, 9).unwrap(), b"c\n");
    assert_eq!(read(&mut tty, 9).unwrap(), b"next\n");
    assert_eq!(screen(&mut tty), b"abc\r\nnext\r\n");
}

#[test]
fn characters_words_and_lines_are_erased() {
    let mut tty = LineDiscipline::new();
    typed(&mut tty, b"ab\x7f");
    assert_eq!(screen(&mut tty), b"ab\x08 \x08");
    typed(&mut tty, b" foo bar\x17");
    assert_eq!(screen(&mut tty), b" foo bar\x08 \x08\x08 \x08\x08 \x08");
    typed(&mut tty, b"\x01\x7f");
    assert_eq!(screen(&mut tty), b"^A\x08 \x08\x08 \x08");
    typed(&mut tty, b"\x15");
    assert_eq!(screen(&mut tty).len(), 3 * 6);
    typed(&mut tty, b"\x7fz\n");
    assert_eq!(read(&mut tty, 9).unwrap(), b"z\n");
}

#[test]
fn a_tab_is_erased_to_where_it_began() {
    let mut tty = LineDiscipline::new();
    tty.write(b"$ ");
    typed(&mut tty, b"a\t\x7f");
    assert_eq!(screen(&mut tty), b"$ a\t\x08\x08\x08\x08\x08");
}

#[test]
fn utf8_characters_go_as_a_whole() {
    let mut tty = LineDiscipline::new();
    tty.termios.iflag.insert(Iflag::IUTF8);
    typed(&mut tty, "aé\u{7f}b\n".as_bytes());
    assert_eq!(read(&mut tty, 9).unwrap(), b"ab\n");
}

#[test]
fn end_of_file_ends_a_read_without_being_seen() {
    let mut tty = LineDiscipline::new();
    typed(&mut tty, b"ab\x04\x04");
    assert_eq!(read(&mut tty, 2).unwrap(), b"ab");
    assert_eq!(read(&mut tty, 9).unwrap(), b"");
    assert_eq!(read(&mut tty, 9), Err(Errno::EAGAIN));
}

#[test]
fn signal_characters_flush_and_signal() {
    let mut tty = LineDiscipline::new();
    let effects = typed(&mut tty, b"abc\x03\x1c\x1a");
    assert_eq!(effects.signals, [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGTSTP]);
    assert_eq!(screen(&mut tty), b"^Z");
    typed(&mut tty, b"\n");
    assert_eq!(read(&mut tty, 9).unwrap(), b"\n");
    tty.termios.lflag.insert(Lflag::NOFLSH);
    typed(&mut tty, b"abc\x03\n");
    assert_eq!(read(&mut tty, 9).unwrap(), b"abc\n");
}

#[test]
fn the_next_character_is_literal_after_lnext() {
    let mut tty = LineDiscipline::new();
    let effects = typed(&mut tty, b"\x16\x03\n");
    assert_eq!(effects.signals, []);
    assert_eq!(screen(&mut tty), b"^\x08^C\r\n");
    assert_eq!(read(&mut tty, 9).unwrap(), b"\x03\n");
}

#[test]
fn flow_control_stops_the_echo_too() {
    let mut tty = LineDiscipline::new();
    assert_eq!(typed(&mut tty, b"\x13ab").stopped, Some(true));
    assert!(tty.is_stopped() && screen(&mut tty).is_empty());
    assert_eq!(typed(&mut tty, b"\x11").stopped, Some(false));
    assert_eq!(screen(&mut tty), b"ab");
}

#[test]
fn the_line_is_reprinted() {
    let mut tty = LineDiscipline::new();
    typed(&mut tty, b"ab\x12");
    assert_eq!(screen(&mut tty), b"ab^R\r\nab");
}

#[test]
fn output_is_processed() {
    let mut tty = LineDiscipline::new();
    tty.write(b"a\tb\n");
    assert_eq!(screen(&mut tty), b"a\tb\r\n");
    tty.termios.oflag.insert(Oflag::XTABS);
    tty.write(b"a\tb\r");
    assert_eq!(screen(&mut tty), b"a       b\r");
    tty.termios.oflag = Oflag::empty();
    tty.write(b"a\n");
    assert_eq!(screen(&mut tty), b"a\n");
}

#[test]
fn raw_reads_obey_min_and_time() {
    let mut tty = raw(0, 0);
    assert_eq!(read(&mut tty, 9).unwrap(), b"");
    let mut tty = raw(3, 0);
    typed(&mut tty, b"ab");
    assert_eq!((read(&mut tty, 9), tty.poll_readable()), (Err(Errno::EAGAIN), false));
    assert_eq!(read(&mut tty, 1).unwrap(), b"a");
    typed(&mut tty, b"cd");
    assert_eq!(read(&mut tty, 9).unwrap(), b"bcd");
    let mut tty = raw(3, 2);
    assert_eq!(tty.read_timeout(), None);
    typed(&mut tty, b"a");
    assert_eq!((tty.read_timeout(), tty.poll_readable()), (Some(2), true));
    let mut buf = [0; 9];
    assert_eq!(tty.read(&mut BytesDst::new(&mut buf), false, true), Ok(1));
    let mut tty = raw(0, 2);
    assert_eq!(read(&mut tty, 9), Err(Errno::EAGAIN));
    assert_eq!(tty.read(&mut BytesDst::new(&mut buf), false, true), Ok(0));
}

#[test]
fn a_line_too_long_loses_its_middle_not_its_end() {
    let mut tty = LineDiscipline::new();
    typed(&mut tty, &[b'x'; 5000]);
    assert!(tty.has_room());
    typed(&mut tty, b"\n");
    let line = read(&mut tty, 9000).unwrap();
    assert_eq!((line.len(), line.last()), (4096, Some(&b'\n')));
    let mut tty = raw(1, 0);
    typed(&mut tty, &[b'x'; 4095]);
    assert!(!tty.has_room());
}

#[test]
fn what_was_typed_survives_a_change_of_mode() {
    let mut tty = raw(1, 0);
    typed(&mut tty, b"ab");
    let mut termios = tty.termios;
    termios.lflag.insert(Lflag::ICANON);
    tty.set_termios(termios);
    assert_eq!(read(&mut tty, 9).unwrap(), b"ab");
}
