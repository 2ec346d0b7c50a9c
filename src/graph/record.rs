//! How a graph grows: inputs, parameters, ops, updates.

use super::{Graph, Init, Kind, Node, Precision, TEACHER, TensorId, TensorInfo, Write};
use crate::ops::{Op, cast::Cast};
use crate::tensor::TensorType;
use crate::{Error, Result};
use std::sync::Arc;

impl Graph {
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

    pub(super) fn push(
        &mut self,
        name: String,
        ty: TensorType,
        kind: Kind,
        differentiable: bool,
    ) -> TensorId {
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

    pub(super) fn push_node(
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
}
