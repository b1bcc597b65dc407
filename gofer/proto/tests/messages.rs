//! Every message survives its trip; what is no message is refused without harm.

use abi::Errno;
use abi::time::Timespec;
use gofer_proto::{
    Access, DirItem, Entry, Handle, Hello, MAX_MESSAGE, MountInfo, Names, NewNode, Op, Reply, Request, SetNode,
    SocketKind, TimeSet, Walked, WireAttr, WireStatfs, Writer,
};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

fn handle() -> impl Strategy<Value = Handle> {
    (1..=u64::MAX).prop_map(Handle)
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..=255)
}

/// A name that could stand in a directory.
fn entry_name() -> impl Strategy<Value = Vec<u8>> {
    vec(prop_oneof![b'a'..=b'z', Just(b'.'), Just(0xff)], 3..=255)
        .prop_filter("not special", |name| gofer_proto::check_name(name).is_ok())
}

fn time() -> impl Strategy<Value = Timespec> {
    (any::<i64>(), 0..1_000_000_000i64).prop_map(|(sec, nsec)| Timespec { sec, nsec })
}

fn time_set() -> impl Strategy<Value = TimeSet> {
    prop_oneof![Just(TimeSet::Now), time().prop_map(TimeSet::At)]
}

fn new_node() -> impl Strategy<Value = NewNode> {
    (0..=0o177_777u32, any::<u32>(), any::<u32>(), any::<u64>()).prop_map(|(mode, uid, gid, rdev)| NewNode {
        mode,
        uid,
        gid,
        reserved: 0,
        rdev,
    })
}

fn set_node() -> impl Strategy<Value = SetNode> {
    let ids = (option::of(any::<u32>()), option::of(any::<u32>()));
    let rest = (option::of(0..=0o7777u32), option::of(any::<u64>()));
    (ids, rest, option::of(time_set()), option::of(time_set()))
        .prop_map(|((uid, gid), (perm, size), atime, mtime)| SetNode { perm, uid, gid, size, atime, mtime })
}

fn attr() -> impl Strategy<Value = WireAttr> {
    let numbers = (any::<[u64; 6]>(), 0o10_000..=0o177_777u32, any::<[u32; 3]>());
    (numbers, time(), time(), time(), time(), 0..=1u64).prop_map(
        |((a, mode, b), atime, mtime, ctime, btime, has_btime)| WireAttr {
            dev: a[0],
            ino: a[1],
            nlink: a[2],
            size: a[3],
            blocks: a[4],
            rdev: a[5],
            mode,
            uid: b[0],
            gid: b[1],
            blksize: b[2],
            atime,
            mtime,
            ctime,
            btime,
            has_btime,
        },
    )
}

fn entry() -> impl Strategy<Value = Entry> {
    (handle(), attr()).prop_map(|(handle, attr)| Entry { handle, attr })
}

fn errno() -> impl Strategy<Value = Errno> {
    (1..=133i32).prop_map(Errno::from_raw)
}

fn encoded(request: &Request<'_>, id: u32) -> Vec<u8> {
    let mut out = Writer::new();
    request.encode(id, &mut out);
    out.finish().unwrap().to_vec()
}

/// Makes one of every kind of request from the same ingredients.
fn requests<'a>(
    handles: [Handle; 2],
    names: &'a [Vec<u8>],
    value: &'a [u8],
    new: NewNode,
    set: SetNode,
    number: u32,
    counts: &[(Handle, u64)],
) -> Vec<Request<'a>> {
    let [node, dir] = handles;
    let (name, other) = (names[0].as_slice(), names[1].as_slice());
    vec![
        Request::Hello { version: number },
        Request::Walk { from: dir, names: Names(names.iter().map(Vec::as_slice).collect()) },
        Request::Children { dir, names: Names(names.iter().map(Vec::as_slice).collect()) },
        Request::GetAttr { node },
        Request::SetAttr { node, set },
        Request::Open { node, access: Access::READ },
        Request::Open { node, access: Access::READ | Access::WRITE },
        Request::Create { dir, name, new },
        Request::Mkdir { dir, name, new },
        Request::Symlink { dir, name, target: &value[..value.len().min(4096)], new },
        Request::Mknod { dir, name, new },
        Request::Link { node, dir, name },
        Request::Unlink { dir, name },
        Request::Rmdir { dir, name },
        Request::Rename { dir, name, new_dir: node, new_name: other, flags: number },
        Request::Readlink { node },
        Request::ReadDir { node, cookie: u64::from(number) },
        Request::StatFs { node },
        Request::GetXattr { node, name },
        Request::SetXattr { node, name, value, flags: number },
        Request::RemoveXattr { node, name },
        Request::ListXattr { node },
        Request::Sync { node },
        Request::MemoryFile,
        Request::SyncFs { node },
        Request::Tmpfile { dir, new },
        Request::Connect { node, kind: SocketKind::Seqpacket },
        Request::Bind { dir, name, new, kind: SocketKind::Dgram },
        Request::SendTo { node, data: value },
        Request::Forget { handles: counts.to_vec() },
    ]
}

fn replies<'a>(
    entries: &[Entry],
    names: &'a [Vec<u8>],
    value: &'a [u8],
    errno: Errno,
    number: u64,
) -> Vec<(Op, Reply<'a>)> {
    let entry = entries[0];
    let mounts = entries.iter().map(|root| MountInfo { id: 3, readonly: number & 1 == 0, root: *root }).collect();
    let items = names.iter().map(|name| DirItem { ino: number, kind: 8, name }).collect();
    let walked = Walked { entries: entries.to_vec(), stopped: Some(errno) };
    vec![
        (Op::Walk, Reply::Error(errno)),
        (Op::Hello, Reply::Hello(Hello { version: 1, mounts })),
        (Op::Walk, Reply::Walked(walked.clone())),
        (Op::Children, Reply::Walked(walked)),
        (Op::GetAttr, Reply::Attr(entry.attr)),
        (Op::SetAttr, Reply::Attr(entry.attr)),
        (Op::Open, Reply::Done),
        (Op::Create, Reply::Entry(entry)),
        (Op::Link, Reply::Attr(entry.attr)),
        (Op::Rename, Reply::Changed([entry.handle, Handle::default()])),
        (Op::Readlink, Reply::Bytes(value)),
        (Op::ReadDir, Reply::Dir { items, next: number }),
        (Op::StatFs, Reply::StatFs(WireStatfs::default())),
        (Op::Sync, Reply::Done),
        (Op::MemoryFile, Reply::Done),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn requests_survive_their_trip(
        handles in [handle(), handle()],
        names in vec(name(), 2..64),
        value in vec(any::<u8>(), 0..65536),
        new in new_node(),
        set in set_node(),
        number in any::<u32>(),
        counts in vec((handle(), any::<u64>()), 0..1024),
    ) {
        for request in requests(handles, &names, &value, new, set, number, &counts) {
            let bytes = encoded(&request, number);
            let (id, decoded) = Request::decode(&bytes).unwrap();
            prop_assert_eq!((id, &decoded), (number, &request));
            // A byte less or more is no message; neither is any shorter beginning.
            let mut longer = bytes.clone();
            longer.push(0);
            prop_assert!(Request::decode(&longer).is_err());
            for len in [0, 1, 7, 8, bytes.len() / 2, bytes.len() - 1] {
                prop_assert!(Request::decode(&bytes[..len.min(bytes.len() - 1)]).is_err());
            }
        }
    }

    #[test]
    fn replies_survive_their_trip(
        entries in vec(entry(), 1..64),
        names in vec(entry_name(), 0..100),
        value in vec(any::<u8>(), 0..65536),
        errno in errno(),
        number in any::<u64>(),
    ) {
        for (op, reply) in replies(&entries, &names, &value, errno, number) {
            let mut out = Writer::new();
            reply.encode(9, &mut out);
            let bytes = out.finish().unwrap();
            prop_assert_eq!(Reply::decode(op, bytes).unwrap(), (9, reply));
            prop_assert!(Reply::decode(op, &bytes[..bytes.len() - 1]).is_err());
            prop_assert!(Reply::decode(op, &[bytes, &[0]].concat()).is_err());
        }
    }

    #[test]
    fn garbage_does_no_harm(mut bytes in vec(any::<u8>(), 0..512), op in 0..=30u8) {
        // Half of the time with a message number that exists, so that the body is read at all.
        let _ = Request::decode(&bytes);
        if bytes.len() >= 4 {
            bytes[..4].copy_from_slice(&[op, 0, 0, 0]);
        }
        let _ = Request::decode(&bytes);
        for op in Op::ALL {
            let _ = Reply::decode(op, &bytes);
            if bytes.len() >= 8 {
                bytes[4..8].fill(0);
            }
            let _ = Reply::decode(op, &bytes);
        }
    }

    #[test]
    fn changed_messages_do_no_harm(
        handles in [handle(), handle()],
        names in vec(name(), 2..8),
        set in set_node(),
        places in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let counts = [(handles[0], 1)];
        for request in requests(handles, &names, b"value", NewNode::default(), set, 1, &counts) {
            let mut bytes = encoded(&request, 1);
            for (place, value) in &places {
                let at = place.index(bytes.len());
                bytes[at] = *value;
            }
            let _ = Request::decode(&bytes);
        }
    }
}

#[test]
fn a_message_that_is_too_long_is_not_made() {
    let value = vec![0; MAX_MESSAGE];
    let mut out = Writer::new();
    Request::SetXattr { node: Handle(1), name: b"user.a", value: &value, flags: 0 }.encode(1, &mut out);
    assert!(out.finish().is_err());
    out.clear();
    Request::SyncFs { node: Handle(1) }.encode(1, &mut out);
    assert!(out.finish().is_ok());
}

#[test]
fn lists_that_are_too_long_are_refused() {
    let name = b"a".as_slice();
    let walk = Request::Walk { from: Handle(1), names: Names(vec![name; gofer_proto::MAX_WALK + 1]) };
    assert!(Request::decode(&encoded(&walk, 1)).is_err());
    let forget = Request::Forget { handles: vec![(Handle(1), 1); gofer_proto::MAX_FORGET + 1] };
    assert!(Request::decode(&encoded(&forget, 1)).is_err());
    // A count that promises more than the message could hold takes no memory.
    let mut bytes = encoded(&Request::Forget { handles: Vec::new() }, 1);
    bytes[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(Request::decode(&bytes).is_err());
}
