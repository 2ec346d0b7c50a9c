//! Crop and resize: separable, with the taps of each output pixel worked out beforehand.

use super::Interpolation;

/// For every output pixel of one axis, a run of input pixels and their weights.
#[derive(Debug, Default)]
pub struct Taps {
    runs: Vec<(usize, usize)>,
    weights: Vec<f32>,
    most: usize,
}

impl Taps {
    /// Taps that resize `from` pixels to `to`, as `torch.nn.functional.interpolate(align_corners=False)` does.
    ///
    /// Antialiased: the filter is stretched by the scale when shrinking, cut at the border and renormalised (as PIL;
    /// bicubic a = -0.5). Otherwise: 2 or 4 pixels at the sampling point, the border repeated (bicubic a = -0.75).
    pub fn set(&mut self, from: usize, to: usize, interpolation: Interpolation, antialias: bool) {
        self.runs.clear();
        self.weights.clear();
        let scale = from as f64 / to as f64;
        let stretch = if antialias { scale.max(1.0) } else { 1.0 };
        let support = interpolation.support() * stretch;
        self.most = (2.0 * support).ceil() as usize + 1;
        for i in 0..to {
            let centre = scale * (i as f64 + 0.5);
            let first = self.weights.len();
            self.weights.resize(first + self.most, 0.0);
            let weights = &mut self.weights[first..];
            let run = if antialias {
                cut(weights, from, centre, support, |d| interpolation.filter(d / stretch, -0.5))
            } else {
                clamped(weights, from, centre, support, interpolation)
            };
            self.runs.push(run);
        }
    }

    /// First input pixel and weights of output pixel `i`.
    #[inline(always)]
    fn of(&self, i: usize) -> (usize, &[f32]) {
        let (start, len) = self.runs[i];
        (start, &self.weights[i * self.most..][..len])
    }
}

/// The filter around `centre`, without what hangs over the border; returns first pixel and length.
fn cut(
    weights: &mut [f32],
    from: usize,
    centre: f64,
    support: f64,
    filter: impl Fn(f64) -> f64,
) -> (usize, usize) {
    let mut start = (centre - support + 0.5).max(0.0) as usize;
    let mut end = ((centre + support + 0.5) as usize).min(from);
    let weight = |j: usize| filter(j as f64 + 0.5 - centre);
    // Where the scale is whole, filters end on pixels: an unchanged axis is left with one tap of weight 1.
    while weight(start) == 0.0 && start + 1 < end {
        start += 1;
    }
    while weight(end - 1) == 0.0 && start + 1 < end {
        end -= 1;
    }
    let total: f64 = (start..end).map(weight).sum();
    for (w, j) in weights.iter_mut().zip(start..end) {
        *w = (weight(j) / total) as f32;
    }
    (start, end - start)
}

/// The filter around `centre`; what hangs over the border falls on the border's pixel.
fn clamped(
    weights: &mut [f32],
    from: usize,
    centre: f64,
    support: f64,
    interpolation: Interpolation,
) -> (usize, usize) {
    let taps = (2.0 * support) as i64;
    let first = (centre - 0.5).floor() as i64 - taps / 2 + 1;
    let pixel = |t: i64| (first + t).clamp(0, from as i64 - 1) as usize;
    let start = pixel(0);
    for t in 0..taps {
        let distance = (first + t) as f64 + 0.5 - centre;
        weights[pixel(t) - start] += interpolation.filter(distance, -0.75) as f32;
    }
    (start, pixel(taps - 1) - start + 1)
}

impl Interpolation {
    /// Half the width of the filter, in pixels of the coarser grid.
    fn support(self) -> f64 {
        match self {
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
        }
    }

    /// The filter at distance `x`; `a` is the cubic's free parameter (Keys, 1981).
    pub(super) fn filter(self, x: f64, a: f64) -> f64 {
        let x = x.abs();
        match self {
            Self::Bilinear => (1.0 - x).max(0.0),
            Self::Bicubic if x < 1.0 => ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0,
            Self::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * a,
            Self::Bicubic => 0.0,
        }
    }
}

/// Output rows that are worked on together: one cache line of the transposed block.
const BLOCK: usize = 16;

/// Where the crop lies in the image (its height is in the taps), and how large the view is.
#[derive(Clone, Copy)]
pub struct Window {
    pub top: usize,
    pub left: usize,
    pub width: usize,
    pub size: usize,
    pub flip: bool,
}

/// Resizes a crop of `image` (u8 \[·,`image_width`,`channels`\]) into `planes` (f32 \[C,X,Y\], in \[0, 1\]).
///
/// The planes are x-major: both passes then run along contiguous memory. The flip costs nothing: a column is written
/// to its mirrored place. `block` and `columns` are scratch of at least `BLOCK·width·C` and `C·width·size`.
#[allow(clippy::too_many_arguments)]
#[inline(always)]
pub fn resized_crop(
    image: &[u8],
    image_width: usize,
    channels: usize,
    window: Window,
    vertical: &Taps,
    horizontal: &Taps,
    block: &mut [f32],
    columns: &mut [f32],
    planes: &mut [f32],
) {
    let Window { top, left, width, size, flip } = window;
    let row_len = width * channels;
    for first in (0..size).step_by(BLOCK) {
        let rows = BLOCK.min(size - first);
        for (y, out) in block.chunks_exact_mut(row_len).take(rows).enumerate() {
            let (start, weights) = vertical.of(first + y);
            out.fill(0.0);
            for (t, &weight) in weights.iter().enumerate() {
                let source = &image[((top + start + t) * image_width + left) * channels..][..row_len];
                for (o, &pixel) in out.iter_mut().zip(source) {
                    *o += weight * f32::from(pixel);
                }
            }
            out.iter_mut().for_each(|o| *o /= 255.0);
        }
        for x in 0..width {
            for c in 0..channels {
                let out = &mut columns[(c * width + x) * size + first..][..rows];
                for (y, o) in out.iter_mut().enumerate() {
                    *o = block[y * row_len + x * channels + c];
                }
            }
        }
    }
    for c in 0..channels {
        for x in 0..size {
            let to = if flip { size - 1 - x } else { x };
            let out = &mut planes[(c * size + to) * size..][..size];
            let (start, weights) = horizontal.of(x);
            out.fill(0.0);
            for (t, &weight) in weights.iter().enumerate() {
                let column = &columns[(c * width + start + t) * size..][..size];
                for (o, &value) in out.iter_mut().zip(column) {
                    *o += weight * value;
                }
            }
        }
    }
}

/// Scratch that [`resized_crop`] wants: lengths of `block` and `columns`.
pub fn scratch(window: Window, channels: usize) -> (usize, usize) {
    (BLOCK * window.width * channels, channels * window.width * window.size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_sum_to_one_and_stay_inside() {
        let mut taps = Taps::default();
        for interpolation in [Interpolation::Bilinear, Interpolation::Bicubic] {
            for antialias in [true, false] {
                for from in [1, 2, 3, 5, 28, 32, 97] {
                    for to in [1, 2, 3, 7, 28, 32, 64] {
                        taps.set(from, to, interpolation, antialias);
                        for i in 0..to {
                            let (start, weights) = taps.of(i);
                            let sum: f32 = weights.iter().sum();
                            assert!((sum - 1.0).abs() < 1e-6, "{from} -> {to}: {sum}");
                            assert!(start + weights.len() <= from, "{from} -> {to}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn an_axis_of_the_same_size_has_one_tap() {
        let mut taps = Taps::default();
        for interpolation in [Interpolation::Bilinear, Interpolation::Bicubic] {
            taps.set(9, 9, interpolation, true);
            assert!((0..9).all(|i| taps.of(i) == (i, &[1.0][..])));
        }
    }
}
