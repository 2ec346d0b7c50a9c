//! Timings: the machine's two ceilings, single ops, whole steps, the PTX machine.

mod cases;
mod ceilings;
mod entries;
mod ops;
mod step;
mod vm;

pub use cases::read_cases;
pub use ceilings::{Ceilings, copy_bytes_per_second, gemm_flops_per_second};
pub use entries::{Use, uses};
pub use ops::{OpTiming, time_op};
pub use step::{NodeTime, StepTiming, time_nodes, time_step};
pub use vm::{VmTiming, time_vm};

use crate::Result;
use std::time::Instant;

/// Seconds of each of several runs, after two that do not count.
pub struct Samples(pub Vec<f64>);

impl Samples {
    /// Runs `work` until `seconds` are over, at least five times.
    pub fn take(seconds: f64, mut work: impl FnMut()) -> Self {
        work();
        work();
        let (began, mut samples) = (Instant::now(), Vec::new());
        while samples.len() < 5 || (began.elapsed().as_secs_f64() < seconds && samples.len() < 10_000) {
            let start = Instant::now();
            work();
            samples.push(start.elapsed().as_secs_f64());
        }
        Self(samples)
    }

    /// As [`take`](Self::take), of work that times itself.
    pub fn timed(seconds: f64, mut work: impl FnMut() -> Result<f64>) -> Result<Self> {
        work()?;
        work()?;
        let (began, mut samples) = (Instant::now(), Vec::new());
        while samples.len() < 5 || (began.elapsed().as_secs_f64() < seconds && samples.len() < 10_000) {
            samples.push(work()?);
        }
        Ok(Self(samples))
    }

    /// The middle one: on a shared machine the mean measures the neighbours.
    pub fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    }
}
