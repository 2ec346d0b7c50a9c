//! barlow_twins: loss = scale · (Σ_i (1 − C\[i,i\])² + λ Σ_{i≠j} C\[i,j\]²), C = âᵀ b̂ / N.
//!
//! Zbontar et al., "Barlow Twins", ICML 2021, eq. 1 and 2, as the authors' code and solo-learn have it: the columns of â
//! and b̂ are standardised over the batch with the biased variance and eps, as `BatchNorm1d(affine=False)` does.

use super::batch_norm::standardize::Standardize;
use super::checks;
use super::matmul::MatMul;
use super::matrix_penalty::{Diagonal, MatrixPenalty};
use super::table::{Case, OpSpec, Operand, Tensor64, parse};
use super::widen::widened;
use crate::graph::{Graph, TensorId};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// a\[N,D\], b\[N,D\] → loss\[1\].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BarlowTwins {
    /// Weight of the off-diagonal terms.
    pub lambda: f32,
    /// Weight of the whole.
    pub scale: f32,
    /// Added to variances.
    pub eps: f32,
}

impl Default for BarlowTwins {
    fn default() -> Self {
        Self { lambda: 5e-3, scale: 1.0, eps: 1e-5 }
    }
}

impl BarlowTwins {
    /// Records the loss, in f32 whatever a and b are stored in.
    pub fn record(&self, graph: &mut Graph, a: TensorId, b: TensorId) -> Result<TensorId> {
        let [n, _] = graph.ty(a).dims("barlow_twins", "a")?;
        if n < 2 {
            return Err(Error::op("barlow_twins", "a batch of one has no variance; use a larger batch"));
        }
        graph.ty(b).expect("barlow_twins", "b", graph.ty(a))?;
        checks::finite("barlow_twins", "lambda", self.lambda)?;
        checks::finite("barlow_twins", "scale", self.scale)?;
        checks::not_negative("barlow_twins", "eps", self.eps)?;
        let mut standardized = [a, b];
        for view in &mut standardized {
            let wide = widened(graph, *view)?;
            *view = graph.apply1(Standardize { eps: self.eps }, &[wide])?;
        }
        let correlation = graph.apply1(MatMul::tn(1.0 / n as f32), &standardized)?;
        let penalty = MatrixPenalty {
            diagonal: Diagonal::ToOne,
            on_diagonal: self.scale,
            off_diagonal: self.scale * self.lambda,
        };
        graph.apply1(penalty, &[correlation])
    }
}

pub const SPEC: OpSpec = OpSpec {
    name: "barlow_twins",
    summary: "distance of the views' cross-correlation from the identity",
    inputs: &[Operand::new("a", "[N,D]"), Operand::new("b", "[N,D]")],
    outputs: &[Operand::new("loss", "[1]")],
    defaults: || json!(BarlowTwins::default()),
    record: |graph, params, t| {
        Ok(vec![parse::<BarlowTwins>("barlow_twins", params)?.record(graph, t.get("a")?, t.get("b")?)?])
    },
    reference: |params, t| {
        let p = parse::<BarlowTwins>("barlow_twins", params).expect("a case's parameters");
        let [n, d] = [t.at("a").shape[0], t.at("a").shape[1]];
        let standardized = |x: &Tensor64| {
            let mut x = super::center::centered(x);
            for j in 0..d {
                let var = (0..n).map(|i| x.row(i)[j].powi(2)).sum::<f64>() / n as f64;
                (0..n).for_each(|i| x.data[i * d + j] /= (var + f64::from(p.eps)).sqrt());
            }
            x
        };
        let (a, b) = (standardized(t.at("a")), standardized(t.at("b")));
        let mut loss = 0.0;
        for i in 0..d {
            for j in 0..d {
                let c = (0..n).map(|r| a.row(r)[i] * b.row(r)[j]).sum::<f64>() / n as f64;
                loss += if i == j { (1.0 - c).powi(2) } else { f64::from(p.lambda) * c * c };
            }
        }
        vec![Tensor64::scalar(f64::from(p.scale) * loss)]
    },
    kernels: &[],
    cases: || {
        let case =
            |name, params, n: usize, d: usize| Case::new(name, params).input("a", [n, d]).input("b", [n, d]);
        vec![
            case("small", json!({}), 5, 7),
            case("chunks", json!({"lambda": 0.5, "scale": 0.025}), 33, 24),
            case("projector", json!({}), 256, 512).bench_only(),
        ]
    },
};
