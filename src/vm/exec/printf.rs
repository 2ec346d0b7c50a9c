//! `printf` of kernels: C's format, arguments one behind the other in memory, each aligned to its size.

use super::cta::Cta;
use super::warp::Warp;
use super::{LOCAL_BASE, SHARED_BASE};
use std::fmt::Write;

/// Longest string read.
const MAX_TEXT: usize = 4096;

impl Cta<'_> {
    /// Bytes at a generic address, as a lane sees it; None outside of memory.
    fn peek<const N: usize>(&mut self, warp: &Warp, lane: usize, at: u64) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        let copy = |from: &[u8], offset: u64, bytes: &mut [u8; N]| {
            let offset = usize::try_from(offset).ok()?;
            bytes.copy_from_slice(from.get(offset..offset.checked_add(N)?)?);
            Some(())
        };
        match at >> 32 {
            w if w == SHARED_BASE >> 32 => {
                let (pointer, len) = (self.shared.pointer(), self.shared.len());
                // SAFETY: the block's own memory.
                copy(unsafe { std::slice::from_raw_parts(pointer, len) }, at & 0xffff_ffff, &mut bytes)?;
            }
            w if w == LOCAL_BASE >> 32 => {
                let own = warp.local.get(lane * warp.local_stride..(lane + 1) * warp.local_stride)?;
                copy(own, at & 0xffff_ffff, &mut bytes)?;
            }
            _ => self.grid.memory.read(at, &mut bytes).then_some(())?,
        }
        Some(bytes)
    }

    /// A string up to its zero.
    pub(super) fn text_at(&mut self, warp: &Warp, lane: usize, at: u64) -> Vec<u8> {
        let bytes = (0..MAX_TEXT as u64).map_while(|i| self.peek::<1>(warp, lane, at + i));
        bytes.map(|[byte]| byte).take_while(|&byte| byte != 0).collect()
    }

    pub(super) fn format(&mut self, warp: &Warp, lane: usize, format: u64, mut arguments: u64) -> Vec<u8> {
        let format = String::from_utf8_lossy(&self.text_at(warp, lane, format)).into_owned();
        let mut out = String::new();
        let mut rest = format.as_str();
        while let Some(at) = rest.find('%') {
            out.push_str(&rest[..at]);
            rest = &rest[at + 1..];
            let mut spec = Spec::default();
            let mut next = |cta: &mut Self, size: u64| {
                arguments = arguments.next_multiple_of(size);
                let bytes = if size == 4 {
                    cta.peek::<4>(warp, lane, arguments).map(|b| i64::from(i32::from_le_bytes(b)))
                } else {
                    cta.peek::<8>(warp, lane, arguments).map(i64::from_le_bytes)
                };
                arguments += size;
                bytes.unwrap_or(-1)
            };
            let conversion = loop {
                let Some(c) = rest.chars().next() else { break '%' };
                rest = &rest[c.len_utf8()..];
                match c {
                    '-' | '+' | ' ' | '#' => spec.flags.push(c),
                    '0' if spec.width == 0 && spec.precision.is_none() => spec.flags.push(c),
                    '0'..='9' => {
                        let digit = c as usize - '0' as usize;
                        let number = spec.precision.as_mut().unwrap_or(&mut spec.width);
                        *number = (*number * 10 + digit).min(1000);
                    }
                    '.' => spec.precision = Some(0),
                    '*' => {
                        let value = next(self, 4);
                        if spec.precision.is_some() {
                            spec.precision = usize::try_from(value).ok().map(|p| p.min(1000));
                        } else {
                            if value < 0 {
                                spec.flags.push('-');
                            }
                            spec.width = (value.unsigned_abs() as usize).min(1000);
                        }
                    }
                    'l' | 'j' | 'z' | 't' => spec.long = true,
                    'h' | 'L' => {}
                    c => break c,
                }
            };
            let size = if spec.long { 8 } else { 4 };
            match conversion {
                '%' => out.push('%'),
                'd' | 'i' => {
                    let value = next(self, size);
                    spec.number(&mut out, value < 0, &value.unsigned_abs().to_string());
                }
                'u' | 'o' | 'x' | 'X' => {
                    let value = next(self, size) as u64 & if spec.long { u64::MAX } else { 0xffff_ffff };
                    let prefixed = spec.flags.contains('#') && value != 0;
                    let digits = match conversion {
                        'u' => value.to_string(),
                        'o' => format!("{}{value:o}", if prefixed { "0" } else { "" }),
                        'x' => format!("{}{value:x}", if prefixed { "0x" } else { "" }),
                        _ => format!("{}{value:X}", if prefixed { "0X" } else { "" }),
                    };
                    spec.flags.retain(|f| f != '+' && f != ' ');
                    spec.number(&mut out, false, &digits);
                }
                'c' => {
                    let text = char::from(next(self, 4) as u8).to_string();
                    spec.pad(&mut out, &text, false);
                }
                's' => {
                    let at = next(self, 8) as u64;
                    let mut text = String::from_utf8_lossy(&self.text_at(warp, lane, at)).into_owned();
                    if let Some(precision) = spec.precision {
                        text = text.chars().take(precision).collect();
                    }
                    spec.pad(&mut out, &text, false);
                }
                'p' => {
                    let text = format!("{:#x}", next(self, 8));
                    spec.pad(&mut out, &text, false);
                }
                'f' | 'F' | 'e' | 'E' | 'g' | 'G' | 'a' | 'A' => {
                    let value = f64::from_bits(next(self, 8) as u64);
                    spec.float(&mut out, conversion, value);
                }
                other => {
                    let _ = write!(out, "%{other}");
                }
            }
        }
        out.push_str(rest);
        out.into_bytes()
    }
}

#[derive(Default)]
struct Spec {
    flags: String,
    width: usize,
    precision: Option<usize>,
    long: bool,
}

impl Spec {
    fn pad(&self, out: &mut String, text: &str, number: bool) {
        let fill = self.width.saturating_sub(text.chars().count());
        if self.flags.contains('-') {
            out.push_str(text);
            out.extend(std::iter::repeat_n(' ', fill));
        } else if self.flags.contains('0') && number {
            let sign = text.len() - text.trim_start_matches(['-', '+', ' ']).len();
            out.push_str(&text[..sign]);
            out.extend(std::iter::repeat_n('0', fill));
            out.push_str(&text[sign..]);
        } else {
            out.extend(std::iter::repeat_n(' ', fill));
            out.push_str(text);
        }
    }

    fn sign(&self, negative: bool) -> &'static str {
        match negative {
            true => "-",
            false if self.flags.contains('+') => "+",
            false if self.flags.contains(' ') => " ",
            false => "",
        }
    }

    fn number(&self, out: &mut String, negative: bool, digits: &str) {
        let zeros = self.precision.unwrap_or(0).saturating_sub(digits.len());
        let text = format!("{}{}{digits}", self.sign(negative), "0".repeat(zeros));
        self.pad(out, &text, self.precision.is_none());
    }

    fn float(&self, out: &mut String, conversion: char, value: f64) {
        let sign = self.sign(value.is_sign_negative() && !value.is_nan());
        let x = value.abs();
        let precision = self.precision.unwrap_or(6);
        let digits = match conversion.to_ascii_lowercase() {
            _ if x.is_nan() => "nan".into(),
            _ if x.is_infinite() => "inf".into(),
            'f' => format!("{x:.precision$}"),
            'e' => exponential(x, precision),
            _ => general(x, precision.max(1), self.flags.contains('#')),
        };
        let digits = if conversion.is_ascii_uppercase() { digits.to_uppercase() } else { digits };
        self.pad(out, &format!("{sign}{digits}"), x.is_finite());
    }
}

/// C's `1.5e+01` of Rust's `1.5e1`.
fn exponential(x: f64, precision: usize) -> String {
    let text = format!("{x:.precision$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// `%g`: the shorter of the two, without trailing zeros.
fn general(x: f64, precision: usize, keep: bool) -> String {
    let scientific = exponential(x, precision - 1);
    let exponent: i32 = scientific.split_once('e').and_then(|(_, e)| e.parse().ok()).unwrap_or(0);
    let trim = |text: &str| {
        if text.contains('.') && !keep {
            text.trim_end_matches('0').trim_end_matches('.').to_string()
        } else {
            text.to_string()
        }
    };
    if exponent < -4 || exponent >= precision as i32 {
        let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "+00"));
        return format!("{}e{exponent}", trim(mantissa));
    }
    let decimals = (precision as i32 - 1 - exponent).max(0) as usize;
    trim(&format!("{x:.decimals$}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_print_as_in_c() {
        let cases = [
            ('f', None, 1.5, "1.500000"),
            ('f', Some(2), -0.125, "-0.12"),
            ('e', None, 12345.678, "1.234568e+04"),
            ('g', None, 0.0001, "0.0001"),
            ('g', None, 1e-5, "1e-05"),
            ('g', None, 123_456_789.0, "1.23457e+08"),
            ('g', None, 100.0, "100"),
            ('f', None, f64::NAN, "nan"),
        ];
        for (conversion, precision, value, expected) in cases {
            let mut out = String::new();
            Spec { precision, ..Spec::default() }.float(&mut out, conversion, value);
            assert_eq!(out, expected);
        }
        let mut out = String::new();
        Spec { flags: "0".into(), width: 6, ..Spec::default() }.number(&mut out, true, "42");
        assert_eq!(out, "-00042");
    }
}
