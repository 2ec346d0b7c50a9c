//! How fast the PTX machine runs: our scalar kernels and the tensor-core one, on one core, without checks and with.

use super::Samples;
use crate::vm::{Argument, Machine, Page, Shape};
use crate::{Error, Result};
use serde::Serialize;

/// One kernel, with checks or without.
#[derive(Debug, Serialize)]
pub struct VmTiming {
    pub kernel: &'static str,
    pub check: bool,
    pub lane_instructions: u64,
    pub tensor_core_flops: u64,
    /// Of each run, all on one core.
    pub seconds: Vec<f64>,
    /// Of the median run.
    pub lane_instructions_per_second: f64,
    pub tensor_core_flops_per_second: f64,
}

struct Case {
    entry: &'static str,
    grid: [u32; 3],
    block: [u32; 3],
    scalars: Vec<Argument>,
    /// Bytes of each buffer.
    buffers: Vec<usize>,
}

fn cases() -> Vec<Case> {
    let elements = 1u32 << 18;
    let bytes = 4 * elements as usize;
    let side = 128u32;
    let matrix = 4 * (side * side) as usize;
    let sides = |s: u32| vec![Argument::U32(s); 3];
    let case = |entry, grid, block, scalars, buffers| Case { entry, grid, block, scalars, buffers };
    let reduce =
        |entry| case(entry, [64, 1, 1], [256, 1, 1], vec![Argument::U32(elements)], vec![bytes, 256]);
    vec![
        case(
            "saxpy_f32",
            [256, 1, 1],
            [256, 1, 1],
            vec![Argument::U32(elements), Argument::F32(2.0)],
            vec![bytes; 2],
        ),
        reduce("reduce_sum_f32__sequential"),
        reduce("reduce_sum_f32__shuffle"),
        case("matmul_f32__naive", [side / 16, side / 16, 1], [16, 16, 1], sides(side), vec![matrix; 3]),
        case("matmul_f32__shared", [side / 32, side / 32, 1], [32, 8, 1], sides(side), vec![matrix; 3]),
        // 256³ in bf16.
        case("matmul_bf16__mma", [4, 2, 1], [128, 1, 1], sides(256), vec![2 << 16, 2 << 16, 4 << 16]),
    ]
}

/// Times every case for `seconds`, unchecked and checked.
pub fn time_vm(seconds: f64) -> Result<Vec<VmTiming>> {
    let mut timings = Vec::new();
    for case in cases() {
        let (kernel, _) = crate::kernels::find(case.entry)?;
        let mut machine = Machine::new();
        let module = machine.load(kernel.ptx)?;
        let program = module.program(case.entry)?;
        let mut arguments = case.scalars.clone();
        for &bytes in &case.buffers {
            let address = machine.allocate("buffer", bytes as u64)?;
            machine.write(address, &vec![0; bytes])?;
            arguments.push(Argument::Pointer(address));
        }
        let shape = Shape { grid: case.grid, block: case.block, workers: 1, ..Shape::default() };
        let counted =
            machine.run(&program, &Shape { profile: true, ..shape.clone() }, &arguments, &|_| {})?;
        let page = Page::new(&program, &counted.counters, None);
        for check in [false, true] {
            let shape = Shape { check, ..shape.clone() };
            let mut failed = None;
            let samples =
                Samples::take(seconds, || match machine.run(&program, &shape, &arguments, &|_| {}) {
                    Ok(outcome) if outcome.findings.is_empty() => {}
                    Ok(outcome) => failed = Some(Error::kernel(case.entry, outcome.findings[0].to_string())),
                    Err(error) => failed = Some(error),
                });
            if let Some(error) = failed {
                return Err(error);
            }
            let median = samples.median();
            timings.push(VmTiming {
                kernel: case.entry,
                check,
                lane_instructions: page.lane_instructions,
                tensor_core_flops: page.tensor_core_flops,
                lane_instructions_per_second: page.lane_instructions as f64 / median,
                tensor_core_flops_per_second: page.tensor_core_flops as f64 / median,
                seconds: samples.0,
            });
        }
    }
    Ok(timings)
}
