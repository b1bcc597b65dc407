//! The process of config.json.

use anyhow::{Result, bail, ensure};
use oci_spec::runtime::Process;

use super::caps;
use super::mounts::utf8;
use crate::sandbox::config::ProcessConfig;

/// Checks and converts a process.
pub(crate) fn convert(process: &Process) -> Result<ProcessConfig> {
    let args = process.args().clone().unwrap_or_default();
    if args.is_empty() {
        bail!("config.json: process.args is empty");
    }
    let env = process.env().clone().unwrap_or_default();
    if args.iter().chain(&env).any(|text| text.contains('\0')) {
        bail!("config.json: process.args and process.env may not contain NUL bytes");
    }
    if let Some(variable) = env.iter().find(|variable| !variable.contains('=') || variable.starts_with('=')) {
        bail!("config.json: process.env has {variable:?}, which is not NAME=VALUE");
    }
    let cwd = process.cwd();
    if !cwd.is_absolute() {
        bail!("config.json: process.cwd {} is not absolute", cwd.display());
    }
    let mut rlimits: Vec<(u32, u64, u64)> = Vec::new();
    for limit in process.rlimits().iter().flatten() {
        // `oci-spec` lists the limits in Linux's order.
        let (kind, soft, hard) = (limit.typ() as u32, limit.soft(), limit.hard());
        ensure!(soft <= hard, "config.json: the soft limit of {} is above the hard one", limit.typ());
        ensure!(!rlimits.iter().any(|known| known.0 == kind), "config.json: {} is limited twice", limit.typ());
        rlimits.push((kind, soft, hard));
    }
    let oom_score_adj = process.oom_score_adj().unwrap_or(0);
    ensure!((-1000..=1000).contains(&oom_score_adj), "config.json: process.oomScoreAdj must lie in -1000 … 1000");
    let user = process.user();
    let groups = user.additional_gids().clone().unwrap_or_default();
    // The value that means "no change" to Linux.
    let none = [user.uid(), user.gid()].iter().chain(&groups).any(|id| *id == u32::MAX);
    ensure!(!none, "config.json: process.user has the id {}, which is nobody's", u32::MAX);
    Ok(ProcessConfig {
        args: args.into_iter().map(String::into_bytes).collect(),
        env: env.into_iter().map(String::into_bytes).collect(),
        cwd: utf8(cwd.clone())?,
        uid: user.uid(),
        gid: user.gid(),
        groups,
        umask: user.umask().unwrap_or(0o022) & 0o777,
        caps: process.capabilities().as_ref().map(caps::convert).unwrap_or_default(),
        rlimits,
        oom_score_adj,
        no_new_privs: process.no_new_privileges().unwrap_or(false),
        ignored_signals: 0,
        container: true,
        hook: false,
        terminal: process.terminal().unwrap_or(false),
        further: Vec::new(),
        given_program: false,
    })
}
