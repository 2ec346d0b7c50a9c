//! when_finite: y = x while gate\[1\] is finite, else a number that changes nothing.
//!
//! With the loss as the gate, a whole training step can be one sequence of launches, nothing of it waiting for the host:
//! optimisers do nothing at step 0, [`enqueue`](super::enqueue) neither, a moving average of momentum 1 stays, and a row
//! beyond the [memory bank](super::memory_bank) is not written. Weights are then still those of the last finite loss.

use super::table::{Case, Fill, OpSpec, Operand, parse};
use super::{Args, Op};
use crate::device::launch::{Address, Launch, Operands, Parameters, Signature};
use crate::graph::{Graph, TensorId, Vjp};
use crate::kernel;
use crate::tensor::{DType, TensorType};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Records y, of the shape and type of `x`, f32 or u32; `otherwise` is rounded to that type.
pub fn when_finite(graph: &mut Graph, gate: TensorId, x: TensorId, otherwise: f64) -> Result<TensorId> {
    let bits = match graph.ty(x).dtype {
        DType::U32 => otherwise as u32,
        _ => (otherwise as f32).to_bits(),
    };
    graph.apply1(WhenFinite { otherwise: bits }, &[gate, x])
}

/// gate\[1\], x → y. Constants: no gradient flows through.
#[derive(Debug)]
struct WhenFinite {
    /// The bits of an element.
    otherwise: u32,
}

impl Op for WhenFinite {
    fn name(&self) -> &'static str {
        "when_finite"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let [gate, x] = inputs else {
            return Err(Error::op(self.name(), "takes gate and x"));
        };
        gate.expect(self.name(), "gate", &TensorType::f32([1]))?;
        if !matches!(x.dtype, DType::F32 | DType::U32) {
            return Err(Error::op(self.name(), format!("x must be f32 or u32, but is {x}")));
        }
        Ok(vec![x.clone()])
    }

    fn cpu(&self, args: &Args) {
        let is_finite = args.f32(0)[0].is_finite();
        let choose = |bits: u32| if is_finite { bits } else { self.otherwise };
        if args.ty(1).dtype == DType::U32 {
            let y = args.all_outputs().flatten();
            y.zip(args.u32(1)).for_each(|(y, &x): (&mut u32, _)| *y = choose(x));
        } else {
            let y = args.out(0).iter_mut();
            y.zip(args.f32(1)).for_each(|(y, x)| *y = f32::from_bits(choose(x.to_bits())));
        }
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        let n = on.ty(1).elements();
        let (gate, x, y) = (on.input(0), on.input(1), on.output(0));
        let forward = Forward { n: n as u32, otherwise: self.otherwise, gate, x, y };
        Ok(vec![Launch::new("when_finite_f32", n.div_ceil(256), 256, forward)])
    }

    fn vjp(&self, _: &mut Vjp) -> Result<()> {
        Ok(())
    }
}

kernel!(Forward ["when_finite_f32"] { n: u32, otherwise: u32, gate: Address, x: Address, y: Address });

pub const KERNELS: &[Signature] = &[Forward::SIGNATURE];

/// The op's parameters.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    otherwise: f64,
}

pub const SPEC: OpSpec = OpSpec {
    name: "when_finite",
    summary: "x while a gate, such as the loss, is finite, else a number; constants",
    inputs: &[Operand::new("gate", "[1]").full().constant(), Operand::new("x", "[…]").full().constant()],
    outputs: &[Operand::new("y", "[…]").full().constant()],
    defaults: || json!(Settings::default()),
    record: |graph, params, t| {
        let (gate, Settings { otherwise }) = (t.get("gate")?, parse("when_finite", params)?);
        Ok(vec![when_finite(graph, gate, t.get("x")?, otherwise)?])
    },
    reference: |params, t| {
        let Settings { otherwise } = parse("when_finite", params).expect("a case's parameters");
        let mut y = t.at("x").clone();
        if !t.at("gate").data[0].is_finite() {
            y.data.fill(otherwise);
        }
        vec![y]
    },
    kernels: KERNELS,
    cases: || {
        let case = |name, params, gate: fn(usize) -> Vec<f32>, n: usize| {
            Case::new(name, params).filled("gate", TensorType::f32([1]), Fill::Given(gate)).input("x", [n])
        };
        vec![
            case("finite", json!({}), |_| vec![2.3], 2),
            case("infinite", json!({"otherwise": 1.5}), |_| vec![f32::INFINITY], 300),
            case("nan", json!({}), |_| vec![f32::NAN], 2),
            case("batch_1", json!({"otherwise": 1.0}), |_| vec![f32::NEG_INFINITY], 1),
            case("odd", json!({}), |_| vec![-1e38], 257),
        ]
    },
};
