//! What can go wrong with the platform itself.

use abi::Errno;

/// A failure of the platform, not of the guest.
#[derive(Clone, Debug, thiserror::Error)]
pub enum PlatformError {
    /// A host call that the platform needs was refused.
    #[error("{what}: {errno}; {hint}")]
    Host {
        /// What was tried.
        what: &'static str,
        /// What the host answered.
        errno: Errno,
        /// What the user can do.
        hint: &'static str,
    },
    /// The guest thread died while it was asked for something.
    #[error("the stub process is gone: {0}")]
    Dead(&'static str),
    /// The guest gave something that the host refuses.
    #[error("refused: {0}")]
    Refused(Errno),
}

impl PlatformError {
    /// Returns the error number that a guest should see where the failed operation was its own.
    pub fn errno(&self) -> Errno {
        match self {
            PlatformError::Host { errno, .. } | PlatformError::Refused(errno) => *errno,
            PlatformError::Dead(_) => Errno::ESRCH,
        }
    }
}
