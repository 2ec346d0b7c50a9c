//! From what a user asked for to a complete configuration.

use super::{Config, Preset, merge, parse_value, set};
use crate::data::{Dataset, Options};
use crate::{Error, Result};
use toml::{Table, Value};

/// Images of at most this many pixels a side are taken whole, and get the small stem.
const SMALL: usize = 64;

/// What a configuration takes from the images themselves.
#[derive(Clone, Copy, Debug)]
pub struct Facts {
    pub channels: usize,
    /// The longer side, if all images have the same size.
    pub side: Option<usize>,
}

impl Facts {
    pub fn of(data: &Dataset) -> Self {
        Self { channels: data.channels, side: data.train.uniform_size().map(|[h, w]| h.max(w)) }
    }
}

/// What a user asked for: each layer wins over the one before.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// By name; chosen from the data if none is given.
    pub preset: Option<String>,
    /// A configuration file.
    pub file: Table,
    /// Command-line flags.
    pub flags: Table,
    /// `key=value` pairs.
    pub sets: Vec<String>,
}

impl Request {
    /// What the user said, merged, without presets and defaults.
    fn said(&self) -> Result<Table> {
        let mut table = self.file.clone();
        merge(&mut table, &self.flags);
        for pair in &self.sets {
            let (key, value) = pair.split_once('=').ok_or_else(|| {
                Error::config(pair, "give --set as key=value, as in --set encoder.width=16")
            })?;
            set(&mut table, key.trim(), parse_value(value.trim()))?;
        }
        Ok(table)
    }

    /// The data set's path and how to read it: needed before the rest can be resolved.
    pub fn data(&self) -> Result<(String, Options)> {
        let said = self.said()?;
        let data = said.get("data").and_then(Value::as_table).cloned().unwrap_or_default();
        let path = match data.get("path") {
            Some(Value::String(path)) => path.clone(),
            Some(_) => return Err(Error::config("data.path", "must be a text")),
            None => {
                return Err(Error::config("data.path", "say which images: --data PATH, or --data embedded"));
            }
        };
        let mut options = Options::default();
        if let Some(channels) = data.get("channels") {
            let what =
                || Error::config("data.channels", format!("must be 1 (gray) or 3 (RGB), but is {channels}"));
            let channels = channels.as_integer().and_then(|c| usize::try_from(c).ok()).ok_or_else(what)?;
            options.channels = Some(channels);
        }
        if let Some(max_bad) = data.get("max_bad") {
            let what = || Error::config("data.max_bad", "is a share of the files, from 0 to 1");
            options.max_bad =
                max_bad.as_float().or(max_bad.as_integer().map(|i| i as f64)).ok_or_else(what)?;
        }
        Ok((path, options))
    }

    /// Everything, with what was not said taken from the preset and from the data.
    pub fn resolve(&self, data: Facts) -> Result<Config> {
        let said = self.said()?;
        let side = data.side.map_or(SMALL, |side| side.min(SMALL));
        let method = said.get("method").and_then(Value::as_str);
        let preset = match &self.preset {
            Some(name) => Preset::find(name)?,
            None if data.channels == 1 && side <= 32 => Preset::find("fashion-mnist")?,
            None => {
                let published = method.and_then(|m| Preset::find(&format!("lightly-cifar-{m}")).ok());
                published.map_or_else(|| Preset::find("lightly-cifar-simclr"), Ok)?
            }
        };
        let mut preset = preset.table_for(method)?;
        let says = |section: &str, key: &str| said.get(section).is_some_and(|s| s.get(key).is_some());
        if says("encoder", "name")
            && let Some(Value::Table(encoder)) = preset.get_mut("encoder")
        {
            // An encoder asked for by name is torchvision's, not the preset's narrower or wider one.
            encoder.clear();
        }

        let mut table = defaults(data, side)?;
        merge(&mut table, &preset);
        merge(&mut table, &said);
        let size = table["data"].get("size").and_then(Value::as_integer).unwrap_or(0);
        if let Some(Value::Table(encoder)) = table.get_mut("encoder") {
            let stem = if size <= SMALL as i64 { "small" } else { "imagenet" };
            encoder.entry("stem").or_insert_with(|| stem.into());
        }
        Config::from_table(table)
    }
}

/// What the data decides, and what nothing else does.
fn defaults(data: Facts, side: usize) -> Result<Table> {
    let text = format!(
        "method = 'simclr'\nepochs = 10\nbatch = 256\nseed = 0\ndevice = 'auto'\nprecision = 'f32'\n\
         [data]\nsize = {side}\nchannels = {}\nmax_bad = 0.01\n\
         [encoder]\nname = 'resnet18'\n[projector]\n[loss]\n[optimizer]\n[checkpoint]\n[eval]\n",
        data.channels
    );
    text.parse().map_err(|e| Error::config("config", format!("{e}")))
}

/// Keys that differ between two configurations, with both values: what a resumed run must not change.
pub fn differences(a: &Config, b: &Config) -> Result<Vec<String>> {
    fn walk(prefix: &str, a: &Table, b: &Table, found: &mut Vec<String>) {
        for (key, old) in a {
            let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
            match (old, b.get(key)) {
                (Value::Table(a), Some(Value::Table(b))) => walk(&path, a, b, found),
                (old, Some(new)) if old == new => {}
                // Where pictures lie changes no bit of a run.
                _ if path == "data.resident_mib" => {}
                (old, new) => {
                    let new = new.map_or("nothing".into(), Value::to_string);
                    found.push(format!("{path}: {old} → {new}"));
                }
            }
        }
    }
    let table = |c: &Config| Table::try_from(c).map_err(|e| Error::config("config", e.to_string()));
    let mut found = Vec::new();
    walk("", &table(a)?, &table(b)?, &mut found);
    Ok(found)
}
