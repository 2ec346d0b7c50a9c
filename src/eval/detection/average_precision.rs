//! Mean average precision by the COCO rule (Lin et al. 2014; `pycocotools.cocoeval`, whose numbers these are to the
//! last digits): averaged over IoU thresholds .50:.05:.95 and 101 levels of recall, boxes of all sizes, at most 100
//! detections an image.

use super::{Found, Truth};
use crate::{Error, Result};
use rayon::prelude::*;
use serde::Serialize;

/// Detections of an image and class that are looked at, the best first.
const MOST_FOUND: usize = 100;
const THRESHOLDS: usize = 10;
const RECALLS: usize = 101;

/// How well objects were found, shares from 0 to 1.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AveragePrecision {
    /// Over all IoU thresholds and classes: COCO's `AP`.
    pub ap: f64,
    /// At IoU 0.5: the measure of Pascal VOC, but for its interpolation.
    pub ap50: f64,
    /// At IoU 0.75.
    pub ap75: f64,
    /// `ap` of each class; none where there is nothing to find.
    pub by_class: Vec<Option<f64>>,
}

/// Judges what was found in each image against what is there.
///
/// Errors: different numbers of images, a class that is not below `classes`, a score that is NaN, nothing to find.
pub fn average_precision(
    truths: &[Vec<Truth>],
    found: &[Vec<Found>],
    classes: usize,
) -> Result<AveragePrecision> {
    let fail = |what: String| Err(Error::op("average precision", what));
    if truths.len() != found.len() {
        return fail(format!("{} images with objects, {} with detections", truths.len(), found.len()));
    }
    let all = truths.iter().flatten().map(|t| t.class).chain(found.iter().flatten().map(|f| f.class));
    if let Some(class) = all.into_iter().find(|&class| class >= classes) {
        return fail(format!("class {class} of {classes}"));
    }
    if found.iter().flatten().any(|f| f.score.is_nan()) {
        return fail("a score is NaN; the detector has diverged".into());
    }
    let curves: Vec<Option<[f64; THRESHOLDS]>> =
        (0..classes).into_par_iter().map(|class| of_class(truths, found, class)).collect();
    let present: Vec<&[f64; THRESHOLDS]> = curves.iter().flatten().collect();
    if present.is_empty() {
        return fail("there is no object to find in any image".into());
    }
    let at = |i: usize| present.iter().map(|curve| curve[i]).sum::<f64>() / present.len() as f64;
    let mean = |curve: &[f64; THRESHOLDS]| curve.iter().sum::<f64>() / THRESHOLDS as f64;
    Ok(AveragePrecision {
        ap: (0..THRESHOLDS).map(at).sum::<f64>() / THRESHOLDS as f64,
        ap50: at(0),
        ap75: at(5),
        by_class: curves.iter().map(|curve| curve.as_ref().map(mean)).collect(),
    })
}

/// `numpy.linspace(0.5, 0.95, 10)`.
fn threshold(i: usize) -> f64 {
    if i + 1 == THRESHOLDS { 0.95 } else { 0.5 + i as f64 * ((0.95 - 0.5) / (THRESHOLDS - 1) as f64) }
}

/// Average precision of a class at each threshold; none if it has no object that counts.
fn of_class(truths: &[Vec<Truth>], found: &[Vec<Found>], class: usize) -> Option<[f64; THRESHOLDS]> {
    let mut count = 0;
    let mut matched: Vec<Match> = Vec::new();
    for (truths, found) in truths.iter().zip(found) {
        let mut truths: Vec<&Truth> = truths.iter().filter(|t| t.class == class).collect();
        // What counts comes first, so that a detection takes it rather than what does not.
        truths.sort_by_key(|t| t.crowd || t.ignore);
        count += truths.iter().filter(|t| !(t.crowd || t.ignore)).count();
        let mut found: Vec<&Found> = found.iter().filter(|f| f.class == class).collect();
        found.sort_by(|a, b| b.score.total_cmp(&a.score));
        found.truncate(MOST_FOUND);
        matched.extend(match_image(&truths, &found));
    }
    if count == 0 {
        return None;
    }
    matched.sort_by(|a, b| b.score.total_cmp(&a.score));
    Some(std::array::from_fn(|t| interpolated(matched.iter().map(|m| m.outcome[t]), count)))
}

/// What a detection came to.
#[derive(Clone, Copy, PartialEq)]
enum Outcome {
    Right,
    Wrong,
    /// It found what does not count.
    Ignored,
}

struct Match {
    score: f64,
    outcome: [Outcome; THRESHOLDS],
}

/// Greedy matching: each detection, best first, takes the object that it overlaps most among those left.
fn match_image(truths: &[&Truth], found: &[&Found]) -> Vec<Match> {
    // Of a crowd, the share of the detection that lies in it.
    let iou = |f: &Found, t: &Truth| match t.crowd {
        true => f.rect.intersection(&t.rect) / f.rect.area().max(f64::MIN_POSITIVE),
        false => f.rect.iou(&t.rect),
    };
    let overlaps: Vec<Vec<f64>> = found.iter().map(|f| truths.iter().map(|t| iou(f, t)).collect()).collect();
    let mut matches: Vec<Match> =
        found.iter().map(|f| Match { score: f.score, outcome: [Outcome::Wrong; THRESHOLDS] }).collect();
    let ignored = |i: usize| truths[i].crowd || truths[i].ignore;
    for t in 0..THRESHOLDS {
        let mut taken = vec![false; truths.len()];
        for (found, overlaps) in matches.iter_mut().zip(&overlaps) {
            let mut least = threshold(t).min(1.0 - 1e-10);
            let mut best: Option<usize> = None;
            for (i, &overlap) in overlaps.iter().enumerate() {
                if taken[i] && !truths[i].crowd {
                    continue;
                }
                if best.is_some_and(|b| !ignored(b)) && ignored(i) {
                    break;
                }
                if overlap >= least {
                    (least, best) = (overlap, Some(i));
                }
            }
            if let Some(best) = best {
                taken[best] = true;
                found.outcome[t] = if ignored(best) { Outcome::Ignored } else { Outcome::Right };
            }
        }
    }
    matches
}

/// The mean over 101 levels of recall of the best precision at that recall or more.
fn interpolated(outcomes: impl Iterator<Item = Outcome>, count: usize) -> f64 {
    let (mut right, mut wrong) = (0.0, 0.0);
    let mut curve: Vec<(f64, f64)> = Vec::new();
    for outcome in outcomes {
        match outcome {
            Outcome::Right => right += 1.0,
            Outcome::Wrong => wrong += 1.0,
            // As pycocotools, whose curve has a point here too, which changes no maximum.
            Outcome::Ignored => continue,
        }
        curve.push((right / count as f64, right / (right + wrong + f64::EPSILON)));
    }
    for i in (1..curve.len()).rev() {
        curve[i - 1].1 = curve[i - 1].1.max(curve[i].1);
    }
    let precision = |level: usize| {
        let recall = level as f64 * 0.01;
        curve.get(curve.partition_point(|&(r, _)| r < recall)).map_or(0.0, |&(_, p)| p)
    };
    (0..RECALLS).map(precision).sum::<f64>() / RECALLS as f64
}

#[cfg(test)]
#[path = "average_precision_tests.rs"]
mod tests;
