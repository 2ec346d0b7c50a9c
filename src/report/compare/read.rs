//! What is known of a run, from the files in its folder.

use crate::report::html::number;
use crate::report::read_metrics;
use crate::train::RunFolder;
use crate::{Error, Result};
use serde_json::Value;
use std::path::Path;

/// Files a run folder may hold beside its own, and the command that writes each.
pub const EXTRAS: [(&str, &str); 3] = [
    ("layers.json", "rusa eval RUN --data PATH --layers --json RUN/layers.json"),
    ("diagnostics.json", "rusa diagnose RUN --data PATH --json RUN/diagnostics.json"),
    ("few.json", "rusa eval RUN --data PATH --few --json RUN/few.json"),
];

/// One run.
#[derive(Clone, Debug, Default)]
pub struct Run {
    /// Its folder, as given.
    pub folder: String,
    /// Contents of `summary.json`.
    pub summary: Value,
    /// Contents of `config.toml` without what does not tell methods apart: seed and device.
    pub config: String,
    /// (step, loss); not finite where the file had no number.
    pub losses: Vec<(f64, f64)>,
    /// The list `layers` of `layers.json`.
    pub layers: Option<Value>,
    /// The object `diagnostics` of `diagnostics.json`.
    pub diagnostics: Option<Value>,
    /// The list `few` of `few.json`.
    pub few: Option<Value>,
    /// Singular values of the held-out images' features.
    pub spectrum: Option<Vec<f64>>,
}

impl Run {
    /// Reads a run folder. Every error names the file at fault.
    pub fn read(path: &Path) -> Result<Self> {
        let folder = RunFolder::new(path);
        if !path.is_dir() {
            return Err(Error::data(path, "is no run folder; give folders that `rusa pretrain --out` wrote"));
        }
        let summary = json(&folder.summary())?.ok_or_else(|| {
            let what = "is missing: the run has not come to its end; finish it with `rusa pretrain --resume`";
            Error::data(folder.summary(), what)
        })?;
        if !summary.is_object() {
            return Err(Error::data(folder.summary(), "must hold a JSON object"));
        }
        if !summary["method"].is_string() {
            let what = "has no `method`: it is no summary of `rusa pretrain`; finish the run with `rusa pretrain --resume`";
            return Err(Error::data(folder.summary(), what));
        }
        let extra = |(file, command): (&str, &str)| -> Result<Option<Value>> {
            let (path, key) = (path.join(file), file.trim_end_matches(".json"));
            match json(&path)? {
                None => Ok(None),
                Some(mut value) => match value.get_mut(key).map(Value::take) {
                    Some(value) if value.is_array() || value.is_object() => Ok(Some(value)),
                    _ => Err(Error::data(path, format!("has no `{key}`; write it again: {command}"))),
                },
            }
        };
        let [layers, diagnostics, few] = EXTRAS.map(extra);
        let (layers, diagnostics, few) = (layers?, diagnostics?, few?);
        let spectrum = diagnostics.as_ref().and_then(|d| {
            let values = d.get("collapse")?.get("spectrum_of_features")?.as_array()?;
            Some(values.iter().filter_map(Value::as_f64).collect())
        });
        let losses = read_metrics(&folder)?
            .iter()
            .filter(|row| row.get("kind").and_then(Value::as_str) == Some("step"))
            .map(|row| (number(row, "step").unwrap_or(f64::NAN), number(row, "loss").unwrap_or(f64::NAN)))
            .collect();
        let folder_name = path.display().to_string();
        let config = config(&folder)?;
        Ok(Self { folder: folder_name, summary, config, losses, layers, diagnostics, few, spectrum })
    }
}

fn config(folder: &RunFolder) -> Result<String> {
    let text = match std::fs::read_to_string(folder.config()) {
        Ok(text) => text,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(String::new()),
        Err(e) => return Err(Error::io(folder.config(), e)),
    };
    let mut table: toml::Table =
        text.parse().map_err(|e: toml::de::Error| Error::data(folder.config(), e.message().to_string()))?;
    for key in ["seed", "device"] {
        table.remove(key);
    }
    Ok(table.to_string())
}

/// The JSON in a file; none if there is no such file.
fn json(path: &Path) -> Result<Option<Value>> {
    match std::fs::read_to_string(path) {
        Ok(text) => serde_json::from_str(&text)
            .map(Some)
            .map_err(|e| Error::data(path, format!("is not the JSON that rusa wrote: {e}"))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(Error::io(path, e)),
    }
}
