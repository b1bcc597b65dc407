//! `xtask caller`: `runsc do` as its caller meets it: exit status, signals, descriptors, job control, ordinary users.
//!
//! A case is a shell script in which `$DO` stands before each program: nothing natively, `runsc do` in the sandbox. What
//! it prints must be the same.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::termios::Winsize;
use serde_json::json;

use crate::Common;
use crate::bad_input::{build_wrapper, processes};
use crate::bundles::{busybox_rootfs, plain};
use crate::host::{Ended, first_difference, run as run_command};
use crate::pty::Session;
use crate::setup::{need, runsc};
use crate::tally::Tally;

/// Name and script.
const CASES: &[(&str, &str)] = &[
    ("exit status", "for n in 0 1 77 128 255; do $DO sh -c \"exit $n\"; echo $?; done"),
    (
        "death by signals of its own",
        "for s in KILL SEGV TERM ABRT HUP USR1 PIPE ALRM; do $DO sh -c \"kill -$s \\$\\$\"; echo $s $?; done",
    ),
    ("death by a fault", "$DO perl -e 'unpack(\"p\", pack(\"Q\", 1))'; echo $?"),
    ("stop and continue from inside", "$DO sh -c '(sleep 0.1; kill -CONT $$) & kill -STOP $$; echo on'; echo $?"),
    (
        "signals to the caller's process reach the program",
        "for s in TERM HUP USR2 ALRM; do rm -f f; $DO sh -c 'echo x; exec sleep 100' > f & p=$!; \
         until [ -s f ]; do sleep 0.02; done; kill -$s $p; wait $p; echo $s $?; done",
    ),
    (
        "a handler runs",
        "$DO sh -c 'trap \"echo got; exit 5\" USR1; echo x > f2; echo x; while :; do sleep 0.05; done' > f & p=$!; \
         until [ -s f ]; do sleep 0.02; done; kill -USR1 $p; wait $p; echo $?; cat f",
    ),
    (
        "ignored signals stay ignored",
        "(trap '' HUP TERM; $DO sh -c 'kill -HUP $$; kill -TERM $$; echo survived'); echo $?",
    ),
    ("appending", "echo one > f; $DO echo two >> f; $DO sh -c 'echo three; echo four' >> f; echo five >> f; cat f"),
    ("output shares its offset", "($DO echo a; echo b; $DO echo c) > f; cat f"),
    (
        "input shares its offset",
        "printf 'abcdefgh\\nsecond\\n' > f; ($DO head -c 3; echo; cat) < f; ($DO sh -c 'read x; echo $x'; cat) < f",
    ),
    ("a reader that leaves", "$DO yes | head -1; echo ${PIPESTATUS[*]}"),
    (
        "a reader that leaves, SIGPIPE ignored",
        "(trap '' PIPE; $DO yes 2>f | head -1; echo ${PIPESTATUS[0]}); grep -c pipe f",
    ),
    ("closed input", "$DO cat <&-; echo $?; $DO sh -c 'readlink /proc/self/fd/0 >/dev/null && echo open' <&-; echo $?"),
    (
        "closed output",
        "$DO echo hi >&-; echo $?; $DO sh -c 'echo hi >&2' 2>&-; echo $?; $DO true <&- >&- 2>&-; echo $?",
    ),
    ("much through pipes", "head -c 3000000 /dev/zero | $DO cat | $DO wc -c"),
    ("nothing to read", "$DO cat < /dev/null; echo $?; : | $DO cat; echo $?"),
    (
        "directory, mask, limits, environment",
        "cd /usr/lib; umask 031; ulimit -Sn 77; export A='b c'; $DO sh -c 'pwd; umask; ulimit -n; echo \"$A\"'",
    ),
    ("host name", "$DO uname -n"),
    ("arguments as they are", "$DO printf '[%s]' -a --b '' ' ' '*' $'\\xff' --; echo"),
    (
        "several at once",
        "for i in 1 2 3 4; do $DO sh -c \"sleep 0.1; echo $i > f$i\" & done; wait; ls f? 2>/dev/null | wc -l > f; $DO true; echo $?",
    ),
];

/// An ordinary user that nothing belongs to.
const USER: &str = "54321";

/// Runs the cases, the terminal sessions and, as root, those of an ordinary user.
pub(crate) fn run(common: &Common, tally: &mut Tally) -> Result<()> {
    need(&[("perl", "perl"), ("setsid", "util-linux"), ("busybox", "busybox-static"), ("gcc", "gcc")])?;
    let runsc = runsc(common)?;
    let wanted = |name: &str| common.filter.as_deref().is_none_or(|f| name.contains(f));
    for (name, script) in CASES.iter().filter(|(name, _)| wanted(name)) {
        let native = shell(script, "")?;
        for platform in &common.platform {
            let ours = shell(script, &format!("{} --platform={platform} do", runsc.display()))?;
            let differs = native.stdout != ours.stdout || native.code != ours.code;
            let why = || format!("{}; stderr: {}", first_difference(&native.stdout, &ours.stdout), ours.complaint());
            tally.check(&format!("{name} on {platform}"), differs.then(why));
        }
    }
    for (name, session) in
        [("job control inside", inside as fn(&str) -> Result<()>), ("a job of the caller's shell", as_job)]
    {
        if !wanted(name) {
            continue;
        }
        tally.check(&format!("{name} natively"), session("").err().map(|e| format!("{e:#}")));
        for platform in &common.platform {
            let prefix = format!("{} --platform={platform} do ", runsc.display());
            let problem = session(&prefix).err();
            tally.check(&format!("{name} on {platform}"), problem.map(|e| format!("{e:#}")));
        }
    }
    for platform in &common.platform {
        crate::passed::run(&runsc, platform, &wanted, tally)?;
    }
    if wanted("ordinary user") {
        ordinary_user(common, &runsc, tally)?;
    }
    Ok(())
}

/// Runs a script in a directory of its own.
fn shell(script: &str, prefix: &str) -> Result<Ended> {
    let dir = tempfile::Builder::new().prefix("runsc-caller").tempdir().context("make a directory")?;
    // Inside, the directory is behind a memory overlay: what programs leave is compared by what they print.
    let mut command = Command::new("bash");
    command.args(["-c", script]).env("DO", prefix).env("LC_ALL", "C").current_dir(dir.path());
    run_command(&mut command, Duration::from_secs(60))
}

/// Says when it runs and when it goes on, and repeats what is typed. The text as typed doesn't contain what is printed.
/// Its handler must run at once: Perl's deferred ones would wait for the next line when the signal comes just before the read. (The quotes keep the word from being counted as a keyword.)
const TALKER: &str = r#"env PERL_SIGNALS=un''safe perl -e '$|=1; $SIG{CONT}=sub{print "re","sumed\n"}; print "sta","rted\n"; while(<STDIN>){print "got $_"}'"#;

/// An interactive shell runs in the sandbox.
fn inside(prefix: &str) -> Result<()> {
    let mut session = Session::start(&format!("exec {prefix}env PS1='@ ' bash --norc --noprofile -i"))?;
    session.await_text("@ ")?;
    session.say("echo $((40+2))\n", "\n42\r\n@ ")?;
    session.say(&format!("{TALKER}\n"), "\nstarted")?;
    session.say("\x03", "@ ")?;
    session.say("echo st=$?\n", "\nst=130\r\n@ ")?;
    session.say(&format!("{TALKER}\n"), "\nstarted")?;
    session.say("\x1a", "Stopped")?;
    session.await_text("@ ")?;
    session.say("fg\n", "resumed")?;
    session.say("one\n", "got one")?;
    session.say("\x04", "@ ")?;
    session.resize(Winsize { ws_row: 33, ws_col: 77, ws_xpixel: 0, ws_ypixel: 0 })?;
    session.say(&format!("{TALKER}\n"), "\nstarted")?;
    session.say("\x04", "@ ")?;
    session.say("stty size\n", "\n33 77\r\n@ ")?;
    session.say("sleep 0.2 & wait; echo do''ne\n", "\ndone\r\n@ ")?;
    session.send("exit 7\n")?;
    let code = session.finish()?;
    anyhow::ensure!(code == 7, "exit status {code} instead of 7");
    Ok(())
}

/// A program in the sandbox is a job of an interactive shell outside.
fn as_job(prefix: &str) -> Result<()> {
    let stopped = "until jobs | grep -q Stopped; do sleep 0.05; done; echo st''opped\n";
    let mut session = Session::start("PS1='@ ' exec bash --norc --noprofile -i")?;
    session.await_text("@ ")?;
    session.say(&format!("{prefix}{TALKER}\n"), "\nstarted")?;
    session.say("one\n", "got one")?;
    session.say("\x1a", "Stopped")?;
    session.await_text("@ ")?;
    session.say("fg\n", "resumed")?;
    session.say("two\n", "got two")?;
    session.say("\x04", "@ ")?;
    session.say(&format!("{prefix}{TALKER} &\n"), "@ ")?;
    session.say(stopped, "\nstopped")?;
    session.await_text("@ ")?;
    session.say("fg\n", "resumed")?;
    session.say("three\n", "got three")?;
    session.say("\x03", "@ ")?;
    session.say("echo st=$?\n", "\nst=130\r\n@ ")?;
    session.send("exit 3\n")?;
    let code = session.finish()?;
    anyhow::ensure!(code == 3, "exit status {code} instead of 3");
    Ok(())
}

/// `--rootless`: an ordinary user, without helpers such as newuidmap.
fn ordinary_user(common: &Common, runsc: &Path, tally: &mut Tally) -> Result<()> {
    crate::setup::root("becoming an ordinary user needs it")?;
    let dir = tempfile::Builder::new().prefix("runsc-user").tempdir().context("make a directory")?;
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).context("open the directory up")?;
    let own = dir.path().join("runsc");
    fs::copy(runsc, &own).context("copy runsc to where the user may run it")?;
    let bundle = dir.path().join("bundle");
    busybox_rootfs(&bundle.join("rootfs"))?;
    fs::write(bundle.join("secret"), "secret").context("write a file")?;
    fs::set_permissions(bundle.join("secret"), fs::Permissions::from_mode(0o600)).context("close a file")?;
    let mut config =
        plain("id -u; hostname; touch /x && echo written; cat /secret 2>/dev/null || echo no; kill -9 $$; exit 9");
    config["mounts"] = json!([{"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["size=1m"]}]);
    fs::write(bundle.join("config.json"), config.to_string()).context("write config.json")?;
    for platform in &common.platform {
        let flags = ["--rootless".to_owned(), format!("--platform={platform}")];
        let script = "id -u; echo x > /etc/passwd && echo in memory; cat /etc/shadow 2>/dev/null || echo no; exit 4";
        let ended = as_user(&own, &flags, &["do", "sh", "-c", script])?;
        let problem = differs(&ended, 4, "0\nin memory\nno\n");
        tally.check(&format!("ordinary user: do on {platform}"), problem);
        let at = bundle.to_string_lossy().into_owned();
        let ended = as_user(&own, &flags, &["run", "--bundle", &at, "of-a-user"])?;
        tally.check(&format!("ordinary user: run on {platform}"), differs(&ended, 9, "0\nbox\nwritten\nno\n"));
        let problem = confined(&own, &flags)?;
        tally.check(&format!("ordinary user: confinement on {platform}"), problem);
    }
    let mut refused = Command::new(build_wrapper()?);
    refused.args(["unshare,clone", "/usr/bin/setpriv", "--reuid", USER, "--regid", USER, "--clear-groups"]);
    refused.arg(&own).args(["--rootless", "do", "true"]).current_dir("/");
    let ended = run_command(&mut refused, Duration::from_secs(20))?;
    let told = ended.code == 128 && String::from_utf8_lossy(&ended.stderr).contains("sysctl");
    tally.check(
        "ordinary user: no namespaces, way out",
        (!told).then(|| format!("{}: {}", ended.code, ended.complaint())),
    );
    Ok(())
}

fn differs(ended: &Ended, code: i32, stdout: &str) -> Option<String> {
    let said = String::from_utf8_lossy(&ended.stdout);
    (ended.code != code || said != stdout)
        .then(|| format!("{} and {said:?}; stderr: {}", ended.code, ended.complaint()))
}

fn user_command(runsc: &Path, flags: &[String], args: &[&str]) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", USER, "--regid", USER, "--clear-groups"])
        .arg(runsc)
        .args(flags)
        .args(args)
        .current_dir("/");
    command
}

fn as_user(runsc: &Path, flags: &[String], args: &[&str]) -> Result<Ended> {
    run_command(&mut user_command(runsc, flags, args), Duration::from_secs(30))
}

/// While a program runs: every process of the sandbox but the command line is the user's, filtered and without new
/// privileges; the sentry and its stubs have no capabilities either.
fn confined(runsc: &Path, flags: &[String]) -> Result<Option<String>> {
    use std::io::Read;
    let mut command = user_command(runsc, flags, &["do", "sh", "-c", "echo up; exec sleep 100"]);
    let mut child = command.process_group(0).stdout(std::process::Stdio::piped()).spawn().context("start runsc")?;
    let mut up = [0; 3];
    child.stdout.as_mut().context("its output")?.read_exact(&mut up).context("wait for the program")?;
    let mut problem = None;
    for pid in processes(runsc).into_iter().filter(|pid| *pid != child.id()) {
        let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { continue };
        let field =
            |name: &str| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("?").trim().to_owned();
        let gofer = fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"runsc-gofer"));
        let fine = field("Uid:").split_whitespace().all(|uid| uid == USER)
            && field("Seccomp:") == "2"
            && field("NoNewPrivs:") == "1"
            && (gofer || field("CapEff:") == "0000000000000000");
        if !fine {
            problem = Some(format!("process {pid} is too free: {}", status.replace('\n', ", ")));
        }
    }
    crate::host::kill(&mut child);
    let left = wait_for_none(runsc);
    Ok(problem.or(left))
}

/// Waits a little for the processes of a program to be gone; says which aren't.
pub(crate) fn wait_for_none(program: &Path) -> Option<String> {
    let mut left = Default::default();
    for _ in 0..200 {
        left = processes(program);
        if left.is_empty() {
            return None;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Some(format!("processes left: {left:?}"))
}
