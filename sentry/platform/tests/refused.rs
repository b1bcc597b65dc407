//! A process with a filter that traps says which call was its end.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use seccompiler::{BpfProgram, SeccompAction, SeccompFilter};

const ROLE: &str = "REFUSED_CALL_ROLE";

#[test]
fn a_refused_call_is_named() {
    if std::env::var_os(ROLE).is_some() {
        return refused();
    }
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.args(["--exact", "a_refused_call_is_named", "--nocapture", "--test-threads=1"]).env(ROLE, "1");
    let ended = command.output().expect("a child");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.signal(), Some(libc::SIGSYS), "{said}");
    let wanted = "the tested process made host call setpriority (141) with 0x0, 0x7, 0xffffffffffffffff";
    assert!(said.contains(wanted), "{said}");
}

fn refused() {
    sentry_platform::refused::speak_of_refused_calls("tested process", None);
    let rules = [(libc::SYS_setpriority, Vec::new())].into();
    let arch = std::env::consts::ARCH.try_into().expect("known");
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Trap, arch).expect("a filter");
    let program: BpfProgram = filter.try_into().expect("a program");
    seccompiler::apply_filter_all_threads(&program).expect("installed");
    // SAFETY: takes numbers.
    unsafe { libc::syscall(libc::SYS_setpriority, 0, 7, -1_i64) };
}
