//! Signal frames that the stub writes, after a patched call.

use std::future::poll_fn;
use std::sync::atomic::Ordering;

use super::{Entry, Fpu, SystrapContext};
use crate::PlatformError;
use crate::systrap::copier;
use crate::systrap::layout::{command, field, outcome};
use crate::systrap::thread::BUSY;

impl SystrapContext {
    /// Returns the bytes that [`SystrapContext::put_frame`] writes for the state; `None` where that isn't in the processor.
    pub(super) fn state_len(&self) -> Option<u64> {
        let live = matches!(self.entry, Entry::Call(Fpu::Live | Fpu::Saved));
        (live && self.hub.has_frames()).then(|| self.hub.setup.fpu.marked_size() as u64)
    }

    /// Has the stub write a frame to `at` and the state to `state`; returns whether it could ([`crate::Context::write_frame`]).
    pub(super) async fn put_frame(&mut self, at: u64, frame: &[u8], state: u64) -> Result<bool, PlatformError> {
        let fits = |at: u64, len: usize| self.process.reach(at, len) == len;
        let state_len = self.hub.setup.fpu.marked_size();
        if !fits(at, frame.len()) || !fits(state, state_len) || frame.len() > field::WINDOW_LEN {
            return Ok(false);
        }
        self.settle().await?;
        let shared = &self.thread.shared;
        shared.write(field::WINDOW, frame);
        shared.set(field::COPY_FROM, copier::window(&self.thread));
        shared.set(field::COPY_TO, at);
        shared.set(field::COPY_LEN, frame.len() as u64);
        shared.set(field::STATE, state);
        self.thread.set_state(BUSY);
        self.found = self.thread.publish(&self.hub, command::FRAME);
        if !poll_fn(|cx| self.poll_taken(cx)).await {
            return Err(PlatformError::Dead("it was asked for a signal frame"));
        }
        let shared = &self.thread.shared;
        let done = shared.u32(field::KIND).load(Ordering::Relaxed) == outcome::DONE;
        if done && shared.get(field::COPY_LEFT) == 0 {
            self.entry = Entry::Call(Fpu::Live);
            return Ok(true);
        }
        Ok(false)
    }
}
