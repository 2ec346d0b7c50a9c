//! The PTX machine: a GPU in software, for tests and for study.
//!
//! Text becomes a tree (`ptx`), a tree a program (`link`), a program runs on warps of 32 lanes (`exec`) whose arithmetic
//! (`isa`) is that of PTX. On the way, `check` finds what compute-sanitizer would and more, `profile` counts what a
//! profiler would. See `docs/vm.md` for what is modelled and what is not.

mod check;
mod exec;
mod isa;
mod lanes;
mod link;
mod machine;
mod memory;
mod profile;
mod program;
pub mod ptx;
mod round;

pub use check::{Finding, Kind, Other};
pub use exec::{Outcome, Shape};
pub use machine::{Argument, MOST_BLOCKS, Machine, Module};
pub use profile::{Counter, Counters, Page, Roofline};
pub use program::{Param, Program};
