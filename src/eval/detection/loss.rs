//! The detector's loss and its gradient by the predictions: focal loss of every cell (Lin et al. 2017) and −ln IoU of
//! the cells that hold an object (FCOS, Tian et al. 2019), each over the number of such cells.
//!
//! On the host, like the targets: the predictions are a few thousand numbers, and where no cell holds an object there
//! is no box loss to speak of.

use super::targets::{Level, PRIOR, Target};

/// The weight of objects against background.
const ALPHA: f64 = 0.25;
/// How much less sure cells count.
const GAMMA: f64 = 2.0;

/// Adds the loss of the cells of one level of one picture, times `scale`, and writes its gradients.
pub fn cells(
    level: &Level,
    targets: &[Target],
    logits: &[f32],
    sides: &[f32],
    scale: f64,
    d_logits: &mut [f32],
    d_sides: &mut [f32],
) -> f64 {
    let classes = logits.len() / targets.len();
    let mut loss = 0.0;
    d_logits.fill(0.0);
    d_sides.fill(0.0);
    for (cell, target) in targets.iter().enumerate() {
        let own = match target {
            Target::Ignored => continue,
            Target::Background => None,
            Target::Object { class, .. } => Some(*class),
        };
        for class in 0..classes {
            let at = cell * classes + class;
            let (value, slope) = focal(f64::from(logits[at]) + PRIOR, own == Some(class));
            loss += scale * value;
            d_logits[at] = (scale * slope) as f32;
        }
        if let Target::Object { sides: wanted, .. } = target {
            let at = cell * 4;
            let predicted = [0, 1, 2, 3].map(|i| level.distance(sides[at + i]));
            let (value, slopes) = iou(predicted, *wanted);
            loss += scale * value;
            for i in 0..4 {
                // distance = unit · exp(r): its slope by r is itself.
                let moves = f64::from(u8::from(Level::moves(sides[at + i])));
                d_sides[at + i] = (scale * slopes[i] * predicted[i] * moves) as f32;
            }
        }
    }
    loss
}

/// −α (1 − p)^γ ln p where the object is there, −(1 − α) p^γ ln(1 − p) where not, with p = σ(x); and the slope by x.
fn focal(x: f64, there: bool) -> (f64, f64) {
    // By symmetry the loss of an object at x is that of background at −x, but for α.
    let (x, weight, sign) = if there { (x, ALPHA, 1.0) } else { (-x, 1.0 - ALPHA, -1.0) };
    // ln σ(x) without overflow.
    let log_p = if x > 0.0 { -(-x).exp().ln_1p() } else { x - x.exp().ln_1p() };
    let p = log_p.exp();
    let rest = (1.0 - p).max(0.0);
    let value = -weight * rest.powf(GAMMA) * log_p;
    (value, sign * weight * rest.powf(GAMMA) * (GAMMA * p * log_p - rest))
}

/// −ln IoU of two boxes around one point, given as distances to left, top, right and bottom; and its slope by each of
/// the first box's.
fn iou(a: [f64; 4], b: [f64; 4]) -> (f64, [f64; 4]) {
    let inside: [f64; 4] = std::array::from_fn(|i| a[i].min(b[i]));
    let extent = |s: [f64; 4]| [s[0] + s[2], s[1] + s[3]];
    let ([aw, ah], [bw, bh], [iw, ih]) = (extent(a), extent(b), extent(inside));
    let intersection = iw * ih;
    let union = aw * ah + bw * bh - intersection;
    let slopes = std::array::from_fn(|i| {
        let (of_area, of_inside) = if i % 2 == 0 { (ah, ih) } else { (aw, iw) };
        let d_inside = if a[i] < b[i] { of_inside } else { 0.0 };
        (of_area - d_inside) / union - d_inside / intersection
    });
    ((union / intersection).ln(), slopes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Philox, Purpose};

    #[test]
    fn focal_loss_by_hand() {
        // p = 1/2: α/4 ln 2.
        assert!((focal(0.0, true).0 - 0.0625 * 2f64.ln()).abs() < 1e-12);
        assert!((focal(0.0, false).0 - 0.1875 * 2f64.ln()).abs() < 1e-12);
        for x in [-800.0, 800.0] {
            let (value, slope) = focal(x, x < 0.0);
            assert!(value > 100.0 && slope.is_finite(), "{value} {slope}");
        }
    }

    #[test]
    fn iou_loss_by_hand() {
        let (same, slopes) = iou([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0]);
        assert_eq!(same, 0.0);
        // Too large already: growth costs.
        assert!(slopes.iter().all(|&s| s > 0.0));
        // Half of the other: IoU 1/2.
        assert!((iou([1.0, 1.0, 1.0, 1.0], [1.0, 1.0, 3.0, 1.0]).0 - 2f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn gradients_are_finite_differences() {
        let mut rng = Philox::new(1, Purpose::Test, 0, 0);
        let level = Level { height: 2, width: 3, stride: 4.0 };
        let targets = [
            Target::Background,
            Target::Object { class: 1, sides: [3.0, 5.0, 7.0, 2.0] },
            Target::Ignored,
            Target::Object { class: 0, sides: [9.0, 1.0, 4.0, 4.0] },
            Target::Background,
            Target::Object { class: 2, sides: [6.0, 6.0, 6.0, 6.0] },
        ];
        let mut values: Vec<f32> = (0..6 * 7).map(|_| rng.normal()).collect();
        values[..18].iter_mut().for_each(|v| *v = 2.0 * *v + 4.0);
        let of = |values: &[f32]| {
            let mut d = vec![0.0; values.len()];
            let (d_logits, d_sides) = d.split_at_mut(18);
            (cells(&level, &targets, &values[..18], &values[18..], 0.5, d_logits, d_sides), d)
        };
        let (_, slopes) = of(&values);
        for i in 0..values.len() {
            let moved = |by: f32| {
                let mut moved = values.clone();
                moved[i] += by;
                (of(&moved).0, f64::from(moved[i]))
            };
            let ((high, x1), (low, x0)) = (moved(1e-2), moved(-1e-2));
            let numeric = (high - low) / (x1 - x0);
            let error = (numeric - f64::from(slopes[i])).abs();
            // The second-order error of the difference, with curvatures of a few.
            assert!(error < 5e-4 * (1.0 + numeric.abs()), "{i}: {numeric} {}", slopes[i]);
        }
        assert!(slopes[6..9].iter().all(|&s| s == 0.0), "an ignored cell has no gradient");
    }
}
