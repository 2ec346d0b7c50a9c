//! Reverse-mode differentiation: walks the nodes backwards and appends what each op names as its vector–Jacobian product.

use super::{Graph, Node, TensorId, Write};
use crate::ops::Op;
use crate::tensor::TensorType;
use crate::{Error, Result};
use std::collections::HashMap;
use std::sync::Arc;

/// The gradient of each tensor that has one.
#[derive(Clone, Debug, Default)]
pub struct Gradients {
    of: HashMap<TensorId, TensorId>,
}

impl Gradients {
    /// The gradient of `t`, if one flows into it.
    pub fn get(&self, t: TensorId) -> Option<TensorId> {
        self.of.get(&t).copied()
    }
}

impl Graph {
    /// Appends the backward pass of `outputs`, each given with the tensor that holds its upstream gradient.
    pub fn differentiate(&mut self, outputs: &[(TensorId, TensorId)]) -> Result<Gradients> {
        let mut gradients = Gradients::default();
        for &(output, upstream) in outputs {
            self.ty(upstream).expect("differentiate", &self.info(upstream).name, self.ty(output))?;
            if !self.info(output).differentiable {
                return Err(Error::Graph(format!(
                    "`{}` does not depend on anything trainable",
                    self.info(output).name
                )));
            }
            gradients.of.insert(output, upstream);
        }
        for index in (0..self.nodes.len()).rev() {
            let node = self.nodes[index].clone();
            let reached = node.outputs.iter().any(|t| gradients.of.contains_key(t));
            if reached && node.inputs.iter().any(|&t| self.info(t).differentiable) {
                self.scope.push(node.scope.clone());
                let result = node.op.clone().vjp(&mut Vjp { graph: self, gradients: &mut gradients, node });
                self.scope.pop();
                result?;
            }
        }
        Ok(gradients)
    }
}

/// What an op sees when it is differentiated: its tensors, the gradients of its outputs, and where to put new nodes.
pub struct Vjp<'a> {
    graph: &'a mut Graph,
    gradients: &'a mut Gradients,
    node: Node,
}

impl Vjp<'_> {
    /// The op's i-th input.
    pub fn input(&self, i: usize) -> TensorId {
        self.node.inputs[i]
    }

    /// How many inputs the op was given.
    pub fn inputs(&self) -> usize {
        self.node.inputs.len()
    }

    /// The op's i-th output.
    pub fn output(&self, i: usize) -> TensorId {
        self.node.outputs[i]
    }

    /// The gradient of output `i`; an error where nothing downstream depends on that output.
    pub fn grad(&self, i: usize) -> Result<TensorId> {
        self.gradients.get(self.node.outputs[i]).ok_or_else(|| {
            Error::op(self.node.op.name(), format!("can only be differentiated through output {i}"))
        })
    }

    /// Whether anything upstream wants the gradient of input `i`.
    pub fn wants(&self, i: usize) -> bool {
        self.graph.info(self.node.inputs[i]).differentiable
    }

    /// The type of a tensor.
    pub fn ty(&self, t: TensorId) -> &TensorType {
        self.graph.ty(t)
    }

    /// Records `op`, whose k-th output is the gradient of the node's input `targets[k]`.
    ///
    /// The first contribution to a gradient overwrites, later ones accumulate into the same tensor: the same input used
    /// twice, or by two branches, needs no sum node.
    pub fn emit(&mut self, op: impl Op, inputs: &[TensorId], targets: &[usize]) -> Result<()> {
        let op: Arc<dyn Op> = Arc::new(op);
        let types = op.infer(&self.graph.types(inputs))?;
        if types.len() != targets.len() {
            return Err(Error::op(op.name(), "a backward pass must name a target for each output"));
        }
        let mut outputs = Vec::with_capacity(targets.len());
        let mut writes = Vec::with_capacity(targets.len());
        for (ty, &target) in types.into_iter().zip(targets) {
            let of = self.graph.info(self.node.inputs[target]).master;
            match self.gradients.get(of) {
                Some(gradient) if !outputs.contains(&gradient) => {
                    outputs.push(gradient);
                    writes.push(Write::Accumulate);
                }
                Some(_) => {
                    // One node cannot write a tensor twice: x + x, or cosine_loss(p, p).
                    return Err(Error::op(
                        op.name(),
                        format!("the same tensor `{}` is given twice", self.graph.info(of).name),
                    ));
                }
                None => {
                    ty.expect(op.name(), "gradient", self.graph.ty(of))?;
                    let name = format!("d_{}", self.graph.info(of).name);
                    let gradient = self.graph.push(name, ty, super::Kind::Temp, false);
                    self.gradients.of.insert(of, gradient);
                    outputs.push(gradient);
                    writes.push(Write::Overwrite);
                }
            }
        }
        self.graph.push_node(op, inputs, outputs, writes);
        Ok(())
    }
}
