//! The compatibility matrix: one program, run natively and in the sandbox, and compared.
//!
//! A *case* is a small C function under `cases/`; all are linked into one multi-call program. [`compile`] builds it,
//! [`run`] runs batches of cases on a [`run::Target`] (the host, or `runsc do` on one platform), [`compare`] says what
//! differs, [`expect`] knows the differences that are explained, [`report`] writes the matrix. The host kernel is the
//! oracle: a case is run natively twice, in two kinds of directory, and is itself broken when the two disagree.

#![forbid(unsafe_code)]

pub mod compare;
pub mod compile;
pub mod docs;
pub mod expect;
pub mod plan;
pub mod report;
pub mod run;
