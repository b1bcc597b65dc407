//! The file systems of a sandbox: the root from the gofer, the kernel's own, the caller's terminal.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use abi::Pid;
use abi::signal::{SigInfo, Signal};
use anyhow::{Context, Result, bail};
use sentry::Kernel;
use sentry::proc_view::KernelProc;
use sentry::signal::send;
use sentry::task::Cred;
use sentry::vfs::change::{NewFile, create_in};
use sentry::vfs::{Mount, MountFlags, MountNamespace, MountRequest, Path, Propagation, WalkFlags, Walker, walk};
use sentry_fs::dev::{self, Devices};
use sentry_fs::devpts::{DevPts, DevPtsOptions};
use sentry_fs::gofer::{Client, FileStore, GoferFs, Mount as Tree};
use sentry_fs::hostfd::HostTerminal;
use sentry_fs::overlay::OverlayFs;
use sentry_fs::proc::{KernelView, ProcFs};
use sentry_fs::sys::{CgroupFs, Machine, SysFs, SysView};
use sentry_fs::tmpfs::{TmpFs, TmpfsOptions};
use sentry_fs::tty::{Terminal, TtyHost};
use sentry_fs::{CachePolicy, DeviceId, FileKind, FileSystem, SetAttr};

use super::config::{MountConfig, MountSource, OverlayConfig, SandboxConfig};
use super::{cover, devices};

/// Sets up the kernel's mount namespace.
pub(crate) fn build(
    kernel: &Arc<Kernel>,
    config: &SandboxConfig,
    gofer: Vec<OwnedFd>,
    terminal: Option<Arc<HostTerminal>>,
) -> Result<()> {
    let (client, trees) = Client::connect(gofer, config.looking()).context("connecting to the gofer")?;
    let client = Arc::new(client);
    sentry_fs::host::reopen_through(Arc::clone(&client));
    let devices = register(kernel, config, terminal.is_some())?;
    if let Some(terminal) = terminal {
        terminal.settle(devices.devpts()).context("giving the terminal a place in /dev/pts")?;
        devices.set_console(terminal);
    }
    kernel.vfs.set_devices(devices);
    let policy = if config.root.exclusive { CachePolicy::Exclusive } else { CachePolicy::Shared };
    let root = tree(&client, &trees, 0, policy)?;
    let root = match &config.root.overlay {
        Some(overlay) => cover_tree(&client, &trees, root, overlay).context("making the root's overlay")?,
        None => root,
    };
    // Read-only only once the places for mounts have been made.
    let root_mount = Mount::of(root, b"none", MountFlags::RELATIME).context("mounting the root file system")?;
    let namespace = MountNamespace::new(Arc::clone(&root_mount));
    kernel.vfs.set_namespace(Arc::clone(&namespace));
    let mut readonly = Vec::new();
    for mount in &config.mounts {
        let what = || format!("mounting on {} in the sandbox", mount.destination);
        readonly.extend(add(kernel, &namespace, &client, &trees, mount).with_context(what)?);
    }
    devices::make(&namespace, &config.devices)?;
    for mount in readonly {
        mount.set_flags(mount.flags() | MountFlags::RDONLY);
    }
    if config.process.container {
        place(&namespace, &config.process.cwd, false).context("making the working directory")?;
    }
    for path in &config.masked_paths {
        cover::mask(kernel, &namespace, path).with_context(|| format!("masking {path} in the sandbox"))?;
    }
    for path in &config.readonly_paths {
        cover::make_readonly(&namespace, path).with_context(|| format!("making {path} read-only in the sandbox"))?;
    }
    if config.root.readonly {
        root_mount.set_flags(root_mount.flags() | MountFlags::RDONLY);
    }
    Ok(())
}

fn tree(client: &Arc<Client>, trees: &[Tree], id: u32, policy: CachePolicy) -> Result<Arc<dyn FileSystem>> {
    let tree = trees.iter().find(|tree| tree.id == id);
    let tree = tree.with_context(|| format!("the gofer does not serve tree {id}"))?;
    Ok(Arc::new(GoferFs::new(client, tree, policy).context("opening a file tree of the gofer")?))
}

/// Registers the file-system types that `mount(2)` and the configuration may name; returns the devices.
fn register(kernel: &Arc<Kernel>, config: &SandboxConfig, console: bool) -> Result<Arc<Devices>> {
    let tty_host: Arc<dyn TtyHost> = kernel.tty_host();
    // There is one of these, whose options are those of its first mount.
    let devpts =
        config.mounts.iter().find(|mount| matches!(&mount.source, MountSource::Kernel(kind) if kind == "devpts"));
    let devpts = devpts.map(|mount| split_options(&mount.options).1).unwrap_or_default();
    let options =
        DevPtsOptions::parse(&devpts).with_context(|| format!("mounting devpts with the options {devpts:?}"))?;
    let devpts = Arc::new(DevPts::new(Arc::clone(&tty_host), options));
    let devices = Arc::new(Devices::new(tty_host, Arc::clone(&devpts)));
    let types = &kernel.vfs.types;
    types.register("tmpfs", |request| Ok(Arc::new(TmpFs::new(TmpfsOptions::parse(request.data)?)?)));
    types.register("devtmpfs", move |_| Ok(Arc::new(dev::new_fs(TmpfsOptions::default(), console)?)));
    types.register("devpts", move |_| Ok(Arc::clone(&devpts) as Arc<dyn FileSystem>));
    let view = KernelProc::new(kernel, &std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default());
    let proc = ProcFs::with_sysctls(Arc::clone(&view) as Arc<dyn KernelView>, boot_id()?, &config.sysctls);
    let proc = Arc::new(proc);
    types.register("proc", move |_| Ok(Arc::clone(&proc) as Arc<dyn FileSystem>));
    let machine = Machine {
        cpus: view.cpus(),
        huge_pages: std::fs::read_to_string("/sys/kernel/mm/transparent_hugepage/enabled")
            .map_or_else(|_| "always madvise [never]".to_owned(), |text| text.trim_end().to_owned()),
    };
    let sys = Arc::new(SysFs::new(&machine, Arc::clone(&view) as Arc<dyn SysView>));
    types.register("sysfs", move |_| Ok(Arc::clone(&sys) as Arc<dyn FileSystem>));
    let cgroup = Arc::new(CgroupFs::new(view));
    for name in ["cgroup", "cgroup2"] {
        let cgroup = Arc::clone(&cgroup);
        types.register(name, move |_| Ok(Arc::clone(&cgroup) as Arc<dyn FileSystem>));
    }
    types.register("mqueue", |_| Ok(Arc::new(TmpFs::with_kind("mqueue", TmpfsOptions::default())?)));
    Ok(devices)
}

/// Draws what `/proc/sys/kernel/random/boot_id` shows.
fn boot_id() -> Result<[u8; 16]> {
    let mut id = [0; 16];
    rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty()).context("drawing a boot id")?;
    Ok(id)
}

/// Has writes to a tree go elsewhere.
fn cover_tree(
    client: &Arc<Client>,
    trees: &[Tree],
    below: Arc<dyn FileSystem>,
    overlay: &OverlayConfig,
) -> Result<Arc<dyn FileSystem>> {
    let options = TmpfsOptions { size: overlay.size, ..TmpfsOptions::default() };
    let upper = match overlay.store {
        None => TmpFs::new(options)?,
        Some(id) => {
            let tree = trees.iter().find(|tree| tree.id == id);
            let tree = tree.with_context(|| format!("the gofer does not serve tree {id}"))?;
            // The host's file system has a limit of its own.
            let options = TmpfsOptions { size: overlay.size.or(Some(0)), ..options };
            TmpFs::backed(options, Arc::new(FileStore::new(client, tree)))?
        }
    };
    Ok(Arc::new(OverlayFs::new(vec![below], Arc::new(upper))?))
}

/// Adds a mount; returns it if it is to be made read-only when all others are there, which may need places in it.
fn add(
    kernel: &Arc<Kernel>,
    namespace: &Arc<MountNamespace>,
    client: &Arc<Client>,
    trees: &[Tree],
    mount: &MountConfig,
) -> Result<Option<Arc<Mount>>> {
    let (mut flags, data) = split_options(&mount.options);
    let fs: Arc<dyn FileSystem> = match &mount.source {
        MountSource::Tree(id) => {
            let alone = mount.exclusive || mount.overlay.is_some();
            let policy = if alone { CachePolicy::Exclusive } else { CachePolicy::Shared };
            let below = tree(client, trees, *id, policy)?;
            match &mount.overlay {
                Some(overlay) => cover_tree(client, trees, below, overlay)?,
                None => below,
            }
        }
        MountSource::Kernel(kind) => {
            let request = MountRequest { source: mount.name.as_bytes(), data: &data };
            match kernel.vfs.types.make(kind.as_bytes(), &request) {
                Err(abi::Errno::ENODEV) => {
                    tracing::warn!(kind, "file system type not there yet");
                    return Ok(None);
                }
                made => made.with_context(|| format!("options {data:?}"))?,
            }
        }
    };
    let file = fs.root().attr()?.kind != FileKind::Directory;
    if matches!(&mount.source, MountSource::Kernel(kind) if kind == "tmpfs") {
        begin_like(namespace, mount, &fs, &data)?;
    }
    let place = place(namespace, &mount.destination, file)?;
    if let MountSource::Tree(_) = mount.source {
        cover::check_proc(&place, &mount.destination)?;
    }
    let source = match &mount.source {
        // The host's path is none of the guest's business.
        MountSource::Tree(_) => b"none",
        MountSource::Kernel(_) => mount.name.as_bytes(),
    };
    let late = matches!(mount.source, MountSource::Kernel(_)) && flags.contains(MountFlags::RDONLY);
    flags.set(MountFlags::RDONLY, flags.contains(MountFlags::RDONLY) && !late);
    let made = Mount::of(fs, source, flags)?;
    if mount.options.iter().any(|option| option == "shared" || option == "rshared") {
        made.set_propagation(Propagation::Shared(made.id));
    }
    namespace.attach(&made, place)?;
    Ok(late.then_some(made))
}

/// Gives a new tmpfs what it is to have of the directory that it will cover, if there is one: its files if that is asked for, else
/// its mode if none is given, as in runc, so that what only root may enter stays so.
fn begin_like(
    namespace: &Arc<MountNamespace>,
    mount: &MountConfig,
    fs: &Arc<dyn FileSystem>,
    data: &str,
) -> Result<()> {
    let Some(covered) = cover::find(namespace, &mount.destination)? else { return Ok(()) };
    if mount.copy_up {
        sentry_fs::copy_tree(covered.inode(), &fs.root()).context("copying what is there (tmpcopyup)")?;
    } else if !data.split(',').any(|option| option.starts_with("mode=")) {
        let perm = Some(covered.attr()?.perm);
        fs.root().set_attr(&SetAttr { perm, ..SetAttr::default() })?;
    }
    Ok(())
}

/// Separates the options that every mount knows from those of the file system.
pub(crate) fn split_options(options: &[String]) -> (MountFlags, String) {
    let mut flags = MountFlags::RELATIME;
    let mut data = Vec::new();
    for option in options {
        match option.as_str() {
            "ro" | "rro" => flags |= MountFlags::RDONLY,
            "nosuid" | "rnosuid" => flags |= MountFlags::NOSUID,
            "nodev" | "rnodev" => flags |= MountFlags::NODEV,
            "noexec" | "rnoexec" => flags |= MountFlags::NOEXEC,
            "noatime" | "rnoatime" => flags = (flags | MountFlags::NOATIME) - MountFlags::RELATIME,
            "strictatime" | "rstrictatime" => flags -= MountFlags::RELATIME,
            "nodiratime" | "rnodiratime" => flags |= MountFlags::NODIRATIME,
            "nosymfollow" | "rnosymfollow" => flags |= MountFlags::NOSYMFOLLOW,
            "sync" => flags |= MountFlags::SYNCHRONOUS,
            // The last of those that contradict each other counts.
            "rw" | "rrw" => flags -= MountFlags::RDONLY,
            "suid" | "rsuid" => flags -= MountFlags::NOSUID,
            "dev" | "rdev" => flags -= MountFlags::NODEV,
            "exec" | "rexec" => flags -= MountFlags::NOEXEC,
            "atime" | "ratime" => flags -= MountFlags::NOATIME,
            "symfollow" | "rsymfollow" => flags -= MountFlags::NOSYMFOLLOW,
            "diratime" | "rdiratime" => flags -= MountFlags::NODIRATIME,
            "relatime" | "rrelatime" => flags = (flags | MountFlags::RELATIME) - MountFlags::NOATIME,
            "async" => flags -= MountFlags::SYNCHRONOUS,
            "defaults" | "norelatime" | "nostrictatime" | "bind" | "rbind" | "private" | "rprivate" | "slave"
            | "rslave" | "shared" | "rshared" | "unbindable" | "runbindable" | "silent" | "loud" | "mand"
            | "nomand" | "lazytime" | "nolazytime" | "iversion" | "noiversion" => {}
            // Done when it is mounted.
            "tmpcopyup" => {}
            other => data.push(other),
        }
    }
    (flags, data.join(","))
}

/// Finds the place of a mount, making what is missing on the way. Symbolic links are followed inside the sandbox.
pub(super) fn place(namespace: &Arc<MountNamespace>, destination: &str, file: bool) -> Result<Path> {
    let root = namespace.root();
    let cred = Cred::kernel();
    let walker = Walker { root: &root, cred: &cred };
    let mut at = root.clone();
    let mut names = destination.split('/').filter(|name| !name.is_empty() && *name != ".").peekable();
    while let Some(name) = names.next() {
        if name == ".." {
            bail!("a mount destination with \"..\"");
        }
        at = match walk::resolve(&walker, &at, name.as_bytes(), WalkFlags::FOLLOW) {
            Ok(found) => found,
            Err(abi::Errno::ENOENT) => {
                let last = names.peek().is_none();
                let kind = if last && file { FileKind::Regular } else { FileKind::Directory };
                let perm = if kind == FileKind::Regular { 0o644 } else { 0o755 };
                let new = NewFile { kind, perm, rdev: DeviceId::default(), target: None };
                let made = at.mount.check_writable().and_then(|()| create_in(walker.cred, &at, name.as_bytes(), &new));
                let dentry = made.with_context(|| format!("making {name:?} for it"))?;
                Path { mount: Arc::clone(&at.mount), dentry }
            }
            Err(errno) => return Err(errno.into()),
        };
    }
    Ok(at)
}

/// Passes on a signal that the command line has got: to the foreground group of its terminal, or to the first process.
pub(crate) fn forward_signal(kernel: &Arc<Kernel>, terminal: Option<&Arc<HostTerminal>>, signal: Signal) {
    let info = SigInfo::from_kernel(signal);
    let from_terminal = matches!(signal, Signal::SIGINT | Signal::SIGQUIT | Signal::SIGTSTP | Signal::SIGCONT);
    if let Some(terminal) = terminal {
        if signal == Signal::SIGWINCH {
            return terminal.resized();
        }
        if let Some(group) = terminal.job().group().filter(|_| from_terminal) {
            send::to_group(kernel, group, info);
            return;
        }
    }
    let init = kernel.tasks.read().processes.get(&Pid(1)).map(|entry| Arc::clone(&entry.process));
    if let Some(init) = init {
        // A standard signal always fits.
        let _ = send::to_process(kernel, &init, info);
    }
}
