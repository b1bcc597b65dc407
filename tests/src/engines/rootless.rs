//! Podman of an ordinary user, who is made for the suite and goes with it.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result};

use super::{PODMAN, compare, image, shell};
use crate::setup::need;
use crate::tally::Tally;

/// What an ordinary user's containers need besides.
const NEEDS: &[(&str, &str)] = &[
    ("newuidmap", "uidmap"),
    ("runuser", "util-linux"),
    ("useradd", "passwd"),
    ("slirp4netns", "slirp4netns"),
    ("curl", "curl"),
];

/// The user; the name is long so that it is nobody's.
const USER: &str = "runsc-engines-test";

/// The user as long as the suite lasts.
struct User;

impl User {
    fn make() -> Result<User> {
        // An earlier run may have been killed.
        drop(User);
        shell(&format!("useradd --no-create-home --shell /bin/sh {USER}"))?;
        Ok(User)
    }
}

impl Drop for User {
    fn drop(&mut self) {
        // A pause process of podman's keeps the user namespace. Without the user there is nothing to be done.
        let _ =
            shell(&format!("id {USER} 2>/dev/null && {{ pkill -KILL -u {USER}; sleep 0.2; userdel {USER}; }}; true"));
    }
}

/// Runs the cases as an ordinary user, with both runtimes.
pub(super) fn run(runsc: &Path, work: &Path, tally: &mut Tally) -> Result<()> {
    need(PODMAN)?;
    need(NEEDS)?;
    let tar = image(work)?;
    let _user = User::make()?;
    // The way to the directory, and to a copy of the program.
    let ours = work.join("runsc-under-test");
    fs::copy(runsc, &ours).context("copy runsc")?;
    for path in [work, &ours] {
        fs::set_permissions(path, Permissions::from_mode(0o755)).context("open up a path")?;
    }
    // What makes a user's network, and the view for podman; on many hosts everybody may use them.
    let (tun, fuse) = (work.join("tun"), work.join("fuse"));
    for (device, number) in [(&tun, 200), (&fuse, 229)] {
        shell(&format!("mknod {0} c 10 {number} && chmod 666 {0}", device.display()))?;
    }
    let place = |runtime: &str, binary: &str| -> Result<String> {
        let dir = work.join(runtime);
        fs::create_dir_all(dir.join("xdg")).context("make a directory")?;
        let made = work.join(format!("work-{runtime}"));
        fs::create_dir_all(made.join("secret")).context("make a directory")?;
        fs::write(made.join("secret/key"), "key\n").context("write a file")?;
        shell(&format!("chown -R {USER} {} {}", dir.display(), made.display()))?;
        shell(&format!("chown -R 0:0 {0} && chmod 700 {0}", made.join("secret").display()))?;
        // One word for the script.
        let wrapper = work.join(format!("podman-{runtime}"));
        let line = format!(
            "#!/bin/sh\nexec unshare --mount sh -c 'mount --bind {tun} /dev/net/tun && mount --bind {fuse} /dev/fuse && exec \"$@\"' sh \\\n\
             runuser -u {USER} -- env -C / HOME={0} XDG_RUNTIME_DIR={0}/xdg podman --root {0}/root --runroot {0}/run \\\n\
             --tmpdir {0}/tmp --storage-driver vfs --cgroup-manager cgroupfs --events-backend file --runtime {binary} \"$@\"\n",
            dir.display(),
            tun = tun.display(),
            fuse = fuse.display()
        );
        fs::write(&wrapper, line).context("write a script")?;
        fs::set_permissions(&wrapper, Permissions::from_mode(0o755)).context("make a script a program")?;
        Ok(wrapper.display().to_string())
    };
    let (theirs, ours) = (place("runc", "runc")?, place("runsc", &ours.display().to_string())?);
    for podman in [&theirs, &ours] {
        shell(&format!("{podman} import {} busy", tar.display()))?;
    }
    let outcome = compare("rootless", work, &[("PODMAN", theirs.clone())], &[("PODMAN", ours.clone())], tally);
    for podman in [&theirs, &ours] {
        // Files of mapped users can be removed from their namespace only; root, who runs this, does so anyway.
        shell(&format!("{podman} system reset --force >/dev/null 2>&1 || true"))?;
    }
    outcome
}
