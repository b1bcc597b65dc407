//! The file server of a sandbox: holds the container's file trees and opens files beneath them for the sentry.

#![forbid(unsafe_code)]
