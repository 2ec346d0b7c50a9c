//! softmax: p\[n,k\] = softmax((x\[n\] − center) / T)\[k\]. With a center, what DINO's teacher says (Caron et al., ICCV
//! 2021, section 3.1: centering and sharpening).

use super::soft_cross_entropy::max_sum_exp;
use super::table::{Case, OpSpec, Operand, Tensor64, parse};
use super::{Args, Cost, Op, checks, moved};
use crate::device::launch::{Address, Launch, Operands, Parameters, Signature};
use crate::graph::Vjp;
use crate::kernel;
use crate::tensor::{DType, TensorType};
use crate::{Error, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// x\[N,K\], optional center\[K\] f32 → p\[N,K\], f32 in every precision. The gradient flows to x; center is a constant.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Softmax {
    /// What centred logits are divided by, T.
    pub temperature: f32,
}

impl Default for Softmax {
    fn default() -> Self {
        Self { temperature: 1.0 }
    }
}

impl Op for Softmax {
    fn name(&self) -> &'static str {
        "softmax"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        checks::divisor(self.name(), "temperature", self.temperature)?;
        let [x, rest @ ..] = inputs else {
            return Err(Error::op(self.name(), "takes x and optionally center"));
        };
        let [n, k] = x.dims(self.name(), "x")?;
        match rest {
            [] => {}
            [center] => center.expect(self.name(), "center", &TensorType::f32([k]))?,
            _ => return Err(Error::op(self.name(), "takes x and optionally center")),
        }
        Ok(vec![TensorType::f32([n, k])])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost { flops: 5 * inputs[0].elements() as u64, bytes: moved(inputs, outputs) }
    }

    fn cpu(&self, args: &Args) {
        let ([_, k], scale) = (args.dims(0), 1.0 / self.temperature);
        let center = (args.inputs() == 2).then(|| args.f32(1));
        args.out(0).par_chunks_mut(k).zip(args.f32(0).par_chunks(k)).for_each(|(p, x)| {
            match center {
                Some(center) => p.iter_mut().zip(x).zip(center).for_each(|((p, x), c)| *p = scale * (x - c)),
                None => p.iter_mut().zip(x).for_each(|(p, x)| *p = scale * x),
            }
            let (max, sum) = max_sum_exp(p.iter().copied());
            let share = 1.0 / sum;
            p.iter_mut().for_each(|p| *p = (*p - max).exp() * share);
        });
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        let ([n, k], scale) = (on.dims(0), 1.0 / self.temperature);
        let entry = on.pick(0, "softmax_fwd_f32", "softmax_fwd_bf16");
        let forward = Forward { n, k, scale, x: on.input(0), center: on.input(1), p: on.output(0) };
        Ok(vec![Launch::new(entry, n as usize, 256, forward)])
    }

    fn vjp(&self, vjp: &mut Vjp) -> Result<()> {
        if !vjp.wants(0) {
            return Ok(());
        }
        let (dp, p) = (vjp.grad(0)?, vjp.output(0));
        let dtype = vjp.ty(vjp.input(0)).dtype;
        vjp.emit(SoftmaxBackward { temperature: self.temperature, dtype }, &[dp, p], &[0])
    }
}

/// dx\[n,k\] = p\[n,k\] (dp\[n,k\] − Σ_j p\[n,j\] dp\[n,j\]) / T.
#[derive(Debug)]
struct SoftmaxBackward {
    temperature: f32,
    /// Of x, which it does not read.
    dtype: DType,
}

impl Op for SoftmaxBackward {
    fn name(&self) -> &'static str {
        "softmax/bwd"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        Ok(vec![inputs[1].with(self.dtype)])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        Cost { flops: 5 * inputs[0].elements() as u64, bytes: moved(inputs, outputs) }
    }

    fn cpu(&self, args: &Args) {
        let ([_, k], accumulate, scale) = (args.dims(0), args.accumulates(0), 1.0 / self.temperature);
        let rows = args.f32(0).par_chunks(k).zip(args.f32(1).par_chunks(k));
        args.out(0).par_chunks_mut(k).zip(rows).for_each(|(dx, (dp, p))| {
            let along = p.iter().zip(dp).map(|(&p, &g)| f64::from(p) * f64::from(g)).sum::<f64>() as f32;
            for ((dx, g), p) in dx.iter_mut().zip(dp).zip(p) {
                let d = scale * p * (g - along);
                *dx = if accumulate { *dx + d } else { d };
            }
        });
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        let ([n, k], accumulate, scale) = (on.dims(0), on.accumulate(0), 1.0 / self.temperature);
        let entry = if self.dtype == DType::Bf16 { "softmax_bwd_bf16" } else { "softmax_bwd_f32" };
        let (dp, p, dx) = (on.input(0), on.input(1), on.output(0));
        let backward = Backward { n, k, scale, accumulate, dp, p, dx };
        Ok(vec![Launch::new(entry, n as usize, 256, backward)])
    }
}

kernel!(Forward ["softmax_fwd_f32", "softmax_fwd_bf16"]
    { n: u32, k: u32, scale: f32, x: Address, center: Address, p: Address });

kernel!(Backward ["softmax_bwd_f32", "softmax_bwd_bf16"]
    { n: u32, k: u32, scale: f32, accumulate: u32, dp: Address, p: Address, dx: Address });

pub const KERNELS: &[Signature] = &[Forward::SIGNATURE, Backward::SIGNATURE];

pub const SPEC: OpSpec = OpSpec {
    name: "softmax",
    summary: "softmax of (x − center) / temperature over each row",
    inputs: &[Operand::new("x", "[N,K]"), Operand::new("center", "[K]").full().optional().constant()],
    outputs: &[Operand::new("p", "[N,K]").full()],
    defaults: || json!(Softmax::default()),
    record: |graph, params, t| {
        let op: Softmax = parse("softmax", params)?;
        let inputs: Vec<_> = [t.get("x")?].into_iter().chain(t.optional("center")).collect();
        graph.apply(op, &inputs)
    },
    reference: |params, t| {
        let op: Softmax = parse("softmax", params).expect("a case's parameters");
        let x = t.at("x");
        let mut p = Tensor64::zeros(x.shape.clone());
        let k = x.shape[1];
        for (i, row) in p.data.chunks_exact_mut(k).enumerate() {
            for (j, p) in row.iter_mut().enumerate() {
                let center = t.optional("center").map_or(0.0, |c| c.data[j]);
                *p = ((x.row(i)[j] - center) / f64::from(op.temperature)).exp();
            }
            let sum: f64 = row.iter().sum();
            row.iter_mut().for_each(|p| *p /= sum);
        }
        vec![p]
    },
    kernels: KERNELS,
    cases: || {
        let case = |name, n: usize, k: usize, t: f32| {
            Case::new(name, json!({"temperature": t})).input("x", [n, k]).input("center", [k])
        };
        vec![
            case("small", 5, 7, 0.3),
            case("batch_1", 1, 3, 1.0),
            Case::new("no_center", json!({"temperature": 0.5})).input("x", [3, 40]),
            case("beyond_registers", 2, 8 * 1031, 0.7),
            case("beyond_registers_odd", 2, 4099, 0.7),
            case("dino", 128, 65536, 0.04).bench_only(),
        ]
    },
};
