//! Annotated pictures as scenes: those to learn from, those to judge on.

use super::{Annotated, Annotations, Names, Truth};
use crate::data::BadFiles;
use crate::eval::detection::Scene;
use crate::rng::{Philox, Purpose};
use crate::{Error, Result};
use rayon::prelude::*;
use std::collections::BTreeSet;
use std::path::Path;

/// Names the random stream of the hold-out among those of probes.
const HOLD_OUT: u32 = 6;

impl Annotations {
    /// With another set to judge on: all pictures of this one are to learn from, whatever split it has. Classes are
    /// those of either, told by name.
    ///
    /// Errors: a picture is in both.
    pub fn judged_on(self, test: Self) -> Result<Self> {
        let learnt: BTreeSet<&Path> = self.pictures.iter().map(|p| p.path.as_path()).collect();
        if let Some(both) = test.pictures.iter().find(|p| learnt.contains(p.path.as_path())) {
            return Err(Error::data(&both.path, "is in the set to learn from and in the set to judge on"));
        }
        let names = Names::of(self.classes.iter().chain(&test.classes).map(String::as_str));
        let mut notes = [self.notes, test.notes].concat();
        for class in test.classes.iter().filter(|class| !self.classes.contains(class)) {
            notes
                .push(format!("class `{class}` is only in the set to judge on: nothing can be learnt of it"));
        }
        let mut pictures = Vec::with_capacity(self.pictures.len() + test.pictures.len());
        let split = self.pictures.len()..self.pictures.len() + test.pictures.len();
        for (classes, part) in [(self.classes, self.pictures), (test.classes, test.pictures)] {
            let rename = |t: Truth| Truth { class: names.0[&classes[t.class]], ..t };
            pictures.extend(part.into_iter().map(|Annotated { path, truths }| Annotated {
                path,
                truths: truths.into_iter().map(rename).collect(),
            }));
        }
        let split = Some([(0..split.start).collect(), split.collect()]);
        Ok(Self { classes: names.into_names(), pictures, split, notes })
    }

    /// All pictures as scenes, by the set's own split; where it has none, one in five is held out, the same ones in
    /// every run. Returns those to learn from and those to judge on, with what a user should know of them: pictures
    /// that cannot be read, and boxes that were cut or left out.
    ///
    /// Errors: more than `max_bad` of the pictures cannot be read; too few are there to hold one out.
    pub fn scenes(
        &self,
        size: usize,
        channels: usize,
        max_bad: f64,
    ) -> Result<([Vec<Scene>; 2], Vec<String>)> {
        let [train, test] = self.parts()?;
        let folder = self.pictures.first().and_then(|p| p.path.parent()).unwrap_or(Path::new(""));
        let bad = BadFiles::new(folder, train.len() + test.len(), max_bad);
        let read = |i: &usize| match self.pictures[*i].read(size, channels) {
            Err(error @ (Error::Data { .. } | Error::Io { .. })) => {
                bad.report(&self.pictures[*i].path.display().to_string(), &error).map(|()| None)
            }
            read => read.map(Some),
        };
        let mut boxes = [0, 0];
        let mut all = |part: &[usize]| -> Result<Vec<Scene>> {
            let read: Vec<Option<(Scene, [usize; 2])>> = part.par_iter().map(read).collect::<Result<_>>()?;
            let mut scenes = Vec::with_capacity(read.len());
            for (scene, counts) in read.into_iter().flatten() {
                boxes = [boxes[0] + counts[0], boxes[1] + counts[1]];
                scenes.push(scene);
            }
            match scenes.is_empty() {
                true => Err(Error::data(folder, "no picture of a split can be read")),
                false => Ok(scenes),
            }
        };
        let scenes = [all(&train)?, all(&test)?];
        let mut notes = Vec::new();
        if let Some((first, why)) = bad.list().first() {
            let (count, total) = (bad.count(), bad.total());
            notes.push(format!(
                "{count} of {total} pictures cannot be read and are left out; the first is {first}: {why}"
            ));
        }
        let [cut, lost] = boxes;
        if cut + lost > 0 {
            notes.push(format!(
                "{cut} boxes reach out of their pictures and are cut to them; {lost} have nothing left and are left out"
            ));
        }
        Ok((scenes, notes))
    }

    /// Numbers of the pictures to learn from and of those to judge on.
    fn parts(&self) -> Result<[Vec<usize>; 2]> {
        if let Some(split) = &self.split {
            return Ok(split.clone());
        }
        if self.pictures.len() < 5 {
            let what =
                format!("{} annotated pictures; at least 5 are needed to hold one out", self.pictures.len());
            return Err(Error::config("detect", what));
        }
        let mut order: Vec<usize> = (0..self.pictures.len()).collect();
        Philox::new(0, Purpose::Probe, HOLD_OUT, 0).shuffle(&mut order);
        let train = order.split_off(self.pictures.len() / 5);
        Ok([train, order])
    }
}
