//! `msgget`, `msgsnd`, `msgrcv`, `msgctl`.

use abi::{Errno, SysError, UserAddr, UserRef};
use sentry::ipc::msg::{self, MSGMAX, MSGMNB, MSGMNI, Message, Selection};
use sentry::ipc::{GetFlags, RawPerm};
use sentry::{Current, Outcome};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::sysv_sem::{as_int, cmd};

const IPC_NOWAIT: u32 = 0o4000;
const MSG_NOERROR: u32 = 0o10000;
const MSG_EXCEPT: u32 = 0o20000;
const MSG_COPY: u32 = 0o40000;
const MSG_STAT: i32 = 11;
const MSG_INFO: i32 = 12;
const MSG_STAT_ANY: i32 = 13;
/// Bytes of the type in front of a message.
const TYPE_SIZE: u64 = 8;

/// `struct msqid64_ds` of x86-64.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct MsqidDs {
    perm: RawPerm,
    stime: i64,
    rtime: i64,
    ctime: i64,
    cbytes: u64,
    qnum: u64,
    qbytes: u64,
    lspid: i32,
    lrpid: i32,
    unused: [u64; 2],
}

/// `struct msginfo`.
#[derive(Clone, Copy, Debug, Default, FromBytes, IntoBytes, Immutable, KnownLayout)]
#[repr(C)]
struct MsgInfo {
    pool: i32,
    map: i32,
    max: i32,
    mnb: i32,
    mni: i32,
    ssz: i32,
    tql: i32,
    seg: u16,
    pad: u16,
}

/// Serves `msgget(2)`.
pub fn msgget(cur: &mut Current, key: i32, flags: u32) -> Result<u64, Errno> {
    let id = cur.kernel().ipc.msgs.open(&cur.task.cred.load(), key, GetFlags(flags))?;
    Ok(u64::from(id.unsigned_abs()))
}

/// Serves `msgsnd(2)`.
pub fn msgsnd(cur: &mut Current, msqid: i32, msgp: UserAddr, size: usize, flags: u32) -> Outcome<'_> {
    Outcome::block(async move {
        let kind: i64 = cur.mem.read(UserRef::new(msgp))?;
        if size > MSGMAX || msqid < 0 || kind < 1 {
            return Err(Errno::EINVAL.into());
        }
        let data = cur.mem.read_array::<u8>(UserRef::new(msgp.wrapping_add(TYPE_SIZE)), size)?;
        let message = Message { kind, data: data.into() };
        msg::send(cur, msqid, message, flags & IPC_NOWAIT != 0).await?;
        Ok(0)
    })
}

fn selection(kind: i64, flags: u32) -> Result<Selection, Errno> {
    if flags & MSG_COPY != 0 {
        let sound = flags & MSG_EXCEPT == 0 && flags & IPC_NOWAIT != 0;
        return if sound { Ok(Selection::Copy(kind)) } else { Err(Errno::EINVAL) };
    }
    Ok(match kind {
        0 => Selection::Any,
        i64::MIN => Selection::UpTo(i64::MAX),
        kind if kind < 0 => Selection::UpTo(-kind),
        kind if flags & MSG_EXCEPT != 0 => Selection::IsNot(kind),
        kind => Selection::Is(kind),
    })
}

/// Serves `msgrcv(2)`.
pub fn msgrcv(cur: &mut Current, msqid: i32, msgp: UserAddr, size: usize, kind: i64, flags: u32) -> Outcome<'_> {
    Outcome::block(async move {
        if msqid < 0 || i64::try_from(size).is_err() {
            return Err(Errno::EINVAL.into());
        }
        let selection = selection(kind, flags)?;
        let max = (flags & MSG_NOERROR == 0).then_some(size);
        let message = msg::receive(cur, msqid, selection, max, flags & IPC_NOWAIT != 0).await?;
        // A message that can't be copied out is lost, as on Linux.
        let len = message.data.len().min(size);
        cur.mem.write(UserRef::new(msgp), &message.kind)?;
        cur.mem.write_bytes(msgp.wrapping_add(TYPE_SIZE), &message.data[..len])?;
        Ok::<u64, SysError>(len as u64)
    })
}

/// Serves `msgctl(2)`.
pub fn msgctl(cur: &mut Current, msqid: i32, command: i32, buf: UserAddr) -> Result<u64, Errno> {
    if msqid < 0 || command < 0 {
        return Err(Errno::EINVAL);
    }
    let msgs = &cur.kernel().ipc.msgs;
    match command {
        cmd::IPC_INFO | MSG_INFO => info(cur, command, UserRef::new(buf)),
        cmd::IPC_STAT | MSG_STAT | MSG_STAT_ANY => stat(cur, msqid, command, UserRef::new(buf)),
        cmd::IPC_SET => {
            let new: MsqidDs = cur.mem.read(UserRef::new(buf))?;
            msgs.set(&cur.task.cred.load(), msqid, &new.perm, new.qbytes).map(|()| 0)
        }
        cmd::IPC_RMID => msgs.remove(&cur.task.cred.load(), msqid).map(|()| 0),
        _ => Err(Errno::EINVAL),
    }
}

fn info(cur: &Current, command: i32, at: UserRef<MsgInfo>) -> Result<u64, Errno> {
    let (highest, queues, messages, bytes) = cur.kernel().ipc.msgs.usage();
    let mut info = MsgInfo {
        pool: as_int(MSGMNI * MSGMNB / 1024),
        map: as_int(MSGMNB),
        max: as_int(MSGMAX),
        mnb: as_int(MSGMNB),
        mni: as_int(MSGMNI),
        ssz: 16,
        tql: as_int(MSGMNB),
        seg: u16::MAX,
        pad: 0,
    };
    if command == MSG_INFO {
        info.pool = as_int(queues);
        info.map = as_int(messages);
        info.tql = as_int(bytes);
    }
    cur.mem.write(at, &info)?;
    Ok(u64::from(highest))
}

fn stat(cur: &Current, msqid: i32, command: i32, at: UserRef<MsqidDs>) -> Result<u64, Errno> {
    let msgs = &cur.kernel().ipc.msgs;
    let (id, queue) = match command {
        cmd::IPC_STAT => (0, msgs.get(msqid)?),
        _ => msgs.get_by_index(msqid)?,
    };
    if command != MSG_STAT_ANY {
        queue.check(&cur.task.cred.load(), 0o444)?;
    }
    let stat = queue.stat();
    let raw = MsqidDs {
        perm: stat.perm.to_raw(),
        stime: stat.stime,
        rtime: stat.rtime,
        ctime: stat.ctime,
        cbytes: stat.bytes as u64,
        qnum: stat.messages as u64,
        qbytes: stat.most_bytes as u64,
        lspid: stat.last_sender,
        lrpid: stat.last_receiver,
        ..MsqidDs::default()
    };
    cur.mem.write(at, &raw)?;
    Ok(u64::from(id.unsigned_abs()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Guest;

    fn errno(result: Option<sentry::SysResult>) -> Errno {
        match result {
            Some(Err(SysError::Errno(errno))) => errno,
            other => panic!("no error but {other:?}"),
        }
    }

    #[test]
    fn a_message_travels_through_guest_memory() {
        let mut guest = Guest::new();
        let id = i32::try_from(guest.call(|cur| msgget(cur, 0, 0o600)).unwrap().unwrap()).unwrap();
        let sent = guest.put(&[7, 0, 0, 0, 0, 0, 0, 0, b'h', b'i']);
        assert_eq!(guest.call(|cur| msgsnd(cur, id, sent, 2, 0)), Some(Ok(0)));
        let got = guest.put(&[0; 16]);
        assert_eq!(errno(guest.call(|cur| msgrcv(cur, id, got, 1, 0, IPC_NOWAIT))), Errno::E2BIG);
        assert_eq!(guest.call(|cur| msgrcv(cur, id, got, 1, 0, MSG_NOERROR)), Some(Ok(1)));
        assert_eq!(&guest.get(got, 10), &[7, 0, 0, 0, 0, 0, 0, 0, b'h', 0]);
        assert_eq!(errno(guest.call(|cur| msgrcv(cur, id, got, 9, 0, IPC_NOWAIT))), Errno::ENOMSG);
        assert_eq!(guest.call(|cur| msgrcv(cur, id, got, 9, 0, 0)), None);
        assert_eq!(guest.call(|cur| msgctl(cur, id, cmd::IPC_RMID, UserAddr::NULL)), Some(Ok(0)));
        assert_eq!(errno(guest.call(|cur| msgctl(cur, id, cmd::IPC_RMID, UserAddr::NULL))), Errno::EINVAL);
    }

    #[test]
    fn structs_have_their_sizes() {
        assert_eq!((size_of::<MsqidDs>(), size_of::<MsgInfo>()), (120, 32));
    }
}
