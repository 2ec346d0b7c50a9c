//! nearest: y\[n\] = support\[j\], the row of greatest cosine with z\[n\]: NNCLR's positives (Dwibedi et al., ICCV 2021,
//! eq. 2). Of equal cosines the lowest j's. A row of z that holds NaN gives NaN, and one of the support makes every row NaN.

use super::info_nce::{Unit, gpu_tiles};
use super::l2_normalize::normalized;
use super::similarities::{self, COLS, ROWS, normalize_rows, similarities};
use super::table::{Case, OpSpec, Operand, Tensor64};
use super::{Args, Cost, Op, moved};
use crate::device::launch::{Address, Launch, Operands, Parameters, Signature};
use crate::graph::Vjp;
use crate::kernel;
use crate::tensor::TensorType;
use crate::{Error, Result};
use rayon::prelude::*;
use serde_json::json;

/// z\[N,D\], support\[K,D\] f32 → y\[N,D\] f32. Constants: no gradient flows through.
#[derive(Clone, Copy, Debug)]
pub struct Nearest;

/// The greater of two (cosine, index): NaN before any number, then the first.
fn greater(best: (f32, usize), next: (f32, usize)) -> (f32, usize) {
    if next.0 > best.0 || (next.0.is_nan() && !best.0.is_nan()) { next } else { best }
}

impl Op for Nearest {
    fn name(&self) -> &'static str {
        "nearest"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let [z, support] = inputs else {
            return Err(Error::op(self.name(), "takes z and support"));
        };
        let [n, d] = z.dims(self.name(), "z")?;
        let [k, _] = support.dims(self.name(), "support")?;
        support.expect(self.name(), "support", &TensorType::f32([k, d]))?;
        Ok(vec![TensorType::f32([n, d])])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let flops = 2 * inputs[0].shape[0] * inputs[1].elements();
        Cost { flops: flops as u64, bytes: moved(inputs, outputs) }
    }

    /// Unit rows of z and support, then a tile for each block of rows.
    fn scratch(&self, inputs: &[TensorType]) -> usize {
        inputs[0].elements() + inputs[1].elements() + similarities::scratch(inputs[0].shape[0])
    }

    fn cpu(&self, args: &Args) {
        let ([n, d], [k, _], support) = (args.dims(0), args.dims(1), args.f32(1));
        let (a, rest) = args.scratch().split_at_mut(n * d);
        let (b, tiles) = rest.split_at_mut(k * d);
        normalize_rows(args.f32(0), a, d);
        normalize_rows(support, b, d);
        let (a, b) = (&*a, &*b);
        let blocks = args.out(0).par_chunks_mut(ROWS * d).zip(tiles.par_chunks_mut(ROWS * COLS));
        blocks.enumerate().for_each(|(block, (y, tile))| {
            let mut best = [(f32::NEG_INFINITY, 0); ROWS];
            for j0 in (0..k).step_by(COLS) {
                let (tile, width) = similarities(a, b, d, block * ROWS, j0, 1.0, tile);
                for (row, best) in tile.chunks_exact(width).zip(&mut best) {
                    *best = row.iter().enumerate().fold(*best, |best, (j, &s)| greater(best, (s, j0 + j)));
                }
            }
            for (y, (cosine, j)) in y.chunks_exact_mut(d).zip(best) {
                if cosine.is_nan() {
                    y.fill(f32::NAN);
                } else {
                    y.copy_from_slice(&support[j * d..][..d]);
                }
            }
        });
    }

    fn workspace(&self, inputs: &[TensorType]) -> usize {
        let (n, k) = (inputs[0].shape[0], inputs[1].shape[0]);
        let (_, splits) = gpu_tiles(n, k, 1);
        inputs.iter().map(Unit::bytes).sum::<usize>() + 2 * splits * n * size_of::<f32>()
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        let ([rows, d], [columns, _]) = (on.dims(0), on.dims::<2>(1));
        let (z, support) = (on.ty(0), on.ty(1));
        let (a, normalize_z) = Unit::of(on.input(0), z, on.workspace);
        let (b, normalize_support) = Unit::of(on.input(1), support, on.workspace.plus(Unit::bytes(z)));
        let best = on.workspace.plus(Unit::bytes(z) + Unit::bytes(support));
        let (tiles, splits) = gpu_tiles(rows as usize, columns as usize, 1);
        let index = best.plus(splits * rows as usize * size_of::<f32>());
        let forward = Forward { rows, columns, d, a: a.rows, b: b.rows, best, index };
        let copy =
            Copy { rows, d, splits: splits as u32, best, index, support: on.input(1), y: on.output(0) };
        Ok(vec![
            normalize_z,
            normalize_support,
            Launch::grid("nearest_fwd_f32__tiled", [tiles, splits, 1], [256, 1, 1], forward),
            Launch::new("nearest_fwd_f32__copy", rows.div_ceil(4) as usize, 128, copy),
        ])
    }

    /// What is found is a constant.
    fn vjp(&self, _: &mut Vjp) -> Result<()> {
        Ok(())
    }
}

kernel!(Forward ["nearest_fwd_f32__direct", "nearest_fwd_f32__tiled"]
    { rows: u32, columns: u32, d: u32, a: Address, b: Address, best: Address, index: Address });

kernel!(Copy ["nearest_fwd_f32__copy"]
    { rows: u32, d: u32, splits: u32, best: Address, index: Address, support: Address, y: Address });

pub const KERNELS: &[Signature] = &[Forward::SIGNATURE, Copy::SIGNATURE];

pub const SPEC: OpSpec = OpSpec {
    name: "nearest",
    summary: "for each row the support's of greatest cosine; constants",
    inputs: &[Operand::new("z", "[N,D]").constant(), Operand::new("support", "[K,D]").full().constant()],
    outputs: &[Operand::new("y", "[N,D]").full().constant()],
    defaults: || json!({}),
    record: |graph, _, t| graph.apply(Nearest, &[t.get("z")?, t.get("support")?]),
    reference: |_, t| {
        let (z, support) = (t.at("z"), t.at("support"));
        let unit: Vec<_> = (0..support.shape[0]).map(|j| normalized(support.row(j), 1e-12)).collect();
        let rows = (0..z.shape[0]).flat_map(|i| {
            let s = |j: &usize| z.row(i).iter().zip(&unit[*j]).map(|(a, b)| a * b).sum::<f64>();
            let best = (0..unit.len()).rev().max_by(|i, j| s(i).total_cmp(&s(j))).expect("a support");
            support.row(best).to_vec()
        });
        vec![Tensor64::new(z.shape.clone(), rows.collect())]
    },
    kernels: KERNELS,
    cases: || {
        let case = |name, n: usize, k: usize, d: usize| {
            Case::new(name, json!({})).input("z", [n, d]).input("support", [k, d])
        };
        vec![
            case("small", 5, 7, 8),
            case("batch_1", 1, 3, 33),
            case("several_tiles", 70, 300, 9),
            case("nnclr", 256, 65536, 256).bench_only(),
        ]
    },
};
