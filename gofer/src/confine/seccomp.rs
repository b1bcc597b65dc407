//! The filter, made from [`HOST_CALLS`].

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule, TargetArch,
};

use super::ConfineError;
use crate::host_calls::{Check, HOST_CALLS};

fn filter_error(error: impl std::fmt::Display) -> ConfineError {
    ConfineError::Filter(error.to_string())
}

/// Installs the filter on all threads; what isn't in the table kills the process.
pub(super) fn install() -> Result<(), ConfineError> {
    seccompiler::apply_filter_all_threads(&program()?).map_err(filter_error)
}

fn program() -> Result<BpfProgram, ConfineError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    for call in HOST_CALLS {
        rules.insert(call.number, conditions(call.check)?);
    }
    let arch: TargetArch = std::env::consts::ARCH.try_into().map_err(filter_error)?;
    let filter = SeccompFilter::new(rules, SeccompAction::KillProcess, SeccompAction::Allow, arch);
    filter.map_err(filter_error)?.try_into().map_err(filter_error)
}

/// Returns the rules of one call; none means that any arguments pass.
fn conditions(check: Check) -> Result<Vec<SeccompRule>, ConfineError> {
    let (argument, op, value) = match check {
        Check::Any => return Ok(Vec::new()),
        Check::Equal(argument, value) => (argument, SeccompCmpOp::Eq, value),
        Check::NoBits(argument, bits) => (argument, SeccompCmpOp::MaskedEq(bits), 0),
        Check::Own(argument) => (argument, SeccompCmpOp::Eq, u64::from(std::process::id())),
    };
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, op, value).map_err(filter_error)?;
    Ok(vec![SeccompRule::new(vec![condition]).map_err(filter_error)?])
}
