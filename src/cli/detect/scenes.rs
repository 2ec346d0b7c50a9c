//! What to learn from and to judge on.

use super::Arguments;
use crate::cli::run::open_data;
use anyhow::{Result, bail};
use rusa::data::Options;
use rusa::eval::detection::{Annotations, Scene, SceneOptions};
use std::path::Path;

/// Scenes to compose where --scenes does not say how many.
const COMPOSED: u32 = 1000;

pub struct Scenes {
    pub classes: Vec<String>,
    pub train: Vec<Scene>,
    pub test: Vec<Scene>,
    pub composed: bool,
    pub notes: Vec<String>,
}

impl Scenes {
    pub fn open(arguments: &Arguments, channels: usize, seed: u64) -> Result<Self> {
        let (path, size, max_bad) = (Path::new(&arguments.data), arguments.size as usize, arguments.max_bad);
        if !(0.0..=1.0).contains(&max_bad) {
            bail!("--max-bad {max_bad}: a share of the pictures is from 0 to 1");
        }
        if arguments.annotations.is_some() || path.join("Annotations").is_dir() {
            if arguments.scenes.is_some() {
                bail!(
                    "--scenes is of scenes that are composed; these are annotated photographs: leave it out"
                );
            }
            let set = annotated(arguments, path)?;
            let ([train, test], notes) = set.scenes(size, channels, max_bad)?;
            let notes = [set.notes, notes].concat();
            return Ok(Self { classes: set.classes, train, test, composed: false, notes });
        }
        if arguments.test_annotations.is_some() {
            bail!(
                "--test-annotations is of annotated photographs, but {} has no Annotations folder and there is no \
                 --annotations",
                arguments.data
            );
        }
        let data = open_data(&arguments.data, &Options { channels: Some(channels), max_bad })?;
        if !data.labelled {
            bail!("{} has neither labels to compose scenes by nor annotations", arguments.data);
        }
        let options = SceneOptions { size, ..SceneOptions::default() };
        let count = arguments.scenes.unwrap_or(COMPOSED) as usize;
        let train = options.compose(&data.train, count, seed)?;
        let test = options.compose(&data.test, count.div_ceil(4), seed)?;
        Ok(Self { classes: data.classes, train, test, composed: true, notes: Vec::new() })
    }
}

/// The photographs of --data, and those of --test-annotations to judge on.
fn annotated(arguments: &Arguments, path: &Path) -> Result<Annotations> {
    let set = Annotations::open(path, arguments.annotations.as_deref())?;
    let Some(test) = &arguments.test_annotations else { return Ok(set) };
    let test = if let Some(pictures) = &arguments.test_data {
        Annotations::open(pictures, Some(test))?
    } else if test.join("Annotations").is_dir() {
        Annotations::open(test, None)?
    } else if arguments.annotations.is_some() {
        Annotations::open(path, Some(test))?
    } else {
        Annotations::open(&path.join("JPEGImages"), Some(test))?
    };
    Ok(set.judged_on(test)?)
}
