//! Where a run's files lie.

use crate::config::Config;
use crate::report::EXTRAS;
use crate::{Error, Result, files};
use std::path::{Path, PathBuf};

/// The folder of one run.
#[derive(Clone, Debug)]
pub struct RunFolder {
    root: PathBuf,
}

impl RunFolder {
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The resolved configuration.
    pub fn config(&self) -> PathBuf {
        self.root.join("config.toml")
    }

    /// One JSON object a step or epoch.
    pub fn metrics(&self) -> PathBuf {
        self.root.join("metrics.jsonl")
    }

    /// The same numbers for TensorBoard, which wants `tfevents` in the name.
    pub fn events(&self) -> PathBuf {
        self.root.join("events.out.tfevents.rusa")
    }

    /// What came out.
    pub fn summary(&self) -> PathBuf {
        self.root.join("summary.json")
    }

    /// Everything needed to resume.
    pub fn checkpoint(&self) -> PathBuf {
        self.root.join("checkpoint.safetensors")
    }

    /// The encoder under torchvision's names and layouts.
    pub fn encoder(&self) -> PathBuf {
        self.root.join("encoder.safetensors")
    }

    /// The page to look at.
    pub fn report(&self) -> PathBuf {
        self.root.join("report.html")
    }

    /// Whether a run has begun here.
    pub fn holds_a_run(&self) -> bool {
        self.config().exists() || self.checkpoint().exists()
    }

    /// Removes the files of an earlier run, and nothing else.
    pub fn clear(&self) -> Result<()> {
        let own =
            [self.config(), self.metrics(), self.summary(), self.checkpoint(), self.encoder(), self.report()];
        // What `rusa eval` and `rusa diagnose` put there judges weights that will be gone.
        let judged = EXTRAS.iter().map(|(name, _)| self.root.join(name));
        for path in own.into_iter().chain(judged) {
            match std::fs::remove_file(&path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io(path, e)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Writes the configuration.
    pub fn write_config(&self, config: &Config) -> Result<()> {
        let text = format!(
            "# Resolved by rusa {}; `rusa pretrain --config` with this file repeats the run.\n{}",
            env!("CARGO_PKG_VERSION"),
            config.to_toml()?
        );
        files::write_atomically(&self.config(), text.as_bytes())
    }
}
