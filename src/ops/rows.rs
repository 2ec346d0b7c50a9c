//! rows: y = x\[from..to\], rows of the first axis, as `torch`'s `x[from:to]`.

use super::copy::{Blocks, zero};
use super::table::{Case, OpSpec, Operand, Tensor64, parse};
use super::{Args, Cost, Op};
use crate::device::launch::{Launch, Operands};
use crate::graph::Vjp;
use crate::tensor::TensorType;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// x\[N,…\] → y\[to − from,…\].
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rows {
    /// The first row.
    pub from: usize,
    /// The row after the last.
    pub to: usize,
}

impl Default for Rows {
    fn default() -> Self {
        Self { from: 0, to: 1 }
    }
}

/// Elements of one row.
fn row(ty: &TensorType) -> usize {
    ty.shape[1..].iter().product()
}

impl Op for Rows {
    fn name(&self) -> &'static str {
        "rows"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let [x] = inputs else {
            return Err(Error::op(self.name(), "takes one tensor"));
        };
        let Self { from, to } = *self;
        let n = *x.shape.first().ok_or_else(|| Error::op(self.name(), "x needs a first axis, has none"))?;
        if from >= to || to > n {
            return Err(Error::op(
                self.name(),
                format!("rows {from}..{to} of {n}: from must be less than to, and to at most {n}"),
            ));
        }
        if x.elements() == 0 {
            return Err(Error::op(self.name(), format!("x is {x}: its rows are empty")));
        }
        let mut y = x.clone();
        y.shape[0] = to - from;
        Ok(vec![y])
    }

    fn cost(&self, _: &[TensorType], outputs: &[TensorType]) -> Cost {
        // The other rows are not read.
        Cost { flops: 0, bytes: 2 * outputs[0].bytes() as u64 }
    }

    fn cpu(&self, args: &Args) {
        let row = row(args.ty(0));
        let y = args.out(0);
        Blocks::run(y.len()).cpu(&args.f32(0)[self.from * row..], y, false);
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        let (ty, row) = (on.ty(0), row(on.ty(0)));
        let from = on.input(0).plus(self.from * row * ty.dtype.size());
        Ok(vec![Blocks::run((self.to - self.from) * row).launch(on, from, on.output(0))])
    }

    fn vjp(&self, vjp: &mut Vjp) -> Result<()> {
        let (dy, n) = (vjp.grad(0)?, vjp.ty(vjp.input(0)).shape[0]);
        vjp.emit(RowsBackward { rows: *self, n }, &[dy], &[0])
    }
}

/// dx is dy in the range; zero elsewhere, or what is there.
#[derive(Debug)]
struct RowsBackward {
    rows: Rows,
    n: usize,
}

impl Op for RowsBackward {
    fn name(&self) -> &'static str {
        "rows/bwd"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let mut dx = inputs[0].clone();
        dx.shape[0] = self.n;
        Ok(vec![dx])
    }

    fn cpu(&self, args: &Args) {
        let (row, dy, accumulate) = (row(args.ty(0)), args.f32(0), args.accumulates(0));
        let dx = args.out(0);
        if !accumulate {
            dx[..self.rows.from * row].fill(0.0);
            dx[self.rows.to * row..].fill(0.0);
        }
        Blocks::run(dy.len()).cpu(dy, &mut dx[self.rows.from * row..], accumulate);
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        let (row, size, Rows { from, to }) = (row(on.ty(0)), on.ty(0).dtype.size(), self.rows);
        let at = |row_index: usize| on.output(0).plus(row_index * row * size);
        let mut launches = vec![Blocks::run((to - from) * row).launch(on, on.input(0), at(from))];
        if on.accumulate(0) == 0 {
            let around = [(0, from), (to, self.n)];
            let empty = around.into_iter().filter(|(first, end)| first < end);
            launches.extend(empty.map(|(first, end)| zero(on, (end - first) * row, at(first))));
        }
        Ok(launches)
    }
}

pub const SPEC: OpSpec = OpSpec {
    name: "rows",
    summary: "rows from..to of the first axis",
    inputs: &[Operand::new("x", "[N,…]")],
    outputs: &[Operand::new("y", "[to−from,…]")],
    defaults: || json!(Rows::default()),
    record: |graph, params, t| graph.apply(parse::<Rows>("rows", params)?, &[t.get("x")?]),
    reference: |params, t| {
        let (Rows { from, to }, x) = (parse("rows", params).expect("a case's parameters"), t.at("x"));
        let mut shape = x.shape.clone();
        shape[0] = to - from;
        vec![Tensor64::new(shape, (from..to).flat_map(|i| x.row(i).to_vec()).collect())]
    },
    kernels: &[],
    cases: || {
        let case = |name, from, to, shape: &[usize]| {
            Case::new(name, json!({"from": from, "to": to})).input("x", shape.to_vec())
        };
        vec![
            case("middle", 2, 5, &[7, 5]),
            case("first", 0, 2, &[3, 2, 3, 8]),
            case("last", 4, 5, &[5]),
            case("all", 0, 1, &[1, 16]),
            case("crops", 1024, 4096, &[4096, 256]).bench_only(),
        ]
    },
};
