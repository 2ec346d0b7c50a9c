//! What may be drawn: ranges and probabilities.

use crate::ops::augment::{Augment, Interpolation};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// How views are drawn: one table of a configuration file. Probabilities are per view.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Area of the crop, as a share of the image's: least and most.
    pub crop_scale: [f32; 2],
    /// Width over height of the crop, log-uniform: least and most.
    pub crop_ratio: [f32; 2],
    /// Probability of mirroring left and right.
    pub flip: f32,
    /// Probability of the colour jitter.
    pub jitter: f32,
    /// Factors are uniform in \[max(0, 1 - this), 1 + this\].
    pub brightness: f32,
    pub contrast: f32,
    pub saturation: f32,
    /// The hue turns by \[-this, this\], in turns; at most 0.5.
    pub hue: f32,
    /// Probability of losing the colours.
    pub grayscale: f32,
    /// Probability of the Gaussian blur.
    pub blur: PerView,
    /// Its standard deviation in pixels of the view: least and most.
    pub blur_sigma: [f32; 2],
    /// Its kernel's length: see [`Augment::blur_kernel`].
    pub blur_kernel: usize,
    /// Probability of solarization.
    pub solarize: PerView,
    /// Values from here upwards are inverted; 128/255 is PIL's 128.
    pub solarize_threshold: f32,
    pub interpolation: Interpolation,
    pub antialias: bool,
    /// Of values in \[0, 1\]: one number, or one a channel.
    pub mean: Vec<f32>,
    pub std: Vec<f32>,
}

/// One number for all views, or one for each (a view past the last takes the last).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum PerView {
    All(f32),
    Each(Vec<f32>),
}

impl PerView {
    /// The number for `view`; 0 if the list is empty.
    pub fn of(&self, view: usize) -> f32 {
        match self {
            Self::All(p) => *p,
            Self::Each(list) => list.get(view).or(list.last()).copied().unwrap_or(0.0),
        }
    }

    fn all(&self) -> &[f32] {
        match self {
            Self::All(p) => std::slice::from_ref(p),
            Self::Each(list) => list,
        }
    }
}

/// Crops and flips as torchvision's defaults; no colour, no blur, no normalisation.
impl Default for Policy {
    fn default() -> Self {
        Self {
            crop_scale: [0.08, 1.0],
            crop_ratio: [3.0 / 4.0, 4.0 / 3.0],
            flip: 0.5,
            jitter: 0.0,
            brightness: 0.0,
            contrast: 0.0,
            saturation: 0.0,
            hue: 0.0,
            grayscale: 0.0,
            blur: PerView::All(0.0),
            blur_sigma: [0.1, 2.0],
            blur_kernel: 0,
            solarize: PerView::All(0.0),
            solarize_threshold: 128.0 / 255.0,
            interpolation: Interpolation::Bilinear,
            antialias: true,
            mean: vec![0.0],
            std: vec![1.0],
        }
    }
}

impl Policy {
    /// The op that makes this policy's views, of `size` × `size` pixels. Values are clamped after the resize, as in the
    /// 8-bit pipelines that the published settings come from.
    pub fn op(&self, size: usize) -> Augment {
        Augment {
            size,
            interpolation: self.interpolation,
            antialias: self.antialias,
            clamp: true,
            blur_kernel: self.blur_kernel,
            mean: self.mean.clone(),
            std: self.std.clone(),
            ..Augment::default()
        }
    }

    /// Whether every number can be used; if not, the key (below `augment`) and what is wrong.
    ///
    /// `size` and `channels` are those of the views: what the op itself needs is checked too.
    pub fn check(&self, size: usize, channels: usize) -> Result<()> {
        let fail = |key: &str, what: String| Err(Error::config(format!("augment.{key}"), what));
        let probabilities = [
            ("flip", &[self.flip][..]),
            ("jitter", &[self.jitter]),
            ("grayscale", &[self.grayscale]),
            ("blur", self.blur.all()),
            ("solarize", self.solarize.all()),
        ];
        for (key, values) in probabilities {
            if let Some(p) = values.iter().find(|p| !(0.0..=1.0).contains(*p)) {
                return fail(key, format!("{p} is no probability: must be from 0 to 1"));
            }
        }
        let ranges = [
            ("crop_scale", self.crop_scale, 1.0),
            ("crop_ratio", self.crop_ratio, f32::MAX),
            ("blur_sigma", self.blur_sigma, f32::MAX),
        ];
        for (key, [low, high], most) in ranges {
            if !(low > 0.0 && low <= high && high <= most) {
                return fail(key, format!("[{low}, {high}] must be rising, above 0 and at most {most}"));
            }
        }
        let strengths = [
            ("brightness", self.brightness, 1e3),
            ("contrast", self.contrast, 1e3),
            ("saturation", self.saturation, 1e3),
            ("hue", self.hue, 0.5),
            ("solarize_threshold", self.solarize_threshold, 1.0),
        ];
        for (key, value, most) in strengths {
            if !(0.0..=most).contains(&value) {
                return fail(key, format!("{value} must be from 0 to {most}"));
            }
        }
        self.op(size).check(channels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_of_a_configuration_file() {
        let policy: Policy = toml::from_str(
            "crop_scale = [0.2, 1.0]\nblur = 0.5\nsolarize = [0, 0.2]\ninterpolation = 'bicubic'\nmean = [0.5]\n",
        )
        .unwrap();
        assert_eq!((policy.blur.of(0), policy.blur.of(7)), (0.5, 0.5));
        assert_eq!([0, 1, 2].map(|v| policy.solarize.of(v)), [0.0, 0.2, 0.2]);
        assert_eq!(policy.flip, Policy::default().flip);
        let again: Policy = toml::from_str(&toml::to_string(&policy).unwrap()).unwrap();
        assert_eq!(again, policy);
        assert!(toml::from_str::<Policy>("colour = 1").is_err());
    }

    #[test]
    fn bad_numbers_are_named() {
        let bad = |line: &str| {
            let policy: Policy = toml::from_str(line).unwrap();
            policy.check(32, 3).unwrap_err().to_string()
        };
        assert!(bad("flip = 1.5").contains("augment.flip"));
        assert!(bad("blur = [0.1, nan]").contains("augment.blur"));
        assert!(bad("crop_scale = [0, 1]").contains("augment.crop_scale"));
        assert!(bad("crop_ratio = [2, 1]").contains("augment.crop_ratio"));
        assert!(bad("blur_sigma = [0.1, inf]").contains("augment.blur_sigma"));
        assert!(bad("hue = 0.6").contains("augment.hue"));
        assert!(bad("contrast = -1").contains("augment.contrast"));
        assert!(bad("mean = [0.1, 0.2]").contains("`mean`"));
    }
}
