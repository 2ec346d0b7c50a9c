//! max_pool: y\[n,p,q,c\] = max over r, s < kernel of x\[n, p·stride − padding + r, q·stride − padding + s, c\].
//!
//! Padding never wins. On ties the first position in row order gets the gradient, as in PyTorch; NaN wins everything.

use super::table::{Case, OpSpec, Operand, Tensor64, parse};
use super::{Args, Cost, Op, moved};
use crate::device::launch::{Address, Launch, Operands, Parameters};
use crate::graph::Vjp;
use crate::kernel;
use crate::tensor::TensorType;
use crate::{Error, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Window of a pooling op, square.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MaxPool {
    pub kernel: usize,
    pub stride: usize,
    pub padding: usize,
}

impl Default for MaxPool {
    /// The pool behind an ImageNet stem.
    fn default() -> Self {
        Self { kernel: 3, stride: 2, padding: 1 }
    }
}

impl MaxPool {
    fn out(&self, size: usize) -> usize {
        (size + 2 * self.padding - self.kernel) / self.stride + 1
    }

    fn check(&self, h: usize, w: usize) -> Result<()> {
        let Self { kernel, stride, padding } = *self;
        if kernel == 0 || stride == 0 {
            return Err(Error::op("max_pool", "kernel and stride must be at least 1"));
        }
        if padding * 2 > kernel {
            return Err(Error::op(
                "max_pool",
                format!("padding {padding} is more than half of kernel {kernel}"),
            ));
        }
        if h + 2 * padding < kernel || w + 2 * padding < kernel {
            return Err(Error::op("max_pool", format!("a {h}×{w} image is smaller than kernel {kernel}")));
        }
        Ok(())
    }

    /// The input rows or columns that window `p` sees.
    fn window(&self, p: usize, size: usize) -> std::ops::Range<usize> {
        let start = p * self.stride;
        start.saturating_sub(self.padding)..(start + self.kernel - self.padding).min(size)
    }
}

impl Op for MaxPool {
    fn name(&self) -> &'static str {
        "max_pool"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let [x] = inputs else {
            return Err(Error::op(self.name(), "takes one tensor"));
        };
        let [n, h, w, c] = x.dims(self.name(), "x")?;
        self.check(h, w)?;
        Ok(vec![TensorType::new([n, self.out(h), self.out(w), c], x.dtype)])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let flops = outputs[0].elements() * self.kernel * self.kernel;
        Cost { flops: flops as u64, bytes: moved(inputs, outputs) }
    }

    fn cpu(&self, args: &Args) {
        let [_, h, w, c] = args.dims(0);
        let (p, q) = (self.out(h), self.out(w));
        args.out(0).par_chunks_mut(p * q * c).zip(args.f32(0).par_chunks(h * w * c)).for_each(|(y, x)| {
            for (at, y) in y.chunks_exact_mut(c).enumerate() {
                y.fill(f32::NEG_INFINITY);
                for i in self.window(at / q, h) {
                    for j in self.window(at % q, w) {
                        let x = &x[(i * w + j) * c..][..c];
                        for (y, &x) in y.iter_mut().zip(x) {
                            if x > *y || x.is_nan() {
                                *y = x;
                            }
                        }
                    }
                }
            }
        });
    }

    fn vjp(&self, vjp: &mut Vjp) -> Result<()> {
        let (dy, x) = (vjp.grad(0)?, vjp.input(0));
        vjp.emit(MaxPoolBackward(*self), &[dy, x], &[0])
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        let [n, h, w, c] = on.dims(0);
        let [p, q] = [h, w].map(|side| self.out(side as usize) as u32);
        let [kernel, stride, padding] = [self.kernel, self.stride, self.padding].map(|size| size as u32);
        let (_, units) = packs(on, c);
        let entry = on.pick(0, "max_pool_fwd_f32", "max_pool_fwd_bf16");
        let grid = [n as usize * p as usize, (q as usize * units).div_ceil(128), 1];
        let (x, y) = (on.input(0), on.output(0));
        let forward = Forward { h, w, c, p, q, kernel, stride, padding, x, y };
        Ok(vec![Launch::grid(entry, grid, [128, 1, 1], forward)])
    }
}

/// Finds each window's winner again and adds dy to it: cheaper than storing indices.
#[derive(Debug)]
struct MaxPoolBackward(MaxPool);

impl Op for MaxPoolBackward {
    fn name(&self) -> &'static str {
        "max_pool/bwd"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        Ok(vec![inputs[1].clone()])
    }

    fn cpu(&self, args: &Args) {
        let ([_, p, q, c], [_, h, w, _]) = (args.dims(0), args.dims(1));
        let accumulate = args.accumulates(0);
        let inputs = args.f32(0).par_chunks(p * q * c).zip(args.f32(1).par_chunks(h * w * c));
        args.out(0).par_chunks_mut(h * w * c).zip(inputs).for_each(|(dx, (dy, x))| {
            if !accumulate {
                dx.fill(0.0);
            }
            for (at, dy) in dy.iter().enumerate() {
                let (pixel, channel) = (at / c, at % c);
                let mut winner = None;
                let mut most = f32::NEG_INFINITY;
                for i in self.0.window(pixel / q, h) {
                    for j in self.0.window(pixel % q, w) {
                        let from = (i * w + j) * c + channel;
                        if x[from] > most || x[from].is_nan() || winner.is_none() {
                            (winner, most) = (Some(from), x[from]);
                        }
                    }
                }
                if let Some(winner) = winner {
                    dx[winner] += dy;
                }
            }
        });
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        let ([_, p, q, _], [n, h, w, c]) = (on.dims(0), on.dims(1));
        let [kernel, stride, padding] =
            [self.0.kernel, self.0.stride, self.0.padding].map(|size| size as u32);
        let (pack, units) = packs(on, c);
        let (accumulate, dy, x, dx) = (on.accumulate(0), on.input(0), on.input(1), on.output(0));
        let backward = Backward { h, w, c, p, q, kernel, stride, padding, accumulate, dy, x, dx };
        // The windows that cover a tile of 16 by 16 pixels keep their winners in shared memory, a byte each.
        let side = (14 + self.0.kernel) / self.0.stride + 1;
        let shared = side * side * 8 * pack;
        if self.0.kernel <= 16 && shared <= SHARED {
            let entry = on.pick(0, "max_pool_bwd_f32__winners", "max_pool_bwd_bf16__winners");
            let tiles = n as usize * h.div_ceil(16) as usize * w.div_ceil(16) as usize;
            return Ok(vec![
                Launch::grid(entry, [tiles, units.div_ceil(8), 1], [256, 1, 1], backward).shared(shared),
            ]);
        }
        let entry = on.pick(0, "max_pool_bwd_f32__direct", "max_pool_bwd_bf16__direct");
        let grid = [n as usize * h as usize, (w as usize * units).div_ceil(128), 1];
        Ok(vec![Launch::grid(entry, grid, [128, 1, 1], backward)])
    }
}

kernel!(Forward ["max_pool_fwd_f32", "max_pool_fwd_bf16"] {
    h: u32, w: u32, c: u32, p: u32, q: u32, kernel: u32, stride: u32, padding: u32, x: Address, y: Address,
});

kernel!(Backward [
    "max_pool_bwd_f32__winners", "max_pool_bwd_bf16__winners", "max_pool_bwd_f32__direct",
    "max_pool_bwd_bf16__direct",
] {
    h: u32, w: u32, c: u32, p: u32, q: u32, kernel: u32, stride: u32, padding: u32, accumulate: u32, dy: Address,
    x: Address, dx: Address,
});

/// Dynamic shared memory that needs no permission.
const SHARED: usize = 48 << 10;

/// Channels a thread moves, and how many such groups a pixel has.
fn packs(on: &Operands, c: u32) -> (usize, usize) {
    let (pack, c) = (if on.is_bf16(0) { 8 } else { 4 }, c as usize);
    (pack, if c.is_multiple_of(pack) { c / pack } else { c })
}

pub const SPEC: OpSpec = OpSpec {
    name: "max_pool",
    summary: "largest value in each window",
    inputs: &[Operand::new("x", "[N,H,W,C]")],
    outputs: &[Operand::new("y", "[N,P,Q,C]")],
    defaults: || json!(MaxPool::default()),
    record: |graph, params, t| graph.apply(parse::<MaxPool>("max_pool", params)?, &[t.get("x")?]),
    reference: |params, t| {
        let pool: MaxPool = parse("max_pool", params).expect("a case's parameters");
        let x = t.at("x");
        let [n, h, w, c] = x.shape[..] else { unreachable!() };
        let (p, q) = (pool.out(h), pool.out(w));
        let mut y = Tensor64::zeros([n, p, q, c]);
        for (at, y) in y.data.iter_mut().enumerate() {
            let (image, row, col, channel) = (at / (p * q * c), at / (q * c) % p, at / c % q, at % c);
            *y = f64::NEG_INFINITY;
            for r in 0..pool.kernel {
                for s in 0..pool.kernel {
                    let (i, j) = (row * pool.stride + r, col * pool.stride + s);
                    let inside = i >= pool.padding
                        && i - pool.padding < h
                        && j >= pool.padding
                        && j - pool.padding < w;
                    if inside {
                        let from = ((image * h + i - pool.padding) * w + j - pool.padding) * c + channel;
                        *y = y.max(x.data[from]);
                    }
                }
            }
        }
        vec![y]
    },
    kernels: &[Forward::SIGNATURE, Backward::SIGNATURE],
    cases: || {
        vec![
            Case::new("stem", json!({})).input("x", [2, 8, 8, 3]),
            Case::new("odd", json!({})).input("x", [1, 7, 5, 4]),
            Case::new("2x2", json!({"kernel": 2, "stride": 2, "padding": 0})).input("x", [2, 7, 6, 5]),
            Case::new("overlap", json!({"kernel": 3, "stride": 1, "padding": 1})).input("x", [1, 4, 4, 2]),
            Case::new("imagenet", json!({})).input("x", [16, 112, 112, 64]).bench_only(),
        ]
    },
};
