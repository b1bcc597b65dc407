//! Namespaces of config.json, and the ids that belong to the user namespace.
//!
//! The sandbox has namespaces of its own whatever is asked for; what an engine wants to share by path can only be the
//! network. A user namespace decides which ids the container's files have on the host, so it is obeyed.

use std::collections::BTreeSet;

use anyhow::{Context, Result, bail, ensure};
use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxNamespace, LinuxNamespaceType, Mount};
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
    let own = namespaces.iter().any(|namespace| namespace.typ() == LinuxNamespaceType::User);
    if users.is_empty() && groups.is_empty() {
        // Without maps it is the one that every sandbox has.
        return Ok(None);
    }
    ensure!(own, "config.json: linux.uidMappings and linux.gidMappings need a user namespace in linux.namespaces");
    Ok(Some(IdMaps { users: convert("uidMappings", users)?, groups: convert("gidMappings", groups)? }))
}

fn check_path(namespace: &LinuxNamespace) -> Result<()> {
    let (Some(path), name) = (namespace.path(), namespace.typ()) else { return Ok(()) };
    let shown = path.display();
    ensure!(path.is_absolute(), "config.json: the path of the {name} namespace, {shown}, is not absolute");
    std::fs::metadata(path).with_context(|| format!("finding the {name} namespace {shown}"))?;
    match namespace.typ() {
        LinuxNamespaceType::Network => {}
        LinuxNamespaceType::User => bail!("joining a user namespace ({shown}) is not supported; give its ids as maps"),
        _ => tracing::warn!("the {name} namespace {shown} is not joined: a sandbox shares it with nobody"),
    }
    Ok(())
}

fn convert(what: &str, maps: &[LinuxIdMapping]) -> Result<Vec<IdMap>> {
    let line = |map: &LinuxIdMapping| IdMap { inside: map.container_id(), outside: map.host_id(), count: map.size() };
    let maps: Vec<IdMap> = maps.iter().map(line).collect();
    ensure!(maps.len() <= MAP_MAX, "config.json: linux.{what} has more than {MAP_MAX} lines");
    for map in &maps {
        let fits = |first: u32| first.checked_add(map.count).is_some();
        ensure!(map.count > 0, "config.json: linux.{what} has a line of no ids");
        ensure!(fits(map.inside) && fits(map.outside), "config.json: linux.{what} has ids beyond the largest");
    }
    ensure!(maps.iter().any(|map| map.inside == 0), "config.json: linux.{what} leaves out id 0, which is needed");
    Ok(maps)
}

/// Refuses maps of single mounts: without them, files would belong to others than was asked for.
pub(super) fn check_mount(mount: &Mount) -> Result<()> {
    let maps = [mount.uid_mappings(), mount.gid_mappings()];
    let mapped = maps.iter().any(|map| map.as_ref().is_some_and(|map| !map.is_empty()));
    let options = mount.options().iter().flatten();
    let asked = mapped || options.clone().any(|option| option == "idmap" || option == "ridmap");
    ensure!(!asked, "the mount on {} has ids of its own, which is not supported", mount.destination().display());
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
            json!([{"type": "user", "path": "/proc/self/ns/user"}]),
            json!([{"type": "ipc", "path": "/proc/self/ns/none"}]),
            json!([{"type": "uts", "path": "proc/self/ns/uts"}]),
        ] {
            assert!(of(json!({"namespaces": namespaces})).is_err(), "{namespaces}");
        }
    }
}
