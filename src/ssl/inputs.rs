//! What a sample becomes before the network sees it: its views, and the labels that a task invents for them.

use crate::augment::{Policy, draw, stream};
use crate::ops::augment::ViewParams;
use crate::{Error, Result};
use serde::de::DeserializeOwned;
use toml::Table;

/// What decides a method's inputs.
#[derive(Clone, Copy, Debug)]
pub struct InputSpec<'a> {
    pub augment: &'a Policy,
    /// Pixels of a view, in height and width.
    pub size: usize,
    pub loss: &'a Table,
}

impl InputSpec<'_> {
    /// The method's settings.
    pub fn settings<S: DeserializeOwned>(&self) -> Result<S> {
        super::settings::read(self.loss)
    }
}

/// Names a draw: with its image's size, all that its views and labels depend on.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    pub seed: u64,
    pub epoch: u32,
    /// Number of the image in its split.
    pub id: u64,
    /// Pixels of the image, \[height, width\].
    pub image: [usize; 2],
}

/// What was drawn for one sample.
#[derive(Clone, Debug, Default)]
pub struct Drawn {
    /// The parameters of each view.
    pub views: Vec<ViewParams>,
    /// The labels the task invents.
    pub labels: Vec<i64>,
}

/// How samples are seen.
pub trait Inputs: Send + Sync {
    /// Pixels of each view, in height and width.
    fn sizes(&self) -> &[usize];

    /// Labels a sample.
    fn labels(&self) -> usize {
        0
    }

    fn draw(&self, of: Draw) -> Drawn;
}

/// Views by the policy, each drawn alone; view v takes the v-th of the policy's probabilities.
pub struct Augmented {
    pub policy: Policy,
    pub sizes: Vec<usize>,
}

impl Augmented {
    /// `count` views of the full size.
    pub fn views(spec: &InputSpec, count: usize) -> Result<Box<dyn Inputs>> {
        Ok(Box::new(Self { policy: spec.augment.clone(), sizes: vec![spec.size; count] }))
    }
}

impl Inputs for Augmented {
    fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    fn draw(&self, of: Draw) -> Drawn {
        let [h, w] = of.image;
        let views = self.sizes.len();
        let one = |view| draw(&self.policy, view, &mut stream(of.seed, of.epoch, of.id, view, views), h, w);
        Drawn { views: (0..views).map(one).collect(), labels: Vec::new() }
    }
}

/// Multi-crop (Caron et al., SwAV, NeurIPS 2020, section 3.2): two global crops, then small ones of small parts.
pub struct MultiCrop {
    global: Policy,
    local: Policy,
    sizes: Vec<usize>,
}

/// The global crops of [`MultiCrop`].
pub const GLOBAL: usize = 2;

impl MultiCrop {
    /// `local` crops of `local_size` pixels that cover `local_scale` of the image's area; global ones as the policy says.
    pub fn views(
        spec: &InputSpec,
        local: usize,
        local_size: usize,
        local_scale: [f32; 2],
    ) -> Result<Box<dyn Inputs>> {
        if local == 0 {
            return Augmented::views(spec, GLOBAL);
        }
        let [least, most] = local_scale;
        if !(least > 0.0 && least <= most && most <= 1.0) {
            let what = format!("[{least}, {most}] must be rising, above 0 and at most 1");
            return Err(Error::config("loss.local_scale", what));
        }
        let size = if local_size == 0 { spec.size.div_ceil(2) } else { local_size };
        let mut sizes = vec![spec.size; GLOBAL];
        sizes.extend(std::iter::repeat_n(size, local));
        let local = Policy { crop_scale: local_scale, ..spec.augment.clone() };
        Ok(Box::new(Self { global: spec.augment.clone(), local, sizes }))
    }
}

impl Inputs for MultiCrop {
    fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    fn draw(&self, of: Draw) -> Drawn {
        let [h, w] = of.image;
        let one = |view| {
            let policy = if view < GLOBAL { &self.global } else { &self.local };
            draw(policy, view, &mut stream(of.seed, of.epoch, of.id, view, self.sizes.len()), h, w)
        };
        Drawn { views: (0..self.sizes.len()).map(one).collect(), labels: Vec::new() }
    }
}
