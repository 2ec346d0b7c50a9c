//! Annotated pictures: Pascal VOC folders and COCO JSON files.

mod coco;
mod image_sets;
mod scenes;
mod voc;

use super::{Rect, Scene, Truth};
use crate::data::{Image, decode};
use crate::ops::augment::{Augment, Scratch, ViewParams};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A data set of pictures with boxes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Annotations {
    /// By class.
    pub classes: Vec<String>,
    pub pictures: Vec<Annotated>,
    /// Where the set has a split of its own: which pictures to learn from, and which to judge on.
    pub split: Option<[Vec<usize>; 2]>,
    /// What a user should know.
    pub notes: Vec<String>,
}

/// Boxes that reach out of their picture by less, in pixels, were only rounded.
const ROUNDED: f64 = 0.01;

/// A picture on disk with its objects.
#[derive(Clone, Debug, PartialEq)]
pub struct Annotated {
    pub path: PathBuf,
    pub truths: Vec<Truth>,
}

impl Annotations {
    /// `pictures` is a folder; `annotations` a COCO JSON file, or a folder of Pascal VOC XML files. Without it `pictures`
    /// is a Pascal VOC folder, with `JPEGImages` and `Annotations` in it. Boxes are as they are in the files, even if
    /// they reach out of their picture or hold nothing.
    pub fn open(pictures: &Path, annotations: Option<&Path>) -> Result<Self> {
        let found = match annotations {
            Some(file) if file.is_file() => coco::read(pictures, file)?,
            Some(folder) => voc::read(pictures, folder)?,
            None => voc::read(&pictures.join("JPEGImages"), &pictures.join("Annotations"))?,
        };
        match found.pictures.first() {
            Some(_) => Ok(found),
            None => Err(Error::data(annotations.unwrap_or(pictures), "no annotated picture was found")),
        }
    }
}

impl Annotated {
    /// The picture squeezed to `size` × `size` pixels, its boxes with it: IoU does not change by that. Boxes are cut to
    /// the picture, and those with nothing left are left out.
    pub fn scene(&self, size: usize, channels: usize) -> Result<Scene> {
        self.read(size, channels).map(|(scene, _)| scene)
    }

    /// [`scene`](Self::scene), with how many boxes were cut, and how many left out.
    fn read(&self, size: usize, channels: usize) -> Result<(Scene, [usize; 2])> {
        let mut image = Image::default();
        decode::read(&self.path, &mut image)?;
        image.convert(channels);
        let Image { height, width, pixels, .. } = image;
        let resize = Augment { size, ..Augment::default() };
        let mut values = vec![0.0; size * size * channels];
        let whole = ViewParams::crop(0, 0, height, width);
        resize
            .apply(&pixels, height, width, channels, &whole, &mut values, &mut Scratch::default())
            .map_err(|e| Error::op("augment", e))?;
        let pixels = values.iter().map(|v| (255.0 * v).round().clamp(0.0, 255.0) as u8).collect();
        let (across, down) = (size as f64 / width as f64, size as f64 / height as f64);
        let (mut truths, mut cut, mut lost) = (Vec::with_capacity(self.truths.len()), 0, 0);
        for truth in &self.truths {
            let Some(rect) = truth.rect.within(width as f64, height as f64) else {
                lost += 1;
                continue;
            };
            let Rect { x, y, width, height } = rect;
            cut += usize::from(truth.rect.width - width > ROUNDED || truth.rect.height - height > ROUNDED);
            let rect = Rect { x: x * across, y: y * down, width: width * across, height: height * down };
            truths.push(Truth { rect, ..*truth });
        }
        let image = Image { height: size, width: size, channels, pixels };
        Ok((Scene { image, truths }, [cut, lost]))
    }
}

/// Classes in alphabetical order, whatever the order of files.
struct Names(BTreeMap<String, usize>);

impl Names {
    fn of<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        let mut classes: BTreeMap<String, usize> = names.map(|name| (name.to_owned(), 0)).collect();
        classes.values_mut().enumerate().for_each(|(i, class)| *class = i);
        Self(classes)
    }

    fn into_names(self) -> Vec<String> {
        self.0.into_keys().collect()
    }
}

#[cfg(test)]
#[path = "annotations_tests.rs"]
mod tests;
