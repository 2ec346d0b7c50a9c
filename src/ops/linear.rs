//! linear: y\[n,k\] = Σ_d x\[n,d\] w\[k,d\] + b\[k\]; x\[N,D\], w\[K,D\], b\[K\] optional. Three matrix products in all.

use super::table::{Case, OpSpec, Operand, Tensor64};
use super::{Args, Cost, Op, moved, splits};
use crate::device::launch::{Address, Launch, Operands, Parameters, Signature};
use crate::graph::{Graph, TensorId, Vjp};
use crate::kernel;
use crate::linalg::{Mat, gemm};
use crate::tensor::TensorType;
use crate::{Error, Result};
use serde_json::json;

/// The passes of the op.
#[derive(Clone, Copy, Debug)]
enum Linear {
    /// x, w, \[b\] → y
    Forward,
    /// dy, w → dx
    BackwardInput,
    /// dy, x → dw
    BackwardWeight,
    /// dy → db
    BackwardBias,
}

/// Records y = x wᵀ + b.
pub fn linear(graph: &mut Graph, x: TensorId, w: TensorId, b: Option<TensorId>) -> Result<TensorId> {
    let inputs: Vec<_> = [x, w].into_iter().chain(b).collect();
    graph.apply1(Linear::Forward, &inputs)
}

impl Op for Linear {
    fn name(&self) -> &'static str {
        match self {
            Self::Forward => "linear",
            Self::BackwardInput => "linear/bwd_input",
            Self::BackwardWeight => "linear/bwd_weight",
            Self::BackwardBias => "linear/bwd_bias",
        }
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let name = self.name();
        match (self, inputs) {
            (Self::Forward, [x, w, rest @ ..]) => {
                let [n, d] = x.dims(name, "x")?;
                let [k, d_w] = w.dims(name, "w")?;
                if d != d_w {
                    return Err(Error::op(name, format!("x is {x}, so w must be [K,{d}], but is {w}")));
                }
                w.expect(name, "w", &w.with(x.dtype))?;
                match rest {
                    [] => {}
                    [b] => b.expect(name, "b", &TensorType::f32([k]))?,
                    _ => return Err(Error::op(name, "takes x, w and optionally b")),
                }
                Ok(vec![TensorType::new([n, k], x.dtype)])
            }
            (Self::BackwardInput, [dy, w]) => Ok(vec![TensorType::new([dy.shape[0], w.shape[1]], dy.dtype)]),
            (Self::BackwardWeight, [dy, x]) => Ok(vec![TensorType::f32([dy.shape[1], x.shape[1]])]),
            (Self::BackwardBias, [dy]) => Ok(vec![TensorType::f32([dy.shape[1]])]),
            _ => Err(Error::op(name, "takes x, w and optionally b")),
        }
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let n = inputs[0].shape[0];
        let flops = match self {
            Self::Forward => 2 * n * inputs[1].elements(),
            Self::BackwardInput => 2 * n * inputs[1].elements(),
            Self::BackwardWeight => 2 * n * outputs[0].elements(),
            Self::BackwardBias => inputs[0].elements(),
        };
        Cost { flops: flops as u64, bytes: moved(inputs, outputs) }
    }

    fn cpu(&self, args: &Args) {
        let accumulate = args.accumulates(0);
        let out = args.out(0);
        let matrix = |i| {
            let [rows, cols] = args.dims(i);
            Mat::new(args.f32(i), rows, cols)
        };
        match self {
            Self::Forward => {
                let (x, w) = (matrix(0), matrix(1));
                let k = w.rows;
                if args.inputs() == 3 {
                    out.chunks_exact_mut(k).for_each(|row| row.copy_from_slice(args.f32(2)));
                }
                gemm(out, k, x, w.t(), 1.0, args.inputs() == 3, true);
            }
            Self::BackwardInput => {
                let (dy, w) = (matrix(0), matrix(1));
                gemm(out, w.cols, dy, w, 1.0, accumulate, true);
            }
            Self::BackwardWeight => {
                let (dy, x) = (matrix(0), matrix(1));
                gemm(out, x.cols, dy.t(), x, 1.0, accumulate, true);
            }
            Self::BackwardBias => {
                let dy = matrix(0);
                if !accumulate {
                    out.fill(0.0);
                }
                for row in dy.data.chunks_exact(dy.cols) {
                    out.iter_mut().zip(row).for_each(|(db, dy)| *db += dy);
                }
            }
        }
    }

    fn workspace(&self, inputs: &[TensorType]) -> usize {
        match self {
            Self::BackwardWeight => Parts::of_weight(inputs).workspace(),
            Self::BackwardBias => Parts::of_bias(&inputs[0]).workspace(),
            _ => 0,
        }
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        Ok(match self {
            Self::Forward => product_nt(on, 1.0),
            Self::BackwardInput => product_nn(on, 1.0),
            Self::BackwardWeight => product_tn(on, 1.0),
            Self::BackwardBias => column_sums(on),
        })
    }

    fn vjp(&self, vjp: &mut Vjp) -> Result<()> {
        let dy = vjp.grad(0)?;
        let (x, w) = (vjp.input(0), vjp.input(1));
        if vjp.wants(0) {
            vjp.emit(Self::BackwardInput, &[dy, w], &[0])?;
        }
        if vjp.wants(1) {
            vjp.emit(Self::BackwardWeight, &[dy, x], &[1])?;
        }
        if vjp.inputs() == 3 && vjp.wants(2) {
            vjp.emit(Self::BackwardBias, &[dy], &[2])?;
        }
        Ok(())
    }
}

kernel!(LinearForward [
    "linear_fwd_f32__direct", "linear_fwd_bf16__direct", "linear_fwd_f32__tiled", "linear_fwd_bf16__tiled",
    "linear_fwd_bf16__mma",
] { n: u32, d: u32, k: u32, accumulate: u32, scale: f32, x: Address, w: Address, b: Address, y: Address });

kernel!(LinearBackwardInput [
    "linear_bwd_input_f32__direct", "linear_bwd_input_bf16__direct", "linear_bwd_input_f32__tiled",
    "linear_bwd_input_bf16__tiled", "linear_bwd_input_bf16__mma",
] { n: u32, d: u32, k: u32, accumulate: u32, scale: f32, dy: Address, w: Address, dx: Address });

kernel!(LinearBackwardWeight [
    "linear_bwd_weight_f32__direct", "linear_bwd_weight_bf16__direct", "linear_bwd_weight_f32__tiled",
    "linear_bwd_weight_bf16__tiled", "linear_bwd_weight_bf16__mma",
] { n: u32, d: u32, k: u32, rows_per_split: u32, accumulate: u32, scale: f32, dy: Address, x: Address, dw: Address });

kernel!(LinearBackwardBias ["linear_bwd_bias_f32", "linear_bwd_bias_bf16"]
    { n: u32, k: u32, rows_per_split: u32, accumulate: u32, dy: Address, db: Address });

kernel!(LinearReduce ["linear_bwd_weight_f32__reduce"]
    { count: u32, splits: u32, accumulate: u32, parts: Address, sum: Address });

/// Entries of a product: f32, bf16 on tensor cores, bf16 where rows are no multiple of 16 bytes.
type Ladder = [&'static str; 3];
const FORWARD: Ladder = ["linear_fwd_f32__tiled", "linear_fwd_bf16__mma", "linear_fwd_bf16__tiled"];
const BACKWARD_INPUT: Ladder =
    ["linear_bwd_input_f32__tiled", "linear_bwd_input_bf16__mma", "linear_bwd_input_bf16__tiled"];
const BACKWARD_WEIGHT: Ladder =
    ["linear_bwd_weight_f32__tiled", "linear_bwd_weight_bf16__mma", "linear_bwd_weight_bf16__tiled"];

/// The entry for a result of `rows` by `columns`, with its grid and block.
fn product(
    on: &Operands,
    rows: u32,
    columns: u32,
    parts: usize,
    aligned: bool,
    [tiled, mma, unaligned]: Ladder,
) -> (&'static str, ([usize; 3], [u32; 3])) {
    let (entry, tile, block) = match (on.is_bf16(0), aligned) {
        (false, _) => (tiled, [64, 64], [128, 1, 1]),
        (true, true) => (mma, [128, 64], [128, 1, 1]),
        (true, false) => (unaligned, [64, 64], [128, 1, 1]),
    };
    (entry, ([columns.div_ceil(tile[1]) as usize, rows.div_ceil(tile[0]) as usize, parts], block))
}

/// scale · a bᵀ \[+ input 2\], in the inputs' type: a\[N,D\], b\[K,D\].
pub(super) fn product_nt(on: &Operands, scale: f32) -> Vec<Launch> {
    let ([n, d], [k, _]) = (on.dims(0), on.dims(1));
    let (entry, (grid, block)) = product(on, n, k, 1, d % 8 == 0, FORWARD);
    let (x, w, b, y) = (on.input(0), on.input(1), on.input(2), on.output(0));
    let accumulate = on.accumulate(0);
    vec![Launch::grid(entry, grid, block, LinearForward { n, d, k, accumulate, scale, x, w, b, y })]
}

/// scale · a b, in the inputs' type: a\[N,K\], b\[K,D\].
pub(super) fn product_nn(on: &Operands, scale: f32) -> Vec<Launch> {
    let ([n, k], [_, d]) = (on.dims(0), on.dims(1));
    let (entry, (grid, block)) = product(on, n, d, 1, d % 8 == 0 && k % 8 == 0, BACKWARD_INPUT);
    let (accumulate, dy, w, dx) = (on.accumulate(0), on.input(0), on.input(1), on.output(0));
    vec![Launch::grid(entry, grid, block, LinearBackwardInput { n, d, k, accumulate, scale, dy, w, dx })]
}

/// scale · aᵀ b, in f32: a\[N,K\], b\[N,D\]. Its workspace is [`product_tn_workspace`].
pub(super) fn product_tn(on: &Operands, scale: f32) -> Vec<Launch> {
    let ([n, k], [_, d]) = (on.dims(0), on.dims(1));
    let parts = Parts::of_weight(&[on.ty(0).clone(), on.ty(1).clone()]);
    let aligned = d % 8 == 0 && k % 8 == 0;
    let (entry, (grid, block)) = product(on, k, d, parts.count, aligned, BACKWARD_WEIGHT);
    let (accumulate, dw) = parts.target(on);
    let (rows_per_split, dy, x) = (parts.rows as u32, on.input(0), on.input(1));
    let sums = LinearBackwardWeight { n, d, k, rows_per_split, accumulate, scale, dy, x, dw };
    parts.and_reduce(on, Launch::grid(entry, grid, block, sums))
}

/// Bytes that [`product_tn`] wants.
pub(super) fn product_tn_workspace(inputs: &[TensorType]) -> usize {
    Parts::of_weight(inputs).workspace()
}

/// Σ_n x\[n,:\] in f32.
fn column_sums(on: &Operands) -> Vec<Launch> {
    let [n, k] = on.dims(0);
    let parts = Parts::of_bias(on.ty(0));
    let (accumulate, db) = parts.target(on);
    let (rows_per_split, dy) = (parts.rows as u32, on.input(0));
    let entry = on.pick(0, "linear_bwd_bias_f32", "linear_bwd_bias_bf16");
    let grid = [k.div_ceil(32) as usize, parts.count, 1];
    let sums = LinearBackwardBias { n, k, rows_per_split, accumulate, dy, db };
    parts.and_reduce(on, Launch::grid(entry, grid, [256, 1, 1], sums))
}

/// A sum over the batch in parts, added up by a second launch where there are several.
struct Parts {
    count: usize,
    /// Of the batch, a part.
    rows: usize,
    /// Elements of the result.
    elements: usize,
}

impl Parts {
    fn new(n: usize, elements: usize, tiles: usize, least: usize) -> Self {
        let rows = n.div_ceil(splits(tiles, n, least)).next_multiple_of(32);
        Self { count: n.div_ceil(rows), rows, elements }
    }

    fn of_weight(inputs: &[TensorType]) -> Self {
        let (n, k, d) = (inputs[0].shape[0], inputs[0].shape[1], inputs[1].shape[1]);
        Self::new(n, k * d, k.div_ceil(128) * d.div_ceil(64), 128)
    }

    fn of_bias(dy: &TensorType) -> Self {
        let (n, k) = (dy.shape[0], dy.shape[1]);
        Self::new(n, k, k.div_ceil(32), 256)
    }

    fn workspace(&self) -> usize {
        if self.count > 1 { self.count * self.elements * size_of::<f32>() } else { 0 }
    }

    /// Where the sums go, and whether they are added to what is there.
    fn target(&self, on: &Operands) -> (u32, Address) {
        if self.count > 1 { (0, on.workspace) } else { (on.accumulate(0), on.output(0)) }
    }

    fn and_reduce(&self, on: &Operands, sums: Launch) -> Vec<Launch> {
        if self.count == 1 {
            return vec![sums];
        }
        let reduce = LinearReduce {
            count: self.elements as u32,
            splits: self.count as u32,
            accumulate: on.accumulate(0),
            parts: on.workspace,
            sum: on.output(0),
        };
        let blocks = self.elements.div_ceil(1024);
        vec![sums, Launch::new("linear_bwd_weight_f32__reduce", blocks, 256, reduce)]
    }
}

pub const KERNELS: &[Signature] = &[
    LinearForward::SIGNATURE,
    LinearBackwardInput::SIGNATURE,
    LinearBackwardWeight::SIGNATURE,
    LinearBackwardBias::SIGNATURE,
    LinearReduce::SIGNATURE,
];

pub const SPEC: OpSpec = OpSpec {
    name: "linear",
    summary: "x wᵀ + b",
    inputs: &[
        Operand::new("x", "[N,D]"),
        Operand::new("w", "[K,D]").full(),
        Operand::new("b", "[K]").full().optional(),
    ],
    outputs: &[Operand::new("y", "[N,K]")],
    defaults: || json!({}),
    record: |graph, _, t| {
        let w = graph.reduced(t.get("w")?);
        Ok(vec![linear(graph, t.get("x")?, w, t.optional("b"))?])
    },
    reference: |_, t| {
        let (x, w) = (t.at("x"), t.at("w"));
        let (n, k) = (x.shape[0], w.shape[0]);
        let mut y = Tensor64::zeros([n, k]);
        for i in 0..n {
            for j in 0..k {
                let bias = t.optional("b").map_or(0.0, |b| b.data[j]);
                y.data[i * k + j] = bias + x.row(i).iter().zip(w.row(j)).map(|(a, b)| a * b).sum::<f64>();
            }
        }
        vec![y]
    },
    kernels: KERNELS,
    cases: || {
        let case = |name, n: usize, d: usize, k: usize| {
            Case::new(name, json!({})).input("x", [n, d]).input("w", [k, d]).input("b", [k])
        };
        vec![
            case("small", 3, 5, 7),
            case("batch_1", 1, 17, 33),
            case("chunks", 37, 40, 24),
            case("two_tiles", 130, 72, 136),
            case("batch_in_parts", 600, 8, 16),
            case("chunks_odd_outputs", 5, 16, 7),
            Case::new("no_bias", json!({})).input("x", [9, 6]).input("w", [4, 6]),
            case("projector", 512, 512, 512).bench_only(),
        ]
    },
};
