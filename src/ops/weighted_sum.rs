//! weighted_sum: loss = Σ_i w_i x_i of scalars: the terms of an objective.

use super::table::{Case, OpSpec, Operand, Tensor64, parse};
use super::{Args, Op, checks};
use crate::device::launch::{Address, Launch, Operands, Parameters, Signature};
use crate::graph::Vjp;
use crate::kernel;
use crate::tensor::TensorType;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// x_0\[1\], x_1\[1\], … in f32, as many as weights → loss\[1\].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WeightedSum {
    pub weights: Vec<f32>,
}

impl Op for WeightedSum {
    fn name(&self) -> &'static str {
        "weighted_sum"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        let (k, weights) = (inputs.len(), self.weights.len());
        if k == 0 || k != weights {
            let what = format!("takes a scalar for each weight, at least one; got {k} and {weights} weights");
            return Err(Error::op(self.name(), what));
        }
        self.weights.iter().try_for_each(|&weight| checks::finite(self.name(), "weights", weight))?;
        let scalar = TensorType::f32([1]);
        inputs.iter().try_for_each(|x| x.expect(self.name(), "x", &scalar))?;
        Ok(vec![scalar])
    }

    fn cpu(&self, args: &Args) {
        let terms = self.weights.iter().enumerate().map(|(i, w)| w * args.f32(i)[0]);
        args.out(0)[0] = terms.sum();
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        let term = |(i, &weight): (usize, &f32)| {
            let (accumulate, x, y) = (u32::from(i > 0), on.input(i), on.output(0));
            Launch::new("weighted_sum_f32", 1, 32, Term { weight, accumulate, x, y })
        };
        Ok(self.weights.iter().enumerate().map(term).collect())
    }

    fn vjp(&self, vjp: &mut Vjp) -> Result<()> {
        let d_loss = vjp.grad(0)?;
        for (i, &weight) in self.weights.iter().enumerate() {
            if vjp.wants(i) {
                vjp.emit(Backward { weight }, &[d_loss], &[i])?;
            }
        }
        Ok(())
    }
}

/// d_x = w d_loss.
#[derive(Debug)]
struct Backward {
    weight: f32,
}

impl Op for Backward {
    fn name(&self) -> &'static str {
        "weighted_sum/bwd"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        Ok(inputs.to_vec())
    }

    fn cpu(&self, args: &Args) {
        let (d, accumulate) = (self.weight * args.f32(0)[0], args.accumulates(0));
        let out = args.out(0);
        out[0] = if accumulate { out[0] + d } else { d };
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        let (weight, accumulate, x, y) = (self.weight, on.accumulate(0), on.input(0), on.output(0));
        Ok(vec![Launch::new("weighted_sum_f32", 1, 32, Term { weight, accumulate, x, y })])
    }
}

kernel!(Term ["weighted_sum_f32"] { weight: f32, accumulate: u32, x: Address, y: Address });

pub const KERNELS: &[Signature] = &[Term::SIGNATURE];

pub const SPEC: OpSpec = OpSpec {
    name: "weighted_sum",
    summary: "Σ w x of scalars",
    inputs: &[
        Operand::new("a", "[1]").full(),
        Operand::new("b", "[1]").full().optional(),
        Operand::new("c", "[1]").full().optional(),
    ],
    outputs: &[Operand::new("loss", "[1]")],
    defaults: || json!(WeightedSum::default()),
    record: |graph, params, t| {
        let inputs: Vec<_> = ["a", "b", "c"].iter().filter_map(|name| t.optional(name)).collect();
        graph.apply(parse::<WeightedSum>("weighted_sum", params)?, &inputs)
    },
    reference: |params, t| {
        let sum = parse::<WeightedSum>("weighted_sum", params).expect("a case's parameters");
        let given = ["a", "b", "c"].iter().filter_map(|name| t.optional(name));
        let terms = given.zip(&sum.weights).map(|(x, &w)| f64::from(w) * x.data[0]);
        vec![Tensor64::scalar(terms.sum())]
    },
    kernels: KERNELS,
    cases: || {
        let case = |name, weights: &[f32]| Case::new(name, json!({"weights": weights})).input("a", [1]);
        vec![case("one", &[0.3]), case("three", &[25.0, -25.0, 1.0]).input("b", [1]).input("c", [1])]
    },
};
