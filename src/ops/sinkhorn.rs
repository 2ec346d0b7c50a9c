//! sinkhorn: SwAV's codes (Caron et al., NeurIPS 2020, section 3.1 and appendix A.1): samples shared out to prototypes
//! in equal parts, by Sinkhorn-Knopp on exp(scores / ε).
//!
//! The rows are those of the queue, if there is one, then the batch's; R of them. An iteration brings each prototype to
//! the same total over the rows, then each row to total 1. In log space, with z = scores / ε and from v = 0:
//! u\[k\] = −log Σ_r exp(z\[r,k\] + v\[r\]); v\[r\] = −log Σ_k exp(z\[r,k\] + u\[k\]);
//! and the assignments are exp(z + u + v). So no finite scores / ε overflow, where the authors' exp(scores / ε) does from
//! 88 on, and whatever else is the same: their factors of K and R cancel.
//!
//! With more prototypes than rows no prototype can have a whole row: each then has R/K < 1 of one, and rows still total 1.
//! That works, but codes are spread over many prototypes; hence SwAV's queue for small batches (section 3.1).

use super::soft_cross_entropy::max_sum_exp;
use super::table::{Case, OpSpec, Operand, Tensor64, parse};
use super::{Args, Cost, Op, checks, moved, splits};
use crate::device::launch::{Address, Launch, Operands, Parameters, Signature};
use crate::graph::Vjp;
use crate::kernel;
use crate::tensor::TensorType;
use crate::{Error, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Columns a task of the CPU kernel goes down side by side.
const CHUNK: usize = 64;
/// Rows a block goes down at least.
const PART_ROWS: usize = 64;

/// scores\[N,K\], optional queue_scores\[Q,K\] → assignments\[N,K\], f32 in every precision, rows of total 1. Constants:
/// no gradient flows through.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sinkhorn {
    /// Weight of the entropy, ε: the smaller, the closer codes are to one-hot.
    pub epsilon: f32,
    /// How often prototypes, then samples, are normalised; at least 1.
    pub iterations: usize,
}

impl Default for Sinkhorn {
    fn default() -> Self {
        Self { epsilon: 0.05, iterations: 3 }
    }
}

impl Op for Sinkhorn {
    fn name(&self) -> &'static str {
        "sinkhorn"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        checks::divisor(self.name(), "epsilon", self.epsilon)?;
        if self.iterations == 0 {
            return Err(Error::op(self.name(), "iterations must be at least 1, or rows do not total 1"));
        }
        let [scores, rest @ ..] = inputs else {
            return Err(Error::op(self.name(), "takes scores and optionally queue_scores"));
        };
        let [n, k] = scores.dims(self.name(), "scores")?;
        match rest {
            [] => {}
            [queue] => {
                let [q, _] = queue.dims(self.name(), "queue_scores")?;
                queue.expect(self.name(), "queue_scores", &TensorType::new([q, k], scores.dtype))?;
            }
            _ => return Err(Error::op(self.name(), "takes scores and optionally queue_scores")),
        }
        Ok(vec![TensorType::f32([n, k])])
    }

    /// Six operations an element on each walk, of which all but the last are over every row.
    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let all: usize = inputs.iter().map(TensorType::elements).sum();
        let walked = (2 * self.iterations - 1) * all + inputs[0].elements();
        Cost { flops: 6 * walked as u64, bytes: moved(inputs, outputs) }
    }

    /// u, v.
    fn scratch(&self, inputs: &[TensorType]) -> usize {
        inputs[0].shape[1] + inputs.iter().map(|t| t.shape[0]).sum::<usize>()
    }

    fn cpu(&self, args: &Args) {
        let ([_, k], scale) = (args.dims(0), 1.0 / self.epsilon);
        let scores = args.f32(0);
        let queue = if args.inputs() == 2 { args.f32(1) } else { &[] };
        let (u, v) = args.scratch().split_at_mut(k);
        v.fill(0.0);
        for iteration in 0..self.iterations {
            let rows = || queue.chunks_exact(k).chain(scores.chunks_exact(k)).zip(&*v);
            u.par_chunks_mut(CHUNK).enumerate().for_each(|(chunk, u)| {
                let first = chunk * CHUNK;
                let (mut max, mut sum) = ([f32::NEG_INFINITY; CHUNK], [0.0_f32; CHUNK]);
                for (row, v) in rows() {
                    for (max, s) in max.iter_mut().zip(&row[first..][..u.len()]) {
                        *max = max.max(scale * s + v);
                    }
                }
                for (row, v) in rows() {
                    for ((sum, max), s) in sum.iter_mut().zip(&max).zip(&row[first..][..u.len()]) {
                        *sum += (scale * s + v - max).exp();
                    }
                }
                for ((u, max), sum) in u.iter_mut().zip(max).zip(sum) {
                    *u = -(max + sum.ln());
                }
            });
            if iteration + 1 < self.iterations {
                let rows = queue.par_chunks(k).chain(scores.par_chunks(k));
                v.par_iter_mut().zip(rows).for_each(|(v, row)| {
                    let (max, sum) = max_sum_exp(row.iter().zip(&*u).map(|(s, u)| scale * s + u));
                    *v = -(max + sum.ln());
                });
            }
        }
        args.out(0).par_chunks_mut(k).zip(scores.par_chunks(k)).for_each(|(p, row)| {
            p.iter_mut().zip(row).zip(&*u).for_each(|((p, s), u)| *p = scale * s + u);
            let (max, sum) = max_sum_exp(p.iter().copied());
            p.iter_mut().for_each(|p| *p = (*p - max).exp() / sum);
        });
    }

    fn workspace(&self, inputs: &[TensorType]) -> usize {
        Walk::new(inputs).floats() * size_of::<f32>()
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        let ([n, k], scale) = (on.dims(0), 1.0 / self.epsilon);
        let types: Vec<_> = on.inputs.iter().map(|(_, ty)| ty.clone()).collect();
        let walk = Walk::new(&types);
        let (q, scores, queue) = (walk.rows as u32 - n, on.input(0), on.input(1));
        let (parts, rows_per_part) = (walk.parts as u32, walk.part_rows as u32);
        let u = on.workspace;
        let v = u.plus(4 * walk.columns);
        let max = v.plus(4 * walk.rows);
        let sum = max.plus(4 * walk.parts * walk.columns);
        let mut launches = Vec::with_capacity(3 * self.iterations);
        for iteration in 0..self.iterations {
            let v_before = if iteration == 0 { Address::NULL } else { v };
            let columns = Columns { q, n, k, rows_per_part, scale, queue, scores, v: v_before, max, sum };
            let entry = on.pick(0, "sinkhorn_columns_f32", "sinkhorn_columns_bf16");
            launches.push(Launch::grid(entry, [walk.tiles, walk.parts, 1], [256, 1, 1], columns));
            let finalize = Finalize { k, parts, max, sum, u };
            let blocks = walk.columns.div_ceil(256);
            launches.push(Launch::new("sinkhorn_columns_f32__finalize", blocks, 256, finalize));
            if iteration + 1 < self.iterations {
                let entry = on.pick(0, "sinkhorn_rows_f32", "sinkhorn_rows_bf16");
                let rows = Rows { q, n, k, scale, queue, scores, u, v };
                launches.push(Launch::new(entry, walk.rows, 256, rows));
            }
        }
        let entry = on.pick(0, "sinkhorn_assign_f32", "sinkhorn_assign_bf16");
        let assign = Assign { n, k, scale, scores, u, assignments: on.output(0) };
        launches.push(Launch::new(entry, n as usize, 256, assign));
        Ok(launches)
    }

    /// Codes are constants (the authors' `torch.no_grad`): what reaches them ends here.
    fn vjp(&self, _: &mut Vjp) -> Result<()> {
        Ok(())
    }
}

/// How blocks share the matrix when they go down its columns.
struct Walk {
    columns: usize,
    rows: usize,
    tiles: usize,
    parts: usize,
    part_rows: usize,
}

impl Walk {
    fn new(inputs: &[TensorType]) -> Self {
        let columns = inputs[0].shape[1];
        let rows: usize = inputs.iter().map(|t| t.shape[0]).sum();
        let pack = 16 / inputs[0].dtype.size();
        let tiles = columns.div_ceil(32 * if columns.is_multiple_of(pack) { pack } else { 1 });
        let part_rows = rows.div_ceil(splits(tiles, rows, PART_ROWS));
        Self { columns, rows, tiles, parts: rows.div_ceil(part_rows), part_rows }
    }

    /// u, v, and the maxima and sums of the parts.
    fn floats(&self) -> usize {
        self.columns + self.rows + 2 * self.parts * self.columns
    }
}

kernel!(Columns ["sinkhorn_columns_f32", "sinkhorn_columns_bf16"] {
    q: u32, n: u32, k: u32, rows_per_part: u32, scale: f32, queue: Address, scores: Address, v: Address,
    max: Address, sum: Address,
});

kernel!(Finalize ["sinkhorn_columns_f32__finalize"]
    { k: u32, parts: u32, max: Address, sum: Address, u: Address });

kernel!(Rows ["sinkhorn_rows_f32", "sinkhorn_rows_bf16"] {
    q: u32, n: u32, k: u32, scale: f32, queue: Address, scores: Address, u: Address, v: Address,
});

kernel!(Assign ["sinkhorn_assign_f32", "sinkhorn_assign_bf16"]
    { n: u32, k: u32, scale: f32, scores: Address, u: Address, assignments: Address });

pub const KERNELS: &[Signature] =
    &[Columns::SIGNATURE, Finalize::SIGNATURE, Rows::SIGNATURE, Assign::SIGNATURE];

pub const SPEC: OpSpec = OpSpec {
    name: "sinkhorn",
    summary: "SwAV's codes: rows shared out to columns in equal parts",
    inputs: &[
        Operand::new("scores", "[N,K]").constant(),
        Operand::new("queue_scores", "[Q,K]").optional().constant(),
    ],
    outputs: &[Operand::new("assignments", "[N,K]").full().constant()],
    defaults: || json!(Sinkhorn::default()),
    record: |graph, params, t| {
        let op: Sinkhorn = parse("sinkhorn", params)?;
        let inputs: Vec<_> = [t.get("scores")?].into_iter().chain(t.optional("queue_scores")).collect();
        graph.apply(op, &inputs)
    },
    // As the authors' code has it, without logarithms.
    reference: |params, t| {
        let op: Sinkhorn = parse("sinkhorn", params).expect("a case's parameters");
        let (scores, queue) = (t.at("scores"), t.optional("queue_scores"));
        let k = scores.shape[1];
        let all = queue.iter().flat_map(|queue| &queue.data).chain(&scores.data);
        let mut codes: Vec<f64> = all.map(|s| (s / f64::from(op.epsilon)).exp()).collect();
        for _ in 0..op.iterations {
            for column in 0..k {
                let sum: f64 = codes.iter().skip(column).step_by(k).sum();
                codes.iter_mut().skip(column).step_by(k).for_each(|code| *code /= sum);
            }
            for row in codes.chunks_exact_mut(k) {
                let sum: f64 = row.iter().sum();
                row.iter_mut().for_each(|code| *code /= sum);
            }
        }
        let batch = codes.split_off(codes.len() - scores.data.len());
        vec![Tensor64::new(scores.shape.clone(), batch)]
    },
    kernels: KERNELS,
    cases: || {
        let case = |name, n: usize, k: usize, epsilon: f32, iterations: usize| {
            Case::new(name, json!({"epsilon": epsilon, "iterations": iterations})).input("scores", [n, k])
        };
        vec![
            case("more_samples", 13, 5, 0.5, 3),
            case("more_prototypes", 4, 40, 0.3, 3),
            case("one_iteration", 7, 9, 0.25, 1),
            case("batch_1", 1, 3, 0.05, 2),
            case("queue", 9, 16, 0.5, 3).input("queue_scores", [150, 16]),
            case("queue_odd", 6, 37, 0.4, 4).input("queue_scores", [131, 37]),
            // exp of these is no f32.
            case("beyond_exp", 11, 24, 0.01, 3),
            case("wide", 3, 8 * 1031, 0.7, 2),
            case("swav", 256, 3000, 0.05, 3).input("queue_scores", [3840, 3000]).bench_only(),
        ]
    },
};
