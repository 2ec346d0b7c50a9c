//! Optimisers: one node at the end of the step updates every parameter.

mod adamw;
mod ema;
mod fused;
mod lars;
mod launches;
mod schedule;
mod sgd;
mod table;

pub use ema::ema;
pub use schedule::Schedule;
pub use table::{ADAMW, EMA, LARS, SGD};

use crate::graph::{Gradients, Graph, Init, Kind, TensorId};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Which optimiser, and its settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Optimizer {
    /// `sgd`, `lars`, `adam` or `adamw`.
    pub name: String,
    /// Learning rate at a batch of 256; the peak is `lr × batch / 256`.
    pub lr: f32,
    pub momentum: f32,
    /// Not applied to one-dimensional parameters (biases, batch norm) unless `decay_all`.
    pub weight_decay: f32,
    pub decay_all: bool,
    /// LARS: the trust coefficient.
    pub eta: f32,
    /// LARS: never scale a learning rate up.
    pub clip: bool,
    /// Adam and AdamW.
    pub betas: [f32; 2],
    /// Adam and AdamW.
    pub eps: f32,
    pub warmup_epochs: f32,
    /// Learning rate the warm-up starts from.
    pub warmup_start: f32,
}

impl Default for Optimizer {
    fn default() -> Self {
        Self {
            name: "sgd".into(),
            lr: 0.12,
            momentum: 0.9,
            weight_decay: 5e-4,
            decay_all: false,
            eta: 0.02,
            clip: true,
            betas: [0.9, 0.999],
            eps: 1e-8,
            warmup_epochs: 0.0,
            warmup_start: 3e-5,
        }
    }
}

impl Optimizer {
    /// Records the update of every parameter that has a gradient. `schedule` \[2\] is the learning rate and the number of
    /// the step, from 1; at step 0 nothing is updated.
    pub fn record(&self, graph: &mut Graph, gradients: &Gradients, schedule: TensorId) -> Result<()> {
        self.record_some(graph, gradients, schedule, |_| true)
    }

    /// [`record`](Self::record) for the parameters whose names are `chosen`: groups, each with a schedule of its own.
    pub fn record_some(
        &self,
        graph: &mut Graph,
        gradients: &Gradients,
        schedule: TensorId,
        chosen: impl Fn(&str) -> bool,
    ) -> Result<()> {
        let mut params = graph.of_kind(Kind::Param);
        params.retain(|&p| chosen(&graph.info(p).name));
        let params: Vec<_> = params.into_iter().filter_map(|p| gradients.get(p).map(|g| (p, g))).collect();
        if params.is_empty() {
            return Err(Error::Graph("no parameter has a gradient".into()));
        }
        let states = match self.name.as_str() {
            "sgd" | "lars" => vec!["momentum"],
            "adam" | "adamw" => vec!["exp_avg", "exp_avg_sq"],
            other => {
                let what = format!("there is no optimiser `{other}`; there are sgd, lars, adam, adamw");
                return Err(Error::config("optimizer.name", what));
            }
        };
        let mut outputs: Vec<_> = params.iter().map(|(p, _)| *p).collect();
        for state in states {
            for (p, _) in &params {
                let info = graph.info(*p).clone();
                outputs.push(graph.state(&format!("{state}.{}", info.name), info.ty, Init::Zeros)?);
            }
        }
        let inputs: Vec<_> = std::iter::once(schedule).chain(params.iter().map(|(_, g)| *g)).collect();
        match self.name.as_str() {
            "sgd" => graph.update(sgd::Sgd(self.clone()), &inputs, &outputs),
            "lars" => graph.update(lars::Lars(self.clone()), &inputs, &outputs),
            name => {
                let adamw = adamw::AdamW { optimizer: self.clone(), decoupled: name == "adamw" };
                graph.update(adamw, &inputs, &outputs)
            }
        }
    }

    /// The weight decay of a parameter of that shape.
    fn decay(&self, shape: &[usize]) -> f32 {
        if shape.len() > 1 || self.decay_all { self.weight_decay } else { 0.0 }
    }
}
