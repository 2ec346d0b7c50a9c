//! Annotated pictures: Pascal VOC folders and COCO JSON files.

mod coco;
mod voc;

use super::{Rect, Scene, Truth};
use crate::data::{Image, decode};
use crate::ops::augment::{Augment, Scratch, ViewParams};
use crate::rng::{Philox, Purpose};
use crate::{Error, Result};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A data set of pictures with boxes.
#[derive(Clone, Debug, PartialEq)]
pub struct Annotations {
    /// By class.
    pub classes: Vec<String>,
    pub pictures: Vec<Annotated>,
}

/// A picture on disk with its objects.
#[derive(Clone, Debug, PartialEq)]
pub struct Annotated {
    pub path: PathBuf,
    pub truths: Vec<Truth>,
}

impl Annotations {
    /// `pictures` is a folder; `annotations` a COCO JSON file, or a folder of Pascal VOC XML files. Without it `pictures`
    /// is a Pascal VOC folder, with `JPEGImages` and `Annotations` in it.
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

/// Names the random stream of the hold-out among those of probes.
const HOLD_OUT: u32 = 6;

impl Annotated {
    /// The picture squeezed to `size` × `size` pixels, its boxes with it: IoU does not change by that.
    pub fn scene(&self, size: usize, channels: usize) -> Result<Scene> {
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
        let squeeze = |t: &Truth| {
            let Rect { x, y, width, height } = t.rect;
            let rect = Rect { x: x * across, y: y * down, width: width * across, height: height * down };
            Truth { rect, ..*t }
        };
        let truths = self.truths.iter().map(squeeze).collect();
        Ok(Scene { image: Image { height: size, width: size, channels, pixels }, truths })
    }
}

impl Annotations {
    /// All pictures as scenes, one in five of them held out, the same ones in every run: those to learn from, those to
    /// judge on.
    pub fn scenes(&self, size: usize, channels: usize) -> Result<[Vec<Scene>; 2]> {
        if self.pictures.len() < 5 {
            let what =
                format!("{} annotated pictures; at least 5 are needed to hold one out", self.pictures.len());
            return Err(Error::config("detect", what));
        }
        let mut order: Vec<&Annotated> = self.pictures.iter().collect();
        Philox::new(0, Purpose::Probe, HOLD_OUT, 0).shuffle(&mut order);
        let (test, train) = order.split_at(self.pictures.len() / 5);
        let read =
            |part: &[&Annotated]| part.par_iter().map(|p| p.scene(size, channels)).collect::<Result<_>>();
        Ok([read(train)?, read(test)?])
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
