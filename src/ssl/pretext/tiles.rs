//! Parts of an image on a 3×3 grid, cut with gaps and jitter so that edges do not run from one into the next.

use crate::augment::{Policy, draw, stream};
use crate::ops::augment::ViewParams;
use crate::rng::{Philox, Purpose};
use crate::ssl::{Draw, InputSpec};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// Cells along a side of the grid.
pub const SIDE: usize = 3;
/// Cells of the grid, in reading order.
pub const CELLS: usize = SIDE * SIDE;

/// How tiles are cut.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cut {
    /// Pixels a tile is brought to; half a view's if 0.
    pub size: usize,
    /// Share of a cell's side that its tile leaves out; the tile lies at random within the cell.
    pub gap: f32,
    /// The least share of the image's sides that the grid covers; drawn from here to 1.
    pub cover: f32,
}

impl Default for Cut {
    fn default() -> Self {
        Self { size: 0, gap: 0.15, cover: 0.75 }
    }
}

impl Cut {
    /// Pixels of a tile.
    pub fn pixels(&self, spec: &InputSpec) -> Result<usize> {
        if !(0.0..1.0).contains(&self.gap) {
            return Err(Error::config(
                "loss.tile.gap",
                format!("must be from 0 to below 1, but is {}", self.gap),
            ));
        }
        if !(self.cover > 0.0 && self.cover <= 1.0) {
            return Err(Error::config(
                "loss.tile.cover",
                format!("must be above 0, at most 1, but is {}", self.cover),
            ));
        }
        Ok(if self.size == 0 { spec.size.div_ceil(2) } else { self.size })
    }

    /// The random numbers of a sample's grid: `role` tells apart methods that draw several.
    pub fn rng(of: Draw, role: u64) -> Philox {
        Philox::new(of.seed, Purpose::Pretext, of.epoch, of.id * 4 + role)
    }

    /// The tiles of all cells, in reading order. Colours are drawn for each tile by itself, so that they do not tell which
    /// belong together (Noroozi & Favaro, ECCV 2016, section 4.2); nothing is mirrored or blurred.
    pub fn tiles(&self, policy: &Policy, of: Draw, rng: &mut Philox) -> [ViewParams; CELLS] {
        let [h, w] = of.image;
        let mut along = |length: usize| {
            let covered = (length as f32 * rng.range(self.cover, 1.0)) as usize;
            let covered = covered.max(SIDE.min(length)).min(length);
            (rng.below((length - covered + 1) as u32) as usize, covered)
        };
        let (rows, columns) = (along(h), along(w));
        std::array::from_fn(|cell| {
            let mut place = |(start, covered): (usize, usize), index: usize| {
                let (from, to) = (start + covered * index / SIDE, start + covered * (index + 1) / SIDE);
                let side = to.saturating_sub(from).max(1);
                let tile = ((side as f32 * (1.0 - self.gap)).round() as usize).clamp(1, side);
                (from + rng.below((side - tile + 1) as u32) as usize, tile)
            };
            let (top, height) = place(rows, cell / SIDE);
            let (left, width) = place(columns, cell % SIDE);
            let colors = draw(policy, 0, &mut stream(of.seed, of.epoch, of.id, cell, CELLS), h, w);
            let ViewParams { order, brightness, contrast, saturation, hue, grayscale, .. } = colors;
            ViewParams {
                order,
                brightness,
                contrast,
                saturation,
                hue,
                grayscale,
                ..ViewParams::crop(top, left, height, width)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_lie_in_their_cells_and_apart() {
        let policy = Policy::default();
        for (id, image) in [[28, 28], [9, 9], [40, 97], [3, 3], [225, 225]].into_iter().enumerate() {
            for epoch in 0..50 {
                let of = Draw { seed: 1, epoch, id: id as u64, image };
                let tiles = Cut::default().tiles(&policy, of, &mut Cut::rng(of, 0));
                for (cell, tile) in tiles.iter().enumerate() {
                    assert_eq!(tile.check(image[0], image[1]), Ok(()), "{image:?} {cell}");
                }
                for (a, b) in [(0, 1), (1, 2), (3, 4), (7, 8)] {
                    assert!(tiles[a].left + tiles[a].width <= tiles[b].left, "{image:?} {a} {b}");
                }
                for (a, b) in [(0, 3), (3, 6), (1, 4), (5, 8)] {
                    assert!(tiles[a].top + tiles[a].height <= tiles[b].top, "{image:?} {a} {b}");
                }
            }
        }
    }

    #[test]
    fn a_draw_depends_on_its_name_alone() {
        let of = Draw { seed: 1, epoch: 2, id: 3, image: [28, 28] };
        let tiles = |of| Cut::default().tiles(&Policy::default(), of, &mut Cut::rng(of, 0));
        assert_eq!(tiles(of), tiles(of));
        assert_ne!(tiles(of), tiles(Draw { epoch: 3, ..of }));
        assert_ne!(tiles(of), tiles(Draw { id: 4, ..of }));
    }
}
