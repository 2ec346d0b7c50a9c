//! The features that are compared: of the trained encoder, of the same encoder untrained, and the pixels themselves.

use crate::cli::run::{About, Trained};
use anyhow::Result;
use rusa::data::Dataset;
use rusa::device::Device;
use rusa::eval::{Embedder, Features, Layer, raw_pixels};

/// The name of the encoder that is judged.
pub const TRAINED: &str = "trained";

/// Features of both splits.
pub struct Source {
    /// In tables.
    pub name: &'static str,
    /// In JSON.
    pub key: &'static str,
    /// No rows where no protocol asked for is trained.
    pub train: Features,
    pub test: Features,
}

/// All that are compared, the trained encoder's first.
#[derive(Default)]
pub struct Sources(Vec<Source>);

impl Sources {
    /// Embeds the test images with both encoders, and with `train` the training images too; with `with_pixels`
    /// the raw pixels stand beside them.
    pub fn embed(
        trained: &Trained,
        data: &Dataset,
        device: Device,
        train: bool,
        with_pixels: bool,
    ) -> Result<Self> {
        let about = &trained.about;
        let (size, channels) = (about.size, about.channels);
        let mut embedder =
            Embedder::new(&about.encoder, None, &Layer::Features, &about.augment, size, channels, device)?;
        let mut sources = Vec::new();
        for (name, key) in [(TRAINED, "pretrained"), ("untrained", "untrained")] {
            if name == TRAINED {
                embedder.load(&trained.state)?;
            } else {
                embedder.initialize(about.seed)?;
            }
            let test = embedder.embed(&data.test)?;
            let train = if train { embedder.embed(&data.train)? } else { test.select(&[]) };
            sources.push(Source { name, key, train, test });
        }
        if with_pixels {
            let [train, test] = pixels(about, data, train)?;
            sources.push(Source { name: "raw pixels", key: "raw_pixels", train, test });
        }
        Ok(Self(sources))
    }

    pub fn all(&self) -> &[Source] {
        &self.0
    }

    /// Without the raw pixels.
    pub fn of_encoders(&self) -> impl Iterator<Item = &Source> {
        self.0.iter().filter(|source| source.key != "raw_pixels")
    }
}

/// The raw pixels of both splits; of the training images only with `train`.
pub fn pixels(about: &About, data: &Dataset, train: bool) -> Result<[Features; 2]> {
    let of = |split| raw_pixels(split, &about.augment, about.size, about.channels);
    let test = of(&data.test)?;
    Ok([if train { of(&data.train)? } else { test.select(&[]) }, test])
}
