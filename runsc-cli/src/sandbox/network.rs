//! Which network a sandbox has: the namespace that the sentry lives in, and where the guest's sockets are.
//!
//! A namespace that is the container's own is isolated from the host already, so the guest's sockets may be sockets of the
//! host in there: whatever the engine has built (bridges, address translation, name servers) works. In the caller's own
//! namespace that takes `--network=host`.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};
use sentry::Kernel;
use sentry::reactor::Reactor;
use sentry_net::{HostNet, NetSettings};

use super::config::{NetworkMode, SandboxConfig};
use crate::cli::NetworkKind;

const OWN: &str = "/proc/self/ns/net";
const PORT_START: &str = "net/ipv4/ip_unprivileged_port_start";
const PING_GROUPS: &str = "net/ipv4/ping_group_range";

/// Where the sentry lives.
pub(crate) enum Place {
    /// In a network namespace of its own, which an engine's hooks may fill.
    New,
    /// In this one, which is not the caller's.
    Given(File),
    /// In the caller's.
    Callers,
}

/// Chooses by `--network` and the namespace that config.json asks for.
pub(crate) fn choose(kind: NetworkKind, spec: &Spec) -> Result<(Place, NetworkMode)> {
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    let entry = namespaces.into_iter().flatten().find(|one| one.typ() == LinuxNamespaceType::Network);
    let place = match entry.map(|entry| entry.path().as_ref()) {
        None => Place::Callers,
        Some(None) => Place::New,
        Some(Some(path)) => {
            let what = || format!("opening the network namespace {}", path.display());
            let given = File::open(path).with_context(what)?;
            let (given_id, own_id) = (given.metadata().with_context(what)?, std::fs::metadata(OWN).context(OWN)?);
            if (given_id.dev(), given_id.ino()) == (own_id.dev(), own_id.ino()) {
                Place::Callers
            } else {
                Place::Given(given)
            }
        }
    };
    Ok(match (kind, place) {
        (NetworkKind::Host, place) => (place, NetworkMode::Host),
        (NetworkKind::None, Place::Callers) => (Place::New, NetworkMode::Loopback),
        (NetworkKind::None, place) => (place, NetworkMode::Loopback),
        (NetworkKind::Sandbox, Place::Callers) => {
            let text = "the container asks for the host's own network; it gets a loopback only. Use --network=host \
                        to give it the host's network";
            tracing::warn!("{text}");
            (Place::New, NetworkMode::Loopback)
        }
        (NetworkKind::Sandbox, Place::Given(given)) => (Place::Given(given), NetworkMode::Shared),
        (NetworkKind::Sandbox, Place::New) => (Place::New, NetworkMode::Found),
    })
}

/// Runs `act` in another network namespace.
pub(super) fn inside<R>(namespace: &File, act: impl FnOnce() -> Result<R>) -> Result<R> {
    let own = File::open(OWN).context("opening our network namespace")?;
    setns(namespace, CloneFlags::CLONE_NEWNET).context("joining the container's network namespace")?;
    let result = act();
    match setns(own, CloneFlags::CLONE_NEWNET) {
        // An ordinary user's engine is root over the container's network, but not over the host's, which it can't return
        // to. Hooks then run in the container's.
        Err(Errno::EPERM) => tracing::debug!("staying in the container's network namespace"),
        returned => returned.context("returning to our network namespace")?,
    }
    result
}

/// Prepares the container's own namespace, once an engine's hooks have filled it: what runc's first process would do, and
/// leave for the sentry, who has no rights there, to use low ports and pings. Who of the guest may do so is decided inside.
pub(super) fn prepare(place: &Place, sentry: i32, config: &SandboxConfig) -> Result<()> {
    let made;
    let namespace = match place {
        _ if config.network == NetworkMode::Loopback => return Ok(()),
        Place::Callers => return Ok(()),
        Place::Given(namespace) => namespace,
        Place::New => {
            made = File::open(format!("/proc/{sentry}/ns/net")).context("opening the sandbox's network namespace")?;
            &made
        }
    };
    let up = matches!(place, Place::New);
    // In a thread of its own, since one may not be allowed to return.
    let prepared = std::thread::scope(|scope| scope.spawn(|| set_up(namespace, up, config)).join());
    match prepared.map_err(|_| anyhow!("preparing the container's network failed"))? {
        // An ordinary user's own namespace: it holds a loopback, which the sentry's own stack serves.
        Err(error) if up && error.downcast_ref() == Some(&Errno::EPERM) => {
            tracing::debug!("leaving the network namespace as it is: {error:#}");
            Ok(())
        }
        result => result,
    }
}

/// Joins a namespace for good and sets it up; what only helps the sentry may fail.
fn set_up(namespace: &File, up: bool, config: &SandboxConfig) -> Result<()> {
    setns(namespace, CloneFlags::CLONE_NEWNET).context("joining the container's network namespace")?;
    if up {
        loopback_up().context("putting up the loopback interface")?;
    }
    let asked = config.sysctls.iter().filter(|(path, _)| path.starts_with("net/"));
    for (path, value) in asked.filter(|(path, _)| path != PORT_START && path != PING_GROUPS) {
        std::fs::write(format!("/proc/sys/{path}"), value)
            .with_context(|| format!("setting the sysctl {path} of the container to {value:?}"))?;
    }
    for (path, value) in [(PORT_START, "0"), (PING_GROUPS, "0 2147483647")] {
        if let Err(error) = std::fs::write(format!("/proc/sys/{path}"), value) {
            tracing::warn!(path, %error, "the sentry may not use low ports or pings in the container's network");
        }
    }
    Ok(())
}

/// Puts up the loopback interface of the namespace that the calling thread is in.
fn loopback_up() -> Result<()> {
    const NEWLINK: u16 = 16;
    const REQUEST_ACK: u16 = 5;
    let index = 1_i32.to_ne_bytes();
    let up = 1_u32.to_ne_bytes();
    let message = [
        &32_u32.to_ne_bytes()[..],
        &NEWLINK.to_ne_bytes(),
        &REQUEST_ACK.to_ne_bytes(),
        &[0; 8],
        // struct ifinfomsg: family and type, index, flags, which of them.
        &[0; 4],
        &index,
        &up,
        &up,
    ]
    .concat();
    let socket = rustix::net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    rustix::net::send(&socket, &message, SendFlags::empty())?;
    let mut answer = [0; 1024];
    rustix::net::recv(&socket, &mut answer[..], RecvFlags::empty())?;
    match i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]) {
        0 => Ok(()),
        code => Err(std::io::Error::from_raw_os_error(code.saturating_neg()).into()),
    }
}

/// Puts the guest's sockets where they belong; tells whether that is the host. Needs `/proc`.
pub(super) fn attach(kernel: &Arc<Kernel>, reactor: &Reactor, config: &SandboxConfig) -> Result<bool> {
    kernel.net.configure(settings(config));
    if config.host.sockets() {
        kernel.net.use_host_unix(Arc::new(reactor.clone()));
    }
    if config.network == NetworkMode::Loopback {
        return Ok(false);
    }
    let host = HostNet::new(Arc::new(reactor.clone()), "/proc").context("opening the sandbox's network")?;
    let up = host.links_up().context("looking at the sandbox's network")?;
    let dead = match config.network {
        NetworkMode::Found => !up.others,
        NetworkMode::Shared => !up.others && !up.loopback,
        NetworkMode::Host | NetworkMode::Loopback => false,
    };
    if dead {
        return Ok(false);
    }
    kernel.net.use_host(host);
    Ok(true)
}

/// What the settings of config.json mean to the guest's sockets.
fn settings(config: &SandboxConfig) -> NetSettings {
    let mut settings = NetSettings::default();
    let value = |path: &str| config.sysctls.iter().find(|(known, _)| known == path).map(|(_, value)| value.as_str());
    if let Some(port) = value(PORT_START).and_then(|text| text.trim().parse().ok()) {
        settings.unprivileged_port = port;
    }
    let mut groups = value(PING_GROUPS).into_iter().flat_map(str::split_whitespace).map(str::parse);
    if let (Some(Ok(least)), Some(Ok(greatest))) = (groups.next(), groups.next()) {
        settings.ping_groups = (least, greatest);
    }
    settings
}
