//! unit_rows: each row of a parameter is brought to Euclidean length 1, in place: SwAV's prototypes (Caron et al.,
//! NeurIPS 2020, appendix A.1).

use super::l2_normalize::{norm, normalized};
use super::table::{Case, OpSpec, Operand, Tensor64};
use super::{Args, Cost, Op, moved};
use crate::Result;
use crate::device::launch::{Address, Launch, Operands, Parameters};
use crate::graph::{Graph, TensorId};
use crate::kernel;
use crate::tensor::TensorType;
use rayon::prelude::*;
use serde_json::json;

/// Shorter rows are divided by this, so that a row of zeros stays one.
const EPS: f32 = 1e-12;

/// Records that each row of `weight`\[K,D\] f32 is divided by its length.
///
/// Where an optimiser moves the weight, record this after it: copies in a lower precision are made at the start of a
/// step, and so see rows of length 1.
pub fn unit_rows(graph: &mut Graph, weight: TensorId) -> Result<()> {
    let [k, d] = graph.ty(weight).dims("unit_rows", "weight")?;
    graph.update(UnitRows { shape: [k, d] }, &[], &[weight])
}

/// → weight\[K,D\], updated in place.
#[derive(Debug)]
struct UnitRows {
    shape: [usize; 2],
}

impl Op for UnitRows {
    fn name(&self) -> &'static str {
        "unit_rows"
    }

    fn infer(&self, _: &[TensorType]) -> Result<Vec<TensorType>> {
        Ok(vec![TensorType::f32(self.shape)])
    }

    fn cost(&self, _: &[TensorType], outputs: &[TensorType]) -> Cost {
        // Read and written.
        Cost { flops: 3 * outputs[0].elements() as u64, bytes: 2 * moved(&[], outputs) }
    }

    fn cpu(&self, args: &Args) {
        args.out(0).par_chunks_mut(self.shape[1]).for_each(|row| {
            let scale = 1.0 / norm(row, EPS);
            row.iter_mut().for_each(|w| *w *= scale);
        });
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        let [k, d] = self.shape;
        let rows = Rows { k: k as u32, d: d as u32, weight: on.output(0) };
        Ok(vec![Launch::new("unit_rows_f32", k.div_ceil(4), 128, rows)])
    }
}

kernel!(Rows ["unit_rows_f32"] { k: u32, d: u32, weight: Address });

pub const SPEC: OpSpec = OpSpec {
    name: "unit_rows",
    summary: "each row brought to length 1, in place",
    inputs: &[Operand::new("weight", "[K,D]").full().constant()],
    outputs: &[Operand::new("new_weight", "[K,D]").full().constant()],
    defaults: || json!({}),
    record: |graph, _, t| {
        let weight = t.get("weight")?;
        unit_rows(graph, weight)?;
        Ok(vec![weight])
    },
    reference: |_, t| {
        let weight = t.at("weight");
        let rows = (0..weight.shape[0]).flat_map(|i| normalized(weight.row(i), f64::from(EPS)));
        vec![Tensor64::new(weight.shape.clone(), rows.collect())]
    },
    kernels: &[Rows::SIGNATURE],
    cases: || {
        let case = |name, shape: [usize; 2]| Case::new(name, json!({})).input("weight", shape);
        vec![
            case("small", [5, 7]),
            case("one_row", [1, 150]),
            case("one_column", [9, 1]),
            case("prototypes", [3000, 128]).bench_only(),
        ]
    },
};
