//! Pictures of one size, for a device that makes its own views: the whole split where it fits, else batch after batch.

use super::feed::{Content, Ready};
use crate::config::Config;
use crate::data::{Batch, Epoch, Image, Loader, Sample, Split, loader};
use crate::device::Program;
use crate::ops::augment::{ViewParams, params::as_tensor};
use crate::ssl::{Draw, Drawn, Feeds, Images, Inputs};
use crate::{Error, Result};
use std::ops::Range;

/// A training split of which a device makes the views.
pub struct Pictures {
    pub images: Images,
    source: Source,
    /// Of the views.
    plan: loader::Plan,
    inputs: Box<dyn Inputs>,
}

enum Source {
    /// On the device: the pixels u8\[count,H,W,C\], and the picture that stands at each place: another's where one could
    /// not be read.
    Resident { pixels: Vec<u8>, ids: Vec<u32> },
    /// Decoded by threads, a batch u8\[N,H,W,C\] after the other.
    Streamed(Loader<Fill, u8>),
}

/// An epoch under way.
pub struct Batches<'a> {
    pictures: &'a Pictures,
    epoch: u32,
    rest: Rest<'a>,
}

enum Rest<'a> {
    Resident { ids: &'a [u32], order: Vec<u32>, batches: Range<usize> },
    Streamed(Epoch<u8>),
}

impl Pictures {
    /// Resident if they take at most `room` bytes.
    pub fn new(
        config: &Config,
        split: &Split,
        plan: loader::Plan,
        inputs: Box<dyn Inputs>,
        [height, width]: [usize; 2],
        room: usize,
    ) -> Result<Self> {
        let bytes = height * width * split.channels();
        let streamed = split.len() * bytes > room;
        let source = if streamed {
            let plan = loader::Plan { views: vec![bytes], labels: 0, ..plan.clone() };
            Source::Streamed(Loader::new(split.clone(), plan, copy as Fill)?)
        } else {
            let (mut pixels, mut ids) = (Vec::with_capacity(split.len() * bytes), Vec::new());
            let mut image = Image::default();
            for i in 0..split.len() {
                ids.push(split.read(i, &mut image)? as u32);
                pixels.extend_from_slice(&image.pixels);
            }
            Source::Resident { pixels, ids }
        };
        let count = if streamed { plan.batch } else { split.len() };
        let transform = config.augment.op(config.data.size);
        Ok(Self { images: Images { count, height, width, streamed, transform }, source, plan, inputs })
    }

    pub fn batches(&self) -> usize {
        match &self.source {
            Source::Resident { ids, .. } => loader::batches(&self.plan, ids.len()),
            Source::Streamed(loader) => loader.batches(),
        }
    }

    /// Puts onto the device what stays there: all pictures, or where those of a batch lie.
    pub fn upload(&self, program: &mut dyn Program, feeds: &Feeds) -> Result<()> {
        let missing = || Error::Graph("the step was recorded without pictures".into());
        match &self.source {
            Source::Resident { pixels, .. } => program.write(feeds.images.ok_or_else(missing)?, pixels),
            Source::Streamed(_) => {
                let places: Vec<u32> = (0..self.plan.batch as u32).collect();
                program.write(feeds.places.ok_or_else(missing)?, bytemuck::cast_slice(&places))
            }
        }
    }

    /// The batches of an epoch from `first` on.
    pub fn epoch(&self, epoch: u32, first: usize) -> Result<Batches<'_>> {
        let rest = match &self.source {
            Source::Resident { ids, .. } => Rest::Resident {
                ids,
                order: loader::order(&self.plan, ids.len(), epoch),
                batches: first..self.batches(),
            },
            Source::Streamed(loader) => Rest::Streamed(loader.epoch(epoch, first)?),
        };
        Ok(Batches { pictures: self, epoch, rest })
    }

    /// A batch: with the rows by which its views are made, and its labels.
    fn draw(&self, epoch: u32, ids: Vec<u32>, pictures: Option<Batch<u8>>) -> Ready {
        let image = [self.images.height, self.images.width];
        let seed = self.plan.seed;
        let drawn: Vec<Drawn> =
            ids.iter().map(|&id| self.inputs.draw(Draw { seed, epoch, id: id.into(), image })).collect();
        let views = 0..self.plan.views.len();
        let rows: Vec<ViewParams> = views.flat_map(|v| drawn.iter().map(move |d| d.views[v])).collect();
        let labels = (0..self.plan.labels).flat_map(|l| drawn.iter().map(move |d| d.labels[l])).collect();
        Ready { ids, labels, content: Content::Drawn(as_tensor(&rows).to_vec(), pictures) }
    }
}

type Fill = fn(Sample, &Image, &mut [&mut [u8]], &mut [i64]) -> Result<()>;

/// Takes a picture as it is; labels are drawn later.
fn copy(_: Sample, image: &Image, pixels: &mut [&mut [u8]], _: &mut [i64]) -> Result<()> {
    pixels[0].copy_from_slice(&image.pixels);
    Ok(())
}

impl Iterator for Batches<'_> {
    type Item = Result<Ready>;

    fn next(&mut self) -> Option<Self::Item> {
        let Self { pictures, epoch, rest } = self;
        match rest {
            Rest::Resident { ids, order, batches } => {
                let n = pictures.plan.batch;
                let members = &order[batches.next()? * n..][..n];
                Some(Ok(pictures.draw(*epoch, members.iter().map(|&i| ids[i as usize]).collect(), None)))
            }
            Rest::Streamed(batches) => Some(batches.next()?.map(|batch| {
                let ids = batch.ids.iter().map(|&id| id as u32).collect();
                pictures.draw(*epoch, ids, Some(batch))
            })),
        }
    }
}
