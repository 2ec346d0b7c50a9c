//! A training step as data: record ops once, [`differentiate`](Graph::differentiate) once, [`plan`](plan::Plan) once.
//!
//! The graph knows no op by name. It stores which op reads and writes which tensors, in execution order.

mod differentiate;
pub mod plan;

pub use differentiate::{Gradients, Vjp};

use crate::ops::{Op, cast::Cast};
use crate::tensor::{DType, TensorType};
use crate::{Error, Result};
use std::collections::{BTreeSet, HashMap};
use std::ops::Range;
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

    /// A tensor that is written from outside before each run.
    pub fn input(&mut self, name: &str, ty: TensorType) -> Result<TensorId> {
        self.named(name.to_string(), ty, Kind::Input, false)
    }

    /// An input that gradients flow into: for `op run --backward` and gradient checks.
    pub fn differentiable_input(&mut self, name: &str, ty: TensorType) -> Result<TensorId> {
        self.named(name.to_string(), ty, Kind::Input, true)
    }

    /// The trainable parameter of that name, whose full form is the scope's names and `name`, joined by dots.
    ///
    /// Asked for again it is the same tensor: siamese branches share their weights by sharing names.
    pub fn param(&mut self, name: &str, ty: TensorType, init: Init) -> Result<TensorId> {
        self.shared(name, ty, init, Kind::Param)
    }

    /// A tensor that keeps its values from run to run but is not trained; shared by name like parameters.
    pub fn state(&mut self, name: &str, ty: TensorType, init: Init) -> Result<TensorId> {
        self.shared(name, ty, init, Kind::State)
    }

    /// A weight as it meets activations: itself in f32, else a copy in the graph's precision. What flows into the copy's
    /// gradient is the weight's own gradient, in f32. All copies are made by one node, the graph's first.
    pub fn reduced(&mut self, weight: TensorId) -> TensorId {
        if self.precision == Precision::F32 {
            return weight;
        }
        if let Some(&copy) = self.copies.get(&weight) {
            return copy;
        }
        let info = self.info(weight).clone();
        let ty = info.ty.with(self.precision.dtype());
        let copy = self.push(format!("{}.{}", info.name, ty.dtype), ty, Kind::Temp, info.differentiable);
        self.tensors[copy.0].master = weight;
        if self.copies.is_empty() {
            let node = Node {
                op: Arc::new(Cast),
                inputs: vec![],
                outputs: vec![],
                writes: vec![],
                scope: "weights".into(),
            };
            self.nodes.insert(0, node);
        }
        let node = &mut self.nodes[0];
        node.inputs.push(weight);
        node.outputs.push(copy);
        node.writes.push(Write::Overwrite);
        self.copies.insert(weight, copy);
        copy
    }

    /// While teaching, every parameter asked for is a copy that no gradient flows into, named `teacher.…`: the network that
    /// methods with a moving average learn from. States it meets, such as running statistics, are the teacher's own.
    ///
    /// [`Self::teachers`] pairs the copies with what they follow.
    pub fn set_teaching(&mut self, teaching: bool) {
        self.teaching = teaching;
    }

    /// Each of the teacher's parameters with the student's.
    pub fn teachers(&self) -> Vec<(TensorId, TensorId)> {
        let pair = |(id, info): (TensorId, &TensorInfo)| match info.init {
            Init::Copy(of) => Some((id, of)),
            _ => None,
        };
        self.tensors().filter_map(pair).collect()
    }

    fn shared(&mut self, name: &str, ty: TensorType, init: Init, kind: Kind) -> Result<TensorId> {
        let student = self.scoped(name);
        let (name, init, kind) = match (self.teaching, kind) {
            (false, _) => (student, init, kind),
            (true, Kind::Param) => {
                // A student that is recorded after its teacher must find its parameters.
                self.teaching = false;
                let of = self.shared(name, ty.clone(), init, kind);
                self.teaching = true;
                (format!("{TEACHER}.{student}"), Init::Copy(of?), Kind::State)
            }
            (true, _) => (format!("{TEACHER}.{student}"), init, kind),
        };
        if let Some(&id) = self.names.get(&name) {
            let info = self.info(id);
            if info.kind != kind || info.ty != ty {
                let what =
                    format!("`{name}` is {:?} {} and cannot also be {kind:?} {ty}", info.kind, info.ty);
                return Err(Error::Graph(what));
            }
            return Ok(id);
        }
        let id = self.named(name, ty, kind, kind == Kind::Param)?;
        self.tensors[id.0].init = init;
        Ok(id)
    }

    fn named(&mut self, name: String, ty: TensorType, kind: Kind, differentiable: bool) -> Result<TensorId> {
        if self.names.contains_key(&name) {
            return Err(Error::Graph(format!("two tensors are called `{name}`")));
        }
        let id = self.push(name.clone(), ty, kind, differentiable);
        self.names.insert(name, id);
        Ok(id)
    }

    fn push(&mut self, name: String, ty: TensorType, kind: Kind, differentiable: bool) -> TensorId {
        let id = TensorId(self.tensors.len());
        let init = Init::Zeros;
        self.tensors.push(TensorInfo { name, ty, kind, init, differentiable, storage: id, master: id });
        id
    }

    /// Runs `record` with `name` appended to the scope, so that parameters get names like `layer1.0.conv1.weight`.
    pub fn scope<R>(&mut self, name: &str, record: impl FnOnce(&mut Self) -> R) -> R {
        self.scope.push(name.to_string());
        let result = record(self);
        self.scope.pop();
        result
    }

    fn scoped(&self, name: &str) -> String {
        if self.scope.is_empty() { name.to_string() } else { format!("{}.{name}", self.scope.join(".")) }
    }

    /// Applies `op` to `inputs`; its outputs are new tensors, of the types its shape rule says.
    pub fn apply(&mut self, op: impl Op, inputs: &[TensorId]) -> Result<Vec<TensorId>> {
        let op: Arc<dyn Op> = Arc::new(op);
        let types = op.infer(&self.types(inputs))?;
        let differentiable = inputs.iter().any(|&t| self.info(t).differentiable);
        let stem = format!("%{}.{}", self.nodes.len(), op.name());
        let outputs: Vec<_> = types
            .into_iter()
            .enumerate()
            .map(|(i, ty)| self.push(format!("{stem}.{i}"), ty, Kind::Temp, differentiable))
            .collect();
        let writes = vec![Write::Overwrite; outputs.len()];
        self.push_node(op, inputs, outputs.clone(), writes);
        Ok(outputs)
    }

    /// [`apply`](Self::apply) for an op with one output, or whose first output is all that is wanted.
    pub fn apply1(&mut self, op: impl Op, inputs: &[TensorId]) -> Result<TensorId> {
        Ok(self.apply(op, inputs)?[0])
    }

    /// Applies `op` so that it updates tensors that are already there: `outputs[i]` takes the op's i-th output.
    pub fn update(&mut self, op: impl Op, inputs: &[TensorId], outputs: &[TensorId]) -> Result<()> {
        let op: Arc<dyn Op> = Arc::new(op);
        let types = op.infer(&self.types(inputs))?;
        if types.len() != outputs.len() {
            return Err(Error::op(
                op.name(),
                format!("has {} outputs, but {} were given to update", types.len(), outputs.len()),
            ));
        }
        for (ty, &t) in types.iter().zip(outputs) {
            let info = self.info(t);
            info.ty.expect(op.name(), &info.name, ty)?;
        }
        let writes = vec![Write::Accumulate; outputs.len()];
        self.push_node(op, inputs, outputs.to_vec(), writes);
        Ok(())
    }

    fn push_node(
        &mut self,
        op: Arc<dyn Op>,
        inputs: &[TensorId],
        outputs: Vec<TensorId>,
        writes: Vec<Write>,
    ) {
        let mut scope = self.scope.join(".");
        if self.teaching {
            scope = format!("{TEACHER}.{scope}");
        }
        self.nodes.push(Node { op, inputs: inputs.to_vec(), outputs, writes, scope });
    }

    /// The same values, through which no gradient flows.
    pub fn stop_gradient(&mut self, t: TensorId) -> TensorId {
        let info = self.info(t).clone();
        let id = self.push(format!("{}.stopped", info.name), info.ty, info.kind, false);
        self.tensors[id.0].storage = info.storage;
        id
    }

    /// Keeps a temporary alive to the end of a run, so that it can be read.
    pub fn keep(&mut self, t: TensorId) {
        self.kept.push(t);
    }

    pub fn info(&self, t: TensorId) -> &TensorInfo {
        &self.tensors[t.0]
    }

    pub fn ty(&self, t: TensorId) -> &TensorType {
        &self.tensors[t.0].ty
    }

    pub(crate) fn types(&self, tensors: &[TensorId]) -> Vec<TensorType> {
        tensors.iter().map(|&t| self.ty(t).clone()).collect()
    }

    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Every tensor, in the order of recording.
    pub fn tensors(&self) -> impl Iterator<Item = (TensorId, &TensorInfo)> {
        self.tensors.iter().enumerate().map(|(i, info)| (TensorId(i), info))
    }

    /// The tensors of one kind, in the order of recording.
    pub fn of_kind(&self, kind: Kind) -> Vec<TensorId> {
        self.tensors()
            .filter(|(id, info)| info.kind == kind && info.storage == *id)
            .map(|(id, _)| id)
            .collect()
    }

    /// The inputs, parameters and states that some nodes read, in the order of recording.
    pub fn given(&self, nodes: Range<usize>) -> Vec<TensorId> {
        let read: BTreeSet<TensorId> =
            self.nodes[nodes].iter().flat_map(|n| &n.inputs).map(|&t| self.info(t).storage).collect();
        read.into_iter().filter(|&t| self.info(t).kind != Kind::Temp).collect()
    }

    /// The temporaries that a node makes: not what it adds to, such as running statistics, which may have been spoilt before.
    pub fn made(&self, node: usize) -> Vec<TensorId> {
        let outputs = self.nodes[node].outputs.iter().copied();
        outputs.filter(|&t| self.info(self.info(t).storage).kind == Kind::Temp).collect()
    }

    /// The input, parameter or state of that name.
    pub fn find(&self, name: &str) -> Option<TensorId> {
        self.names.get(name).copied()
    }

    pub(crate) fn kept(&self) -> &[TensorId] {
        &self.kept
    }

    /// An error if the tensor's memory may be another's by the end of a run.
    pub(crate) fn check_readable(&self, t: TensorId) -> Result<()> {
        let info = self.info(t);
        if info.kind == Kind::Temp && !self.kept.contains(&t) {
            let what = format!("`{}` was not kept: its memory may be another's by now", info.name);
            return Err(Error::Graph(what));
        }
        Ok(())
    }

    /// What to say of the node that was the first to give NaN.
    pub(crate) fn blame(&self, node: usize) -> String {
        let Node { op, scope, .. } = &self.nodes[node];
        let place = if scope.is_empty() { "the loss" } else { scope };
        format!("op {node}, `{}` in {place}, is the first to give NaN or infinity", op.name())
    }
}
