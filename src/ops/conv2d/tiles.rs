//! Channels-last images as tiles: from pixels to Winograd's 36 planes and back.

use std::ops::Range;

use super::simd::Simd;
use super::winograd::{At, IN, Line, OUT, Sink, Source, Strided, transform};

/// A batch of images cut into tiles of 4×4 outputs, which are counted over `[N][rows][cols]`.
#[derive(Clone, Copy, Debug)]
pub struct Tiling {
    pub size: [usize; 2],
    pub channels: usize,
    /// Pixels by which the first tile begins before the image.
    pub padding: [usize; 2],
    pub rows: usize,
    pub cols: usize,
}

/// 36 planes of transformed tiles: channel `c` of tile `i` is `c / block · block_step + i · tile_step + c % block` floats
/// into each.
#[derive(Clone, Copy, Debug)]
pub struct Planes<P> {
    pub base: P,
    pub plane: usize,
    pub tile_step: usize,
    pub block: usize,
    pub block_step: usize,
}

impl<P> Planes<P> {
    /// Channels in blocks, and the first float of each.
    #[inline(always)]
    fn blocks(&self, channels: usize) -> impl Iterator<Item = (Range<usize>, usize)> + use<P> {
        let (block, step) = (self.block, self.block_step);
        (0..channels.div_ceil(block)).map(move |i| (i * block..((i + 1) * block).min(channels), i * step))
    }
}

impl Tiling {
    /// The tiling that covers outputs of `size`; `padding` is the distance from a tile's first output to its first pixel.
    pub fn new(size: [usize; 2], channels: usize, padding: [usize; 2], outputs: [usize; 2]) -> Self {
        Self { size, channels, padding, rows: outputs[0].div_ceil(OUT), cols: outputs[1].div_ceil(OUT) }
    }

    pub fn tiles(&self, images: usize) -> usize {
        images * self.rows * self.cols
    }

    /// First row and column of a tile, and how far its first pixel is from the first image's.
    #[inline(always)]
    fn origin(&self, tile: usize) -> ([isize; 2], isize) {
        let (image, tile) = (tile / (self.rows * self.cols), tile % (self.rows * self.cols));
        let top = (tile / self.cols * OUT) as isize - self.padding[0] as isize;
        let left = (tile % self.cols * OUT) as isize - self.padding[1] as isize;
        let row = (image * self.size[0]) as isize + top;
        ([top, left], (row * self.size[1] as isize + left) * self.channels as isize)
    }

    /// Addresses of the `T × T` pixels of a tile, `outside` for those beyond the image; and how far away the tile is that
    /// comes some two microseconds later, to fetch it in the meantime: memory is further than what the processor can look
    /// ahead on its own.
    #[inline(always)]
    fn table<const T: usize>(
        &self,
        tile: usize,
        base: *mut f32,
        outside: *mut f32,
    ) -> ([[*mut f32; T]; T], isize) {
        let ([top, left], origin) = self.origin(tile);
        let later = if self.channels < 64 { 2 } else { 1 };
        let ahead = self.origin(tile + later).1 - origin;
        let mut at = [[outside; T]; T];
        for (i, at) in at.iter_mut().enumerate() {
            let row = top + i as isize;
            if row < 0 || row >= self.size[0] as isize {
                continue;
            }
            let first = base.wrapping_offset(origin + (i * self.size[1] * self.channels) as isize);
            for (j, at) in at.iter_mut().enumerate() {
                let col = left + j as isize;
                if col >= 0 && col < self.size[1] as isize {
                    *at = first.wrapping_add(j * self.channels);
                }
            }
        }
        (at, ahead)
    }

    /// Transforms the first `channels` channels from `base` on of some tiles by `L`, tile `tiles.start` to place 0.
    ///
    /// # Safety
    /// `base` must point to these images, `outside` to as many zeros, and `to` to planes that hold the tiles.
    #[inline(always)]
    pub unsafe fn read<S: Simd, L: Line<T, IN>, const T: usize>(
        &self,
        tiles: Range<usize>,
        channels: usize,
        base: *const f32,
        outside: *const f32,
        to: Planes<*mut f32>,
    ) {
        for (i, tile) in tiles.enumerate() {
            let (at, ahead) = self.table::<T>(tile, base.cast_mut(), outside.cast_mut());
            for (block, first) in to.blocks(channels) {
                let place = to.base.wrapping_add(first + i * to.tile_step);
                for c in block.clone().step_by(S::LANES) {
                    let from = Pixels { at: &at, offset: c, ahead, accumulate: false };
                    let base = place.wrapping_add(c - block.start);
                    let to = Strided { base, row: IN * to.plane, col: to.plane };
                    unsafe { transform::<S, L, T, IN>(from, to) };
                }
            }
        }
    }

    /// Transforms planes to output tiles, place 0 to tile `tiles.start`; pixels beyond the image go to `outside`.
    ///
    /// # Safety
    /// As for [`read`](Self::read), and nobody else may touch these tiles.
    #[inline(always)]
    pub unsafe fn write<S: Simd>(
        &self,
        tiles: Range<usize>,
        channels: usize,
        from: Planes<*const f32>,
        base: *mut f32,
        outside: *mut f32,
        accumulate: bool,
    ) {
        for (i, tile) in tiles.enumerate() {
            let (at, ahead) = self.table::<OUT>(tile, base, outside);
            for (block, first) in from.blocks(channels) {
                let place = from.base.wrapping_add(first + i * from.tile_step);
                for c in block.clone().step_by(S::LANES) {
                    let base = place.wrapping_add(c - block.start);
                    let from = Strided { base, row: IN * from.plane, col: from.plane };
                    let to = Pixels { at: &at, offset: c, ahead, accumulate };
                    unsafe { transform::<S, At, IN, OUT>(from, to) };
                }
            }
        }
    }
}

/// Some channels of a tile's pixels, `offset` floats after `at`. The pixels `ahead` will be wanted next.
#[derive(Clone, Copy)]
struct Pixels<'a, const T: usize> {
    at: &'a [[*mut f32; T]; T],
    offset: usize,
    ahead: isize,
    /// Whether to add to what is there.
    accumulate: bool,
}

impl<S: Simd, const T: usize> Source<S> for Pixels<'_, T> {
    #[inline(always)]
    unsafe fn at(&self, i: usize, j: usize) -> S::V {
        let from = self.at[i][j].wrapping_add(self.offset);
        if j >= T - OUT {
            S::fetch(from.wrapping_offset(self.ahead)); // what comes before is in this tile, too
        }
        unsafe { S::load(from) }
    }
}

impl<S: Simd, const T: usize> Sink<S> for Pixels<'_, T> {
    #[inline(always)]
    unsafe fn put(&self, i: usize, j: usize, v: S::V) {
        let to = self.at[i][j].wrapping_add(self.offset);
        S::fetch_to_write(to.wrapping_offset(self.ahead));
        unsafe { S::store(to, if self.accumulate { S::add(S::load(to), v) } else { v }) };
    }
}
