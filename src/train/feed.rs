//! What a step is fed: views that threads made on the CPU, or the numbers by which the device makes its own.

use crate::augment::draw_batch;
use crate::config::Config;
use crate::data::{Batch, Epoch, Image, Loader, Sample, Split, loader};
use crate::device::{Device, Program};
use crate::ops::augment::{Augment, PARAMS, Scratch, params::as_tensor};
use crate::ssl::{self, Images, Resident};
use crate::{Error, Result};
use std::cell::RefCell;
use std::ops::Range;

/// A data set larger than this is not put onto a device, in bytes.
const MOST_RESIDENT: usize = 8 << 30;

/// Makes the views of a sample.
pub type Fill = dyn Fn(Sample, &Image, &mut [&mut [f32]]) -> Result<()> + Send + Sync;

/// Where batches come from.
pub enum Feed {
    /// Views made by threads of the loader while the step before runs.
    Made(Loader<Box<Fill>>),
    /// Pictures lie on the device, which makes the views by rows of parameters.
    Resident(Box<Pictures>),
}

/// A training split as it lies on a device.
pub struct Pictures {
    pub images: Images,
    /// u8\[count,H,W,C\]
    pixels: Vec<u8>,
    /// The picture that stands at each place: another's where one could not be read.
    ids: Vec<u32>,
    plan: loader::Plan,
    config: Config,
}

/// One step's input.
pub enum Ready {
    Made(Batch),
    Drawn {
        index: Vec<u32>,
        /// f32\[V·N,16\]
        rows: Vec<f32>,
    },
}

impl Feed {
    /// Pictures go onto the device if it makes its own views, they are of one size, and they fit.
    pub fn new(config: &Config, split: &Split, device: Device) -> Result<Self> {
        let views = ssl::find(&config.method)?.views;
        let plan = loader::Plan {
            batch: config.batch,
            views,
            view_len: config.data.size * config.data.size * config.data.channels,
            seed: config.seed,
            shuffle: true,
            drop_last: true,
            threads: 0,
        };
        if device != Device::Cpu
            && let Some([h, w]) = split.uniform_size()
            && split.len() * h * w * split.channels() <= MOST_RESIDENT
            && loader::batches(&plan, split.len()) > 0
        {
            config.augment.check(config.data.size, config.data.channels)?;
            return Ok(Self::Resident(Box::new(Pictures::read(config, split, plan, [h, w])?)));
        }
        Ok(Self::Made(Loader::new(split.clone(), plan, view_maker(config)?)?))
    }

    /// Batches an epoch.
    pub fn batches(&self) -> usize {
        match self {
            Self::Made(loader) => loader.batches(),
            Self::Resident(pictures) => loader::batches(&pictures.plan, pictures.ids.len()),
        }
    }

    /// What the step must be recorded for.
    pub fn images(&self) -> Option<&Images> {
        match self {
            Self::Made(_) => None,
            Self::Resident(pictures) => Some(&pictures.images),
        }
    }

    /// Puts the pictures onto the device.
    pub fn upload(&self, program: &mut dyn Program, resident: Option<Resident>) -> Result<()> {
        match (self, resident) {
            (Self::Resident(pictures), Some(to)) => program.write(to.images, &pictures.pixels),
            _ => Ok(()),
        }
    }

    /// The batches of an epoch from `first` on.
    pub fn epoch(&self, epoch: u32, first: usize) -> Result<Batches<'_>> {
        Ok(match self {
            Self::Made(loader) => Batches::Made(loader.epoch(epoch, first)?),
            Self::Resident(pictures) => Batches::Drawn {
                pictures,
                epoch,
                order: loader::order(&pictures.plan, pictures.ids.len(), epoch),
                left: first..self.batches(),
            },
        })
    }
}

/// An epoch under way.
pub enum Batches<'a> {
    Made(Epoch),
    Drawn { pictures: &'a Pictures, epoch: u32, order: Vec<u32>, left: Range<usize> },
}

impl Iterator for Batches<'_> {
    type Item = Result<Ready>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Made(epoch) => Some(epoch.next()?.map(Ready::Made)),
            Self::Drawn { pictures, epoch, order, left } => {
                let from = left.next()? * pictures.plan.batch;
                Some(Ok(pictures.draw(*epoch, &order[from..from + pictures.plan.batch])))
            }
        }
    }
}

impl Pictures {
    fn read(config: &Config, split: &Split, plan: loader::Plan, [height, width]: [usize; 2]) -> Result<Self> {
        let mut pixels = Vec::with_capacity(split.len() * height * width * split.channels());
        let mut ids = Vec::with_capacity(split.len());
        let mut image = Image::default();
        for i in 0..split.len() {
            ids.push(split.read(i, &mut image)? as u32);
            pixels.extend_from_slice(&image.pixels);
        }
        let transform: Augment = config.augment.op(config.data.size);
        let images = Images { count: split.len(), height, width, transform };
        Ok(Self { images, pixels, ids, plan, config: config.clone() })
    }

    fn draw(&self, epoch: u32, members: &[u32]) -> Ready {
        let index: Vec<u32> = members.iter().map(|&i| self.ids[i as usize]).collect();
        let samples: Vec<u64> = index.iter().map(|&id| id.into()).collect();
        let Self { images, plan, config, .. } = self;
        let size = [images.height, images.width];
        let rows = draw_batch(&config.augment, config.seed, epoch, &samples, plan.views, size);
        Ready::Drawn { index, rows: as_tensor(&rows).to_vec() }
    }
}

impl Ready {
    /// Writes the batch into a step's inputs.
    pub fn write(
        &self,
        program: &mut dyn Program,
        views: &[(Range<usize>, crate::graph::TensorId)],
        resident: Option<Resident>,
    ) -> Result<()> {
        let (values, row, count) = match self {
            Self::Made(batch) => {
                let count = batch.ids.len();
                let all: usize = views.iter().map(|(range, _)| range.end).max().unwrap_or(1);
                (&batch.views, batch.views.len() / (all * count), count)
            }
            Self::Drawn { index, rows } => {
                if let Some(to) = resident {
                    program.write(to.index, bytemuck::cast_slice(index))?;
                }
                (rows, PARAMS, index.len())
            }
        };
        for (range, input) in views {
            let n = count * row;
            program.write_f32(*input, &values[range.start * n..range.end * n])?;
        }
        Ok(())
    }
}

/// Draws and makes the views of samples, each from its own random stream.
pub fn view_maker(config: &Config) -> Result<Box<Fill>> {
    thread_local! {
        static SCRATCH: RefCell<Scratch> = RefCell::default();
    }
    let policy = config.augment.clone();
    policy.check(config.data.size, config.data.channels)?;
    let op: Augment = policy.op(config.data.size);
    let seed = config.seed;
    Ok(Box::new(move |sample: Sample, image: &Image, views: &mut [&mut [f32]]| {
        let Image { height, width, channels, pixels } = image;
        let rows =
            draw_batch(&policy, seed, sample.epoch, &[sample.id as u64], views.len(), [*height, *width]);
        for (row, view) in rows.iter().zip(views) {
            SCRATCH
                .with_borrow_mut(|scratch| op.apply(pixels, *height, *width, *channels, row, view, scratch))
                .map_err(|e| Error::op("augment", e))?;
        }
        Ok(())
    }))
}
