//! A host as they are today: systemd and cgroups of version 2 alone, in a virtual machine made of this machine's own
//! packages, with Debian's kernel. Its cases compare runc and runsc in there.
//!
//! The disk is made once and kept; runsc, the image and the script come on a second one. What the script prints comes back
//! over a serial line. Nothing is accelerated, so that it works in virtual machines too; booting takes some 20 s.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::{CONTAINERD, DOCKER, PODMAN, image, judge, split};
use crate::host::run as run_command;
use crate::setup::{need, output, workspace};
use crate::tally::Tally;

/// What makes the machine.
const TOOLS: &[(&str, &str)] = &[
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("/usr/share/seabios/bios-256k.bin", "seabios"),
    ("depmod", "kmod"),
    ("mke2fs", "e2fsprogs"),
    ("systemctl", "systemd"),
    ("dbus-daemon", "dbus"),
    ("python3", "python3"),
];

/// What is in it, with everything that these depend on.
const PACKAGES: &str = "systemd systemd-sysv dbus dbus-daemon dbus-user-session libpam-systemd libpam-modules libpam-runtime \
                        kmod mount util-linux bash dash coreutils sed grep mawk findutils procps hostname iproute2 iptables \
                        docker.io containerd runc podman conmon busybox-static tar gzip passwd uidmap python3-minimal \
                        python3 base-files base-passwd slirp4netns";

/// Modules of the kernel that find the disk, in the order of their needs.
const MODULES: &[&str] =
    &["virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "virtio_blk"];

/// Changes when the disk has to be made anew.
const VERSION: &str = "1";

/// The longest that the machine may run.
const LIMIT: Duration = Duration::from_secs(1800);

/// Makes the machine and runs the script in it.
pub(super) fn run(runsc: &Path, work: &Path, tally: &mut Tally) -> Result<()> {
    [TOOLS, DOCKER, PODMAN, CONTAINERD].into_iter().try_for_each(need)?;
    let place = base()?;
    let given = work.join("given");
    fs::create_dir_all(&given).context("make a directory")?;
    let tar = image(work)?;
    let bundle = given.join("bundle");
    fs::create_dir_all(bundle.join("rootfs")).context("make a bundle")?;
    crate::bundles::busybox_rootfs(&bundle.join("rootfs"))?;
    fs::write(bundle.join("config.json"), crate::bundles::plain("eval \"$(cat /script)\"").to_string())?;
    for (from, name) in [
        (runsc.to_owned(), "runsc"),
        (tar, "image.tar"),
        (workspace().join("tests/engines/systemd.sh"), "systemd.sh"),
        (workspace().join("tests/engines/machine.sh"), "machine.sh"),
    ] {
        fs::copy(&from, given.join(name)).with_context(|| format!("copy {}", from.display()))?;
    }
    let (disk, said) = (work.join("disk"), work.join("said"));
    mke2fs(&given, &disk, 1200)?;
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args([
        "-M",
        "q35",
        "-cpu",
        "max",
        "-m",
        "3G",
        "-smp",
        "2",
        "-display",
        "none",
        "-monitor",
        "none",
        "-no-reboot",
    ]);
    qemu.args(["-serial", &format!("file:{}", work.join("console").display())]);
    qemu.args(["-serial", &format!("file:{}", said.display()), "-net", "none"]);
    qemu.arg("-kernel").arg(place.join("kernel")).arg("-initrd").arg(place.join("initrd"));
    qemu.args(["-append", "console=ttyS0 quiet systemd.show_status=0 mitigations=off apparmor=0 panic=-1"]);
    qemu.args(["-drive", &format!("file={},if=virtio,format=raw,snapshot=on", place.join("disk").display())]);
    qemu.args(["-drive", &format!("file={},if=virtio,format=raw,cache=unsafe", disk.display())]);
    let ended = run_command(&mut qemu, LIMIT)?;
    let text = fs::read_to_string(&said).unwrap_or_default();
    let (theirs, ours) = text.split_once("##### runsc\n").unwrap_or((&text, ""));
    let (ours, finished) = ours.split_once("##### end\n").map_or((ours, false), |(ours, _)| (ours, true));
    if !finished {
        let console = fs::read_to_string(work.join("console")).unwrap_or_default();
        let tail: Vec<&str> = text.lines().chain(console.lines()).rev().take(5).collect();
        bail!("the machine has not come to its end: {} | {}", ended.complaint(), tail.join(" | "));
    }
    ensure!(!split(theirs).is_empty(), "the machine has said nothing of runc");
    judge("systemd", &split(theirs), &split(ours), tally);
    Ok(())
}

/// Makes kernel, initial file system and disk, unless they are there.
fn base() -> Result<PathBuf> {
    let place = output("machine")?;
    let stamp = place.join("version");
    if fs::read_to_string(&stamp).is_ok_and(|text| text == VERSION) {
        return Ok(place);
    }
    println!("     making a virtual machine of this machine's packages");
    let script = workspace().join("tests/engines/machine-base.sh");
    let mut command = Command::new("bash");
    command.arg(script).env("PLACE", &place).env("PACKAGES", PACKAGES).env("MODULES", MODULES.join(" "));
    let ended = run_command(&mut command, LIMIT)?;
    ensure!(ended.code == 0, "making the machine: {}", ended.complaint());
    initrd(&place)?;
    mke2fs(&place.join("tree"), &place.join("disk"), 2500)?;
    fs::remove_dir_all(place.join("tree")).context("remove what is on the disk now")?;
    fs::write(&stamp, VERSION).context("note the machine's version")?;
    Ok(place)
}

/// Packs what mounts the disk.
fn initrd(place: &Path) -> Result<()> {
    let dir = place.join("init");
    for name in ["bin", "dev", "new"] {
        fs::create_dir_all(dir.join(name)).context("make the initial file system")?;
    }
    fs::copy("/bin/busybox", dir.join("bin/busybox")).context("copy busybox")?;
    let _ = fs::remove_file(dir.join("bin/sh"));
    symlink("busybox", dir.join("bin/sh")).context("link a shell")?;
    let script = format!(
        "#!/bin/sh\nb=/bin/busybox\n$b mount -t devtmpfs dev /dev\nfor m in {}; do $b insmod /modules/$m.ko; done\n\
         $b mount -t ext4 /dev/vda /new || $b reboot -f\nexec $b switch_root /new /sbin/init\n",
        MODULES.join(" ")
    );
    fs::write(dir.join("init"), script).context("write init")?;
    fs::set_permissions(dir.join("init"), Permissions::from_mode(0o755)).context("make init a program")?;
    let pack = format!("cd {} && find . | busybox cpio -o -H newc >{}", dir.display(), place.join("initrd").display());
    super::shell(&pack)
}

/// Makes a file system of a directory, of so many mebibytes.
fn mke2fs(dir: &Path, disk: &Path, size: u32) -> Result<()> {
    let _ = fs::remove_file(disk);
    super::shell(&format!("mke2fs -q -t ext4 -O ^has_journal -d {} {} {size}M", dir.display(), disk.display()))
}
