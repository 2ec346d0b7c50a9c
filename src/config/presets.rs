//! Published settings by name: the files of `presets/`.

use super::merge;
use crate::{Error, Result};
use toml::{Table, Value};

/// Settings for a whole run.
pub struct Preset {
    pub name: &'static str,
    text: &'static str,
}

macro_rules! presets {
    ($($name:literal),* $(,)?) => {
        /// Every preset.
        pub const PRESETS: &[Preset] =
            &[$(Preset { name: $name, text: include_str!(concat!("../../presets/", $name, ".toml")) }),*];
    };
}

presets![
    "fashion-mnist",
    "cifar-simclr",
    "cifar-moco-v2",
    "cifar-moco-v3",
    "cifar-nnclr",
    "cifar-byol",
    "cifar-simsiam",
    "cifar-dino",
    "cifar-barlow-twins",
    "cifar-vicreg",
    "cifar-w-mse",
    "cifar-swav",
    "cifar-swav-multicrop",
    "cifar-deepcluster-v2",
    "lightly-cifar-simclr",
    "lightly-cifar-moco",
    "lightly-cifar-byol",
    "lightly-cifar-simsiam",
    "lightly-cifar-barlow-twins",
    "lightly-cifar-swav",
    "google-cifar-simclr",
    "imagenet-simclr",
];

/// What each method wants otherwise than the presets' own.
const METHODS: &str = include_str!("../../presets/methods.toml");

impl Preset {
    /// The preset of that name, or an error that lists the names there are.
    pub fn find(name: &str) -> Result<&'static Self> {
        PRESETS.iter().find(|p| p.name == name).ok_or_else(|| {
            let names: Vec<_> = PRESETS.iter().map(|p| p.name).collect();
            Error::config("preset", format!("there is no preset `{name}`; there are {}", names.join(", ")))
        })
    }

    /// What it is, from the comment on its first line.
    pub fn summary(&self) -> &'static str {
        self.text.lines().next().unwrap_or_default().trim_start_matches(['#', ' '])
    }

    /// Its settings, and if `method` is not its own, what that one wants otherwise.
    pub fn table_for(&self, method: Option<&str>) -> Result<Table> {
        let mut table = self.table()?;
        let own = table.get("method").and_then(Value::as_str).unwrap_or_default().to_string();
        let Some(method) = method.filter(|&m| m != own) else { return Ok(table) };
        table.insert("method".into(), method.into());
        table.remove("loss");
        let wants: Table = METHODS.parse().map_err(|e| Error::config("methods.toml", format!("{e}")))?;
        if let Some(Value::Table(wants)) = wants.get(method) {
            merge(&mut table, wants);
        }
        Ok(table)
    }

    /// Its settings.
    pub fn table(&self) -> Result<Table> {
        let mut table: Table = self.text.parse().map_err(|e| Error::config(self.name, format!("{e}")))?;
        let policy = crate::augment::preset(self.name)?.policy();
        let policy = Table::try_from(policy).map_err(|e| Error::config(self.name, e.to_string()))?;
        table.insert("augment".into(), policy.into());
        Ok(table)
    }
}
