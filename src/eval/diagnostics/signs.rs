//! Signs of collapse that the features alone do not show: prototypes without images, and a loss that has not left the
//! value it has when the network tells nothing apart.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// How many prototypes no image is assigned to.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeadPrototypes {
    pub prototypes: usize,
    pub dead: usize,
    /// Images asked: with fewer of them than prototypes some must stay without.
    pub images: usize,
}

impl DeadPrototypes {
    /// dead / prototypes.
    pub fn share(&self) -> f64 {
        self.dead as f64 / self.prototypes.max(1) as f64
    }
}

/// Assigns each image to its best-scoring prototype; `scores` `[n, prototypes]`, ties to the lower one.
///
/// Errors: no scores, no whole rows, values not finite.
pub fn dead_prototypes(scores: &[f32], prototypes: usize) -> Result<DeadPrototypes> {
    let images = crate::eval::features::check_rows("dead prototypes", scores, prototypes)?;
    let mut used = vec![false; prototypes];
    for row in scores.chunks_exact(prototypes) {
        let best = (1..prototypes).fold(0, |best, k| if row[k] > row[best] { k } else { best });
        used[best] = true;
    }
    let dead = used.iter().filter(|used| !**used).count();
    Ok(DeadPrototypes { prototypes, dead, images })
}

/// A loss beside the value it takes when all answers are equally likely.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct StuckLoss {
    /// Mean of the last quarter of the curve.
    pub loss: f64,
    /// What an even guess among the answers costs.
    pub chance: f64,
    /// Whether the last quarter of the curve is within the tolerance of it, or is not finite.
    pub stuck: bool,
}

/// Whether the last quarter of a loss curve has stayed within `tolerance` (a share, as 0.02) of `chance`.
///
/// Errors: an empty curve, a value of chance that is not above 0.
pub fn stuck_loss(losses: &[f64], chance: f64, tolerance: f64) -> Result<StuckLoss> {
    if losses.is_empty() || !(chance > 0.0 && chance.is_finite()) {
        let what =
            format!("{} losses against {chance}: needs one at least, and a number above 0", losses.len());
        return Err(Error::op("stuck loss", what));
    }
    let last = &losses[losses.len() - losses.len().div_ceil(4)..];
    let loss = last.iter().sum::<f64>() / last.len() as f64;
    let left = (loss - chance).abs() > tolerance * chance;
    Ok(StuckLoss { loss, chance, stuck: !left })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prototypes_without_images() {
        // Ties go to the first; the third prototype never wins.
        let found = dead_prototypes(&[1., 1., 0., 0., 2., 1., 5., 0., 4.], 3).unwrap();
        assert_eq!(found, DeadPrototypes { prototypes: 3, dead: 1, images: 3 });
        assert!((found.share() - 1.0 / 3.0).abs() < 1e-12);
        assert_eq!(dead_prototypes(&[0.0; 40], 10).unwrap().dead, 9);
        assert!(dead_prototypes(&[1., f32::NAN], 2).is_err() && dead_prototypes(&[], 2).is_err());
        assert!(dead_prototypes(&[1., 2., 3.], 2).unwrap_err().to_string().contains("whole rows"));
    }

    #[test]
    fn a_loss_that_does_not_move() {
        let chance = 255f64.ln();
        let stuck = |losses: &[f64]| stuck_loss(losses, chance, 0.02).unwrap().stuck;
        assert!(stuck(&[9.0, 7.0, 5.55, 5.54]) && stuck(&[chance]));
        // What it was early does not count; what it is now does.
        assert!(!stuck(&[chance, chance, chance, 4.0]) && !stuck(&[chance, chance, chance, 7.0]));
        assert!(stuck(&[1.0, 1.0, 1.0, f64::NAN]), "a loss that is no number has not left chance");
        assert!(stuck_loss(&[], chance, 0.02).is_err() && stuck_loss(&[1.0], f64::NAN, 0.02).is_err());
    }
}
