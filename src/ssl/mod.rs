//! Methods of self-supervision. One method, one file; each records its loss from the same ops.
//!
//! A method is a [`Method`]: its settings, how it sees a sample ([`Inputs`]), and how it records its loss. To add one,
//! copy the file of the nearest and put a line into [`METHODS`].

mod bank;
mod barlow_twins;
mod byol;
#[cfg(test)]
mod chance_tests;
mod cosine;
mod deepcluster_v2;
mod dino;
mod euclidean;
mod inputs;
mod kmeans;
mod moco_v2;
mod moco_v3;
mod nnclr;
#[cfg(test)]
mod pages;
mod pirl;
pub mod pretext;
mod prototypes;
mod ramp;
mod record;
mod recorder;
mod settings;
mod simclr;
mod simsiam;
mod swav;
mod vicreg;
mod w_mse;

pub use inputs::{Draw, Drawn, InputSpec, Inputs};
pub use prototypes::{Prototypes, prototypes};
pub use ramp::Ramp;
pub use record::{Feeds, Images, Known, Step, StepSpec};

use crate::device::Program;
use crate::{Error, Result};
use inputs::Augmented;
use recorder::{Recorded, Recorder};
use serde::Serialize;
use toml::Table;

/// Every method.
pub const METHODS: &[Method] = &[
    simclr::METHOD,
    moco_v2::METHOD,
    moco_v3::METHOD,
    nnclr::METHOD,
    pirl::METHOD,
    swav::METHOD,
    deepcluster_v2::METHOD,
    byol::METHOD,
    simsiam::METHOD,
    dino::METHOD,
    barlow_twins::METHOD,
    vicreg::METHOD,
    w_mse::METHOD,
    cosine::METHOD,
    euclidean::METHOD,
    pretext::rotation::METHOD,
    pretext::relative_position::METHOD,
    pretext::jigsaw::METHOD,
    pretext::hashtag::METHOD,
    pretext::gps::METHOD,
];

/// A way to pretrain.
pub struct Method {
    pub name: &'static str,
    pub family: Family,
    /// What it does, in a line.
    pub summary: &'static str,
    pub paper: &'static str,
    /// How it avoids the trivial solution, one output for every input.
    pub avoids_collapse: &'static str,
    /// What to change where the loss stays at [`chance`](Method::chance).
    pub if_stuck: &'static str,
    /// What to change where few of its prototypes have an image; nothing for methods without prototypes.
    pub if_dead: &'static str,
    /// Whether the loss looks at the output of the projection head.
    pub projects: bool,
    pub labels: Labels,
    /// The settings with every default written out.
    settings: fn(&Table) -> Result<Table>,
    /// How it sees a sample.
    inputs: fn(&InputSpec) -> Result<Box<dyn Inputs>>,
    record: fn(&mut Recorder) -> Result<Recorded>,
    /// Which graph an epoch has: where the number changes, the step is recorded anew.
    phase: fn(&Table, usize) -> Result<usize>,
    /// What happens on the host before an epoch.
    epoch: Option<EpochHook>,
    /// The loss of an encoder that tells nothing apart.
    chance: fn(&Table, usize, Known) -> Result<Option<f64>>,
}

/// What a method's struct leaves out.
const BASE: Method = Method {
    name: "",
    family: Family::Contrastive,
    summary: "",
    paper: "",
    avoids_collapse: "",
    if_stuck: "Raise the learning rate or train longer; check the temperature, and that the views of an image share \
               something.",
    if_dead: "",
    projects: true,
    labels: Labels::None,
    settings: settings::fill::<NoSettings>,
    inputs: |spec| Augmented::views(spec, 2),
    record: |_| Err(Error::Graph("a method must record a loss".into())),
    phase: |_, _| Ok(0),
    epoch: None,
    chance: |_, _, _| Ok(None),
};

/// The cross entropy of an even guess among so many answers: ln of their number. None where there is nothing to choose.
fn among(answers: usize) -> Option<f64> {
    (answers > 1).then(|| (answers as f64).ln())
}

/// For methods that have none.
#[derive(Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct NoSettings {}

/// What keeps the trivial solution away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    Contrastive,
    Clustering,
    Distillation,
    RedundancyReduction,
    /// Nothing: for study.
    Similarity,
    Pretext,
    /// Labels that come with the images: semi-automatic.
    WeakLabels,
}

/// Where a method's labels come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Labels {
    /// It has none.
    None,
    /// The task invents them with the views.
    Drawn,
    /// The method gives each image its own, anew each epoch: cluster assignments.
    Assigned,
    /// Hashtags that stand beside the images.
    Tags,
    /// The places they were taken at.
    Places,
}

/// Reads some of the program's states before an epoch, and writes others.
pub type EpochHook = fn(&mut dyn Program, Before) -> Result<()>;

/// Which epoch begins.
pub struct Before<'a> {
    pub epoch: usize,
    pub seed: u64,
    pub loss: &'a Table,
    /// The embeddings \[images,D\] of the whole data set by the program's weights as they are.
    pub embed: &'a dyn Fn(&dyn Program) -> Result<Vec<f32>>,
}

/// The state that a method with [`Labels::Assigned`] keeps its assignments in, f32\[labels,images\].
pub const ASSIGNMENTS: &str = "assignments";

impl Method {
    /// The settings with every default written out; a setting the method does not know is an error.
    pub fn settings(&self, table: &Table) -> Result<Table> {
        (self.settings)(table).map_err(|e| match e {
            Error::Config { key, what } if key == "loss" => {
                Error::config(key, format!("{}: {what}", self.name))
            }
            other => other,
        })
    }

    /// How it sees a sample.
    pub fn inputs(&self, spec: &InputSpec) -> Result<Box<dyn Inputs>> {
        (self.inputs)(spec)
    }

    /// Which of its graphs an epoch has.
    pub fn phase(&self, loss: &Table, epoch: usize) -> Result<usize> {
        (self.phase)(loss, epoch)
    }

    /// The loss of an encoder that tells nothing apart, all its answers equal: by the complete settings, the images a
    /// batch, and the data. None for losses in which that is no fixed number.
    pub fn chance(&self, loss: &Table, batch: usize, data: Known) -> Result<Option<f64>> {
        (self.chance)(loss, batch, data)
    }

    /// What it does on the host before an epoch.
    pub fn before_epoch(&self, program: &mut dyn Program, before: Before) -> Result<()> {
        self.epoch.map_or(Ok(()), |hook| hook(program, before))
    }
}

/// The method of that name, or an error that lists the names there are.
pub fn find(name: &str) -> Result<&'static Method> {
    METHODS.iter().find(|m| m.name == name).ok_or_else(|| {
        let names: Vec<_> = METHODS.iter().map(|m| m.name).collect();
        Error::config("method", format!("there is no method `{name}`; there are {}", names.join(", ")))
    })
}
