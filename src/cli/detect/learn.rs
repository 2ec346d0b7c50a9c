//! Detectors on both encoders, for each share of the scenes, under each seed.

use super::Arguments;
use super::scenes::Scenes;
use crate::cli::progress::Steps;
use crate::cli::run::Trained;
use anyhow::Result;
use rusa::device::Device;
use rusa::eval::Spread;
use rusa::eval::detection::{
    AveragePrecision, Detector, DetectorSpec, Found, Scene, Share, average_precision,
};
use serde::Serialize;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Average precision over seeds.
#[derive(Serialize)]
pub struct Summary {
    pub ap: Spread,
    pub ap50: Spread,
    pub ap75: Spread,
    /// Means; none of a class that the scenes to judge on do not have.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    ap_by_class: BTreeMap<String, Option<f64>>,
}

/// What came of a share of the scenes.
#[derive(Serialize)]
pub struct Learnt {
    share: f64,
    pub scenes: usize,
    epochs: usize,
    pub pretrained: Summary,
    pub untrained: Summary,
    /// Of the pretrained over the untrained encoder, paired by seed.
    pub difference: Summary,
}

/// The shares from small to large, and what the first seed's pretrained detector of the largest found.
pub fn run(
    arguments: &Arguments,
    trained: &Trained,
    scenes: &Scenes,
    device: Device,
) -> Result<(Vec<Learnt>, Vec<Vec<Found>>)> {
    let about = &trained.about;
    let mut fractions = arguments.share.clone();
    fractions.sort_by(f64::total_cmp);
    fractions.dedup();
    let of = |&fraction: &f64| Share::of(fraction, scenes.train.len(), arguments.epochs as usize);
    let shares: Vec<Share> = fractions.iter().map(of).collect::<rusa::Result<_>>()?;
    let steps: usize = shares.iter().map(|share| share.epochs * (share.scenes / share.batch)).sum();
    let steps = Steps::new((2 * arguments.seeds as usize * steps) as u64);
    let truths: Vec<_> = scenes.test.iter().map(|scene| scene.truths.clone()).collect();
    let (mut learnt, mut shown) = (Vec::new(), Vec::new());
    for share in shares {
        let mut detector = Detector::new(&DetectorSpec {
            encoder: &about.encoder,
            policy: &about.augment,
            size: arguments.size as usize,
            channels: about.channels,
            classes: scenes.classes.len(),
            tune: arguments.tune,
            batch: share.batch,
            epochs: share.epochs,
            lr: arguments.lr,
            device,
        })?;
        let mut results = [Vec::new(), Vec::new()];
        for seed in (0..u64::from(arguments.seeds)).map(|i| about.seed.wrapping_add(i)) {
            let drawn: Cow<[Scene]> = match share.scenes == scenes.train.len() {
                true => (&scenes.train[..]).into(),
                false => share.draw(seed).into_iter().map(|i| scenes.train[i].clone()).collect(),
            };
            for (results, weights) in results.iter_mut().zip([Some(&trained.state), None]) {
                let name = if weights.is_some() { "pretrained" } else { "untrained" };
                detector.train(weights, &drawn, seed, &mut |loss| {
                    steps.say(format!("{} scenes, {name}, loss {loss:.3}", share.scenes));
                    steps.step();
                })?;
                let found = detector.find(&scenes.test)?;
                results.push(average_precision(&truths, &found, scenes.classes.len())?);
                if weights.is_some() && seed == about.seed {
                    shown = found;
                }
            }
        }
        let [pretrained, untrained] = results.map(|runs| Summary::of(&runs, &scenes.classes));
        let difference = pretrained.minus(&untrained);
        let Share { fraction, scenes, epochs, .. } = share;
        learnt.push(Learnt { share: fraction, scenes, epochs, pretrained, untrained, difference });
    }
    Ok((learnt, shown))
}

impl Summary {
    fn of(runs: &[AveragePrecision], classes: &[String]) -> Self {
        let spread = |of: fn(&AveragePrecision) -> f64| Spread::of(runs.iter().map(of).collect(), [0.0, 1.0]);
        let of_class = |class: usize| {
            let aps: Option<Vec<f64>> = runs.iter().map(|run| run.by_class[class]).collect();
            aps.map(|aps| aps.iter().sum::<f64>() / aps.len() as f64)
        };
        Self {
            ap: spread(|run| run.ap),
            ap50: spread(|run| run.ap50),
            ap75: spread(|run| run.ap75),
            ap_by_class: classes.iter().enumerate().map(|(i, name)| (name.clone(), of_class(i))).collect(),
        }
    }

    /// How much better than `other`, seed by seed.
    fn minus(&self, other: &Self) -> Self {
        Self {
            ap: self.ap.minus(&other.ap),
            ap50: self.ap50.minus(&other.ap50),
            ap75: self.ap75.minus(&other.ap75),
            ap_by_class: BTreeMap::new(),
        }
    }
}
