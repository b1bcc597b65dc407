//! `runsc install` and `runsc uninstall`: the runtime's entry in an engine's configuration.

mod docker;
mod toml;

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::cli::{Engine, Global, InstallArgs};

/// Where the engine's configuration is.
fn config_file(args: &InstallArgs) -> PathBuf {
    let usual = || match args.engine {
        Engine::Docker => PathBuf::from("/etc/docker/daemon.json"),
        Engine::Containerd => PathBuf::from("/etc/containerd/config.toml"),
        Engine::Podman => PathBuf::from(format!("/etc/containers/containers.conf.d/50-{}.conf", args.runtime)),
    };
    args.config_file.clone().unwrap_or_else(usual)
}

/// Adds the entry, or replaces one of the same name.
pub(crate) fn install(_global: &Global, args: &InstallArgs) -> Result<u8> {
    let program = std::env::current_exe().context("finding this program")?;
    let program = program.to_str().context("the path of this program is not UTF-8")?;
    let path = config_file(args);
    let next = match args.engine {
        Engine::Docker => docker::install(args, &path, program).map(|()| "restart or reload Docker"),
        Engine::Containerd => toml::install_containerd(args, &path, program).map(|()| "restart containerd"),
        Engine::Podman => toml::install_podman(args, &path, program).map(|()| "use it with --runtime"),
    }?;
    println!("{} has the runtime {:?} now; {next}", path.display(), args.runtime);
    Ok(0)
}

/// Removes the entry.
pub(crate) fn uninstall(_global: &Global, args: &InstallArgs) -> Result<u8> {
    let path = config_file(args);
    let found = match args.engine {
        Engine::Docker => docker::uninstall(args, &path)?,
        Engine::Containerd | Engine::Podman => toml::uninstall(args, &path)?,
    };
    if !found {
        bail!("{} has no runtime {:?} of ours", path.display(), args.runtime);
    }
    println!("{} has no runtime {:?} any more; restart or reload the engine", path.display(), args.runtime);
    Ok(0)
}

/// Reads a file; one that isn't there is empty.
fn read_text(path: &Path) -> Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        read => read.with_context(|| format!("reading {}", path.display())),
    }
}

/// Replaces the file as a whole: a crash leaves the old one.
fn replace(path: &Path, text: &str) -> Result<()> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    }
    let new = path.with_extension("new");
    fs::write(&new, text).with_context(|| format!("writing {}", new.display()))?;
    fs::rename(&new, path).with_context(|| format!("replacing {}", path.display()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::cli::{Cli, Command};

    fn run(line: &str) -> Result<u8> {
        let Cli { global, command } = crate::cli::parse(line.split(' ').map(Into::into)).unwrap();
        match command {
            Command::Install(args) => install(&global, &args),
            Command::Uninstall(args) => uninstall(&global, &args),
            other => panic!("{other:?}"),
        }
    }

    fn place(name: &str, text: &str) -> PathBuf {
        let path = std::env::temp_dir().join(format!("runsc-install-{}-{name}", std::process::id()));
        fs::write(&path, text).unwrap();
        path
    }

    fn json_of(path: &Path) -> Value {
        serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
    }

    #[test]
    fn only_dockers_entry_comes_and_goes() {
        let path = place("daemon.json", r#"{"debug": true, "runtimes": {"other": {"path": "/x"}}}"#);
        let flags = format!("--config_file {} --runtime r", path.display());
        run(&format!("runsc install {flags} --cgroupdriver systemd -- --overlay2=none")).unwrap();
        assert!(run(&format!("runsc install --clobber=false {flags}")).is_err());
        let config = json_of(&path);
        assert_eq!(config["runtimes"]["r"]["runtimeArgs"], json!(["--overlay2=none"]));
        assert_eq!(config["exec-opts"], json!(["native.cgroupdriver=systemd"]));
        assert_eq!((&config["debug"], &config["runtimes"]["other"]["path"]), (&json!(true), &json!("/x")));
        run(&format!("runsc uninstall {flags}")).unwrap();
        assert!(run(&format!("runsc uninstall {flags}")).is_err());
        assert_eq!(json_of(&path)["runtimes"], json!({"other": {"path": "/x"}}));
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn lines_of_ours_come_and_go() {
        let before = "version = 3\n[debug]\n  level = \"info\"\n";
        let path = place("config.toml", before);
        let flags = format!("--engine containerd --config_file {}", path.display());
        for _ in 0..2 {
            run(&format!("runsc install {flags} --cgroupdriver=systemd")).unwrap();
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.starts_with(before), "{text}");
            assert_eq!(text.matches("io.containerd.cri.v1.runtime\".containerd.runtimes.runsc]").count(), 1, "{text}");
            assert!(text.contains("SystemdCgroup = true"), "{text}");
        }
        assert!(run(&format!("runsc install {flags} --clobber=false")).is_err());
        assert!(run(&format!("runsc install {flags} -- --debug")).is_err());
        run(&format!("runsc uninstall {flags}")).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), before);
        assert!(run(&format!("runsc uninstall {flags}")).is_err());
        fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_file_of_its_own_goes_as_a_whole() {
        let path = place("podman.conf", "");
        let flags = format!("--engine podman --config_file {}", path.display());
        run(&format!("runsc install {flags}")).unwrap();
        assert!(fs::read_to_string(&path).unwrap().contains("[engine.runtimes]\nrunsc = ["));
        run(&format!("runsc uninstall {flags}")).unwrap();
        assert!(!path.exists());
    }
}
