//! rusa: a GPU-kernel research engine that pretrains self-supervised image encoders.

pub mod augment;
pub mod bench;
pub mod config;
pub mod data;
pub mod device;
pub mod error;
pub mod eval;
pub mod files;
pub mod graph;
pub mod kernels;
pub mod linalg;
pub mod nn;
pub mod ops;
pub mod optim;
pub mod report;
pub mod rng;
pub mod simd;
pub mod ssl;
pub mod tensor;
pub mod train;
pub mod vm;

pub use error::{Error, Result};
