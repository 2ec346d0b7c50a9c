//! AdamW (Loshchilov & Hutter, ICLR 2019), as `torch.optim.AdamW`: weight decay acts on the parameter, not the gradient.
//!
//! p ← (1 − lr λ) p; m ← β₁ m + (1 − β₁) g; v ← β₂ v + (1 − β₂) g²; p ← p − lr m̂ / (√v̂ + eps), hats bias-corrected.

use super::{Optimizer, fused, launches};
use crate::Result;
use crate::device::launch::{Launch, Operands};
use crate::ops::{Args, Cost, Op, moved};
use crate::tensor::TensorType;

#[derive(Debug)]
pub struct AdamW(pub Optimizer);

impl Op for AdamW {
    fn name(&self) -> &'static str {
        "adamw"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        inputs[0].expect(self.name(), "schedule", &TensorType::f32([2]))?;
        Ok(fused::output_types(inputs, 2))
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let n: usize = inputs[1..].iter().map(TensorType::elements).sum();
        Cost { flops: 14 * n as u64, bytes: moved(inputs, outputs) + moved(&[], outputs) }
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        launches::adamw(on, &self.0)
    }

    fn cpu(&self, args: &Args) {
        let (lr, step) = fused::schedule(args);
        let ([b1, b2], eps) = (self.0.betas, self.0.eps);
        let correction = |b: f32| (1.0 - f64::from(b).powf(f64::from(step))) as f32;
        let (step_size, root) = (lr / correction(b1), correction(b2).sqrt());
        let parameters = fused::parameters::<2>(args);
        let decays: Vec<f32> = parameters.iter().map(|p| self.0.decay(p.shape)).collect();
        fused::for_each(parameters, &decays, |decay, p, g, [m, v]| {
            *p -= lr * decay * *p;
            *m += (1.0 - b1) * (g - *m);
            *v = b2 * *v + (1.0 - b2) * g * g;
            *p -= step_size * *m / (v.sqrt() / root + eps);
        });
    }
}
