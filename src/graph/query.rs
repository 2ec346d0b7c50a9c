//! What a graph tells of itself.

use super::{Graph, Kind, Node, TensorId, TensorInfo};
use crate::tensor::TensorType;
use crate::{Error, Result};
use std::collections::BTreeSet;
use std::ops::Range;

impl Graph {
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
