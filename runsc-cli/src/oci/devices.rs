//! Device nodes of config.json.

use anyhow::{Context, Result, bail, ensure};
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType};

use super::mounts::utf8;
use crate::sandbox::config::{DeviceConfig, NodeKind};

/// Permission bits where none are given, as runc has it.
const PERM: u32 = 0o666;

/// Converts the list. What stands behind a number is the guest kernel's, never the host's device.
pub(super) fn convert(devices: &[LinuxDevice]) -> Result<Vec<DeviceConfig>> {
    devices.iter().map(convert_one).collect()
}

fn convert_one(device: &LinuxDevice) -> Result<DeviceConfig> {
    let path = utf8(device.path().clone())?;
    let proper = path.starts_with('/') && !path.ends_with('/') && !path.split('/').any(|part| part == "..");
    ensure!(proper, "config.json: linux.devices has {path:?}, which is not an absolute path without \"..\"");
    let kind = match device.typ() {
        LinuxDeviceType::C | LinuxDeviceType::U => NodeKind::Character,
        LinuxDeviceType::B => NodeKind::Block,
        LinuxDeviceType::P => NodeKind::Fifo,
        LinuxDeviceType::A => bail!("config.json: linux.devices: {path} is of type a, which is no type of a node"),
    };
    let number = |name: &str, number: i64| {
        u32::try_from(number)
            .with_context(|| format!("config.json: linux.devices: {path} has the {name} number {number}"))
    };
    Ok(DeviceConfig {
        kind,
        major: number("major", device.major())?,
        minor: number("minor", device.minor())?,
        perm: device.file_mode().unwrap_or(PERM) & 0o7777,
        uid: device.uid().unwrap_or(0),
        gid: device.gid().unwrap_or(0),
        path,
    })
}
