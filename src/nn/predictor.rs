//! The second head of methods whose branches differ: it predicts one view's projection from the other's.

use super::layers::{Mode, batch_norm, linear};
use crate::graph::{Graph, TensorId};
use crate::{Error, Result};

/// linear, batch norm, ReLU, linear (Grill et al., BYOL, NeurIPS 2020; Chen & He, SimSiam, CVPR 2021).
#[derive(Clone, Copy, Debug)]
pub struct Predictor {
    pub hidden: usize,
}

impl Predictor {
    /// Records the head on projections \[N,D\], its parameters under `predictor.`.
    pub fn record(&self, graph: &mut Graph, z: TensorId, mode: Mode) -> Result<TensorId> {
        if self.hidden == 0 {
            return Err(Error::config("loss.predictor_hidden", "must be at least 1"));
        }
        let [_, d] = graph.ty(z).dims("predictor", "z")?;
        graph.scope("predictor", |graph| {
            let x = linear(graph, "0", z, self.hidden, false)?;
            let x = batch_norm(graph, "1", x, None, true, mode)?;
            linear(graph, "3", x, d, true)
        })
    }
}
