//! gather: y\[n\] = x\[index\[n\]\], rows of a table that is no parameter, such as the memory bank of NPID (Wu et al., CVPR
//! 2018) and PIRL (Misra & van der Maaten, CVPR 2020).
//!
//! An index beyond the table gives a row of NaN, which training stops at: the shape rule cannot see values. `rusa op run`
//! can, and refuses it.

use super::table::{Case, Fill, OpSpec, Operand, Tensor64};
use super::{Args, Cost, Op, moved};
use crate::device::launch::{Address, Launch, Operands, Parameters, Signature};
use crate::graph::Vjp;
use crate::kernel;
use crate::tensor::{DType, TensorType};
use crate::{Error, Result};
use rayon::prelude::*;
use serde_json::json;

/// x\[M,D\] f32, index\[N\] u32 → y\[N,D\] f32. Constants: no gradient flows through.
#[derive(Clone, Copy, Debug)]
pub struct Gather;

impl Op for Gather {
    fn name(&self) -> &'static str {
        "gather"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let [x, index] = inputs else {
            return Err(Error::op(self.name(), "takes x and index"));
        };
        let [m, d] = x.dims(self.name(), "x")?;
        x.expect(self.name(), "x", &TensorType::f32([m, d]))?;
        let [n] = index.dims(self.name(), "index")?;
        index.expect(self.name(), "index", &TensorType::new([n], DType::U32))?;
        Ok(vec![TensorType::f32([n, d])])
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        // Of x, the rows that are asked for.
        Cost { flops: 0, bytes: moved(&inputs[1..], outputs) + moved(&[], outputs) }
    }

    fn cpu(&self, args: &Args) {
        let [_, d] = args.dims(0);
        let x = args.f32(0);
        args.out(0).par_chunks_mut(d).zip(args.u32(1)).for_each(|(y, &index)| {
            match x.chunks_exact(d).nth(index as usize) {
                Some(row) => y.copy_from_slice(row),
                None => y.fill(f32::NAN),
            }
        });
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        let ([m, d], [n]) = (on.dims(0), on.dims(1));
        let forward = Forward { m, n, d, x: on.input(0), index: on.input(1), y: on.output(0) };
        Ok(vec![Launch::new("gather_fwd_f32", n.div_ceil(4) as usize, 128, forward)])
    }

    /// What is looked up is a constant.
    fn vjp(&self, _: &mut Vjp) -> Result<()> {
        Ok(())
    }
}

kernel!(Forward ["gather_fwd_f32"] { m: u32, n: u32, d: u32, x: Address, index: Address, y: Address });

pub const KERNELS: &[Signature] = &[Forward::SIGNATURE];

pub const SPEC: OpSpec = OpSpec {
    name: "gather",
    summary: "rows of a table, by index; constants",
    inputs: &[
        Operand::new("x", "[M,D]").full().constant(),
        Operand::new("index", "[N]").of(DType::U32).index_of("x", 0),
    ],
    outputs: &[Operand::new("y", "[N,D]").full().constant()],
    defaults: || json!({}),
    record: |graph, _, t| graph.apply(Gather, &[t.get("x")?, t.get("index")?]),
    reference: |_, t| {
        let (x, index) = (t.at("x"), t.at("index"));
        let rows = index.data.iter().flat_map(|&i| x.row(i as usize).to_vec());
        vec![Tensor64::new([index.data.len(), x.shape[1]], rows.collect())]
    },
    kernels: KERNELS,
    cases: || {
        let case = |name, m: usize, d: usize, n: usize| {
            let index = TensorType::new([n], DType::U32);
            Case::new(name, json!({})).input("x", [m, d]).filled("index", index, Fill::Labels(m as u32))
        };
        vec![
            case("small", 7, 8, 5),
            case("odd", 11, 5, 33),
            case("batch_1", 3, 150, 1),
            case("bank", 1 << 20, 128, 256).bench_only(),
        ]
    },
};
