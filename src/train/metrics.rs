//! `metrics.jsonl`: one JSON object a step and one an epoch, in the order they happened; and the same for TensorBoard.

use super::{RunFolder, tensorboard};
use crate::{Error, Result, files};
use serde::Serialize;
use serde_json::Value;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::PathBuf;

/// One step.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct StepRecord {
    /// Steps done, this one included.
    pub step: u64,
    /// The epoch, from 0.
    pub epoch: usize,
    pub loss: f32,
    pub lr: f32,
    /// Standard deviation of the l2-normalised embeddings, mean over dimensions; 1/√d when they fill the sphere.
    pub std: f32,
    /// Source images.
    pub images_per_second: f64,
}

/// One epoch.
#[derive(Clone, Debug, Serialize)]
pub struct EpochRecord {
    pub epoch: usize,
    /// Steps done.
    pub step: u64,
    /// Mean over the epoch.
    pub loss: f64,
    pub seconds: f64,
    pub images_per_second: f64,
    /// Of the last batch's embeddings.
    pub collapse: Value,
}

/// The files, open for appending.
pub struct Metrics {
    lines: Appender,
    events: Appender,
}

impl Metrics {
    /// Opens the files and drops what lies behind step `step`: a killed run has logged steps it must do again.
    pub fn resume(folder: &RunFolder, step: u64) -> Result<Self> {
        let path = folder.metrics();
        let old = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(e) => return Err(Error::io(path, e)),
        };
        let (mut lines, mut events) = (String::new(), tensorboard::header());
        for line in old.lines() {
            let record: Value = serde_json::from_str(line).unwrap_or_default();
            if record["step"].as_u64().is_some_and(|at| at <= step) {
                lines.extend([line, "\n"]);
                events.extend(tensorboard::scalars(&record));
            }
        }
        Ok(Self {
            lines: Appender::new(path, lines.as_bytes())?,
            events: Appender::new(folder.events(), &events)?,
        })
    }

    pub fn step(&mut self, record: &StepRecord) -> Result<()> {
        self.log("step", record)
    }

    pub fn epoch(&mut self, record: &EpochRecord) -> Result<()> {
        self.log("epoch", record)
    }

    fn log(&mut self, kind: &str, record: &impl Serialize) -> Result<()> {
        #[derive(Serialize)]
        struct Line<'a, R> {
            kind: &'a str,
            #[serde(flatten)]
            record: &'a R,
        }
        let object = serde_json::to_value(Line { kind, record })
            .map_err(|e| Error::data(&self.lines.path, e.to_string()))?;
        self.lines.append(format!("{object}\n").as_bytes())?;
        self.events.append(&tensorboard::scalars(&object))
    }

    /// Hands everything to the operating system.
    pub fn flush(&mut self) -> Result<()> {
        self.lines.flush()?;
        self.events.flush()
    }
}

/// A file that begins with what is worth keeping of an older one, and grows.
struct Appender {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Appender {
    fn new(path: PathBuf, kept: &[u8]) -> Result<Self> {
        files::write_atomically(&path, kept)?;
        let file = OpenOptions::new().append(true).open(&path).map_err(|e| Error::io(&path, e))?;
        Ok(Self { path, file: BufWriter::new(file) })
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|e| Error::io(&self.path, e))
    }

    fn flush(&mut self) -> Result<()> {
        self.file.flush().map_err(|e| Error::io(&self.path, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resuming_drops_later_steps_and_torn_lines() {
        let dir = tempfile::tempdir().unwrap();
        let folder = RunFolder::new(dir.path());
        let path = folder.metrics();
        std::fs::write(&path, "{\"step\":1}\n{\"step\":2}\n{\"step\":3}\n{\"ste").unwrap();
        let mut metrics = Metrics::resume(&folder, 2).unwrap();
        let record = StepRecord { step: 3, epoch: 0, loss: 1.0, lr: 0.1, std: 0.2, images_per_second: 5.0 };
        metrics.step(&record).unwrap();
        metrics.flush().unwrap();
        let lines: Vec<Value> = std::fs::read_to_string(&path)
            .unwrap()
            .lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect();
        assert_eq!(lines.len(), 3);
        assert_eq!((&lines[2]["kind"], &lines[2]["step"]), (&"step".into(), &3.into()));
    }
}
