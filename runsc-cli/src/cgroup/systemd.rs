//! Cgroups that systemd makes and owns: a transient unit (`man 5 systemd.scope`) with the limits as its properties, so that a
//! reload of systemd's configuration doesn't take them back. What systemd has no property for is written to the
//! unit's cgroup afterwards, which is delegated to us.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};

use super::dbus::{Argument, Connection, MANAGER, Refused, Value};
use super::pids_max;
use super::v2::weight;

/// Where system services listen for messages, and where systemd does so itself.
const BUS: &str = "/run/dbus/system_bus_socket";
const DIRECT: &str = "/run/systemd/private";

/// What systemd calls no limit.
const INFINITY: u64 = u64::MAX;

/// A transient unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Unit {
    /// With its kind: `docker-ID.scope`.
    name: String,
    /// The slice that it lies in.
    slice: String,
    /// In the hierarchy of an ordinary user's systemd.
    of_user: bool,
    /// Further properties: names, and values as annotations have them.
    further: Vec<(String, String)>,
}

/// Annotations whose names go on as those of properties, as with runc.
const PROPERTY: &str = "org.systemd.property.";

impl Unit {
    /// Understands `slice:prefix:name`, as engines write it into `linux.cgroupsPath`, and annotations.
    pub(super) fn new<'a>(path: &str, annotations: impl Iterator<Item = (&'a String, &'a String)>) -> Result<Unit> {
        let parts: Vec<&str> = path.split(':').collect();
        let &[slice, prefix, name] = parts.as_slice() else {
            bail!(
                "config.json: linux.cgroupsPath {path:?} is not slice:prefix:name, which cgroups made by systemd are named by"
            )
        };
        let of_user = !crate::user::is_host_root();
        let slice = match slice {
            "" if of_user => "user.slice",
            "" => "system.slice",
            slice => slice,
        };
        let name = match (name.ends_with(".slice"), prefix) {
            (true, _) => name.to_owned(),
            (_, "") => format!("{name}.scope"),
            _ => format!("{prefix}-{name}.scope"),
        };
        for part in [slice, &name] {
            let proper = part.chars().all(|c| c.is_ascii_alphanumeric() || ":-_.\\@+".contains(c));
            ensure!(proper && !part.starts_with('.'), "config.json: linux.cgroupsPath {path:?}: {part:?} is no unit");
        }
        let mut further = Vec::new();
        for (key, text) in annotations {
            let Some(property) = key.strip_prefix(PROPERTY) else { continue };
            let proper = property.len() >= 3 && property.chars().all(|c| c.is_ascii_alphanumeric());
            ensure!(proper, "config.json: annotations has {key:?}, which names no property of systemd's");
            value(text).with_context(|| format!("config.json: annotations: {key:?} is {text:?}"))?;
            further.push((property.to_owned(), text.clone()));
        }
        Ok(Unit { slice: slice.to_owned(), name, of_user, further })
    }

    fn connect(&self) -> Result<Connection> {
        if self.of_user {
            let dir =
                std::env::var_os("XDG_RUNTIME_DIR").context("finding the user's bus: XDG_RUNTIME_DIR is not set")?;
            return Connection::bus(&Path::new(&dir).join("bus"));
        }
        let bus = Connection::bus(Path::new(BUS));
        bus.or_else(|error| {
            let mut direct = Connection::open(Path::new(DIRECT)).map_err(|_| error)?;
            direct.order(MANAGER, "Subscribe", &[])?;
            Ok(direct)
        })
    }

    /// The cgroup's path below the root of a hierarchy.
    pub(super) fn path(&self) -> Result<PathBuf> {
        let above = if self.of_user { self.connect()?.property("ControlGroup")? } else { String::new() };
        Ok(Path::new(above.trim_start_matches('/')).join(expand(&self.slice)?).join(&self.name))
    }

    /// Has systemd make the unit, with a process in it.
    pub(super) fn start(&self, pid: i32, resources: Option<&LinuxResources>, unified: bool) -> Result<()> {
        let mut bus = self.connect().context("connecting to systemd")?;
        bus.order(MANAGER, "Subscribe", &[]).or_else(already)?;
        let properties = self.properties(pid, resources, unified)?;
        let arguments = [
            Argument::Text(&self.name),
            Argument::Text("replace"),
            Argument::Properties(&properties),
            Argument::NoUnits,
        ];
        let mut started = bus.ask(MANAGER, "StartTransientUnit", &arguments);
        if let Err(error) = &started
            && error.downcast_ref::<Refused>().is_some_and(|refused| refused.name.ends_with(".UnitExists"))
        {
            // One of that name has failed, and systemd keeps it to show that.
            bus.order(MANAGER, "ResetFailedUnit", &[Argument::Text(&self.name)]).or_else(already)?;
            started = bus.ask(MANAGER, "StartTransientUnit", &arguments);
        }
        let what = || format!("having systemd make {}", self.name);
        let job = started.with_context(what)?;
        let result = bus.wait_for_job(&job).with_context(what)?;
        ensure!(result == "done", "systemd says that making {} has ended with {result:?}", self.name);
        Ok(())
    }

    fn properties(&self, pid: i32, resources: Option<&LinuxResources>, unified: bool) -> Result<Vec<(String, Value)>> {
        let yes = |name: &str| (name.to_owned(), Value::Bool(true));
        let mut properties = vec![
            ("Description".to_owned(), Value::Text(format!("runsc container {}", self.name))),
            ("DefaultDependencies".to_owned(), Value::Bool(false)),
            yes("MemoryAccounting"),
            yes("CPUAccounting"),
            yes("TasksAccounting"),
            yes(if unified { "IOAccounting" } else { "BlockIOAccounting" }),
        ];
        if self.name.ends_with(".slice") {
            properties.push(("Wants".to_owned(), Value::Texts(vec![self.slice.clone()])));
        } else {
            properties.push(("Slice".to_owned(), Value::Text(self.slice.clone())));
            properties.push(yes("Delegate"));
            let pid = u32::try_from(pid).context("a process id")?;
            properties.push(("PIDs".to_owned(), Value::Numbers(vec![pid])));
        }
        properties.extend(resources.map(|resources| limits(resources, unified)).unwrap_or_default());
        for (name, text) in &self.further {
            properties.push((name.clone(), value(text)?));
        }
        Ok(properties)
    }

    /// Tells systemd of other limits.
    pub(super) fn update(&self, resources: &LinuxResources, unified: bool) -> Result<()> {
        let properties = limits(resources, unified);
        if properties.is_empty() {
            return Ok(());
        }
        let mut bus = self.connect().context("connecting to systemd")?;
        let arguments = [Argument::Text(&self.name), Argument::Bool(true), Argument::Properties(&properties)];
        bus.order(MANAGER, "SetUnitProperties", &arguments)
            .with_context(|| format!("telling systemd the limits of {}", self.name))
    }

    /// Has systemd forget the unit; one that is empty has gone by itself.
    pub(super) fn stop(&self) -> Result<()> {
        let mut bus = self.connect()?;
        let name = [Argument::Text(&self.name)];
        if let Ok(job) = bus.ask(MANAGER, "StopUnit", &[Argument::Text(&self.name), Argument::Text("replace")]) {
            bus.wait_for_job(&job)?;
        }
        bus.order(MANAGER, "ResetFailedUnit", &name).or_else(already)
    }
}

/// Reads the text of a value, of which systemd's properties need a few types (GVariant's text format).
fn value(text: &str) -> Result<Value> {
    let quoted = |mark: char| text.strip_prefix(mark).and_then(|text| text.strip_suffix(mark));
    Ok(match text.split_once(' ').unwrap_or(("", text)) {
        (_, "true") => Value::Bool(true),
        (_, "false") => Value::Bool(false),
        ("uint64", number) => Value::U64(number.parse()?),
        ("uint32", number) => Value::U32(number.parse()?),
        ("" | "int32", number) if !number.starts_with(['\'', '"']) => Value::I32(number.parse()?),
        _ => Value::Text(quoted('\'').or_else(|| quoted('"')).context("no value of a known type")?.to_owned()),
    })
}

/// That there is nothing to do is no failure.
fn already(error: anyhow::Error) -> Result<()> {
    if error.is::<Refused>() { Ok(()) } else { Err(error) }
}

/// Where a slice's cgroup is: `a-b.slice` lies in `a.slice` (`man 5 systemd.slice`).
fn expand(slice: &str) -> Result<PathBuf> {
    let name = slice.strip_suffix(".slice").filter(|name| !name.is_empty());
    let name = name.with_context(|| format!("config.json: linux.cgroupsPath: {slice:?} is no slice"))?;
    if name == "-" {
        return Ok(PathBuf::new());
    }
    ensure!(
        name.split('-').all(|part| !part.is_empty()),
        "config.json: linux.cgroupsPath: {slice:?} has an empty part in its name"
    );
    let ends = name.match_indices('-').map(|(at, _)| at).chain([name.len()]);
    Ok(ends.map(|end| format!("{}.slice", &name[..end])).collect())
}

/// The limits that systemd knows as properties of a unit (`man 5 systemd.resource-control`).
fn limits(resources: &LinuxResources, unified: bool) -> Vec<(String, Value)> {
    let mut limits = Vec::new();
    let mut set = |name: &str, value: Value| limits.push((name.to_owned(), value));
    let amount = |value: i64| u64::try_from(value).unwrap_or(INFINITY);
    let given = |value: Option<i64>| value.filter(|value| *value != 0);
    if let Some(memory) = resources.memory() {
        let limit = given(memory.limit());
        if let Some(limit) = limit {
            set(if unified { "MemoryMax" } else { "MemoryLimit" }, Value::U64(amount(limit)));
        }
        if let Some(reservation) = given(memory.reservation()).filter(|_| unified) {
            set("MemoryLow", Value::U64(amount(reservation)));
        }
        if let Some(sum) = given(memory.swap()).filter(|_| unified) {
            // There it is the sum of both.
            let swap = if sum < 0 { sum } else { sum.saturating_sub(limit.unwrap_or(0)).max(0) };
            set("MemorySwapMax", Value::U64(amount(swap)));
        }
    }
    if let Some(cpu) = resources.cpu() {
        match cpu.shares().filter(|shares| *shares != 0) {
            Some(shares) if unified => set("CPUWeight", Value::U64(weight(shares))),
            Some(shares) => set("CPUShares", Value::U64(shares)),
            None => {}
        }
        let period = cpu.period().filter(|period| *period != 0);
        if let Some(period) = period {
            set("CPUQuotaPeriodUSec", Value::U64(period));
        }
        if let Some(quota) = cpu.quota().filter(|quota| *quota != 0) {
            // In microseconds a second, of which systemd counts whole hundredths of a processor.
            let second = u64::try_from(quota).ok().map(|quota| {
                let exact = u128::from(quota) * 1_000_000 / u128::from(period.unwrap_or(100_000));
                u64::try_from(exact).unwrap_or(INFINITY).div_ceil(10_000).saturating_mul(10_000)
            });
            set("CPUQuotaPerSecUSec", Value::U64(second.unwrap_or(INFINITY)));
        }
        for (name, list) in [("AllowedCPUs", cpu.cpus()), ("AllowedMemoryNodes", cpu.mems())] {
            if let Some(bits) = list.as_ref().filter(|_| unified).and_then(|list| mask(list)) {
                set(name, Value::Bytes(bits));
            }
        }
    }
    if let Some(pids) = resources.pids().as_ref().filter(|pids| pids.limit() != 0) {
        set("TasksMax", Value::U64(pids_max(pids.limit()).parse().unwrap_or(INFINITY)));
    }
    let weight = resources.block_io().as_ref().and_then(|io| io.weight()).filter(|weight| *weight != 0);
    if let Some(weight) = weight.filter(|_| !unified) {
        set("BlockIOWeight", Value::U64(u64::from(weight)));
    }
    limits
}

/// Turns a list as of `cpuset(7)` into bits. What makes no sense is left to the host, which names the mistake.
fn mask(list: &str) -> Option<Vec<u8>> {
    const MOST: usize = 8192;
    let mut bits = Vec::new();
    for range in list.trim().split(',').filter(|range| !range.is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if last >= MOST {
            return None;
        }
        bits.resize(bits.len().max(last / 8 + 1), 0_u8);
        (first..=last).for_each(|bit| bits[bit / 8] |= 1 << (bit % 8));
    }
    (!bits.is_empty()).then_some(bits)
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::{LinuxCpuBuilder, LinuxMemoryBuilder, LinuxPidsBuilder, LinuxResourcesBuilder};

    use super::*;

    #[test]
    fn names_of_engines_become_units() {
        let unit = |path| Unit::new(path, [].into_iter()).map(|unit| (unit.slice, unit.name)).ok();
        let pair = |slice: &str, name: &str| Some((slice.to_owned(), name.to_owned()));
        assert_eq!(unit("system.slice:docker:abc"), pair("system.slice", "docker-abc.scope"));
        assert_eq!(unit("kubepods-pod1.slice:cri-containerd:1"), pair("kubepods-pod1.slice", "cri-containerd-1.scope"));
        assert_eq!(unit("machine.slice::x"), pair("machine.slice", "x.scope"));
        assert_eq!(unit("a.slice::a-b.slice"), pair("a.slice", "a-b.slice"));
        for wrong in ["", "/a/b", "a:b", "a:b:c:d", "../x.slice:a:b", "a.slice:b:../c", "a.slice:.:/"] {
            assert_eq!(unit(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn annotations_become_properties() {
        for (text, expected) in [
            ("true", Value::Bool(true)),
            ("uint64 10000000", Value::U64(10_000_000)),
            ("uint32 7", Value::U32(7)),
            ("15", Value::I32(15)),
            ("'multi-user.target'", Value::Text("multi-user.target".to_owned())),
        ] {
            assert_eq!(value(text).expect(text), expected);
        }
        for wrong in ["", "x", "'", "'a", "uint64 -1", "[1, 2]"] {
            assert!(value(wrong).is_err(), "{wrong}");
        }
        let unit = |key: &str| Unit::new("::a", [(&key.to_owned(), &"true".to_owned())].into_iter());
        assert_eq!(unit("org.systemd.property.Some").expect("good").further.len(), 1);
        assert!(unit("org.systemd.property.a/b").is_err());
        assert!(unit("other").expect("ignored").further.is_empty());
    }

    #[test]
    fn slices_lie_in_slices() {
        let path = |slice| expand(slice).ok();
        assert_eq!(path("system.slice"), Some("system.slice".into()));
        assert_eq!(path("a-b-c.slice"), Some("a.slice/a-b.slice/a-b-c.slice".into()));
        assert_eq!(path("-.slice"), Some("".into()));
        for wrong in ["", "x", ".slice", "a--b.slice", "-a.slice", "a-.slice"] {
            assert_eq!(path(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn limits_become_properties() {
        let memory = LinuxMemoryBuilder::default().limit(4096).swap(-1).build().expect("memory");
        let cpu = LinuxCpuBuilder::default().quota(25_500).period(50_000_u64).cpus("0,2-3,9").build().expect("cpu");
        let pids = LinuxPidsBuilder::default().limit(10_i64).build().expect("pids");
        let resources = LinuxResourcesBuilder::default().memory(memory).cpu(cpu).pids(pids).build().expect("all");
        let expected = [
            ("MemoryMax", Value::U64(4096)),
            ("MemorySwapMax", Value::U64(INFINITY)),
            ("CPUQuotaPeriodUSec", Value::U64(50_000)),
            ("CPUQuotaPerSecUSec", Value::U64(510_000)),
            ("AllowedCPUs", Value::Bytes(vec![0b1101, 0b10])),
            ("TasksMax", Value::U64(74)),
        ];
        assert_eq!(limits(&resources, true), expected.map(|(name, value)| (name.to_owned(), value)));
        assert!(limits(&resources, false).iter().any(|(name, _)| name == "MemoryLimit"));
    }
}
