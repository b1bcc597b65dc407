//! The filter, made from [`host_calls`].

use std::collections::BTreeMap;
use std::os::fd::RawFd;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

use super::ConfineError;
use crate::host_calls::{self, Check};
use crate::server::TreeFlags;

fn filter_error(error: impl std::fmt::Display) -> ConfineError {
    ConfineError::Filter(error.to_string())
}

/// Installs the filter on all threads; what isn't in the table raises SIGSYS.
pub(super) fn install(wanted: TreeFlags, log: Option<RawFd>) -> Result<(), ConfineError> {
    seccompiler::apply_filter_all_threads(&program(wanted, log)?).map_err(filter_error)
}

fn program(wanted: TreeFlags, log: Option<RawFd>) -> Result<BpfProgram, ConfineError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for call in host_calls::of(wanted) {
        // A call may have several lines.
        rules.entry(call.number).or_default().extend(conditions(call.check, log)?);
    }
    let arch: TargetArch = std::env::consts::ARCH.try_into().map_err(filter_error)?;
    let filter = SeccompFilter::new(rules, SeccompAction::Trap, SeccompAction::Allow, arch);
    filter.map_err(filter_error)?.try_into().map_err(filter_error)
}

/// Returns the rules of one call, any of which lets it pass; none means that any arguments do.
fn conditions(check: Check, log: Option<RawFd>) -> Result<Vec<SeccompRule>, ConfineError> {
    let one = |argument, op, value| {
        let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, op, value).map_err(filter_error)?;
        SeccompRule::new(vec![condition]).map_err(filter_error)
    };
    match check {
        Check::Any => Ok(Vec::new()),
        Check::Equal(argument, value) => Ok(vec![one(argument, SeccompCmpOp::Eq, value)?]),
        Check::NoBits(argument, bits) => Ok(vec![one(argument, SeccompCmpOp::MaskedEq(bits), 0)?]),
        Check::Not(argument, value) => Ok(vec![one(argument, SeccompCmpOp::Ne, value)?]),
        Check::Own(argument) => Ok(vec![one(argument, SeccompCmpOp::Eq, u64::from(std::process::id()))?]),
        Check::Log(argument) => {
            let log = log.and_then(|fd| u64::try_from(fd).ok());
            [Some(2), log].into_iter().flatten().map(|fd| one(argument, SeccompCmpOp::Eq, fd)).collect()
        }
    }
}
