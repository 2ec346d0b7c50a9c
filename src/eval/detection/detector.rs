//! A small anchor-free detector on an encoder, in the manner of FCOS (Tian et al. 2019): heads of two convolutions on
//! res3, res4 and res5, without feature pyramid and centre-ness, so that what it finds is what the encoder saw.

use super::network::{Finding, Learning, Shape};
use super::targets::{Level, Target, decode, targets};
use super::{Found, Scene, loss};
use crate::augment::Policy;
use crate::data::Image;
use crate::device::Device;
use crate::eval::start::start;
use crate::nn::Encoder;
use crate::ops::augment::{Augment, Scratch, ViewParams};
use crate::optim::{Optimizer, Schedule};
use crate::rng::{Philox, Purpose};
use crate::tensor::HostTensor;
use crate::{Error, Result};
use rayon::prelude::*;
use std::collections::BTreeMap;

/// Names the random streams of the order of scenes among those of probes.
const ORDER: u32 = 5;

/// What the detector stands on, and how it learns.
#[derive(Clone, Copy)]
pub struct DetectorSpec<'a> {
    pub encoder: &'a Encoder,
    /// Sets interpolation, mean and standard deviation.
    pub policy: &'a Policy,
    /// Pixels of a scene in height and width.
    pub size: usize,
    pub channels: usize,
    pub classes: usize,
    /// Whether the encoder learns too, at 0.3 times the rate of the heads; else its weights and statistics stay.
    pub tune: bool,
    pub batch: usize,
    pub epochs: usize,
    /// Peak learning rate of AdamW.
    pub lr: f32,
    pub device: Device,
}

/// A detector, planned once, to be trained under as many seeds as one likes.
pub struct Detector {
    transform: Augment,
    channels: usize,
    classes: usize,
    batch: usize,
    epochs: usize,
    lr: f32,
    learning: Learning,
    finding: Finding,
}

impl Detector {
    pub fn new(spec: &DetectorSpec) -> Result<Self> {
        let &DetectorSpec { encoder, policy, size, channels, classes, tune, batch, epochs, lr, device } =
            spec;
        policy.check(size, channels)?;
        for (key, value) in [("classes", classes), ("batch", batch), ("epochs", epochs)] {
            if value == 0 {
                return Err(Error::config(format!("detect.{key}"), "must be at least 1"));
            }
        }
        let shape = Shape { encoder, size, channels, classes, batch, tune };
        let learning = Learning::record(&shape, device)?;
        let finding = Finding::record(&shape, device)?;
        Ok(Self { transform: policy.op(size), channels, classes, batch, epochs, lr, learning, finding })
    }

    /// Steps of [`train`](Self::train) on that many scenes.
    pub fn steps(&self, scenes: usize) -> usize {
        self.epochs * (scenes / self.batch)
    }

    /// Trains anew on `scenes`: heads from fresh weights, the encoder from `weights` or fresh ones. `step` hears the
    /// loss of each step.
    pub fn train(
        &mut self,
        weights: Option<&BTreeMap<String, HostTensor>>,
        scenes: &[Scene],
        seed: u64,
        step: &mut dyn FnMut(f64),
    ) -> Result<()> {
        let per_epoch = scenes.len() / self.batch;
        if per_epoch == 0 {
            let what = format!("{} scenes to learn from do not fill a batch of {}", scenes.len(), self.batch);
            return Err(Error::config("detect.batch", what));
        }
        start(&mut *self.learning.program, weights, seed)?;
        let levels: Vec<Level> = self.learning.heads.iter().map(|head| head.level).collect();
        let wanted: Vec<Vec<Target>> =
            scenes.par_iter().map(|scene| targets(&scene.truths, &levels)).collect();
        let optimizer =
            Optimizer { lr: self.lr, warmup_epochs: 0.5, warmup_start: 0.0, ..Optimizer::default() };
        // A batch of 256 takes the learning rate as it is.
        let schedule = Schedule::new(&optimizer, 256, self.epochs, per_epoch as u64)?;
        let mut at = 0;
        for epoch in 0..self.epochs {
            let mut order: Vec<usize> = (0..scenes.len()).collect();
            Philox::new(seed, Purpose::Probe, ORDER, epoch as u64).shuffle(&mut order);
            for rows in order.chunks_exact(self.batch) {
                let images: Vec<&Image> = rows.iter().map(|&row| &scenes[row].image).collect();
                let wanted: Vec<&[Target]> = rows.iter().map(|&row| &wanted[row][..]).collect();
                let views = self.views(&images)?;
                let loss = self.learning.step(&views, &wanted, self.classes, schedule.lr(at), at + 1)?;
                step(loss);
                at += 1;
            }
        }
        self.finding.program.load_state_dict(&self.learning.program.state_dict()?)
    }

    /// What is found in each scene, in its pixels.
    pub fn find(&mut self, scenes: &[Scene]) -> Result<Vec<Vec<Found>>> {
        let mut all = Vec::with_capacity(scenes.len());
        for scenes in scenes.chunks(self.batch) {
            let images: Vec<&Image> = scenes.iter().map(|scene| &scene.image).collect();
            let views = self.views(&images)?;
            let Finding { program, images, heads } = &mut self.finding;
            program.write_f32(*images, &views)?;
            program.run_all()?;
            let levels: Vec<Level> = heads.iter().map(|head| head.level).collect();
            let read = |t| program.read_f32(t);
            let logits: Vec<Vec<f32>> = heads.iter().map(|head| read(head.logits)).collect::<Result<_>>()?;
            let sides: Vec<Vec<f32>> = heads.iter().map(|head| read(head.sides)).collect::<Result<_>>()?;
            for i in 0..scenes.len() {
                let [logits, sides] = [&logits, &sides].map(|maps| {
                    let one = |map: &Vec<f32>| map.len() / self.batch;
                    maps.iter().map(|map| &map[i * one(map)..][..one(map)]).collect::<Vec<_>>()
                });
                all.push(decode(&levels, &logits, &sides, self.classes));
            }
        }
        Ok(all)
    }

    /// A full batch, zero where there are fewer pictures.
    fn views(&self, images: &[&Image]) -> Result<Vec<f32>> {
        let len = self.transform.size * self.transform.size * self.channels;
        let mut views = vec![0.0; self.batch * len];
        // Not `self`, whose programs threads may not share.
        let transform = &self.transform;
        let made: Result<()> = views
            .par_chunks_mut(len)
            .zip(images)
            .map_init(Scratch::default, |scratch, (out, image)| {
                let Image { height, width, channels, pixels } = image;
                let whole = ViewParams::crop(0, 0, *height, *width);
                transform
                    .apply(pixels, *height, *width, *channels, &whole, out, scratch)
                    .map_err(|e| Error::op("augment", e))
            })
            .collect();
        made.map(|()| views)
    }
}

impl Learning {
    fn step(
        &mut self,
        views: &[f32],
        wanted: &[&[Target]],
        classes: usize,
        lr: f32,
        number: u64,
    ) -> Result<f64> {
        self.program.write_f32(self.images, views)?;
        self.program.run(0..self.backward_from)?;
        let objects = wanted.iter().copied().flatten().filter(|t| matches!(t, Target::Object { .. })).count();
        let scale = 1.0 / objects.max(1) as f64;
        let (mut loss, mut from) = (0.0, 0);
        for (head, upstream) in self.heads.iter().zip(&self.upstream) {
            let (logits, sides) = (self.program.read_f32(head.logits)?, self.program.read_f32(head.sides)?);
            let (mut d_logits, mut d_sides) = (vec![0.0; logits.len()], vec![0.0; sides.len()]);
            let cells = head.level.cells();
            let losses: Vec<f64> = d_logits
                .par_chunks_mut(cells * classes)
                .zip(d_sides.par_chunks_mut(cells * 4))
                .enumerate()
                .map(|(i, (d_logits, d_sides))| {
                    let targets = &wanted[i][from..from + cells];
                    let logits = &logits[i * cells * classes..][..cells * classes];
                    let sides = &sides[i * cells * 4..][..cells * 4];
                    loss::cells(&head.level, targets, logits, sides, scale, d_logits, d_sides)
                })
                .collect();
            loss += losses.iter().sum::<f64>();
            self.program.write_f32(upstream[0], &d_logits)?;
            self.program.write_f32(upstream[1], &d_sides)?;
            from += cells;
        }
        if !loss.is_finite() {
            let found = self.program.find_non_finite(0..self.backward_from)?;
            let place = found.unwrap_or_else(|| "no single op could be blamed".into());
            let what = format!("detection: the loss is {loss}: {place}; lower the learning rate");
            return Err(Error::NonFinite { step: number, what });
        }
        for &(schedule, share) in &self.schedules {
            self.program.write_f32(schedule, &[lr * share, number as f32])?;
        }
        let nodes = self.program.graph().nodes().len();
        self.program.run(self.backward_from..nodes)?;
        Ok(loss)
    }
}

#[cfg(test)]
#[path = "detector_tests.rs"]
mod tests;
