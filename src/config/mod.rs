//! A run's configuration: preset, then command line, then `--set`, resolved to one TOML file that runs again.

mod presets;
mod request;

pub use presets::{PRESETS, Preset};
pub use request::{Facts, Request, differences};

use crate::augment::Policy;
use crate::nn::{Encoder, Projector};
use crate::optim::Optimizer;
use crate::ssl::{self, InputSpec};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

/// Everything that decides a run. Written to `config.toml`, complete, so that the file alone repeats it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub method: String,
    pub epochs: usize,
    /// Source images a step.
    pub batch: usize,
    pub seed: u64,
    /// `auto`, `cpu`, `vm` or `cuda:0`.
    pub device: String,
    /// `f32`, or `bf16` on GPUs.
    pub precision: String,
    pub data: Data,
    pub encoder: Encoder,
    pub projector: Projector,
    /// The method's own settings.
    pub loss: Table,
    pub optimizer: Optimizer,
    pub checkpoint: Checkpoint,
    pub eval: Eval,
    pub augment: Policy,
}

/// Which images.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// `embedded`, or a folder of IDX files, of CIFAR batches or of class folders.
    pub path: String,
    /// Pixels of a view, in height and width.
    pub size: usize,
    /// 1 (gray) or 3 (RGB).
    pub channels: usize,
    /// Unreadable files tolerated, as a share of the set.
    pub max_bad: f64,
    /// Where views are made on the device (not on the CPU), a set of pictures of one size lies there whole if it takes at most
    /// so many MiB, and half of a GPU's memory; of a larger one, each batch is sent.
    #[serde(default = "resident_mib")]
    pub resident_mib: usize,
    /// Where hashtags or places stand, for methods that learn from them; beside the images if empty.
    #[serde(default)]
    pub sidecar: String,
}

fn resident_mib() -> usize {
    8192
}

/// When to save, besides at the end of each epoch.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Checkpoint {
    /// Steps between checkpoints within an epoch; 0 for none.
    pub every_steps: u64,
}

/// How features are judged at the end of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Eval {
    /// Neighbours that vote.
    pub knn_k: usize,
    /// Temperature of their votes.
    pub knn_temperature: f32,
}

impl Default for Eval {
    fn default() -> Self {
        Self { knn_k: 200, knn_temperature: 0.1 }
    }
}

impl Config {
    /// A configuration from a complete table; a key too many or too few is an error that names it.
    pub fn from_table(table: Table) -> Result<Self> {
        let config: Self = table
            .try_into()
            .map_err(|e: toml::de::Error| Error::config("config", e.message().trim().to_string()))?;
        config.checked()
    }

    /// Reads a `config.toml`.
    pub fn read(path: &std::path::Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
        let config: Self = toml::from_str(&text).map_err(|e| Error::data(path, e.to_string()))?;
        config.checked()
    }

    /// The text of `config.toml`.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string_pretty(self).map_err(|e| Error::config("config", e.to_string()))
    }

    /// What decides how the method sees a sample.
    pub fn inputs(&self) -> InputSpec<'_> {
        InputSpec { augment: &self.augment, size: self.data.size, loss: &self.loss }
    }

    /// The configuration with the method's settings complete.
    fn checked(mut self) -> Result<Self> {
        let at_least_1 = [
            ("epochs", self.epochs),
            ("data.size", self.data.size),
            ("encoder.width", self.encoder.width),
            ("eval.knn_k", self.eval.knn_k),
        ];
        for (key, value) in at_least_1 {
            if value == 0 {
                return Err(Error::config(key, "must be at least 1"));
            }
        }
        if self.batch < 2 {
            return Err(Error::config("batch", format!("must be at least 2, but is {}", self.batch)));
        }
        if !matches!(self.data.channels, 1 | 3) {
            let what = format!("must be 1 (gray) or 3 (RGB), but is {}", self.data.channels);
            return Err(Error::config("data.channels", what));
        }
        if !(0.0..=1.0).contains(&self.data.max_bad) {
            return Err(Error::config("data.max_bad", "is a share of the files, from 0 to 1"));
        }
        let method = ssl::find(&self.method)?;
        self.loss = method.settings(&self.loss)?;
        method.inputs(&self.inputs())?;
        Ok(self)
    }
}

/// Puts `over` on top of `base`, table by table.
fn merge(base: &mut Table, over: &Table) {
    for (key, value) in over {
        match (base.get_mut(key), value) {
            (Some(Value::Table(base)), Value::Table(over)) => merge(base, over),
            _ => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

/// Sets a dotted key.
fn set(table: &mut Table, key: &str, value: Value) -> Result<()> {
    match key.split_once('.') {
        None => {
            table.insert(key.to_string(), value);
            Ok(())
        }
        Some((head, rest)) => match table.entry(head).or_insert_with(|| Value::Table(Table::new())) {
            Value::Table(inner) => set(inner, rest, value),
            _ => Err(Error::config(key, format!("`{head}` is a value, not a section"))),
        },
    }
}

/// A TOML value, or else a string without its quotes.
fn parse_value(text: &str) -> Value {
    toml::from_str::<Table>(&format!("v = {text}"))
        .ok()
        .and_then(|mut t| t.remove("v"))
        .unwrap_or_else(|| Value::String(text.to_string()))
}
