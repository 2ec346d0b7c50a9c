//! memory_bank: one row an image, which moves a little towards the image's newest row whenever it comes up, in place:
//! NPID (Wu et al., CVPR 2018, section 3.2), PIRL (Misra & van der Maaten, CVPR 2020, section 3.3).

use super::l2_normalize::{norm, normalized};
use super::table::{Case, Fill, OpSpec, Operand, parse};
use super::{Args, Cost, Op, moved};
use crate::device::launch::{Address, Launch, Operands, Parameters};
use crate::graph::{Graph, TensorId};
use crate::kernel;
use crate::tensor::{DType, TensorType};
use crate::{Error, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Shorter rows are divided by this, so that a row of zeros stays one.
const EPS: f32 = 1e-12;

/// Records that bank\[i\] ← unit(momentum · bank\[i\] + (1 − momentum) · unit(rows\[n\])) for i = index\[n\].
///
/// `bank`\[K,D\] is an f32 state, `rows`\[N,D\] are f32 or bf16, `index`\[N\] is u32. Of rows for one place, as when a picture
/// stands in for one that could not be read, the last is taken. An index beyond the bank changes nothing;
/// [`gather`](super::gather) gives NaN for it, and `rusa op run` refuses it. Whatever reads the bank of the steps before must
/// be recorded before this.
pub fn remember(
    graph: &mut Graph,
    bank: TensorId,
    rows: TensorId,
    index: TensorId,
    momentum: f32,
) -> Result<()> {
    if !(0.0..=1.0).contains(&momentum) {
        return Err(Error::op("memory_bank", format!("momentum must be from 0 to 1, but is {momentum}")));
    }
    let shape = graph.ty(bank).dims("memory_bank", "bank")?;
    graph.update(Remember { shape, momentum }, &[rows, index], &[bank])
}

/// rows\[N,D\], index\[N\] → bank\[K,D\], updated in place.
#[derive(Debug)]
struct Remember {
    shape: [usize; 2],
    momentum: f32,
}

impl Op for Remember {
    fn name(&self) -> &'static str {
        "memory_bank"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let [rows, index] = inputs else {
            return Err(Error::op(self.name(), "takes rows and index"));
        };
        let [n, _] = rows.dims(self.name(), "rows")?;
        let dtype = if rows.dtype == DType::Bf16 { DType::Bf16 } else { DType::F32 };
        rows.expect(self.name(), "rows", &TensorType::new([n, self.shape[1]], dtype))?;
        index.expect(self.name(), "index", &TensorType::new([n], DType::U32))?;
        Ok(vec![TensorType::f32(self.shape)])
    }

    fn cost(&self, inputs: &[TensorType], _: &[TensorType]) -> Cost {
        // Of the bank, the batch's rows: read and written.
        let own = inputs[0].with(DType::F32);
        Cost { flops: 8 * own.elements() as u64, bytes: moved(inputs, &[own.clone(), own]) }
    }

    /// The new rows.
    fn scratch(&self, inputs: &[TensorType]) -> usize {
        inputs[0].elements()
    }

    fn cpu(&self, args: &Args) {
        let [k, d] = self.shape;
        let (bank, mixed) = (args.out(0), args.scratch());
        let inside = |index: &u32| (*index as usize) < k;
        let rows = mixed.par_chunks_mut(d).zip(args.f32(0).par_chunks(d)).zip(args.u32(1));
        rows.filter(|(_, index)| inside(index)).for_each(|((mixed, row), &index)| {
            let take = (1.0 - self.momentum) / norm(row, EPS);
            let old = &bank[index as usize * d..][..d];
            for ((mixed, old), x) in mixed.iter_mut().zip(old).zip(row) {
                *mixed = self.momentum * old + take * x;
            }
            let scale = 1.0 / norm(mixed, EPS);
            mixed.iter_mut().for_each(|x| *x *= scale);
        });
        // One after the other, so that of rows for one place the last stays.
        for (mixed, &index) in mixed.chunks_exact(d).zip(args.u32(1)).filter(|(_, index)| inside(index)) {
            bank[index as usize * d..][..d].copy_from_slice(mixed);
        }
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        let ([n, _], [k, d]) = (on.dims(0), self.shape.map(|n| n as u32));
        let (rows, index, bank) = (on.input(0), on.input(1), on.output(0));
        let rows = Rows { n, k, d, momentum: self.momentum, rows, index, bank };
        let entry = on.pick(0, "memory_bank_f32", "memory_bank_bf16");
        Ok(vec![Launch::new(entry, n.div_ceil(4) as usize, 128, rows)])
    }
}

kernel!(Rows ["memory_bank_f32", "memory_bank_bf16"] {
    n: u32, k: u32, d: u32, momentum: f32, rows: Address, index: Address, bank: Address,
});

/// The op's parameters.
#[derive(Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    momentum: f32,
}

impl Default for Settings {
    /// NPID's.
    fn default() -> Self {
        Self { momentum: 0.5 }
    }
}

pub const SPEC: OpSpec = OpSpec {
    name: "memory_bank",
    summary: "images' rows of a bank move towards their newest, in place, and back to length 1",
    inputs: &[
        Operand::new("rows", "[N,D]").constant(),
        Operand::new("index", "[N]").of(DType::U32).index_of("bank", 0),
        Operand::new("bank", "[K,D]").full().constant(),
    ],
    outputs: &[Operand::new("new_bank", "[K,D]").full().constant()],
    defaults: || json!(Settings::default()),
    record: |graph, params, t| {
        let (bank, Settings { momentum }) = (t.get("bank")?, parse("memory_bank", params)?);
        remember(graph, bank, t.get("rows")?, t.get("index")?, momentum)?;
        Ok(vec![bank])
    },
    reference: |params, t| {
        let Settings { momentum } = parse("memory_bank", params).expect("a case's parameters");
        let (rows, old, keep) = (t.at("rows"), t.at("bank"), f64::from(momentum));
        let mut bank = old.clone();
        let d = rows.shape[1];
        for (i, &index) in t.at("index").data.iter().enumerate() {
            let new = normalized(rows.row(i), f64::from(EPS));
            let mixed: Vec<f64> = old
                .row(index as usize)
                .iter()
                .zip(new)
                .map(|(old, new)| keep * old + (1.0 - keep) * new)
                .collect();
            bank.data[index as usize * d..][..d].copy_from_slice(&normalized(&mixed, f64::from(EPS)));
        }
        vec![bank]
    },
    kernels: &[Rows::SIGNATURE],
    cases: || {
        let case = |name, params, n: usize, k: usize, d: usize| {
            let index = TensorType::new([n], DType::U32);
            Case::new(name, params)
                .input("rows", [n, d])
                .filled("index", index, Fill::Places(k as u32))
                .input("bank", [k, d])
        };
        vec![
            case("small", json!({}), 5, 9, 8),
            case("odd", json!({"momentum": 0.9}), 13, 31, 33),
            case("whole_bank", json!({"momentum": 0.25}), 7, 7, 5),
            case("batch_1", json!({}), 1, 3, 150),
            case("replaces", json!({"momentum": 0.0}), 4, 6, 3),
            Case::new("repeats", json!({}))
                .input("rows", [40, 12])
                .filled("index", TensorType::new([40], DType::U32), Fill::Labels(9))
                .input("bank", [9, 12]),
            case("bank", json!({}), 256, 1 << 20, 128).bench_only(),
        ]
    },
};
