//! The learning rate of each step: linear warm-up, then half a cosine to zero (Loshchilov & Hutter, SGDR, 2017).

use super::Optimizer;
use crate::{Error, Result};

/// A learning rate for every step of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    peak: f64,
    start: f64,
    warmup: u64,
    steps: u64,
}

impl Schedule {
    /// The schedule of a run of `epochs` × `steps_per_epoch` steps.
    pub fn new(optimizer: &Optimizer, batch: usize, epochs: usize, steps_per_epoch: u64) -> Result<Self> {
        let check = |key: &str, value: f32| {
            if value.is_finite() && value >= 0.0 {
                return Ok(f64::from(value));
            }
            Err(Error::config(
                format!("optimizer.{key}"),
                format!("must be a number of at least 0, but is {value}"),
            ))
        };
        let peak = check("lr", optimizer.lr)? * batch as f64 / 256.0;
        let start = check("warmup_start", optimizer.warmup_start)?.min(peak);
        let steps = epochs as u64 * steps_per_epoch;
        let warmup =
            (check("warmup_epochs", optimizer.warmup_epochs)? * steps_per_epoch as f64).round() as u64;
        Ok(Self { peak, start, warmup: warmup.min(steps), steps })
    }

    /// Steps in all.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The highest learning rate: what warm-up leads to and decay comes from.
    pub fn peak(&self) -> f32 {
        self.peak as f32
    }

    /// The learning rate of step `step`, counted from 0.
    pub fn lr(&self, step: u64) -> f32 {
        if step < self.warmup {
            return (self.start + (self.peak - self.start) * step as f64 / self.warmup as f64) as f32;
        }
        let rest = (self.steps - self.warmup).max(1) as f64;
        let progress = ((step - self.warmup) as f64 / rest).min(1.0);
        (0.5 * self.peak * (1.0 + (std::f64::consts::PI * progress).cos())) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn warms_up_peaks_and_ends_near_zero() {
        let optimizer = Optimizer { lr: 0.4, warmup_epochs: 2.0, warmup_start: 0.0, ..Optimizer::default() };
        let schedule = Schedule::new(&optimizer, 512, 10, 5).unwrap();
        assert_eq!(schedule.steps(), 50);
        assert_eq!(schedule.lr(0), 0.0);
        assert!((schedule.lr(5) - 0.4).abs() < 1e-6);
        assert!((schedule.lr(10) - 0.8).abs() < 1e-6);
        assert!((schedule.lr(30) - 0.4).abs() < 1e-6);
        assert!(schedule.lr(49) > 0.0 && schedule.lr(49) < 0.01);
        assert!((10..49).all(|s| schedule.lr(s + 1) < schedule.lr(s)));
    }

    #[test]
    fn a_learning_rate_that_is_no_number_is_an_error() {
        let optimizer = Optimizer { lr: f32::NAN, ..Optimizer::default() };
        assert!(Schedule::new(&optimizer, 256, 1, 1).unwrap_err().to_string().contains("optimizer.lr"));
    }
}
