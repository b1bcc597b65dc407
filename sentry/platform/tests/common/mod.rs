//! The suite that every platform must pass: drives the traits with a tiny executor and hand-written guest code.
//!
//! A platform's own test file (`harness = false`, since a platform wants to be made before any other thread exists)
//! calls [`main`] with its constructor. Everything here is written against `dyn Platform`.

mod basic;
mod cases;
pub(crate) mod guest;
mod hostile;

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use sentry_platform::Platform;

/// How long a future may take before the test is called hung.
const PATIENCE: Duration = Duration::from_secs(20);

/// One test of the suite.
pub(crate) type Case = (&'static str, fn(&dyn Platform));

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Runs a future to its end on this thread, which also polls the platform. The future is polled again only when its
/// waker was used, so that a forgotten wake-up is a failed test.
pub(crate) fn block_on<T>(platform: &dyn Platform, future: impl Future<Output = T>) -> T {
    let flag = Arc::new(Flag(AtomicBool::new(true)));
    let waker = Waker::from(Arc::clone(&flag));
    let mut cx = TaskContext::from_waker(&waker);
    let mut future = pin!(future);
    let began = Instant::now();
    loop {
        if flag.0.swap(false, Ordering::SeqCst)
            && let Poll::Ready(value) = future.as_mut().poll(&mut cx)
        {
            return value;
        }
        if !platform.poll() && !flag.0.load(Ordering::SeqCst) {
            platform.park(Some(Duration::from_millis(500)));
        }
        assert!(began.elapsed() < PATIENCE, "nothing happened for {PATIENCE:?}");
    }
}

/// Runs the common cases and those given, on this thread; prints one line each. Arguments select by part of a name.
pub(crate) fn main(make: impl FnOnce() -> Arc<dyn Platform>, own: &[Case]) -> std::process::ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let listing = std::env::args().any(|arg| arg == "--list");
    let cases: Vec<&Case> = basic::CASES.iter().chain(cases::CASES).chain(hostile::CASES).chain(own).collect();
    if listing {
        cases.iter().for_each(|(name, _)| println!("{name}: test"));
        return std::process::ExitCode::SUCCESS;
    }
    let platform = make();
    let mut failed = 0;
    for (name, case) in cases {
        if !wanted.is_empty() && !wanted.iter().any(|part| name.contains(part.as_str())) {
            continue;
        }
        let began = Instant::now();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| case(&*platform)));
        let verdict = if result.is_ok() { "ok" } else { "FAILED" };
        println!("{} {name} ... {verdict} ({:?})", platform.name(), began.elapsed());
        failed += u32::from(result.is_err());
    }
    if failed == 0 { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::FAILURE }
}
