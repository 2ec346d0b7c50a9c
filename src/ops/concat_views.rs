//! concat_views: y\[n, v·D + d\] = x\[v·N + n, d\], as `torch.cat(x.chunk(V), dim=1)`: an image's views side by side.

use super::copy::Blocks;
use super::table::{Case, OpSpec, Operand, Tensor64, parse};
use super::{Args, Op};
use crate::device::launch::{Launch, Operands};
use crate::graph::Vjp;
use crate::tensor::TensorType;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// x\[V·N,D\] → y\[N,V·D\].
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ConcatViews {
    /// V: view v of image n is row v·N + n.
    pub views: usize,
}

impl Default for ConcatViews {
    fn default() -> Self {
        Self { views: 2 }
    }
}

impl ConcatViews {
    /// From x\[rows,D\] to y.
    fn blocks(self, rows: usize, d: usize) -> Blocks {
        let (count, rows) = (self.views, rows / self.views);
        Blocks { count, rows, width: d, from_pitch: d, from_step: rows * d, to_pitch: count * d, to_step: d }
    }
}

impl Op for ConcatViews {
    fn name(&self) -> &'static str {
        "concat_views"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let [x] = inputs else {
            return Err(Error::op(self.name(), "takes one tensor"));
        };
        let ([rows, d], views) = (x.dims(self.name(), "x")?, self.views);
        if views == 0 || !rows.is_multiple_of(views) {
            return Err(Error::op(
                self.name(),
                format!("{rows} rows in {views} views: views must be at least 1 and divide the rows"),
            ));
        }
        Ok(vec![TensorType::new([rows / views, views * d], x.dtype)])
    }

    fn cpu(&self, args: &Args) {
        let [rows, d] = args.dims(0);
        self.blocks(rows, d).cpu(args.f32(0), args.out(0), false);
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        let [rows, d] = on.dims(0).map(|n| n as usize);
        Ok(vec![self.blocks(rows, d).launch(on, on.input(0), on.output(0))])
    }

    fn vjp(&self, vjp: &mut Vjp) -> Result<()> {
        let dy = vjp.grad(0)?;
        vjp.emit(ConcatViewsBackward(*self), &[dy], &[0])
    }
}

/// The inverse permutation.
#[derive(Debug)]
struct ConcatViewsBackward(ConcatViews);

impl ConcatViewsBackward {
    fn blocks(&self, n: usize, width: usize) -> Blocks {
        let views = self.0.views;
        self.0.blocks(n * views, width / views).inverse()
    }
}

impl Op for ConcatViewsBackward {
    fn name(&self) -> &'static str {
        "concat_views/bwd"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let ([n, width], views) = (inputs[0].dims(self.name(), "dy")?, self.0.views);
        Ok(vec![TensorType::new([n * views, width / views], inputs[0].dtype)])
    }

    fn cpu(&self, args: &Args) {
        let ([n, width], accumulate) = (args.dims(0), args.accumulates(0));
        self.blocks(n, width).cpu(args.f32(0), args.out(0), accumulate);
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        let [n, width] = on.dims(0).map(|n| n as usize);
        Ok(vec![self.blocks(n, width).launch(on, on.input(0), on.output(0))])
    }
}

pub const SPEC: OpSpec = OpSpec {
    name: "concat_views",
    summary: "the features of an image's views side by side",
    inputs: &[Operand::new("x", "[V·N,D]")],
    outputs: &[Operand::new("y", "[N,V·D]")],
    defaults: || json!(ConcatViews::default()),
    record: |graph, params, t| graph.apply(parse::<ConcatViews>("concat_views", params)?, &[t.get("x")?]),
    reference: |params, t| {
        let ConcatViews { views } = parse("concat_views", params).expect("a case's parameters");
        let x = t.at("x");
        let n = x.shape[0] / views;
        let data = (0..n).flat_map(|i| (0..views).flat_map(move |v| x.row(v * n + i).to_vec()));
        vec![Tensor64::new([n, views * x.shape[1]], data.collect())]
    },
    kernels: &[],
    cases: || {
        let case = |name, views: usize, n: usize, d: usize| {
            Case::new(name, json!({"views": views})).input("x", [views * n, d])
        };
        vec![
            case("two", 2, 5, 7),
            case("nine", 9, 3, 16),
            case("one_image", 4, 1, 33),
            case("patches", 9, 256, 512).bench_only(),
        ]
    },
};
