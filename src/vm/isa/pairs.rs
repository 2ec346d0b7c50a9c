//! Pairs of 16-bit integers, and of 8-bit floats. PTX ISA, sections 9.7.1 and 9.7.9.

use super::half::{from_f16, to_f16};
use super::{Mods, Recipe};
use crate::vm::lanes::{AluFn, binary, unary};
use crate::vm::ptx::Type::*;

/// `add`, `min`, `max` of `.s16x2` and `.u16x2`.
pub fn integers(opcode: &str, mods: &Mods) -> Option<Recipe> {
    fn each(a: u32, b: u32, f: impl Fn(u16, u16) -> u16) -> u32 {
        u32::from(f(a as u16, b as u16)) | u32::from(f((a >> 16) as u16, (b >> 16) as u16)) << 16
    }
    let names: Vec<&str> = mods.0.iter().map(String::as_str).collect();
    let run: AluFn = match (opcode, names.as_slice()) {
        ("add", ["s16x2" | "u16x2"]) => binary(|a: u32, b: u32| each(a, b, u16::wrapping_add)),
        ("min", ["u16x2"]) => binary(|a: u32, b: u32| each(a, b, u16::min)),
        ("max", ["u16x2"]) => binary(|a: u32, b: u32| each(a, b, u16::max)),
        ("min", ["s16x2"]) => binary(|a: u32, b: u32| each(a, b, |x, y| (x as i16).min(y as i16) as u16)),
        ("max", ["s16x2"]) => binary(|a: u32, b: u32| each(a, b, |x, y| (x as i16).max(y as i16) as u16)),
        ("min", ["relu", "s16x2"]) => {
            binary(|a: u32, b: u32| each(a, b, |x, y| (x as i16).min(y as i16).max(0) as u16))
        }
        ("max", ["relu", "s16x2"]) => {
            binary(|a: u32, b: u32| each(a, b, |x, y| (x as i16).max(y as i16).max(0) as u16))
        }
        _ => return None,
    };
    Some(Recipe::new(run, B32, &[B32, B32]))
}

/// `cvt` from and to `.e4m3x2` and `.e5m2x2`.
pub fn eighths(mods: &Mods) -> Option<Recipe> {
    let (to, from) = match mods.0 {
        [.., to, from] => (to.as_str(), from.as_str()),
        _ => return None,
    };
    let rest: Vec<&str> = mods.0[..mods.0.len() - 2].iter().map(String::as_str).collect();
    let relu = match rest.as_slice() {
        ["rn"] if to == "f16x2" => false,
        ["rn", "relu"] if to == "f16x2" => true,
        ["rn", "satfinite"] if to != "f16x2" => false,
        ["rn", "satfinite", "relu"] if to != "f16x2" => true,
        _ => return None,
    };
    macro_rules! format {
        ($format:expr) => {{
            const F: Eighth = $format;
            let wide = |a: u16, relu: bool| {
                let half = |bits: u8| to_f16(clip(F.decode(bits), relu));
                u32::from(half(a as u8)) | u32::from(half((a >> 8) as u8)) << 16
            };
            let narrow = |low: f32, high: f32, relu: bool| {
                u16::from(F.encode(clip(low, relu))) | u16::from(F.encode(clip(high, relu))) << 8
            };
            let halves = |a: u32| (from_f16(a as u16), from_f16((a >> 16) as u16));
            match (to, from, relu) {
                ("f16x2", _, false) => Recipe::new(unary(move |a: u16| wide(a, false)), B32, &[B16]),
                ("f16x2", _, true) => Recipe::new(unary(move |a: u16| wide(a, true)), B32, &[B16]),
                (_, "f32", false) => {
                    Recipe::new(binary(move |a: f32, b: f32| narrow(b, a, false)), B16, &[F32, F32])
                }
                (_, "f32", true) => {
                    Recipe::new(binary(move |a: f32, b: f32| narrow(b, a, true)), B16, &[F32, F32])
                }
                (_, "f16x2", false) => {
                    let run = unary(move |a: u32| {
                        let (low, high) = halves(a);
                        narrow(low, high, false)
                    });
                    Recipe::new(run, B16, &[B32])
                }
                (_, "f16x2", true) => {
                    let run = unary(move |a: u32| {
                        let (low, high) = halves(a);
                        narrow(low, high, true)
                    });
                    Recipe::new(run, B16, &[B32])
                }
                _ => return None,
            }
        }};
    }
    Some(match (to, from) {
        ("e4m3x2", "f32" | "f16x2") | ("f16x2", "e4m3x2") => format!(E4M3),
        ("e5m2x2", "f32" | "f16x2") | ("f16x2", "e5m2x2") => format!(E5M2),
        _ => return None,
    })
}

/// −0 becomes +0, NaN stays.
fn clip(x: f32, relu: bool) -> f32 {
    if relu && x <= 0.0 { 0.0 } else { x }
}

/// A float of 8 bits.
struct Eighth {
    mantissa: u32,
    bias: i32,
    /// The largest finite number, and its bits.
    max: f32,
    max_bits: u8,
}

const E4M3: Eighth = Eighth { mantissa: 3, bias: 7, max: 448.0, max_bits: 0x7e };
const E5M2: Eighth = Eighth { mantissa: 2, bias: 15, max: 57344.0, max_bits: 0x7b };

impl Eighth {
    /// Exact.
    fn decode(&self, bits: u8) -> f32 {
        let (field, fraction) =
            (i32::from(bits & 0x7f) >> self.mantissa, i32::from(bits) & ((1 << self.mantissa) - 1));
        let magnitude = if bits & 0x7f > self.max_bits {
            // Beyond the largest, e5m2 has an infinity; the rest is NaN.
            if bits & 0x7f == 0x7c { f32::INFINITY } else { f32::NAN }
        } else {
            let implicit = if field > 0 { 1 << self.mantissa } else { 0 };
            let exponent = field.max(1) - self.bias - self.mantissa as i32;
            (fraction + implicit) as f32 * (exponent as f32).exp2()
        };
        if bits & 0x80 != 0 { -magnitude } else { magnitude }
    }

    /// To nearest, ties to even; what is too large becomes the largest.
    fn encode(&self, x: f32) -> u8 {
        if x.is_nan() {
            return 0x7f;
        }
        let sign = ((x.to_bits() >> 31) as u8) << 7;
        let magnitude = x.abs();
        if magnitude >= self.max {
            return sign | self.max_bits;
        }
        let least = 1 - self.bias;
        let exponent = ((magnitude.to_bits() >> 23) as i32 - 127).max(least);
        let quantum = f64::from(exponent - self.mantissa as i32).exp2();
        let steps = (f64::from(magnitude) / quantum).round_ties_even() as i32;
        // The implicit bit of a normal number adds one to the exponent field.
        sign | ((((exponent - least) << self.mantissa) + steps) as u8).min(self.max_bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn eighths_survive_the_way_there_and_back() {
        for format in [E4M3, E5M2] {
            for bits in 0..=u8::MAX {
                let value = format.decode(bits);
                let (sign, rest) = (bits & 0x80, bits & 0x7f);
                let expected = match rest {
                    _ if value.is_nan() => 0x7f,
                    _ if rest > format.max_bits => sign | format.max_bits,
                    _ => bits,
                };
                assert_eq!(format.encode(value), expected, "{bits:#x} is {value}");
            }
        }
    }

    #[test]
    fn eighths_round_to_nearest_even() {
        for (x, bits) in [(1.0, 0x38), (1.0625, 0x38), (1.1875, 0x3a), (-0.5, 0xb0), (0.001, 1), (0.0009, 0)]
        {
            assert_eq!(E4M3.encode(x), bits, "{x}");
        }
        for (x, bits) in [(1.0, 0x3c), (1.125, 0x3c), (1.375, 0x3e), (1e9, 0x7b), (-1e-9, 0x80)] {
            assert_eq!(E5M2.encode(x), bits, "{x}");
        }
        assert_eq!(
            (E4M3.decode(0x7e), E4M3.decode(1), E5M2.decode(1)),
            (448.0, 2f32.powi(-9), 2f32.powi(-16))
        );
    }

    #[test]
    fn pairs_know_their_modifiers() {
        let mods = |text: &str| text.split('.').map(str::to_string).collect::<Vec<_>>();
        for known in ["rn.f16x2.e4m3x2", "rn.relu.f16x2.e5m2x2", "rn.satfinite.e4m3x2.f32"] {
            assert!(eighths(&Mods(&mods(known))).is_some(), "{known}");
        }
        for unknown in ["f16x2.e4m3x2", "rn.e4m3x2.f32", "rz.satfinite.e4m3x2.f32", "rn.f32.e4m3x2"] {
            assert!(eighths(&Mods(&mods(unknown))).is_none(), "{unknown}");
        }
        assert!(integers("add", &Mods(&mods("s16x2"))).is_some());
        assert!(integers("sub", &Mods(&mods("s16x2"))).is_none());
    }
}
