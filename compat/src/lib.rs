//! The compatibility matrix: one program, run natively and in the sandbox, and compared.
