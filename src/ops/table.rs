//! The table of ops: what `rusa op list` prints, what tests and benches iterate over.

use crate::device::launch::Signature;
use crate::graph::{Graph, TensorId};
use crate::tensor::{DType, TensorType};
use crate::{Error, Result};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;

/// Every op.
pub const OPS: &[OpSpec] = &[
    super::augment::SPEC,
    super::batch_norm::SPEC,
    super::conv2d::SPEC,
    super::linear::SPEC,
    super::matmul::SPEC,
    super::center::SPEC,
    super::mse_loss::SPEC,
    super::vicreg::SPEC,
    super::barlow_twins::SPEC,
    super::whiten::SPEC,
    super::weighted_sum::SPEC,
    super::relu::SPEC,
    super::max_pool::SPEC,
    super::global_avg_pool::SPEC,
    super::add::SPEC,
    super::l2_normalize::SPEC,
    super::nt_xent::SPEC,
    super::info_nce::SPEC,
    super::cosine_loss::SPEC,
    super::softmax_cross_entropy::SPEC,
    super::soft_cross_entropy::SPEC,
    super::softmax::SPEC,
    super::column_mean::SPEC,
    super::sinkhorn::SPEC,
    super::rows::SPEC,
    super::concat_views::SPEC,
    super::rotate::SPEC,
    super::patch_norm::SPEC,
    super::concat::SPEC,
    super::gather::SPEC,
    super::nearest::SPEC,
    super::unit_rows::SPEC,
    super::enqueue::SPEC,
    super::memory_bank::SPEC,
    super::when_finite::SPEC,
    crate::optim::EMA,
    crate::optim::SGD,
    crate::optim::LARS,
    crate::optim::ADAMW,
];

/// The op of that name, or an error that lists the names there are.
pub fn find(name: &str) -> Result<&'static OpSpec> {
    OPS.iter().find(|spec| spec.name == name).ok_or_else(|| {
        let names: Vec<_> = OPS.iter().map(|spec| spec.name).collect();
        Error::config("op", format!("there is no op `{name}`; there are {}", names.join(", ")))
    })
}

/// One row: an op as seen from outside.
///
/// An op that updates a tensor in place takes it as the constant input `queue`, say, and gives it as the output
/// `new_queue`.
pub struct OpSpec {
    pub name: &'static str,
    /// One line: what it computes.
    pub summary: &'static str,
    pub inputs: &'static [Operand],
    pub outputs: &'static [Operand],
    /// The parameters with their default values, as a JSON object.
    pub defaults: fn() -> Value,
    /// Records the op; the results are the outputs in the order above (ops may have more, for their own backward pass).
    pub record: fn(&mut Graph, &Value, &Tensors<TensorId>) -> Result<Vec<TensorId>>,
    /// The same in f64, by plain loops, as slow and as clear as possible. Outputs in the order above.
    pub reference: fn(&Value, &Tensors<Tensor64>) -> Vec<Tensor64>,
    /// Shapes and parameters that tests and benches run.
    pub cases: fn() -> Vec<Case>,
    /// Its own CUDA kernels, with their parameters; none where it launches those of other ops.
    pub kernels: &'static [Signature],
}

/// Kernels of ops that are not in the table: what a training step needs around them, and what they are made of.
pub const OTHER_KERNELS: &[&[Signature]] = &[
    super::cast::KERNELS,
    super::copy::KERNELS,
    super::inverse_cholesky::KERNELS,
    super::matrix_penalty::KERNELS,
    super::widen::KERNELS,
];

/// Every kernel that is launched, with its parameters.
pub fn signatures() -> impl Iterator<Item = &'static Signature> {
    OPS.iter().map(|op| op.kernels).chain(OTHER_KERNELS.iter().copied()).flatten()
}

/// A tensor an op takes or gives.
#[derive(Clone, Copy, Debug)]
pub struct Operand {
    pub name: &'static str,
    /// Its axes, as in `[N,H,W,C]`.
    pub layout: &'static str,
    pub dtype: DType,
    pub optional: bool,
    /// Whether a gradient flows through it.
    pub differentiable: bool,
    /// Whether it stays f32 where activations are bf16: weights (the op takes a copy), statistics.
    pub full: bool,
    /// What its values are indices of, if they are any.
    pub index_of: Option<IndexOf>,
}

/// What the values of an operand may be: places along an axis of an input.
#[derive(Clone, Copy, Debug)]
pub struct IndexOf {
    pub input: &'static str,
    pub axis: usize,
}

impl Operand {
    /// An f32 tensor that gradients flow through.
    pub const fn new(name: &'static str, layout: &'static str) -> Self {
        Self {
            name,
            layout,
            dtype: DType::F32,
            optional: false,
            differentiable: true,
            full: false,
            index_of: None,
        }
    }

    /// One that may be left out.
    pub const fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// One that stays f32 in every precision.
    pub const fn full(mut self) -> Self {
        self.full = true;
        self
    }

    /// One that has no gradient.
    pub const fn constant(mut self) -> Self {
        self.differentiable = false;
        self
    }

    /// One of another type, which has no gradient.
    pub const fn of(mut self, dtype: DType) -> Self {
        self.dtype = dtype;
        self.constant()
    }

    /// One that holds places along an axis of another input: `op run` refuses others, of which kernels make NaN.
    pub const fn index_of(mut self, input: &'static str, axis: usize) -> Self {
        self.index_of = Some(IndexOf { input, axis });
        self
    }
}

/// Operands by name.
#[derive(Clone, Debug)]
pub struct Tensors<T> {
    op: &'static str,
    by_name: BTreeMap<String, T>,
}

impl<T: Clone> Tensors<T> {
    pub fn new(op: &'static str, by_name: BTreeMap<String, T>) -> Self {
        Self { op, by_name }
    }

    /// The operand, or an error that names it.
    pub fn get(&self, name: &str) -> Result<T> {
        self.optional(name).ok_or_else(|| Error::op(self.op, format!("input `{name}` is missing")))
    }

    /// The operand if it was given.
    pub fn optional(&self, name: &str) -> Option<T> {
        self.by_name.get(name).cloned()
    }
}

impl Tensors<Tensor64> {
    /// The operand of a reference, which the harness always gives.
    pub fn at(&self, name: &str) -> &Tensor64 {
        &self.by_name[name]
    }
}

/// A tensor in double precision, for references. Integers are stored as their value.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor64 {
    pub shape: Vec<usize>,
    pub data: Vec<f64>,
}

impl Tensor64 {
    pub fn new(shape: impl Into<Vec<usize>>, data: Vec<f64>) -> Self {
        Self { shape: shape.into(), data }
    }

    pub fn zeros(shape: impl Into<Vec<usize>>) -> Self {
        let shape = shape.into();
        Self { data: vec![0.0; shape.iter().product()], shape }
    }

    /// A tensor of one number.
    pub fn scalar(value: f64) -> Self {
        Self::new([1], vec![value])
    }

    /// The i-th slice along the first axis.
    pub fn row(&self, i: usize) -> &[f64] {
        let len = self.data.len() / self.shape[0];
        &self.data[i * len..(i + 1) * len]
    }
}

/// A shape an op is tested and timed on.
#[derive(Clone, Debug)]
pub struct Case {
    pub name: String,
    pub params: Value,
    pub inputs: Vec<(&'static str, TensorType, Fill)>,
    /// Too large for the f64 reference: for benches only.
    pub bench_only: bool,
}

/// What a case's tensor holds.
#[derive(Clone, Copy, Debug)]
pub enum Fill {
    /// Standard normal.
    Normal,
    /// Uniform in [0.5, 1.5): variances, scales.
    Positive,
    /// Labels 0..n.
    Labels(u32),
    /// Places 0..n, no two alike.
    Places(u32),
    /// Bytes.
    Pixels,
    /// Whatever the function gives for that number of elements.
    Given(fn(usize) -> Vec<f32>),
}

impl Case {
    pub fn new(name: &str, params: Value) -> Self {
        Self { name: name.into(), params, inputs: Vec::new(), bench_only: false }
    }

    /// Adds an f32 input of normal numbers.
    pub fn input(self, name: &'static str, shape: impl Into<Vec<usize>>) -> Self {
        self.filled(name, TensorType::f32(shape), Fill::Normal)
    }

    pub fn filled(mut self, name: &'static str, ty: TensorType, fill: Fill) -> Self {
        self.inputs.push((name, ty, fill));
        self
    }

    pub fn bench_only(mut self) -> Self {
        self.bench_only = true;
        self
    }
}

/// Reads an op's parameters: missing ones take their defaults, unknown ones are errors that list the known.
pub fn parse<P: DeserializeOwned>(op: &'static str, params: &Value) -> Result<P> {
    let params = if params.is_null() { Value::Object(Default::default()) } else { params.clone() };
    serde_json::from_value(params).map_err(|e| Error::op(op, format!("parameters: {e}")))
}
