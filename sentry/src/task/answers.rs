//! What a thread's stub answers for it, without the kernel: [`Answers`]. Identity is written there before anybody can have
//! been told of a change; the signal mask is kept there, and here only while nothing is answered, and so are
//! the alternate signal stack and the two addresses that a thread names for its end.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering, fence};

use abi::UserAddr;
use abi::signal::{SigSet, StackT};
use arc_swap::ArcSwapOption;
use sentry_platform::{Answers as Stub, Identity, Word};
use sentry_sync::{Level, Mutex};

use super::seccomp::Restriction;
use super::{Cred, ProcessEntry, Task};
use crate::signal::sound_stack;

const WORDS: [Word; 2] = [Word::RobustList, Word::ClearTid];

/// The signal mask and the words of a thread, and whoever answers for it.
pub(crate) struct Answers {
    /// The mask while `stub` is empty.
    mask: AtomicU64,
    /// By [`Word`]: as above.
    words: [AtomicU64; WORDS.len()],
    /// The alternate stack: as above.
    stack: Mutex<StackT>,
    stub: ArcSwapOption<Arc<dyn Stub>>,
    /// Another thread has ended the answers; the mask is still there.
    ended: AtomicBool,
}

impl Answers {
    /// Nothing is answered.
    pub(crate) fn none(mask: SigSet, stack: StackT) -> Answers {
        Answers {
            mask: AtomicU64::new(mask.without(SigSet::UNBLOCKABLE).0),
            words: Default::default(),
            stack: Mutex::new(Level::Leaf, stack),
            stub: ArcSwapOption::empty(),
            ended: AtomicBool::new(false),
        }
    }

    pub(crate) fn mask(&self) -> SigSet {
        let mask = match &*self.stub.load() {
            Some(stub) => stub.mask(),
            None => self.mask.load(Ordering::SeqCst),
        };
        SigSet(mask)
    }

    /// Replaces the mask; returns the old one. Only the thread itself does this.
    pub(crate) fn set_mask(&self, mask: SigSet) -> SigSet {
        let new = mask.without(SigSet::UNBLOCKABLE).0;
        match &*self.stub.load() {
            Some(stub) => {
                let old = stub.mask();
                stub.set_mask(new);
                SigSet(old)
            }
            None => SigSet(self.mask.swap(new, Ordering::SeqCst)),
        }
    }

    pub(crate) fn word(&self, word: Word) -> UserAddr {
        let value = match &*self.stub.load() {
            Some(stub) => stub.word(word),
            None => self.words[word as usize].load(Ordering::SeqCst),
        };
        UserAddr::new(value)
    }

    /// Replaces a word. Only the thread itself does this, or its parent before it has run.
    pub(crate) fn set_word(&self, word: Word, value: UserAddr) {
        match &*self.stub.load() {
            Some(stub) => stub.set_word(word, value.raw()),
            None => self.words[word as usize].store(value.raw(), Ordering::SeqCst),
        }
    }

    /// Returns the alternate stack, which is always one that the call accepts. Only the thread itself asks.
    pub(crate) fn altstack(&self) -> StackT {
        match &*self.stub.load() {
            Some(stub) => {
                let (sp, flags, size) = stub.stack();
                sound_stack(StackT { sp, flags, pad: 0, size })
            }
            None => *self.stack.lock(),
        }
    }

    /// Replaces it. Only the thread itself does this.
    pub(crate) fn set_altstack(&self, stack: StackT) {
        match &*self.stub.load() {
            Some(stub) => stub.set_stack(stack.sp, stack.flags, stack.size),
            None => *self.stack.lock() = stack,
        }
    }

    /// Hears that a signal was queued, before the mask is looked at.
    pub(crate) fn note_pending(&self) {
        if let Some(stub) = &*self.stub.load() {
            stub.set_pending(true);
        }
    }

    /// Looks whether signals are pending still, for the thread itself.
    pub(crate) fn look(&self, pending: impl Fn() -> SigSet) {
        if let Some(stub) = &*self.stub.load()
            && pending().is_empty()
        {
            // One that comes after the second look marks itself.
            stub.set_pending(false);
            fence(Ordering::SeqCst);
            if !pending().is_empty() {
                stub.set_pending(true);
            }
        }
    }

    /// Ends them, for the thread itself: between an event and the next run.
    pub(crate) fn leave(&self) {
        let Some(stub) = self.stub.load_full() else { return };
        stub.end();
        self.mask.store(stub.mask(), Ordering::SeqCst);
        for word in WORDS {
            self.words[word as usize].store(stub.word(word), Ordering::SeqCst);
        }
        let stack = self.altstack();
        *self.stack.lock() = stack;
        self.stub.store(None);
    }

    /// Ends those to calls about which somebody has to be asked, for a thread that may be running.
    pub(super) fn restrict(&self, to: &Restriction) {
        if let Some(stub) = &*self.stub.load() {
            stub.restrict(&|number| to.lets(number));
        }
    }

    /// Ends them for a thread that may be running. Its mask stays where it is until the thread's next call.
    pub(crate) fn end(&self) {
        if let Some(stub) = &*self.stub.load() {
            stub.end();
            self.ended.store(true, Ordering::SeqCst);
        }
    }

    /// Fetches the mask, for the thread itself, where another has ended the answers.
    pub(crate) fn leave_if_ended(&self) {
        if self.ended.load(Ordering::Relaxed) && self.ended.swap(false, Ordering::SeqCst) {
            self.leave();
        }
    }

    fn set(&self, what: Identity, value: i32) {
        if let Some(stub) = &*self.stub.load() {
            stub.set(what, value.cast_unsigned());
        }
    }

    fn set_cred(&self, cred: &Cred) {
        if let Some(stub) = &*self.stub.load() {
            stub.set(Identity::Getuid, cred.ruid);
            stub.set(Identity::Geteuid, cred.euid);
            stub.set(Identity::Getgid, cred.rgid);
            stub.set(Identity::Getegid, cred.egid);
        }
    }
}

impl Task {
    /// Has the stub answer, for a thread of this process that has not run yet, or waits in the kernel itself. Nothing is
    /// answered for one that is restricted or whose calls are logged. The table is locked.
    pub(super) fn begin_answers(&self, entry: &ProcessEntry) {
        if !self.seccomp.lets_answer() || self.kernel.tracer.is_on() {
            return;
        }
        let Some(stub) = self.interrupter().answers() else { return };
        let mask = self.signals.mask();
        for word in WORDS {
            stub.set_word(word, self.signals.answers.word(word).raw());
        }
        let stack = self.signals.altstack();
        stub.set_stack(stack.sp, stack.flags, stack.size);
        self.signals.answers.stub.store(Some(Arc::new(stub)));
        self.signals.answers.set(Identity::Getpid, self.process.pid.0);
        self.signals.answers.set(Identity::Gettid, self.tid.0);
        self.signals.answers.set_cred(&self.cred.load());
        self.tell_relations(entry);
        if let Some(stub) = &*self.signals.answers.stub.load() {
            stub.begin(mask.0, &|number| self.seccomp.lets(number));
        }
    }

    /// Returns the head of the robust futex list (`set_robust_list`).
    pub fn robust_list(&self) -> UserAddr {
        self.signals.answers.word(Word::RobustList)
    }

    /// Replaces it, for the thread itself.
    pub fn set_robust_list(&self, head: UserAddr) {
        self.signals.answers.set_word(Word::RobustList, head);
    }

    /// Returns where the thread's id is cleared at its end (`set_tid_address`, `CLONE_CHILD_CLEARTID`).
    pub fn clear_child_tid(&self) -> UserAddr {
        self.signals.answers.word(Word::ClearTid)
    }

    /// Replaces that, for the thread itself or before it has run.
    pub fn set_clear_child_tid(&self, at: UserAddr) {
        self.signals.answers.set_word(Word::ClearTid, at);
    }

    /// Tells the stub what the process's entry says. The table is locked for writing.
    fn tell_relations(&self, entry: &ProcessEntry) {
        let answers = &self.signals.answers;
        answers.set(Identity::Getppid, entry.parent.0);
        answers.set(Identity::Getpgrp, entry.pgid.0);
        answers.set(Identity::Getsid, entry.sid.0);
    }

    /// Tells the stub of new credentials.
    pub(super) fn tell_cred(&self, cred: &Cred) {
        self.signals.answers.set_cred(cred);
    }
}

impl ProcessEntry {
    /// Tells the stubs of all threads that parent, group or session have changed. The table is locked for writing.
    pub(super) fn tell_relations(&self) {
        self.threads.values().for_each(|thread| thread.tell_relations(self));
    }
}
