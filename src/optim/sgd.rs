//! SGD with momentum, as `torch.optim.SGD`: v ← μ v + (g + λ p); p ← p − lr v.

use super::{Optimizer, fused, launches};
use crate::Result;
use crate::device::launch::{Launch, Operands};
use crate::ops::{Args, Cost, Op, moved};
use crate::tensor::TensorType;

#[derive(Debug)]
pub struct Sgd(pub Optimizer);

impl Op for Sgd {
    fn name(&self) -> &'static str {
        "sgd"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        inputs[0].expect(self.name(), "schedule", &TensorType::f32([2]))?;
        Ok(fused::output_types(inputs, 1))
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let n: usize = inputs[1..].iter().map(TensorType::elements).sum();
        // Parameters and momentum are read and written.
        Cost { flops: 6 * n as u64, bytes: moved(inputs, outputs) + moved(&[], outputs) }
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        launches::sgd(on, &self.0)
    }

    fn cpu(&self, args: &Args) {
        let Some((lr, _)) = fused::schedule(args) else { return };
        let momentum = self.0.momentum;
        let parameters = fused::parameters::<1>(args);
        let decays: Vec<f32> = parameters.iter().map(|p| self.0.decay(p.shape)).collect();
        fused::for_each(parameters, &decays, |decay, p, g, [v]| {
            *v = momentum * *v + (g + decay * *p);
            *p -= lr * *v;
        });
    }
}
