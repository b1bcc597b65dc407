//! Namespaces of config.json, and the ids that belong to the user namespace.
//!
//! The sandbox has namespaces of its own whatever is asked for; what an engine wants to share by path is joined only where it
//! is the network. A user namespace decides which ids the container's files have on the host, so the ids of one that is given
//! by path become those of the sandbox's own; so do the names of a UTS namespace.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result, anyhow, ensure};
use nix::errno::Errno;
use nix::sched::{CloneFlags, setns};
use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespace, LinuxNamespaceType};
use sentry_platform::spawn::IdMap;

use crate::user::IdMaps;

/// Longest map that Linux takes (`UID_GID_MAP_MAX_EXTENTS`).
const MAP_MAX: usize = 340;

/// Checks the namespaces; returns the ids of a user namespace that is to be made.
pub(crate) fn ids(linux: &Linux) -> Result<Option<IdMaps>> {
    let namespaces = linux.namespaces().as_deref().unwrap_or_default();
    let mut seen = BTreeSet::new();
    for namespace in namespaces {
        let name = namespace.typ();
        ensure!(seen.insert(name as u32), "config.json: linux.namespaces has the type {name} twice");
        check_path(namespace)?;
    }
    let users = linux.uid_mappings().as_deref().unwrap_or_default();
    let groups = linux.gid_mappings().as_deref().unwrap_or_default();
    let own = namespaces.iter().find(|namespace| namespace.typ() == LinuxNamespaceType::User);
    if users.is_empty() && groups.is_empty() {
        // Without maps and path it is the one that every sandbox has.
        return own.and_then(|own| own.path().as_deref()).map_or(Ok(None), ids_of);
    }
    let own = own.is_some();
    ensure!(own, "config.json: linux.uidMappings and linux.gidMappings need a user namespace in linux.namespaces");
    let maps = IdMaps { users: convert("linux.uidMappings", users)?, groups: convert("linux.gidMappings", groups)? };
    for (what, map) in [("uidMappings", &maps.users), ("gidMappings", &maps.groups)] {
        ensure!(map.iter().any(|line| line.inside == 0), "config.json: linux.{what} leaves out id 0, which is needed");
    }
    Ok(Some(maps))
}

fn check_path(namespace: &LinuxNamespace) -> Result<()> {
    let (Some(path), name) = (namespace.path(), namespace.typ()) else { return Ok(()) };
    let shown = path.display();
    ensure!(path.is_absolute(), "config.json: the path of the {name} namespace, {shown}, is not absolute");
    std::fs::metadata(path).with_context(|| format!("finding the {name} namespace {shown}"))?;
    match namespace.typ() {
        LinuxNamespaceType::Network | LinuxNamespaceType::User | LinuxNamespaceType::Uts => {}
        _ => tracing::warn!("the {name} namespace {shown} is not joined: a sandbox shares it with nobody"),
    }
    Ok(())
}

/// The ids of a user namespace, `None` for the caller's own. The host tells them of processes, not of namespaces: the path must
/// be that of a process (`/proc/PID/ns/user`).
fn ids_of(path: &Path) -> Result<Option<IdMaps>> {
    let what = || format!("finding the ids of the user namespace {}", path.display());
    let identity = |path: &Path| std::fs::metadata(path).map(|found| (found.dev(), found.ino()));
    let given = identity(path).with_context(what)?;
    if given == identity(Path::new("/proc/self/ns/user")).with_context(what)? {
        return Ok(None);
    }
    let process = path.parent().filter(|_| path.ends_with("ns/user")).and_then(Path::parent);
    let process = process.with_context(|| format!("{}: it is not that of a process, /proc/PID/ns/user", what()))?;
    let map = |name: &str| -> Result<Vec<IdMap>> {
        let text = std::fs::read_to_string(process.join(name)).with_context(what)?;
        text.lines().map(|line| line_of(line).with_context(what)).collect()
    };
    let maps = IdMaps { users: map("uid_map")?, groups: map("gid_map")? };
    // The process may have ended, and another one have got its id.
    ensure!(identity(path).with_context(what)? == given, "{}: it changes meanwhile", what());
    ensure!(maps.users.iter().any(|map| map.inside == 0), "{}: it has no id 0, which is needed", what());
    Ok(Some(maps))
}

/// One line of `/proc/PID/uid_map` (`man 7 user_namespaces`).
fn line_of(line: &str) -> Option<IdMap> {
    let mut words = line.split_whitespace().map(str::parse);
    let mut next = || words.next()?.ok();
    Some(IdMap { inside: next()?, outside: next()?, count: next()? })
}

/// The host and domain name of the UTS namespace that the container is to share: the caller's if it has none of its own, or
/// one that is given by path. Later changes are not shared.
pub(super) fn uts_names(linux: &Linux) -> Result<Option<(String, String)>> {
    let names = || {
        let found = rustix::system::uname();
        let text = |name: &std::ffi::CStr| name.to_string_lossy().into_owned();
        (text(found.nodename()), text(found.domainname()))
    };
    let mut namespaces = linux.namespaces().iter().flatten();
    let Some(entry) = namespaces.find(|namespace| namespace.typ() == LinuxNamespaceType::Uts) else {
        return Ok(Some(names()));
    };
    let Some(path) = entry.path() else { return Ok(None) };
    let what = || format!("looking at the UTS namespace {}", path.display());
    let namespace = File::open(path).with_context(what)?;
    // In a thread of its own, which never returns to the caller's.
    let looked = std::thread::scope(|scope| {
        let look = || setns(namespace, CloneFlags::CLONE_NEWUTS).map(|()| names());
        scope.spawn(look).join()
    });
    match looked.map_err(|_| anyhow!("{} failed", what()))? {
        Ok(names) => Ok(Some(names)),
        Err(Errno::EPERM) => {
            tracing::warn!("the names of the UTS namespace {} may not be looked at", path.display());
            Ok(None)
        }
        Err(error) => Err(error).with_context(what),
    }
}

/// Turns a list of the specification's into a map of the host's.
pub(super) fn convert(what: &str, maps: &[LinuxIdMapping]) -> Result<Vec<IdMap>> {
    let line = |map: &LinuxIdMapping| IdMap { inside: map.container_id(), outside: map.host_id(), count: map.size() };
    let maps: Vec<IdMap> = maps.iter().map(line).collect();
    check(what, &maps)?;
    Ok(maps)
}

/// Checks what the host would refuse without saying why.
pub(super) fn check(what: &str, maps: &[IdMap]) -> Result<()> {
    ensure!(maps.len() <= MAP_MAX, "config.json: {what} has more than {MAP_MAX} lines");
    for map in maps {
        let fits = |first: u32| first.checked_add(map.count).is_some();
        ensure!(map.count > 0, "config.json: {what} has a line of no ids");
        ensure!(fits(map.inside) && fits(map.outside), "config.json: {what} has ids beyond the largest");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn of(linux: Value) -> Result<Option<IdMaps>> {
        ids(&serde_json::from_value(linux).expect("linux of config.json"))
    }

    #[test]
    fn maps_belong_to_a_user_namespace() {
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65536}]);
        let user = json!([{"type": "user"}, {"type": "pid"}]);
        let maps =
            of(json!({"namespaces": user, "uidMappings": map, "gidMappings": map})).expect("good").expect("maps");
        assert_eq!(maps.users, [IdMap { inside: 0, outside: 100_000, count: 65536 }]);
        assert!(of(json!({"namespaces": user})).expect("good").is_none());
        assert!(of(json!({"uidMappings": map, "gidMappings": map})).is_err());
        assert!(of(json!({"namespaces": user, "uidMappings": map})).is_err());
    }

    #[test]
    fn the_callers_own_namespaces_change_nothing() {
        assert!(of(json!({"namespaces": [{"type": "user", "path": "/proc/self/ns/user"}]})).expect("good").is_none());
        let linux = json!({"namespaces": [{"type": "uts", "path": "/proc/self/ns/uts"}]});
        let names = uts_names(&serde_json::from_value(linux).expect("linux of config.json")).expect("names");
        // An ordinary user may not look.
        let own = rustix::system::uname().nodename().to_string_lossy().into_owned();
        assert!(names.is_none_or(|(host, _)| host == own));
    }

    #[test]
    fn lines_of_maps_have_three_numbers() {
        assert_eq!(line_of("  0  100000  65536"), Some(IdMap { inside: 0, outside: 100_000, count: 65536 }));
        assert_eq!(line_of("0 1"), None);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for map in [
            json!([{"containerID": 1, "hostID": 1, "size": 1}]),
            json!([{"containerID": 0, "hostID": 0, "size": 0}]),
            json!([{"containerID": 0, "hostID": 4_294_967_295_u32, "size": 2}]),
        ] {
            assert!(of(json!({"namespaces": [{"type": "user"}], "uidMappings": map, "gidMappings": map})).is_err());
        }
        for namespaces in [
            json!([{"type": "pid"}, {"type": "pid"}]),
            json!([{"type": "user", "path": "/proc/self/ns/none"}]),
            json!([{"type": "ipc", "path": "/proc/self/ns/none"}]),
            json!([{"type": "uts", "path": "proc/self/ns/uts"}]),
        ] {
            assert!(of(json!({"namespaces": namespaces})).is_err(), "{namespaces}");
        }
    }
}
