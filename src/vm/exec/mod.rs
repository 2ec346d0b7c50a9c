//! Running a program: blocks over cores, warps within a block, lanes within a warp.

mod access;
mod atomic;
mod barrier;
mod call;
mod carry;
mod copy;
mod count;
mod cta;
mod fragment;
mod grid;
mod inspect;
mod launch;
mod matrix;
mod mbarrier;
mod mma;
mod ops;
mod printf;
mod run;
mod warp;
mod warp_op;

pub use carry::carry;
pub use fragment::{Fragment, Part};
pub use grid::Shape;
pub use launch::{Outcome, run};
pub use mma::registers as mma_registers;
pub use ops::*;

/// Generic address of a block's shared memory.
pub const SHARED_BASE: u64 = 0x7e00_0000_0000;
/// Generic address of a thread's local memory.
pub const LOCAL_BASE: u64 = 0x7e01_0000_0000;
/// Generic address of the entry's parameters.
pub const PARAM_BASE: u64 = 0x7e02_0000_0000;

/// Why a warp cannot go on: the launch ends, its finding has been filed.
#[derive(Debug)]
pub struct Stop;
