//! `xtask special`: sockets and FIFOs of the host in a sandbox's file trees (`--host-uds`, `--host-fifo`).
//!
//! One program has all roles. Two of them talk with both on the host; then one goes into a sandbox, and what each prints must
//! be the same.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::Common;
use crate::bundles::{busybox_rootfs, plain};
use crate::host::{Ended, first_difference, run as run_command};
use crate::setup::{need, runsc, workspace};
use crate::tally::Tally;

/// How long one side may take.
const LIMIT: Duration = Duration::from_secs(60);

/// An ordinary user that nothing belongs to.
const USER: u32 = 54321;

const KINDS: [&str; 3] = ["stream", "seqpacket", "dgram"];

/// The program, and a directory that both sides see at the same path.
struct Stage {
    runsc: PathBuf,
    program: PathBuf,
    dir: tempfile::TempDir,
}

/// Where one side is.
#[derive(Clone, Copy)]
enum At<'a> {
    Host,
    /// In a sandbox: platform, flags, and whether the directory is a bind mount (else part of the root).
    Sandbox(&'a str, &'a [&'a str], bool),
}

/// Runs all checks.
pub(crate) fn run(common: &Common, tally: &mut Tally) -> Result<()> {
    need(&[("gcc", "gcc"), ("busybox", "busybox-static"), ("setpriv", "util-linux"), ("prlimit", "util-linux")])?;
    let dir = tempfile::Builder::new().prefix("runsc-special").tempdir().context("make a directory")?;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).context("open the directory to all")?;
    let stage = Stage { runsc: runsc(common)?, program: build(dir.path())?, dir };
    let wanted = |name: &str| common.filter.as_deref().is_none_or(|f| name.contains(f));
    for platform in &common.platform {
        let mut check = |name: &str, test: &dyn Fn() -> Result<()>| {
            let name = format!("{name} on {platform}");
            if wanted(&name) {
                tally.check(&name, test().err().map(|error| format!("{error:#}")));
            }
        };
        for kind in KINDS {
            let open = At::Sandbox(platform, &["--host-uds=open"], true);
            check(&format!("{kind}: a host's socket in a bind mount"), &|| talk(&stage, kind, At::Host, open));
            let all = At::Sandbox(platform, &["--host-uds=all"], false);
            check(&format!("{kind}: a host's socket in the root"), &|| talk(&stage, kind, At::Host, all));
            check(&format!("{kind}: nothing that is asked of it ends the sandbox"), &|| pestered(&stage, kind, open));
            let create = At::Sandbox(platform, &["--host-uds=create"], true);
            check(&format!("{kind}: a guest's socket on the host"), &|| talk(&stage, kind, create, At::Host));
        }
        for flag in ["--host-uds=none", "--host-uds=create"] {
            let inside = At::Sandbox(platform, &[flag], true);
            check(&format!("{flag}: a host's socket is refused"), &|| refused(&stage, At::Host, inside));
        }
        for flag in ["--host-uds=none", "--host-uds=open"] {
            let inside = At::Sandbox(platform, &[flag], true);
            check(&format!("{flag}: a guest's socket stays inside"), &|| refused(&stage, inside, At::Host));
        }
        let open = At::Sandbox(platform, &["--host-uds=open"], true);
        let both = At::Sandbox(platform, &["--host-uds=all"], true);
        check("datagrams are answered from outside", &|| answered(&stage, At::Host, both));
        check("datagrams are answered from inside", &|| answered(&stage, both, At::Host));
        check("datagrams are answered among guests", &|| answered(&stage, both, both));
        check("a full queue is waited for", &|| full_queue(&stage, open));
        check("no descriptors pass", &|| rights(&stage, open));
        check("the mode of a socket counts", &|| modes(&stage, open));
        if rustix::process::geteuid().is_root() {
            check("an ordinary user's gofer has the user's rights", &|| ordinary_user(&stage, platform));
        }
        let fifo = At::Sandbox(platform, &["--host-fifo=open"], true);
        check("a host's FIFO is read", &|| fifo_between(&stage, At::Host, fifo));
        check("a host's FIFO is written", &|| fifo_between(&stage, fifo, At::Host));
        let root = At::Sandbox(platform, &["--host-fifo=open"], false);
        check("a host's FIFO in the root", &|| fifo_between(&stage, At::Host, root));
        check("a full table of descriptors refuses FIFOs only", &|| full_table(&stage, fifo, true));
        check("a full table of descriptors refuses files only", &|| {
            full_table(&stage, At::Sandbox(platform, &[], true), false)
        });
        check("a FIFO's other side that is missing", &|| fifo_alone(&stage, fifo));
        let none = At::Sandbox(platform, &["--host-fifo=none"], true);
        check("--host-fifo=none: a host's FIFO is the sandbox's own pipe", &|| fifo_apart(&stage, none));
        check("a container with a socket for a mount", &|| mounted(&stage, platform));
    }
    Ok(())
}

fn build(dir: &Path) -> Result<PathBuf> {
    let program = dir.join("special");
    let source = workspace().join("tests/special/special.c");
    let mut gcc = Command::new("gcc");
    gcc.args(["-O1", "-Wall", "-static", "-o"]).arg(&program).arg(&source);
    let ended = run_command(&mut gcc, LIMIT)?;
    ensure!(ended.code == 0, "{} doesn't compile: {}", source.display(), ended.complaint());
    Ok(program)
}

impl Stage {
    fn path(&self) -> PathBuf {
        self.dir.path().join("special.sock")
    }

    fn command(&self, at: At<'_>, role: &[&str]) -> Command {
        let mut command = match at {
            At::Host => Command::new(&self.program),
            At::Sandbox(platform, flags, mounted) => {
                let mut command = Command::new(&self.runsc);
                command.arg(format!("--platform={platform}")).args(flags).arg("do");
                if mounted {
                    command.arg("--volume").arg(self.dir.path());
                }
                command.arg(&self.program);
                command
            }
        };
        command.args(role).arg(self.path());
        command
    }

    /// Starts a side that binds the socket, and waits until it has.
    fn serve(&self, at: At<'_>, role: &[&str]) -> Result<Server> {
        let _ = fs::remove_file(self.path());
        let mut command = self.command(at, role);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().context("start a server")?;
        let mut out = child.stdout.take().context("the server's output")?;
        let mut first = [0; 9];
        std::io::Read::read_exact(&mut out, &mut first).context("read what the server says")?;
        ensure!(&first == b"bound: 0\n", "the server says {:?}", String::from_utf8_lossy(&first));
        Ok(Server { child, out })
    }

    fn call(&self, at: At<'_>, role: &[&str]) -> Result<Ended> {
        run_command(&mut self.command(at, role), LIMIT)
    }
}

/// A side that waits for the other.
struct Server {
    child: Child,
    out: std::process::ChildStdout,
}

impl Server {
    fn of(mut child: Child) -> Result<Server> {
        let out = child.stdout.take().context("the output of one side")?;
        Ok(Server { child, out })
    }

    /// Returns what it has printed, once it has ended.
    fn end(mut self) -> Result<String> {
        let mut said = String::new();
        std::io::Read::read_to_string(&mut self.out, &mut said).context("read what the server says")?;
        self.child.wait().context("wait for the server")?;
        Ok(said)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already unless the check fails.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Returns what both sides print.
fn conversation(stage: &Stage, kind: &str, server: At<'_>, client: At<'_>) -> Result<(String, Ended)> {
    let served = stage.serve(server, &["serve", kind])?;
    let ended = stage.call(client, &["call", kind])?;
    Ok((served.end()?, ended))
}

fn talk(stage: &Stage, kind: &str, server: At<'_>, client: At<'_>) -> Result<()> {
    let (native_server, native) = conversation(stage, kind, At::Host, At::Host)?;
    let (served, called) = conversation(stage, kind, server, client)?;
    let differs = || first_difference(&native.stdout, &called.stdout);
    ensure!(native.stdout == called.stdout, "the client: {}; {}", differs(), called.complaint());
    let differs = || first_difference(native_server.as_bytes(), served.as_bytes());
    ensure!(native_server == served, "the server: {}", differs());
    let found = fs::symlink_metadata(stage.path()).context("look at the socket")?;
    ensure!(found.file_type().is_socket(), "there is no socket on the host");
    Ok(())
}

fn refused(stage: &Stage, server: At<'_>, client: At<'_>) -> Result<()> {
    let mut served = stage.serve(server, &["serve", "stream"])?;
    let ended = stage.call(client, &["call", "stream"])?;
    served.child.kill().context("end the server")?;
    expect(&ended, "connect: ECONNREFUSED\n")
}

fn expect(ended: &Ended, output: &str) -> Result<()> {
    let got = String::from_utf8_lossy(&ended.stdout);
    ensure!(got == output, "it says {got:?} instead of {output:?}; {}", ended.complaint());
    Ok(())
}

/// A blocking connect waits until the server, which has a queue of one, accepts.
fn full_queue(stage: &Stage, client: At<'_>) -> Result<()> {
    let mut served = stage.serve(At::Host, &["held"])?;
    let mut command = stage.command(client, &["wait"]);
    let mut child = command.stdout(Stdio::piped()).spawn().context("start a client")?;
    let mut said = std::io::BufReader::new(child.stdout.take().context("the client's output")?);
    let mut first = String::new();
    std::io::BufRead::read_line(&mut said, &mut first).context("read what the client says")?;
    let started = Instant::now();
    // Only now is there room.
    served.child.stdin.take().context("the server's input")?.write_all(b"\n").context("let the server accept")?;
    let mut rest = String::new();
    std::io::Read::read_to_string(&mut said, &mut rest).context("read what the client says")?;
    child.wait().context("wait for the client")?;
    ensure!(first == "full: EAGAIN\n" && rest == "all connected: 0\n", "the client says {first:?}, {rest:?}");
    ensure!(started.elapsed() < LIMIT / 2, "it took {:?}", started.elapsed());
    ensure!(served.end()? == "accepted: 4\n", "the server hasn't accepted all");
    Ok(())
}

/// Descriptors are refused on their way out.
fn rights(stage: &Stage, client: At<'_>) -> Result<()> {
    let served = stage.serve(At::Host, &["give"])?;
    let ended = stage.call(client, &["rights"])?;
    served.end()?;
    expect(&ended, "a descriptor goes out: EINVAL\nask: 3\nreceive: 5\ndescriptors: 0\ncut: 1\n")
}

/// What the sentry's filter doesn't let through, the sentry doesn't ask of the host.
fn pestered(stage: &Stage, kind: &str, client: At<'_>) -> Result<()> {
    let mut served = stage.serve(At::Host, &["serve", kind])?;
    let ended = stage.call(client, &["pester", kind])?;
    served.child.kill().context("end the server")?;
    expect(&ended, "done: 0\n")
}

/// Both sides have names, and answer to them.
fn answered(stage: &Stage, server: At<'_>, client: At<'_>) -> Result<()> {
    let ask = |server, client| -> Result<(String, Ended)> {
        let served = stage.serve(server, &["answer"])?;
        let ended = stage.call(client, &["ask"])?;
        Ok((served.end()?, ended))
    };
    let ((native_server, native), (served, asked)) = (ask(At::Host, At::Host)?, ask(server, client)?);
    ensure!(native.stdout == asked.stdout, "the asker: {}", first_difference(&native.stdout, &asked.stdout));
    let differs = || first_difference(native_server.as_bytes(), served.as_bytes());
    ensure!(native_server == served, "the other: {}", differs());
    Ok(())
}

/// A client that isn't the socket's owner reaches it only where others may write to it.
fn asks_for_the_right_to_write(stage: &Stage, client: &mut Command) -> Result<()> {
    let served = stage.serve(At::Host, &["serve", "stream"])?;
    fs::set_permissions(stage.path(), fs::Permissions::from_mode(0o755)).context("close the socket to others")?;
    expect(&run_command(client, LIMIT)?, "connect: EACCES\n")?;
    fs::set_permissions(stage.path(), fs::Permissions::from_mode(0o777)).context("open the socket to others")?;
    let ended = run_command(client, LIMIT)?;
    ensure!(String::from_utf8_lossy(&ended.stdout).contains("count: 3000010"), "{}", ended.complaint());
    served.end()?;
    Ok(())
}

/// An ordinary user of the guest needs the right to write, although the gofer would have it.
fn modes(stage: &Stage, client: At<'_>) -> Result<()> {
    let mut command = stage.command(client, &[]);
    // After the program's directory: the program itself, and the path last.
    let words: Vec<std::ffi::OsString> = command.get_args().map(Into::into).collect();
    let at = words.len() - 2;
    command = Command::new(&stage.runsc);
    command.args(&words[..at]).args(["setpriv", &format!("--reuid={USER}"), "--clear-groups"]);
    command.arg(&stage.program).args(["call", "stream"]).arg(stage.path());
    asks_for_the_right_to_write(stage, &mut command)
}

/// The root of an ordinary user's sandbox reaches what the user does, and no more.
fn ordinary_user(stage: &Stage, platform: &str) -> Result<()> {
    let mut command = Command::new("setpriv");
    command.args([format!("--reuid={USER}"), format!("--regid={USER}"), "--clear-groups".to_owned()]);
    command.arg(&stage.runsc).args(["--rootless", "--host-uds=open", &format!("--platform={platform}"), "do"]);
    command.arg("--volume").arg(stage.dir.path()).arg(&stage.program).args(["call", "stream"]).arg(stage.path());
    command.current_dir("/");
    asks_for_the_right_to_write(stage, &mut command)
}

impl Stage {
    fn fifo(&self) -> Result<()> {
        let _ = fs::remove_file(self.path());
        let mode = rustix::fs::Mode::from_raw_mode(0o666);
        rustix::fs::mknodat(rustix::fs::CWD, self.path(), rustix::fs::FileType::Fifo, mode, 0).context("make a FIFO")
    }

    fn start(&self, command: &mut Command) -> Result<Child> {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("start one side")
    }

    fn writing(&self, at: At<'_>, text: &str) -> Command {
        let mut command = self.command(at, &["write"]);
        command.arg(text);
        command
    }
}

/// Whichever side opens it first waits for the other.
fn fifo_between(stage: &Stage, writer: At<'_>, reader: At<'_>) -> Result<()> {
    for reader_first in [true, false] {
        stage.fifo()?;
        let (mut read, mut write) = (stage.command(reader, &["read"]), stage.writing(writer, "through a FIFO"));
        let commands = if reader_first { [&mut read, &mut write] } else { [&mut write, &mut read] };
        let [first, second] = commands;
        let mut waiting = Server::of(stage.start(first)?)?;
        // It prints nothing as long as it waits: what is there too early is seen at the end.
        std::thread::sleep(Duration::from_millis(500));
        ensure!(waiting.child.try_wait().context("look at the first side")?.is_none(), "it doesn't wait");
        let ended = run_command(second, LIMIT)?;
        let (read, written) = ("open: 0\nthrough a FIFO\nend: 0\n", "open: 0\nwrite: 14\n");
        let (first, second) = if reader_first { (read, written) } else { (written, read) };
        expect(&ended, second)?;
        let said = waiting.end()?;
        ensure!(said == first, "the first says {said:?} instead of {first:?}");
    }
    Ok(())
}

fn fifo_alone(stage: &Stage, at: At<'_>) -> Result<()> {
    let print = |at| {
        stage.fifo()?;
        stage.call(at, &["nowriter"])
    };
    let (native, ours) = (print(At::Host)?, print(at)?);
    ensure!(native.stdout == ours.stdout, "{}", first_difference(&native.stdout, &ours.stdout));
    Ok(())
}

/// The sentry can hold no more of the host's descriptors than the host lets it; what is refused is that and nothing later.
fn full_table(stage: &Stage, at: At<'_>, fifo: bool) -> Result<()> {
    if fifo {
        stage.fifo()?;
    } else {
        let _ = fs::remove_file(stage.path());
        fs::create_dir(stage.path()).context("make a directory")?;
    }
    let inner = stage.command(at, &["fill"]);
    let mut command = Command::new("prlimit");
    command.arg("--nofile=400:400").arg(inner.get_program()).args(inner.get_args());
    let ended = run_command(&mut command, LIMIT);
    if !fifo {
        fs::remove_dir_all(stage.path()).context("remove the directory")?;
    }
    expect(&ended?, "the last: ENFILE\nmany: 1\nafterwards: 0\nwrite: 3\nagain: 0\nread: 3\nremove: 0\n")
}

/// A reader outside and a writer inside never meet.
fn fifo_apart(stage: &Stage, at: At<'_>) -> Result<()> {
    stage.fifo()?;
    let mut reader = Server::of(stage.start(&mut stage.command(At::Host, &["read"]))?)?;
    expect(&stage.call(at, &["nowriter"])?, &String::from_utf8_lossy(&alone(stage)?.stdout))?;
    ensure!(reader.child.try_wait().context("look at the reader")?.is_none(), "the reader outside has been met");
    Ok(())
}

/// What a FIFO of one's own says.
fn alone(stage: &Stage) -> Result<Ended> {
    let path = stage.dir.path().join("own");
    let _ = fs::remove_file(&path);
    let mode = rustix::fs::Mode::from_raw_mode(0o666);
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).context("make a FIFO")?;
    run_command(Command::new(&stage.program).arg("nowriter").arg(&path), LIMIT)
}

/// A bundle whose mount is a socket itself, as engines mount their own, with the flag set by an annotation.
fn mounted(stage: &Stage, platform: &str) -> Result<()> {
    let served = stage.serve(At::Host, &["serve", "stream"])?;
    let bundle = stage.dir.path().join(format!("bundle-{platform}"));
    let rootfs = bundle.join("rootfs");
    busybox_rootfs(&rootfs)?;
    fs::copy(&stage.program, rootfs.join("bin/special")).context("copy the program")?;
    let mut config = plain("exec /bin/special call stream /run/engine.sock");
    config["annotations"] = json!({"dev.gvisor.flag.host-uds": "open"});
    let mounts = config["mounts"].as_array().cloned().unwrap_or_default();
    let own = json!({"destination": "/run/engine.sock", "source": stage.path(), "type": "bind", "options": ["bind"]});
    config["mounts"] = mounts.into_iter().chain([own]).collect();
    fs::write(bundle.join("config.json"), config.to_string()).context("write config.json")?;
    let run = |flags: &[&str]| {
        let mut command = Command::new(&stage.runsc);
        command.arg("--root").arg(stage.dir.path().join("state")).arg(format!("--platform={platform}")).args(flags);
        command.args(["run", "--bundle"]).arg(&bundle).arg(format!("special-{}", std::process::id()));
        run_command(&mut command, LIMIT)
    };
    let ended = run(&[])?;
    ensure!(ended.code == 128, "without leave the annotation is not refused: {}", ended.complaint());
    let ended = run(&["--allow-flag-override"])?;
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    ensure!(said.contains("count: 3000010") && ended.code == 0, "it says {said:?}; {}", ended.complaint());
    ensure!(served.end()?.contains("received: 3000010"), "the server hasn't got all");
    Ok(())
}
