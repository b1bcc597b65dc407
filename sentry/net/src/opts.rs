//! Options of level `SOL_SOCKET`: kept here for every family, with Linux's value checks (`man 7 socket`, the kernel's
//! `net/core/sock.c`).

use std::time::Duration;

use abi::Errno;

use crate::ioctl::{LOOPBACK_INDEX, LOOPBACK_NAME};
use crate::socket::{Caller, Caps, Core, Socket};
use crate::uapi::{SockType, af, so};

/// Default and largest unprivileged `SO_SNDBUF`/`SO_RCVBUF` (`net.core.{r,w}mem_{default,max}`), bytes.
pub const BUF_DEFAULT: usize = 212_992;
const MIN_SNDBUF: usize = 4608;
const MIN_RCVBUF: usize = 2304;
/// `SO_BUF_LOCK`: the user chose the size.
const SNDBUF_LOCK: i32 = 1;
const RCVBUF_LOCK: i32 = 2;

/// The generic options of one socket.
#[derive(Clone, Debug)]
pub struct Options {
    /// One bit for each on/off option, at its number.
    flags: u128,
    /// `SO_SNDBUF` as reported (doubled), bytes.
    pub sndbuf: usize,
    /// `SO_RCVBUF` as reported (doubled), bytes.
    pub rcvbuf: usize,
    buf_lock: i32,
    /// `SO_RCVTIMEO`; `None` waits for ever.
    pub rcvtimeo: Option<Duration>,
    /// `SO_SNDTIMEO`; `None` waits for ever.
    pub sndtimeo: Option<Duration>,
    /// `SO_RCVLOWAT`, bytes, at least 1.
    pub rcvlowat: usize,
    /// `SO_LINGER`: seconds, where switched on.
    pub linger: Option<i32>,
    linger_seconds: i32,
    /// `SO_BINDTODEVICE`: bound to the loopback interface.
    pub device: bool,
    /// `SO_PEEK_OFF`; negative is off.
    pub peek_off: i32,
    priority: i32,
    mark: i32,
    incoming_cpu: i32,
    busy_poll: i32,
    pacing: u64,
    txrehash: i32,
}

/// On/off options that anybody may set.
const SWITCHES: &[i32] = &[
    so::REUSEADDR,
    so::DONTROUTE,
    so::BROADCAST,
    so::KEEPALIVE,
    so::OOBINLINE,
    so::NO_CHECK,
    so::TIMESTAMP,
    so::TIMESTAMPNS,
    so::TIMESTAMP_NEW,
    so::TIMESTAMPNS_NEW,
    so::RXQ_OVFL,
    so::WIFI_STATUS,
    so::NOFCS,
    so::SELECT_ERR_QUEUE,
    so::RCVMARK,
];

impl Options {
    /// Defaults for a family.
    pub fn new(domain: u16, kind: SockType) -> Options {
        let stream = matches!(domain, af::INET | af::INET6) && kind == SockType::Stream;
        Options {
            flags: 0,
            sndbuf: if stream { 16_384 } else { BUF_DEFAULT },
            rcvbuf: if stream { 131_072 } else { BUF_DEFAULT },
            buf_lock: 0,
            rcvtimeo: None,
            sndtimeo: None,
            rcvlowat: 1,
            linger: None,
            linger_seconds: 0,
            device: false,
            peek_off: -1,
            priority: 0,
            mark: 0,
            incoming_cpu: -1,
            busy_poll: 0,
            pacing: u64::MAX,
            txrehash: i32::from(stream),
        }
    }

    /// What an accepted socket takes over.
    pub fn inherited(&self) -> Options {
        self.clone()
    }

    /// Reads an on/off option.
    pub fn has(&self, name: i32) -> bool {
        (0..128).contains(&name) && self.flags >> name & 1 == 1
    }

    /// Tells whether messages are to say who sent them, in either form.
    pub fn wants_sender(&self) -> bool {
        self.has(so::PASSCRED) || self.has(so::PASSPIDFD)
    }

    fn switch(&mut self, name: i32, on: bool) {
        if (0..128).contains(&name) {
            let bit = 1_u128 << name;
            self.flags = if on { self.flags | bit } else { self.flags & !bit };
        }
    }

    /// Tells whether the send buffer has been sized by the user.
    pub fn sndbuf_locked(&self) -> bool {
        self.buf_lock & SNDBUF_LOCK != 0
    }

    /// Tells whether the receive buffer has been sized by the user.
    pub fn rcvbuf_locked(&self) -> bool {
        self.buf_lock & RCVBUF_LOCK != 0
    }
}

/// Reads an `int` option value: `EINVAL` where it is short.
pub(crate) fn int(value: &[u8]) -> Result<i32, Errno> {
    value.first_chunk().map(|raw| i32::from_ne_bytes(*raw)).ok_or(Errno::EINVAL)
}

pub(crate) fn bytes(value: i32) -> Vec<u8> {
    value.to_ne_bytes().to_vec()
}

fn need(caller: &Caller<'_>, caps: Caps, errno: Errno) -> Result<(), Errno> {
    if caller.caps.intersects(caps) { Ok(()) } else { Err(errno) }
}

fn doubled(value: i32, min: usize) -> usize {
    let asked = u32::from_ne_bytes(value.to_ne_bytes()) as usize;
    (asked.min(BUF_DEFAULT) * 2).max(min)
}

fn forced(value: i32, min: usize) -> usize {
    (usize::try_from(value).unwrap_or(0).min(i32::MAX as usize / 2) * 2).max(min)
}

fn timeout(value: &[u8]) -> Result<Option<Duration>, Errno> {
    let raw: &[u8; 16] = value.first_chunk().ok_or(Errno::EINVAL)?;
    let mut half = [0; 8];
    half.copy_from_slice(&raw[..8]);
    let sec = i64::from_ne_bytes(half);
    half.copy_from_slice(&raw[8..]);
    let usec = i64::from_ne_bytes(half);
    if !(0..1_000_000).contains(&usec) {
        return Err(Errno::EDOM);
    }
    match (u64::try_from(sec), u64::try_from(usec)) {
        (Ok(0), Ok(0)) => Ok(None),
        (Ok(sec), Ok(usec)) => Ok(Duration::from_secs(sec).checked_add(Duration::from_micros(usec))),
        _ => Ok(Some(Duration::ZERO)),
    }
}

fn timeout_bytes(timeout: Option<Duration>) -> Vec<u8> {
    let timeout = timeout.unwrap_or_default();
    let sec = i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX);
    [sec.to_ne_bytes(), i64::from(timeout.subsec_micros()).to_ne_bytes()].concat()
}

fn device(caller: &Caller<'_>, core: &Core, value: &[u8]) -> Result<(), Errno> {
    let name = &value[..value.len().min(15)];
    let end = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
    let bound = match &name[..end] {
        b"" => false,
        name if name == LOOPBACK_NAME => true,
        _ => return Err(Errno::ENODEV),
    };
    bind_device(caller, core, bound)
}

fn bind_device(caller: &Caller<'_>, core: &Core, bound: bool) -> Result<(), Errno> {
    let mut opts = core.opts.lock();
    if opts.device {
        need(caller, Caps::NET_RAW, Errno::EPERM)?;
    }
    opts.device = bound;
    Ok(())
}

/// Sets an option.
pub fn set(socket: &dyn Socket, caller: &Caller<'_>, name: i32, value: &[u8]) -> Result<(), Errno> {
    if let Some(result) = socket.set_generic(caller, name, value) {
        return result;
    }
    let core = socket.core();
    if name == so::BINDTODEVICE {
        return device(caller, core, value);
    }
    let number = int(value)?;
    let inet = matches!(core.domain, af::INET | af::INET6);
    let admin = Caps::NET_ADMIN;
    let mut opts = core.opts.lock();
    match name {
        _ if SWITCHES.contains(&name) => opts.switch(name, number != 0),
        so::DEBUG => {
            if number != 0 {
                need(caller, admin, Errno::EACCES)?;
            }
            opts.switch(name, number != 0);
        }
        so::REUSEPORT => {
            if number != 0 && !inet {
                return Err(Errno::EOPNOTSUPP);
            }
            opts.switch(name, number != 0);
        }
        so::PASSCRED | so::PASSSEC | so::PASSPIDFD => {
            let takes = if name == so::PASSCRED { &[af::UNIX, af::NETLINK][..] } else { &[af::UNIX][..] };
            if !takes.contains(&core.domain) {
                return Err(Errno::EOPNOTSUPP);
            }
            opts.switch(name, number != 0);
        }
        so::SNDBUF => {
            opts.sndbuf = doubled(number, MIN_SNDBUF);
            opts.buf_lock |= SNDBUF_LOCK;
        }
        so::RCVBUF => {
            opts.rcvbuf = doubled(number, MIN_RCVBUF);
            opts.buf_lock |= RCVBUF_LOCK;
        }
        so::SNDBUFFORCE => {
            need(caller, admin, Errno::EPERM)?;
            opts.sndbuf = forced(number, MIN_SNDBUF);
            opts.buf_lock |= SNDBUF_LOCK;
        }
        so::RCVBUFFORCE => {
            need(caller, admin, Errno::EPERM)?;
            opts.rcvbuf = forced(number, MIN_RCVBUF);
            opts.buf_lock |= RCVBUF_LOCK;
        }
        so::PRIORITY => {
            if !(0..=6).contains(&number) {
                need(caller, Caps::NET_RAW | admin, Errno::EPERM)?;
            }
            opts.priority = number;
        }
        so::MARK => {
            need(caller, Caps::NET_RAW | admin, Errno::EPERM)?;
            opts.mark = number;
        }
        so::LINGER => {
            let seconds = int(value.get(4..).ok_or(Errno::EINVAL)?)?;
            if number != 0 {
                opts.linger_seconds = seconds;
            }
            opts.linger = (number != 0).then_some(seconds);
        }
        so::BSDCOMPAT | so::CNX_ADVICE => {}
        so::RCVLOWAT => {
            opts.rcvlowat = usize::try_from(number).unwrap_or(i32::MAX as usize).max(1);
        }
        so::RCVTIMEO | so::RCVTIMEO_NEW => opts.rcvtimeo = timeout(value)?,
        so::SNDTIMEO | so::SNDTIMEO_NEW => opts.sndtimeo = timeout(value)?,
        so::PEEK_OFF => {
            if core.domain == af::NETLINK {
                return Err(Errno::EOPNOTSUPP);
            }
            opts.peek_off = number;
        }
        so::INCOMING_CPU => opts.incoming_cpu = number,
        so::BUSY_POLL => {
            if number < 0 {
                return Err(Errno::EINVAL);
            }
            if number > opts.busy_poll {
                need(caller, admin, Errno::EPERM)?;
            }
            opts.busy_poll = number;
        }
        so::MAX_PACING_RATE => {
            opts.pacing = match value.first_chunk() {
                Some(wide) => u64::from_ne_bytes(*wide),
                None if number == -1 => u64::MAX,
                None => u64::from(u32::from_ne_bytes(number.to_ne_bytes())),
            };
        }
        so::LOCK_FILTER => {
            if opts.has(name) && number == 0 {
                return Err(Errno::EPERM);
            }
            opts.switch(name, number != 0);
        }
        so::DETACH_FILTER | so::DETACH_REUSEPORT_BPF => return Err(Errno::ENOENT),
        so::BUF_LOCK => {
            if number & !(SNDBUF_LOCK | RCVBUF_LOCK) != 0 {
                return Err(Errno::EINVAL);
            }
            opts.buf_lock = number;
        }
        so::TXREHASH => {
            if !(-1..=1).contains(&number) {
                return Err(Errno::EINVAL);
            }
            opts.txrehash = if number == -1 { 1 } else { number };
        }
        so::BINDTOIFINDEX => {
            drop(opts);
            return match u32::try_from(number) {
                Ok(0) => bind_device(caller, core, false),
                Ok(LOOPBACK_INDEX) => bind_device(caller, core, true),
                Ok(_) => Err(Errno::ENODEV),
                Err(_) => Err(Errno::EINVAL),
            };
        }
        so::ZEROCOPY if !inet => return Err(Errno::EOPNOTSUPP),
        // Filters, error-queue notifications and hardware time stamps aren't served; nor may they be believed set.
        _ => return Err(Errno::ENOPROTOOPT),
    }
    drop(opts);
    if matches!(name, so::SNDBUF | so::SNDBUFFORCE) {
        core.wake(socket.ready());
    }
    Ok(())
}

/// Returns an option; the caller copies out at most `len` bytes of it.
pub fn get(socket: &dyn Socket, name: i32, len: usize) -> Result<Vec<u8>, Errno> {
    if let Some(result) = socket.get_generic(name, len) {
        return result;
    }
    let core = socket.core();
    match name {
        so::ERROR => return Ok(bytes(core.take_error().err().map_or(0, Errno::raw))),
        so::ACCEPTCONN => return Ok(bytes(i32::from(socket.is_listening()))),
        so::PEERNAME => {
            let name = socket.peer_name().map_err(|_| Errno::ENOTCONN)?;
            return if name.bytes().len() < len { Err(Errno::EINVAL) } else { Ok(name.bytes().to_vec()) };
        }
        so::PEERCRED => {
            let cred = socket.peer_cred();
            let (pid, uid, gid) = cred.map_or((0, u32::MAX, u32::MAX), |cred| (cred.pid, cred.uid, cred.gid));
            return Ok([pid.to_ne_bytes(), uid.to_ne_bytes(), gid.to_ne_bytes()].concat());
        }
        so::PEERGROUPS => return socket.peer_cred().map(|_| Vec::new()).ok_or(Errno::ENODATA),
        so::MEMINFO => return Ok(meminfo(socket)),
        _ => {}
    }
    let opts = core.opts.lock();
    Ok(bytes(match name {
        _ if SWITCHES.contains(&name) => i32::from(opts.has(name)),
        so::DEBUG | so::REUSEPORT | so::LOCK_FILTER => i32::from(opts.has(name)),
        so::PASSCRED | so::PASSSEC | so::PASSPIDFD => {
            if core.domain != af::UNIX && (core.domain != af::NETLINK || name == so::PASSPIDFD) {
                return Err(Errno::EOPNOTSUPP);
            }
            i32::from(opts.has(name))
        }
        so::TYPE => core.kind as i32,
        so::PROTOCOL => core.protocol,
        so::DOMAIN => i32::from(core.domain),
        so::SNDBUF => i32::try_from(opts.sndbuf).unwrap_or(i32::MAX),
        so::RCVBUF => i32::try_from(opts.rcvbuf).unwrap_or(i32::MAX),
        so::PRIORITY => opts.priority,
        so::MARK => opts.mark,
        so::LINGER => {
            let on = i32::from(opts.linger.is_some());
            return Ok([on.to_ne_bytes(), opts.linger_seconds.to_ne_bytes()].concat());
        }
        so::BSDCOMPAT | so::INCOMING_NAPI_ID | so::PREFER_BUSY_POLL | so::TIMESTAMPING | so::ZEROCOPY => 0,
        so::RCVLOWAT => i32::try_from(opts.rcvlowat).unwrap_or(i32::MAX),
        so::SNDLOWAT => 1,
        so::RCVTIMEO | so::RCVTIMEO_NEW => return Ok(timeout_bytes(opts.rcvtimeo)),
        so::SNDTIMEO | so::SNDTIMEO_NEW => return Ok(timeout_bytes(opts.sndtimeo)),
        so::PEEK_OFF if core.domain == af::NETLINK => return Err(Errno::EOPNOTSUPP),
        so::PEEK_OFF => opts.peek_off,
        so::INCOMING_CPU => opts.incoming_cpu,
        so::BUSY_POLL => opts.busy_poll,
        so::BPF_EXTENSIONS => 64, // SKF_AD_MAX
        so::BUF_LOCK => opts.buf_lock,
        so::TXREHASH => opts.txrehash,
        so::BINDTOIFINDEX => i32::from(opts.device),
        so::BINDTODEVICE => {
            return match opts.device {
                false => Ok(Vec::new()),
                true if len < 16 => Err(Errno::EINVAL),
                true => Ok([LOOPBACK_NAME, b"\0"].concat()),
            };
        }
        so::MAX_PACING_RATE => {
            return Ok(if len >= 8 {
                opts.pacing.to_ne_bytes().to_vec()
            } else {
                u32::try_from(opts.pacing).unwrap_or(u32::MAX).to_ne_bytes().to_vec()
            });
        }
        so::COOKIE | so::NETNS_COOKIE if len < 8 => return Err(Errno::EINVAL),
        so::COOKIE => return Ok(core.id.to_ne_bytes().to_vec()),
        so::NETNS_COOKIE => return Ok(core.ns.cookie().to_ne_bytes().to_vec()),
        so::ATTACH_FILTER => return Ok(Vec::new()), // no filter, zero instructions
        _ => return Err(Errno::ENOPROTOOPT),
    }))
}

/// `SO_MEMINFO`: `SK_MEMINFO_*` in order.
fn meminfo(socket: &dyn Socket) -> Vec<u8> {
    let (inq, outq) = (socket.inq().unwrap_or(0), socket.outq().unwrap_or(0));
    let opts = socket.core().opts.lock();
    let figures = [inq, opts.rcvbuf, outq, opts.sndbuf, 0, 0, 0, 0, 0];
    figures.iter().flat_map(|figure| u32::try_from(*figure).unwrap_or(u32::MAX).to_ne_bytes()).collect()
}
