//! The rules of `pipe(7)` and `fifo(7)`.

use std::sync::Arc;

use abi::Errno;
use abi::flags::{OpenFlags, Ready};

use super::splice::{copy_between, move_between};
use super::{Fifo, FifoTable, Pipe, PipeEnd};
use crate::{BytesDst, BytesSrc, DeviceId, FileOps, IoFlags, IoSrc};

fn write(end: &Arc<PipeEnd>, data: &[u8]) -> Result<usize, Errno> {
    end.write(&mut 0, IoFlags::empty(), &mut BytesSrc::new(data))
}

fn read(end: &Arc<PipeEnd>, max: usize) -> Result<Vec<u8>, Errno> {
    let mut buf = vec![0; max];
    let got = end.read(&mut 0, IoFlags::empty(), &mut BytesDst::new(&mut buf))?;
    buf.truncate(got);
    Ok(buf)
}

#[test]
fn bytes_come_out_in_order() {
    let (reader, writer) = Pipe::pair();
    assert_eq!(read(&reader, 1), Err(Errno::EAGAIN));
    write(&writer, b"hello ").unwrap();
    write(&writer, b"world").unwrap();
    assert_eq!(reader.pipe().readable_bytes(), 11);
    assert_eq!(read(&reader, 4).unwrap(), b"hell");
    assert_eq!(read(&reader, 100).unwrap(), b"o world");
    drop(writer);
    assert_eq!(read(&reader, 1).unwrap(), b"");
    assert_eq!(reader.ready(), Ready::HUP);
}

#[test]
fn capacity_is_counted_in_slots() {
    let (reader, writer) = Pipe::pair();
    assert_eq!(write(&writer, &[1; 100_000]), Ok(65536));
    assert_eq!(write(&writer, b"x"), Err(Errno::EAGAIN));
    assert_eq!(writer.ready(), Ready::empty());
    // Room comes by slots: a byte less doesn't make one.
    read(&reader, 1).unwrap();
    assert_eq!(write(&writer, b"x"), Err(Errno::EAGAIN));
    read(&reader, 4095).unwrap();
    assert_eq!(writer.ready(), Ready::WRITABLE);
    assert_eq!(write(&writer, &[2; 5000]), Ok(4096));
}

#[test]
fn small_writes_share_a_slot_if_they_fit_whole() {
    let (_reader, writer) = Pipe::pair();
    for _ in 0..16 {
        assert_eq!(write(&writer, &[0; 3000]), Ok(3000));
    }
    assert_eq!(write(&writer, &[0; 3000]), Err(Errno::EAGAIN));
    assert_eq!(write(&writer, &[0; 1096]), Ok(1096));
    assert_eq!(write(&writer, &[0; 1]), Err(Errno::EAGAIN));
}

#[test]
fn packets_are_read_one_at_a_time_and_cut() {
    let (reader, writer) = Pipe::pair();
    for data in [b"first".as_slice(), b"second"] {
        writer.write(&mut 0, IoFlags::DIRECT, &mut BytesSrc::new(data)).unwrap();
    }
    assert_eq!(read(&reader, 3).unwrap(), b"fir");
    assert_eq!(read(&reader, 100).unwrap(), b"second");
}

#[test]
fn writing_without_readers_is_a_broken_pipe() {
    let (reader, writer) = Pipe::pair();
    drop(reader);
    assert_eq!(write(&writer, b""), Ok(0));
    assert_eq!(write(&writer, b"x"), Err(Errno::EPIPE));
    assert_eq!(writer.ready(), Ready::WRITABLE | Ready::ERR);
}

#[test]
fn the_capacity_changes_within_limits() {
    let (_reader, writer) = Pipe::pair();
    let pipe = writer.pipe();
    assert_eq!(pipe.set_capacity(5000, false), Ok(8192));
    assert_eq!(write(&writer, &[0; 9000]), Ok(8192));
    assert_eq!(pipe.set_capacity(1, false), Err(Errno::EBUSY));
    assert_eq!(pipe.set_capacity(2 << 20, false), Err(Errno::EPERM));
    assert_eq!(pipe.set_capacity(2 << 20, true), Ok(2 << 20));
    assert_eq!(pipe.set_capacity(u64::from(u32::MAX), true), Err(Errno::EINVAL));
}

#[test]
fn opening_a_fifo_waits_for_the_other_side() {
    let table = FifoTable::default();
    let pipe = table.get(DeviceId::new(0, 1), 7);
    assert_eq!(Fifo::open(&pipe, OpenFlags::WRONLY | OpenFlags::NONBLOCK).err(), Some(Errno::ENXIO));
    let reader = Fifo::open(&pipe, OpenFlags::empty()).unwrap();
    assert!(!reader.ready());
    assert!(Arc::ptr_eq(&pipe, &table.get(DeviceId::new(0, 1), 7)));
    let writer = Fifo::open(&pipe, OpenFlags::WRONLY).unwrap();
    assert!(writer.ready() && reader.ready());
    let (reader, writer) = (reader.into_end(), writer.into_end());
    write(&writer, b"x").unwrap();
    drop(writer);
    assert_eq!(reader.ready(), Ready::READABLE | Ready::HUP);
    let both = Fifo::open(&pipe, OpenFlags::RDWR).unwrap();
    assert!(both.ready());
    drop(reader);
    assert_eq!(read(&both.into_end(), 1).unwrap(), b"x");
}

#[test]
fn a_waiting_opener_that_gives_up_is_gone() {
    let pipe = FifoTable::default().get(DeviceId::new(0, 1), 7);
    drop(Fifo::open(&pipe, OpenFlags::empty()).unwrap());
    assert_eq!(Fifo::open(&pipe, OpenFlags::WRONLY | OpenFlags::NONBLOCK).err(), Some(Errno::ENXIO));
}

#[test]
fn a_reader_that_was_first_sees_no_hang_up_before_a_writer_has_been() {
    let pipe = FifoTable::default().get(DeviceId::new(0, 1), 7);
    let reader = Fifo::open(&pipe, OpenFlags::NONBLOCK).unwrap().into_end();
    assert_eq!(reader.ready(), Ready::empty());
    assert_eq!(read(&reader, 1).unwrap(), b"");
    drop(Fifo::open(&pipe, OpenFlags::WRONLY).unwrap());
    assert_eq!(reader.ready(), Ready::HUP);
}

#[test]
fn pages_move_and_are_copied_between_pipes() {
    let (reader_a, writer_a) = Pipe::pair();
    let (reader_b, writer_b) = Pipe::pair();
    let (a, b) = (writer_a.pipe(), writer_b.pipe());
    assert_eq!(move_between(a, b, 10), Err(Errno::EAGAIN));
    assert_eq!(move_between(a, a, 10), Err(Errno::EINVAL));
    write(&writer_a, b"abcdef").unwrap();
    assert_eq!(copy_between(a, b, 4), Ok(4));
    assert_eq!(move_between(a, b, 3), Ok(3));
    write(&writer_a, b"g").unwrap();
    assert_eq!(read(&reader_b, 100).unwrap(), b"abcdabc");
    assert_eq!(read(&reader_a, 100).unwrap(), b"defg");
    drop(writer_a);
    assert_eq!(move_between(reader_a.pipe(), b, 3), Ok(0));
}

#[test]
fn what_a_file_does_not_take_stays_in_the_pipe() {
    let (reader, writer) = Pipe::pair();
    write(&writer, b"abcdef").unwrap();
    let mut taken = reader.pipe().take(5).unwrap().unwrap();
    let mut buf = [0; 3];
    assert_eq!((taken.take(&mut buf), &buf), (Ok(3), b"abc"));
    taken.untake(1);
    drop(taken);
    assert_eq!(read(&reader, 9).unwrap(), b"cdef");
    let mut staged = writer.pipe().stage(5000).unwrap();
    crate::IoDst::put(&mut staged, &[9; 6000]).unwrap();
    assert_eq!(staged.commit(), Ok(5000));
    assert_eq!(read(&reader, 9000).unwrap().len(), 5000);
}
