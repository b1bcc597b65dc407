//! The processes of a sandbox: how they are started ([`launch`]), what they are told ([`config`], [`control`]), what
//! runs in them ([`boot`], [`serve`]), how the sentry is locked up ([`confine`], [`filter`]), how they are waited for ([`wait`]).

pub(crate) mod boot;
pub(crate) mod config;
pub(crate) mod confine;
pub(crate) mod control;
mod cover;
mod devices;
pub(crate) mod filter;
pub(crate) mod halving;
pub(crate) mod host_calls;
pub(crate) mod launch;
pub(crate) mod mounts;
pub(crate) mod network;
pub(crate) mod serve;
mod signals;
pub(crate) mod socket_calls;
mod trees;
pub(crate) mod unix_calls;
pub(crate) mod view;
pub(crate) mod wait;
