//! Open made-up files and directories.

use std::any::Any;
use std::sync::Arc;

use abi::Errno;
use abi::flags::Ready;
use sentry_sync::{Level, Mutex, WaitQueue};

use super::{Dir, Render, Store, child_ino};
use crate::changes::Watch;
use crate::{DirEntry, DirSink, FileKind, FileOps, IoDst, IoFlags, IoSrc};

/// Most bytes that one write hands over.
const STORE_MAX: usize = 64 * 1024;

/// An open file: its text is rendered anew each time it is read from the start.
pub(super) struct TextFile {
    render: Option<Render>,
    store: Option<Store>,
    watch: Option<Watch>,
    text: Mutex<Option<Arc<Vec<u8>>>>,
}

impl TextFile {
    pub(super) fn new(render: Option<Render>, store: Option<Store>, watch: Option<Watch>) -> TextFile {
        TextFile { render, store, watch, text: Mutex::new(Level::Leaf, None) }
    }

    /// Returns the text to read at a position: a new one at the start, the one begun with after that.
    fn text(&self, pos: u64) -> Result<Arc<Vec<u8>>, Errno> {
        let kept = self.text.lock().clone();
        if let Some(text) = kept
            && pos > 0
        {
            return Ok(text);
        }
        let render = self.render.as_ref().ok_or(Errno::EIO)?;
        let text = Arc::new(render()?);
        *self.text.lock() = Some(Arc::clone(&text));
        Ok(text)
    }
}

impl FileOps for TextFile {
    fn read(&self, pos: &mut u64, _flags: IoFlags, dst: &mut dyn IoDst) -> Result<usize, Errno> {
        let text = self.text(*pos)?;
        let at = usize::try_from(*pos).unwrap_or(usize::MAX).min(text.len());
        let rest = &text[at..];
        let want = rest.len().min(dst.remaining());
        let done = if want == 0 { 0 } else { dst.put(&rest[..want])? };
        *pos += done as u64;
        Ok(done)
    }

    fn write(&self, pos: &mut u64, _flags: IoFlags, src: &mut dyn IoSrc) -> Result<usize, Errno> {
        let store = self.store.as_ref().ok_or(Errno::EIO)?;
        let mut data = vec![0; src.remaining().min(STORE_MAX)];
        let taken = src.take(&mut data)?;
        store(&data[..taken])?;
        *pos += taken as u64;
        Ok(taken)
    }

    fn seekable(&self) -> bool {
        true
    }

    /// A change is told once to each open file (kernel: `mounts_poll`).
    fn ready(&self) -> Ready {
        match &self.watch {
            None => Ready::READABLE | Ready::WRITABLE,
            Some(watch) if watch.changed() => Ready::READABLE | Ready::ERR | Ready::PRI,
            Some(_) => Ready::READABLE,
        }
    }

    fn wait_queue(&self) -> Option<WaitQueue> {
        self.watch.as_ref().map(Watch::queue)
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

/// An open directory.
pub(super) struct Listing {
    pub(super) dir: Arc<dyn Dir>,
    pub(super) ino: u64,
    pub(super) parent: u64,
}

impl FileOps for Listing {
    fn read(&self, _pos: &mut u64, _flags: IoFlags, _dst: &mut dyn IoDst) -> Result<usize, Errno> {
        Err(Errno::EISDIR)
    }

    fn seekable(&self) -> bool {
        true
    }

    fn read_dir(&self, pos: u64, sink: &mut dyn DirSink) -> Result<(), Errno> {
        let directory = Some(FileKind::Directory);
        for (at, ino, name) in [(0, self.ino, b".".as_slice()), (1, self.parent, b"..")] {
            if at >= pos && !sink.entry(&DirEntry { ino, kind: directory, name, next: at + 1 }) {
                return Ok(());
            }
        }
        for entry in self.dir.list(pos.max(2))? {
            let name = entry.name.as_bytes();
            let ino = child_ino(self.ino, name);
            if !sink.entry(&DirEntry { ino, kind: Some(entry.kind), name, next: entry.pos + 1 }) {
                break;
            }
        }
        Ok(())
    }

    fn as_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}
