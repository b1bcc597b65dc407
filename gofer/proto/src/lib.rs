//! Messages between sentry and gofer, and the way they travel.

#![forbid(unsafe_code)]
