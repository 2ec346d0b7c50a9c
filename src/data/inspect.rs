//! What is in a data set, for `rusa data inspect`.

use super::folder::progress;
use super::sidecar::{PlaceSummary, Places, TagSummary, Tags};
use super::{Image, Kind, Options, Split, open};
use crate::Result;
use rayon::prelude::*;
use serde::Serialize;
use std::fmt;

/// The text lists no more classes than this; the JSON lists all.
const SHOWN_CLASSES: usize = 100;

/// A data set described. `Display` is the text for people, serde the one for programs.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    pub path: String,
    pub kind: Kind,
    pub labelled: bool,
    pub channels: usize,
    pub train: Part,
    pub test: Part,
    /// True if the set has no test split and `test` is held out of its training pictures.
    pub held_out: bool,
    /// By name.
    pub bad: Vec<Bad>,
    /// Unreadable files over all files.
    pub bad_fraction: f64,
    /// The fraction allowed.
    pub max_bad: f64,
    pub notes: Vec<String>,
    /// If there are hashtags beside the set.
    pub tags: Option<TagSummary>,
    /// If there are GPS positions beside the set or in its pictures.
    pub places: Option<PlaceSummary>,
}

/// One split.
#[derive(Clone, Debug, Serialize)]
pub struct Part {
    pub images: usize,
    pub by_class: Vec<ClassCount>,
    /// Pixels; `None` in an empty split.
    pub height: Option<Range>,
    pub width: Option<Range>,
    /// How many pictures have a shorter side of `from` to `to` pixels, `to` included.
    pub shorter_side: Vec<Bucket>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClassCount {
    pub class: String,
    pub images: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Range {
    pub min: usize,
    pub median: usize,
    pub max: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Bucket {
    pub from: usize,
    pub to: usize,
    pub images: usize,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Bad {
    pub file: String,
    pub why: String,
}

/// Describes the set at `path`. With `decode` every picture is decoded, on all cores: slow, and finds every bad file.
/// Any number of bad files is listed, not an error, as long as one can be read.
pub fn inspect(path: &str, options: &Options, decode: bool) -> Result<Summary> {
    let set = open(path, &Options { max_bad: 1.0, ..*options })?;
    if decode {
        decode_all(&set.train)?;
        decode_all(&set.test)?;
    }
    let tags = Tags::find(&set, &Default::default())?.map(TagSummary::from);
    let places = Places::find(&set, &Default::default())?.map(PlaceSummary::from);
    let bad: Vec<Bad> = set.bad.list().into_iter().map(|(file, why)| Bad { file, why }).collect();
    Ok(Summary {
        path: set.path,
        kind: set.kind,
        labelled: set.labelled,
        channels: set.channels,
        train: Part::of(&set.train, &set.classes),
        test: Part::of(&set.test, &set.classes),
        held_out: set.held_out,
        bad_fraction: bad.len() as f64 / set.bad.total() as f64,
        bad,
        max_bad: options.max_bad,
        notes: set.notes,
        tags,
        places,
    })
}

fn decode_all(split: &Split) -> Result<()> {
    let bar = progress("decoding", split.len());
    (0..split.len()).into_par_iter().try_for_each_init(Image::default, |image, i| {
        bar.inc(1);
        split.try_read(i, image).map(drop)
    })?;
    bar.finish_and_clear();
    Ok(())
}

impl Part {
    fn of(split: &Split, classes: &[String]) -> Self {
        let mut counts = vec![0; classes.len()];
        split.labels().into_iter().for_each(|label| counts[label as usize] += 1);
        let by_class = classes.iter().zip(counts);
        let sizes: Vec<[usize; 2]> = (0..split.len()).map(|i| split.size(i)).collect();
        Self {
            images: split.len(),
            by_class: by_class.map(|(class, images)| ClassCount { class: class.clone(), images }).collect(),
            height: Range::of(sizes.iter().map(|size| size[0])),
            width: Range::of(sizes.iter().map(|size| size[1])),
            shorter_side: Bucket::powers_of_two(sizes.iter().map(|size| size[0].min(size[1]))),
        }
    }
}

impl Range {
    fn of(values: impl Iterator<Item = usize>) -> Option<Self> {
        let mut values: Vec<usize> = values.collect();
        values.sort_unstable();
        Some(Self { min: *values.first()?, median: values[values.len() / 2], max: *values.last()? })
    }
}

impl Bucket {
    fn powers_of_two(values: impl Iterator<Item = usize>) -> Vec<Self> {
        let mut counts = [0; usize::BITS as usize];
        values.for_each(|value| counts[value.max(1).ilog2() as usize] += 1);
        let bucket =
            |(log, images): (usize, usize)| Self { from: 1usize << log, to: (2usize << log) - 1, images };
        counts.into_iter().enumerate().filter(|&(_, images)| images > 0).map(bucket).collect()
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.min == self.max {
            true => write!(f, "{}", self.min),
            false => write!(f, "{} to {} (median {})", self.min, self.max, self.median),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Embedded => "Fashion-MNIST test set, embedded",
            Kind::Idx => "IDX files",
            Kind::Cifar10 => "CIFAR-10 binaries",
            Kind::Cifar100 => "CIFAR-100 binaries",
            Kind::Folder => "folder of pictures",
        };
        let colour = if self.channels == 1 { "gray" } else { "RGB" };
        writeln!(f, "{}: {kind}, {} classes, {colour}", self.path, self.train.by_class.len())?;
        let held_out = if self.held_out { " (held out of the training pictures)" } else { "" };
        writeln!(f, "  train  {} pictures", self.train.images)?;
        writeln!(f, "  test   {} pictures{held_out}", self.test.images)?;
        for (name, part) in [("train", &self.train), ("test", &self.test)] {
            if let (Some(height), Some(width)) = (part.height, part.width) {
                writeln!(f, "\n{name}: height {height}, width {width} pixels")?;
                for bucket in part.shorter_side.iter().filter(|_| part.shorter_side.len() > 1) {
                    writeln!(
                        f,
                        "  shorter side {:>5} to {:<5} {:>9}",
                        bucket.from, bucket.to, bucket.images
                    )?;
                }
            }
        }
        writeln!(f, "\n  {:>9} {:>9}  class", "train", "test")?;
        let classes = self.train.by_class.iter().zip(&self.test.by_class);
        for (train, test) in classes.take(SHOWN_CLASSES) {
            writeln!(f, "  {:>9} {:>9}  {}", train.images, test.images, train.class)?;
        }
        if self.train.by_class.len() > SHOWN_CLASSES {
            writeln!(f, "  {:>9} {:>9}  and {} more", "", "", self.train.by_class.len() - SHOWN_CLASSES)?;
        }
        self.tags.iter().try_for_each(|tags| write!(f, "{tags}"))?;
        self.places.iter().try_for_each(|places| write!(f, "{places}"))?;
        if !self.bad.is_empty() {
            writeln!(f, "\n{} unreadable files ({:.2} %):", self.bad.len(), 100.0 * self.bad_fraction)?;
            for bad in self.bad.iter().take(10) {
                writeln!(f, "  {}: {}", bad.file, bad.why)?;
            }
            if self.bad.len() > 10 {
                writeln!(f, "  and {} more", self.bad.len() - 10)?;
            }
            if self.bad_fraction > self.max_bad {
                writeln!(f, "More than data.max_bad = {}: pretraining would refuse this set.", self.max_bad)?;
            }
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))
    }
}
