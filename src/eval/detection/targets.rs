//! What each cell of the feature maps is to predict, and what its predictions mean.
//!
//! As in FCOS (Tian et al. 2019): a cell near the middle of an object predicts its class and the distances to the four
//! sides of its box; objects go to maps by their size.

use super::{Found, Rect, Truth, non_maximum_suppression};

/// A cell this many strides from an object's centre, along both axes, is still to find it (FCOS's centre sampling).
const RADIUS: f64 = 1.5;
/// The largest distance to a side that a map predicts, in its strides; the last map takes all that are larger.
const REACH: f64 = 4.0;
/// Distances are predicted as exp(r) times so many strides.
const UNIT: f64 = 2.0;
/// Bounds of r.
const EXPONENT: f64 = 6.0;
/// Added to the logits of classes: at the start each cell holds an object with probability 0.01 (Lin et al. 2017,
/// section 3.3), or background alone would make up the loss.
pub const PRIOR: f64 = -4.595_119_850_134_59;
/// Detections of a lower score are dropped.
const LEAST_SCORE: f64 = 0.05;
/// Detections of one class that overlap by a larger IoU are one.
const NMS_IOU: f64 = 0.6;
const MOST_FOUND: usize = 100;

/// A feature map: cells and the pixels from one to the next.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    pub height: usize,
    pub width: usize,
    pub stride: f64,
}

impl Level {
    pub fn cells(&self) -> usize {
        self.height * self.width
    }

    /// The point that a cell looks from.
    fn centre(&self, cell: usize) -> (f64, f64) {
        (
            (cell % self.width) as f64 * self.stride + self.stride / 2.0,
            (cell / self.width) as f64 * self.stride + self.stride / 2.0,
        )
    }

    /// A distance in pixels from a prediction.
    pub fn distance(&self, r: f32) -> f64 {
        UNIT * self.stride * f64::from(r).clamp(-EXPONENT, EXPONENT).exp()
    }

    /// Whether `distance` follows the prediction there, or is at a bound.
    pub fn moves(r: f32) -> bool {
        f64::from(r).abs() < EXPONENT
    }
}

/// What a cell is to predict.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    Background,
    /// The cell lies in what does not count: nothing is learnt from it.
    Ignored,
    /// Pixels to the left, top, right and bottom of the object's box.
    Object {
        class: usize,
        sides: [f64; 4],
    },
}

/// The targets of every cell, level after level. Where objects overlap a cell belongs to the smallest.
pub fn targets(truths: &[Truth], levels: &[Level]) -> Vec<Target> {
    let mut all = Vec::with_capacity(levels.iter().map(Level::cells).sum());
    for (i, level) in levels.iter().enumerate() {
        let above = if i == 0 { 0.0 } else { REACH * levels[i - 1].stride };
        let below = if i + 1 == levels.len() { f64::INFINITY } else { REACH * level.stride };
        for cell in 0..level.cells() {
            let (x, y) = level.centre(cell);
            let mut target = Target::Background;
            let mut smallest = f64::INFINITY;
            for &Truth { rect: Rect { x: left, y: top, width, height }, class, crowd, ignore } in truths {
                let sides = [x - left, y - top, left + width - x, top + height - y];
                if !sides.iter().all(|&side| side > 0.0) {
                    continue;
                }
                if crowd || ignore {
                    if target == Target::Background {
                        target = Target::Ignored;
                    }
                    continue;
                }
                let off = (x - left - width / 2.0).abs().max((y - top - height / 2.0).abs());
                let reach = width.max(height) / 2.0;
                if off < RADIUS * level.stride && reach > above && reach <= below && width * height < smallest
                {
                    smallest = width * height;
                    target = Target::Object { class, sides };
                }
            }
            all.push(target);
        }
    }
    all
}

/// The detections of one picture: `logits` \[cells,K\] and `sides` \[cells,4\] of each level.
pub fn decode(levels: &[Level], logits: &[&[f32]], sides: &[&[f32]], classes: usize) -> Vec<Found> {
    let mut found = Vec::new();
    for (level, (logits, sides)) in levels.iter().zip(logits.iter().zip(sides)) {
        for (cell, (logits, sides)) in logits.chunks_exact(classes).zip(sides.chunks_exact(4)).enumerate() {
            for (class, &logit) in logits.iter().enumerate() {
                let score = 1.0 / (1.0 + (-f64::from(logit) - PRIOR).exp());
                if score < LEAST_SCORE {
                    continue;
                }
                let (x, y) = level.centre(cell);
                let [l, t, r, b] = [0, 1, 2, 3].map(|i| level.distance(sides[i]));
                let rect = Rect { x: x - l, y: y - t, width: l + r, height: t + b };
                found.push(Found { rect, class, score });
            }
        }
    }
    non_maximum_suppression(found, NMS_IOU, MOST_FOUND)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEVELS: [Level; 3] = [
        Level { height: 32, width: 32, stride: 2.0 },
        Level { height: 16, width: 16, stride: 4.0 },
        Level { height: 8, width: 8, stride: 8.0 },
    ];

    fn truth(x: f64, y: f64, width: f64, height: f64, class: usize) -> Truth {
        Truth { rect: Rect { x, y, width, height }, class, crowd: false, ignore: false }
    }

    /// A detector that predicts its targets finds what is there.
    #[test]
    fn targets_decode_to_the_objects() {
        let truths = [
            truth(4.0, 6.0, 12.0, 9.0, 0),
            truth(20.0, 1.0, 25.0, 20.0, 2),
            truth(10.0, 25.0, 50.0, 38.0, 1),
        ];
        let targets = targets(&truths, &LEVELS);
        let (mut logits, mut sides) = (vec![], vec![]);
        let mut at = 0;
        for level in LEVELS {
            let (mut l, mut s) = (vec![-9.0f32; level.cells() * 3], vec![0.0f32; level.cells() * 4]);
            for cell in 0..level.cells() {
                if let Target::Object { class, sides } = targets[at + cell] {
                    l[cell * 3 + class] = 9.0;
                    for (r, side) in s[cell * 4..][..4].iter_mut().zip(sides) {
                        *r = (side / (UNIT * level.stride)).ln() as f32;
                    }
                }
            }
            at += level.cells();
            logits.push(l);
            sides.push(s);
        }
        let logits: Vec<&[f32]> = logits.iter().map(Vec::as_slice).collect();
        let sides: Vec<&[f32]> = sides.iter().map(Vec::as_slice).collect();
        let mut found = decode(&LEVELS, &logits, &sides, 3);
        found.sort_by_key(|f| f.class);
        assert_eq!(found.iter().map(|f| f.class).collect::<Vec<_>>(), [0, 1, 2]);
        for (found, truth) in found.iter().zip([truths[0], truths[2], truths[1]]) {
            assert!(found.rect.iou(&truth.rect) > 0.9999 && found.score > 0.98, "{found:?}");
        }
    }

    #[test]
    fn objects_go_to_one_level_by_size_and_small_ones_win() {
        let count = |truths: &[Truth]| {
            let all = targets(truths, &LEVELS);
            let of = |cells: &[Target]| cells.iter().filter(|t| matches!(t, Target::Object { .. })).count();
            [of(&all[..1024]), of(&all[1024..1280]), of(&all[1280..])]
        };
        assert!(matches!(count(&[truth(4.0, 4.0, 16.0, 16.0, 0)]), [(1..), 0, 0]));
        assert!(matches!(count(&[truth(4.0, 4.0, 20.0, 16.0, 0)]), [0, (1..), 0]));
        assert!(matches!(count(&[truth(4.0, 4.0, 40.0, 16.0, 0)]), [0, 0, (1..)]));
        let both = targets(&[truth(0.0, 0.0, 16.0, 16.0, 0), truth(4.0, 4.0, 8.0, 8.0, 1)], &LEVELS);
        assert!(both.iter().all(|t| !matches!(t, Target::Object { class: 0, .. })));
        let crowd = Truth { crowd: true, ..truth(0.0, 0.0, 64.0, 64.0, 0) };
        assert!(targets(&[crowd], &LEVELS).iter().all(|&t| t == Target::Ignored));
    }
}
