//! Vectors of f32: one kernel source, compiled for AVX-512, AVX2 and plain Rust, picked when the program runs.

use std::sync::OnceLock;

/// Most rows any register tile has.
pub const MAX_ROWS: usize = 12;

/// The instruction sets the kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isa {
    Portable,
    /// The shape of AVX-512 in plain Rust: its layouts are tested where it is missing.
    #[cfg(test)]
    Wide,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Isa {
    /// The widest set this processor has.
    pub fn best() -> Self {
        static BEST: OnceLock<Isa> = OnceLock::new();
        *BEST.get_or_init(|| *Self::available().last().unwrap_or(&Self::Portable))
    }

    /// Every set this processor has, narrowest first.
    pub fn available() -> Vec<Self> {
        let known = [
            Self::Portable,
            #[cfg(test)]
            Self::Wide,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512,
        ];
        known.into_iter().filter(|isa| isa.is_present()).collect()
    }

    fn is_present(self) -> bool {
        match self {
            Self::Portable => true,
            #[cfg(test)]
            Self::Wide => true,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => Self::Avx2.is_present() && is_x86_feature_detected!("avx512f"),
        }
    }

    /// Lanes of a vector.
    pub fn lanes(self) -> usize {
        match self {
            Self::Portable => Portable::LANES,
            #[cfg(test)]
            Self::Wide => Wide::LANES,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => Avx2::LANES,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => Avx512::LANES,
        }
    }

    /// Runs `work` compiled for this set.
    ///
    /// # Safety
    /// The processor must have the set, and `work`'s own contract must hold.
    #[inline]
    pub unsafe fn run<W: Work>(self, work: W) {
        unsafe {
            match self {
                Self::Portable => work.run::<Portable>(),
                #[cfg(test)]
                Self::Wide => work.run::<Wide>(),
                #[cfg(target_arch = "x86_64")]
                Self::Avx2 => run_avx2(work),
                #[cfg(target_arch = "x86_64")]
                Self::Avx512 => run_avx512(work),
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
unsafe fn run_avx2<W: Work>(work: W) {
    unsafe { work.run::<Avx2>() }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx2,fma")]
unsafe fn run_avx512<W: Work>(work: W) {
    unsafe { work.run::<Avx512>() }
}

/// A kernel with its arguments. `run` must be `#[inline(always)]`, and so must all it calls: only what is inlined into
/// [`Isa::run`] is compiled for the set.
pub trait Work {
    /// # Safety
    /// The pointers inside must be valid for what the kernel's documentation says it reads and writes.
    unsafe fn run<S: Simd>(self);
}

/// Arithmetic on vectors of [`Simd::LANES`] f32.
///
/// # Safety
/// Every method needs the instruction set; loads and stores need `LANES` valid elements, at any alignment.
pub trait Simd: Copy {
    type V: Copy;
    const LANES: usize;
    /// Rows of a register tile two vectors wide: as many as leave registers for its operands.
    const ROWS: usize;

    unsafe fn splat(value: f32) -> Self::V;
    unsafe fn load(from: *const f32) -> Self::V;
    unsafe fn store(to: *mut f32, v: Self::V);
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    /// `a·b + c`.
    unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `c − a·b`.
    unsafe fn neg_mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// Hints that what is there, if anything, will be read.
    fn fetch(_from: *const f32) {}
    /// Hints that what is there, if anything, will be written.
    fn fetch_to_write(_to: *const f32) {}
}

/// Plain Rust, which any compiler turns into the vectors it has.
#[derive(Clone, Copy)]
pub struct Plain<const LANES: usize, const ROWS: usize>;

pub type Portable = Plain<4, 4>;
#[cfg(test)]
type Wide = Plain<16, 12>;

impl<const LANES: usize, const ROWS: usize> Simd for Plain<LANES, ROWS> {
    type V = [f32; LANES];
    const LANES: usize = LANES;
    const ROWS: usize = ROWS;

    #[inline(always)]
    unsafe fn splat(value: f32) -> Self::V {
        [value; LANES]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self::V {
        unsafe { from.cast::<Self::V>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, v: Self::V) {
        unsafe { to.cast::<Self::V>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] - b[i])
    }
    #[inline(always)]
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] * b[i])
    }
    #[inline(always)]
    unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    unsafe fn neg_mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        std::array::from_fn(|i| c[i] - a[i] * b[i])
    }
}

#[cfg(target_arch = "x86_64")]
macro_rules! x86 {
    ($name:ident, $doc:literal, $v:ident, $lanes:literal, $rows:literal,
     $set:ident $load:ident $store:ident $add:ident $sub:ident $mul:ident $fma:ident $fnma:ident) => {
        #[doc = $doc]
        #[derive(Clone, Copy)]
        pub struct $name;

        impl Simd for $name {
            type V = core::arch::x86_64::$v;
            const LANES: usize = $lanes;
            const ROWS: usize = $rows;

            #[inline(always)]
            unsafe fn splat(value: f32) -> Self::V {
                unsafe { core::arch::x86_64::$set(value) }
            }
            #[inline(always)]
            unsafe fn load(from: *const f32) -> Self::V {
                unsafe { core::arch::x86_64::$load(from) }
            }
            #[inline(always)]
            unsafe fn store(to: *mut f32, v: Self::V) {
                unsafe { core::arch::x86_64::$store(to, v) }
            }
            #[inline(always)]
            unsafe fn add(a: Self::V, b: Self::V) -> Self::V {
                unsafe { core::arch::x86_64::$add(a, b) }
            }
            #[inline(always)]
            unsafe fn sub(a: Self::V, b: Self::V) -> Self::V {
                unsafe { core::arch::x86_64::$sub(a, b) }
            }
            #[inline(always)]
            unsafe fn mul(a: Self::V, b: Self::V) -> Self::V {
                unsafe { core::arch::x86_64::$mul(a, b) }
            }
            #[inline(always)]
            unsafe fn mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
                unsafe { core::arch::x86_64::$fma(a, b, c) }
            }
            #[inline(always)]
            unsafe fn neg_mul_add(a: Self::V, b: Self::V, c: Self::V) -> Self::V {
                unsafe { core::arch::x86_64::$fnma(a, b, c) }
            }
            #[inline(always)]
            fn fetch(from: *const f32) {
                use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
                // SAFETY: a hint, of SSE, that never faults.
                unsafe { _mm_prefetch::<_MM_HINT_T0>(from.cast()) }
            }
            #[inline(always)]
            fn fetch_to_write(to: *const f32) {
                use core::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
                // SAFETY: as above; processors without the instruction skip it.
                unsafe { _mm_prefetch::<_MM_HINT_ET0>(to.cast()) }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
x86!(Avx2, "Eight lanes, sixteen registers: 6 × 2 accumulators, 2 weights, 2 pixels.", __m256, 8, 6,
     _mm256_set1_ps _mm256_loadu_ps _mm256_storeu_ps _mm256_add_ps _mm256_sub_ps _mm256_mul_ps
     _mm256_fmadd_ps _mm256_fnmadd_ps);
#[cfg(target_arch = "x86_64")]
x86!(Avx512, "Sixteen lanes, thirty-two registers: 12 × 2 accumulators.", __m512, 16, 12,
     _mm512_set1_ps _mm512_loadu_ps _mm512_storeu_ps _mm512_add_ps _mm512_sub_ps _mm512_mul_ps
     _mm512_fmadd_ps _mm512_fnmadd_ps);
