//! What several commands share: data, and the encoder of a run or a weight file.

use anyhow::{Context, Result};
use rusa::augment::Policy;
use rusa::config::Config;
use rusa::data::{self, Dataset, Options};
use rusa::nn::{Encoder, Projector};
use rusa::tensor::HostTensor;
use rusa::train::{Checkpoint, RunFolder, load_encoder};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::Path;

/// Opens a data set and shows what a user should know of it.
pub fn open_data(path: &str, options: &Options) -> Result<Dataset> {
    let data = data::open(path, options)?;
    for note in &data.notes {
        eprintln!("note: {note}");
    }
    Ok(data)
}

/// What `encoder.safetensors` says of itself: enough to rebuild the encoder and its input.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct About {
    pub encoder: Encoder,
    pub size: usize,
    pub channels: usize,
    pub augment: Policy,
    pub seed: u64,
}

impl About {
    /// Of a run.
    pub fn of(config: &Config) -> Self {
        Self {
            encoder: config.encoder.clone(),
            size: config.data.size,
            channels: config.data.channels,
            augment: config.augment.clone(),
            seed: config.seed,
        }
    }
}

/// An encoder with its weights, from a run folder or a weight file.
pub struct Trained {
    pub about: About,
    pub state: BTreeMap<String, HostTensor>,
    /// The configuration, if it was a run.
    pub config: Option<Config>,
}

impl Trained {
    /// The projector of a run, where it works on the encoder's features as they are. A weight file has none.
    pub fn projector(&self) -> Option<&Projector> {
        let weight = self.state.get("projector.0.weight")?;
        let fits = weight.shape.get(1).copied() == self.about.encoder.features().ok();
        self.config.as_ref().map(|config| &config.projector).filter(|_| fits)
    }

    /// `path` is a run folder, or an `encoder.safetensors` (ours, or torchvision's own under our metadata).
    pub fn open(path: &Path) -> Result<Self> {
        if path.is_dir() {
            let folder = RunFolder::new(path);
            let config = Config::read(&folder.config()).context("not a run folder")?;
            let state =
                Checkpoint::read(&folder.checkpoint()).context("the run has no checkpoint yet")?.tensors;
            return Ok(Self { about: About::of(&config), state, config: Some(config) });
        }
        let (state, about) = load_encoder(path)?;
        let about = about.with_context(|| {
            format!(
                "{} does not say which encoder it is; give a run folder or a file rusa wrote",
                path.display()
            )
        })?;
        let about = serde_json::from_value(about).with_context(|| format!("{}: metadata", path.display()))?;
        Ok(Self { about, state, config: None })
    }
}
