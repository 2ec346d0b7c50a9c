//! vicreg: sim · mse(a, b) + Σ over both views of std/2 · mean_i max(0, 1 − √(var_i + eps)) + cov/D · Σ_{i≠j} C\[i,j\]².
//!
//! Bardes, Ponce & LeCun, "VICReg", ICLR 2022, as the authors' code and lightly's `VICRegLoss` have it. C is the unbiased
//! covariance of a view's columns, over N − 1, and var its diagonal. solo-learn sums the two views' variance terms
//! without the ½: its weight 25 is 50 here.

use super::center::{Center, centered};
use super::checks;
use super::matmul::MatMul;
use super::matrix_penalty::{Diagonal, MatrixPenalty};
use super::mse_loss::MseLoss;
use super::table::{Case, OpSpec, Operand, Tensor64, parse};
use super::weighted_sum::WeightedSum;
use super::widen::widened;
use crate::graph::{Graph, TensorId};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The weights of the three terms. a\[N,D\], b\[N,D\] → loss\[1\].
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Vicreg {
    /// Of invariance, the paper's λ.
    pub sim: f32,
    /// Of variance, the paper's μ.
    pub std: f32,
    /// Of covariance, the paper's ν.
    pub cov: f32,
    /// Added to variances.
    pub eps: f32,
}

impl Default for Vicreg {
    fn default() -> Self {
        Self { sim: 25.0, std: 25.0, cov: 1.0, eps: 1e-4 }
    }
}

impl Vicreg {
    /// Records the loss, in f32 whatever a and b are stored in.
    pub fn record(&self, graph: &mut Graph, a: TensorId, b: TensorId) -> Result<TensorId> {
        let [n, d] = graph.ty(a).dims("vicreg", "a")?;
        if n < 2 {
            return Err(Error::op("vicreg", "a batch of one has no variance; use a larger batch"));
        }
        for (name, weight) in [("sim", self.sim), ("std", self.std), ("cov", self.cov)] {
            checks::finite("vicreg", name, weight)?;
        }
        checks::not_negative("vicreg", "eps", self.eps)?;
        let (a, b) = (widened(graph, a)?, widened(graph, b)?);
        let mut terms = vec![graph.apply1(MseLoss, &[a, b])?];
        let penalty = MatrixPenalty {
            diagonal: Diagonal::Hinge { eps: self.eps },
            on_diagonal: self.std / (2 * d) as f32,
            off_diagonal: self.cov / d as f32,
        };
        for view in [a, b] {
            let covariance = covariance(graph, view)?.1;
            terms.push(graph.apply1(penalty, &[covariance])?);
        }
        graph.apply1(WeightedSum { weights: vec![self.sim, 1.0, 1.0] }, &terms)
    }
}

/// x\[N,D\] with columns centred, and their unbiased covariance \[D,D\].
pub(super) fn covariance(graph: &mut Graph, x: TensorId) -> Result<(TensorId, TensorId)> {
    let rows = graph.ty(x).shape[0];
    let x = graph.apply1(Center, &[x])?;
    // A product's two gradients go to one tensor, one after the other.
    Ok((x, graph.apply1(MatMul::tn(1.0 / (rows as f32 - 1.0)), &[x, x])?))
}

/// The same in f64, for references.
pub(super) fn covariance64(x: &Tensor64) -> (Tensor64, Tensor64) {
    let (x, [n, d]) = (centered(x), [x.shape[0], x.shape[1]]);
    let mut c = Tensor64::zeros([d, d]);
    for i in 0..d {
        for j in 0..d {
            c.data[i * d + j] = (0..n).map(|r| x.row(r)[i] * x.row(r)[j]).sum::<f64>() / (n as f64 - 1.0);
        }
    }
    (x, c)
}

pub const SPEC: OpSpec = OpSpec {
    name: "vicreg",
    summary: "invariance, variance and covariance of two views",
    inputs: &[Operand::new("a", "[N,D]"), Operand::new("b", "[N,D]")],
    outputs: &[Operand::new("loss", "[1]")],
    defaults: || json!(Vicreg::default()),
    record: |graph, params, t| {
        Ok(vec![parse::<Vicreg>("vicreg", params)?.record(graph, t.get("a")?, t.get("b")?)?])
    },
    reference: |params, t| {
        let p = parse::<Vicreg>("vicreg", params).expect("a case's parameters");
        let (a, b) = (t.at("a"), t.at("b"));
        let d = a.shape[1];
        let mse =
            a.data.iter().zip(&b.data).map(|(a, b)| (a - b) * (a - b)).sum::<f64>() / a.data.len() as f64;
        let mut loss = f64::from(p.sim) * mse;
        for view in [a, b] {
            let c = covariance64(view).1;
            for i in 0..d {
                let std = (c.row(i)[i] + f64::from(p.eps)).sqrt();
                loss += f64::from(p.std) * (1.0 - std).max(0.0) / (2 * d) as f64;
                let off = (0..d).filter(|&j| j != i).map(|j| c.row(i)[j].powi(2)).sum::<f64>();
                loss += f64::from(p.cov) * off / d as f64;
            }
        }
        vec![Tensor64::scalar(loss)]
    },
    kernels: &[],
    cases: || {
        let case =
            |name, params, n: usize, d: usize| Case::new(name, params).input("a", [n, d]).input("b", [n, d]);
        vec![
            case("small", json!({}), 5, 7),
            case("chunks", json!({"sim": 10.0, "cov": 3.0}), 33, 24),
            case("two_rows", json!({"std": 5.0}), 2, 3),
            case("projector", json!({}), 256, 512).bench_only(),
        ]
    },
};
