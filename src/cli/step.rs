//! The arguments that name a training step without any data: `rusa plan` and `rusa bench step`.

use anyhow::Result;
use rusa::config::{Config, Facts, Request};
use rusa::device::Device;
use rusa::graph::Precision;
use toml::Table;

#[derive(clap::Args)]
pub struct StepArguments {
    /// resnet10, resnet18, resnet34 or resnet50.
    #[arg(long, default_value = "resnet18")]
    encoder: String,
    /// A method by name, or `all`: one beside the other.
    #[arg(long, default_value = "simclr")]
    pub method: String,
    /// Pixels of a view, in height and width.
    #[arg(long, default_value_t = 32)]
    image: usize,
    /// 1 (gray) or 3 (RGB).
    #[arg(long, default_value_t = 3)]
    channels: usize,
    /// Source images a step.
    #[arg(long, default_value_t = 256)]
    batch: usize,
    /// f32 or bf16.
    #[arg(long, default_value = "f32")]
    precision: String,
    /// auto, cpu, cuda (cuda:1, …) or vm.
    #[arg(long, default_value = "auto")]
    device: String,
    /// Published settings by name.
    #[arg(long)]
    preset: Option<String>,
    /// Any other setting, as in encoder.width=16.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    sets: Vec<String>,
}

impl StepArguments {
    pub fn config(&self) -> Result<Config> {
        self.config_of(&self.method)
    }

    /// The same step by another method.
    pub fn config_of(&self, method: &str) -> Result<Config> {
        let Self { encoder, image, channels, batch, preset, sets, device, precision, method: _ } = self;
        Device::parse(device)?.check(Precision::parse(precision)?)?;
        let flags: Table = format!(
            "device = {device:?}\nprecision = {precision:?}\nmethod = {method:?}\nbatch = {batch}\n[data]\npath = ''\nsize = {image}\nchannels = {channels}\n\
             [encoder]\nname = {encoder:?}"
        )
        .parse()?;
        let request = Request { preset: preset.clone(), file: Table::new(), flags, sets: sets.clone() };
        Ok(request.resolve(Facts { channels: *channels, side: Some(*image) })?)
    }
}
