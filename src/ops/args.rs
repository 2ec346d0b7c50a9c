//! What a CPU kernel is handed: typed slices of the arena.

use crate::graph::Write;
use crate::tensor::{DType, TensorType};
use half::bf16;
use std::cell::Cell;

/// What a kernel may write.
pub trait Element: Copy + Send + Sync + 'static {
    const DTYPE: DType;
}

impl Element for f32 {
    const DTYPE: DType = DType::F32;
}

impl Element for u32 {
    const DTYPE: DType = DType::U32;
}

impl Element for bf16 {
    const DTYPE: DType = DType::Bf16;
}

/// A tensor's place in memory.
#[derive(Clone, Debug)]
pub struct Slice {
    ptr: *mut u8,
    ty: TensorType,
}

// SAFETY: a slice is only an address; `Args` hands out the references, under the rules of `Args::new`.
unsafe impl Send for Slice {}
unsafe impl Sync for Slice {}

impl Slice {
    /// The tensor of type `ty` at `ptr`.
    pub fn new(ptr: *mut u8, ty: TensorType) -> Self {
        Self { ptr, ty }
    }
}

/// The operands of one application of an op.
pub struct Args<'a> {
    inputs: &'a [Slice],
    outputs: &'a [Slice],
    writes: &'a [Write],
    scratch: &'a Slice,
    taken: Cell<u64>,
}

const SCRATCH: usize = 63;

impl<'a> Args<'a> {
    /// # Safety
    /// For the lifetime of the value every slice points to memory of its type, aligned and initialised, which nobody
    /// else writes; outputs and scratch overlap neither each other nor the inputs.
    pub unsafe fn new(
        inputs: &'a [Slice],
        outputs: &'a [Slice],
        writes: &'a [Write],
        scratch: &'a Slice,
    ) -> Self {
        Self { inputs, outputs, writes, scratch, taken: Cell::new(0) }
    }

    /// Number of inputs (ops with optional inputs look).
    pub fn inputs(&self) -> usize {
        self.inputs.len()
    }

    /// Number of outputs.
    pub fn outputs(&self) -> usize {
        self.outputs.len()
    }

    /// Type of input `i`.
    pub fn ty(&self, i: usize) -> &'a TensorType {
        &self.inputs[i].ty
    }

    /// Sizes of input `i`, which the shape rule has seen to be `N`.
    pub fn dims<const N: usize>(&self, i: usize) -> [usize; N] {
        self.inputs[i].ty.shape.as_slice().try_into().expect("the shape rule checked the rank")
    }

    /// Input `i` as f32.
    pub fn f32(&self, i: usize) -> &'a [f32] {
        self.input(i, DType::F32)
    }

    /// Input `i` as u8.
    pub fn u8(&self, i: usize) -> &'a [u8] {
        self.input(i, DType::U8)
    }

    /// Input `i` as u32.
    pub fn u32(&self, i: usize) -> &'a [u32] {
        self.input(i, DType::U32)
    }

    /// Input `i` as i64.
    pub fn i64(&self, i: usize) -> &'a [i64] {
        self.input(i, DType::I64)
    }

    fn input<T>(&self, i: usize, dtype: DType) -> &'a [T] {
        let Slice { ptr, ty } = &self.inputs[i];
        assert_eq!(ty.dtype, dtype, "input {i}");
        // SAFETY: by the contract of `new`.
        unsafe { std::slice::from_raw_parts(ptr.cast(), ty.elements()) }
    }

    /// Output `i`, which can be taken once.
    #[allow(clippy::mut_from_ref)]
    pub fn out(&self, i: usize) -> &'a mut [f32] {
        self.take(i, &self.outputs[i])
    }

    /// What to do to output `i`.
    pub fn write(&self, i: usize) -> Write {
        self.writes[i]
    }

    /// Whether output `i` is to be added to.
    pub fn accumulates(&self, i: usize) -> bool {
        self.writes[i] == Write::Accumulate
    }

    /// The scratch memory, which can be taken once. Holds anything.
    #[allow(clippy::mut_from_ref)]
    pub fn scratch(&self) -> &'a mut [f32] {
        self.take(SCRATCH, self.scratch)
    }

    /// All outputs at once: optimisers have hundreds.
    pub fn all_outputs<T: Element>(&self) -> impl Iterator<Item = &'a mut [T]> {
        assert_eq!(self.taken.replace(u64::MAX >> 1), 0, "outputs are taken twice");
        self.outputs.iter().map(slice_mut)
    }

    #[allow(clippy::mut_from_ref)]
    fn take(&self, i: usize, slice: &'a Slice) -> &'a mut [f32] {
        assert!(i <= SCRATCH, "more than {SCRATCH} outputs: use all_outputs");
        let bit = 1u64 << i;
        assert_eq!(self.taken.get() & bit, 0, "output {i} is taken twice");
        self.taken.set(self.taken.get() | bit);
        slice_mut(slice)
    }
}

/// Only for slices that [`Args`] hands out once.
#[allow(clippy::mut_from_ref)]
fn slice_mut<T: Element>(slice: &Slice) -> &mut [T] {
    assert_eq!(slice.ty.dtype, T::DTYPE);
    // SAFETY: by the contract of `Args::new`; `taken` sees to it that each is handed out once.
    unsafe { std::slice::from_raw_parts_mut(slice.ptr.cast(), slice.ty.elements()) }
}
