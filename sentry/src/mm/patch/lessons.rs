//! How an address space teaches, and is led by what others have taught ([`super::learned`]).

use abi::flags::{MapFlags, Prot};
use sentry_platform::{Context, ContextExt, MemOp, Patching};

use super::code::{self, BEFORE};
use super::learned::{Class, FileKey, Hint, Learned, Role};
use super::many::{self, Draft, Text};
use super::{LEAST, REGION};
use crate::mm::books::Change;
use crate::mm::space::Mm;

/// What it takes to patch, and to know what is worth it.
pub struct Lessons<'a> {
    /// The platform's part.
    pub patching: &'a dyn Patching,
    /// What is known in the sandbox.
    pub learned: &'a Learned,
    /// Of the process.
    pub class: Class,
}

impl Mm {
    /// Deals with a trap in a file that others run, too; returns whether the site is now patched.
    pub(super) async fn patch_by_lessons(
        &self,
        context: &mut dyn Context,
        lessons: &Lessons<'_>,
        resume: u64,
        number: u64,
    ) -> bool {
        // The place is the stub's word, and may be 0.
        let last = resume.checked_sub(1);
        let text = last.and_then(|last| self.books().tree.get(last).and_then(|vma| Text::of(vma, lessons.class)));
        let Some(text) = text else { return false };
        let role = self.patches.lock().role(text.key);
        let teaches = match role {
            Some(teaches) => teaches,
            // Later, perhaps.
            None if self.is_shared() => return false,
            None => {
                let role = lessons.learned.begin(text.key, LEAST);
                self.patches.lock().set_role(text.key, role == Role::Teacher);
                if let Role::Pupil(hints) = role {
                    return self.patch_hints(context, lessons, &text, &hints, resume).await;
                }
                true
            }
        };
        if teaches && !lessons.learned.trap(text.key, text.offset_of(resume)) {
            self.teach(lessons.learned, text.key, text.offset_of(resume), resume, number);
        }
        false
    }

    /// Tells of a site that nobody has told of.
    fn teach(&self, learned: &Learned, key: FileKey, offset: u64, resume: u64, number: u64) {
        let mut before = [0; BEFORE];
        let read = self.space().read(resume.saturating_sub(BEFORE as u64), &mut before);
        let known = read == BEFORE && code::recognise(&before, number).is_some();
        learned.add(key, offset, number, known.then_some(before));
    }

    /// Patches what is known of a file; returns whether `wanted`, which has trapped, is among it.
    async fn patch_hints(
        &self,
        context: &mut dyn Context,
        lessons: &Lessons<'_>,
        text: &Text,
        hints: &[Hint],
        wanted: u64,
    ) -> bool {
        let _structure = self.lock_structure().await;
        // What has changed while others held it.
        let still = self.books().text_at(text.range.start) == Some(text.range.clone());
        if hints.is_empty() || !still || self.is_shared() {
            return false;
        }
        let done = self.patch_many(context, lessons, text, hints).await;
        tracing::debug!(known = hints.len(), patched = done, "a file's known system calls");
        let mut patches = self.patches.lock();
        let patched = patches.site_of(wanted).is_some();
        if patched {
            patches.traps.remove(&wanted);
        }
        patched
    }

    async fn patch_many(&self, context: &mut dyn Context, lessons: &Lessons<'_>, text: &Text, hints: &[Hint]) -> bool {
        let mut places = text.places(hints);
        let Some(first) = places.first().map(|place| place.resume) else { return false };
        let (patching, learned) = (lessons.patching, lessons.learned);
        let known = self.region_with_room(patching, first, places.len() as u64);
        let Some(region) = known.or_else(|| self.books().place_region(first)) else { return false };
        let thunks = {
            let patches = self.patches.lock();
            places.retain(|place| patches.site_of(place.resume).is_none());
            patches.regions.get(&region).map_or_else(Vec::new, |region| region.thunks.clone())
        };
        let mut draft = Draft::new(patching, region, thunks);
        for piece in many::pieces(&places, &text.range) {
            let Some(code) = self.read_code(&piece) else { continue };
            draft.add(&code, &places).iter().for_each(|other| learned.forget(text.key, text.offset_of(*other)));
        }
        let Some(pages) = draft.pages(&text.range) else { return false };
        let rest = region..region + REGION;
        let begin = match known {
            Some(_) => many::open(&rest),
            None => {
                let (prot, flags) = (Prot::READ | Prot::WRITE, MapFlags::PRIVATE.bits());
                MemOp::MapAnonymous { addr: region, len: REGION, prot, flags }
            }
        };
        if context.memory(&[begin, many::open(&pages)]).await.is_err() {
            let undo = if known.is_some() { many::close(&rest) } else { MemOp::Unmap { addr: region, len: REGION } };
            // Where this fails as well, there is a region too many that may be written.
            let _ = context.memory(&[undo]).await;
            return false;
        }
        if known.is_none() {
            self.books().apply(Change::Insert(many::hidden(region)));
        }
        draft.enter(&mut self.patches.lock());
        let written = self.write_all(&draft.writes());
        let closed = context.memory(&[many::close(&rest), many::close(&pages)]).await;
        if written && closed.is_ok() {
            learned.note_works();
            return true;
        }
        let sites: Vec<u64> = draft.sites.keys().copied().collect();
        self.restore(context, &sites).await;
        false
    }

    fn write_all(&self, writes: &[(u64, Vec<u8>)]) -> bool {
        writes.iter().all(|(addr, bytes)| self.space().write(*addr, bytes) == bytes.len())
    }
}
