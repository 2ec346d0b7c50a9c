//! A training step as data: record ops once, [`differentiate`](Graph::differentiate) once, [`plan`](plan::Plan) once.
//!
//! The graph knows no op by name. It stores which op reads and writes which tensors, in execution order.

mod differentiate;
pub mod plan;
mod query;
mod record;

pub use differentiate::{Gradients, Vjp};

use crate::ops::Op;
use crate::tensor::{DType, TensorType};
use crate::{Error, Result};
use std::collections::HashMap;
use std::sync::Arc;

/// A tensor of one [`Graph`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TensorId(pub(crate) usize);

/// Where a tensor's values come from and how long they live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Written from outside before a run: a batch, the learning rate.
    Input,
    /// Trainable; keeps its values from run to run.
    Param,
    /// Not trainable; keeps its values from run to run: running statistics, momentum.
    State,
    /// Made by a node; its memory is reused once the last reader has run.
    Temp,
}

/// What a parameter or state holds before training.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    Zeros,
    Ones,
    /// Normal with mean 0 and this standard deviation.
    Normal(f32),
    /// Uniform in ±bound.
    Uniform(f32),
    /// Normal, then each row (of the last axis) brought to unit length.
    UnitRows,
    /// What that tensor holds: a teacher begins as its student.
    Copy(TensorId),
}

/// What a node does to an output that may already hold something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// Whatever was there is lost.
    Overwrite,
    /// Adds to what is there (gradients), or updates it in place (optimisers, running statistics).
    Accumulate,
}

/// What the graph knows of a tensor.
#[derive(Clone, Debug)]
pub struct TensorInfo {
    pub name: String,
    pub ty: TensorType,
    pub kind: Kind,
    /// Of parameters and states; `Zeros` for the rest.
    pub init: Init,
    /// Whether a gradient may flow into it.
    pub differentiable: bool,
    /// The tensor whose memory it shares: itself, but for [`Graph::stop_gradient`].
    pub storage: TensorId,
    /// The tensor whose gradient a gradient into this one is: itself, but for [`Graph::reduced`].
    pub master: TensorId,
}

/// One op applied once.
#[derive(Clone, Debug)]
pub struct Node {
    pub op: Arc<dyn Op>,
    pub inputs: Vec<TensorId>,
    pub outputs: Vec<TensorId>,
    pub writes: Vec<Write>,
    /// Where in the model it stands, as in `layer1.0.conv1`.
    pub scope: String,
}

/// A recorded computation, in execution order.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    tensors: Vec<TensorInfo>,
    nodes: Vec<Node>,
    kept: Vec<TensorId>,
    names: HashMap<String, TensorId>,
    scope: Vec<String>,
    precision: Precision,
    /// By parameter.
    copies: HashMap<TensorId, TensorId>,
    /// Whether what is recorded belongs to the teacher.
    teaching: bool,
}

/// The prefix of a teacher's tensors: its copy of `encoder.conv1.weight` is `teacher.encoder.conv1.weight`.
pub const TEACHER: &str = "teacher";

/// What activations are stored in, and the weights that meet them. Statistics, losses, gradients of weights and the
/// weights themselves are f32 always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    #[default]
    F32,
    Bf16,
}

impl Precision {
    /// Of activations.
    pub fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::Bf16,
        }
    }

    /// `f32` or `bf16`.
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            _ => Err(Error::config(
                "precision",
                format!("there is no precision `{text}`; there are f32, bf16"),
            )),
        }
    }
}

impl Graph {
    /// An empty graph in f32.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty graph whose activations are stored in `precision`.
    pub fn with_precision(precision: Precision) -> Self {
        Self { precision, ..Self::default() }
    }

    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// The type of an activation of that shape.
    pub fn activation(&self, shape: impl Into<Vec<usize>>) -> TensorType {
        TensorType::new(shape, self.precision.dtype())
    }
}
