//! rotate: image n turned by turns\[n\] quarter turns counter-clockwise, as `torch.rot90(x, k, dims=(H, W))`.
//!
//! Gidaris et al., "Unsupervised representation learning by predicting image rotations", ICLR 2018, section 3.

use super::table::{Case, Fill, OpSpec, Operand, Tensor64};
use super::{Args, Op};
use crate::device::launch::{Address, Launch, Operands, Parameters};
use crate::kernel;
use crate::tensor::{DType, TensorType};
use crate::{Error, Result};
use rayon::prelude::*;
use serde_json::json;

/// x\[N,S,S,C\], turns\[N\] → y\[N,S,S,C\]. Turns count modulo 4, so −1 is clockwise. Images have no gradient.
#[derive(Debug)]
pub struct Rotate;

/// Which pixel of a square of side `s` comes to (i, j).
fn source(turns: i64, s: usize, i: usize, j: usize) -> (usize, usize) {
    match turns.rem_euclid(4) {
        0 => (i, j),
        1 => (j, s - 1 - i),
        2 => (s - 1 - i, s - 1 - j),
        _ => (s - 1 - j, i),
    }
}

impl Op for Rotate {
    fn name(&self) -> &'static str {
        "rotate"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let [x, turns] = inputs else {
            return Err(Error::op(self.name(), "takes x and turns"));
        };
        let [n, h, w, _] = x.dims(self.name(), "x")?;
        if h != w {
            let why = format!("images of {h}×{w} pixels are not square: crop them to a square first");
            return Err(Error::op(self.name(), why));
        }
        turns.expect(self.name(), "turns", &TensorType::new([n], DType::I64))?;
        Ok(vec![x.clone()])
    }

    fn cpu(&self, args: &Args) {
        let ([_, s, _, c], x, turns) = (args.dims(0), args.f32(0), args.i64(1));
        let image = s * s * c;
        args.out(0).par_chunks_mut(image).zip(x.par_chunks(image)).zip(turns).for_each(|((y, x), &turns)| {
            for (pixel, y) in y.chunks_exact_mut(c).enumerate() {
                let (row, column) = source(turns, s, pixel / s, pixel % s);
                y.copy_from_slice(&x[(row * s + column) * c..][..c]);
            }
        });
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        let [n, s, _, c] = on.dims(0);
        let entry = on.pick(0, "rotate_fwd_f32", "rotate_fwd_bf16");
        let blocks = on.ty(0).elements().div_ceil(256).clamp(1, 65535);
        let forward = Forward { n, s, c, x: on.input(0), turns: on.input(1), y: on.output(0) };
        Ok(vec![Launch::new(entry, blocks, 256, forward)])
    }
}

kernel!(Forward ["rotate_fwd_f32", "rotate_fwd_bf16"]
    { n: u32, s: u32, c: u32, x: Address, turns: Address, y: Address });

pub const SPEC: OpSpec = OpSpec {
    name: "rotate",
    summary: "square images turned by quarter turns",
    inputs: &[Operand::new("x", "[N,S,S,C]").constant(), Operand::new("turns", "[N]").of(DType::I64)],
    outputs: &[Operand::new("y", "[N,S,S,C]").constant()],
    defaults: || json!({}),
    record: |graph, _, t| graph.apply(Rotate, &[t.get("x")?, t.get("turns")?]),
    reference: |_, t| {
        let (x, turns) = (t.at("x"), t.at("turns"));
        let (s, c) = (x.shape[1], x.shape[3]);
        let images = (0..x.shape[0]).flat_map(|n| {
            // One quarter turn at a time: the last column becomes the first row.
            let turn = |image: Vec<f64>| -> Vec<f64> {
                let pixels = (0..s).flat_map(|i| (0..s).map(move |j| j * s + (s - 1 - i)));
                pixels.flat_map(|p| image[p * c..][..c].to_vec()).collect()
            };
            (0..(turns.data[n] as i64).rem_euclid(4)).fold(x.row(n).to_vec(), |image, _| turn(image))
        });
        vec![Tensor64::new(x.shape.clone(), images.collect())]
    },
    kernels: &[Forward::SIGNATURE],
    cases: || {
        let case = |name, n: usize, s: usize, c: usize| {
            let turns = TensorType::new([n], DType::I64);
            Case::new(name, json!({})).input("x", [n, s, s, c]).filled("turns", turns, Fill::Labels(9))
        };
        vec![
            case("rgb", 9, 5, 3),
            case("batch_1", 1, 4, 8),
            case("one_pixel", 3, 1, 7),
            case("cifar", 512, 32, 3).bench_only(),
        ]
    },
};
