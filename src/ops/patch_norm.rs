//! patch_norm: every patch's every channel to mean 0 and standard deviation 1 over its pixels.
//!
//! Against the shortcut of matching patches by their colour and contrast: Noroozi & Favaro, "Unsupervised learning of
//! visual representations by solving jigsaw puzzles", ECCV 2016.

use super::table::{Case, Fill, OpSpec, Operand, parse};
use super::{Args, Cost, Op, checks, moved};
use crate::device::launch::{Address, Launch, Operands, Parameters};
use crate::kernel;
use crate::tensor::TensorType;
use crate::{Error, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// x\[N,H,W,C\] → y\[N,H,W,C\]. The variance is biased (divided by H·W). Images have no gradient.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PatchNorm {
    /// Added to the variance.
    pub eps: f32,
}

impl Default for PatchNorm {
    fn default() -> Self {
        Self { eps: 1e-5 }
    }
}

impl Op for PatchNorm {
    fn name(&self) -> &'static str {
        "patch_norm"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let [x] = inputs else {
            return Err(Error::op(self.name(), "takes one tensor"));
        };
        x.dims::<4>(self.name(), "x")?;
        checks::divisor(self.name(), "eps", self.eps)?;
        Ok(vec![x.clone()])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost { flops: 7 * inputs[0].elements() as u64, bytes: moved(inputs, outputs) }
    }

    fn cpu(&self, args: &Args) {
        let ([_, h, w, c], x) = (args.dims(0), args.f32(0));
        let patch = h * w * c;
        args.out(0).par_chunks_mut(patch).zip(x.par_chunks(patch)).for_each(|(y, x)| {
            for channel in 0..c {
                // Less the first pixel, so that sums do not cancel and a constant patch gives exact zeros.
                let shift = f64::from(x[channel]);
                let values = || x[channel..].iter().step_by(c).map(|&v| f64::from(v) - shift);
                let count = (h * w) as f64;
                let mean = values().sum::<f64>() / count;
                let variance = values().map(|v| (v - mean) * (v - mean)).sum::<f64>() / count;
                let scale = 1.0 / (variance + f64::from(self.eps)).sqrt();
                for (y, v) in y[channel..].iter_mut().step_by(c).zip(values()) {
                    *y = ((v - mean) * scale) as f32;
                }
            }
        });
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        let [n, h, w, c] = on.dims(0);
        let entry = on.pick(0, "patch_norm_fwd_f32", "patch_norm_fwd_bf16");
        let forward = Forward { pixels: h * w, c, eps: self.eps, x: on.input(0), y: on.output(0) };
        let grid = [n as usize, c.div_ceil(256) as usize, 1];
        Ok(vec![Launch::grid(entry, grid, [256, 1, 1], forward)])
    }
}

kernel!(Forward ["patch_norm_fwd_f32", "patch_norm_fwd_bf16"]
    { pixels: u32, c: u32, eps: f32, x: Address, y: Address });

pub const SPEC: OpSpec = OpSpec {
    name: "patch_norm",
    summary: "every patch's channels to mean 0, deviation 1",
    inputs: &[Operand::new("x", "[N,H,W,C]").constant()],
    outputs: &[Operand::new("y", "[N,H,W,C]").constant()],
    defaults: || json!(PatchNorm::default()),
    record: |graph, params, t| graph.apply(parse::<PatchNorm>("patch_norm", params)?, &[t.get("x")?]),
    reference: |params, t| {
        let eps = f64::from(parse::<PatchNorm>("patch_norm", params).expect("a case's parameters").eps);
        let x = t.at("x");
        let (pixels, c) = (x.shape[1] * x.shape[2], x.shape[3]);
        let mut y = x.clone();
        for (n, channel) in (0..x.shape[0]).flat_map(|n| (0..c).map(move |channel| (n, channel))) {
            let at = |p: usize| (n * pixels + p) * c + channel;
            let mean = (0..pixels).map(|p| x.data[at(p)]).sum::<f64>() / pixels as f64;
            let variance = (0..pixels).map(|p| (x.data[at(p)] - mean).powi(2)).sum::<f64>() / pixels as f64;
            (0..pixels).for_each(|p| y.data[at(p)] = (x.data[at(p)] - mean) / (variance + eps).sqrt());
        }
        vec![y]
    },
    kernels: &[Forward::SIGNATURE],
    cases: || {
        let case = |name, shape: [usize; 4]| Case::new(name, json!({})).input("x", shape);
        let far = Fill::Given(|n| (0..n).map(|i| 100.0 + (i * i % 7) as f32).collect());
        let constant = Fill::Given(|n| vec![0.3; n]);
        vec![
            case("rgb", [5, 7, 5, 3]),
            case("batch_1", [1, 4, 9, 1]),
            case("gray", [3, 17, 19, 1]),
            case("many_channels", [2, 2, 3, 300]),
            Case::new("far_from_zero", json!({})).filled("x", TensorType::f32([2, 5, 5, 3]), far),
            Case::new("constant", json!({})).filled("x", TensorType::f32([2, 5, 5, 3]), constant),
            case("jigsaw", [2304, 64, 64, 3]).bench_only(),
        ]
    },
};
