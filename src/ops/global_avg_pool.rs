//! global_avg_pool: y\[n,c\] = mean over h, w of x\[n,h,w,c\].

use super::table::{Case, OpSpec, Operand, Tensor64};
use super::{Args, Cost, Op, moved};
use crate::graph::Vjp;
use crate::tensor::TensorType;
use crate::{Error, Result};
use rayon::prelude::*;
use serde_json::json;

/// x\[N,H,W,C\] → y\[N,C\].
#[derive(Debug)]
pub struct GlobalAvgPool;

impl Op for GlobalAvgPool {
    fn name(&self) -> &'static str {
        "global_avg_pool"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let [x] = inputs else {
            return Err(Error::op(self.name(), "takes one tensor"));
        };
        let [n, _, _, c] = x.dims(self.name(), "x")?;
        Ok(vec![TensorType::new([n, c], x.dtype)])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost { flops: inputs[0].elements() as u64, bytes: moved(inputs, outputs) }
    }

    fn cpu(&self, args: &Args) {
        let [_, h, w, c] = args.dims(0);
        let scale = 1.0 / (h * w) as f32;
        args.out(0).par_chunks_mut(c).zip(args.f32(0).par_chunks(h * w * c)).for_each(|(y, x)| {
            y.fill(0.0);
            for pixel in x.chunks_exact(c) {
                y.iter_mut().zip(pixel).for_each(|(y, x)| *y += x);
            }
            y.iter_mut().for_each(|y| *y *= scale);
        });
    }

    fn vjp(&self, vjp: &mut Vjp) -> Result<()> {
        let dy = vjp.grad(0)?;
        let [_, h, w, _] = vjp.ty(vjp.input(0)).dims(self.name(), "x")?;
        vjp.emit(GlobalAvgPoolBackward { h, w }, &[dy], &[0])
    }
}

/// dx\[n,h,w,c\] = dy\[n,c\] / (H W).
#[derive(Debug)]
struct GlobalAvgPoolBackward {
    h: usize,
    w: usize,
}

impl Op for GlobalAvgPoolBackward {
    fn name(&self) -> &'static str {
        "global_avg_pool/bwd"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let [n, c] = inputs[0].dims(self.name(), "dy")?;
        Ok(vec![TensorType::new([n, self.h, self.w, c], inputs[0].dtype)])
    }

    fn cpu(&self, args: &Args) {
        let ([_, c], accumulate) = (args.dims(0), args.accumulates(0));
        let scale = 1.0 / (self.h * self.w) as f32;
        let per_image = self.h * self.w * c;
        args.out(0).par_chunks_mut(per_image).zip(args.f32(0).par_chunks(c)).for_each(|(dx, dy)| {
            for pixel in dx.chunks_exact_mut(c) {
                for (dx, dy) in pixel.iter_mut().zip(dy) {
                    *dx = if accumulate { *dx + dy * scale } else { dy * scale };
                }
            }
        });
    }
}

pub const SPEC: OpSpec = OpSpec {
    name: "global_avg_pool",
    summary: "mean over height and width",
    inputs: &[Operand::new("x", "[N,H,W,C]")],
    outputs: &[Operand::new("y", "[N,C]")],
    defaults: || json!({}),
    record: |graph, _, t| graph.apply(GlobalAvgPool, &[t.get("x")?]),
    reference: |_, t| {
        let x = t.at("x");
        let (n, pixels, c) = (x.shape[0], x.shape[1] * x.shape[2], x.shape[3]);
        let mut y = Tensor64::zeros([n, c]);
        for (i, v) in x.data.iter().enumerate() {
            y.data[i / (pixels * c) * c + i % c] += v / pixels as f64;
        }
        vec![y]
    },
    kernels: &[],
    cases: || {
        vec![
            Case::new("small", json!({})).input("x", [2, 3, 5, 7]),
            Case::new("one_pixel", json!({})).input("x", [3, 1, 1, 4]),
            Case::new("resnet", json!({})).input("x", [512, 4, 4, 512]).bench_only(),
        ]
    },
};
