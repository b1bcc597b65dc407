//! The events that wait to be read: repeated ones are merged, too many end in one overflow event.

use std::collections::VecDeque;

use super::InMask;

/// Most events that wait (`/proc/sys/fs/inotify/max_queued_events`).
pub(super) const MAX_EVENTS: usize = 16384;

/// Bytes of `struct inotify_event` without the name; names are padded to a multiple of it.
const HEADER: usize = 16;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Event {
    wd: i32,
    mask: InMask,
    cookie: u32,
    name: Vec<u8>,
}

impl Event {
    pub(super) fn new(wd: i32, mask: InMask, cookie: u32, name: Option<&[u8]>) -> Event {
        Event { wd, mask, cookie, name: name.unwrap_or_default().to_vec() }
    }

    fn name_len(&self) -> usize {
        if self.name.is_empty() { 0 } else { (self.name.len() + 1).next_multiple_of(HEADER) }
    }

    /// Returns `struct inotify_event`.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + self.name_len());
        let len = u32::try_from(self.name_len()).unwrap_or(0);
        bytes.extend_from_slice(&self.wd.to_ne_bytes());
        for word in [self.mask.bits(), self.cookie, len] {
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
        bytes.extend_from_slice(&self.name);
        bytes.resize(HEADER + self.name_len(), 0);
        bytes
    }

    /// Tells whether this event says nothing that `last` hasn't said.
    fn repeats(&self, last: &Event) -> bool {
        !last.mask.contains(InMask::IGNORED) && (self.wd, self.mask, &self.name) == (last.wd, last.mask, &last.name)
    }
}

/// The queue.
#[derive(Debug, Default)]
pub(super) struct EventQueue {
    events: VecDeque<Event>,
}

impl EventQueue {
    pub(super) fn push(&mut self, event: Event) {
        if self.events.back().is_some_and(|last| event.repeats(last)) {
            return;
        }
        match self.events.len() {
            0..MAX_EVENTS => self.events.push_back(event),
            MAX_EVENTS => self.events.push_back(Event::new(-1, InMask::Q_OVERFLOW, 0, None)),
            _ => {}
        }
    }

    pub(super) fn front(&self) -> Option<&Event> {
        self.events.front()
    }

    pub(super) fn pop(&mut self) {
        self.events.pop_front();
    }

    pub(super) fn bytes(&self) -> usize {
        self.events.iter().map(|event| HEADER + event.name_len()).sum()
    }
}
