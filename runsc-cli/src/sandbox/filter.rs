//! The sentry's seccomp filter, made from [`HOST_CALLS`] and its platform's table.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};
use sentry_platform::host_calls::{HostCall as PlatformCall, PTRACE, SYSTRAP};

use super::halving;
use super::host_calls::{Check, HOST_CALLS, HostCall};
use super::socket_calls::SOCKET_CALLS;
use super::unix_calls::{LISTEN_CALLS, UNIX_CALLS};

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// What the guest has on the host, which takes further calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OnHost {
    /// Internet sockets.
    pub(crate) internet: bool,
    /// Unix sockets.
    pub(crate) unix: bool,
    /// Unix sockets that listen.
    pub(crate) listening: bool,
}

/// Installs the filter on all threads, with the calls of host sockets only as far as the guest's sockets are `on_host`.
/// Whatever it doesn't know ends the process, once it has been named ([`sentry_platform::refused`]), or, with `log`, is let
/// through and goes to the host's audit log: for development only.
pub(crate) fn install(platform: &str, on_host: OnHost, log: bool) -> Result<()> {
    let action = if log { SeccompAction::Log } else { SeccompAction::Trap };
    let allowed = allowing(rules(platform_calls(platform), own_calls(on_host))?, action)?;
    // Two filters, as one knows two outcomes only; the stricter of their answers counts. The second to be installed
    // forbids a third.
    let no_clone3 = Rules::from([(libc::SYS_clone3, Vec::new())]);
    let enosys = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let refused = program(no_clone3, SeccompAction::Allow, enosys)?;
    for filter in [&refused, &allowed] {
        seccompiler::apply_filter_all_threads(filter).context("installing the sentry's seccomp filter")?;
    }
    Ok(())
}

fn platform_calls(platform: &str) -> &'static [PlatformCall] {
    if platform == "ptrace" { PTRACE } else { SYSTRAP }
}

fn own_calls(on_host: OnHost) -> impl Iterator<Item = &'static HostCall> {
    let further = [(on_host.internet, SOCKET_CALLS), (on_host.unix, UNIX_CALLS), (on_host.listening, LISTEN_CALLS)];
    HOST_CALLS.iter().chain(further.into_iter().filter(|(wanted, _)| *wanted).flat_map(|(_, calls)| calls))
}

/// Makes the filter of what is allowed. Calls that any arguments are right for are found by halving, the others one by one:
/// the host tries every number when a filter is installed, and the others at every call.
fn allowing(rules: Rules, otherwise: SeccompAction) -> Result<BpfProgram> {
    let (free, checked): (Rules, Rules) = rules.into_iter().partition(|(_, checks)| checks.is_empty());
    let rest = program(checked, otherwise, SeccompAction::Allow)?;
    halving::before(free.into_keys(), SeccompAction::Allow, rest)
}

fn program(rules: Rules, otherwise: SeccompAction, listed: SeccompAction) -> Result<BpfProgram> {
    let arch: TargetArch = std::env::consts::ARCH.try_into().context("making the sentry's seccomp filter")?;
    let filter = SeccompFilter::new(rules, otherwise, listed, arch).context("making the sentry's seccomp filter")?;
    filter.try_into().context("making the sentry's seccomp filter")
}

/// Merges both tables. A call passes when any of its rules holds; a call without rules always does.
fn rules(platform: &[PlatformCall], own: impl Iterator<Item = &'static HostCall>) -> Result<Rules> {
    let mut rules: BTreeMap<i64, Option<Vec<SeccompRule>>> = BTreeMap::new();
    let own = own.map(|call| (call.nr, call.checks.to_vec()));
    let platform = platform.iter().map(|call| {
        let checks = call.args.iter().map(|(index, values)| Check::In(*index, values));
        (call.nr, checks.collect())
    });
    for (nr, checks) in own.chain(platform) {
        let entry = rules.entry(nr).or_insert_with(|| Some(Vec::new()));
        match entry {
            Some(list) if !checks.is_empty() => list.extend(alternatives(&checks)?),
            _ => *entry = None,
        }
    }
    Ok(rules.into_iter().map(|(nr, list)| (nr, list.unwrap_or_default())).collect())
}

/// Spells out checks that all must hold, some of which allow several values, as rules of single values.
fn alternatives(checks: &[Check]) -> Result<Vec<SeccompRule>> {
    let mut spelled: Vec<Vec<SeccompCondition>> = vec![Vec::new()];
    for check in checks {
        let choices = match *check {
            Check::In(index, values) => {
                values.iter().map(|value| condition(index, SeccompCmpOp::Eq, *value)).collect::<Result<Vec<_>>>()?
            }
            Check::Clear(index, bits) => vec![condition(index, SeccompCmpOp::MaskedEq(bits), 0)?],
            Check::Not(index, value) => vec![condition(index, SeccompCmpOp::Ne, value)?],
            Check::Own(index) => vec![condition(index, SeccompCmpOp::Eq, u64::from(std::process::id()))?],
        };
        let with = |so_far: &Vec<SeccompCondition>| {
            let so_far = so_far.clone();
            choices.clone().into_iter().map(move |choice| [so_far.clone(), vec![choice]].concat())
        };
        spelled = spelled.iter().flat_map(with).collect();
    }
    spelled.into_iter().map(|rule| SeccompRule::new(rule).context("making the sentry's seccomp filter")).collect()
}

/// Compares the low half: the host looks at no more of these arguments, or refuses what is set above.
fn condition(index: u8, op: SeccompCmpOp, value: u64) -> Result<SeccompCondition> {
    SeccompCondition::new(index, SeccompCmpArgLen::Dword, op, value).context("making the sentry's seccomp filter")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use sentry::task::seccomp::{Data, Insn, Program};

    use super::*;

    const ALL: OnHost = OnHost { internet: true, unix: true, listening: true };

    #[test]
    fn both_platforms_make_a_program_that_the_host_can_load() {
        for on_host in [OnHost::default(), ALL] {
            for platform in ["systrap", "ptrace"] {
                let rules = rules(platform_calls(platform), own_calls(on_host)).unwrap();
                assert!(allowing(rules, SeccompAction::Trap).unwrap().len() < 4096);
            }
        }
    }

    #[test]
    fn what_is_found_by_halving_is_what_is_found_one_by_one() {
        let loaded = |filter: BpfProgram| {
            let insns = filter.iter().map(|insn| Insn { code: insn.code, jt: insn.jt, jf: insn.jf, k: insn.k });
            Program::new(&insns.collect::<Vec<_>>()).expect("a filter that loads")
        };
        for platform in ["systrap", "ptrace"] {
            let checked = platform_calls(platform).iter().flat_map(|call| call.args).flat_map(|(_, values)| *values);
            let own = own_calls(ALL).flat_map(|call| call.checks).filter_map(|check| match check {
                Check::In(_, values) => Some(values),
                _ => None,
            });
            let values: BTreeSet<u64> =
                checked.chain(own.copied().flatten()).copied().chain([0, 1, u64::MAX]).collect();
            let rules = rules(platform_calls(platform), own_calls(ALL)).unwrap();
            let plain = loaded(program(rules.clone(), SeccompAction::Trap, SeccompAction::Allow).unwrap());
            let halving = loaded(allowing(rules, SeccompAction::Trap).unwrap());
            let (mut allowed, mut calls) = (0, 0);
            for nr in (0..600).chain([i32::MAX, i32::MIN, -1, 0x4000_0000, 0x4000_0001]) {
                for (arch, value) in
                    [halving::X86_64, 0x4000_0003].iter().flat_map(|a| values.iter().map(move |v| (*a, *v)))
                {
                    let data = Data { nr, arch, instruction_pointer: 0, args: [value; 6] };
                    let action = halving.run(&data);
                    assert_eq!(action, plain.run(&data), "{platform} {nr} {arch:#x} {value:#x}");
                    allowed += usize::from(action == u32::from(SeccompAction::Allow));
                    calls += 1;
                }
            }
            assert!(allowed > 0 && allowed < calls, "{platform}");
        }
    }

    #[test]
    fn what_the_guest_has_not_on_the_host_is_not_let_through() {
        let has = |on_host, nr| rules(&[], own_calls(on_host)).unwrap().contains_key(&nr);
        let unix = OnHost { unix: true, ..OnHost::default() };
        assert!(!has(OnHost::default(), libc::SYS_shutdown) && has(unix, libc::SYS_shutdown));
        assert!(!has(unix, libc::SYS_listen) && has(OnHost { listening: true, ..unix }, libc::SYS_listen));
        assert!(!has(unix, libc::SYS_socket) && has(ALL, libc::SYS_socket));
    }

    #[test]
    fn a_free_entry_wins_over_a_checked_one() {
        let free = PlatformCall { nr: libc::SYS_ioctl, args: &[], why: "test" };
        assert!(rules(&[free], own_calls(ALL)).unwrap()[&libc::SYS_ioctl].is_empty());
        assert!(!rules(&[], own_calls(ALL)).unwrap()[&libc::SYS_ioctl].is_empty());
    }

    #[test]
    fn values_of_several_arguments_are_combined() {
        let made = alternatives(&[Check::In(0, &[1, 2]), Check::In(1, &[3, 4, 5]), Check::Clear(2, 4)]).unwrap();
        assert_eq!(made.len(), 6);
    }
}
