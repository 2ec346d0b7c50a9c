//! Real numbers known by how they compare, and whether bits are their rounding: slow, and nothing like the machine.

/// Exponent bits, explicit mantissa bits.
pub struct Format(pub u32, pub u32);

pub const F64: Format = Format(11, 52);
pub const F32: Format = Format(8, 23);
pub const TF32: Format = Format(8, 10);
pub const BF16: Format = Format(8, 7);
pub const F16: Format = Format(5, 10);

impl Format {
    pub fn infinity(&self) -> u64 {
        ((1 << self.0) - 1) << self.1
    }

    /// Any but NaN; infinity counts as the power of two it stands in for (but in f64).
    pub fn value(&self, bits: u64) -> f64 {
        let sign_at = self.0 + self.1;
        let (magnitude, negative) = (bits & ((1 << sign_at) - 1), bits >> sign_at != 0);
        if sign_at == 63 {
            return f64::from_bits(bits);
        }
        let (field, mantissa) = ((magnitude >> self.1) as i32, (magnitude & ((1 << self.1) - 1)) as f64);
        let implicit = if field > 0 { 2f64.powi(self.1 as i32) } else { 0.0 };
        let x = (mantissa + implicit) * 2f64.powi(field.max(1) - (1 << (self.0 - 1)) + 1 - self.1 as i32);
        if negative { -x } else { x }
    }

    /// Whether `bits` are the number rounded as `mode` says; `exact(x)` is the sign of the number less x.
    pub fn rounds(&self, bits: u64, mode: &str, exact: &dyn Fn(f64) -> i32) -> bool {
        let sign_at = self.0 + self.1;
        let (magnitude, negative) = (bits & ((1 << sign_at) - 1), bits >> sign_at != 0);
        let sign = exact(0.0);
        if sign == 0 || magnitude > self.infinity() {
            return sign == 0 && magnitude == 0;
        }
        if negative != (sign < 0) {
            return false;
        }
        // The sign of |number| − x, for x of the magnitude given or midway to the next.
        let above = |bits: u64| sign * exact(f64::from(sign) * self.value(bits));
        let midway =
            |bits: u64| sign * exact(f64::from(sign) * (self.value(bits) + self.value(bits + 1)) / 2.0);
        let largest = self.infinity() - 1;
        match (mode, negative) {
            ("rn", _) => {
                let tie_is_mine = i32::from(magnitude % 2 == 0);
                (magnitude == 0 || midway(magnitude - 1) + tie_is_mine > 0)
                    && (magnitude > largest || midway(magnitude) - tie_is_mine < 0)
            }
            ("rna", _) => {
                (magnitude == 0 || midway(magnitude - 1) >= 0)
                    && (magnitude > largest || midway(magnitude) < 0)
            }
            ("rz", _) | ("rp", true) | ("rm", false) => {
                magnitude <= largest
                    && above(magnitude) >= 0
                    && (magnitude == largest || above(magnitude + 1) < 0)
            }
            _ => magnitude > 0 && above(magnitude - 1) > 0 && (magnitude > largest || above(magnitude) <= 0),
        }
    }
}

/// The sign of a sum of products, in fixed point with 2148 bits after the point: f64 products need no more.
pub fn sign_of_sum(products: &[(f64, f64)]) -> i32 {
    let mut sum = [0u64; 68];
    for (a, b) in products {
        let ((a_mantissa, a_exponent), (b_mantissa, b_exponent)) = (parts(*a), parts(*b));
        let (mantissa, shift) = (a_mantissa * b_mantissa, (a_exponent + b_exponent + 2148) as usize);
        let negative = a.is_sign_negative() != b.is_sign_negative();
        // s − m is !(!s + m).
        let flip = if negative { u64::MAX } else { 0 };
        let (limb, bit) = (shift / 64, shift % 64);
        let pieces = [mantissa << bit, (mantissa >> 1) >> (127 - bit)];
        let pieces = [pieces[0] as u64, (pieces[0] >> 64) as u64, pieces[1] as u64];
        let mut carry = 0;
        for (index, place) in sum[limb..].iter_mut().enumerate() {
            let total = u128::from(*place ^ flip) + u128::from(*pieces.get(index).unwrap_or(&0)) + carry;
            *place = total as u64 ^ flip;
            carry = total >> 64;
        }
    }
    match sum {
        _ if sum[67] >> 63 != 0 => -1,
        _ if sum == [0; 68] => 0,
        _ => 1,
    }
}

fn parts(x: f64) -> (u128, i32) {
    let field = (x.to_bits() >> 52 & 0x7ff) as i32;
    let mantissa = x.to_bits() & ((1 << 52) - 1);
    if field == 0 { (mantissa.into(), -1074) } else { ((mantissa | 1 << 52).into(), field - 1075) }
}

/// How `a · b + c` compares.
pub fn fused(a: f64, b: f64, c: f64) -> impl Fn(f64) -> i32 {
    move |x| if x.is_infinite() { -x.signum() as i32 } else { sign_of_sum(&[(a, b), (c, 1.0), (-1.0, x)]) }
}

/// How `a / b` compares.
pub fn quotient(a: f64, b: f64) -> impl Fn(f64) -> i32 {
    let sign = if b < 0.0 { -1 } else { 1 };
    move |x| if x.is_infinite() { -x.signum() as i32 } else { sign * sign_of_sum(&[(a, 1.0), (-b, x)]) }
}

/// How √a compares.
pub fn root(a: f64) -> impl Fn(f64) -> i32 {
    move |x| if x.is_infinite() || x < 0.0 { -x.signum() as i32 } else { sign_of_sum(&[(a, 1.0), (-x, x)]) }
}

#[test]
fn sums_have_the_right_sign() {
    for (products, sign) in [
        (&[(1e300, 1e300), (-1e300, 1e300), (5e-324, 5e-324)][..], 1),
        (&[(1e300, 1e300), (1e300, -1e300), (-5e-324, 5e-324)], -1),
        (&[(3.0, 0.1), (-0.1, 3.0)], 0),
        (&[(3.0, 0.1), (-0.3, 1.0)], 1),
    ] {
        assert_eq!(sign_of_sum(products), sign, "{products:?}");
    }
    assert!(F32.rounds(0x3f80_0001, "rp", &fused(1.0, 1.0, 1e-30)));
    assert!(!F32.rounds(0x3f80_0001, "rn", &fused(1.0, 1.0, 1e-30)));
}
