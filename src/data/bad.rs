//! Pictures that cannot be read: named, counted, and tolerated up to a fraction of the set.

use crate::{Error, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The unreadable files of one data set; every thread that reads the set shares it.
///
/// A file counts once, however often it is met.
#[derive(Debug)]
pub struct BadFiles {
    path: PathBuf,
    total: usize,
    fraction: f64,
    found: Mutex<BTreeMap<String, String>>,
}

impl BadFiles {
    /// For the `total` files of the set at `path`, of which `fraction` (the key `data.max_bad`) may be unreadable.
    pub fn new(path: impl Into<PathBuf>, total: usize, fraction: f64) -> Self {
        Self { path: path.into(), total, fraction, found: Mutex::default() }
    }

    /// Notes that `name` cannot be read, and logs it the first time.
    ///
    /// # Errors
    /// Once more than the tolerated fraction of the set is unreadable: lists the first ten by name.
    pub fn report(&self, name: &str, error: &Error) -> Result<()> {
        let mut found = self.lock();
        if !found.contains_key(name) {
            let why = match error {
                Error::Data { what, .. } => what.clone(),
                Error::Io { reason, .. } => reason.to_string(),
                other => other.to_string(),
            };
            tracing::warn!("skipping unreadable {name}: {why}");
            found.insert(name.to_owned(), why);
        }
        if found.len() as f64 <= self.fraction * self.total as f64 {
            return Ok(());
        }
        Err(Error::data(&self.path, self.describe(&found)))
    }

    /// Where the set lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// How many files the set has, readable or not.
    pub fn total(&self) -> usize {
        self.total
    }

    /// How many files have been found unreadable so far.
    pub fn count(&self) -> usize {
        self.lock().len()
    }

    /// (name, reason) of every file found so far, by name.
    pub fn list(&self) -> Vec<(String, String)> {
        self.lock().iter().map(|(name, why)| (name.clone(), why.clone())).collect()
    }

    fn describe(&self, found: &BTreeMap<String, String>) -> String {
        let (count, total) = (found.len(), self.total);
        let mut text = format!(
            "{count} of {total} files cannot be read, more than data.max_bad = {} allows; the first:",
            self.fraction
        );
        for (name, why) in found.iter().take(10) {
            text += &format!("\n  {name}: {why}");
        }
        text += "\nRemove or repair them, or raise data.max_bad (the fraction of files that may be skipped).";
        text
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, String>> {
        // A panic elsewhere leaves the map whole: no statement here can stop halfway.
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(bad: &BadFiles, name: &str) -> Result<()> {
        bad.report(name, &Error::data(name, "broken"))
    }

    #[test]
    fn tolerates_up_to_the_fraction_then_lists_ten() {
        let bad = BadFiles::new("set", 400, 0.03);
        for i in 0..12 {
            report(&bad, &format!("{i:02}.png")).unwrap();
            report(&bad, &format!("{i:02}.png")).unwrap();
        }
        assert_eq!(bad.count(), 12);
        let text = report(&bad, "99.png").unwrap_err().to_string();
        assert!(text.contains("13 of 400") && text.contains("max_bad = 0.03"), "{text}");
        assert!(text.contains("00.png: broken") && text.contains("09.png"), "{text}");
        assert!(!text.contains("10.png"), "{text}");
    }

    #[test]
    fn none_tolerated_means_none() {
        assert!(report(&BadFiles::new("set", 1_000_000, 0.0), "a.png").is_err());
        assert!(report(&BadFiles::new("set", 1, 1.0), "a.png").is_ok());
    }
}
