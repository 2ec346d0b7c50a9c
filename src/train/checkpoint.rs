//! Saving and restoring: a run's whole state, and the encoder alone under torchvision's names.

use crate::device::Program;
use crate::tensor::{HostTensor, read_tensors, write_tensors};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// The one metadata key: several would be written in no fixed order.
const KEY: &str = "rusa";

/// Where a run stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Position {
    /// Steps done.
    pub step: u64,
    /// The epoch under way, from 0.
    pub epoch: usize,
    /// Batches of it done.
    pub batch: usize,
    /// Seconds spent in training so far.
    pub seconds: f64,
}

/// A run's state: weights, running statistics, optimiser state, position.
///
/// The order of samples and every view depend on seed, epoch and sample alone, so this is all a resumed run needs to go
/// on bit for bit.
pub struct Checkpoint {
    pub position: Position,
    pub tensors: BTreeMap<String, HostTensor>,
}

impl Checkpoint {
    /// Takes the program's state.
    pub fn of(program: &dyn Program, position: Position) -> Result<Self> {
        Ok(Self { position, tensors: program.state_dict()? })
    }

    pub fn write(&self, path: &Path) -> Result<()> {
        let position = serde_json::to_string(&self.position)
            .map_err(|e| Error::checkpoint(path, format!("cannot be written: {e}")))?;
        write_tensors(path, &self.tensors, &BTreeMap::from([(KEY.to_string(), position)]))
    }

    pub fn read(path: &Path) -> Result<Self> {
        let (tensors, metadata) = read_tensors(path)?;
        let position = metadata
            .get(KEY)
            .and_then(|text| serde_json::from_str(text).ok())
            .ok_or_else(|| Error::checkpoint(path, "is not a checkpoint of a run: it has no position"))?;
        Ok(Self { position, tensors })
    }

    /// Puts the state into a program.
    pub fn restore(&self, path: &Path, program: &mut dyn Program) -> Result<()> {
        program
            .load_state_dict(&self.tensors)
            .map_err(|e| Error::checkpoint(path, format!("does not fit this run's network: {e}")))
    }
}

/// What a program that has just been given another graph begins with: `old` values, and `fresh` ones for what is new in it.
pub fn carried_over(
    fresh: BTreeMap<String, HostTensor>,
    old: &BTreeMap<String, HostTensor>,
) -> BTreeMap<String, HostTensor> {
    let keep = |(name, value)| {
        let value = old.get(&name).cloned().unwrap_or(value);
        (name, value)
    };
    fresh.into_iter().map(keep).collect()
}

/// The prefix of the encoder's tensors within a training program.
const ENCODER: &str = "encoder.";

/// Writes the encoder's tensors out of a state dict, as torchvision names and lays them out: convolutions K C R S, and
/// `num_batches_tracked` beside each pair of running statistics.
pub fn export_encoder(
    path: &Path,
    state: &BTreeMap<String, HostTensor>,
    about: &serde_json::Value,
    steps: u64,
) -> Result<()> {
    let mut tensors = BTreeMap::new();
    for (name, tensor) in state {
        let Some(name) = name.strip_prefix(ENCODER) else { continue };
        if let Some(stem) = name.strip_suffix("running_mean") {
            let counter = HostTensor { shape: vec![], ..HostTensor::i64([1], vec![steps as i64]) };
            tensors.insert(format!("{stem}num_batches_tracked"), counter);
        }
        tensors.insert(name.to_string(), permuted(tensor, Border::Out));
    }
    write_tensors(path, &tensors, &BTreeMap::from([(KEY.to_string(), about.to_string())]))
}

/// Reads an encoder in torchvision's layout, ours or torchvision's own (`fc` is ignored). Returns a state dict under the
/// names of a training program, and what the file says about itself.
pub fn load_encoder(path: &Path) -> Result<(BTreeMap<String, HostTensor>, Option<serde_json::Value>)> {
    let (tensors, metadata) = read_tensors(path)?;
    let about = metadata.get(KEY).and_then(|text| serde_json::from_str(text).ok());
    let state = tensors
        .into_iter()
        .filter(|(name, _)| !name.starts_with("fc.") && !name.ends_with("num_batches_tracked"))
        .map(|(name, tensor)| (format!("{ENCODER}{name}"), permuted(&tensor, Border::In)))
        .collect();
    Ok((state, about))
}

#[derive(Clone, Copy, PartialEq)]
enum Border {
    /// K R S C to K C R S.
    Out,
    /// K C R S to K R S C.
    In,
}

fn permuted(tensor: &HostTensor, border: Border) -> HostTensor {
    let ([a, b, c, d], Some(from)) = (
        match tensor.shape[..] {
            [a, b, c, d] => [a, b, c, d],
            _ => return tensor.clone(),
        },
        tensor.as_f32(),
    ) else {
        return tensor.clone();
    };
    // Either way one axis moves past the two others: out, the last to the front; in, the first to the back.
    let (shape, (rows, cols)) = match border {
        Border::Out => ([a, d, b, c], (b * c, d)),
        Border::In => ([a, c, d, b], (b, c * d)),
    };
    let mut to = Vec::with_capacity(from.len());
    for matrix in from.chunks_exact((b * c * d).max(1)) {
        for col in 0..cols {
            to.extend((0..rows).map(|row| matrix[row * cols + col]));
        }
    }
    HostTensor::f32(shape, to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_cross_the_border_and_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("encoder.safetensors");
        // w[k,r,s,c] = its own index, K=2, R=2, S=3, C=5.
        let w = HostTensor::f32([2, 2, 3, 5], (0..60).map(|i| i as f32).collect());
        let mean = HostTensor::f32([2], vec![0.5, 1.5]);
        let state = BTreeMap::from([
            ("encoder.conv1.weight".to_string(), w.clone()),
            ("encoder.bn1.running_mean".to_string(), mean.clone()),
            ("projector.0.weight".to_string(), mean.clone()),
        ]);
        export_encoder(&path, &state, &serde_json::json!({"a": 1}), 7).unwrap();

        let (raw, _) = read_tensors(&path).unwrap();
        assert_eq!(
            raw.keys().collect::<Vec<_>>(),
            ["bn1.num_batches_tracked", "bn1.running_mean", "conv1.weight"]
        );
        assert_eq!(raw["conv1.weight"].shape, [2, 5, 2, 3]);
        // Torch's [k=1, c=2, r=1, s=0] is our [1, 1, 0, 2].
        assert_eq!(raw["conv1.weight"].as_f32().unwrap()[((5 + 2) * 2 + 1) * 3], 30.0 + 15.0 + 2.0);
        assert_eq!(raw["bn1.num_batches_tracked"].shape, [0usize; 0]);

        let (back, about) = load_encoder(&path).unwrap();
        assert_eq!(back["encoder.conv1.weight"], w);
        assert_eq!(back["encoder.bn1.running_mean"], mean);
        assert_eq!(about.unwrap()["a"], 1);
    }

    #[test]
    fn a_file_that_is_no_checkpoint_says_so() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.safetensors");
        let tensors = BTreeMap::from([("x".to_string(), HostTensor::f32([1], vec![1.0]))]);
        write_tensors(&path, &tensors, &BTreeMap::new()).unwrap();
        assert!(Checkpoint::read(&path).err().unwrap().to_string().contains("no position"));
    }
}
