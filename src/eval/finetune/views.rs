//! What the classifier is shown, and in which order.

use crate::augment::{PerView, Policy};
use crate::data::{Image, Split};
use crate::ops::augment::{Augment, Scratch, ViewParams};
use crate::rng::{Philox, Purpose};
use crate::{Error, Result};
use rayon::prelude::*;

/// Names the random streams of the order of images among those of probes.
const ORDER: u32 = 3;

/// Makes views.
pub struct Views {
    pub transform: Augment,
    pub channels: usize,
    pub classes: usize,
}

impl Views {
    /// Makes a view of each picture of `split` at `rows` into `out`, as `view` says, given the place in `rows` and the
    /// picture's height and width; returns the labels.
    pub fn read(
        &self,
        split: &Split,
        rows: &[usize],
        out: &mut [f32],
        view: &(dyn Fn(usize, [usize; 2]) -> ViewParams + Sync),
    ) -> Result<Vec<i64>> {
        let len = self.view_len();
        let one = |(image, scratch): &mut (Image, Scratch), (i, out): (usize, &mut [f32])| {
            let read = split.read(rows[i], image)?;
            let Image { height, width, channels, pixels } = &*image;
            self.transform
                .apply(pixels, *height, *width, *channels, &view(i, [*height, *width]), out, scratch)
                .map_err(|e| Error::op("augment", e))?;
            self.check(split.label(read))
        };
        out[..rows.len() * len].par_chunks_mut(len).enumerate().map_init(Default::default, one).collect()
    }

    fn check(&self, label: i64) -> Result<i64> {
        if (0..self.classes as i64).contains(&label) {
            return Ok(label);
        }
        let what = format!("label {label} is none of the {} classes 0 to {}", self.classes, self.classes - 1);
        Err(Error::config("finetune", what))
    }

    /// Values of a view.
    pub fn view_len(&self) -> usize {
        self.transform.size * self.transform.size * self.channels
    }
}

/// Crops of at least half the area and flips; whatever else a policy draws is left out.
pub fn light(policy: &Policy) -> Policy {
    Policy {
        crop_scale: [0.5, 1.0],
        jitter: 0.0,
        grayscale: 0.0,
        blur: PerView::All(0.0),
        solarize: PerView::All(0.0),
        ..policy.clone()
    }
}

/// The labelled images in one shuffled pass after the other, without end: batches are always full.
pub struct Order {
    pub rows: Vec<usize>,
    pub seed: u64,
    /// From 1 once the first image is taken.
    pub pass: u32,
    pub at: usize,
}

impl Order {
    /// The pass, and the image.
    pub fn next(&mut self) -> (u32, usize) {
        if self.at == self.rows.len() {
            self.rows.sort_unstable();
            Philox::new(self.seed, Purpose::Probe, ORDER, u64::from(self.pass)).shuffle(&mut self.rows);
            self.pass += 1;
            self.at = 0;
        }
        self.at += 1;
        (self.pass, self.rows[self.at - 1])
    }
}
