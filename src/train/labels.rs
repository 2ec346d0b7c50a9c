//! Labels that do not come with the views: cluster assignments, hashtags, places.

use crate::config::Config;
use crate::data::sidecar::{PlaceOptions, Places, TagOptions, Tags};
use crate::data::{Dataset, Split};
use crate::device::Program;
use crate::ssl::{self, ASSIGNMENTS, Known, Labels};
use crate::{Error, Result};
use std::path::Path;

/// What is known of every image of the training split.
pub enum Given {
    /// Nothing: the task has no labels, or draws them with the views.
    Nothing { images: usize },
    /// \[labels·images\], the first label of all images first.
    Each { labels: Vec<i64>, images: usize },
    /// The classes of each image, which share it equally.
    Shares { classes: usize, of: Vec<Vec<u32>> },
}

impl Given {
    /// Images of the split.
    pub fn images(&self) -> usize {
        match self {
            Self::Nothing { images } | Self::Each { images, .. } => *images,
            Self::Shares { of, .. } => of.len(),
        }
    }
}

/// The images a method can train on, and what it knows of them: those without a tag or place are left out.
pub fn given(config: &Config, data: &Dataset) -> Result<(Split, Given, Known)> {
    let all = &data.train;
    let path = (!config.data.sidecar.is_empty()).then(|| Path::new(&config.data.sidecar));
    let known = |images, classes| Known { images, classes };
    Ok(match ssl::find(&config.method)?.labels {
        Labels::Tags => {
            let tags = Tags::read(path, data, &TagOptions::default())?;
            let kept: Vec<usize> = (0..all.len()).filter(|&i| !tags.of[all.member(i)].is_empty()).collect();
            let of = kept.iter().map(|&i| tags.of[all.member(i)].clone()).collect();
            let split = enough(config, all.only(&kept), "a tag")?;
            let (images, classes) = (split.len(), tags.names.len());
            (split, Given::Shares { classes, of }, known(images, classes))
        }
        Labels::Places => {
            let places = Places::read(path, data, &PlaceOptions::default())?;
            let of = |i: usize| places.of[all.member(i)];
            let kept: Vec<usize> = (0..all.len()).filter(|&i| of(i).is_some()).collect();
            let labels = kept.iter().filter_map(|&i| of(i)).map(i64::from).collect();
            let split = enough(config, all.only(&kept), "a place")?;
            let images = split.len();
            (split, Given::Each { labels, images }, known(images, places.cells.len()))
        }
        Labels::None | Labels::Drawn | Labels::Assigned => {
            (all.clone(), Given::Nothing { images: all.len() }, known(all.len(), data.classes.len()))
        }
    })
}

fn enough(config: &Config, split: Split, what: &str) -> Result<Split> {
    if split.len() < config.batch {
        let what = format!("{} is more than the {} pictures that have {what}", config.batch, split.len());
        return Err(Error::config("batch", what));
    }
    Ok(split)
}

/// The assignments that the program holds, where the method makes some.
pub fn assigned(program: &dyn Program) -> Result<Option<Given>> {
    let Some(t) = program.graph().find(ASSIGNMENTS) else { return Ok(None) };
    let images = program.graph().ty(t).shape[1];
    let labels = program.read_f32(t)?.into_iter().map(|c| c as i64).collect();
    Ok(Some(Given::Each { labels, images }))
}
