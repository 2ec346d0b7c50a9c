//! The colour steps, in place on planes f32 \[C, pixels\] as `torchvision.transforms.v2.functional` does on floats.

use super::params::{BRIGHTNESS, CONTRAST, HUE, SATURATION, ViewParams};

/// Luma of ITU-R BT.601 with torchvision's digits (they sum to 0.9999).
pub const LUMA: [f32; 3] = [0.2989, 0.587, 0.114];

/// The jitter's steps in the order of the row. Gray planes know brightness and contrast only.
#[inline(always)]
pub fn jitter(planes: &mut [f32], channels: usize, row: &ViewParams) {
    for step in row.order {
        if step == BRIGHTNESS {
            brightness(planes, row.brightness);
        } else if step == CONTRAST {
            contrast(planes, channels, row.contrast);
        } else if step == SATURATION && channels == 3 {
            saturation(planes, row.saturation);
        } else if step == HUE && channels == 3 {
            hue(planes, row.hue);
        }
    }
}

/// clamp(x · factor, 0, 1).
#[inline(always)]
fn brightness(planes: &mut [f32], factor: f32) {
    for x in planes {
        *x = unit(*x * factor);
    }
}

/// clamp(x · factor + m · (1 - factor), 0, 1) with m the mean luma of the view.
#[inline(always)]
fn contrast(planes: &mut [f32], channels: usize, factor: f32) {
    let mean = if channels == 3 {
        let (r, g, b) = rgb(planes);
        mean(r.len(), |i| luma(r[i], g[i], b[i]))
    } else {
        mean(planes.len(), |i| planes[i])
    };
    let offset = mean * (1.0 - factor);
    for x in planes {
        *x = unit(*x * factor + offset);
    }
}

/// clamp(x · factor + l · (1 - factor), 0, 1) with l the luma of the pixel.
#[inline(always)]
fn saturation(planes: &mut [f32], factor: f32) {
    let (r, g, b) = rgb(planes);
    for i in 0..r.len() {
        let gray = luma(r[i], g[i], b[i]) * (1.0 - factor);
        r[i] = unit(r[i] * factor + gray);
        g[i] = unit(g[i] * factor + gray);
        b[i] = unit(b[i] * factor + gray);
    }
}

/// Turns the hue by `shift` turns, in HSV.
///
/// With v the largest channel and d = largest - smallest, saturation · v is d: nothing is divided by v, and a pixel
/// whose largest channel is 0 (bicubic leaves such) gives no NaN.
#[inline(always)]
fn hue(planes: &mut [f32], shift: f32) {
    let (r, g, b) = rgb(planes);
    for i in 0..r.len() {
        let (red, green, blue) = (r[i], g[i], b[i]);
        let v = red.max(green).max(blue);
        let d = v - red.min(green).min(blue);
        let by = 1.0 / if d == 0.0 { 1.0 } else { d };
        // Sixths of a turn, from -1 to 5.
        let h = if v == red {
            (green - blue) * by
        } else if v == green {
            2.0 + (blue - red) * by
        } else {
            4.0 + (red - green) * by
        };
        let h = wrap(wrap(h) + 6.0 * shift);
        r[i] = channel(5.0, h, v, d);
        g[i] = channel(3.0, h, v, d);
        b[i] = channel(1.0, h, v, d);
    }
}

/// A channel of the colour of hue `h` (sixths of a turn), value `v` and chroma `d`: red is `n` = 5, green 3, blue 1.
/// As in torchvision, the channel that holds `v` is not clamped.
#[inline(always)]
fn channel(n: f32, h: f32, v: f32, d: f32) -> f32 {
    let k = wrap(n + h);
    let away = k.min(4.0 - k).clamp(0.0, 1.0);
    if away == 0.0 { v } else { unit(v - d * away) }
}

/// Brings sixths of a turn from at least -6 and below 12 to at least 0 and below 6.
#[inline(always)]
fn wrap(h: f32) -> f32 {
    let h = if h < 0.0 { h + 6.0 } else { h };
    if h >= 6.0 { h - 6.0 } else { h }
}

/// All three channels become the luma; a gray view is left as it is.
#[inline(always)]
pub fn grayscale(planes: &mut [f32], channels: usize) {
    if channels != 3 {
        return;
    }
    let (r, g, b) = rgb(planes);
    for i in 0..r.len() {
        let gray = luma(r[i], g[i], b[i]);
        (r[i], g[i], b[i]) = (gray, gray, gray);
    }
}

/// Inverts values from `threshold` upwards.
#[inline(always)]
pub fn solarize(planes: &mut [f32], threshold: f32) {
    for x in planes {
        *x = if *x >= threshold { 1.0 - *x } else { *x };
    }
}

/// clamp(x, 0, 1).
#[inline(always)]
pub fn unit(x: f32) -> f32 {
    x.clamp(0.0, 1.0)
}

#[inline(always)]
fn luma(r: f32, g: f32, b: f32) -> f32 {
    r * LUMA[0] + g * LUMA[1] + b * LUMA[2]
}

/// Three planes of equal length; the slices' lengths are plain to the compiler, so that loops need no checks.
#[inline(always)]
fn rgb(planes: &mut [f32]) -> (&mut [f32], &mut [f32], &mut [f32]) {
    let n = planes.len() / 3;
    let (r, rest) = planes.split_at_mut(n);
    let (g, b) = rest.split_at_mut(n);
    (r, g, &mut b[..n])
}

/// Mean of `n` numbers: 16 sums side by side, then one, always in this order.
#[inline(always)]
fn mean(n: usize, value: impl Fn(usize) -> f32) -> f32 {
    const LANES: usize = 16;
    let mut sums = [0.0f32; LANES];
    let whole = n / LANES * LANES;
    for first in (0..whole).step_by(LANES) {
        for (lane, sum) in sums.iter_mut().enumerate() {
            *sum += value(first + lane);
        }
    }
    let rest: f32 = (whole..n).map(&value).sum();
    (sums.iter().sum::<f32>() + rest) / n as f32
}
