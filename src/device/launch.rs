//! A kernel launch as plain data: the CUDA driver and the PTX machine run the same value.

use crate::graph::Write;
use crate::tensor::{DType, TensorType};
use crate::vm::MOST_BLOCKS;
use crate::{Error, Result};

/// Device memory, as a kernel sees it. Null for a tensor that is not there.
#[repr(transparent)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Address(pub u64);

impl Address {
    pub const NULL: Self = Self(0);

    /// So many bytes further on.
    pub fn plus(self, bytes: usize) -> Self {
        Self(self.0 + bytes as u64)
    }
}

/// One kernel parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    U32(u32),
    U64(u64),
    F32(f32),
    Address(Address),
}

impl From<u32> for Value {
    fn from(x: u32) -> Self {
        Self::U32(x)
    }
}

impl From<u64> for Value {
    fn from(x: u64) -> Self {
        Self::U64(x)
    }
}

impl From<f32> for Value {
    fn from(x: f32) -> Self {
        Self::F32(x)
    }
}

impl From<Address> for Value {
    fn from(x: Address) -> Self {
        Self::Address(x)
    }
}

/// What a parameter holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    U32,
    U64,
    F32,
    Address,
}

/// A type that parameters have.
pub trait Parameter {
    const HOLDS: Holds;
}

impl Parameter for u32 {
    const HOLDS: Holds = Holds::U32;
}

impl Parameter for u64 {
    const HOLDS: Holds = Holds::U64;
}

impl Parameter for f32 {
    const HOLDS: Holds = Holds::F32;
}

impl Parameter for Address {
    const HOLDS: Holds = Holds::Address;
}

/// A field of a parameter struct.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: &'static str,
    pub offset: usize,
    pub bytes: usize,
    pub holds: Holds,
}

/// A kernel's parameters on the Rust side: which entries take them, and how they lie.
#[derive(Clone, Copy, Debug)]
pub struct Signature {
    pub entries: &'static [&'static str],
    pub fields: &'static [Field],
}

/// A struct that [`kernel!`](crate::kernel) declared.
pub trait Parameters {
    const SIGNATURE: Signature;
    fn values(&self) -> Vec<Value>;
}

/// Declares the parameters of entries that share a parameter list, field for field as the `.cu` file has them. A test
/// compares them with the entries' PTX.
#[macro_export]
macro_rules! kernel {
    ($(#[$doc:meta])* $name:ident [$($entry:literal),+ $(,)?] { $($field:ident: $ty:ty),+ $(,)? }) => {
        $(#[$doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug)]
        struct $name { $($field: $ty),+ }

        impl $crate::device::launch::Parameters for $name {
            const SIGNATURE: $crate::device::launch::Signature = $crate::device::launch::Signature {
                entries: &[$($entry),+],
                fields: &[$($crate::device::launch::Field {
                    name: stringify!($field),
                    offset: std::mem::offset_of!($name, $field),
                    bytes: size_of::<$ty>(),
                    holds: <$ty as $crate::device::launch::Parameter>::HOLDS,
                }),+],
            };

            fn values(&self) -> Vec<$crate::device::launch::Value> {
                vec![$(self.$field.into()),+]
            }
        }
    };
}

/// One kernel launch.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    pub entry: &'static str,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    /// Blocks that can see each other's shared memory; 1 in each dimension but on Hopper.
    pub cluster: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub shared: u32,
    pub arguments: Vec<Value>,
}

impl Launch {
    /// `blocks` of `threads` threads, both along x.
    pub fn new<P: Parameters>(entry: &'static str, blocks: usize, threads: u32, parameters: P) -> Self {
        Self::grid(entry, [blocks, 1, 1], [threads, 1, 1], parameters)
    }

    /// A grid of blocks. Sizes come from shapes that fit in memory, so they fit in 32 bits.
    pub fn grid<P: Parameters>(
        entry: &'static str,
        grid: [usize; 3],
        block: [u32; 3],
        parameters: P,
    ) -> Self {
        assert!(P::SIGNATURE.entries.contains(&entry), "`{entry}` takes other parameters");
        let grid = grid.map(|n| u32::try_from(n).expect("a grid of less than 2³² blocks"));
        Self { entry, grid, block, cluster: [1; 3], shared: 0, arguments: parameters.values() }
    }

    /// Whether a GPU takes a grid of that size (CUDA C++ programming guide, compute capabilities).
    pub fn check(&self) -> Result<()> {
        if self.grid.iter().zip(MOST_BLOCKS).any(|(&n, most)| n > most) {
            let what = format!(
                "these shapes want a grid of {:?} blocks, and {MOST_BLOCKS:?} are the limit: use a smaller batch",
                self.grid
            );
            return Err(Error::kernel(self.entry, what));
        }
        Ok(())
    }

    /// With dynamic shared memory.
    pub fn shared(mut self, bytes: usize) -> Self {
        self.shared = bytes as u32;
        self
    }
}

/// Blocks of 256 threads that move 16 bytes each, for tensors of this type: the grid strides over what is beyond.
pub fn elementwise(ty: &TensorType) -> usize {
    ty.elements().div_ceil(256 * (16 / ty.dtype.size())).clamp(1, 65535)
}

/// The operands of one application of an op, in device memory.
pub struct Operands<'a> {
    pub inputs: &'a [(Address, TensorType)],
    pub outputs: &'a [(Address, TensorType)],
    pub writes: &'a [Write],
    /// As many bytes as [`Op::workspace`](crate::ops::Op::workspace) asked for; holds anything.
    pub workspace: Address,
    /// Puts bytes that stay as they are into device memory.
    pub upload: &'a dyn Fn(&[u8]) -> Result<Address>,
}

impl Operands<'_> {
    /// Address of input `i`; null if the op was not given it.
    pub fn input(&self, i: usize) -> Address {
        self.inputs.get(i).map_or(Address::NULL, |(address, _)| *address)
    }

    /// Address of output `i`; null if it has none.
    pub fn output(&self, i: usize) -> Address {
        self.outputs.get(i).map_or(Address::NULL, |(address, _)| *address)
    }

    /// Type of input `i`.
    pub fn ty(&self, i: usize) -> &TensorType {
        &self.inputs[i].1
    }

    /// Sizes of input `i`, which the shape rule has seen to be `N`.
    pub fn dims<const N: usize>(&self, i: usize) -> [u32; N] {
        let shape: [usize; N] =
            self.ty(i).shape.as_slice().try_into().expect("the shape rule checked the rank");
        shape.map(|n| u32::try_from(n).expect("axes of less than 2³²"))
    }

    /// Whether output `i` is added to: 1 or 0, as kernels take it.
    pub fn accumulate(&self, i: usize) -> u32 {
        u32::from(self.writes.get(i) == Some(&Write::Accumulate))
    }

    /// The entry for the type of input `i`.
    pub fn pick(&self, i: usize, f32: &'static str, bf16: &'static str) -> &'static str {
        if self.is_bf16(i) { bf16 } else { f32 }
    }

    pub fn is_bf16(&self, i: usize) -> bool {
        self.ty(i).dtype == DType::Bf16
    }
}
