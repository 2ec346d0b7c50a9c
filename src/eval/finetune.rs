//! Fine-tuning: the encoder trains on, with a linear head, on some or all labels.
//!
//! The protocol of semi-supervised evaluation (SimCLR, Chen et al. 2020, section 4.2; SwAV, Caron et al. 2020, section
//! 4.1): crops and flips only, SGD with momentum and no weight decay, half a cosine, and a larger learning rate for the
//! fresh head than for the encoder. From scratch it is supervised training by the same recipe.

mod network;
mod protocol;
mod views;

pub use network::Network;
pub use protocol::finetune;

use super::Accuracy;
use super::accuracy::rank_of;
use super::start::start;
use crate::augment::{Policy, draw, stream};
use crate::data::Split;
use crate::ops::augment::ViewParams;
use crate::optim::{Optimizer, Schedule};
use crate::tensor::HostTensor;
use crate::{Error, Result};
use network::{EVAL_BATCH, Testing, Training};
use std::collections::BTreeMap;
use views::{Order, Views, light};

/// How to fine-tune.
#[derive(Clone, Debug, PartialEq)]
pub struct FinetuneOptions {
    /// Images a step; all of them where there are fewer.
    pub batch: usize,
    /// Passes over the labelled images, within the bounds of `steps`.
    pub epochs: usize,
    /// The least and the most steps: few labels are seen often, and many do not take for ever.
    pub steps: [usize; 2],
    /// Peak learning rate of the encoder.
    pub encoder_lr: f32,
    /// Peak learning rate of the head.
    pub head_lr: f32,
}

impl Default for FinetuneOptions {
    fn default() -> Self {
        Self { batch: 64, epochs: 30, steps: [200, 600], encoder_lr: 0.05, head_lr: 0.2 }
    }
}

impl FinetuneOptions {
    /// Steps taken on that many labelled images.
    pub fn steps_for(&self, images: usize) -> usize {
        let batch = self.batch.min(images).max(1);
        let [least, most] = self.steps;
        (self.epochs * images).div_ceil(batch).min(most).max(least)
    }
}

/// A classifier to train: planned once, run under as many seeds as one likes.
pub struct Finetuner {
    options: FinetuneOptions,
    policy: Policy,
    views: Views,
    train: Training,
    test: Testing,
    batch: usize,
}

impl Finetuner {
    /// A classifier that will train on `images` labelled images.
    pub fn new(network: Network, images: usize, options: &FinetuneOptions) -> Result<Self> {
        let Network { size, channels, classes, device, .. } = network;
        if classes < 2 {
            return Err(Error::config("finetune", format!("{classes} classes are nothing to tell apart")));
        }
        if images < 2 {
            return Err(Error::config("finetune", format!("needs at least 2 labelled images, not {images}")));
        }
        let policy = light(network.policy);
        policy.check(size, channels)?;
        let batch = options.batch.min(images);
        Ok(Self {
            options: options.clone(),
            views: Views { transform: policy.op(size), channels, classes },
            policy,
            train: Training::record(&network, batch, device)?,
            test: Testing::record(&network, device)?,
            batch,
        })
    }

    /// Trains on the images of `split` at `rows` and judges on `test`. The encoder starts from `weights`, or from
    /// fresh ones; the head is fresh. `step` hears of each step done.
    pub fn run(
        &mut self,
        weights: Option<&BTreeMap<String, HostTensor>>,
        (split, rows): (&Split, &[usize]),
        test: &Split,
        seed: u64,
        step: &mut dyn FnMut(),
    ) -> Result<Accuracy> {
        start(&mut *self.train.program, weights, seed)?;
        let steps = self.options.steps_for(rows.len());
        let rate = |lr| {
            let optimizer = Optimizer { lr, warmup_epochs: 0.1, warmup_start: 0.0, ..Optimizer::default() };
            // A batch of 256 takes the learning rate as it is.
            Schedule::new(&optimizer, 256, 1, steps as u64)
        };
        let rates = [rate(self.options.encoder_lr)?, rate(self.options.head_lr)?];
        let mut order = Order { rows: rows.to_vec(), seed, pass: 0, at: rows.len() };
        let mut views = vec![0.0; self.batch * self.views.view_len()];
        for at in 0..steps {
            let batch: Vec<(u32, usize)> = (0..self.batch).map(|_| order.next()).collect();
            let rows: Vec<usize> = batch.iter().map(|&(_, row)| row).collect();
            let labels = self.views.read(split, &rows, &mut views, &|i, [h, w]| {
                let (pass, row) = batch[i];
                draw(&self.policy, 0, &mut stream(seed, pass, row as u64, 0, 1), h, w)
            })?;
            self.train.step(&views, &labels, rates.each_ref().map(|r| r.lr(at as u64)), at)?;
            step();
        }
        self.judge(test)
    }

    /// Accuracy on every image of a split, each seen whole.
    fn judge(&mut self, split: &Split) -> Result<Accuracy> {
        self.test.program.load_state_dict(&self.train.program.state_dict()?)?;
        let mut views = vec![0.0; EVAL_BATCH * self.views.view_len()];
        let mut ranks = Vec::with_capacity(split.len());
        for from in (0..split.len()).step_by(EVAL_BATCH) {
            let rows: Vec<usize> = (from..split.len().min(from + EVAL_BATCH)).collect();
            let labels = self.views.read(split, &rows, &mut views, &|_, [h, w]| ViewParams::eval(h, w))?;
            self.test.program.write_f32(self.test.images, &views)?;
            self.test.program.run_all()?;
            let logits = self.test.program.read_f32(self.test.logits)?;
            for (row, label) in logits.chunks_exact(self.views.classes).zip(labels) {
                let scores: Vec<f64> = row.iter().map(|&v| f64::from(v)).collect();
                ranks.push(rank_of(&scores, label as usize));
            }
        }
        Ok(Accuracy::of_ranks(&ranks))
    }
}

#[cfg(test)]
mod tests;
