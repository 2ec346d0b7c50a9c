//! Hashtags, in the manner of Mahajan et al., *Exploring the Limits of Weakly Supervised Pretraining* (ECCV 2018).

use super::Origin;
use super::keys::Keys;
use super::rows::Sidecar;
use crate::data::Dataset;
use crate::{Error, Result};
use serde::Deserialize;
use std::collections::HashMap;
use std::path::Path;
use unicode_normalization::UnicodeNormalization;

/// Which tags to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TagOptions {
    /// Drop tags on fewer training pictures than this.
    pub min_count: usize,
    /// Keep at most so many, the most frequent.
    pub max_tags: usize,
}

impl Default for TagOptions {
    /// 1,500 tags: the smallest of the paper's vocabularies.
    fn default() -> Self {
        Self { min_count: 5, max_tags: 1500 }
    }
}

/// The hashtags of a set's pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct Tags {
    /// By tag id: most frequent first, ties by name. Lower case, NFC, without `#`.
    pub names: Vec<String>,
    /// On how many training pictures each tag is.
    pub counts: Vec<usize>,
    /// The tag ids of every picture of the whole source, ascending, each once: `of[split.member(i)]`. Empty: no tag.
    pub of: Vec<Vec<u32>>,
    pub origin: Origin,
}

impl Tags {
    /// Reads `path`, a sidecar or a folder with one; by default the data folder. Which tags are kept is decided by the
    /// training pictures alone.
    ///
    /// # Errors
    /// If there is no sidecar, it is malformed, or no tag is left.
    pub fn read(path: Option<&Path>, set: &Dataset, options: &TagOptions) -> Result<Self> {
        let sidecar = Sidecar::find(path, set, "hashtags")?.ok_or_else(|| {
            let folder = path.unwrap_or(Path::new(&set.path));
            Error::data(folder, "no hashtags.csv or hashtags.jsonl in it (see `rusa::data::sidecar`)")
        })?;
        let tags = Self::from(&sidecar, set, options)?;
        if tags.names.is_empty() {
            let what = format!(
                "no tag is on {} or more training pictures; {} of {} lines name no picture of {}",
                options.min_count, tags.origin.unknown, tags.origin.lines, set.path
            );
            return Err(Error::data(sidecar.path, what));
        }
        Ok(tags)
    }

    /// Those in the data folder, if any.
    pub fn find(set: &Dataset, options: &TagOptions) -> Result<Option<Self>> {
        Sidecar::find(None, set, "hashtags")?.map(|sidecar| Self::from(&sidecar, set, options)).transpose()
    }

    fn from(sidecar: &Sidecar, set: &Dataset, options: &TagOptions) -> Result<Self> {
        let mut keys = Keys::of(set);
        let mut words: Vec<Vec<String>> = vec![Vec::new(); set.train.source().len()];
        let rows = sidecar.rows::<CsvRow, JsonRow, Row>()?;
        let mut origin =
            Origin { from: sidecar.path.display().to_string(), lines: rows.len(), ..Origin::default() };
        for (line, row) in rows {
            match keys.find(sidecar, line, row.file.as_deref(), row.index)? {
                Some(picture) => words[picture] = row.tags,
                None => origin.unknown += 1,
            }
        }
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for i in 0..set.train.len() {
            for word in &words[set.train.member(i)] {
                *counts.entry(word).or_default() += 1;
            }
        }
        let mut kept: Vec<(&str, usize)> =
            counts.into_iter().filter(|&(_, count)| count >= options.min_count).collect();
        kept.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        kept.truncate(options.max_tags);
        let ids: HashMap<&str, u32> = kept.iter().zip(0..).map(|(&(name, _), id)| (name, id)).collect();
        let of: Vec<Vec<u32>> = words
            .iter()
            .map(|words| {
                let mut tags: Vec<u32> = words.iter().filter_map(|word| ids.get(&**word).copied()).collect();
                tags.sort_unstable();
                tags
            })
            .collect();
        origin.without = of.iter().filter(|tags| tags.is_empty()).count();
        let (names, counts) = kept.into_iter().map(|(name, count)| (name.to_owned(), count)).unzip();
        Ok(Self { names, counts, of, origin })
    }
}

struct Row {
    file: Option<String>,
    index: Option<u64>,
    /// Normalised, each once.
    tags: Vec<String>,
}

#[derive(Deserialize)]
struct CsvRow {
    file: Option<String>,
    index: Option<u64>,
    tags: String,
}

#[derive(Deserialize)]
struct JsonRow {
    file: Option<String>,
    index: Option<u64>,
    tags: Vec<String>,
}

impl From<CsvRow> for Row {
    fn from(row: CsvRow) -> Self {
        Self { file: row.file, index: row.index, tags: split(&row.tags) }
    }
}

impl From<JsonRow> for Row {
    fn from(row: JsonRow) -> Self {
        Self { file: row.file, index: row.index, tags: split(&row.tags.join(" ")) }
    }
}

/// The tags in `text`, as people write them: `#Shoes #ootd`, `shoes;ootd`, `#shoes#ootd`.
pub(super) fn split(text: &str) -> Vec<String> {
    let between = |c: char| c.is_whitespace() || matches!(c, ';' | ',' | '#');
    let words = text.split(between).filter(|word| !word.is_empty());
    let mut tags: Vec<String> = words.map(|word| word.to_lowercase().nfc().collect()).collect();
    tags.sort_unstable();
    tags.dedup();
    tags
}
