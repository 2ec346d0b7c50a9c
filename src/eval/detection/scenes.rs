//! Scenes composed from the pictures of a data set: objects at random places and scales over clutter, boxes known.

use super::{Rect, Truth};
use crate::data::{Image, Split};
use crate::ops::augment::{Augment, Scratch, ViewParams};
use crate::rng::{Philox, Purpose};
use crate::{Error, Result};
use rayon::prelude::*;

/// Names the random streams of scenes among those of probes.
const SCENES: u32 = 4;
/// Clutter is a picture cut into so many tiles a side, shuffled: its textures without its object.
const TILES: usize = 4;
/// Places tried for an object before the scene goes without it.
const TRIES: usize = 50;

/// How scenes are composed.
#[derive(Clone, Debug, PartialEq)]
pub struct SceneOptions {
    /// Pixels in height and width.
    pub size: usize,
    /// The fewest and the most objects.
    pub objects: [usize; 2],
    /// The least and the largest side of an object, as a share of the scene's.
    pub scale: [f32; 2],
    /// Pieces of clutter behind the objects.
    pub clutter: usize,
    /// Two objects overlap by no larger IoU.
    pub overlap: f64,
}

impl Default for SceneOptions {
    fn default() -> Self {
        Self { size: 64, objects: [1, 4], scale: [0.2, 0.5], clutter: 6, overlap: 0.1 }
    }
}

/// A picture with its objects.
#[derive(Clone, Debug, PartialEq)]
pub struct Scene {
    pub image: Image,
    pub truths: Vec<Truth>,
}

impl SceneOptions {
    fn check(&self) -> Result<()> {
        let [few, many] = self.objects;
        let [small, large] = self.scale;
        let what = if few == 0 || few > many {
            format!("{few} to {many} objects: must be rising and at least 1")
        } else if !(small > 0.0 && small <= large && large <= 1.0) {
            format!("objects of {small} to {large} of a scene: must be rising, above 0 and at most 1")
        } else if (self.size as f32 * small) < TILES as f32 {
            format!("objects of {small} of {} pixels are too small to see", self.size)
        } else {
            return Ok(());
        };
        Err(Error::config("scenes", what))
    }

    /// `count` scenes from the pictures of `split`. Each has a random stream of its own: the first scenes are the same
    /// however many are asked for.
    pub fn compose(&self, split: &Split, count: usize, seed: u64) -> Result<Vec<Scene>> {
        self.check()?;
        if split.is_empty() {
            return Err(Error::config("scenes", "there are no pictures to compose them from"));
        }
        let scene = |i: usize| {
            Composer::new(self, split, Philox::new(seed, Purpose::Probe, SCENES, i as u64)).scene()
        };
        (0..count).into_par_iter().map(scene).collect()
    }
}

struct Composer<'a> {
    options: &'a SceneOptions,
    split: &'a Split,
    rng: Philox,
    picture: Image,
    scratch: Scratch,
    canvas: Vec<u8>,
}

impl<'a> Composer<'a> {
    fn new(options: &'a SceneOptions, split: &'a Split, rng: Philox) -> Self {
        let canvas = vec![0; options.size * options.size * split.channels()];
        Self { options, split, rng, picture: Image::default(), scratch: Scratch::default(), canvas }
    }

    fn scene(mut self) -> Result<Scene> {
        let SceneOptions { size, objects: [few, many], clutter, overlap, .. } = *self.options;
        let gray = self.rng.below(128) as u8;
        self.canvas.fill(gray);
        for _ in 0..clutter {
            let [x, y, side] = self.place();
            let (_, mut pixels) = self.picture(side)?;
            self.shuffle_tiles(&mut pixels, side);
            self.paste(&pixels, [x, y, side]);
        }
        let count = few + self.rng.below((many - few + 1) as u32) as usize;
        let mut truths: Vec<Truth> = Vec::new();
        for _ in 0..count {
            for _ in 0..TRIES {
                let [x, y, side] = self.place();
                let s = side as f64;
                let rect = Rect { x: x as f64, y: y as f64, width: s, height: s };
                if truths.iter().any(|t| t.rect.iou(&rect) > overlap) {
                    continue;
                }
                let (class, pixels) = self.picture(side)?;
                self.paste(&pixels, [x, y, side]);
                truths.push(Truth { rect, class, crowd: false, ignore: false });
                break;
            }
        }
        let channels = self.split.channels();
        Ok(Scene { image: Image { height: size, width: size, channels, pixels: self.canvas }, truths })
    }

    /// Left, top and side of a square within the scene.
    fn place(&mut self) -> [usize; 3] {
        let size = self.options.size;
        let [small, large] = self.options.scale;
        let side = ((size as f32 * self.rng.range(small, large)).round() as usize).clamp(1, size);
        let mut along = || self.rng.below((size - side + 1) as u32) as usize;
        [along(), along(), side]
    }

    /// The central square of a random picture, resized, with its class.
    fn picture(&mut self, side: usize) -> Result<(usize, Vec<u8>)> {
        let at = self.rng.below(self.split.len() as u32) as usize;
        let read = self.split.read(at, &mut self.picture)?;
        let Image { height, width, channels, pixels } = &self.picture;
        let resize = Augment { size: side, mean: vec![0.0], std: vec![1.0], ..Augment::default() };
        let mut values = vec![0.0; side * side * channels];
        let view = ViewParams::eval(*height, *width);
        resize
            .apply(pixels, *height, *width, *channels, &view, &mut values, &mut self.scratch)
            .map_err(|e| Error::op("augment", e))?;
        let label = self.split.label(read);
        let class = usize::try_from(label)
            .map_err(|_| Error::config("scenes", format!("label {label} is negative")))?;
        Ok((class, values.iter().map(|v| (255.0 * v).round().clamp(0.0, 255.0) as u8).collect()))
    }

    fn shuffle_tiles(&mut self, pixels: &mut [u8], side: usize) {
        let (tile, row) = (side / TILES, side * self.split.channels());
        let bytes = tile * self.split.channels();
        let whole = pixels.to_vec();
        let mut order: Vec<usize> = (0..TILES * TILES).collect();
        self.rng.shuffle(&mut order);
        for (to, from) in order.into_iter().enumerate() {
            let corner = |i: usize| i / TILES * tile * row + i % TILES * bytes;
            for y in 0..tile {
                let (to, from) = (corner(to) + y * row, corner(from) + y * row);
                pixels[to..to + bytes].copy_from_slice(&whole[from..from + bytes]);
            }
        }
    }

    fn paste(&mut self, pixels: &[u8], [x, y, side]: [usize; 3]) {
        let channels = self.split.channels();
        for (i, row) in pixels.chunks_exact(side * channels).enumerate() {
            let at = ((y + i) * self.options.size + x) * channels;
            self.canvas[at..at + row.len()].copy_from_slice(row);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{BadFiles, Memory};
    use std::sync::Arc;

    /// Flat pictures, the class told by the brightness.
    fn flat(channels: usize) -> Split {
        let pixels = (0..5u8).flat_map(|class| vec![130 + 20 * class; 12 * 12 * channels]).collect();
        let memory = Memory::new("flat", [12, 12, channels], pixels, vec![0, 1, 2, 3, 4]);
        Split::new(Arc::new(memory), None, channels, Arc::new(BadFiles::new("flat", 5, 0.0)))
    }

    #[test]
    fn boxes_hold_their_objects() {
        for channels in [1, 3] {
            let options = SceneOptions { overlap: 0.0, ..SceneOptions::default() };
            let scenes = options.compose(&flat(channels), 20, 7).unwrap();
            for Scene { image, truths } in &scenes {
                assert_eq!((image.height, image.width, image.channels), (64, 64, channels));
                assert!((1..=4).contains(&truths.len()));
                for Truth { rect, class, .. } in truths {
                    let at = |x: f64, y: f64| image.pixels[(y as usize * 64 + x as usize) * channels];
                    let (right, low) = (rect.x + rect.width - 1.0, rect.y + rect.height - 1.0);
                    let corners = [at(rect.x, rect.y), at(right, rect.y), at(rect.x, low), at(right, low)];
                    assert_eq!(corners, [130 + 20 * *class as u8; 4]);
                    assert!((13.0..=32.0).contains(&rect.width) && right < 64.0 && low < 64.0);
                }
            }
            let counts: std::collections::BTreeSet<_> = scenes.iter().map(|s| s.truths.len()).collect();
            assert!(counts.len() > 2, "{counts:?}");
            assert_eq!(options.compose(&flat(channels), 3, 7).unwrap(), scenes[..3]);
            assert_ne!(options.compose(&flat(channels), 3, 8).unwrap(), scenes[..3]);
        }
    }

    #[test]
    fn what_cannot_be_composed_is_said() {
        let say = |options: SceneOptions| options.compose(&flat(1), 1, 0).unwrap_err().to_string();
        assert!(say(SceneOptions { objects: [3, 2], ..Default::default() }).contains("3 to 2 objects"));
        assert!(say(SceneOptions { scale: [0.5, 1.2], ..Default::default() }).contains("at most 1"));
        assert!(say(SceneOptions { size: 8, ..Default::default() }).contains("too small"));
    }
}
