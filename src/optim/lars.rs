//! LARS (You, Gitman & Ginsburg 2017): SGD whose gradient is scaled by η ‖p‖ / (‖g‖ + λ ‖p‖) for each tensor.
//!
//! With `clip` the scale is min(that / lr, 1), so that it bounds the learning rate instead of setting it. One-dimensional
//! parameters are neither scaled nor decayed; a tensor whose norm or gradient is zero takes the plain step.

use super::{Optimizer, fused, launches};
use crate::Result;
use crate::device::launch::{Launch, Operands};
use crate::ops::{Args, Cost, Op, moved};
use crate::tensor::TensorType;
use rayon::prelude::*;

/// Keeps the ratio finite.
const EPS: f64 = 1e-8;

#[derive(Debug)]
pub struct Lars(pub Optimizer);

impl Lars {
    /// Decay, and what the decayed gradient is scaled by.
    fn factors(&self, p: &fused::Parameter<1>, lr: f32) -> (f32, f32) {
        if p.shape.len() <= 1 {
            return (0.0, 1.0);
        }
        let norm = |v: &[f32]| v.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt();
        let (p_norm, g_norm) = (norm(p.value), norm(p.gradient));
        if p_norm == 0.0 || g_norm == 0.0 {
            return (0.0, 1.0);
        }
        let decay = self.0.weight_decay;
        let ratio = f64::from(self.0.eta) * p_norm / (g_norm + p_norm * f64::from(decay) + EPS);
        let scale = if self.0.clip { (ratio / f64::from(lr)).min(1.0) } else { ratio };
        (decay, scale as f32)
    }
}

impl Op for Lars {
    fn name(&self) -> &'static str {
        "lars"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        inputs[0].expect(self.name(), "schedule", &TensorType::f32([2]))?;
        Ok(fused::output_types(inputs, 1))
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let n: usize = inputs[1..].iter().map(TensorType::elements).sum();
        // Gradients and parameters are read once more for their norms.
        let bytes = moved(inputs, outputs) + moved(&[], outputs) + 8 * n as u64;
        Cost { flops: 11 * n as u64, bytes }
    }

    fn workspace(&self, inputs: &[TensorType]) -> usize {
        launches::rows(inputs) * 2 * size_of::<f64>()
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        launches::lars(on, &self.0)
    }

    fn cpu(&self, args: &Args) {
        let Some((lr, _)) = fused::schedule(args) else { return };
        let momentum = self.0.momentum;
        let parameters = fused::parameters::<1>(args);
        let factors: Vec<_> = parameters.par_iter().map(|p| self.factors(p, lr)).collect();
        fused::for_each(parameters, &factors, |(decay, scale), p, g, [v]| {
            *v = momentum * *v + scale * (g + decay * *p);
            *p -= lr * *v;
        });
    }
}
