//! The second head of methods whose branches differ: it predicts one view's projection from the other's.

use super::layers::{Mode, batch_norm, linear};
use crate::graph::{Graph, TensorId};
use crate::{Error, Result};

/// linear, batch norm, ReLU, linear (Grill et al., BYOL, NeurIPS 2020; Chen & He, SimSiam, CVPR 2021).
#[derive(Clone, Copy, Debug)]
pub struct Predictor {
    pub hidden: usize,
    /// Batch norm behind the last layer too, as in MoCo v3.
    pub batch_norm_last: bool,
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
            let y = linear(graph, "3", x, d, !self.batch_norm_last)?;
            if self.batch_norm_last { batch_norm(graph, "4", y, None, false, mode) } else { Ok(y) }
        })
    }
}
