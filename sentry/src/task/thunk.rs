//! What a thread sees of patched system-call sites: nothing. See [`crate::mm`].

use std::sync::Arc;

use abi::signal::Signal;
use sentry_platform::Fault;

use super::Cred;
use crate::mm::{Class, Lessons};
use crate::{Current, Task};

/// Says whom a thread with these credentials may lead, and be led by.
pub(super) fn class(task: &Task, cred: &Cred) -> Class {
    Class { euid: cred.euid, egid: cred.egid, filters: task.seccomp.mode().filters() }
}

/// Has the site of a call that trapped patched, where that can be done.
pub(super) async fn patch(cur: &mut Current) {
    let kernel = Arc::clone(cur.kernel());
    if let Some(patching) = kernel.platform.patching() {
        let (mm, regs) = (Arc::clone(&cur.mm), *cur.regs());
        let class = class(&cur.task, &cur.task.cred.load());
        let lessons = Lessons { patching, learned: &kernel.learned, class };
        mm.trapped(cur.context.as_mut(), &lessons, regs.rip, regs.orig_rax).await;
    }
}

/// Puts a thread that stopped in a thunk back to the site that led it there.
pub(super) fn leave(cur: &mut Current) {
    let regs = *cur.regs();
    if let Some(patching) = cur.kernel().platform.patching()
        && let Some(site) = cur.mm.resume_address(patching, &regs, false)
    {
        cur.regs().rip = site;
    }
}

/// Tells whether a fault comes of patching, so that the guest goes on as if nothing had been.
pub(super) fn explains(cur: &mut Current, fault: &Fault) -> bool {
    let regs = *cur.regs();
    let Some(patching) = cur.kernel().platform.patching() else { return false };
    if fault.signo != Signal::SIGTRAP.number() {
        leave(cur);
        return false;
    }
    // A thread that steps itself goes through the thunk in steps that nobody sees.
    if cur.mm.resume_address(patching, &regs, false).is_some() {
        return true;
    }
    let site = cur.mm.resume_address(patching, &regs, true);
    if let Some(site) = site {
        cur.regs().rip = site;
    }
    site.is_some()
}
