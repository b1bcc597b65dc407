//! `linux.sysctl` of config.json: settings of the sandbox's own kernel.

use anyhow::{Result, bail};

/// Settings that Linux has once in each IPC namespace; all others of `kernel` concern the whole machine.
const IPC: &[&str] = &[
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
    "kernel/shm_rmid_forced",
];

/// Checks names as runc does: only what belongs to a container may be set. Returns paths below `/proc/sys` and values.
pub(super) fn convert<'a>(settings: impl Iterator<Item = (&'a String, &'a String)>) -> Result<Vec<(String, String)>> {
    let mut converted = Vec::new();
    for (name, value) in settings {
        // The first separator says which of the two spellings this is.
        let dotted = name.find(['.', '/']).is_some_and(|at| name.as_bytes().get(at) == Some(&b'.'));
        let path =
            if dotted { name.replace('/', "\u{1}").replace('.', "/").replace('\u{1}', ".") } else { name.clone() };
        let parts_fine = path.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
        let own = IPC.contains(&path.as_str())
            || path == "kernel/domainname"
            || path.starts_with("fs/mqueue/")
            || path.starts_with("net/");
        if !own || !parts_fine || name.contains('\0') {
            bail!("config.json: linux.sysctl {name:?} is not a setting that a container has of its own");
        }
        if value.contains(['\0', '\n']) {
            bail!("config.json: linux.sysctl {name:?} has a value of more than one line");
        }
        converted.push((path, value.clone()));
    }
    Ok(converted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str) -> Result<Vec<(String, String)>> {
        convert([(&name.to_owned(), &"1".to_owned())].into_iter())
    }

    #[test]
    fn both_spellings_name_a_path() {
        assert_eq!(one("net.ipv4.ip_forward").ok(), Some(vec![("net/ipv4/ip_forward".to_owned(), "1".to_owned())]));
        assert_eq!(
            one("net.ipv4.conf.eth0/5.x").ok(),
            Some(vec![("net/ipv4/conf/eth0.5/x".to_owned(), "1".to_owned())])
        );
        assert_eq!(
            one("net/ipv4/conf/eth0.5/x").ok(),
            Some(vec![("net/ipv4/conf/eth0.5/x".to_owned(), "1".to_owned())])
        );
    }

    #[test]
    fn what_belongs_to_the_machine_or_leads_elsewhere_is_refused() {
        for name in ["vm.swappiness", "kernel.pid_max", "net/../kernel/pid_max", "net..x", "", "fs.file-max"] {
            assert!(one(name).is_err(), "{name}");
        }
    }
}
