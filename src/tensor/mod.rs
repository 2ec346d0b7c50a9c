//! What a tensor is: a shape, an element type and, on the host, its values.

mod file;

pub use file::{read_tensors, write_tensors};

use crate::{Error, Result};
use half::bf16;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The element types the engine knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DType {
    F32,
    /// The upper half of an f32: activations and weight copies on GPUs.
    Bf16,
    U8,
    U32,
    I64,
}

impl DType {
    /// Bytes an element.
    pub fn size(self) -> usize {
        match self {
            Self::F32 | Self::U32 => 4,
            Self::Bf16 => 2,
            Self::U8 => 1,
            Self::I64 => 8,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::U8 => "u8",
            Self::U32 => "u32",
            Self::I64 => "i64",
        })
    }
}

/// Shape and element type: all that shape rules and planning look at. Row-major, activations NHWC, weights KRSC.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct TensorType {
    pub shape: Vec<usize>,
    pub dtype: DType,
}

impl TensorType {
    pub fn new(shape: impl Into<Vec<usize>>, dtype: DType) -> Self {
        Self { shape: shape.into(), dtype }
    }

    /// f32, the type of nearly everything.
    pub fn f32(shape: impl Into<Vec<usize>>) -> Self {
        Self::new(shape, DType::F32)
    }

    /// The same shape in another type.
    pub fn with(&self, dtype: DType) -> Self {
        Self::new(self.shape.clone(), dtype)
    }

    /// Number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// Size in bytes.
    pub fn bytes(&self) -> usize {
        self.elements() * self.dtype.size()
    }

    /// The sizes as an array of `N`, or an error that names the op and the tensor.
    pub fn dims<const N: usize>(&self, op: &'static str, tensor: &str) -> Result<[usize; N]> {
        let dims: [usize; N] = self
            .shape
            .as_slice()
            .try_into()
            .map_err(|_| Error::op(op, format!("`{tensor}` must have {N} dimensions, but is {self}")))?;
        if dims.contains(&0) {
            return Err(Error::op(op, format!("`{tensor}` is empty: {self}")));
        }
        Ok(dims)
    }

    /// Demands exactly this type.
    pub fn expect(&self, op: &'static str, tensor: &str, want: &TensorType) -> Result<()> {
        if self == want {
            return Ok(());
        }
        Err(Error::op(op, format!("`{tensor}` must be {want}, but is {self}")))
    }
}

impl fmt::Display for TensorType {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}{:?}", self.dtype, self.shape)
    }
}

/// Values on the host.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    F32(Vec<f32>),
    Bf16(Vec<bf16>),
    U8(Vec<u8>),
    U32(Vec<u32>),
    I64(Vec<i64>),
}

/// A tensor on the host, as files hold it.
#[derive(Clone, Debug, PartialEq)]
pub struct HostTensor {
    pub shape: Vec<usize>,
    pub values: Values,
}

impl HostTensor {
    pub fn f32(shape: impl Into<Vec<usize>>, values: Vec<f32>) -> Self {
        Self::checked(shape.into(), Values::F32(values))
    }

    pub fn u8(shape: impl Into<Vec<usize>>, values: Vec<u8>) -> Self {
        Self::checked(shape.into(), Values::U8(values))
    }

    pub fn i64(shape: impl Into<Vec<usize>>, values: Vec<i64>) -> Self {
        Self::checked(shape.into(), Values::I64(values))
    }

    fn checked(shape: Vec<usize>, values: Values) -> Self {
        let tensor = Self { shape, values };
        assert_eq!(
            tensor.ty().bytes(),
            tensor.bytes().len(),
            "shape {:?} does not fit its values",
            tensor.shape
        );
        tensor
    }

    pub fn ty(&self) -> TensorType {
        let dtype = match self.values {
            Values::F32(_) => DType::F32,
            Values::Bf16(_) => DType::Bf16,
            Values::U8(_) => DType::U8,
            Values::U32(_) => DType::U32,
            Values::I64(_) => DType::I64,
        };
        TensorType::new(self.shape.clone(), dtype)
    }

    /// The same tensor with floating-point values rounded to `dtype`; others stay as they are.
    pub fn rounded(&self, dtype: DType) -> Self {
        let values = match (&self.values, dtype) {
            (Values::F32(v), DType::Bf16) => Values::Bf16(v.iter().map(|&x| bf16::from_f32(x)).collect()),
            (Values::Bf16(v), DType::F32) => Values::F32(v.iter().map(|x| x.to_f32()).collect()),
            (values, _) => values.clone(),
        };
        Self { shape: self.shape.clone(), values }
    }

    /// The values as raw little-endian bytes.
    pub fn bytes(&self) -> &[u8] {
        match &self.values {
            Values::F32(v) => bytemuck::cast_slice(v),
            Values::Bf16(v) => bytemuck::cast_slice(v),
            Values::U8(v) => v,
            Values::U32(v) => bytemuck::cast_slice(v),
            Values::I64(v) => bytemuck::cast_slice(v),
        }
    }

    /// The values if they are f32.
    pub fn as_f32(&self) -> Option<&[f32]> {
        match &self.values {
            Values::F32(v) => Some(v),
            _ => None,
        }
    }

    /// Builds a tensor of `ty` from raw bytes.
    pub fn from_bytes(ty: &TensorType, bytes: &[u8]) -> Self {
        let values = match ty.dtype {
            DType::F32 => Values::F32(bytemuck::pod_collect_to_vec(bytes)),
            DType::Bf16 => Values::Bf16(bytemuck::pod_collect_to_vec(bytes)),
            DType::U8 => Values::U8(bytes.to_vec()),
            DType::U32 => Values::U32(bytemuck::pod_collect_to_vec(bytes)),
            DType::I64 => Values::I64(bytemuck::pod_collect_to_vec(bytes)),
        };
        Self::checked(ty.shape.clone(), values)
    }
}
