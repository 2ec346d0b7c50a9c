//! Numbers that change over a run, other than the learning rate.

use std::f64::consts::PI;

/// A number's course from the first step to the last.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ramp {
    from: f32,
    to: f32,
}

impl Ramp {
    pub fn constant(value: f32) -> Self {
        Self { from: value, to: value }
    }

    /// Half a cosine, as BYOL's moving average goes to 1 (Grill et al., NeurIPS 2020, section 3.2).
    pub fn cosine(from: f32, to: f32) -> Self {
        Self { from, to }
    }

    /// The value after this share of the run.
    pub fn at(&self, progress: f64) -> f32 {
        let (from, to) = (f64::from(self.from), f64::from(self.to));
        (to - (to - from) * 0.5 * (1.0 + (PI * progress.clamp(0.0, 1.0)).cos())) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_from_one_end_to_the_other() {
        let ramp = Ramp::cosine(0.99, 1.0);
        assert_eq!([0.0, 0.5, 1.0, 2.0].map(|p| ramp.at(p)), [0.99, 0.995, 1.0, 1.0]);
        assert_eq!(Ramp::constant(0.9).at(0.3), 0.9);
    }
}
