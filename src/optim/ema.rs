//! ema: target ← m · target + (1 − m) · value, the moving average that teachers follow their students by (He et al.,
//! MoCo, CVPR 2020, eq. 2). m is an input, since it is scheduled.

use super::{fused, launches};
use crate::Result;
use crate::device::launch::{Launch, Operands};
use crate::graph::{Graph, TensorId};
use crate::ops::{Args, Cost, Op, moved};
use crate::tensor::TensorType;

/// momentum\[1\], values → targets, updated in place.
#[derive(Debug)]
pub struct Ema;

/// Records the update of each (target, value) pair, by a momentum\[1\].
pub fn ema(graph: &mut Graph, momentum: TensorId, pairs: &[(TensorId, TensorId)]) -> Result<()> {
    let inputs: Vec<_> = std::iter::once(momentum).chain(pairs.iter().map(|(_, value)| *value)).collect();
    let targets: Vec<_> = pairs.iter().map(|(target, _)| *target).collect();
    graph.update(Ema, &inputs, &targets)
}

impl Op for Ema {
    fn name(&self) -> &'static str {
        "ema"
    }

    fn infer(&self, inputs: &[TensorType]) -> Result<Vec<TensorType>> {
        inputs[0].expect(self.name(), "momentum", &TensorType::f32([1]))?;
        Ok(fused::output_types(inputs, 0))
    }

    fn cost(&self, inputs: &[TensorType], outputs: &[TensorType]) -> Cost {
        let n: usize = outputs.iter().map(TensorType::elements).sum();
        Cost { flops: 3 * n as u64, bytes: moved(inputs, outputs) + moved(&[], outputs) }
    }

    fn launches(&self, on: &Operands) -> Result<Vec<Launch>> {
        launches::ema(on)
    }

    fn cpu(&self, args: &Args) {
        let keep = args.f32(0)[0];
        // Not by arithmetic: 0 · NaN is NaN.
        if keep == 1.0 {
            return;
        }
        let parameters = fused::parameters::<0>(args);
        let factors = vec![keep; parameters.len()];
        fused::for_each(parameters, &factors, |keep, target, value, []| {
            *target = keep * *target + (1.0 - keep) * value;
        });
    }
}
