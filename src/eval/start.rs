//! Where training on labels starts: from pretrained weights, or from scratch.

use crate::device::Program;
use crate::graph::Kind;
use crate::tensor::HostTensor;
use crate::{Error, Result};
use std::collections::BTreeMap;

/// The scope of the encoder's tensors, as in a checkpoint.
pub const ENCODER: &str = "encoder.";

/// Fresh weights, statistics and momenta everywhere; then, if there are `weights`, the encoder's from these.
pub fn start(
    program: &mut dyn Program,
    weights: Option<&BTreeMap<String, HostTensor>>,
    seed: u64,
) -> Result<()> {
    program.initialize(seed)?;
    let Some(weights) = weights else { return Ok(()) };
    for kind in [Kind::Param, Kind::State] {
        for t in program.graph().of_kind(kind) {
            let info = program.graph().info(t).clone();
            if info.name.starts_with(ENCODER) {
                let tensor = weights
                    .get(&info.name)
                    .ok_or_else(|| Error::Graph(format!("no weights for `{}`", info.name)))?;
                tensor.ty().expect("weights", &info.name, &info.ty)?;
                program.write(t, tensor.bytes())?;
            }
        }
    }
    Ok(())
}
