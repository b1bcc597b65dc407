//! `xtask engines`: Docker, Podman and containerd from Debian's packages, started here, with `runsc` as their runtime.
//!
//! A script under `engines/` says what is done, case by case (`== name` begins one). It runs with runc and with runsc, and
//! each case must print the same with both.

mod conformance;
mod crash;
mod cri;
mod daemon;
mod dockerd;
mod killed;
mod machine;
mod network;
mod rootless;

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::mount::{UnmountFlags, unmount};
use rustix::termios::Winsize;

use crate::Common;
use crate::bad_input::processes;
use crate::host::{first_difference, run as run_command};
use crate::pty::Session;
use crate::setup::{need, root, runsc, workspace};
use crate::tally::Tally;
use daemon::Daemon;
pub(crate) use dockerd::Dockerd;

/// What each engine needs: programs and their packages.
const COMMON: &[(&str, &str)] = &[("/bin/busybox", "busybox-static"), ("runc", "runc"), ("script", "bsdutils")];
const DOCKER: &[(&str, &str)] =
    &[("dockerd", "docker.io"), ("docker", "docker.io"), ("docker-compose", "docker-compose")];
const PODMAN: &[(&str, &str)] = &[("podman", "podman"), ("conmon", "conmon")];
const CONTAINERD: &[(&str, &str)] = &[("containerd", "containerd"), ("ctr", "containerd")];

/// Longest time that all cases of one script with one runtime may take.
const LIMIT: Duration = Duration::from_secs(400);

/// Says what it hears of its terminal.
const KEYS: &str = "trap 'echo interrupted' INT; trap 'stty size' WINCH; trap 'exit 6' QUIT; \
                    until stty size 2>/dev/null | grep -q '24 80'; do sleep 0.05; done; echo ready; \
                    while :; do sleep 0.05; done\n";

/// Runs each engine's script with both runtimes.
pub(crate) fn run(common: &Common, tally: &mut Tally) -> Result<()> {
    root("starting engines needs it")?;
    need(COMMON)?;
    // A program of our own: others' sandboxes on this machine are none of this suite's business.
    let own = tempfile::Builder::new().prefix("runsc-engines-").tempdir().context("make a directory")?;
    fs::copy(runsc(common)?, own.path().join("runsc")).context("copy runsc")?;
    let runsc = own.path().join("runsc").canonicalize().context("find the copy")?;
    let before = processes(&runsc);
    let wanted = |name: &str| common.filter.as_deref().is_none_or(|filter| name.contains(filter));
    let engines: [(&str, fn(&Path, &Path, &mut Tally) -> Result<()>); 10] = [
        ("runtime", runtime),
        ("conformance", conformance::run),
        ("docker", docker),
        ("killed", killed::run),
        ("network", network::run),
        ("podman", podman),
        ("rootless", rootless::run),
        ("containerd", containerd),
        ("cri", cri::run),
        ("systemd", machine::run),
    ];
    for (name, engine) in engines.into_iter().filter(|(name, _)| wanted(name)) {
        let work = tempfile::Builder::new().prefix("runsc-engines-").tempdir().context("make a directory")?;
        tally.suite(name, |tally| engine(&runsc, work.path(), tally));
        unmount_below(work.path());
    }
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline && processes(&runsc).difference(&before).next().is_some() {
        std::thread::sleep(Duration::from_millis(50));
    }
    let left = processes(&runsc).difference(&before).count();
    tally.check("engines: no process is left", (left > 0).then(|| format!("{left} still live")));
    Ok(())
}

/// Unmounts what engines have left mounted in a directory: their data, a network namespace.
fn unmount_below(dir: &Path) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let places = mounts.lines().rev().filter_map(|line| line.split(' ').nth(1)).map(Path::new);
    for place in places.filter(|place| place.starts_with(dir)) {
        // What stays keeps the directory from being removed, and nothing else.
        let _ = unmount(place, UnmountFlags::DETACH);
    }
}

/// Makes an image's files: busybox and the little that programs look for.
fn image(work: &Path) -> Result<PathBuf> {
    let rootfs = work.join("rootfs");
    for dir in ["bin", "etc", "tmp", "home", "root"] {
        fs::create_dir_all(rootfs.join(dir)).context("make the image")?;
    }
    fs::copy("/bin/busybox", rootfs.join("bin/busybox")).context("copy busybox")?;
    let names = Command::new("/bin/busybox").arg("--list").output().context("list busybox's programs")?;
    for name in String::from_utf8_lossy(&names.stdout).lines().filter(|name| *name != "busybox") {
        symlink("busybox", rootfs.join("bin").join(name)).context("link busybox's programs")?;
    }
    let users = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home:/bin/sh\n";
    fs::write(rootfs.join("etc/passwd"), users).context("write the image's users")?;
    fs::write(rootfs.join("etc/group"), "root:x:0:\nuser:x:1000:\n").context("write the image's groups")?;
    fs::write(rootfs.join("bin/keys"), KEYS).context("write a script")?;
    // What keeps a pod.
    fs::write(rootfs.join("bin/pause"), "#!/bin/sh\nexec sleep 1000000\n").context("write a script")?;
    fs::set_permissions(rootfs.join("bin/pause"), Permissions::from_mode(0o755)).context("make a script a program")?;
    let tar = work.join("image.tar");
    let packed = Command::new("tar").arg("-C").arg(&rootfs).arg("-cf").arg(&tar).arg(".").status();
    if !packed.context("run tar")?.success() {
        bail!("tar can't pack the image");
    }
    Ok(tar)
}

/// Makes a bundle for a runtime, whose program is `sh -c "$(cat /script)"`; returns what the script is told of both.
fn bundle_of(work: &Path, name: &str, program: &str) -> Result<Vec<(&'static str, String)>> {
    let bundle = work.join(name).join("bundle");
    fs::create_dir_all(bundle.join("rootfs")).context("make a bundle")?;
    crate::bundles::busybox_rootfs(&bundle.join("rootfs"))?;
    let config = crate::bundles::plain("eval \"$(cat /script)\"");
    fs::write(bundle.join("config.json"), config.to_string()).context("write config.json")?;
    let root = work.join(name).join("root");
    Ok(vec![("RT", format!("{program} --root {}", root.display())), ("BUNDLE", bundle.display().to_string())])
}

fn runtime(runsc: &Path, work: &Path, tally: &mut Tally) -> Result<()> {
    need(&[("python3", "python3")])?;
    let theirs = bundle_of(work, "runc", "runc")?;
    let ours = bundle_of(work, "runsc", &runsc.display().to_string())?;
    compare("runtime", work, &theirs, &ours, tally)?;
    crash::run(runsc, &work.join("runsc/bundle"), work, tally)
}

fn docker(runsc: &Path, work: &Path, tally: &mut Tally) -> Result<()> {
    need(DOCKER)?;
    let config = work.join("daemon.json");
    let runtimes = [("runsc", vec![]), ("runsc-shared", vec!["--overlay2=none".to_owned()])];
    let runtimes = runtimes.into_iter().map(|(name, flags)| (name.to_owned(), runsc.to_owned(), flags));
    let (_daemon, socket) = dockerd::start(work, runtimes)?;
    let client = format!("docker -H {socket}");
    let environment = |runtime: &str, shared: &str| {
        vec![
            ("DOCKER", client.clone()),
            ("DOCKER_HOST", socket.clone()),
            ("RUNTIME", runtime.to_owned()),
            ("SHARED", shared.to_owned()),
            ("DAEMON_CONFIG", config.display().to_string()),
            ("DAEMON_PID", work.join("pid").display().to_string()),
        ]
    };
    compare("docker", work, &environment("runc", "runc"), &environment("runsc", "runsc-shared"), tally)?;
    for runtime in ["runc", "runsc"] {
        let run = format!("{client} run --runtime {runtime} --network none --rm -it busy sh /bin/keys");
        let failed = terminal(&run).err().map(|error| format!("{error:#}"));
        tally.check(&format!("docker: a terminal's window and keys, {runtime}"), failed);
        shell(&format!("{client} run --runtime {runtime} --network none -d --name beside busy sleep 1000"))?;
        let failed =
            terminal(&format!("{client} exec -it beside sh /bin/keys")).err().map(|error| format!("{error:#}"));
        tally.check(&format!("docker: the terminal of exec, {runtime}"), failed);
        shell(&format!("{client} rm -f beside"))?;
        shell(&format!("{client} run --runtime {runtime} --network none -dit --name attached busy sh"))?;
        let failed = attached(&client).err().map(|error| format!("{error:#}"));
        tally.check(&format!("docker: attached, detached and attached again, {runtime}"), failed);
        shell(&format!("{client} rm -f attached"))?;
    }
    Ok(())
}

/// Works with [`KEYS`] on a terminal: window size and its changes, the keys that interrupt and end.
fn terminal(line: &str) -> Result<()> {
    let mut session = Session::start(line)?;
    session.await_text("ready")?;
    session.say("\x03", "interrupted")?;
    session.resize(Winsize { ws_row: 33, ws_col: 77, ws_xpixel: 0, ws_ypixel: 0 })?;
    session.await_text("33 77")?;
    session.send("\x1c")?;
    match session.finish()? {
        6 => Ok(()),
        code => bail!("it ended with {code}"),
    }
}

/// Leaves a container by the keys for that, comes back to the same shell, and ends it.
fn attached(client: &str) -> Result<()> {
    let attach = format!("{client} attach attached");
    let mut session = Session::start(&attach)?;
    session.say("mark=kept; echo on$mark\r", "onkept")?;
    session.send("\x10\x11")?;
    session.finish()?;
    let running = shows(&format!("{client} inspect -f '{{{{.State.Status}}}}' attached"), "running")?;
    if let Some(why) = running {
        bail!("detached from, it doesn't run: {why}");
    }
    let mut session = Session::start(&attach)?;
    session.say("echo again$mark\r", "againkept")?;
    session.send("exit 3\r")?;
    match session.finish()? {
        3 => Ok(()),
        code => bail!("the second time it ended with {code}"),
    }
}

fn podman(runsc: &Path, work: &Path, tally: &mut Tally) -> Result<()> {
    need(PODMAN)?;
    let tar = image(work)?;
    let place = |runtime: &str, binary: &str| {
        let dir = work.join(runtime);
        format!(
            "podman --root {0}/root --runroot {0}/run --tmpdir {0}/tmp --storage-driver vfs --cgroup-manager cgroupfs \
             --events-backend file --runtime {binary}",
            dir.display()
        )
    };
    let (theirs, ours) = (place("runc", "runc"), place("runsc", &runsc.display().to_string()));
    for podman in [&theirs, &ours] {
        shell(&format!("{podman} import {} busy", tar.display()))?;
    }
    let shared = format!("{ours} --runtime-flag overlay2=none");
    let (theirs, ours) =
        ([("PODMAN", theirs.clone()), ("PODMAN_SHARED", theirs)], [("PODMAN", ours), ("PODMAN_SHARED", shared)]);
    compare("podman", work, &theirs, &ours, tally)?;
    // As `runsc install` has it, named by its name.
    let conf = work.join("installed.conf");
    shell(&format!("{} install --engine podman --config_file {}", runsc.display(), conf.display()))?;
    let named = place("runsc", "runsc");
    let line = format!("CONTAINERS_CONF={} {named} run --rm --network none busy echo installed", conf.display());
    tally.check("podman: installed", shows(&line, "installed")?);
    Ok(())
}

fn containerd(runsc: &Path, work: &Path, tally: &mut Tally) -> Result<()> {
    need(CONTAINERD)?;
    // containerd imports images that Docker saves, not bare file trees.
    need(DOCKER)?;
    image(work)?;
    let oci = work.join("oci.tar");
    oci_image(work, "busy", &["sh"], &oci)?;
    let (socket, config) = (work.join("sock"), work.join("config.toml"));
    let text = format!(
        "version = 2\nroot = \"{0}/root\"\nstate = \"{0}/state\"\n[grpc]\n  address = \"{1}\"\n",
        work.display(),
        socket.display()
    );
    fs::write(&config, text).context("write containerd's configuration")?;
    let mut command = Command::new("containerd");
    command.arg("-c").arg(&config);
    let client = format!("ctr -a {}", socket.display());
    let _daemon = Daemon::start(command, &work.join("log"), &format!("{client} version"))?;
    shell(&format!("{client} images import --snapshotter native {}", oci.display()))?;
    let environment = |binary: &str| {
        vec![
            ("CTR", client.clone()),
            ("BINARY", binary.to_owned()),
            ("IMAGE", "docker.io/library/busy:latest".to_owned()),
        ]
    };
    compare("containerd", work, &environment("runc"), &environment(&runsc.display().to_string()), tally)?;
    let install = format!("{} install --engine containerd --config_file {}", runsc.display(), config.display());
    shell(&format!("{install} --cgroupdriver cgroupfs"))?;
    let line = format!("containerd -c {} config dump | grep -A 40 runtimes.runsc", config.display());
    tally.check("containerd: installed", shows(&line, &format!("BinaryName = \"{}\"", runsc.display()))?);
    Ok(())
}

/// Runs a command line that must print a text; says what it prints instead.
fn shows(line: &str, text: &str) -> Result<Option<String>> {
    let ended = run_command(Command::new("sh").arg("-c").arg(line), LIMIT)?;
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    Ok((ended.code != 0 || !said.contains(text))
        .then(|| format!("status {}: {said} {}", ended.code, ended.complaint())))
}

/// Packs the image, by a name and with a command, as `docker save` does: one layer, a configuration and a manifest.
fn oci_image(work: &Path, name: &str, command: &[&str], to: &Path) -> Result<()> {
    let dir = work.join("oci");
    fs::create_dir_all(&dir).context("make a directory")?;
    fs::copy(work.join("image.tar"), dir.join("layer.tar")).context("copy the layer")?;
    let digest = Command::new("sha256sum").arg(dir.join("layer.tar")).output().context("run sha256sum")?;
    let digest = String::from_utf8_lossy(&digest.stdout).split(' ').next().unwrap_or_default().to_owned();
    let config = serde_json::json!({
        "architecture": "amd64",
        "os": "linux",
        "config": { "Env": ["PATH=/bin"], "Cmd": command },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{digest}")] },
    });
    let manifest = serde_json::json!([{ "Config": "config.json", "RepoTags": [format!("{name}:latest")], "Layers": ["layer.tar"] }]);
    fs::write(dir.join("config.json"), config.to_string()).context("write the image's configuration")?;
    fs::write(dir.join("manifest.json"), manifest.to_string()).context("write the image's manifest")?;
    shell(&format!("tar -C {} -cf {} manifest.json config.json layer.tar", dir.display(), to.display()))
}

/// Runs a command line that must succeed.
fn shell(line: &str) -> Result<()> {
    let ended = run_command(Command::new("sh").arg("-c").arg(line), LIMIT)?;
    if ended.code != 0 {
        bail!("`{line}` ended with status {}: {}", ended.code, ended.complaint());
    }
    Ok(())
}

/// Runs a script with both runtimes and compares what its cases print.
fn compare(
    name: &str,
    work: &Path,
    theirs: &[(&str, String)],
    ours: &[(&str, String)],
    tally: &mut Tally,
) -> Result<()> {
    let cases = |which: &str, environment: &[(&str, String)]| -> Result<Cases> {
        Ok(split(&script(name, work, which, environment)?))
    };
    let (expected, got) = (cases("runc", theirs)?, cases("runsc", ours)?);
    judge(name, &expected, &got, tally);
    Ok(())
}

/// Runs a script with one runtime; returns what it prints.
fn script(name: &str, work: &Path, which: &str, environment: &[(&str, String)]) -> Result<String> {
    let dir = work.join(format!("work-{which}"));
    fs::create_dir_all(&dir).context("make a directory")?;
    let mut command = Command::new("bash");
    command.arg(workspace().join(format!("tests/engines/{name}.sh")));
    command.env("WORK", &dir).envs(environment.iter().map(|(key, value)| (key, value)));
    let started = Instant::now();
    let ended = run_command(&mut command, LIMIT)?;
    println!("     {name} with {which}: {:.1} s", started.elapsed().as_secs_f64());
    if ended.code != 0 {
        println!("     {}", ended.complaint());
    }
    Ok(String::from_utf8_lossy(&ended.stdout).into_owned())
}

/// What a script printed, by the number of the case, with the case's name.
type Cases = BTreeMap<usize, (String, String)>;

/// Compares what the cases have printed with runc and with runsc.
fn judge(name: &str, expected: &Cases, got: &Cases, tally: &mut Tally) {
    for (number, (case, text)) in expected {
        let ours = got.get(number).map_or("", |(_, text)| text.as_str());
        let problem = match text.lines().find(|line| line.starts_with("never: ")) {
            // What fails with both proves nothing.
            Some(line) => Some(format!("runc doesn't get there: {line}")),
            None => (ours != text).then(|| first_difference(text.as_bytes(), ours.as_bytes())),
        };
        tally.check(&format!("{name}: {case}"), problem);
    }
}

/// What runc says about its own work when the host is slow.
const NOISE: &[&str] = &["container's cgroup is not empty"];

/// Splits a script's output into its cases.
fn split(text: &str) -> Cases {
    let mut cases = Cases::new();
    for line in text.lines().filter(|line| !NOISE.iter().any(|noise| line.contains(noise))) {
        if let Some(name) = line.strip_prefix("== ") {
            cases.insert(cases.len(), (name.to_owned(), String::new()));
        } else if let Some(mut last) = cases.last_entry() {
            last.get_mut().1.push_str(line.trim_end());
            last.get_mut().1.push('\n');
        }
    }
    cases
}

#[cfg(test)]
mod tests {
    #[test]
    fn cases_are_split_at_their_names() {
        let noise = "time=\"x\" level=warning msg=\"container's cgroup is not empty: 1 process(es) found\"";
        let cases = super::split(&format!("before\n== a\n1\n{noise}\n2\r\n== b\n"));
        assert_eq!(cases[&0], ("a".to_owned(), "1\n2\n".to_owned()));
        assert_eq!(cases[&1], ("b".to_owned(), String::new()));
    }
}
