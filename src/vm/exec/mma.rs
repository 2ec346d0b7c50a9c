//! `mma.sync.m16n8k*`: a 16×k by k×8 product, spread over the registers of a warp. PTX ISA, section 9.7.15.5.
//!
//! Products of 16-bit floats and tf32 are exact in f32; sums are f32, in order of k. Tensor cores add in another order
//! and drop bits of small addends, so results agree to rounding, not to the bit.

use super::Stop;
use super::access::Spot;
use super::cta::Cta;
use super::ops::Mma;
use super::run::Flow;
use super::warp::Warp;
use crate::simd;
use crate::vm::isa::{from_bf16, from_f16, to_f16};
use crate::vm::lanes::{FULL, WARP, get, set};
use crate::vm::ptx::Type;

const M: usize = 16;
const N: usize = 8;
const MAX_K: usize = 32;

/// a is 16×k, b k×8, c 16×8, all row by row.
struct Tiles<T> {
    a: [[T; MAX_K]; M],
    b: [[T; N]; MAX_K],
    c: [[T; N]; M],
}

impl Cta<'_> {
    pub(super) fn mma(
        &mut self,
        warp: &mut Warp,
        at: usize,
        spot: Spot,
        all: &[Mma],
        mask: u32,
        active: u32,
    ) -> Result<Flow, Stop> {
        if !self.gather_all(warp, at, spot, mask, active)? {
            return Ok(Flow::Blocked);
        }
        let words = spot.words;
        // SAFETY: the linker made the slots for this frame, here and below.
        let product = |mma: &Mma| unsafe {
            match mma.c_type {
                Type::F64 => multiply_doubles(words, mma),
                Type::S32 => multiply_integers(words, mma),
                _ => simd::dispatch(
                    #[inline(always)]
                    || multiply(words, mma),
                ),
            }
        };
        if let [mma] = all {
            unsafe { deliver(words, mma, &product(mma)) };
            return Ok(Flow::Next);
        }
        // All are read before any is written.
        let results: Vec<Results> = all.iter().map(product).collect();
        all.iter().zip(&results).for_each(|(mma, results)| unsafe { deliver(words, mma, results) });
        Ok(Flow::Next)
    }
}

/// What a product leaves in registers of 32 bits; f64 in pairs of them.
type Results = [[u32; WARP]; 4];

/// Registers of a (16×k) and b (k×8).
pub fn registers(k: usize, ty: Type) -> (usize, usize) {
    let bits = 8 * k * ty.bytes() / 128;
    (2 * bits, bits)
}

unsafe fn deliver(words: *mut u32, mma: &Mma, results: &Results) {
    for (index, &slot) in mma.d.iter().enumerate() {
        // SAFETY: the caller's promise.
        unsafe {
            if mma.d_type == Type::F64 {
                let (low, high) = (&results[2 * index], &results[2 * index + 1]);
                let values: [u64; WARP] =
                    std::array::from_fn(|lane| u64::from(high[lane]) << 32 | u64::from(low[lane]));
                set(words, slot, FULL, &values);
            } else {
                set(words, slot, FULL, &results[index]);
            }
        }
    }
}

/// m8n8k4: lane l holds a[l/4][l mod 4], b[l mod 4][l/4], and two elements of c in row l/4.
unsafe fn multiply_doubles(words: *mut u32, mma: &Mma) -> Results {
    // SAFETY: the caller's promise.
    let [a, b, c0, c1] =
        unsafe { [mma.a[0], mma.b[0], mma.c[0], mma.c[1]].map(|slot| get::<f64>(words, slot)) };
    let mut results = [[0; WARP]; 4];
    for lane in 0..WARP {
        let (row, column) = (lane / 4, lane % 4 * 2);
        for (at, c) in [c0, c1].iter().enumerate() {
            let sum = (0..4).fold(c[lane], |sum, k| a[4 * row + k].mul_add(b[4 * (column + at) + k], sum));
            results[2 * at][lane] = sum.to_bits() as u32;
            results[2 * at + 1][lane] = (sum.to_bits() >> 32) as u32;
        }
    }
    results
}

#[inline(always)]
unsafe fn multiply(words: *mut u32, mma: &Mma) -> Results {
    // SAFETY: the caller's promise.
    unsafe {
        let mut tiles = Tiles { a: [[0.0; MAX_K]; M], b: [[0.0; N]; MAX_K], c: [[0.0; N]; M] };
        let decode = |bits: u32, part: usize| match mma.a_type {
            Type::F16 => from_f16((bits >> (16 * part)) as u16),
            Type::Bf16 => from_bf16((bits >> (16 * part)) as u16),
            // Tensor cores read the upper 19 bits of a tf32 operand.
            _ => f32::from_bits(bits & 0xffff_e000),
        };
        load_operands(words, mma, &mut tiles.a, &mut tiles.b, decode, decode);
        let half = mma.c_type == Type::F16;
        for (index, &slot) in mma.c.iter().enumerate() {
            let values = get::<u32>(words, slot);
            for (lane, &value) in values.iter().enumerate() {
                let (row, column) = (lane / 4, lane % 4 * 2);
                if half {
                    tiles.c[row + 8 * index][column] = from_f16(value as u16);
                    tiles.c[row + 8 * index][column + 1] = from_f16((value >> 16) as u16);
                } else {
                    tiles.c[row + 8 * (index / 2)][column + index % 2] = f32::from_bits(value);
                }
            }
        }
        for (row, sums) in tiles.a.iter().zip(&mut tiles.c) {
            for (&a, b) in row.iter().zip(&tiles.b).take(mma.k) {
                for column in 0..N {
                    sums[column] += a * b[column];
                }
            }
        }
        let half = mma.d_type == Type::F16;
        std::array::from_fn(|index| {
            std::array::from_fn(|lane| {
                let (row, column) = (lane / 4, lane % 4 * 2);
                if half && index >= 2 {
                    0
                } else if half {
                    let row = &tiles.c[row + 8 * index];
                    u32::from(to_f16(row[column])) | u32::from(to_f16(row[column + 1])) << 16
                } else {
                    tiles.c[row + 8 * (index / 2)][column + index % 2].to_bits()
                }
            })
        })
    }
}

unsafe fn multiply_integers(words: *mut u32, mma: &Mma) -> Results {
    let mut tiles = Tiles { a: [[0i64; MAX_K]; M], b: [[0; N]; MAX_K], c: [[0; N]; M] };
    let decode = |ty: Type| {
        move |bits: u32, part: usize| {
            let byte = (bits >> (8 * part)) as u8;
            if ty.signed() { i64::from(byte as i8) } else { i64::from(byte) }
        }
    };
    // SAFETY: the caller's promise.
    unsafe {
        load_operands(words, mma, &mut tiles.a, &mut tiles.b, decode(mma.a_type), decode(mma.b_type));
        for (index, &slot) in mma.c.iter().enumerate() {
            let values = get::<i32>(words, slot);
            for (lane, &value) in values.iter().enumerate() {
                tiles.c[lane / 4 + 8 * (index / 2)][lane % 4 * 2 + index % 2] = value.into();
            }
        }
        for (row, sums) in tiles.a.iter().zip(&mut tiles.c) {
            for (&a, b) in row.iter().zip(&tiles.b).take(mma.k) {
                for column in 0..N {
                    sums[column] += a * b[column];
                }
            }
        }
        std::array::from_fn(|index| {
            std::array::from_fn(|lane| {
                let sum = tiles.c[lane / 4 + 8 * (index / 2)][lane % 4 * 2 + index % 2];
                if mma.saturate { sum.clamp(i32::MIN.into(), i32::MAX.into()) as u32 } else { sum as u32 }
            })
        })
    }
}

/// Lane l holds rows l/4 (and 8 below) of a and column l/4 of b, from k = e·(l mod 4) on, e elements a register.
#[inline(always)]
unsafe fn load_operands<T>(
    words: *const u32,
    mma: &Mma,
    a: &mut [[T; MAX_K]; M],
    b: &mut [[T; N]; MAX_K],
    decode_a: impl Fn(u32, usize) -> T,
    decode_b: impl Fn(u32, usize) -> T,
) {
    let each = 4 / mma.a_type.bytes();
    // SAFETY: the caller's promise.
    unsafe {
        for (index, &slot) in mma.a.iter().enumerate() {
            let bits = get::<u32>(words, slot);
            for lane in 0..WARP {
                for part in 0..each {
                    a[lane / 4 + 8 * (index % 2)][(index / 2) * 4 * each + lane % 4 * each + part] =
                        decode_a(bits[lane], part);
                }
            }
        }
        for (index, &slot) in mma.b.iter().enumerate() {
            let bits = get::<u32>(words, slot);
            for lane in 0..WARP {
                for part in 0..each {
                    b[index * 4 * each + lane % 4 * each + part][lane / 4] = decode_b(bits[lane], part);
                }
            }
        }
    }
}
