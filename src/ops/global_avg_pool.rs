//! global_avg_pool: y\[n,c\] = mean over h, w of x\[n,h,w,c\].

use super::table::{Case, OpSpec, Operand, Tensor64};
use super::{Args, Cost, Op, moved};
use crate::device::launch::{Address, Launch, Operands, Parameters};
use crate::graph::Vjp;
use crate::kernel;
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

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        let [n, h, w, c] = on.dims(0);
        let entry = on.pick(0, "global_avg_pool_fwd_f32", "global_avg_pool_fwd_bf16");
        let forward = Forward { n, pixels: h * w, c, x: on.input(0), y: on.output(0) };
        Ok(vec![Launch::new(entry, blocks(on, n, c), 256, forward)])
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

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        let ([n, c], pixels) = (on.dims(0), (self.h * self.w) as u32);
        let entry = on.pick(0, "global_avg_pool_bwd_f32", "global_avg_pool_bwd_bf16");
        let (accumulate, dy, dx) = (on.accumulate(0), on.input(0), on.output(0));
        let backward = Backward { n, pixels, c, accumulate, dy, dx };
        Ok(vec![Launch::new(entry, blocks(on, n, c), 256, backward)])
    }
}

kernel!(Forward ["global_avg_pool_fwd_f32", "global_avg_pool_fwd_bf16"]
    { n: u32, pixels: u32, c: u32, x: Address, y: Address });

kernel!(Backward ["global_avg_pool_bwd_f32", "global_avg_pool_bwd_bf16"]
    { n: u32, pixels: u32, c: u32, accumulate: u32, dy: Address, dx: Address });

/// A thread 16 bytes of channels of an image, or one channel where these do not divide.
fn blocks(on: &Operands, n: u32, c: u32) -> usize {
    let pack = if on.is_bf16(0) { 8 } else { 4 };
    let units = if c.is_multiple_of(pack) { c / pack } else { c };
    (n as usize * units as usize).div_ceil(256)
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
    kernels: &[Forward::SIGNATURE, Backward::SIGNATURE],
    cases: || {
        vec![
            Case::new("small", json!({})).input("x", [2, 3, 5, 7]),
            Case::new("one_pixel", json!({})).input("x", [3, 1, 1, 4]),
            Case::new("resnet", json!({})).input("x", [512, 4, 4, 512]).bench_only(),
        ]
    },
};
