//! Pictures of what was found.

use super::{Found, Rect, Scene};
use image::{Rgb, RgbImage};

/// Scenes are enlarged to at least this side, in pixels.
const COMFORTABLE: usize = 192;
const COLUMNS: usize = 4;
const GAP: usize = 6;
const PAPER: Rgb<u8> = Rgb([255, 255, 255]);
/// What is there.
const TRUTH: Rgb<u8> = Rgb([30, 200, 90]);
/// What was found, with the right class and without.
const FOUND: Rgb<u8> = Rgb([250, 170, 20]);
const WRONG: Rgb<u8> = Rgb([230, 40, 60]);

/// A grid of scenes: green what is there, orange what was found with a score of at least `least`, red where that
/// overlaps no object of its class by an IoU of 0.5.
pub fn draw_detections(scenes: &[Scene], found: &[Vec<Found>], least: f64) -> RgbImage {
    let side = scenes.iter().map(|s| s.image.height.max(s.image.width)).max().unwrap_or(1);
    let zoom = COMFORTABLE.div_ceil(side);
    let tile = side * zoom;
    let along = |tiles: usize| (tiles * (tile + GAP) + GAP) as u32;
    let columns = COLUMNS.min(scenes.len().max(1));
    let mut picture = RgbImage::from_pixel(along(columns), along(scenes.len().div_ceil(columns)), PAPER);
    for (i, (scene, found)) in scenes.iter().zip(found).enumerate() {
        let (left, top) = (GAP + i % columns * (tile + GAP), GAP + i / columns * (tile + GAP));
        let image = &scene.image;
        for y in 0..image.height * zoom {
            for x in 0..image.width * zoom {
                let at = (y / zoom * image.width + x / zoom) * image.channels;
                let value = |c: usize| image.pixels[at + c.min(image.channels - 1)];
                picture.put_pixel((left + x) as u32, (top + y) as u32, Rgb([value(0), value(1), value(2)]));
            }
        }
        let mut frame = |rect: &Rect, color, width: usize| {
            // Outside the scene there is nothing to draw on.
            let pixel = |v: f64, most: usize| ((v * zoom as f64).round().max(0.0) as usize).min(most);
            let (w, h) = (image.width * zoom, image.height * zoom);
            let (x0, y0) = (pixel(rect.x, w), pixel(rect.y, h));
            let (x1, y1) = (pixel(rect.x + rect.width, w), pixel(rect.y + rect.height, h));
            for y in y0..y1 {
                for x in x0..x1 {
                    if x < x0 + width || x + width >= x1 || y < y0 + width || y + width >= y1 {
                        picture.put_pixel((left + x) as u32, (top + y) as u32, color);
                    }
                }
            }
        };
        scene.truths.iter().for_each(|t| frame(&t.rect, TRUTH, 2));
        for found in found.iter().filter(|f| f.score >= least) {
            let right = scene.truths.iter().any(|t| t.class == found.class && t.rect.iou(&found.rect) >= 0.5);
            frame(&found.rect, if right { FOUND } else { WRONG }, 1);
        }
    }
    picture
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Image;
    use crate::eval::detection::Truth;

    #[test]
    fn frames_lie_where_boxes_are() {
        let rect = |x| Rect { x, y: 10.0, width: 20.0, height: 20.0 };
        let truths = vec![Truth { rect: rect(10.0), class: 1, crowd: false, ignore: false }];
        let scene =
            Scene { image: Image { height: 64, width: 64, channels: 1, pixels: vec![7; 64 * 64] }, truths };
        // The second reaches beyond the scene, the third is not sure enough.
        let found = [(12.0, 1, 0.9), (50.0, 1, 0.9), (33.0, 1, 0.1)];
        let found = found.map(|(x, class, score)| Found { rect: rect(x), class, score }).to_vec();
        let picture = draw_detections(&[scene], &[found], 0.3);
        assert_eq!(picture.dimensions(), (204, 204));
        let at = |x: u32, y: u32| *picture.get_pixel(6 + 3 * x, 6 + 3 * y);
        assert_eq!(at(0, 0), Rgb([7; 3]));
        assert_eq!([at(10, 15), at(12, 15), at(50, 15), at(33, 15)], [TRUTH, FOUND, WRONG, Rgb([7; 3])]);
        assert_eq!(*picture.get_pixel(1, 1), PAPER);
    }
}
