//! whiten: y\[n,:\] = L⁻¹ (x\[n,:\] − mean), L Lᵀ = (1 − eps) C + eps I, C the batch's unbiased covariance.
//!
//! W-MSE: Ermolov et al., "Whitening for Self-Supervised Representation Learning", ICML 2021, sec. 3.2, with the shrunk
//! covariance of the authors' and solo-learn's `Whitening2d`, whose eps is 0. The covariance of N rows has rank N − 1 at
//! most, so N must exceed D; where it is singular nevertheless, y is NaN, which training stops at, or noise.

use super::inverse_cholesky::{InverseCholesky, inverse_cholesky64};
use super::matmul::MatMul;
use super::table::{Case, OpSpec, Operand, Tensor64, parse};
use super::vicreg::{covariance, covariance64};
use super::widen::widened;
use crate::graph::{Graph, TensorId};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::json;

/// x\[N,D\] → y\[N,D\] in f32, whose columns have covariance I where eps is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Whiten {
    /// How far the covariance is moved to the identity, 0 to 1.
    pub eps: f32,
}

impl Whiten {
    /// Records the op. y is f32 whatever x is stored in.
    pub fn record(&self, graph: &mut Graph, x: TensorId) -> Result<TensorId> {
        let [n, d] = graph.ty(x).dims("whiten", "x")?;
        if n <= d {
            let what =
                format!("x is [{n},{d}], whose covariance has no inverse; use a batch of more than {d}");
            return Err(Error::op("whiten", what));
        }
        if !(0.0..=1.0).contains(&self.eps) {
            return Err(Error::op("whiten", format!("eps must be from 0 to 1, but is {}", self.eps)));
        }
        let x = widened(graph, x)?;
        let (centered, covariance) = covariance(graph, x)?;
        let w = graph.apply1(InverseCholesky { eps: self.eps }, &[covariance])?;
        graph.apply1(MatMul::nt(1.0), &[centered, w])
    }
}

pub const SPEC: OpSpec = OpSpec {
    name: "whiten",
    summary: "columns with covariance I, by Cholesky",
    inputs: &[Operand::new("x", "[N,D]")],
    outputs: &[Operand::new("y", "[N,D]")],
    defaults: || json!(Whiten::default()),
    record: |graph, params, t| Ok(vec![parse::<Whiten>("whiten", params)?.record(graph, t.get("x")?)?]),
    reference: |params, t| {
        let eps = f64::from(parse::<Whiten>("whiten", params).expect("a case's parameters").eps);
        let (x, c) = covariance64(t.at("x"));
        let [n, d] = [x.shape[0], x.shape[1]];
        let w = Tensor64::new([d, d], inverse_cholesky64(&c.data, d, eps));
        let row = |i: usize| {
            (0..d).map(|j| w.row(j).iter().zip(x.row(i)).map(|(w, x)| w * x).sum::<f64>()).collect()
        };
        let rows: Vec<Vec<f64>> = (0..n).map(row).collect();
        vec![Tensor64::new([n, d], rows.concat())]
    },
    kernels: &[],
    cases: || {
        let case = |name, params, shape: [usize; 2]| Case::new(name, params).input("x", shape);
        vec![
            case("small", json!({}), [23, 5]),
            case("shrunk", json!({"eps": 0.1}), [11, 7]),
            case("chunks", json!({}), [96, 24]),
            case("one_column", json!({}), [4, 1]),
            case("projector", json!({}), [256, 128]).bench_only(),
        ]
    },
};
