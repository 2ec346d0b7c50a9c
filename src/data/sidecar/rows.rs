//! The lines of a sidecar file.

use crate::data::{Dataset, Kind, embedded};
use crate::{Error, Result};
use flate2::read::GzDecoder;
use serde::de::DeserializeOwned;
use std::borrow::Cow;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// A sidecar's bytes, unzipped, and the path to name in errors.
pub(super) struct Sidecar {
    pub path: PathBuf,
    bytes: Vec<u8>,
    json: bool,
}

const ENDINGS: [&str; 4] = ["csv", "jsonl", "csv.gz", "jsonl.gz"];

impl Sidecar {
    /// `given`: a file, or a folder to look in; by default the data folder. `None` if the folder has no `stem.*`.
    pub fn find(given: Option<&Path>, set: &Dataset, stem: &str) -> Result<Option<Self>> {
        let folder = match given {
            Some(path) if !fs::metadata(path).map_err(|e| Error::io(path, e))?.is_dir() => {
                return Self::open(path).map(Some);
            }
            Some(path) => path,
            None if set.kind == Kind::Embedded => {
                let path = PathBuf::from(format!("embedded/{stem}.csv.gz"));
                return Self::new(path, embedded::sidecar(stem).into()).map(Some);
            }
            None => Path::new(&set.path),
        };
        let paths = ENDINGS.map(|ending| folder.join(format!("{stem}.{ending}")));
        let found: Vec<&PathBuf> = paths.iter().filter(|path| path.is_file()).collect();
        match found[..] {
            [] => Ok(None),
            [path] => Self::open(path).map(Some),
            [one, two, ..] => {
                let what = format!("stands beside {}: name the one to read", two.display());
                Err(Error::data(one, what))
            }
        }
    }

    fn open(path: &Path) -> Result<Self> {
        Self::new(path.to_owned(), fs::read(path).map_err(|e| Error::io(path, e))?.into())
    }

    fn new(path: PathBuf, stored: Cow<'static, [u8]>) -> Result<Self> {
        let name = path.to_string_lossy().to_lowercase();
        let json = match name.trim_end_matches(".gz").rsplit_once('.') {
            Some((_, "csv")) => false,
            Some((_, "jsonl")) => true,
            _ => return Err(Error::data(path, "is neither .csv nor .jsonl (nor one of them as .gz)")),
        };
        let bytes = if stored.starts_with(&[0x1f, 0x8b]) {
            let mut bytes = Vec::new();
            GzDecoder::new(&stored[..]).read_to_end(&mut bytes).map_err(|e| Error::io(&path, e))?;
            bytes
        } else {
            stored.into_owned()
        };
        Ok(Self { path, bytes, json })
    }

    /// An error at a line of this file.
    pub fn at(&self, line: u64, what: impl std::fmt::Display) -> Error {
        Error::data(&self.path, format!("line {line}: {what}"))
    }

    /// (line, row) of each line that is not blank; `C` is a row as CSV has it and `J` as JSON has it.
    pub fn rows<C, J, R>(&self) -> Result<Vec<(u64, R)>>
    where
        C: DeserializeOwned + Into<R>,
        J: DeserializeOwned + Into<R>,
    {
        if self.json { self.json_rows::<J, R>() } else { self.csv_rows::<C, R>() }
    }

    fn csv_rows<C: DeserializeOwned + Into<R>, R>(&self) -> Result<Vec<(u64, R)>> {
        let mut reader = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(&self.bytes[..]);
        let headers = reader.headers().map_err(|e| self.at(1, csv_reason(&e)))?.clone();
        let mut rows = Vec::new();
        for record in reader.records() {
            let line = |p: Option<&csv::Position>| p.map_or(0, csv::Position::line);
            let record = record.map_err(|e| self.at(line(e.position()), csv_reason(&e)))?;
            let line = line(record.position());
            let row: C = record.deserialize(Some(&headers)).map_err(|e| self.at(line, csv_reason(&e)))?;
            rows.push((line, row.into()));
        }
        Ok(rows)
    }

    fn json_rows<J: DeserializeOwned + Into<R>, R>(&self) -> Result<Vec<(u64, R)>> {
        let bytes = self.bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&self.bytes);
        let lines = bytes.split(|&byte| byte == b'\n').enumerate();
        lines
            .filter(|(_, text)| !text.trim_ascii().is_empty())
            .map(|(i, text)| {
                let line = i as u64 + 1;
                let row: J = serde_json::from_slice(text).map_err(|e| self.at(line, e))?;
                Ok((line, row.into()))
            })
            .collect()
    }
}

/// The reason without the crate's own count of records and bytes, which no editor shows.
fn csv_reason(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::Deserialize { err, .. } => err.to_string(),
        csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("{len} columns where the header has {expected_len}; quote a field that has commas in it")
        }
        csv::ErrorKind::Utf8 { .. } => "is not UTF-8".to_owned(),
        _ => error.to_string(),
    }
}
