//! A method's own settings: the `[loss]` table of a configuration, typed by the method that reads it.

use crate::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::Table;

/// Reads the table; what it leaves out takes the method's defaults, what the method does not know is an error.
pub fn read<S: DeserializeOwned>(table: &Table) -> Result<S> {
    table
        .clone()
        .try_into()
        .map_err(|e: toml::de::Error| Error::config("loss", e.message().trim().to_string()))
}

/// The table with every default written out.
pub fn fill<S: DeserializeOwned + Serialize>(table: &Table) -> Result<Table> {
    Table::try_from(read::<S>(table)?).map_err(|e| Error::config("loss", e.to_string()))
}

/// An error unless `value` is a finite number above 0.
pub fn positive(key: &str, value: f32) -> Result<()> {
    if value > 0.0 && value.is_finite() {
        return Ok(());
    }
    Err(Error::config(format!("loss.{key}"), format!("must be a number above 0, but is {value}")))
}

/// An error unless `value` is a finite number from 0.
pub fn weight(key: &str, value: f32) -> Result<()> {
    if value >= 0.0 && value.is_finite() {
        return Ok(());
    }
    Err(Error::config(format!("loss.{key}"), format!("must be a number of at least 0, but is {value}")))
}

/// An error unless `value` is from 0 to 1.
pub fn share(key: &str, value: f32) -> Result<()> {
    if (0.0..=1.0).contains(&value) {
        return Ok(());
    }
    Err(Error::config(format!("loss.{key}"), format!("must be from 0 to 1, but is {value}")))
}
