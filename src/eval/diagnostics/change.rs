//! Changes of an image u8 \[S,S,C\] that keep its size. Where a change uncovers what the image does not show, its border
//! is repeated.

use crate::ops::augment::{Augment, Scratch, ViewParams};

/// A square image, one byte a value.
#[derive(Clone, Copy)]
pub(super) struct Square<'a> {
    pub pixels: &'a [u8],
    pub size: usize,
    pub channels: usize,
}

impl Square<'_> {
    /// The image under the view `row`, at side `size`, by the steps of [`Augment`]: nothing normalised.
    pub fn view(&self, row: &ViewParams, size: usize) -> Result<Vec<u8>, String> {
        let op = Augment { size, clamp: true, ..Augment::default() };
        let mut out = vec![0.0; size * size * self.channels];
        op.apply(self.pixels, self.size, self.size, self.channels, row, &mut out, &mut Scratch::default())?;
        Ok(out.iter().map(|&v| byte(255.0 * v)).collect())
    }

    /// Shrunk to `share` of its side (antialiased) and blown up again.
    pub fn resolution(&self, share: f64) -> Result<Vec<u8>, String> {
        let side = ((share * self.size as f64).round() as usize).clamp(1, self.size);
        let small = self.view(&ViewParams::crop(0, 0, self.size, self.size), side)?;
        let small = Square { pixels: &small, size: side, channels: self.channels };
        small.view(&ViewParams::crop(0, 0, side, side), self.size)
    }

    /// Moved by (`dx`, `dy`) whole pixels, right and down.
    pub fn shift(&self, dx: i64, dy: i64) -> Vec<u8> {
        let at = |i: usize, by: i64| (i as i64 - by).clamp(0, self.size as i64 - 1) as usize;
        let mut out = Vec::with_capacity(self.pixels.len());
        for y in 0..self.size {
            for x in 0..self.size {
                let from = (at(y, dy) * self.size + at(x, dx)) * self.channels;
                out.extend_from_slice(&self.pixels[from..from + self.channels]);
            }
        }
        out
    }

    /// Zoomed about the centre: above 1 in, below 1 out.
    pub fn zoom(&self, factor: f64) -> Vec<u8> {
        // Two by two samples a pixel, so that shrinking does not alias.
        let samples = if factor < 1.0 { 2 } else { 1 };
        self.about_centre([1.0 / factor, 0.0], samples)
    }

    /// Turned counter-clockwise about the centre.
    pub fn rotate(&self, degrees: f64) -> Vec<u8> {
        let (sin, cos) = degrees.to_radians().sin_cos();
        self.about_centre([cos, sin], 1)
    }

    /// The pixel at offset p from the centre comes from offset M p, M = \[\[a, −b\], \[b, a\]\] with y downwards; bilinear.
    fn about_centre(&self, [a, b]: [f64; 2], samples: usize) -> Vec<u8> {
        let centre = (self.size as f64 - 1.0) / 2.0;
        let mut out = Vec::with_capacity(self.pixels.len());
        let mut sums = vec![0.0; self.channels];
        let offset = |k: usize| (k as f64 + 0.5) / samples as f64 - 0.5;
        for y in 0..self.size {
            for x in 0..self.size {
                sums.fill(0.0);
                for (i, j) in (0..samples).flat_map(|i| (0..samples).map(move |j| (i, j))) {
                    let (u, v) = (x as f64 + offset(j) - centre, y as f64 + offset(i) - centre);
                    self.bilinear(centre + a * u - b * v, centre + b * u + a * v, &mut sums);
                }
                out.extend(sums.iter().map(|s| byte((s / (samples * samples) as f64) as f32)));
            }
        }
        out
    }

    /// Adds the values at (`x`, `y`) to `sums`.
    fn bilinear(&self, x: f64, y: f64, sums: &mut [f64]) {
        let last = self.size - 1;
        // sin and cos of right angles miss whole pixels by a rounding error.
        let snap = |v: f64| if (v - v.round()).abs() < 1e-9 { v.round() } else { v };
        let (x, y) = (snap(x.clamp(0.0, last as f64)), snap(y.clamp(0.0, last as f64)));
        let (x0, y0) = (x.floor() as usize, y.floor() as usize);
        let (x1, y1) = ((x0 + 1).min(last), (y0 + 1).min(last));
        let (fx, fy) = (x - x0 as f64, y - y0 as f64);
        for (c, sum) in sums.iter_mut().enumerate() {
            let at = |y: usize, x: usize| f64::from(self.pixels[(y * self.size + x) * self.channels + c]);
            *sum += (1.0 - fy) * ((1.0 - fx) * at(y0, x0) + fx * at(y0, x1))
                + fy * ((1.0 - fx) * at(y1, x0) + fx * at(y1, x1));
        }
    }

    /// A square of `share` of the area, at (`u`, `v`) of the room it has in x and y, gets the colour `fill` \[C\].
    pub fn occlude(&self, share: f64, [u, v]: [f64; 2], fill: &[u8]) -> Vec<u8> {
        let side = ((share.sqrt() * self.size as f64).round() as usize).min(self.size);
        let room = (self.size - side) as f64;
        let (left, top) = ((u * room).round() as usize, (v * room).round() as usize);
        let mut out = self.pixels.to_vec();
        for y in top..top + side {
            for x in left..left + side {
                let at = (y * self.size + x) * self.channels;
                out[at..at + self.channels].copy_from_slice(fill);
            }
        }
        out
    }
}

pub(super) fn byte(value: f32) -> u8 {
    value.round().clamp(0.0, 255.0) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    const NINE: [u8; 9] = [1, 2, 3, 4, 5, 6, 7, 8, 9];

    fn nine() -> Square<'static> {
        Square { pixels: &NINE, size: 3, channels: 1 }
    }

    #[test]
    fn pixels_move_where_they_should() {
        assert_eq!(nine().shift(1, 0), [1, 1, 2, 4, 4, 5, 7, 7, 8]);
        assert_eq!(nine().shift(0, -2), [7, 8, 9, 7, 8, 9, 7, 8, 9]);
        assert_eq!(nine().rotate(90.0), [3, 6, 9, 2, 5, 8, 1, 4, 7]);
        assert_eq!(nine().rotate(-90.0), [7, 4, 1, 8, 5, 2, 9, 6, 3]);
        assert_eq!(nine().rotate(180.0), [9, 8, 7, 6, 5, 4, 3, 2, 1]);
        // Zoomed in twice, the corner comes from half way to the centre.
        assert_eq!(nine().zoom(2.0)[0], 3);
        assert_eq!(nine().zoom(2.0)[4], 5);
        // Zoomed far out, the border has moved in: the outermost pixels are the corners.
        let out = nine().zoom(0.25);
        assert_eq!((out[0], out[2], out[6], out[8]), (1, 3, 7, 9));
    }

    #[test]
    fn a_square_is_covered() {
        let image = Square { pixels: &[9; 4 * 4 * 3], size: 4, channels: 3 };
        let out = image.occlude(0.25, [1.0, 0.0], &[1, 2, 3]);
        for (i, pixel) in out.chunks(3).enumerate() {
            let covered = i / 4 < 2 && i % 4 >= 2;
            assert_eq!(pixel, if covered { [1, 2, 3] } else { [9, 9, 9] }, "pixel {i}");
        }
        assert_eq!(image.occlude(1.0, [0.3, 0.9], &[1, 2, 3]), [1, 2, 3].repeat(16));
    }

    #[test]
    fn fewer_pixels_lose_detail_and_keep_the_mean() {
        let stripes: Vec<u8> = (0..64).map(|i| if i % 2 == 0 { 0 } else { 200 }).collect();
        let image = Square { pixels: &stripes, size: 8, channels: 1 };
        assert_eq!(image.resolution(1.0).unwrap(), stripes);
        assert!(image.resolution(0.5).unwrap().iter().all(|v| (60..=140).contains(v)));
        let one = image.resolution(0.01).unwrap();
        assert!(one.iter().all(|&v| v == one[0] && v.abs_diff(100) <= 1), "{one:?}");
    }
}
