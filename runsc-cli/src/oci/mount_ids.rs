//! Ids of single mounts (`idmap`, `ridmap`, `uidMappings`, `gidMappings`): the host translates those of the files.

use anyhow::{Context, Result, ensure};
use oci_spec::runtime::Mount;
use sentry_platform::spawn::IdMap;

use super::namespaces::{check, convert};
use crate::sandbox::config::TreeIds;
use crate::user::IdMaps;

/// The ids that a mount asks for; its options name those of the container, if nothing else is said.
pub(super) fn of(mount: &Mount, container: Option<&IdMaps>) -> Result<Option<TreeIds>> {
    let place = mount.destination().display();
    let users = mount.uid_mappings().as_deref().unwrap_or_default();
    let groups = mount.gid_mappings().as_deref().unwrap_or_default();
    let mut asked = None;
    for option in mount.options().iter().flatten() {
        let (name, value) = option.split_once('=').map_or((option.as_str(), None), |(name, value)| (name, Some(value)));
        if matches!(name, "idmap" | "ridmap") {
            asked = Some((name == "ridmap", value));
        }
    }
    let maps = match (asked, users.is_empty() && groups.is_empty()) {
        (None, true) => return Ok(None),
        (_, false) => {
            ensure!(
                !users.is_empty() && !groups.is_empty(),
                "the mount on {place} has uidMappings without gidMappings, or the other way round"
            );
            IdMaps { users: convert("mounts.uidMappings", users)?, groups: convert("mounts.gidMappings", groups)? }
        }
        (Some((_, Some(text))), true) => {
            let what = || {
                format!(
                    "the mount on {place} has the option idmap={text}, which should be like uids=0-1000-1;gids=0-1000-1"
                )
            };
            parse(text).with_context(what)?
        }
        (Some((_, None)), true) => container.cloned().with_context(|| {
            format!(
                "the mount on {place} asks for the ids of the container's user namespace, which has none of its own"
            )
        })?,
    };
    Ok(Some(TreeIds { maps, recursive: asked.is_some_and(|(recursive, _)| recursive) }))
}

/// Parses what stands after `idmap=`, as crun knows it.
fn parse(text: &str) -> Result<IdMaps> {
    let list = |name: &str| -> Result<Vec<IdMap>> {
        let list =
            text.split(';').find_map(|part| part.strip_prefix(name)).with_context(|| format!("{name} is missing"))?;
        let maps = list.split('#').map(line).collect::<Option<Vec<_>>>().context("each line has three numbers")?;
        check(name, &maps)?;
        Ok(maps)
    };
    ensure!(text.split(';').count() == 2, "it has two parts");
    Ok(IdMaps { users: list("uids=")?, groups: list("gids=")? })
}

/// An id of the file system, the one of the host in its place, and how many follow.
fn line(text: &str) -> Option<IdMap> {
    let mut numbers = text.split('-').map(str::parse);
    let mut next = || numbers.next()?.ok();
    let map = IdMap { inside: next()?, outside: next()?, count: next()? };
    numbers.next().is_none().then_some(map)
}

/// Checks that new files can have an owner: the gofer makes them as the container's root.
pub(super) fn check_writer(ids: &TreeIds, container: Option<&IdMaps>) -> Result<()> {
    let root = |maps: &[IdMap]| maps.iter().find(|map| map.inside == 0).map_or(0, |map| map.outside);
    let known =
        |maps: &[IdMap], id: u32| maps.iter().any(|map| id.checked_sub(map.outside).is_some_and(|at| at < map.count));
    let (user, group) = container.map_or((0, 0), |maps| (root(&maps.users), root(&maps.groups)));
    let (users, groups) = (&ids.maps.users, &ids.maps.groups);
    ensure!(
        known(users, user) && known(groups, group),
        "no id of its files stands for the container's root ({user}:{group} on the host), who makes new ones: map one to it, \
         or mount it read-only"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn container() -> IdMaps {
        let map = vec![IdMap { inside: 0, outside: 100_000, count: 65536 }];
        IdMaps { users: map.clone(), groups: map }
    }

    fn asked(more: Value) -> Result<Option<TreeIds>> {
        let mut mount = json!({"destination": "/v", "type": "bind", "source": "/v"});
        for (key, value) in more.as_object().expect("properties") {
            mount[key] = value.clone();
        }
        of(&serde_json::from_value(mount).expect("a mount"), Some(&container()))
    }

    #[test]
    fn ids_come_from_the_mount_its_options_or_the_container() {
        assert!(asked(json!({"options": ["rbind"]})).expect("good").is_none());
        let ids = asked(json!({"options": ["rbind", "idmap"]})).expect("good").expect("ids");
        assert!(ids.maps == container() && !ids.recursive);
        let map = json!([{"containerID": 5, "hostID": 6, "size": 7}]);
        let ids = asked(json!({"options": ["ridmap"], "uidMappings": map, "gidMappings": map})).expect("good");
        let ids = ids.expect("ids");
        assert_eq!(ids.maps.users, [IdMap { inside: 5, outside: 6, count: 7 }]);
        assert!(ids.recursive);
        let ids = asked(json!({"options": ["idmap=uids=0-1-10#10-11-10;gids=0-100-10"]})).expect("good").expect("ids");
        assert_eq!(ids.maps.users.len(), 2);
        assert_eq!(ids.maps.groups, [IdMap { inside: 0, outside: 100, count: 10 }]);
    }

    #[test]
    fn half_of_it_is_an_error() {
        let map = json!([{"containerID": 5, "hostID": 6, "size": 7}]);
        assert!(asked(json!({"uidMappings": map})).is_err());
        for option in ["idmap=", "idmap=uids=0-1-10", "idmap=uids=@0-1-10;gids=0-1-10", "idmap=uids=0-1;gids=0-1-10"] {
            assert!(asked(json!({"options": [option]})).is_err(), "{option}");
        }
        let mount = json!({"destination": "/v", "type": "bind", "source": "/v", "options": ["idmap"]});
        assert!(of(&serde_json::from_value(mount).expect("a mount"), None).is_err());
    }

    #[test]
    fn new_files_need_an_owner() {
        let ids = |outside| {
            let map = vec![IdMap { inside: 0, outside, count: 10 }];
            TreeIds { maps: IdMaps { users: map.clone(), groups: map }, recursive: false }
        };
        assert!(check_writer(&ids(0), None).is_ok() && check_writer(&ids(100_000), Some(&container())).is_ok());
        assert!(check_writer(&ids(1), None).is_err() && check_writer(&ids(0), Some(&container())).is_err());
    }
}
