//! `rusa embed`.

use super::run::{Trained, open_data};
use super::say;
use anyhow::Result;
use rusa::data::{Options, Split};
use rusa::device::Device;
use rusa::eval::{Embedder, Layer};
use rusa::tensor::{HostTensor, write_tensors};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

/// Turn images into features: tensors `embeddings` [N,D] f32 and `labels` [N] i64, in data-set order.
#[derive(clap::Args)]
pub struct Arguments {
    /// A run folder, or its encoder.safetensors.
    #[arg(value_name = "WEIGHTS|RUN")]
    from: PathBuf,
    /// `embedded`, or a folder of images.
    #[arg(long, value_name = "PATH")]
    data: String,
    /// Which images: train, test, or all: in data-set order, a test split of the set's own behind the rest.
    #[arg(long, default_value = "all", value_parser = ["train", "test", "all"])]
    split: String,
    /// conv1, res2, res3, res4 or res5, averaged over the image; or projector.0, projector.1, …: the layers of a run's
    /// projector, each with its norm and ReLU. The encoder's output if not given.
    #[arg(long, value_name = "NAME")]
    layer: Option<String>,
    /// The file to write.
    #[arg(long, value_name = "F.safetensors")]
    out: PathBuf,
    /// auto, cpu, cuda (cuda:1, …) or vm (the PTX machine: slow, for study).
    #[arg(long, default_value = "auto")]
    device: String,
}

pub fn run(arguments: Arguments) -> Result<ExitCode> {
    let device = Device::parse(&arguments.device)?;
    let trained = Trained::open(&arguments.from)?;
    let about = &trained.about;
    let options = Options { channels: Some(about.channels), ..Options::default() };
    let data = open_data(&arguments.data, &options)?;
    let layer = arguments.layer.clone().map_or(Layer::Features, Layer::Named);
    let mut embedder = Embedder::of_layers(
        &about.encoder,
        trained.projector(),
        &[layer],
        &about.augment,
        about.size,
        about.channels,
        device,
    )?;
    embedder.load(&trained.state)?;

    let splits: Vec<&Split> = match arguments.split.as_str() {
        "train" => vec![&data.train],
        "test" => vec![&data.test],
        _ => vec![&data.train, &data.test],
    };
    let mut d = 0;
    let mut rows: Vec<(usize, i64, Vec<f32>)> = Vec::new();
    for split in splits {
        let features = embedder.embed(split)?;
        d = features.d;
        let one = |i: usize| (split.member(i), features.labels[i], features.row(i).to_vec());
        rows.extend((0..features.n).map(one));
    }
    if data.held_out {
        // Both splits come from one list of pictures: back into its order.
        rows.sort_by_key(|row| row.0);
    }
    let labels: Vec<i64> = rows.iter().map(|row| row.1).collect();
    let values: Vec<f32> = rows.into_iter().flat_map(|row| row.2).collect();
    let n = labels.len();
    let tensors = BTreeMap::from([
        ("embeddings".to_string(), HostTensor::f32([n, d], values)),
        ("labels".to_string(), HostTensor::i64([n], labels)),
    ]);
    write_tensors(&arguments.out, &tensors, &BTreeMap::new())?;
    say!("{n} embeddings of {d} features in {}", arguments.out.display());
    Ok(ExitCode::SUCCESS)
}
