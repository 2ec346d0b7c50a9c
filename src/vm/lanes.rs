//! A warp's registers, and loops over its 32 lanes that the compiler turns into vector code.
//!
//! A frame is one run of 32-bit words. A register of 32 bits is 32 words, one a lane; of 16 bits, 16 words holding
//! 32 halves; of 64 bits, 64 words; of 128 bits, 128 words. A predicate is one word, a bit a lane. Constants and special
//! registers have places in the frame too, so every operand of every instruction is just an offset.

pub const WARP: usize = 32;
/// All lanes.
pub const FULL: u32 = u32::MAX;

/// Anything a register can be read as: plain data of 2, 4, 8 or 16 bytes.
pub trait Lane: Copy + Default + 'static {}
impl<T: Copy + Default + 'static> Lane for T {}

/// Offsets of destination and sources, in words from the frame's start.
pub type Slots = [u32; 5];

/// An arithmetic instruction: reads the lanes of its sources, writes those of its destination that are in the mask.
///
/// # Safety
/// The offsets must lie in the frame, at registers as wide as the function's types.
pub type AluFn = unsafe fn(frame: *mut u32, slots: &Slots, mask: u32);

/// A comparison: one bit a lane.
///
/// # Safety
/// As for [`AluFn`]; reads `slots[1]` and `slots[2]`.
pub type CompareFn = unsafe fn(frame: *const u32, slots: &Slots) -> u32;

/// The lanes of the register at `offset`.
///
/// # Safety
/// A register of that width must be there.
#[inline(always)]
pub unsafe fn get<T: Lane>(frame: *const u32, offset: u32) -> [T; WARP] {
    // SAFETY: as the caller promises; frames are aligned to 64 bytes and so is every register of 4 bytes or more.
    unsafe { frame.add(offset as usize).cast::<[T; WARP]>().read() }
}

/// Writes the lanes in `mask`.
///
/// # Safety
/// As for [`get`].
#[inline(always)]
pub unsafe fn set<T: Lane>(frame: *mut u32, offset: u32, mask: u32, values: &[T; WARP]) {
    // SAFETY: as the caller promises.
    let place = unsafe { &mut *frame.add(offset as usize).cast::<[T; WARP]>() };
    if mask == FULL {
        *place = *values;
    } else {
        for lane in 0..WARP {
            if mask >> lane & 1 != 0 {
                place[lane] = values[lane];
            }
        }
    }
}

/// A closure without captures, made from its type: what lets a function pointer carry it.
#[inline(always)]
fn conjure<F: Copy>() -> F {
    const { assert!(size_of::<F>() == 0) };
    // SAFETY: a value of size zero has no bits to get wrong, and `F: Copy` was given to us once as a value.
    unsafe { std::mem::zeroed() }
}

/// The mold of the builders below: a generic loop, compiled once for any CPU and once for AVX2 with FMA.
macro_rules! builder {
    ($(#[$doc:meta])* $name:ident, $wide:ident, $plain:ident, <$($ty:ident),*>, ($($arg:ident: $argty:ident),*)) => {
        $(#[$doc])*
        pub fn $name<$($ty: Lane,)* D: Lane, F: Fn($($ty),*) -> D + Copy>(_: F) -> AluFn {
            #[cfg(target_arch = "x86_64")]
            if wide() {
                return $wide::<$($ty,)* D, F>;
            }
            $plain::<$($ty,)* D, F>
        }

        #[cfg(target_arch = "x86_64")]
        #[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt,f16c")]
        unsafe fn $wide<$($ty: Lane,)* D: Lane, F: Fn($($ty),*) -> D + Copy>(frame: *mut u32, slots: &Slots, mask: u32) {
            // SAFETY: the caller's promise, handed on.
            unsafe { $plain::<$($ty,)* D, F>(frame, slots, mask) }
        }

        #[inline(always)]
        unsafe fn $plain<$($ty: Lane,)* D: Lane, F: Fn($($ty),*) -> D + Copy>(frame: *mut u32, slots: &Slots, mask: u32) {
            let f = conjure::<F>();
            let mut from = 1;
            // SAFETY: the caller's promise.
            $(let $arg = unsafe { get::<$ty>(frame, slots[from]) }; from += 1;)*
            let _ = from;
            let mut values = [D::default(); WARP];
            for lane in 0..WARP {
                values[lane] = f($($arg[lane]),*);
            }
            // SAFETY: the caller's promise.
            unsafe { set(frame, slots[0], mask, &values) }
        }
    };
}

builder!(/// d = f(a).
    unary, unary_wide, unary_plain, <A>, (a: A));
builder!(/// d = f(a, b).
    binary, binary_wide, binary_plain, <A, B>, (a: A, b: B));
builder!(/// d = f(a, b, c).
    ternary, ternary_wide, ternary_plain, <A, B, C>, (a: A, b: B, c: C));
builder!(/// d = f(a, b, c, e).
    quaternary, quaternary_wide, quaternary_plain, <A, B, C, E>, (a: A, b: B, c: C, e: E));

/// p = f(a, b).
pub fn compare<A: Lane, F: Fn(A, A) -> bool + Copy>(_: F) -> CompareFn {
    #[cfg(target_arch = "x86_64")]
    if wide() {
        return compare_wide::<A, F>;
    }
    compare_plain::<A, F>
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma,bmi1,bmi2,lzcnt,popcnt,f16c")]
unsafe fn compare_wide<A: Lane, F: Fn(A, A) -> bool + Copy>(frame: *const u32, slots: &Slots) -> u32 {
    // SAFETY: the caller's promise, handed on.
    unsafe { compare_plain::<A, F>(frame, slots) }
}

#[inline(always)]
unsafe fn compare_plain<A: Lane, F: Fn(A, A) -> bool + Copy>(frame: *const u32, slots: &Slots) -> u32 {
    let f = conjure::<F>();
    // SAFETY: the caller's promise.
    let (a, b) = unsafe { (get::<A>(frame, slots[1]), get::<A>(frame, slots[2])) };
    let mut bytes = [0u8; WARP];
    for lane in 0..WARP {
        bytes[lane] = u8::from(f(a[lane], b[lane]));
    }
    gather_bits(&bytes)
}

/// Bit i of the result is byte i of `bytes`, each 0 or 1.
#[inline(always)]
pub fn gather_bits(bytes: &[u8; WARP]) -> u32 {
    let mut bits = 0;
    for (index, chunk) in bytes.as_chunks::<8>().0.iter().enumerate() {
        // The product moves byte i's bit to place 56 + i, and nothing carries into the top byte.
        let byte = u64::from_le_bytes(*chunk).wrapping_mul(0x0102_0408_1020_4080) >> 56;
        bits |= (byte as u32) << (8 * index);
    }
    bits
}

#[cfg(target_arch = "x86_64")]
fn wide() -> bool {
    is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("lzcnt")
        && is_x86_feature_detected!("popcnt")
        && is_x86_feature_detected!("f16c")
}

/// The words of a frame, aligned for vectors.
#[derive(Clone, Default)]
pub struct Frame {
    lines: Vec<Line>,
}

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u32; 16]);

impl Frame {
    pub fn new(words: usize) -> Self {
        Self { lines: vec![Line([0; 16]); words.div_ceil(16)] }
    }

    pub fn pointer(&mut self) -> *mut u32 {
        self.lines.as_mut_ptr().cast()
    }

    /// Makes this an equal of `other` without allocating again.
    pub fn copy_from(&mut self, other: &Self) {
        self.lines.clone_from(&other.lines);
    }

    pub fn words(&mut self) -> &mut [u32] {
        // SAFETY: a line is sixteen words without padding.
        unsafe { std::slice::from_raw_parts_mut(self.pointer(), self.lines.len() * 16) }
    }
}

/// The lanes in a mask, lowest first.
#[inline(always)]
pub fn lanes(mut mask: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let lane = mask.trailing_zeros();
        mask &= mask.wrapping_sub(1);
        (lane < 32).then_some(lane as usize)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_masked_lanes_are_written() {
        let mut frame = Frame::new(96);
        frame.words()[..32].copy_from_slice(&std::array::from_fn::<u32, 32, _>(|i| i as u32));
        frame.words()[32..64].fill(100);
        // SAFETY: three registers of 32 bits lie at 0, 32 and 64.
        unsafe { binary(|a: u32, b: u32| a + b)(frame.pointer(), &[64, 0, 32, 0, 0], 0b1010) };
        let words = frame.words();
        assert_eq!((words[64], words[65], words[66], words[67]), (0, 101, 0, 103));
    }

    #[test]
    fn bits_are_gathered_in_order() {
        for pattern in [0, 1, 0x8000_0000, 0xdead_beef, FULL] {
            let bytes = std::array::from_fn(|i| (pattern >> i & 1) as u8);
            assert_eq!(gather_bits(&bytes), pattern);
        }
        assert_eq!(lanes(0b1001).collect::<Vec<_>>(), [0, 3]);
    }
}
