//! *Invariance*: how far do features move as an image changes in one way alone?

use super::change::byte;
use super::nuisance::{NUISANCES, Nuisance};
use crate::augment::Policy;
use crate::data::{BadFiles, Image, Memory, Split};
use crate::eval::Features;
use crate::eval::embed::Embedder;
use crate::ops::augment::{Augment, Scratch, ViewParams};
use crate::{Error, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Mean cosines of different images from here on leave no room for a relative curve: the encoder has collapsed.
const COLLAPSED: f64 = 1.0 - 1e-6;

/// Cosine between the features of an image and of its changed self, for each strength of the change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Curve {
    /// Mean over images.
    pub mean: Vec<f64>,
    /// Standard deviation over images.
    pub std: Vec<f64>,
    /// (mean − b) / (1 − b) with b the mean cosine between different images: 1 if the change does not show, 0 if the
    /// changed image is no nearer to itself than to any other. A collapsed encoder, "invariant" to everything, has a
    /// mean near 1 but so is b; if they are equal to rounding there is no curve.
    pub relative: Option<Vec<f64>>,
}

/// One nuisance, swept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sweep {
    pub nuisance: String,
    pub unit: String,
    pub values: Vec<f64>,
    pub trained: Curve,
    pub untrained: Curve,
}

/// All curves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Invariance {
    /// Held-out images behind each point.
    pub images: usize,
    /// Mean cosine between the features of different images: of the trained encoder and of the untrained one.
    pub between: [f64; 2],
    pub sweeps: Vec<Sweep>,
    /// Nuisances left out, as the images are gray.
    pub skipped: Vec<String>,
}

/// Sweeps every nuisance over `count` images of `split`, evenly spread, for the trained and the untrained encoder.
///
/// Images are first cropped and resized to the encoder's `size`, then changed, byte for byte the same for both. After
/// each point `progress` is told how many of how many are done.
///
/// Errors: fewer than two images; what the encoders say.
pub fn invariance(
    mut encoders: [&mut Embedder; 2],
    split: &Split,
    count: usize,
    policy: &Policy,
    size: usize,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Invariance> {
    let count = count.min(split.len());
    if count < 2 {
        return Err(Error::op("invariance", format!("needs two images at least, got {count}")));
    }
    let channels = split.channels();
    let images = squares(split, count, size)?;
    let (swept, skipped): (Vec<&Nuisance>, Vec<&Nuisance>) =
        NUISANCES.iter().partition(|n| channels == 3 || !n.needs_color);
    let points: usize = swept.iter().map(|n| n.values.len()).sum();

    let whole = as_split(images.concat(), size, channels);
    let mut originals = Vec::with_capacity(2);
    for encoder in &mut encoders {
        originals.push(encoder.embed(&whole)?);
    }
    let between = [mean_cosine_between(&originals[0]), mean_cosine_between(&originals[1])];
    let mut sweeps = Vec::with_capacity(swept.len());
    let mut done = 0;
    for nuisance in swept {
        let mut curves = [Curve::default(), Curve::default()];
        for &value in nuisance.values {
            let changed: Result<Vec<Vec<u8>>> = images
                .par_iter()
                .enumerate()
                .map(|(i, pixels)| nuisance.apply(value, i, pixels, size, channels, &policy.mean))
                .collect();
            let changed = as_split(changed?.concat(), size, channels);
            for ((encoder, original), curve) in encoders.iter_mut().zip(&originals).zip(&mut curves) {
                let (mean, std) = cosines(original, &encoder.embed(&changed)?);
                curve.mean.push(mean);
                curve.std.push(std);
            }
            done += 1;
            progress(done, points);
        }
        for (curve, b) in curves.iter_mut().zip(between) {
            curve.relative =
                (b < COLLAPSED).then(|| curve.mean.iter().map(|mean| (mean - b) / (1.0 - b)).collect());
        }
        let [trained, untrained] = curves;
        sweeps.push(Sweep {
            nuisance: nuisance.name.into(),
            unit: nuisance.unit.into(),
            values: nuisance.values.to_vec(),
            trained,
            untrained,
        });
    }
    let skipped = skipped.iter().map(|n| n.name.to_string()).collect();
    Ok(Invariance { images: count, between, sweeps, skipped })
}

/// The images as the encoder sees them, before normalisation: u8 \[size, size, channels\] each.
fn squares(split: &Split, count: usize, size: usize) -> Result<Vec<Vec<u8>>> {
    let op = Augment { size, clamp: true, ..Augment::default() };
    (0..count)
        .into_par_iter()
        .map_init(Default::default, |(image, scratch): &mut (Image, Scratch), i| {
            split.read(i * split.len() / count, image)?;
            let Image { height, width, channels, pixels } = &*image;
            let mut out = vec![0.0; size * size * channels];
            op.apply(
                pixels,
                *height,
                *width,
                *channels,
                &ViewParams::eval(*height, *width),
                &mut out,
                scratch,
            )
            .map_err(|e| Error::op("augment", e))?;
            Ok(out.iter().map(|&v| byte(255.0 * v)).collect())
        })
        .collect()
}

fn as_split(pixels: Vec<u8>, size: usize, channels: usize) -> Split {
    let count = pixels.len() / (size * size * channels);
    let memory = Memory::new("changed images", [size, size, channels], pixels, Vec::new());
    Split::new(Arc::new(memory), None, channels, Arc::new(BadFiles::new("changed images", count, 0.0)))
}

/// Mean and standard deviation of the cosines of rows i of both.
fn cosines(a: &Features, b: &Features) -> (f64, f64) {
    let (x, y) = (a.l2_normalized(), b.l2_normalized());
    let cosines: Vec<f64> = x
        .chunks_exact(a.d)
        .zip(y.chunks_exact(a.d))
        .map(|(x, y)| x.iter().zip(y).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum::<f64>())
        // Rows are of unit length up to the rounding of f32.
        .map(|cosine| cosine.clamp(-1.0, 1.0))
        .collect();
    let n = cosines.len() as f64;
    let mean = cosines.iter().sum::<f64>() / n;
    (mean, (cosines.iter().map(|c| (c - mean).powi(2)).sum::<f64>() / n).sqrt())
}

/// Mean cosine of pairs of different rows: (‖Σ u‖² − Σ ‖u‖²) / (n (n − 1)) of the unit rows u.
fn mean_cosine_between(features: &Features) -> f64 {
    let mut sum = vec![0.0; features.d];
    let mut squares = 0.0;
    for row in features.l2_normalized().chunks_exact(features.d) {
        for (s, &x) in sum.iter_mut().zip(row) {
            *s += f64::from(x);
            squares += f64::from(x).powi(2);
        }
    }
    let n = features.n as f64;
    (sum.iter().map(|s| s * s).sum::<f64>() - squares) / (n * (n - 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::Device;
    use crate::eval::Layer;
    use crate::nn::Encoder;
    use crate::rng::{Philox, Purpose};

    #[test]
    fn cosines_by_hand() {
        let features = |data: &[f32]| Features::new(data.to_vec(), 2, vec![0; data.len() / 2]).unwrap();
        let a = features(&[2., 0., 0., 3., -1., 0.]);
        // Pairs: 0, −1, 0.
        assert!((mean_cosine_between(&a) + 1.0 / 3.0).abs() < 1e-7);
        let (mean, std) = cosines(&a, &features(&[1., 0., 1., 0., -1., 0.]));
        assert!((mean - 2.0 / 3.0).abs() < 1e-7 && (std - (2.0f64 / 9.0).sqrt()).abs() < 1e-7);
    }

    fn split(n: usize, size: usize, channels: usize) -> Split {
        let mut rng = Philox::new(3, Purpose::Test, 0, 0);
        let pixels = (0..n * size * size * channels).map(|_| rng.below(256) as u8).collect();
        as_split(pixels, size, channels)
    }

    fn embedder(channels: usize, seed: u64) -> Embedder {
        let encoder = Encoder { width: 8, ..Encoder::new("resnet10", 16) };
        let policy = Policy::default();
        let mut embedder =
            Embedder::new(&encoder, None, &Layer::Features, &policy, 16, channels, Device::Cpu).unwrap();
        embedder.initialize(seed).unwrap();
        embedder
    }

    #[test]
    fn curves_of_an_encoder() {
        for channels in [1, 3] {
            let (mut a, mut b) = (embedder(channels, 1), embedder(channels, 2));
            let mut seen = Vec::new();
            let mut tell = |done, of| seen.push((done, of));
            // Larger than what the encoder takes: shrunk first.
            let images = split(5, 20, channels);
            let found = invariance([&mut a, &mut b], &images, 4, &Policy::default(), 16, &mut tell).unwrap();
            assert_eq!((found.images, found.sweeps.len()), (4, if channels == 3 { 10 } else { 8 }));
            assert_eq!(found.skipped.len(), 10 - found.sweeps.len());
            let points: usize = found.sweeps.iter().map(|s| s.values.len()).sum();
            assert_eq!((seen.len(), *seen.last().unwrap()), (points, (points, points)));
            for sweep in &found.sweeps {
                let nuisance = NUISANCES.iter().find(|n| n.name == sweep.nuisance).unwrap();
                for (curve, b) in [(&sweep.trained, found.between[0]), (&sweep.untrained, found.between[1])] {
                    let relative = curve.relative.as_ref().unwrap();
                    for (i, &value) in sweep.values.iter().enumerate() {
                        let (mean, name) = (curve.mean[i], &sweep.nuisance);
                        assert!(mean <= 1.0 + 1e-6 && mean.is_finite() && curve.std[i] >= 0.0, "{name}");
                        assert!((relative[i] * (1.0 - b) + b - mean).abs() < 1e-9);
                        if value == nuisance.neutral {
                            assert!(mean > 0.9999, "{name} at {value}: {mean}");
                        }
                    }
                    assert!(curve.mean.iter().any(|&m| m < 0.9999), "{}: nothing moved", sweep.nuisance);
                }
                assert_ne!(sweep.trained.mean, sweep.untrained.mean);
            }
        }
    }

    #[test]
    fn one_image_is_too_few() {
        let (mut a, mut b) = (embedder(1, 1), embedder(1, 2));
        let found = invariance([&mut a, &mut b], &split(1, 16, 1), 9, &Policy::default(), 16, &mut |_, _| {});
        assert!(found.unwrap_err().to_string().contains("two images"));
    }
}
