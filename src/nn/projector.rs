//! The head that a method's loss looks at; thrown away after pretraining.

use super::layers::{Mode, batch_norm, batch_norm_fixed, linear};
use crate::graph::{Graph, TensorId};
use crate::ops::relu::Relu;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// A multi-layer perceptron: `layers` linear layers, ReLU between them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Projector {
    /// Linear layers in all.
    pub layers: usize,
    /// Features of every layer but the last.
    pub hidden: usize,
    /// Features of the last.
    pub out: usize,
    /// Batch norm behind every layer but the last.
    pub batch_norm: bool,
    /// Batch norm behind the last too.
    pub batch_norm_last: bool,
    /// Whether the last one learns a scale and a shift (PyTorch's `affine`).
    pub affine_last: bool,
}

impl Default for Projector {
    /// Two layers, as in SimCLR.
    fn default() -> Self {
        Self {
            layers: 2,
            hidden: 512,
            out: 128,
            batch_norm: false,
            batch_norm_last: false,
            affine_last: true,
        }
    }
}

impl Projector {
    /// Records the head on features \[N,D\]; names count as in a `torch.nn.Sequential` (`projector.0.weight`, …).
    pub fn record(&self, graph: &mut Graph, x: TensorId, mode: Mode) -> Result<TensorId> {
        Ok(*self.record_layers(graph, x, mode)?.last().expect("at least one layer"))
    }

    /// As [`record`](Self::record), and gives every linear layer's output \[N,·\], behind its norm and ReLU, in order.
    pub fn record_layers(&self, graph: &mut Graph, x: TensorId, mode: Mode) -> Result<Vec<TensorId>> {
        if self.layers == 0 || self.hidden == 0 || self.out == 0 {
            return Err(Error::config("projector", "layers, hidden and out must be at least 1"));
        }
        graph.scope("projector", |graph| {
            let mut outputs = Vec::with_capacity(self.layers);
            let mut x = x;
            let mut index = 0;
            for layer in 0..self.layers {
                let last = layer + 1 == self.layers;
                let norm = if last { self.batch_norm_last } else { self.batch_norm };
                let features = if last { self.out } else { self.hidden };
                x = linear(graph, &index.to_string(), x, features, !norm)?;
                index += 1;
                if norm && last && !self.affine_last {
                    x = batch_norm_fixed(graph, &index.to_string(), x, mode)?;
                    index += 1;
                } else if norm {
                    x = batch_norm(graph, &index.to_string(), x, None, !last, mode)?;
                    index += 1;
                } else if !last {
                    x = graph.apply1(Relu, &[x])?;
                }
                index += usize::from(!last);
                outputs.push(x);
            }
            Ok(outputs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Kind;
    use crate::tensor::TensorType;

    #[test]
    fn a_last_norm_without_affine_has_nothing_to_train() {
        for (affine_last, learned) in [(true, true), (false, false)] {
            let head =
                Projector { layers: 1, out: 4, batch_norm_last: true, affine_last, ..Projector::default() };
            let mut graph = Graph::new();
            let x = graph.input("x", TensorType::f32([8, 6])).unwrap();
            head.record(&mut graph, x, Mode::Train).unwrap();
            let params = graph.of_kind(Kind::Param);
            let named = |name: &str| params.iter().any(|&p| graph.info(p).name == name);
            assert!(named("projector.0.weight"));
            assert_eq!(named("projector.1.weight"), learned);
            assert_eq!(named("projector.1.bias"), learned);
        }
    }
}
