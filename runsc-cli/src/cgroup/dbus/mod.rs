//! As much of D-Bus as it takes to ask systemd for a unit: a connection, calls, and the signals that come in between
//! (D-Bus specification, "Message Protocol" and "Authentication Protocol").

mod wire;

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

pub(super) use wire::Value;
use wire::{Malformed, Reader, Writer};

/// Longest message that is read: systemd's own are far shorter.
const MAX: usize = 1 << 20;

/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(30);

/// `METHOD_CALL`, `METHOD_RETURN`, `ERROR` and `SIGNAL`.
const CALL: u8 = 1;
const RETURN: u8 = 2;
const ERROR: u8 = 3;
const SIGNAL: u8 = 4;

/// An error that the other side has given a name.
#[derive(Debug)]
pub(super) struct Refused {
    /// For instance `org.freedesktop.systemd1.UnitExists`.
    pub(super) name: String,
    text: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.text, self.name)
    }
}

impl std::error::Error for Refused {}

/// An argument of a call, with its place in the signature.
pub(super) enum Argument<'a> {
    /// `s`
    Text(&'a str),
    /// `b`
    Bool(bool),
    /// `a(sv)`
    Properties(&'a [(String, Value)]),
    /// `a(sa(sv))`, empty.
    NoUnits,
}

/// Who is called.
#[derive(Clone, Copy)]
pub(super) struct Peer {
    destination: &'static str,
    path: &'static str,
    interface: &'static str,
}

/// The bus itself.
const BUS: Peer =
    Peer { destination: "org.freedesktop.DBus", path: "/org/freedesktop/DBus", interface: "org.freedesktop.DBus" };

/// systemd's manager of units.
pub(super) const MANAGER: Peer = Peer {
    destination: "org.freedesktop.systemd1",
    path: "/org/freedesktop/systemd1",
    interface: "org.freedesktop.systemd1.Manager",
};

/// The properties of the same object.
pub(super) const PROPERTIES: Peer = Peer { interface: "org.freedesktop.DBus.Properties", ..MANAGER };

/// What has come.
struct Message {
    kind: u8,
    reply_to: u32,
    member: String,
    error: String,
    body: Vec<u8>,
}

/// A connection to a bus, or to systemd itself.
pub(super) struct Connection {
    stream: UnixStream,
    serial: u32,
    /// Signals that came while an answer was waited for.
    signals: VecDeque<Message>,
}

impl Connection {
    /// Connects to a bus.
    pub(super) fn bus(path: &Path) -> Result<Connection> {
        let mut connection = Connection::open(path)?;
        connection.call(BUS, "Hello", &[]).context("greeting the bus")?;
        let rule = "type='signal',interface='org.freedesktop.systemd1.Manager',member='JobRemoved'";
        connection.call(BUS, "AddMatch", &[Argument::Text(rule)]).context("asking the bus for signals")?;
        Ok(connection)
    }

    /// Connects to somebody without a bus in between.
    pub(super) fn open(path: &Path) -> Result<Connection> {
        let stream = UnixStream::connect(path).with_context(|| format!("connecting to {}", path.display()))?;
        stream.set_read_timeout(Some(LIMIT)).context("limiting the time of an answer")?;
        let mut connection = Connection { stream, serial: 0, signals: VecDeque::new() };
        connection.authenticate().with_context(|| format!("authenticating at {}", path.display()))?;
        Ok(connection)
    }

    /// The other side knows us by the socket, so no identity need be told.
    fn authenticate(&mut self) -> Result<()> {
        self.stream.write_all(b"\0AUTH EXTERNAL\r\n")?;
        ensure!(self.line()?.starts_with("DATA"), "the way EXTERNAL is refused");
        self.stream.write_all(b"DATA\r\n")?;
        let answer = self.line()?;
        ensure!(answer.starts_with("OK"), "refused: {answer}");
        self.stream.write_all(b"BEGIN\r\n")?;
        Ok(())
    }

    fn line(&mut self) -> Result<String> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            ensure!(line.len() < 1024, "a line without an end");
            let mut byte = [0];
            self.stream.read_exact(&mut byte)?;
            line.extend_from_slice(&byte);
        }
        Ok(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    /// Calls a method; returns the body of the answer.
    fn call(&mut self, peer: Peer, member: &str, arguments: &[Argument<'_>]) -> Result<Vec<u8>> {
        self.serial += 1;
        let serial = self.serial;
        self.stream.write_all(&message(serial, peer, member, arguments)).context("sending a message")?;
        loop {
            let message = self.receive()?;
            match message.kind {
                SIGNAL => self.signals.push_back(message),
                RETURN if message.reply_to == serial => return Ok(message.body),
                ERROR if message.reply_to == serial => {
                    let text = Reader::new(&message.body).text().unwrap_or("no reason given").to_owned();
                    return Err(Refused { name: message.error, text }.into());
                }
                _ => {}
            }
        }
    }

    /// Calls a method whose answer tells nothing.
    pub(super) fn order(&mut self, peer: Peer, member: &str, arguments: &[Argument<'_>]) -> Result<()> {
        self.call(peer, member, arguments).map(drop)
    }

    /// Calls a method that answers with a text or path.
    pub(super) fn ask(&mut self, peer: Peer, member: &str, arguments: &[Argument<'_>]) -> Result<String> {
        let body = self.call(peer, member, arguments)?;
        Ok(Reader::new(&body).text()?.to_owned())
    }

    /// Returns a property of systemd's manager that is a text.
    pub(super) fn property(&mut self, name: &str) -> Result<String> {
        let body = self.call(PROPERTIES, "Get", &[Argument::Text(MANAGER.interface), Argument::Text(name)])?;
        let mut reader = Reader::new(&body);
        ensure!(reader.signature()? == "s", "the property {name} is no text");
        Ok(reader.text()?.to_owned())
    }

    /// Waits until a job of systemd's has ended; returns how: `done`, `failed`, `timeout`, ….
    pub(super) fn wait_for_job(&mut self, job: &str) -> Result<String> {
        let deadline = Instant::now() + LIMIT;
        loop {
            let message = match self.signals.pop_front() {
                Some(message) => message,
                None if Instant::now() > deadline => bail!("no end of the job within {} s", LIMIT.as_secs()),
                None => self.receive()?,
            };
            if message.kind == SIGNAL && message.member == "JobRemoved" {
                let mut reader = Reader::new(&message.body);
                // Number, path, unit and result.
                reader.u32()?;
                let path = reader.text()?;
                reader.text()?;
                if path == job {
                    return Ok(reader.text()?.to_owned());
                }
            }
        }
    }

    fn receive(&mut self) -> Result<Message> {
        let receiving = "receiving a message";
        let mut fixed = [0; 16];
        self.stream.read_exact(&mut fixed).context(receiving)?;
        ensure!(fixed[0] == b'l', "a peer of another byte order");
        let mut head = Reader::new(&fixed);
        // Byte order, kind, flags and version.
        let [_, kind, _, _] = [head.byte()?, head.byte()?, head.byte()?, head.byte()?];
        let (body, _serial, fields) = (head.u32()?, head.u32()?, head.u32()?);
        let (body, fields) = (usize::try_from(body)?, usize::try_from(fields)?);
        ensure!(body <= MAX && fields <= MAX, "a message that is too long");
        let mut rest = vec![0; fields.next_multiple_of(8) + body];
        self.stream.read_exact(&mut rest).context(receiving)?;
        let body = rest.split_off(fields.next_multiple_of(8));
        rest.truncate(fields);
        let mut message = Message { kind, reply_to: 0, member: String::new(), error: String::new(), body };
        read_fields(&rest, &mut message)?;
        Ok(message)
    }
}

/// Reads the fields of a message's header that matter here. Fields of other types than these are not known.
fn read_fields(bytes: &[u8], message: &mut Message) -> Result<(), Malformed> {
    let mut reader = Reader::new(bytes);
    while !reader.is_empty() {
        reader.align(8);
        let field = reader.byte()?;
        match reader.signature()? {
            "u" => {
                let number = reader.u32()?;
                if field == 5 {
                    message.reply_to = number;
                }
            }
            "s" | "o" => {
                let text = reader.text()?;
                match field {
                    3 => message.member = text.to_owned(),
                    4 => message.error = text.to_owned(),
                    _ => {}
                }
            }
            "g" => drop(reader.signature()?),
            _ => return Err(Malformed),
        }
    }
    Ok(())
}

fn message(serial: u32, peer: Peer, member: &str, arguments: &[Argument<'_>]) -> Vec<u8> {
    let mut body = Writer::default();
    let mut signature = String::new();
    for argument in arguments {
        match argument {
            Argument::Text(text) => {
                signature.push('s');
                body.text(text);
            }
            Argument::Bool(value) => {
                signature.push('b');
                body.u32(u32::from(*value));
            }
            Argument::Properties(properties) => {
                signature.push_str("a(sv)");
                body.properties(properties);
            }
            Argument::NoUnits => {
                signature.push_str("a(sa(sv))");
                body.array(8, |_| ());
            }
        }
    }
    let mut head = Writer { bytes: vec![b'l', CALL, 0, 1] };
    head.u32(u32::try_from(body.bytes.len()).unwrap_or(u32::MAX));
    head.u32(serial);
    head.array(8, |to| {
        let texts = [(1, "o", peer.path), (6, "s", peer.destination), (2, "s", peer.interface), (3, "s", member)];
        for (field, kind, text) in texts {
            to.align(8);
            to.bytes.push(field);
            to.signature(kind);
            to.text(text);
        }
        if !signature.is_empty() {
            to.align(8);
            to.bytes.push(8);
            to.signature("g");
            to.signature(&signature);
        }
    });
    head.align(8);
    [head.bytes, body.bytes].concat()
}

#[cfg(test)]
mod tests {
    use std::io::BufRead;
    use std::os::unix::net::UnixListener;

    use super::*;

    /// A bus that greets, then answers one call with an error and the next with a path, after a signal.
    fn bus(listener: &UnixListener) -> std::io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        let mut lines = std::io::BufReader::new(stream.try_clone()?);
        let mut line = String::new();
        for answer in [&b"DATA\r\n"[..], b"OK 0123\r\n", b""] {
            line.clear();
            lines.read_line(&mut line)?;
            stream.write_all(answer)?;
        }
        let mut job = Writer::default();
        job.u32(3);
        ["/job/3", "a.scope", "done"].iter().for_each(|text| job.text(text));
        let mut path = Writer::default();
        path.text("/job/3");
        let mut reason = Writer::default();
        reason.text("no luck");
        let empty = Vec::new();
        let answers: [(u8, u32, Vec<u8>); 5] = [
            (RETURN, 1, empty.clone()),
            (RETURN, 2, empty),
            (ERROR, 3, reason.bytes),
            (SIGNAL, 0, job.bytes),
            (RETURN, 4, path.bytes),
        ];
        for (kind, reply_to, body) in answers {
            let mut head = Writer { bytes: vec![b'l', kind, 0, 1] };
            head.u32(u32::try_from(body.len()).unwrap_or(0));
            head.u32(9);
            head.array(8, |to| {
                to.bytes.push(5);
                to.signature("u");
                to.u32(reply_to);
                to.align(8);
                to.bytes.push(if kind == ERROR { 4 } else { 3 });
                to.signature("s");
                to.text(if kind == ERROR { "org.example.No" } else { "JobRemoved" });
            });
            head.align(8);
            stream.write_all(&[head.bytes, body].concat())?;
        }
        // Until the caller has gone.
        let _ = stream.read_to_end(&mut Vec::new());
        Ok(())
    }

    #[test]
    fn calls_are_answered_and_signals_kept() {
        let path = std::env::temp_dir().join(format!("runsc-dbus-{}", std::process::id()));
        let listener = UnixListener::bind(&path).expect("listen");
        let server = std::thread::spawn(move || bus(&listener));
        let mut connection = Connection::bus(&path).expect("connect");
        std::fs::remove_file(&path).expect("remove");
        let error = connection.order(MANAGER, "StopUnit", &[Argument::Text("x")]).expect_err("refused");
        assert_eq!(error.downcast_ref::<Refused>().expect("named").name, "org.example.No");
        let job = connection.ask(MANAGER, "StartUnit", &[Argument::NoUnits]).expect("path");
        assert_eq!((job.as_str(), connection.wait_for_job(&job).expect("ended").as_str()), ("/job/3", "done"));
        drop(connection);
        server.join().expect("thread").expect("bus");
    }
}
