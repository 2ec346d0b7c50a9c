//! `rusa doctor`.

use super::say;
use anyhow::Result;
use rusa::bench::Ceilings;
use rusa::data::{self, Options};
use rusa::kernels;
use std::process::ExitCode;

/// Look over this machine: what rusa will run on, and how fast that is.
#[derive(clap::Args)]
pub struct Arguments {}

pub fn run(_: Arguments) -> Result<ExitCode> {
    say!("rusa {}", env!("CARGO_PKG_VERSION"));
    say!("cpu      {} threads, {}", rayon::current_num_threads(), rusa::simd::unit());
    say!("gpu      not used: this build has the CPU engine only; --device auto takes the cpu");
    match kernels::COMPILER {
        Some(nvcc) => {
            let count = kernels::entries().count();
            say!("kernels  {count}, compiled by nvcc {}; no device launches them yet", nvcc.version);
        }
        None => say!("kernels  {}", kernels::NO_KERNELS),
    }
    let ceilings = Ceilings::measure();
    say!(
        "ceilings {:.0} GFLOP/s f32 matrix product, {:.1} GB/s copy (read + written)",
        ceilings.flops_per_second / 1e9,
        ceilings.bytes_per_second / 1e9
    );
    let set = data::open(data::EMBEDDED, &Options::default())?;
    say!("data     embedded: {} images to train on, {} held out", set.train.len(), set.test.len());
    say!("all well");
    Ok(ExitCode::SUCCESS)
}
