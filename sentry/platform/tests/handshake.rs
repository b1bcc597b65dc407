//! Models of the handshake between sentry and stub, all of whose interleavings `loom` tries: no wake-up is lost.
//!
//! Each side is written as in `systrap/hub.rs`, `thread.rs`, `context.rs` and `stub.rs`, a step a line, on atomics of loom's.
//! What the host does is modelled by a lock: a futex compares and sleeps in one, a notification stays until it is
//! received, a signal stays until it is seen. loom knows sequential consistency of fences only, so where the real code
//! relies on that of an access (`xchg` in the stub, `SeqCst` in the sentry) the model has a fence beside it. A lost wake-up
//! shows as a deadlock, which loom reports.

use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering, fence};
use loom::sync::{Arc, Condvar, Mutex};
use loom::thread;

/// Something that the host keeps until somebody comes for it: a notification, a ring of the bell.
struct Call {
    made: Mutex<bool>,
    changed: Condvar,
}

impl Call {
    fn new() -> Call {
        Call { made: Mutex::new(false), changed: Condvar::new() }
    }

    fn make(&self) {
        *self.made.lock().unwrap() = true;
        self.changed.notify_one();
    }

    fn wait(&self) {
        let mut made = self.made.lock().unwrap();
        while !*made {
            made = self.changed.wait(made).unwrap();
        }
        *made = false;
    }
}

/// A futex on one word: the comparison and the sleep are one step.
struct Futex {
    word: AtomicU32,
    bucket: Mutex<()>,
    changed: Condvar,
}

impl Futex {
    fn new(word: u32) -> Futex {
        Futex { word: AtomicU32::new(word), bucket: Mutex::new(()), changed: Condvar::new() }
    }

    fn wait(&self, value: u32) {
        let guard = self.bucket.lock().unwrap();
        if self.word.load(Ordering::SeqCst) == value {
            drop(self.changed.wait(guard).unwrap());
        }
    }

    fn wake(&self) {
        drop(self.bucket.lock().unwrap());
        self.changed.notify_one();
    }
}

/// Writes, then lets everybody see it before what follows.
fn publish(word: &AtomicU32, value: u32) {
    word.store(value, Ordering::SeqCst);
    fence(Ordering::SeqCst);
}

#[test]
fn an_event_reaches_a_worker_that_lies_down() {
    loom::model(|| {
        let event = Arc::new(AtomicU32::new(0));
        let awake = Arc::new(AtomicU32::new(1));
        let listener = Arc::new(Call::new());
        let stub = {
            let (event, awake, listener) = (Arc::clone(&event), Arc::clone(&awake), Arc::clone(&listener));
            thread::spawn(move || {
                publish(&event, 1);
                if awake.load(Ordering::SeqCst) == 0 {
                    listener.make();
                }
            })
        };
        // Hub::park, Hub::lead.
        awake.fetch_sub(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if event.load(Ordering::Acquire) == 0 {
            listener.wait();
        }
        awake.fetch_add(1, Ordering::SeqCst);
        assert_eq!(event.load(Ordering::Acquire), 1);
        stub.join().unwrap();
    });
}

#[test]
fn an_event_reaches_the_last_of_two_workers_that_lie_down() {
    // Three threads have too many interleavings for all of them.
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(3);
    model.check(|| {
        let event = Arc::new(AtomicU32::new(0));
        let awake = Arc::new(AtomicU32::new(2));
        let seen = Arc::new(Call::new());
        let worker = |event: &Arc<AtomicU32>, awake: &Arc<AtomicU32>, seen: &Arc<Call>| {
            let (event, awake, seen) = (Arc::clone(event), Arc::clone(awake), Arc::clone(seen));
            thread::spawn(move || {
                awake.fetch_sub(1, Ordering::SeqCst);
                fence(Ordering::SeqCst);
                // Asleep from here on; a notification would be received by either.
                if event.load(Ordering::Acquire) == 1 {
                    seen.make();
                }
            })
        };
        let workers = [worker(&event, &awake, &seen), worker(&event, &awake, &seen)];
        publish(&event, 1);
        if awake.load(Ordering::SeqCst) == 0 {
            seen.make();
        }
        seen.wait();
        for worker in workers {
            worker.join().unwrap();
        }
    });
}

#[test]
fn a_reply_reaches_a_stub_that_lies_down_in_its_futex() {
    const FUTEX: u32 = 1;
    loom::model(|| {
        let request = Arc::new(Futex::new(7));
        let waiting = Arc::new(AtomicU32::new(0));
        let sentry = {
            let (request, waiting) = (Arc::clone(&request), Arc::clone(&waiting));
            thread::spawn(move || {
                // Thread::publish.
                publish(&request.word, 8);
                if waiting.load(Ordering::SeqCst) == FUTEX {
                    request.wake();
                }
            })
        };
        // From label 45 of the stub on.
        loop {
            publish(&waiting, FUTEX);
            if request.word.load(Ordering::SeqCst) != 7 {
                break;
            }
            request.wait(7);
        }
        sentry.join().unwrap();
    });
}

#[test]
fn a_reply_ends_the_notification_that_a_stub_sleeps_in() {
    loom::model(|| {
        let request = Arc::new(AtomicU32::new(7));
        let notification = Arc::new(AtomicU32::new(0));
        let answer = Arc::new(Call::new());
        // The worker that has received the notification (Thread::sleep_in) and the one that replies (Thread::publish).
        let release = |notification: &AtomicU32, answer: &Call| {
            if notification.load(Ordering::SeqCst) != 0 && notification.swap(0, Ordering::SeqCst) != 0 {
                answer.make();
            }
        };
        let receiver = {
            let (request, notification, answer) =
                (Arc::clone(&request), Arc::clone(&notification), Arc::clone(&answer));
            thread::spawn(move || {
                if request.load(Ordering::SeqCst) != 7 {
                    return answer.make();
                }
                notification.swap(1, Ordering::SeqCst);
                fence(Ordering::SeqCst);
                if request.load(Ordering::SeqCst) != 7 {
                    release(&notification, &answer);
                }
            })
        };
        let replier = {
            let (request, notification, answer) =
                (Arc::clone(&request), Arc::clone(&notification), Arc::clone(&answer));
            thread::spawn(move || {
                publish(&request, 8);
                release(&notification, &answer);
            })
        };
        answer.wait();
        receiver.join().unwrap();
        replier.join().unwrap();
        assert_eq!(notification.load(Ordering::SeqCst), 0);
    });
}

#[test]
fn an_interrupt_is_seen_before_the_run_or_kicks_it() {
    const RUNNING: u32 = 1;
    loom::model(|| {
        let state = Arc::new(AtomicU32::new(0));
        let interrupt = Arc::new(AtomicBool::new(false));
        let signal = Arc::new(Call::new());
        let interrupter = {
            let (state, interrupt, signal) = (Arc::clone(&state), Arc::clone(&interrupt), Arc::clone(&signal));
            thread::spawn(move || {
                interrupt.store(true, Ordering::SeqCst);
                fence(Ordering::SeqCst);
                if state.load(Ordering::SeqCst) == RUNNING {
                    signal.make();
                }
            })
        };
        // SystrapContext::go; then the guest computes until a signal comes.
        publish(&state, RUNNING);
        if !interrupt.load(Ordering::SeqCst) {
            signal.wait();
        }
        assert!(interrupt.load(Ordering::SeqCst));
        interrupter.join().unwrap();
    });
}

#[test]
fn an_interrupt_on_the_way_back_from_a_patched_call_is_noticed() {
    loom::model(|| {
        // The handler runs on the stub's own thread: what it notes is seen by every later look, and one that comes after
        // the look leads back to it. So the stub has either not looked yet, or looks again.
        let pending = Arc::new(AtomicBool::new(false));
        let in_return = Arc::new(Mutex::new(true));
        let handler = {
            let (pending, in_return) = (Arc::clone(&pending), Arc::clone(&in_return));
            thread::spawn(move || {
                // A signal stops the stub at an instruction: the lock stands for that.
                let at_return = in_return.lock().unwrap();
                if *at_return {
                    pending.store(true, Ordering::SeqCst);
                    return true;
                }
                false
            })
        };
        let seen = {
            let mut at_return = in_return.lock().unwrap();
            let seen = pending.load(Ordering::SeqCst);
            *at_return = false;
            seen
        };
        assert_eq!(handler.join().unwrap(), seen);
    });
}

#[test]
fn an_unpark_reaches_the_leader() {
    loom::model(|| {
        let unparked = Arc::new(AtomicBool::new(false));
        let leader_sleeps = Arc::new(AtomicBool::new(false));
        let bell = Arc::new(Call::new());
        let colleague = {
            let (unparked, sleeps, bell) = (Arc::clone(&unparked), Arc::clone(&leader_sleeps), Arc::clone(&bell));
            thread::spawn(move || {
                // Hub::unpark.
                unparked.store(true, Ordering::SeqCst);
                fence(Ordering::SeqCst);
                if sleeps.load(Ordering::SeqCst) {
                    bell.make();
                }
            })
        };
        // Hub::lead.
        leader_sleeps.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if !unparked.swap(false, Ordering::SeqCst) {
            bell.wait();
        }
        leader_sleeps.store(false, Ordering::SeqCst);
        colleague.join().unwrap();
    });
}

#[test]
fn a_wake_up_that_the_stub_answers_has_no_sleeper() {
    loom::model(|| {
        let word = Arc::new(AtomicU32::new(0));
        let sleepers = Arc::new(AtomicU32::new(0));
        // The kernel's queue of the word: the sleeper looks at the word and lies down in one step.
        let queue = Arc::new(Futex::new(0));
        let waker = {
            let (word, sleepers, queue) = (Arc::clone(&word), Arc::clone(&sleepers), Arc::clone(&queue));
            thread::spawn(move || {
                // Guest code, whose stores may be as weak as it likes; then the stub's barrier.
                word.store(1, Ordering::Relaxed);
                fence(Ordering::SeqCst);
                if sleepers.load(Ordering::Relaxed) != 0 {
                    queue.word.store(1, Ordering::SeqCst);
                    queue.wake();
                }
            })
        };
        sleepers.fetch_add(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if word.load(Ordering::Relaxed) == 0 {
            queue.wait(0);
        }
        sleepers.fetch_sub(1, Ordering::SeqCst);
        waker.join().unwrap();
    });
}

#[test]
fn the_event_of_a_sleeper_that_is_overlooked_is_told_of() {
    loom::model(|| {
        let asleep = Arc::new(AtomicU32::new(1));
        let event = Arc::new(AtomicU32::new(0));
        let overlooked = Arc::new(AtomicU32::new(0));
        let listener = Arc::new(Call::new());
        let stub = {
            let (asleep, event) = (Arc::clone(&asleep), Arc::clone(&event));
            let (overlooked, listener) = (Arc::clone(&overlooked), Arc::clone(&listener));
            thread::spawn(move || {
                // Its sleep has ended; the next thing is an event.
                asleep.store(0, Ordering::Relaxed);
                publish(&event, 1);
                if overlooked.load(Ordering::Relaxed) != 0 {
                    listener.make();
                }
            })
        };
        // Thread::overlook, then a look at all that are listed, of which this worker makes one more before it lies down.
        let mut listed = false;
        overlooked.store(1, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if asleep.load(Ordering::Relaxed) == 0 {
            overlooked.store(0, Ordering::SeqCst);
            listed = true;
        }
        if listed {
            while event.load(Ordering::Acquire) == 0 {
                thread::yield_now();
            }
        } else {
            listener.wait();
        }
        assert_eq!(event.load(Ordering::Acquire), 1);
        stub.join().unwrap();
    });
}

#[test]
fn a_thread_that_is_interrupted_is_looked_at_whatever_its_stub_says() {
    loom::model(|| {
        // The stub says that it sleeps, and has taken the mark away.
        let interrupt = Arc::new(AtomicBool::new(false));
        let listed = Arc::new(AtomicBool::new(true));
        let interrupter = {
            let (interrupt, listed) = (Arc::clone(&interrupt), Arc::clone(&listed));
            thread::spawn(move || {
                interrupt.store(true, Ordering::SeqCst);
                fence(Ordering::SeqCst);
                listed.store(true, Ordering::SeqCst);
            })
        };
        // Thread::overlook.
        listed.store(false, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        if interrupt.load(Ordering::SeqCst) {
            listed.store(true, Ordering::SeqCst);
        }
        interrupter.join().unwrap();
        assert!(listed.load(Ordering::SeqCst));
    });
}
