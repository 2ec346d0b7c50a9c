//! Published settings by name.

use super::{PerView, Policy};
use crate::ops::augment::Interpolation::{self, Bicubic, Bilinear};
use crate::{Error, Result};

/// One published pipeline.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    pub name: &'static str,
    /// Least area of the crop; the most is 1.
    crop: f32,
    /// Brightness, contrast, saturation, hue; with probability 0.8.
    jitter: [f32; 4],
    grayscale: f32,
    /// Probability by view; the last is that of all later ones.
    blur: &'static [f32],
    /// Length of the blur's kernel; 0: three standard deviations.
    kernel: usize,
    /// Probability by view; the last is that of all later ones.
    solarize: &'static [f32],
    interpolation: Interpolation,
    statistics: Statistics,
    /// Where the numbers come from.
    pub source: &'static str,
}

/// Mean and standard deviation of a data set.
type Statistics = (&'static [f32], &'static [f32]);

const CIFAR10: Statistics = (&[0.4914, 0.4822, 0.4465], &[0.2470, 0.2435, 0.2616]);
const RAW: Statistics = (&[0.0; 3], &[1.0; 3]);
const IMAGENET: Statistics = (&[0.485, 0.456, 0.406], &[0.229, 0.224, 0.225]);
const FASHION: Statistics = (&[0.2860], &[0.3530]);

const STRONG: [f32; 4] = [0.8, 0.8, 0.8, 0.2];
const MEDIUM: [f32; 4] = [0.6, 0.6, 0.6, 0.2];
const WEAK: [f32; 4] = [0.4, 0.4, 0.4, 0.1];
const BYOL: [f32; 4] = [0.4, 0.4, 0.2, 0.1];
const GRAY: [f32; 4] = [0.8, 0.8, 0.0, 0.0];

const SOLO: &str = "solo-learn, scripts/pretrain/cifar";
const MULTI: &str = "solo-learn, scripts/pretrain/cifar-multicrop; its small crops have jitter 0.8";
const LIGHTLY: &str = "lightly, cifar10_benchmark.py";
const GOOGLE: &str = "google-research/simclr, README and data_util.py";
const SIMCLR: &str = "Chen et al., SimCLR (ICML 2020), appendix A; kernel a tenth of 224 pixels";
const OURS: &str = "ours, for gray 28-pixel images: SimCLR's strong jitter and blur without colour";

/// Every preset. Flip 0.5, ratio 3/4 to 4/3, blur 0.1 to 2 pixels, solarization from 128/255 in all of them.
#[rustfmt::skip]
pub const PRESETS: &[Preset] = &[
    //  name                         crop  jitter  gray blur              kernel solarize         interp.   statistics source
    row("fashion-mnist",             0.20, GRAY,   0.0, &[0.5],           0,     &[0.0],           Bilinear, FASHION,  OURS),
    row("cifar-simclr",              0.08, STRONG, 0.2, &[0.5],           0,     &[0.0],           Bicubic,  CIFAR10,  SOLO),
    row("cifar-moco-v2",             0.08, WEAK,   0.2, &[0.5],           0,     &[0.0],           Bicubic,  CIFAR10,  SOLO),
    row("cifar-moco-v3",             0.08, BYOL,   0.2, &[0.0],           0,     &[0.0, 0.2],      Bicubic,  CIFAR10,  SOLO),
    row("cifar-nnclr",               0.08, BYOL,   0.2, &[0.0],           0,     &[0.0, 0.2],      Bicubic,  CIFAR10,  SOLO),
    row("cifar-byol",                0.08, BYOL,   0.2, &[0.0],           0,     &[0.0, 0.2],      Bicubic,  CIFAR10,  SOLO),
    row("cifar-simsiam",             0.08, WEAK,   0.2, &[0.5],           0,     &[0.0],           Bicubic,  CIFAR10,  SOLO),
    row("cifar-dino",                0.08, BYOL,   0.2, &[0.0],           0,     &[0.0, 0.2],      Bicubic,  CIFAR10,  SOLO),
    row("cifar-barlow-twins",        0.08, BYOL,   0.2, &[0.0],           0,     &[0.0, 0.2],      Bicubic,  CIFAR10,  SOLO),
    row("cifar-vicreg",              0.20, BYOL,   0.2, &[0.0],           0,     &[0.1],           Bicubic,  CIFAR10,  SOLO),
    row("cifar-w-mse",               0.20, STRONG, 0.2, &[0.0],           0,     &[0.0],           Bicubic,  CIFAR10,  SOLO),
    row("cifar-swav",                0.08, STRONG, 0.2, &[0.5],           0,     &[0.0],           Bicubic,  CIFAR10,  SOLO),
    row("cifar-swav-multicrop",      0.20, MEDIUM, 0.2, &[0.0, 0.0, 0.1], 0,     &[0.0, 0.2, 0.1], Bicubic,  CIFAR10,  MULTI),
    row("cifar-deepcluster-v2",      0.08, STRONG, 0.2, &[0.5],           0,     &[0.0],           Bicubic,  CIFAR10,  SOLO),
    row("lightly-cifar-simclr",      0.08, WEAK,   0.2, &[0.0],           0,     &[0.0],           Bilinear, IMAGENET, LIGHTLY),
    row("lightly-cifar-moco",        0.08, WEAK,   0.2, &[0.0],           0,     &[0.0],           Bilinear, IMAGENET, LIGHTLY),
    row("lightly-cifar-byol",        0.08, BYOL,   0.2, &[0.0],           0,     &[0.0, 0.2],      Bilinear, IMAGENET, LIGHTLY),
    row("lightly-cifar-simsiam",     0.20, WEAK,   0.2, &[0.0],           0,     &[0.0],           Bilinear, IMAGENET, LIGHTLY),
    row("lightly-cifar-barlow-twins", 0.08, BYOL,   0.2, &[0.0],           0,     &[0.0, 0.2],      Bilinear, IMAGENET, LIGHTLY),
    row("lightly-cifar-swav",        0.14, WEAK,   0.2, &[0.0],           0,     &[0.0],           Bilinear, IMAGENET, LIGHTLY),
    row("google-cifar-simclr",       0.08, WEAK,   0.2, &[0.0],           0,     &[0.0],           Bicubic,  RAW,      GOOGLE),
    row("imagenet-simclr",           0.08, STRONG, 0.2, &[0.5],           23,    &[0.0],           Bicubic,  IMAGENET, SIMCLR),
];

#[allow(clippy::too_many_arguments)]
const fn row(
    name: &'static str,
    crop: f32,
    jitter: [f32; 4],
    grayscale: f32,
    blur: &'static [f32],
    kernel: usize,
    solarize: &'static [f32],
    interpolation: Interpolation,
    statistics: Statistics,
    source: &'static str,
) -> Preset {
    Preset { name, crop, jitter, grayscale, blur, kernel, solarize, interpolation, statistics, source }
}

impl Preset {
    /// The policy, whose every number may then be changed.
    pub fn policy(&self) -> Policy {
        let [brightness, contrast, saturation, hue] = self.jitter;
        let per_view = |all: &[f32]| match all {
            &[one] => PerView::All(one),
            each => PerView::Each(each.to_vec()),
        };
        Policy {
            crop_scale: [self.crop, 1.0],
            jitter: 0.8,
            brightness,
            contrast,
            saturation,
            hue,
            grayscale: self.grayscale,
            blur: per_view(self.blur),
            blur_kernel: self.kernel,
            solarize: per_view(self.solarize),
            interpolation: self.interpolation,
            mean: self.statistics.0.to_vec(),
            std: self.statistics.1.to_vec(),
            ..Policy::default()
        }
    }
}

/// The preset of that name, or an error that lists the names there are.
pub fn preset(name: &str) -> Result<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name).ok_or_else(|| {
        let names: Vec<_> = PRESETS.iter().map(|preset| preset.name).collect();
        Error::config("preset", format!("there is no preset `{name}`; there are {}", names.join(", ")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_preset_is_valid_and_survives_a_configuration_file() {
        for preset in PRESETS {
            let policy = preset.policy();
            let (size, channels) = if preset.kernel > 0 { (224, 3) } else { (32, policy.mean.len()) };
            policy.check(size, channels).unwrap();
            assert_eq!(toml::from_str::<Policy>(&toml::to_string(&policy).unwrap()).unwrap(), policy);
            assert_eq!(PRESETS.iter().filter(|p| p.name == preset.name).count(), 1, "{}", preset.name);
            assert!(!preset.source.is_empty());
        }
    }

    #[test]
    fn an_unknown_name_lists_the_known() {
        let error = preset("cifar-simcrl").unwrap_err().to_string();
        assert!(PRESETS.iter().all(|p| error.contains(p.name)), "{error}");
        assert_eq!(preset("cifar-byol").unwrap().policy().solarize.of(1), 0.2);
    }
}
