//! `runsc update`: other limits for a container.

use std::io::Read;

use anyhow::{Context, Result, bail};
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxPids, LinuxResources};
use sentry::control::protocol::Request;

use crate::cli::{Global, UpdateArgs};
use crate::client::Client;
use crate::oci::max_tasks;
use crate::state::{Container, Status};

/// Sets the limits in the container's cgroup, and that of processes in the sandbox too.
pub(crate) fn run(global: &Global, args: &UpdateArgs) -> Result<u8> {
    let resources = resources(args)?;
    let container = Container::find(global, &args.id)?;
    let _lock = container.lock()?;
    let mut record = container.load()?;
    if container.status(&record) == Status::Stopped {
        bail!("container not running: {:?}", args.id);
    }
    let Some(cgroup) = &mut record.cgroup else { bail!("container {:?} has no cgroup", args.id) };
    cgroup.update(&resources)?;
    if resources.pids().as_ref().is_some_and(|pids| pids.limit() != 0) {
        Client::connect(&container)?.call(&Request::LimitTasks(max_tasks(&resources)))?;
    }
    Ok(0)
}

fn resources(args: &UpdateArgs) -> Result<LinuxResources> {
    if let Some(path) = &args.resources {
        let mut text = Vec::new();
        if path.as_os_str() == "-" {
            std::io::stdin().lock().read_to_end(&mut text).context("reading standard input")?;
        } else {
            text = std::fs::read(path).with_context(|| format!("reading {}", path.display()))?;
        }
        return serde_json::from_slice(&text).context("parsing the resources");
    }
    let mut resources = LinuxResources::default();
    let mut memory = LinuxMemory::default();
    memory.set_limit(args.memory).set_reservation(args.memory_reservation).set_swap(args.memory_swap);
    resources.set_memory(Some(memory));
    let mut cpu = LinuxCpu::default();
    cpu.set_shares(args.cpu_share).set_quota(args.cpu_quota).set_period(args.cpu_period).set_burst(args.cpu_burst);
    cpu.set_idle(args.cpu_idle).set_realtime_period(args.cpu_rt_period).set_realtime_runtime(args.cpu_rt_runtime);
    cpu.set_cpus(args.cpuset_cpus.clone()).set_mems(args.cpuset_mems.clone());
    resources.set_cpu(Some(cpu));
    if let Some(limit) = args.pids_limit {
        let mut pids = LinuxPids::default();
        pids.set_limit(limit);
        resources.set_pids(Some(pids));
    }
    if args.blkio_weight.is_some() {
        let mut io = LinuxBlockIo::default();
        io.set_weight(args.blkio_weight);
        resources.set_block_io(Some(io));
    }
    Ok(resources)
}
