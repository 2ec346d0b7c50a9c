//! `cvt`: between every pair of types. PTX ISA, section 9.7.9.

use super::half::{from_bf16, from_f16, to_bf16, to_f16};
use super::{Mods, Recipe};
use crate::vm::lanes::{self, AluFn, WARP, binary, lanes, unary};
use crate::vm::ptx::Type::{self, *};
use crate::vm::round::{self, Round, canonical, encode, flush, odd};

/// A conversion as said; [`Convert::run`] carries it out a lane at a time, [`Convert::fast`] names a loop if there is one.
#[derive(Clone, Copy, Debug)]
pub struct Convert {
    pub from: Type,
    pub to: Type,
    round: Option<Integral>,
    mode: Round,
    ftz: bool,
    sat: bool,
    relu: bool,
}

/// `.rni` and its kin: to an integral value.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Integral {
    Nearest,
    Zero,
    Down,
    Up,
}

const MODIFIERS: [&str; 12] =
    ["rn", "rz", "rm", "rp", "rna", "rni", "rzi", "rmi", "rpi", "ftz", "sat", "relu"];

/// Reads `cvt`'s modifiers: destination type first, source type last.
pub fn convert(mods: &Mods) -> Option<Convert> {
    let mut types = mods.types();
    let (to, from) = (types.next()?, types.next()?);
    if !mods.only(&MODIFIERS) || types.next().is_some() {
        return None;
    }
    let round = mods.one_of(&["rni", "rzi", "rmi", "rpi"]).map(|name| match name {
        "rni" => Integral::Nearest,
        "rzi" => Integral::Zero,
        "rmi" => Integral::Down,
        _ => Integral::Up,
    });
    let known = |ty: Type| !matches!(ty, Pred | B128 | F16x2 | Bf16x2);
    (known(to) && known(from)).then_some(Convert {
        from,
        to,
        round,
        mode: mods.round(),
        ftz: mods.has("ftz"),
        sat: mods.has("sat"),
        relu: mods.has("relu"),
    })
}

impl Convert {
    /// `cvt.rn.bf16x2.f32 d, a, b`: a goes into the upper half.
    pub fn pack(mods: &Mods) -> Option<Recipe> {
        macro_rules! packed {
            ($one:expr) => {
                match (mods.has("relu"), mods.has("rz")) {
                    (false, false) => packed!($one, |x| x, Round::Nearest),
                    (false, true) => packed!($one, |x| x, Round::Zero),
                    (true, false) => packed!($one, relu, Round::Nearest),
                    (true, true) => packed!($one, relu, Round::Zero),
                }
            };
            ($one:expr, $before:expr, $round:expr) => {
                binary(|a: f32, b: f32| {
                    let half = |x: f32| ($one)(($before)(x), $round);
                    half(a) << 16 | half(b)
                })
            };
        }
        let mut types = mods.types();
        let run = match (types.next()?, types.next()?) {
            (Bf16x2, F32) => packed!(to_bf16_rounded),
            (F16x2, F32) => packed!(to_f16_rounded),
            _ => return None,
        };
        mods.only(&["rn", "rz", "relu"]).then(|| Recipe::new(run, B32, &[F32, F32]))
    }

    /// A vector loop for the conversions kernels are full of, if the registers are as wide as the types.
    pub fn fast(&self, from_bytes: usize, to_bytes: usize) -> Option<AluFn> {
        if (from_bytes, to_bytes) != (self.from.bytes(), self.to.bytes()) || self.ftz || self.sat || self.relu
        {
            return None;
        }
        Some(match (self.from, self.to, self.round, self.mode) {
            (S32, F32, None, Round::Nearest) => unary(|a: i32| a as f32),
            (U32, F32, None, Round::Nearest) => unary(|a: u32| a as f32),
            (S32, F64, None, Round::Nearest) => unary(|a: i32| f64::from(a)),
            (U32, F64, None, Round::Nearest) => unary(|a: u32| f64::from(a)),
            (F32, S32, Some(Integral::Zero), _) => unary(|a: f32| a as i32),
            (F32, U32, Some(Integral::Zero), _) => unary(|a: f32| a as u32),
            (F32, F64, None, _) => unary(|a: f32| f64::from(a)),
            (F64, F32, None, Round::Nearest) => unary(|a: f64| canonical(a as f32)),
            (F16, F32, None, _) => unary(|a: u16| canonical(from_f16(a))),
            (F32, F16, None, Round::Nearest) => unary(to_f16),
            (F32, Bf16, None, Round::Nearest) => unary(to_bf16),
            (S32, S64 | U64, ..) => unary(|a: i32| i64::from(a)),
            (U32, S64 | U64, ..) => unary(|a: u32| u64::from(a)),
            (U64 | S64, U32 | S32, ..) => unary(|a: u64| a as u32),
            (U32 | S32, U16 | S16, ..) => unary(|a: u32| a as u16),
            (U16, U32 | S32, ..) => unary(|a: u16| u32::from(a)),
            (S16, S32 | U32, ..) => unary(|a: i16| i32::from(a)),
            _ => return None,
        })
    }

    /// Converts the lanes in `mask`; registers may be wider than the types.
    ///
    /// # Safety
    /// Registers of `from_bytes` and `to_bytes` must lie at `source` and `dest`.
    pub unsafe fn run(&self, frame: *mut u32, dest: (u32, usize), source: (u32, usize), mask: u32) {
        let mut bits = [0u64; WARP];
        // SAFETY: the caller's promise.
        unsafe {
            match source.1 {
                2 => bits = lanes::get::<u16>(frame, source.0).map(u64::from),
                4 => bits = lanes::get::<u32>(frame, source.0).map(u64::from),
                _ => bits.copy_from_slice(&lanes::get::<u64>(frame, source.0)),
            }
            for lane in lanes(mask) {
                bits[lane] = self.lane(bits[lane]);
            }
            match dest.1 {
                2 => lanes::set(frame, dest.0, mask, &bits.map(|b| b as u16)),
                4 => lanes::set(frame, dest.0, mask, &bits.map(|b| b as u32)),
                _ => lanes::set(frame, dest.0, mask, &bits),
            }
        }
    }

    /// One value: low bits in, result extended to 64 bits by its own sign.
    fn lane(&self, bits: u64) -> u64 {
        match (self.from.float(), self.to.float()) {
            (false, false) => self.integer_to_integer(integer(bits, self.from)),
            (false, true) => self.integer_to_float(integer(bits, self.from)),
            (true, false) => self.float_to_integer(self.float(bits)),
            (true, true) => self.float_to_float(self.float(bits)),
        }
    }

    fn float(&self, bits: u64) -> f64 {
        match self.from {
            F16 => from_f16(bits as u16).into(),
            Bf16 => from_bf16(bits as u16).into(),
            F64 => f64::from_bits(bits),
            _ if self.ftz => flush(f32::from_bits(bits as u32)).into(),
            _ => f32::from_bits(bits as u32).into(),
        }
    }

    fn integer_to_integer(&self, value: i128) -> u64 {
        let (low, high) = limits(self.to);
        (if self.sat { value.clamp(low, high) } else { integer(value as u64, self.to) }) as u64
    }

    fn integer_to_float(&self, value: i128) -> u64 {
        let value = if self.sat { value.clamp(0, 1) } else { value };
        if self.to == F64 {
            return round::from_integer(value, self.mode).to_bits();
        }
        let high = value as f64;
        self.encode(odd(high, (value - high as i128) as f64))
    }

    fn float_to_integer(&self, value: f64) -> u64 {
        let (low, high) = limits(self.to);
        if value.is_nan() {
            let wide = self.from == F64 || self.to.bytes() == 8;
            return if wide { integer(1 << (8 * self.to.bytes() - 1), self.to) as u64 } else { 0 };
        }
        let rounded = self.round.unwrap_or(Integral::Zero).apply(value);
        // What is out of range becomes the nearest limit.
        (rounded as i128).clamp(low, high) as u64
    }

    fn float_to_float(&self, value: f64) -> u64 {
        let value = self.round.map_or(value, |round| round.apply(value));
        let value = if self.relu && value <= 0.0 { 0.0 } else { value };
        self.encode(if self.sat { saturate_f64(value) } else { value })
    }

    /// Of a value exact or rounded to odd.
    fn encode(&self, x: f64) -> u64 {
        match self.to {
            F64 => x.to_bits(),
            F16 => encode(x, round::F16, self.mode).into(),
            Bf16 => encode(x, round::BF16, self.mode).into(),
            Tf32 if x.is_nan() => round::NAN.to_bits().into(),
            Tf32 => u64::from(encode(x, round::TF32, self.mode)) << 13,
            _ => {
                let x = f32::from_bits(encode(x, round::F32, self.mode));
                u64::from(if self.ftz { flush(x) } else { x }.to_bits())
            }
        }
    }
}

impl Integral {
    fn apply(self, x: f64) -> f64 {
        match self {
            Self::Nearest => x.round_ties_even(),
            Self::Zero => x.trunc(),
            Self::Down => x.floor(),
            Self::Up => x.ceil(),
        }
    }
}

fn to_f16_rounded(x: f32, round: Round) -> u32 {
    if round == Round::Nearest { to_f16(x).into() } else { encode(x.into(), round::F16, round) }
}

fn to_bf16_rounded(x: f32, round: Round) -> u32 {
    if round == Round::Nearest { to_bf16(x).into() } else { encode(x.into(), round::BF16, round) }
}

/// −0 becomes +0, NaN stays.
fn relu(x: f32) -> f32 {
    if x <= 0.0 { 0.0 } else { x }
}

fn saturate_f64(x: f64) -> f64 {
    if x > 0.0 { x.min(1.0) } else { 0.0 }
}

/// The low bits as the type reads them.
fn integer(bits: u64, ty: Type) -> i128 {
    match ty {
        S8 => i128::from(bits as i8),
        S16 => i128::from(bits as i16),
        S32 => i128::from(bits as i32),
        S64 => i128::from(bits as i64),
        U8 | B8 => i128::from(bits as u8),
        U16 | B16 => i128::from(bits as u16),
        U32 | B32 => i128::from(bits as u32),
        _ => i128::from(bits),
    }
}

fn limits(ty: Type) -> (i128, i128) {
    let bits = 8 * ty.bytes() as u32;
    if ty.signed() { (-1i128 << (bits - 1), (1i128 << (bits - 1)) - 1) } else { (0, (1i128 << bits) - 1) }
}
