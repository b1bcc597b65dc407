//! The seccomp profile of config.json (`linux.seccomp`), turned into one filter for the guest kernel's own seccomp.
//!
//! It decides as runc's filter does, which is libseccomp's with a stub in front: calls that libseccomp doesn't know are left
//! out, calls newer than any that the profile names fail with `ENOSYS`, conditions on one argument are alternatives. What
//! can't be enforced is an error.

mod code;

use std::collections::BTreeMap;

use anyhow::{Result, bail, ensure};
use oci_spec::runtime::{Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator, LinuxSyscall};
use sentry::task::seccomp::{Insn, Program, action};

/// Arguments of a system call.
const ARGS: usize = 6;

/// One comparison of an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Condition {
    /// Which argument.
    index: u32,
    operator: LinuxSeccompOperator,
    value: u64,
    /// What is compared with after masking by `value`.
    masked: u64,
}

/// What a profile says of one call.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Rule {
    /// Always this.
    Always(u32),
    /// The first alternative all of whose conditions hold; else the default.
    Alternatives(Vec<(Vec<Condition>, u32)>),
}

/// A profile that has been read.
struct Policy {
    default: u32,
    /// By number.
    rules: BTreeMap<u32, Rule>,
    /// Calls of the x32 interface are judged by the same rules.
    x32: bool,
    /// Calls with a higher number fail with `ENOSYS`.
    last: Option<u32>,
}

/// Turns a profile into a program; `None` where it forbids nothing.
pub(super) fn convert(profile: &LinuxSeccomp) -> Result<Option<Vec<Insn>>> {
    let notifies = profile.syscalls().iter().flatten().map(LinuxSyscall::action);
    if notifies.chain([profile.default_action()]).any(|action| action == LinuxSeccompAction::ScmpActNotify) {
        bail!("config.json: linux.seccomp uses SCMP_ACT_NOTIFY, which is not supported: no agent can be asked");
    }
    // Flags change nothing here: the filter is the only one, its container has one thread, and speculation is the host's.
    let default_errno = match profile.default_action() {
        LinuxSeccompAction::ScmpActErrno | LinuxSeccompAction::ScmpActTrace => profile.default_errno_ret(),
        _ => None,
    };
    let mut policy = Policy {
        default: returned("defaultAction", profile.default_action(), default_errno)?,
        rules: BTreeMap::new(),
        x32: profile.architectures().iter().flatten().any(|arch| *arch == Arch::ScmpArchX32),
        last: None,
    };
    for call in profile.syscalls().iter().flatten() {
        add(&mut policy, call)?;
    }
    // runc: a profile that names nothing can't know what is new, and one that lets calls pass doesn't mind.
    let permissive = matches!(policy.default & action::MASK, action::ALLOW | action::LOG | action::TRACE);
    if permissive || profile.default_errno_ret() == Some(abi::Errno::ENOSYS.raw().cast_unsigned()) {
        policy.last = None;
    }
    if policy.rules.is_empty() && policy.default == action::ALLOW {
        return Ok(None);
    }
    let program = code::program(&policy);
    let length = program.len();
    ensure!(Program::new(&program).is_ok(), "config.json: linux.seccomp is too long: it takes {length} instructions");
    Ok(Some(program))
}

fn add(policy: &mut Policy, call: &LinuxSyscall) -> Result<()> {
    let verdict = returned(&call.names().join(", "), call.action(), call.errno_ret())?;
    ensure!(!call.names().is_empty(), "config.json: linux.seccomp.syscalls has an entry without names");
    let alternatives = alternatives(call.args().as_deref().unwrap_or_default())?;
    for name in call.names() {
        ensure!(!name.is_empty(), "config.json: linux.seccomp.syscalls has an empty name");
        let Some(number) = number(name) else {
            tracing::debug!(name, "a call of the seccomp profile is not known here");
            continue;
        };
        policy.last = policy.last.max(Some(number));
        if verdict == policy.default {
            continue;
        }
        let new = alternatives.iter().map(|conditions| (conditions.clone(), verdict));
        match policy.rules.get_mut(&number) {
            // As in libseccomp: what needs no look at arguments wins, and of two such the first.
            Some(Rule::Always(_)) => {}
            Some(rule) if alternatives.is_empty() => *rule = Rule::Always(verdict),
            Some(Rule::Alternatives(known)) => known.extend(new),
            None if alternatives.is_empty() => drop(policy.rules.insert(number, Rule::Always(verdict))),
            None => drop(policy.rules.insert(number, Rule::Alternatives(new.collect()))),
        }
    }
    Ok(())
}

/// Groups conditions: all must hold, unless two look at one argument; then each stands for itself (as runc does).
fn alternatives(args: &[LinuxSeccompArg]) -> Result<Vec<Vec<Condition>>> {
    let conditions: Vec<Condition> = args.iter().map(condition).collect::<Result<_>>()?;
    let mut counts = [0; ARGS];
    args.iter().filter_map(|arg| counts.get_mut(arg.index()).map(|count| *count += 1)).for_each(drop);
    Ok(match conditions.len() {
        0 => Vec::new(),
        _ if counts.iter().any(|count| *count > 1) => conditions.into_iter().map(|one| vec![one]).collect(),
        _ => vec![conditions],
    })
}

fn condition(arg: &LinuxSeccompArg) -> Result<Condition> {
    ensure!(arg.index() < ARGS, "config.json: linux.seccomp looks at argument {}: calls have {ARGS}", arg.index());
    Ok(Condition {
        index: u32::try_from(arg.index())?,
        operator: arg.op(),
        value: arg.value(),
        masked: arg.value_two().unwrap_or(0) & arg.value(),
    })
}

/// What a filter returns for an action.
fn returned(what: &str, kind: LinuxSeccompAction, errno: Option<u32>) -> Result<u32> {
    let told = matches!(kind, LinuxSeccompAction::ScmpActErrno | LinuxSeccompAction::ScmpActTrace);
    ensure!(told || errno.is_none(), "config.json: linux.seccomp: {what}: {kind} has no errnoRet");
    let errno = errno.unwrap_or(abi::Errno::EPERM.raw().cast_unsigned());
    ensure!(errno <= action::DATA, "config.json: linux.seccomp: {what}: errnoRet {errno} is too large");
    Ok(match kind {
        LinuxSeccompAction::ScmpActKill | LinuxSeccompAction::ScmpActKillThread => action::KILL_THREAD,
        LinuxSeccompAction::ScmpActKillProcess => action::KILL_PROCESS,
        LinuxSeccompAction::ScmpActTrap => action::TRAP,
        LinuxSeccompAction::ScmpActErrno => action::ERRNO | errno,
        LinuxSeccompAction::ScmpActTrace => action::TRACE | errno,
        LinuxSeccompAction::ScmpActLog => action::LOG,
        LinuxSeccompAction::ScmpActAllow => action::ALLOW,
        LinuxSeccompAction::ScmpActNotify => bail!("config.json: linux.seccomp: {what}: SCMP_ACT_NOTIFY"),
    })
}

fn number(name: &str) -> Option<u32> {
    abi::table::ENTRIES.iter().find(|entry| entry.name == name).map(|entry| entry.number)
}

#[cfg(test)]
mod tests;
