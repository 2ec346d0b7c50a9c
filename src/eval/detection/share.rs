//! Some of the scenes: how much does an encoder save of them?

use crate::rng::{Philox, Purpose};
use crate::{Error, Result};

/// Names the random streams of these draws among those of probes.
const DRAWS: u32 = 7;
/// Scenes a step, or all where there are fewer.
const BATCH: usize = 16;
/// Few scenes are seen more often, for at least so many steps, though no more than all scenes would take.
const STEPS: usize = 200;

/// A share of the scenes to learn from, and how to learn from so many.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// As asked for; see `scenes` for what is used.
    pub fraction: f64,
    pub scenes: usize,
    pub batch: usize,
    pub epochs: usize,
    total: usize,
}

impl Share {
    /// That fraction of `total` scenes, rounded, and at least one; `epochs` passes over all of them.
    ///
    /// Errors: the fraction is not above 0 and at most 1; there are no scenes.
    pub fn of(fraction: f64, total: usize, epochs: usize) -> Result<Self> {
        if !(fraction > 0.0 && fraction <= 1.0) {
            let what = format!("{fraction} is no share of the scenes: must be above 0 and at most 1");
            return Err(Error::config("detect.share", what));
        }
        if total == 0 {
            return Err(Error::config("detect.share", "there are no scenes to learn from"));
        }
        let scenes = ((total as f64 * fraction).round() as usize).max(1);
        let batch = BATCH.min(scenes);
        let least = STEPS.min(epochs * (total / BATCH.min(total)));
        let epochs = epochs.max(least.div_ceil(scenes / batch));
        Ok(Self { fraction, scenes, batch, epochs, total })
    }

    /// The scenes of a draw, in order. Of the same seed a larger draw holds the smaller ones.
    pub fn draw(&self, seed: u64) -> Vec<usize> {
        let mut rows: Vec<usize> = (0..self.total).collect();
        Philox::new(seed, Purpose::Probe, DRAWS, 0).shuffle(&mut rows);
        rows.truncate(self.scenes);
        rows.sort_unstable();
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_nested_seeded_and_whole_at_one() {
        let draw = |fraction, seed| Share::of(fraction, 300, 10).unwrap().draw(seed);
        let (small, large) = (draw(0.01, 4), draw(0.1, 4));
        assert_eq!((small.len(), large.len()), (3, 30));
        assert!(small.iter().all(|row| large.contains(row)) && large.is_sorted());
        assert_ne!(large, draw(0.1, 5));
        assert_eq!(draw(1.0, 4), (0..300).collect::<Vec<_>>());
        assert_eq!(draw(1e-9, 4).len(), 1);
    }

    #[test]
    fn few_scenes_are_seen_more_often() {
        let of = |fraction, total, epochs| {
            let Share { scenes, batch, epochs, .. } = Share::of(fraction, total, epochs).unwrap();
            (scenes, batch, epochs)
        };
        assert_eq!(of(1.0, 1000, 10), (1000, 16, 10));
        // One step a pass.
        assert_eq!(of(0.01, 1000, 10), (10, 10, 200));
        assert_eq!(of(0.1, 1000, 10), (100, 16, 34));
        // All scenes take no more than 12 steps.
        assert_eq!(of(0.5, 64, 3), (32, 16, 6));
        assert_eq!(of(1.0, 5, 3), (5, 5, 3));
    }

    #[test]
    fn what_is_no_share_is_said() {
        for fraction in [0.0, -1.0, 1.01, f64::NAN] {
            assert!(Share::of(fraction, 9, 1).unwrap_err().to_string().contains("no share of the scenes"));
        }
        assert!(Share::of(0.5, 0, 1).unwrap_err().to_string().contains("no scenes"));
    }
}
