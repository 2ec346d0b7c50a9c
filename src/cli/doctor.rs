//! `rusa doctor`.

use super::say;
use anyhow::Result;
use rusa::bench::Ceilings;
use rusa::data::{self, Options};
use rusa::device::{Device, cuda, self_test};
use rusa::kernels;
use std::process::ExitCode;

/// Look over this machine: what rusa will run on, and how fast that is.
#[derive(clap::Args)]
pub struct Arguments {}

pub fn run(_: Arguments) -> Result<ExitCode> {
    say!("rusa {}", env!("CARGO_PKG_VERSION"));
    say!("cpu      {} threads, {}", rayon::current_num_threads(), rusa::simd::unit());
    match cuda::count() {
        Err(why) => say!("gpu      none: {why}; --device auto takes the cpu"),
        Ok(count) => {
            for i in 0..count {
                let gpu = match cuda::gpu(i) {
                    Ok(gpu) => gpu,
                    Err(why) => {
                        say!("gpu      not used: {why}");
                        continue;
                    }
                };
                let (major, minor) = gpu.capability;
                let code = if cuda::has_machine_code(gpu.capability) {
                    "this build has machine code for it"
                } else {
                    "no machine code for it in this build: the driver compiles PTX at the first use"
                };
                let gib = gpu.memory_bytes as f64 / f64::from(1 << 30);
                say!("gpu      cuda:{i} {}, sm_{major}{minor}, {gib:.0} GiB: {code}", gpu.name);
                if kernels::COMPILER.is_some() {
                    self_test(Device::Cuda(i))?;
                    say!("         its kernels give what the CPU gives");
                }
            }
        }
    }
    match kernels::COMPILER {
        Some(nvcc) => {
            let count = kernels::entries().count();
            say!("kernels  {count}, compiled by nvcc {}; --device vm runs them without a GPU", nvcc.version);
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
