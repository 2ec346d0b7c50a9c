//! The changes that should not matter, each with the strengths it is swept over.

use super::change::{Square, byte};
use crate::ops::augment::ViewParams;
use crate::ops::augment::params::{BRIGHTNESS, CONTRAST, HUE, SATURATION, SKIP};
use crate::rng::{Philox, Purpose};
use crate::{Error, Result};

/// One nuisance.
#[derive(Debug, PartialEq)]
pub struct Nuisance {
    pub name: &'static str,
    /// Of the values.
    pub unit: &'static str,
    /// Strengths, rising; [`neutral`](Self::neutral) is one of them.
    pub values: &'static [f64],
    /// The value that changes nothing.
    pub neutral: f64,
    /// Gray images have nothing for it to change.
    pub needs_color: bool,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Position,
    Scale,
    Rotation,
    Brightness,
    Contrast,
    Saturation,
    Hue,
    Blur,
    Resolution,
    Occlusion,
}

const fn gray(
    kind: Kind,
    name: &'static str,
    unit: &'static str,
    neutral: f64,
    values: &'static [f64],
) -> Nuisance {
    Nuisance { name, unit, values, neutral, needs_color: false, kind }
}

const fn color(
    kind: Kind,
    name: &'static str,
    unit: &'static str,
    neutral: f64,
    values: &'static [f64],
) -> Nuisance {
    Nuisance { name, unit, values, neutral, needs_color: true, kind }
}

/// All that is swept. Lengths are shares of the image's side, so that curves of images of different sizes compare.
pub const NUISANCES: [Nuisance; 10] = [
    gray(
        Kind::Position,
        "position",
        "shift, share of the side",
        0.0,
        &[0.0, 0.04, 0.07, 0.11, 0.14, 0.21, 0.29],
    ),
    gray(Kind::Scale, "scale", "zoom factor", 1.0, &[0.5, 0.6, 0.75, 0.9, 1.0, 1.1, 1.3, 1.6, 2.0]),
    gray(Kind::Rotation, "rotation", "degrees", 0.0, &[0.0, 15.0, 30.0, 45.0, 60.0, 90.0, 135.0, 180.0]),
    gray(Kind::Brightness, "brightness", "factor", 1.0, &[0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0]),
    gray(Kind::Contrast, "contrast", "factor", 1.0, &[0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0]),
    color(Kind::Saturation, "saturation", "factor", 1.0, &[0.0, 0.5, 1.0, 1.5, 2.0, 3.0]),
    color(Kind::Hue, "hue", "turns", 0.0, &[0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5]),
    gray(Kind::Blur, "blur", "sigma, share of the side", 0.0, &[0.0, 0.02, 0.04, 0.06, 0.09, 0.12]),
    gray(Kind::Resolution, "resolution", "share of the side kept", 1.0, &[0.15, 0.25, 0.35, 0.5, 0.75, 1.0]),
    gray(Kind::Occlusion, "occlusion", "share of the area", 0.0, &[0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5]),
];

impl Nuisance {
    /// The `i`-th image u8 \[S,S,C\] changed by `value`. Shifts go right, down, left or up and turns left or right by
    /// `i`; where the occluding square lies is drawn for `i`. It has the colour `mean`, \[1\] or \[C\] in \[0, 1\].
    pub fn apply(
        &self,
        value: f64,
        i: usize,
        pixels: &[u8],
        size: usize,
        channels: usize,
        mean: &[f32],
    ) -> Result<Vec<u8>> {
        let image = Square { pixels, size, channels };
        let whole = ViewParams::crop(0, 0, size, size);
        let first = |step| [step, SKIP, SKIP, SKIP];
        let factor = value as f32;
        let view = |row: ViewParams| image.view(&row, size);
        let changed = match self.kind {
            Kind::Position => {
                let by = (value * size as f64).round() as i64;
                Ok(match i % 4 {
                    0 => image.shift(by, 0),
                    1 => image.shift(0, by),
                    2 => image.shift(-by, 0),
                    _ => image.shift(0, -by),
                })
            }
            Kind::Scale => Ok(image.zoom(value)),
            Kind::Rotation => Ok(image.rotate(if i.is_multiple_of(2) { value } else { -value })),
            Kind::Brightness => view(ViewParams { order: first(BRIGHTNESS), brightness: factor, ..whole }),
            Kind::Contrast => view(ViewParams { order: first(CONTRAST), contrast: factor, ..whole }),
            Kind::Saturation => view(ViewParams { order: first(SATURATION), saturation: factor, ..whole }),
            Kind::Hue => view(ViewParams { order: first(HUE), hue: factor, ..whole }),
            Kind::Blur => view(ViewParams { blur_sigma: factor * size as f32, ..whole }),
            Kind::Resolution => image.resolution(value),
            Kind::Occlusion => {
                // The same place whatever the seed of the run, so that runs compare.
                let mut rng = Philox::new(0, Purpose::Report, 1, i as u64);
                let place = [f64::from(rng.uniform()), f64::from(rng.uniform())];
                let fill: Vec<u8> =
                    (0..channels).map(|c| byte(255.0 * mean[c.min(mean.len() - 1)])).collect();
                Ok(image.occlude(value, place, &fill))
            }
        };
        changed.map_err(|what| Error::op("invariance", format!("{}: {what}", self.name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neutral_changes_nothing_and_every_other_value_something() {
        let (size, channels) = (28, 3);
        let mut rng = Philox::new(1, Purpose::Test, 0, 0);
        let pixels: Vec<u8> = (0..size * size * channels).map(|_| 40 + rng.below(150) as u8).collect();
        for nuisance in &NUISANCES {
            assert!(nuisance.values.is_sorted() && nuisance.values.contains(&nuisance.neutral));
            for &value in nuisance.values {
                for i in 0..4 {
                    let changed = nuisance.apply(value, i, &pixels, size, channels, &[0.5]).unwrap();
                    assert_eq!(changed.len(), pixels.len());
                    let most = changed.iter().zip(&pixels).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
                    // Bytes to floats and back: the hue's way through HSV may round once.
                    let same = most <= 1;
                    assert_eq!(same, value == nuisance.neutral, "{} {value}: {most}", nuisance.name);
                }
            }
        }
    }

    #[test]
    fn gray_images_have_no_color_to_change() {
        let pixels: Vec<u8> = (0..64).map(|i| 3 * i).collect();
        for nuisance in NUISANCES.iter().filter(|n| n.needs_color) {
            assert_eq!(nuisance.apply(0.3, 0, &pixels, 8, 1, &[0.5]).unwrap(), pixels);
        }
    }
}
