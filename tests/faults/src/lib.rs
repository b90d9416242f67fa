//! A library that is loaded into a process under test (`LD_PRELOAD`) and stands in the place of some functions of libc:
//! those that sync, write, name and remove files, and those that tell the time of day. Each does what libc's does, until
//! the file named by [`control::VARIABLE`] says otherwise. A process that was not told of such a file runs as ever.
//!
//! It reaches what is linked to libc dynamically: Rust's standard library and RocksDB, which is linked statically itself
//! but calls libc as everybody does. It does not reach calls between libc's own functions (`fwrite`) and system calls
//! that a program makes without libc.

pub mod control;
#[cfg(target_os = "linux")]
mod interposed;
