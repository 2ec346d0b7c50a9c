//! Edge cases of the arithmetic, as tables and against slow references.

mod approximate;
mod bits;
mod compare;
mod convert;
mod exact;
mod float;
mod half;
mod int;
mod rounding;

use super::{Mods, recipe, setp};
use crate::vm::lanes::{AluFn, FULL, Frame, WARP};

/// Words from one register to the next: any width fits.
const STRIDE: usize = 64;
/// What lies in a destination before the instruction.
const OLD: u64 = 0xa5a5_a5a5_a5a5_a5a5;

fn f(x: f32) -> u64 {
    x.to_bits().into()
}

fn d(x: f64) -> u64 {
    x.to_bits()
}

fn split(text: &str) -> (String, Vec<String>) {
    let mut words = text.split('.').map(String::from);
    (words.next().unwrap_or_default(), words.collect())
}

fn low(bits: u64, bytes: usize) -> u64 {
    bits & u64::MAX >> (64 - 8 * bytes)
}

fn put(frame: &mut Frame, register: usize, bytes: usize, lane: usize, bits: u64) {
    let words = frame.words();
    let at = register * STRIDE + lane * bytes / 4;
    match bytes {
        2 => {
            let shift = 16 * (lane % 2);
            words[at] = words[at] & !(0xffff << shift) | (bits as u32 & 0xffff) << shift;
        }
        4 => words[at] = bits as u32,
        _ => (words[at], words[at + 1]) = (bits as u32, (bits >> 32) as u32),
    }
}

fn take(frame: &mut Frame, register: usize, bytes: usize, lane: usize) -> u64 {
    let words = frame.words();
    let at = register * STRIDE + lane * bytes / 4;
    match bytes {
        2 => u64::from(words[at] >> (16 * (lane % 2)) & 0xffff),
        4 => words[at].into(),
        _ => u64::from(words[at]) | u64::from(words[at + 1]) << 32,
    }
}

/// One row a lane; destination first in `widths`.
fn alu<const N: usize>(run: AluFn, widths: &[usize], rows: &[[u64; N]], mask: u32) -> [u64; WARP] {
    let mut frame = Frame::new(5 * STRIDE);
    for lane in 0..WARP {
        put(&mut frame, 0, widths[0], lane, OLD);
        for (index, bits) in rows.get(lane).into_iter().flatten().enumerate() {
            put(&mut frame, index + 1, widths[index + 1], lane, *bits);
        }
    }
    let slots = std::array::from_fn(|register| (register * STRIDE) as u32);
    // SAFETY: five registers of any width lie at the slots.
    unsafe { run(frame.pointer(), &slots, mask) };
    std::array::from_fn(|lane| take(&mut frame, 0, widths[0], lane))
}

/// The results of an instruction for many rows of operands.
fn results<const N: usize>(text: &str, rows: &[[u64; N]]) -> Vec<u64> {
    let (opcode, mods) = split(text);
    let recipe = recipe(&opcode, &Mods(&mods)).unwrap_or_else(|| panic!("no recipe for {text}"));
    let widths: Vec<usize> =
        std::iter::once(recipe.dest).chain(recipe.sources).map(|ty| ty.bytes()).collect();
    assert_eq!(widths.len(), N + 1, "{text}");
    rows.chunks(WARP).flat_map(|rows| alu(recipe.run, &widths, rows, FULL)[..rows.len()].to_vec()).collect()
}

/// The result for one row, the same in every lane, and only where the mask says so.
fn result(text: &str, operands: &[u64]) -> u64 {
    fn of<const N: usize>(text: &str, operands: &[u64]) -> u64 {
        let (opcode, mods) = split(text);
        let recipe = recipe(&opcode, &Mods(&mods)).unwrap_or_else(|| panic!("no recipe for {text}"));
        let widths: Vec<usize> =
            std::iter::once(recipe.dest).chain(recipe.sources).map(|ty| ty.bytes()).collect();
        assert_eq!(widths.len(), N + 1, "{text}");
        let rows: [[u64; N]; WARP] = std::array::from_fn(|_| operands.try_into().expect("N operands"));
        let all = alu(recipe.run, &widths, &rows, FULL);
        assert_eq!(all, [all[0]; WARP], "{text}");
        let mask = 0x8001_f0a5;
        for (lane, bits) in alu(recipe.run, &widths, &rows, mask).into_iter().enumerate() {
            assert_eq!(
                bits,
                if mask >> lane & 1 != 0 { all[0] } else { low(OLD, widths[0]) },
                "{text} lane {lane}"
            );
        }
        all[0]
    }
    match operands.len() {
        1 => of::<1>(text, operands),
        2 => of::<2>(text, operands),
        3 => of::<3>(text, operands),
        _ => of::<4>(text, operands),
    }
}

/// Instruction, operands, result.
fn table(rows: &[(&str, &[u64], u64)]) {
    for (text, operands, expected) in rows {
        let found = result(text, operands);
        assert_eq!(found, *expected, "{text} {operands:x?}: {found:#x}, not {expected:#x}");
    }
}

fn unknown(texts: &[&str]) {
    for text in texts {
        let (opcode, mods) = split(text);
        assert!(recipe(&opcode, &Mods(&mods)).is_none(), "{text}");
    }
}

/// SplitMix64.
fn random(mut seed: u64) -> impl FnMut() -> u64 {
    move || {
        seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (seed ^ seed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
}
