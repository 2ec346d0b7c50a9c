//! Published settings by name: the files of `presets/`.

use crate::{Error, Result};
use toml::Table;

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

presets!["fashion-mnist", "cifar-simclr", "lightly-cifar-simclr", "imagenet-simclr"];

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

    /// Its settings.
    pub fn table(&self) -> Result<Table> {
        let mut table: Table = self.text.parse().map_err(|e| Error::config(self.name, format!("{e}")))?;
        let policy = crate::augment::preset(self.name)?.policy();
        let policy = Table::try_from(policy).map_err(|e| Error::config(self.name, e.to_string()))?;
        table.insert("augment".into(), policy.into());
        Ok(table)
    }
}
