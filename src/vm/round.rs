//! Floating-point numbers as PTX rounds them: four modes, subnormals flushed or not, one NaN.

/// `.rn`, `.rz`, `.rm`, `.rp` (and `.rna`, ties away from zero).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Round {
    Nearest,
    Zero,
    Down,
    Up,
    NearestAway,
}

/// The NaN that every f32 operation returns.
pub const NAN: f32 = f32::from_bits(0x7fff_ffff);

/// Any NaN becomes the canonical one. On bits: to the compiler one NaN is as good as another.
#[inline(always)]
pub fn canonical(x: f32) -> f32 {
    let bits = x.to_bits();
    f32::from_bits(if bits & 0x7fff_ffff > 0x7f80_0000 { NAN.to_bits() } else { bits })
}

/// Subnormals become zero of their sign (`.ftz`).
#[inline(always)]
pub fn flush(x: f32) -> f32 {
    if x.to_bits() & 0x7f80_0000 == 0 { f32::from_bits(x.to_bits() & 0x8000_0000) } else { x }
}

/// `.sat`: into [0, 1], NaN to +0.
#[inline(always)]
pub fn saturate(x: f32) -> f32 {
    if x > 0.0 { if x < 1.0 { x } else { 1.0 } } else { 0.0 }
}

/// The exact value `high + low` with |low| below half an ulp of `high`, rounded to odd in f64.
///
/// Rounding that once more to any format of 50 bits or fewer gives what one rounding of the exact value would.
#[inline(always)]
pub fn odd(high: f64, low: f64) -> f64 {
    if low == 0.0 || !high.is_finite() || !low.is_finite() || high.to_bits() & 1 == 1 {
        return high;
    }
    if high == 0.0 {
        return low;
    }
    let outward = (low > 0.0) == (high > 0.0);
    f64::from_bits(if outward { high.to_bits() + 1 } else { high.to_bits() - 1 })
}

/// a + b = sum + error, exactly (Knuth).
#[inline(always)]
pub fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let from_b = sum - a;
    (sum, (a - (sum - from_b)) + (b - from_b))
}

/// A binary format: exponent bits, explicit mantissa bits.
#[derive(Clone, Copy)]
pub struct Format {
    pub exponent: u32,
    pub mantissa: u32,
}

pub const F32: Format = Format { exponent: 8, mantissa: 23 };
pub const F16: Format = Format { exponent: 5, mantissa: 10 };
pub const BF16: Format = Format { exponent: 8, mantissa: 7 };
pub const TF32: Format = Format { exponent: 8, mantissa: 10 };

/// Bits of `x` rounded to `format`; NaN becomes all ones below the sign.
pub fn encode(x: f64, format: Format, round: Round) -> u32 {
    let Format { exponent, mantissa } = format;
    let sign = ((x.to_bits() >> 63) as u32) << (exponent + mantissa);
    let infinity = ((1 << exponent) - 1) << mantissa;
    if x.is_nan() {
        return infinity | ((1 << mantissa) - 1);
    }
    if x.is_infinite() || x == 0.0 {
        return sign | if x == 0.0 { 0 } else { infinity };
    }
    let negative = sign != 0;
    let bias = (1i32 << (exponent - 1)) - 1;
    let bits = x.abs().to_bits();
    // f64 subnormals lie far below every format here: their exponent only has to be small.
    let e = (bits >> 52) as i32 - 1023;
    let full = (bits & ((1 << 52) - 1)) | u64::from(bits >> 52 != 0) << 52;
    // Bits to drop: more of them below the smallest normal number.
    let drop = (52 - mantissa as i32 + (1 - bias - e).max(0)).min(60) as u32;
    let (kept, rest, half) = (full >> drop, full & ((1 << drop) - 1), 1u64 << (drop - 1));
    let up = match round {
        Round::Nearest => rest > half || rest == half && kept & 1 == 1,
        Round::NearestAway => rest >= half,
        Round::Zero => false,
        Round::Up => rest != 0 && !negative,
        Round::Down => rest != 0 && negative,
    };
    let biased = (e + bias).max(1);
    // The implicit bit of a normal number adds one to the exponent field.
    let magnitude = (((biased - 1) as u64) << mantissa) + kept + u64::from(up);
    if magnitude >= u64::from(infinity) {
        let stays_finite = match round {
            Round::Zero => true,
            Round::Up => negative,
            Round::Down => !negative,
            Round::Nearest | Round::NearestAway => false,
        };
        return sign | if stays_finite { infinity - 1 } else { infinity };
    }
    sign | magnitude as u32
}

/// `x` rounded to f32.
pub fn to_f32(x: f64, round: Round) -> f32 {
    if round == Round::Nearest { canonical(x as f32) } else { f32::from_bits(encode(x, F32, round)) }
}

/// ±magnitude · 2^exponent. A set lowest bit may also stand for anything lost below it, which no rounding notices as long
/// as there are a few more bits than the result keeps.
#[derive(Clone, Copy)]
struct Real {
    negative: bool,
    magnitude: u128,
    exponent: i32,
}

impl Real {
    fn new(x: f64) -> Self {
        let field = (x.to_bits() >> 52 & 0x7ff) as i32;
        let mantissa = (x.to_bits() & ((1 << 52) - 1)) | u64::from(field != 0) << 52;
        Self { negative: x.is_sign_negative(), magnitude: mantissa.into(), exponent: field.max(1) - 1075 }
    }

    /// The same number with its highest bit at `top`, if that is higher.
    fn raised(self, top: u32) -> Self {
        let shift = (self.magnitude.leading_zeros() + top).saturating_sub(127);
        if self.magnitude == 0 {
            return self;
        }
        Self { magnitude: self.magnitude << shift, exponent: self.exponent - shift as i32, ..self }
    }

    fn plus(self, other: Self) -> Self {
        // Bit 126 is for the carry.
        let (x, y) = (self.raised(125), other.raised(125));
        let (x, y) =
            if y.magnitude == 0 || x.magnitude != 0 && x.exponent >= y.exponent { (x, y) } else { (y, x) };
        let distance = (x.exponent - y.exponent).clamp(0, 127);
        let shifted = y.magnitude >> distance;
        let shifted = shifted | u128::from(shifted << distance != y.magnitude);
        let (magnitude, negative) = if x.negative == y.negative {
            (x.magnitude + shifted, x.negative)
        } else if x.magnitude >= shifted {
            (x.magnitude - shifted, x.negative)
        } else {
            (shifted - x.magnitude, y.negative)
        };
        Self { negative, magnitude, exponent: x.exponent }
    }

    /// For the modes that look in one direction only; not zero.
    fn directed(self, round: Round) -> f64 {
        let Self { negative, magnitude, exponent } = self.raised(127);
        let sign = u64::from(negative) << 63;
        let away = match round {
            Round::Up => !negative,
            Round::Down => negative,
            _ => false,
        };
        // 53 bits stay, fewer below the smallest normal number.
        let drop = 75.max(-1074 - exponent);
        let kept = if drop < 128 { magnitude >> drop } else { 0 };
        let inexact = drop >= 128 || kept << drop != magnitude;
        // The implicit bit of a normal number adds one to the exponent field.
        let bits = (((exponent + drop + 1074) as u64) << 52) + kept as u64 + u64::from(inexact && away);
        let infinity = f64::INFINITY.to_bits();
        f64::from_bits(sign | if bits < infinity { bits } else { infinity - u64::from(!away) })
    }
}

/// a · b + c in one of the directed modes.
pub fn fma(a: f64, b: f64, c: f64, round: Round) -> f64 {
    let near = a.mul_add(b, c);
    if !(a.is_finite() && b.is_finite() && c.is_finite()) {
        return near;
    }
    let (x, y, c) = (Real::new(a), Real::new(b), Real::new(c));
    let product = Real {
        negative: x.negative != y.negative,
        magnitude: x.magnitude * y.magnitude,
        exponent: x.exponent + y.exponent,
    };
    let sum = product.plus(c);
    match sum.magnitude {
        // What cancels is −0 in this mode.
        0 if round == Round::Down && product.negative != c.negative => -0.0,
        0 => near,
        _ => sum.directed(round),
    }
}

/// a · b in one of the directed modes.
pub fn multiply(a: f64, b: f64, round: Round) -> f64 {
    fma(a, b, 0f64.copysign(a * b), round)
}

/// a / b in one of the directed modes.
pub fn divide(a: f64, b: f64, round: Round) -> f64 {
    if !a.is_finite() || !b.is_finite() || a == 0.0 || b == 0.0 {
        return a / b;
    }
    let (a, b) = (Real::new(a).raised(126), Real::new(b).raised(52));
    let quotient = a.magnitude / b.magnitude;
    let more = quotient * b.magnitude != a.magnitude;
    let negative = a.negative != b.negative;
    Real { negative, magnitude: quotient | u128::from(more), exponent: a.exponent - b.exponent }
        .directed(round)
}

/// √a in one of the directed modes.
pub fn square_root(a: f64, round: Round) -> f64 {
    if !a.is_finite() || a <= 0.0 {
        return a.sqrt();
    }
    let a = Real::new(a).raised(126);
    let odd = a.exponent & 1;
    let square = a.magnitude >> odd;
    let root = square.isqrt();
    // The bit shifted out is zero: raising put 74 of them there.
    let more = root * root != square;
    Real { negative: false, magnitude: root | u128::from(more), exponent: (a.exponent + odd) / 2 }
        .directed(round)
}

/// An integer as f64.
pub fn from_integer(value: i128, round: Round) -> f64 {
    match round {
        _ if value == 0 => 0.0,
        Round::Nearest | Round::NearestAway => value as f64,
        _ => Real { negative: value < 0, magnitude: value.unsigned_abs(), exponent: 0 }.directed(round),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_agrees_with_the_processor() {
        for bits in (0..=u32::MAX).step_by(104_729) {
            let x = f64::from(f32::from_bits(bits)) * 1.000_000_071;
            if !x.is_nan() {
                assert_eq!(encode(x, F32, Round::Nearest), (x as f32).to_bits(), "{x:e}");
            }
            let x = f32::from_bits(bits);
            if !x.is_nan() {
                assert_eq!(
                    encode(f64::from(x), F16, Round::Nearest),
                    u32::from(half::f16::from_f32(x).to_bits())
                );
                assert_eq!(
                    encode(f64::from(x), BF16, Round::Nearest),
                    u32::from(half::bf16::from_f32(x).to_bits())
                );
            }
        }
    }

    #[test]
    fn directed_modes_bracket_the_value() {
        for x in [1.0 + 1e-10, -1.0 - 1e-10, 1e-42 * 1.3, -1e-50, 3.5e38, -1e300, 65519.9] {
            let (down, up) = (to_f32(x, Round::Down), to_f32(x, Round::Up));
            assert!(f64::from(down) < x && x < f64::from(up), "{x} {down} {up}");
            assert_eq!(to_f32(x, Round::Zero), if x > 0.0 { down } else { up });
        }
        assert_eq!(encode(65504.0 + 16.0, F16, Round::Zero), 0x7bff);
        assert_eq!(encode(65504.0 + 16.0, F16, Round::Nearest), 0x7c00);
    }

    #[test]
    fn odd_keeps_what_a_double_rounding_would_lose() {
        // 1 + 2⁻²⁴ + 2⁻⁸⁰ lies just above a tie of f32.
        let (high, low) = two_sum(1.0 + 2f64.powi(-24), 2f64.powi(-80));
        assert_eq!((high as f32, odd(high, low) as f32), (1.0, 1.0 + f32::EPSILON));
    }
}
