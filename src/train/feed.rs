//! What a step is fed: views that threads made on the CPU, or pictures and the numbers by which the device makes its own.

use super::labels::Given;
use super::pictures::Pictures;
use crate::config::Config;
use crate::data::{Batch, Epoch, Image, Loader, Sample, Split, loader};
use crate::device::{Device, Program};
use crate::ops::augment::{Augment, PARAMS, Scratch};
use crate::rng::{Philox, Purpose};
use crate::ssl::{self, Draw, Feeds, Images, Inputs};
use crate::{Error, Result};
use std::cell::RefCell;
use std::collections::HashSet;
use std::sync::Arc;

/// Makes the views of a sample, and draws its labels.
pub type Fill = dyn Fn(Sample, &Image, &mut [&mut [f32]], &mut [i64]) -> Result<()> + Send + Sync;

/// Where batches come from.
pub enum Feed {
    /// Views made by threads of the loader while the step before runs.
    Made(Loader<Box<Fill>>),
    /// Pictures, of which the device makes the views by rows of parameters.
    Drawn(Box<Pictures>),
}

/// One step's input.
pub struct Ready {
    /// Images of the split, \[N\].
    pub ids: Vec<u32>,
    /// \[L·N\]
    pub(super) labels: Vec<i64>,
    pub(super) content: Content,
}

pub(super) enum Content {
    Made(Batch),
    /// f32\[V·N,16\], and the pictures u8\[N,H,W,C\] unless the device has them.
    Drawn(Vec<f32>, Option<Batch<u8>>),
}

/// The views a configuration's method takes of a sample.
pub fn inputs(config: &Config) -> Result<Box<dyn Inputs>> {
    config.augment.check(config.data.size, config.data.channels)?;
    ssl::find(&config.method)?.inputs(&config.inputs())
}

impl Feed {
    /// A device other than the CPU makes its own views of pictures that are of one size.
    pub fn new(config: &Config, split: &Split, device: Device) -> Result<Self> {
        let inputs = inputs(config)?;
        let plan = loader::Plan {
            batch: config.batch,
            views: inputs.sizes().iter().map(|size| size * size * config.data.channels).collect(),
            labels: inputs.labels(),
            seed: config.seed,
            shuffle: true,
            drop_last: true,
            threads: 0,
        };
        if device != Device::Cpu
            && let Some(size) = split.uniform_size()
            && loader::batches(&plan, split.len()) > 0
        {
            let room = (config.data.resident_mib << 20).min(device.memory_bytes()? / 2);
            return Ok(Self::Drawn(Box::new(Pictures::new(config, split, plan, inputs, size, room)?)));
        }
        Ok(Self::Made(Loader::new(split.clone(), plan, view_maker(config)?)?))
    }

    /// Batches an epoch.
    pub fn batches(&self) -> usize {
        match self {
            Self::Made(loader) => loader.batches(),
            Self::Drawn(pictures) => pictures.batches(),
        }
    }

    /// What the step must be recorded for.
    pub fn images(&self) -> Option<&Images> {
        match self {
            Self::Made(_) => None,
            Self::Drawn(pictures) => Some(&pictures.images),
        }
    }

    /// Puts onto the device what stays there.
    pub fn upload(&self, program: &mut dyn Program, feeds: &Feeds) -> Result<()> {
        match self {
            Self::Made(_) => Ok(()),
            Self::Drawn(pictures) => pictures.upload(program, feeds),
        }
    }

    /// The batches of an epoch from `first` on.
    pub fn epoch(&self, epoch: u32, first: usize) -> Result<Batches<'_>> {
        Ok(match self {
            Self::Made(loader) => Batches::Made(loader.epoch(epoch, first)?),
            Self::Drawn(pictures) => Batches::Drawn(pictures.epoch(epoch, first)?),
        })
    }
}

/// An epoch under way.
pub enum Batches<'a> {
    Made(Epoch),
    Drawn(super::pictures::Batches<'a>),
}

impl Iterator for Batches<'_> {
    type Item = Result<Ready>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Made(epoch) => Some(epoch.next()?.map(|mut batch| Ready {
                ids: batch.ids.iter().map(|&id| id as u32).collect(),
                labels: std::mem::take(&mut batch.labels),
                content: Content::Made(batch),
            })),
            Self::Drawn(batches) => batches.next(),
        }
    }
}

impl Ready {
    /// Writes the batch into a step's inputs; `given` are the labels that do not come with the views, `step` is the number
    /// of the step.
    pub fn write(
        &self,
        program: &mut dyn Program,
        feeds: &Feeds,
        given: &Given,
        seed: u64,
        step: u64,
    ) -> Result<()> {
        let n = self.ids.len();
        for (range, input) in &feeds.views {
            let len = program.graph().ty(*input).elements();
            match &self.content {
                Content::Made(batch) => {
                    let from = batch.starts[range.start];
                    program.write_f32(*input, &batch.views[from..from + len])?;
                }
                Content::Drawn(rows, _) => {
                    let from = range.start * n * PARAMS;
                    program.write_f32(*input, &rows[from..from + len])?;
                }
            }
        }
        if let (Some(images), Content::Drawn(_, Some(pictures))) = (feeds.images, &self.content) {
            program.write(images, &pictures.views)?;
        }
        if let Some(index) = feeds.index {
            program.write(index, bytemuck::cast_slice(&self.ids))?;
        }
        for (range, input) in &feeds.labels {
            let labels: Vec<i64> = match given {
                Given::Each { labels, images } => range
                    .clone()
                    .flat_map(|l| self.ids.iter().map(move |&id| labels[l * images + id as usize]))
                    .collect(),
                _ => self.labels[range.start * n..range.end * n].to_vec(),
            };
            program.write(*input, bytemuck::cast_slice(&labels))?;
        }
        if let (Some(targets), Given::Shares { classes, of }) = (feeds.targets, given) {
            let mut shares = vec![0f32; n * classes];
            for (row, &id) in shares.chunks_exact_mut(*classes).zip(&self.ids) {
                let own = &of[id as usize];
                own.iter().for_each(|&class| row[class as usize] = 1.0 / own.len() as f32);
            }
            program.write_f32(targets, &shares)?;
        }
        if let Some(negatives) = feeds.negatives {
            let count = program.graph().ty(negatives).elements();
            let drawn = others(&self.ids, given.images(), count, seed, step);
            program.write(negatives, bytemuck::cast_slice(&drawn))?;
        }
        Ok(())
    }
}

/// `count` different images at random that are not in the batch; there must be so many.
fn others(batch: &[u32], images: usize, count: usize, seed: u64, step: u64) -> Vec<u32> {
    let mut rng = Philox::new(seed, Purpose::Negatives, 0, step);
    // Drawn again where taken: a list of all images to draw from would cost each step as much as the set is large.
    let mut taken: HashSet<u32> = batch.iter().copied().collect();
    let draws = std::iter::repeat_with(|| rng.below(images as u32));
    draws.filter(|&image| taken.insert(image)).take(count).collect()
}

/// Draws and makes the views of samples, each from its own random stream.
pub fn view_maker(config: &Config) -> Result<Box<Fill>> {
    thread_local! {
        static SCRATCH: RefCell<Scratch> = RefCell::default();
    }
    let inputs: Arc<dyn Inputs> = inputs(config)?.into();
    let ops: Vec<Augment> = inputs.sizes().iter().map(|&size| config.augment.op(size)).collect();
    let seed = config.seed;
    Ok(Box::new(move |sample: Sample, image: &Image, views: &mut [&mut [f32]], labels: &mut [i64]| {
        let Image { height, width, channels, pixels } = image;
        let of = Draw { seed, epoch: sample.epoch, id: sample.id as u64, image: [*height, *width] };
        let drawn = inputs.draw(of);
        labels.copy_from_slice(&drawn.labels[..labels.len()]);
        for ((row, view), op) in drawn.views.iter().zip(views).zip(&ops) {
            SCRATCH
                .with_borrow_mut(|scratch| op.apply(pixels, *height, *width, *channels, row, view, scratch))
                .map_err(|e| Error::op("augment", e))?;
        }
        Ok(())
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn negatives_are_different_and_not_of_the_batch() {
        let batch = [3, 0, 9];
        for step in 0..50 {
            let mut drawn = others(&batch, 12, 6, 1, step);
            assert_eq!(drawn, others(&batch, 12, 6, 1, step));
            drawn.sort_unstable();
            drawn.dedup();
            assert_eq!(drawn.len(), 6);
            assert!(drawn.iter().all(|i| *i < 12 && !batch.contains(i)));
        }
        assert_eq!(others(&batch, 12, 9, 1, 0).len(), 9);
        assert_ne!(others(&batch, 12, 6, 1, 0), others(&batch, 12, 6, 1, 1));
    }
}
