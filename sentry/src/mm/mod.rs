//! Memory maps of the guest.

use std::sync::Arc;

use sentry_platform::{AddressSpace, Context, PlatformError};

/// One guest memory with its books.
pub struct Mm {
    space: Arc<dyn AddressSpace>,
}

impl Mm {
    /// Wraps a fresh address space.
    pub fn new(space: Arc<dyn AddressSpace>) -> Arc<Mm> {
        Arc::new(Mm { space })
    }

    /// Returns the host side.
    pub fn space(&self) -> &Arc<dyn AddressSpace> {
        &self.space
    }

    /// Copies the memory copy-on-write, with a context that is a copy of the caller's.
    pub async fn fork(&self, context: &mut dyn Context) -> Result<(Arc<Mm>, Box<dyn Context>), PlatformError> {
        let (space, context) = context.fork().await?;
        Ok((Mm::new(space), context))
    }
}
