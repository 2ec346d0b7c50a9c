//! center: y\[n,d\] = x\[n,d\] − (1/N) Σ_m x\[m,d\]. A symmetric projection: its gradient is itself.

use super::column_mean::{ColumnMean, Walk, means};
use super::table::{Case, OpSpec, Operand, Tensor64};
use super::{Args, Cost, Op, moved};
use crate::device::launch::{Address, Launch, Operands, Parameters, Signature};
use crate::graph::{Vjp, Write};
use crate::kernel;
use crate::tensor::TensorType;
use crate::{Error, Result};
use rayon::prelude::*;
use serde_json::json;

/// x\[N,D\] → y\[N,D\] whose columns have mean 0.
#[derive(Clone, Copy, Debug)]
pub struct Center;

impl Op for Center {
    fn name(&self) -> &'static str {
        "center"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let [x] = inputs else {
            return Err(Error::op(self.name(), "takes one tensor"));
        };
        x.dims::<2>(self.name(), "x")?;
        Ok(vec![x.clone()])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        // x is read twice: for the means, then to subtract them.
        let bytes = moved(inputs, outputs) + inputs[0].bytes() as u64;
        Cost { flops: 2 * inputs[0].elements() as u64, bytes }
    }

    fn cpu(&self, args: &Args) {
        let ([_, d], accumulate) = (args.dims(0), args.accumulates(0));
        let x: &[f32] = args.f32(0);
        let mut mean = vec![0.0; d];
        means(x, d, &mut mean);
        args.out(0).par_chunks_mut(d).zip(x.par_chunks(d)).for_each(|(y, x)| {
            for ((y, x), mean) in y.iter_mut().zip(x).zip(&mean) {
                *y = if accumulate { *y + (x - mean) } else { x - mean };
            }
        });
    }

    fn workspace(&self, inputs: &[TensorType]) -> usize {
        mean_bytes(&inputs[0]) + ColumnMean.workspace(inputs)
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        let ([n, d], walk, mean) = (on.dims(0), Walk::new(on.ty(0)), on.workspace);
        let mut launches = ColumnMean.launches(&Operands {
            inputs: on.inputs,
            outputs: &[(mean, TensorType::f32([d as usize]))],
            writes: &[Write::Overwrite],
            workspace: mean.plus(mean_bytes(on.ty(0))),
            upload: on.upload,
        })?;
        let (rows_per_part, accumulate) = (walk.rows as u32, on.accumulate(0));
        let entry = on.pick(0, "center_apply_f32", "center_apply_bf16");
        let apply = Apply { n, d, rows_per_part, accumulate, x: on.input(0), mean, y: on.output(0) };
        launches.push(Launch::grid(entry, walk.grid(), [256, 1, 1], apply));
        Ok(launches)
    }

    fn vjp(&self, vjp: &mut Vjp) -> Result<()> {
        let dy = vjp.grad(0)?;
        vjp.emit(*self, &[dy], &[0])
    }
}

/// Of the means, at the workspace's beginning.
fn mean_bytes(x: &TensorType) -> usize {
    (4 * x.shape[1]).next_multiple_of(256)
}

kernel!(Apply ["center_apply_f32", "center_apply_bf16"]
    { n: u32, d: u32, rows_per_part: u32, accumulate: u32, x: Address, mean: Address, y: Address });

pub const KERNELS: &[Signature] = &[Apply::SIGNATURE];

pub const SPEC: OpSpec = OpSpec {
    name: "center",
    summary: "each column less its mean",
    inputs: &[Operand::new("x", "[N,D]")],
    outputs: &[Operand::new("y", "[N,D]")],
    defaults: || json!({}),
    record: |graph, _, t| graph.apply(Center, &[t.get("x")?]),
    reference: |_, t| vec![centered(t.at("x"))],
    kernels: KERNELS,
    cases: || {
        let case = |name, shape: [usize; 2]| Case::new(name, json!({})).input("x", shape);
        vec![
            case("small", [5, 7]),
            case("chunks", [37, 24]),
            case("in_parts", [600, 16]),
            case("projector", [4096, 256]).bench_only(),
        ]
    },
};

/// In f64, for the references of what centres first.
pub(super) fn centered(x: &Tensor64) -> Tensor64 {
    let [n, d] = [x.shape[0], x.shape[1]];
    let mean: Vec<f64> = (0..d).map(|j| (0..n).map(|i| x.row(i)[j]).sum::<f64>() / n as f64).collect();
    let data = x.data.iter().enumerate().map(|(i, v)| v - mean[i % d]).collect();
    Tensor64::new(x.shape.clone(), data)
}
