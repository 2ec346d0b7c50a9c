//! Drawing the parameters of a view.

use super::Policy;
use crate::ops::augment::ViewParams;
use crate::ops::augment::params::{BRIGHTNESS, CONTRAST, HUE, NO_SOLARIZE, SATURATION, SKIP};
use crate::rng::{Philox, Purpose};

/// The random numbers of one view: a stream of its own for every (seed, epoch, sample, view), whatever the batch, the
/// thread or the rank. `views` is the number of views an image has.
pub fn stream(seed: u64, epoch: u32, sample: u64, view: usize, views: usize) -> Philox {
    Philox::new(seed, Purpose::Augment, epoch, sample * views as u64 + view as u64)
}

/// The parameters of view `view` of an image of `h` × `w` pixels.
///
/// Everything is drawn whether it is used or not, and the crop, which draws until it fits, comes last: a policy with
/// another probability of blur draws the same crops.
pub fn draw(policy: &Policy, view: usize, rng: &mut Philox, h: usize, w: usize) -> ViewParams {
    let flip = rng.uniform() < policy.flip;
    let jitter = rng.uniform() < policy.jitter;
    let mut order = [BRIGHTNESS, CONTRAST, SATURATION, HUE];
    rng.shuffle(&mut order);
    let mut factor = |strength: f32| rng.range((1.0 - strength).max(0.0), 1.0 + strength);
    let (brightness, contrast) = (factor(policy.brightness), factor(policy.contrast));
    let saturation = factor(policy.saturation);
    let hue = rng.range(-policy.hue, policy.hue);
    let grayscale = rng.uniform() < policy.grayscale;
    let blur = rng.uniform() < policy.blur.of(view);
    let sigma = rng.range(policy.blur_sigma[0], policy.blur_sigma[1]);
    let solarize = rng.uniform() < policy.solarize.of(view);
    let params = ViewParams {
        flip: flip.into(),
        grayscale: grayscale.into(),
        blur_sigma: if blur { sigma } else { 0.0 },
        solarize: if solarize { policy.solarize_threshold } else { NO_SOLARIZE },
        ..random_resized_crop(policy, rng, h, w)
    };
    if !jitter {
        return params;
    }
    // As in torchvision, a step of strength 0 is no step: a brightness of exactly 1 would still clamp.
    let strength = [policy.brightness, policy.contrast, policy.saturation, policy.hue];
    let order = order.map(|step| if strength[step as usize] > 0.0 { step } else { SKIP });
    ViewParams { order, brightness, contrast, saturation, hue, ..params }
}

/// The parameters of `views` views of each sample, in the order of the op's rows: row v·N + i is view v of sample i.
pub fn draw_batch(
    policy: &Policy,
    seed: u64,
    epoch: u32,
    samples: &[u64],
    views: usize,
    [h, w]: [usize; 2],
) -> Vec<ViewParams> {
    let one = |view, &sample| draw(policy, view, &mut stream(seed, epoch, sample, view, views), h, w);
    (0..views).flat_map(|view| samples.iter().map(move |sample| one(view, sample))).collect()
}

/// torchvision's `RandomResizedCrop.make_params`: ten tries at an area (uniform) and a ratio (log-uniform), then the
/// largest central crop whose ratio is allowed.
fn random_resized_crop(policy: &Policy, rng: &mut Philox, h: usize, w: usize) -> ViewParams {
    let [least, most] = policy.crop_ratio.map(f64::from);
    let between = |low: f64, high: f64, rng: &mut Philox| low + (high - low) * f64::from(rng.uniform());
    let round = |x: f64| x.round_ties_even() as usize;
    let [small, large] = policy.crop_scale.map(f64::from);
    for _ in 0..10 {
        let area = (h * w) as f64 * between(small, large, rng);
        let ratio = between(least.ln(), most.ln(), rng).exp();
        let (width, height) = (round((area * ratio).sqrt()), round((area / ratio).sqrt()));
        if (1..=w).contains(&width) && (1..=h).contains(&height) {
            let top = rng.below((h - height + 1) as u32) as usize;
            let left = rng.below((w - width + 1) as u32) as usize;
            return ViewParams::crop(top, left, height, width);
        }
    }
    let ratio = w as f64 / h as f64;
    let height = if ratio < least { round(w as f64 / least).clamp(1, h) } else { h };
    let width = if ratio > most { round(h as f64 * most).clamp(1, w) } else { w };
    ViewParams::crop((h - height) / 2, (w - width) / 2, height, width)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::augment::PRESETS;
    use proptest::prelude::*;

    fn one(policy: &Policy, seed: u64, sample: u64, view: usize, h: usize, w: usize) -> ViewParams {
        draw(policy, view, &mut stream(seed, 3, sample, view, 2), h, w)
    }

    proptest! {
        #[test]
        fn draws_of_every_preset_are_valid_and_within_their_ranges(
            seed: u64, sample in 0u64..1 << 40, h in 1usize..300, w in 1usize..300,
        ) {
            for preset in PRESETS {
                let policy = preset.policy();
                for view in 0..2 {
                    let row = one(&policy, seed, sample, view, h, w);
                    prop_assert_eq!(row.check(h, w), Ok(()));
                    let blur = policy.blur_sigma[0]..=policy.blur_sigma[1];
                    prop_assert!(row.blur_sigma == 0.0 || blur.contains(&row.blur_sigma));
                    prop_assert!((row.brightness - 1.0).abs() <= policy.brightness + 1e-6);
                    prop_assert!(row.hue.abs() <= policy.hue);
                    prop_assert!(policy.blur.of(view) > 0.0 || row.blur_sigma == 0.0);
                    prop_assert!(policy.solarize.of(view) > 0.0 || row.solarize == NO_SOLARIZE);
                }
            }
        }
    }

    /// Large images, so that rounding to pixels does not blur the ranges.
    #[test]
    fn crops_keep_area_and_ratio() {
        let policy = Policy { crop_scale: [0.2, 0.6], ..Policy::default() };
        let (mut small, mut large, n) = (0, 0, 2000);
        for sample in 0..n {
            let row = one(&policy, 1, sample, 0, 1000, 1100);
            let (area, ratio) = (row.height * row.width / 1.1e6, row.width / row.height);
            assert!((0.199..0.601).contains(&area) && (0.748..1.336).contains(&ratio), "{area} {ratio}");
            small += u32::from(area < 0.4);
            large += u32::from(ratio < 1.0);
        }
        // Uniform area, log-uniform ratio: half of them below the middle, four deviations allowed.
        assert!((910..1090).contains(&small) && (910..1090).contains(&large), "{small} {large}");
    }

    #[test]
    fn a_narrow_image_takes_the_central_crop() {
        let row = one(&Policy { crop_scale: [0.9, 1.0], ..Policy::default() }, 1, 0, 0, 400, 40);
        assert_eq!((row.top, row.left, row.height, row.width), (173.0, 0.0, 53.0, 40.0));
    }

    #[test]
    fn probabilities_are_met() {
        let policy = Policy { jitter: 0.8, hue: 0.1, brightness: 0.4, grayscale: 0.2, ..Policy::default() };
        let rows: Vec<_> = (0..4000).map(|sample| one(&policy, 9, sample, 0, 32, 32)).collect();
        let share =
            |f: fn(&ViewParams) -> bool| rows.iter().filter(|r| f(r)).count() as f64 / rows.len() as f64;
        assert!((share(|r| r.flip == 1.0) - 0.5).abs() < 0.03);
        assert!((share(|r| r.grayscale == 1.0) - 0.2).abs() < 0.03);
        assert!((share(|r| r.order != [SKIP; 4]) - 0.8).abs() < 0.03);
        // Strengths of 0 are skipped, the others applied in every order.
        assert!(rows.iter().all(|r| !r.order.contains(&CONTRAST) && !r.order.contains(&SATURATION)));
        let place = |r: &ViewParams, step| r.order.iter().position(|&s| s == step);
        let first =
            rows.iter().filter(|r| r.order != [SKIP; 4] && place(r, HUE) < place(r, BRIGHTNESS)).count();
        assert!((first as f64 / (0.8 * rows.len() as f64) - 0.5).abs() < 0.04);
    }

    #[test]
    fn a_view_depends_on_its_name_alone() {
        let policy = PRESETS[0].policy();
        let batch = draw_batch(&policy, 7, 3, &[5, 6, 11], 2, [28, 28]);
        let other = draw_batch(&policy, 7, 3, &[11, 5], 2, [28, 28]);
        assert_eq!((batch[0], batch[2]), (other[1], other[0]));
        assert_eq!((batch[3], batch[5]), (other[3], other[2]));
        assert_eq!(batch[5], one(&policy, 7, 11, 1, 28, 28));
        // Each image and each view its own draw.
        for (i, a) in batch.iter().enumerate() {
            assert!(batch[..i].iter().all(|b| a != b));
        }
        assert_ne!(batch, draw_batch(&policy, 7, 4, &[5, 6, 11], 2, [28, 28]));
        assert_ne!(batch, draw_batch(&policy, 8, 3, &[5, 6, 11], 2, [28, 28]));
    }

    #[test]
    fn another_probability_keeps_the_crops() {
        let policy = PRESETS[0].policy();
        let without = Policy { jitter: 0.0, flip: 0.0, ..policy.clone() };
        for sample in 0..50 {
            let (a, b) = (one(&policy, 1, sample, 0, 32, 32), one(&without, 1, sample, 0, 32, 32));
            assert_eq!((a.top, a.left, a.height, a.width), (b.top, b.left, b.height, b.width));
        }
    }
}
