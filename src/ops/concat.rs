//! concat: y = a above b, as `torch.cat((a, b), dim=0)`.

use super::copy::Blocks;
use super::rows::Rows;
use super::table::{Case, OpSpec, Operand, Tensor64};
use super::{Args, Op};
use crate::device::launch::{Launch, Operands};
use crate::graph::Vjp;
use crate::tensor::TensorType;
use crate::{Error, Result};
use serde_json::json;

/// a\[N,D\], b\[M,D\] → y\[N + M,D\].
#[derive(Clone, Copy, Debug)]
pub struct Concat;

impl Op for Concat {
    fn name(&self) -> &'static str {
        "concat"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let [a, b] = inputs else {
            return Err(Error::op(self.name(), "takes a and b"));
        };
        let ([n, d], [m, _]) = (a.dims(self.name(), "a")?, b.dims::<2>(self.name(), "b")?);
        b.expect(self.name(), "b", &TensorType::new([m, d], a.dtype))?;
        Ok(vec![TensorType::new([n + m, d], a.dtype)])
    }

    fn cpu(&self, args: &Args) {
        let (a, b, y) = (args.f32(0), args.f32(1), args.out(0));
        Blocks::run(a.len()).cpu(a, y, false);
        Blocks::run(b.len()).cpu(b, &mut y[a.len()..], false);
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        let (a, b) = (on.ty(0), on.ty(1));
        Ok(vec![
            Blocks::run(a.elements()).launch(on, on.input(0), on.output(0)),
            Blocks::run(b.elements()).launch(on, on.input(1), on.output(0).plus(a.bytes())),
        ])
    }

    fn vjp(&self, vjp: &mut Vjp) -> Result<()> {
        let (dy, n) = (vjp.grad(0)?, vjp.ty(vjp.input(0)).shape[0]);
        let end = n + vjp.ty(vjp.input(1)).shape[0];
        for (input, from, to) in [(0, 0, n), (1, n, end)] {
            if vjp.wants(input) {
                vjp.emit(ConcatBackward(Rows { from, to }), &[dy], &[input])?;
            }
        }
        Ok(())
    }
}

/// The gradient of one part: its rows of dy, copied or added.
#[derive(Debug)]
struct ConcatBackward(Rows);

impl Op for ConcatBackward {
    fn name(&self) -> &'static str {
        "concat/bwd"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        self.0.infer(inputs)
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> super::Cost {
        self.0.cost(inputs, outputs)
    }

    fn cpu(&self, args: &Args) {
        let ([_, d], accumulate) = (args.dims(0), args.accumulates(0));
        let dx = args.out(0);
        Blocks::run(dx.len()).cpu(&args.f32(0)[self.0.from * d..], dx, accumulate);
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        self.0.launches(on)
    }
}

pub const SPEC: OpSpec = OpSpec {
    name: "concat",
    summary: "rows of a, then rows of b",
    inputs: &[Operand::new("a", "[N,D]"), Operand::new("b", "[M,D]")],
    outputs: &[Operand::new("y", "[N+M,D]")],
    defaults: || json!({}),
    record: |graph, _, t| graph.apply(Concat, &[t.get("a")?, t.get("b")?]),
    reference: |_, t| {
        let (a, b) = (t.at("a"), t.at("b"));
        let shape = [a.shape[0] + b.shape[0], a.shape[1]];
        vec![Tensor64::new(shape, [a.data.as_slice(), &b.data].concat())]
    },
    kernels: &[],
    cases: || {
        let case = |name, n: usize, m: usize, d: usize| {
            Case::new(name, json!({})).input("a", [n, d]).input("b", [m, d])
        };
        vec![
            case("small", 5, 3, 7),
            case("batch_1", 1, 1, 33),
            case("packs", 3, 2, 16),
            case("projector", 4096, 4096, 256).bench_only(),
        ]
    },
};
