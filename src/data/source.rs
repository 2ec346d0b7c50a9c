//! Where pictures come from: random access by index, and the splits of a set.

use super::bad::BadFiles;
use super::image::Image;
use crate::rng::{Philox, Purpose};
use crate::{Error, Result};
use std::sync::Arc;

/// Pictures by index, readable from many threads at once.
pub trait Source: Send + Sync {
    /// How many pictures there are.
    fn len(&self) -> usize;

    /// True if there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The class of picture `i`; 0 if the set has no labels.
    fn label(&self, i: usize) -> i64;

    /// What to call picture `i` in a log.
    fn name(&self, i: usize) -> String;

    /// [height, width] of picture `i`, known without decoding it.
    fn size(&self, i: usize) -> [usize; 2];

    /// Decodes picture `i`, as many channels as it has (1 or 3).
    fn read(&self, i: usize, into: &mut Image) -> Result<()>;
}

/// Pictures of one size in one buffer.
pub struct Memory {
    name: String,
    shape: [usize; 3],
    pixels: Vec<u8>,
    labels: Vec<u8>,
}

impl Memory {
    /// `pixels` `[N, height, width, channels]` with `labels` `[N]`, or none where the set has none; `name` for logs.
    pub fn new(name: impl Into<String>, shape: [usize; 3], pixels: Vec<u8>, labels: Vec<u8>) -> Self {
        let count = pixels.len() / shape.iter().product::<usize>();
        assert_eq!(count * shape.iter().product::<usize>(), pixels.len());
        assert!(labels.is_empty() || labels.len() == count);
        Self { name: name.into(), shape, pixels, labels }
    }

    /// Of each picture, as stored.
    pub fn channels(&self) -> usize {
        self.shape[2]
    }

    /// True if the pictures have labels.
    pub fn labelled(&self) -> bool {
        !self.labels.is_empty()
    }

    /// One more than the greatest label.
    pub fn count_classes(&self) -> usize {
        self.labels.iter().max().map_or(0, |&label| usize::from(label) + 1)
    }
}

impl Source for Memory {
    fn len(&self) -> usize {
        self.pixels.len() / self.shape.iter().product::<usize>()
    }

    fn label(&self, i: usize) -> i64 {
        self.labels.get(i).map_or(0, |&label| i64::from(label))
    }

    fn name(&self, i: usize) -> String {
        format!("{}[{i}]", self.name)
    }

    fn size(&self, _: usize) -> [usize; 2] {
        [self.shape[0], self.shape[1]]
    }

    fn read(&self, i: usize, into: &mut Image) -> Result<()> {
        let len = self.shape.iter().product::<usize>();
        into.set(self.shape, &self.pixels[i * len..(i + 1) * len]);
        Ok(())
    }
}

/// The pictures to train on, or those held out: some of a [`Source`]'s, in data-set order. Cheap to clone.
#[derive(Clone)]
pub struct Split {
    source: Arc<dyn Source>,
    members: Option<Arc<[u32]>>,
    channels: usize,
    bad: Arc<BadFiles>,
}

impl Split {
    /// `members` of `source` (all of them if `None`), given out with `channels` channels.
    pub fn new(
        source: Arc<dyn Source>,
        members: Option<Vec<u32>>,
        channels: usize,
        bad: Arc<BadFiles>,
    ) -> Self {
        Self { source, members: members.map(Arc::from), channels, bad }
    }

    /// How many pictures there are.
    pub fn len(&self) -> usize {
        self.members.as_ref().map_or_else(|| self.source.len(), |m| m.len())
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Some of its pictures, by their numbers in it.
    pub fn only(&self, kept: &[usize]) -> Self {
        let members: Vec<u32> = kept.iter().map(|&i| self.member(i) as u32).collect();
        Self { members: Some(members.into()), ..self.clone() }
    }

    /// The channels of every picture [`Split::read`] gives: 1 or 3.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// The class of picture `i`; 0 if the set has no labels.
    pub fn label(&self, i: usize) -> i64 {
        self.source.label(self.member(i))
    }

    /// The class of every picture, in order.
    pub fn labels(&self) -> Vec<i64> {
        (0..self.len()).map(|i| self.label(i)).collect()
    }

    /// What to call picture `i` in a log.
    pub fn name(&self, i: usize) -> String {
        self.source.name(self.member(i))
    }

    /// [height, width] of picture `i`, known without decoding it.
    pub fn size(&self, i: usize) -> [usize; 2] {
        self.source.size(self.member(i))
    }

    /// [height, width] if every picture has the same.
    pub fn uniform_size(&self) -> Option<[usize; 2]> {
        let first = (!self.is_empty()).then(|| self.size(0))?;
        (1..self.len()).all(|i| self.size(i) == first).then_some(first)
    }

    /// Decodes picture `i`, or, if it cannot be read, the next one that can (past the end, from the start); returns the
    /// index of the picture that `into` holds now.
    ///
    /// # Errors
    /// If more than `data.max_bad` of the set is unreadable.
    pub fn read(&self, i: usize, into: &mut Image) -> Result<usize> {
        for at in (i..self.len()).chain(0..i) {
            if self.try_read(at, into)? {
                return Ok(at);
            }
        }
        Err(Error::data(self.bad.path(), "no picture of this split can be read"))
    }

    /// Decodes picture `i`; `false`, and a note in the list of bad files, if it cannot be read.
    ///
    /// # Errors
    /// As [`Split::read`].
    pub fn try_read(&self, i: usize, into: &mut Image) -> Result<bool> {
        match self.source.read(self.member(i), into) {
            Ok(()) => into.convert(self.channels),
            Err(err) => {
                self.bad.report(&self.name(i), &err)?;
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// All the pictures that the split was taken from.
    pub fn source(&self) -> &Arc<dyn Source> {
        &self.source
    }

    /// Where picture `i` stands in the data set that the split was taken from.
    pub fn member(&self, i: usize) -> usize {
        self.members.as_ref().map_or(i, |m| m[i] as usize)
    }
}

/// The seed of every hold-out. Not the run's: held-out pictures stay held out whatever run trains on the rest.
const SPLIT_SEED: u64 = 0x7275_7361;

/// Which `held` of `count` pictures are held out: the first of a Philox shuffle, the same in every run.
pub(super) fn hold_out(count: usize, held: usize) -> Vec<bool> {
    let mut order: Vec<u32> = (0..count as u32).collect();
    Philox::new(SPLIT_SEED, Purpose::Split, 0, 0).shuffle(&mut order);
    let mut out = vec![false; count];
    for &i in &order[..held] {
        out[i as usize] = true;
    }
    out
}

/// The indices whose flag is `false`, and those whose flag is `true`, each in order.
pub(super) fn partition(held: &[bool]) -> (Vec<u32>, Vec<u32>) {
    (0..held.len() as u32).partition(|&i| !held[i as usize])
}
