//! Pictures of the views: what the network is really shown.

use crate::ops::augment::Augment;
use image::{Rgb, RgbImage};

/// A source image: u8 \[height, width, channels\], channels 1 or 3.
#[derive(Clone, Copy, Debug)]
pub struct Picture<'a> {
    pub pixels: &'a [u8],
    pub height: usize,
    pub width: usize,
    pub channels: usize,
}

/// A row of the grid: an image and its views, each f32 \[S,S,C\] as the op gave it.
#[derive(Clone, Debug)]
pub struct Row<'a> {
    pub image: Picture<'a>,
    pub views: Vec<&'a [f32]>,
}

/// Small views are enlarged to at least this side, in pixels of the grid.
const COMFORTABLE: usize = 112;
const GAP: usize = 6;
const PAPER: Rgb<u8> = Rgb([255, 255, 255]);

/// One row an image: the original, then its views, de-normalised by `op`, which made them.
///
/// Nearest-neighbour: pixels stay pixels. An original of another shape is fitted into the tile.
///
/// # Panics
/// If a slice is not of its stated size.
pub fn grid(rows: &[Row], op: &Augment) -> RgbImage {
    let zoom = COMFORTABLE.div_ceil(op.size).max(1);
    let tile = op.size * zoom;
    let columns = 1 + rows.iter().map(|row| row.views.len()).max().unwrap_or(0);
    let side = |tiles: usize| (tiles * (tile + GAP) + GAP) as u32;
    let mut picture = RgbImage::from_pixel(side(columns), side(rows.len()), PAPER);
    for (y, row) in rows.iter().enumerate() {
        let Picture { pixels, height, width, channels } = row.image;
        assert_eq!(pixels.len(), height * width * channels);
        let corner = |x: usize| [GAP + y * (tile + GAP), GAP + x * (tile + GAP)];
        put(&mut picture, corner(0), tile, [height, width], |i, j, c| {
            pixels[(i * width + j) * channels + c % channels]
        });
        for (x, view) in row.views.iter().enumerate() {
            assert_eq!(view.len(), op.size * op.size * channels);
            put(&mut picture, corner(x + 1), tile, [op.size; 2], |i, j, c| {
                let c = c % channels;
                let value = view[(i * op.size + j) * channels + c] * op.std_of(c) + op.mean_of(c);
                (value * 255.0).round() as u8
            });
        }
    }
    picture
}

/// Draws h × w pixels into the tile at `corner`, as large as it takes them, in its middle.
fn put(
    picture: &mut RgbImage,
    [top, left]: [usize; 2],
    tile: usize,
    [h, w]: [usize; 2],
    value: impl Fn(usize, usize, usize) -> u8,
) {
    let longer = h.max(w);
    let (height, width) = ((h * tile / longer).max(1), (w * tile / longer).max(1));
    let (top, left) = (top + (tile - height) / 2, left + (tile - width) / 2);
    for y in 0..height {
        for x in 0..width {
            let (i, j) = (y * h / height, x * w / width);
            let colour = Rgb([0, 1, 2].map(|c| value(i, j, c)));
            picture.put_pixel((left + x) as u32, (top + y) as u32, colour);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn originals_and_views_stand_where_they_should() {
        let op = Augment { size: 56, mean: vec![0.5], std: vec![0.25], ..Augment::default() };
        let gray = Picture { pixels: &[10, 20], height: 1, width: 2, channels: 1 };
        let red: Vec<u8> = [200, 0, 0].repeat(4);
        let rgb = Picture { pixels: &red, height: 2, width: 2, channels: 3 };
        let (middle, over) = (vec![0.0; 56 * 56], vec![9.0; 56 * 56 * 3]);
        let rows =
            [Row { image: gray, views: vec![&middle, &middle] }, Row { image: rgb, views: vec![&over] }];
        let picture = grid(&rows, &op);
        assert_eq!(picture.dimensions(), (3 * 118 + 6, 2 * 118 + 6));
        let at = |x: u32, y: u32| picture.get_pixel(x, y).0;
        // A 1 × 2 image fills the width of its tile and half of its height.
        assert_eq!((at(6, 62), at(117, 62), at(62, 6)), ([10; 3], [20; 3], [255; 3]));
        assert_eq!((at(130, 10), at(250, 10)), ([128; 3], [128; 3]));
        assert_eq!((at(10, 130), at(130, 130)), ([200, 0, 0], [255; 3]));
        assert_eq!(at(250, 130), [255; 3], "no second view: paper");
    }
}
