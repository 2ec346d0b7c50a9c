//! The chain of steps for one view.

use super::params::ViewParams;
use super::resize::{self, Taps, Window, resized_crop};
use super::{Augment, blur, color};
use crate::simd;

/// Memory that [`Augment::apply`] reuses from view to view; it grows to the largest and is then never reallocated.
#[derive(Debug, Default)]
pub struct Scratch {
    vertical: Taps,
    horizontal: Taps,
    block: Vec<f32>,
    columns: Vec<f32>,
    planes: Vec<f32>,
    kernel: Vec<f32>,
}

impl Augment {
    /// Makes one view: `image` u8 \[`h`,`w`,`c`\] → `out` f32 \[S,S,`c`\], normalised.
    ///
    /// Fails if the row does not fit the image, saying which column; see [`ViewParams::check`]. The parameters of the
    /// op itself must have passed [`Augment::check`]. No fused multiply-adds: the same bits on every CPU.
    ///
    /// # Panics
    /// If the slices are not of the sizes given, or `c` is neither 1 nor 3.
    #[allow(clippy::too_many_arguments)]
    pub fn apply(
        &self,
        image: &[u8],
        h: usize,
        w: usize,
        c: usize,
        row: &ViewParams,
        out: &mut [f32],
        scratch: &mut Scratch,
    ) -> Result<(), String> {
        assert!(c == 1 || c == 3, "{c} channels");
        assert_eq!((image.len(), out.len()), (h * w * c, self.size * self.size * c));
        row.check(h, w)?;
        simd::dispatch(
            #[inline(always)]
            || self.steps(image, w, c, row, out, scratch),
        );
        Ok(())
    }

    #[inline(always)]
    fn steps(
        &self,
        image: &[u8],
        w: usize,
        c: usize,
        row: &ViewParams,
        out: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let Scratch { vertical, horizontal, block, columns, planes, kernel } = scratch;
        let size = self.size;
        let window = Window {
            top: row.top as usize,
            left: row.left as usize,
            width: row.width as usize,
            size,
            flip: row.flip >= 0.5,
        };
        vertical.set(row.height as usize, size, self.interpolation, self.antialias);
        horizontal.set(window.width, size, self.interpolation, self.antialias);
        let (block_len, columns_len) = resize::scratch(window, c);
        let block = first(block, block_len);
        let planes = first(planes, c * size * size);
        let pixels = first(columns, columns_len);
        resized_crop(image, w, c, window, vertical, horizontal, block, pixels, planes);
        if self.clamp {
            planes.iter_mut().for_each(|x| *x = color::unit(*x));
        }
        color::jitter(planes, c, row);
        if row.grayscale >= 0.5 {
            color::grayscale(planes, c);
        }
        if row.blur_sigma > 0.0 {
            let radius = blur::radius(self.blur_kernel, row.blur_sigma, size);
            blur::kernel(kernel, radius, row.blur_sigma);
            blur::gaussian_blur(planes, size, kernel, first(columns, blur::scratch(size, radius)));
        }
        if row.solarize <= 1.0 {
            color::solarize(planes, row.solarize);
        }
        for channel in 0..c {
            self.normalize(planes, c, channel, out);
        }
    }

    /// (x - mean) / std of one channel, from x-major planes to NHWC, a block of rows at a time for the cache.
    #[inline(always)]
    fn normalize(&self, planes: &[f32], c: usize, channel: usize, out: &mut [f32]) {
        const BLOCK: usize = 16;
        let size = self.size;
        let (mean, scale) = (self.mean_of(channel), 1.0 / self.std_of(channel));
        let plane = &planes[channel * size * size..][..size * size];
        for first in (0..size).step_by(BLOCK) {
            let rows = BLOCK.min(size - first);
            for (x, column) in plane.chunks_exact(size).enumerate() {
                for (y, &value) in column[first..first + rows].iter().enumerate() {
                    out[((first + y) * size + x) * c + channel] = (value - mean) * scale;
                }
            }
        }
    }
}

/// The first `len` elements, growing the buffer if it is too short. Holds anything.
fn first(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    if buffer.len() < len {
        buffer.resize(len, 0.0);
    }
    &mut buffer[..len]
}
