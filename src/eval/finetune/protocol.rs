//! Fine-tuning under several seeds.

use super::{FinetuneOptions, Finetuner, Network};
use crate::Result;
use crate::data::Split;
use crate::eval::{Labels, Spread};
use crate::tensor::HostTensor;
use std::collections::BTreeMap;

/// Top-1 accuracy on `test` after training on some of the labels of `train`, from `weights` or from scratch, under each
/// of `seeds` consecutive seeds from `seed` on: of the draw, the head, the crops and, from scratch, of all weights.
/// `step` hears of each step, [`FinetuneOptions::steps_for`] the number of images a run.
pub fn finetune(
    network: Network,
    weights: Option<&BTreeMap<String, HostTensor>>,
    [train, test]: [&Split; 2],
    labels: Labels,
    (seed, seeds): (u64, usize),
    options: &FinetuneOptions,
    step: &mut dyn FnMut(),
) -> Result<Spread> {
    let all = train.labels();
    let mut finetuner = Finetuner::new(network, labels.draw(&all, seed)?.len(), options)?;
    let mut runs = Vec::with_capacity(seeds);
    for seed in (0..seeds as u64).map(|i| seed.wrapping_add(i)) {
        let rows = labels.draw(&all, seed)?;
        runs.push(finetuner.run(weights, (train, &rows), test, seed, step)?.top1);
    }
    Ok(Spread::of(runs, [0.0, 1.0]))
}
