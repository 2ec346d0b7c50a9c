//! `wmma.load` and `wmma.store`: matrix fragments, element by element. PTX ISA, section 9.7.15.4.
//!
//! Which lane holds which element is for the machine to choose. Here a fragment is laid out as two `mma.sync.m16n8k*`
//! side by side (m16n16) or one below the other (m32n8; m8n32 is that transposed), so that `wmma.mma` is two of those.

use super::access::{Cell, Spot, Verb, addresses};
use super::cta::Cta;
use super::inspect::Touch;
use super::ops::{Address, Order};
use super::run::Flow;
use super::warp::Warp;
use super::{Stop, mma};
use crate::vm::lanes::{FULL, WARP, get, lanes, set};
use crate::vm::program::NONE;
use crate::vm::ptx::Type;

/// Matrices of d = a b + c.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Part {
    A,
    B,
    C,
}

#[derive(Clone, Debug)]
pub struct Fragment {
    pub at: Address,
    /// Register with the elements from one row (or column) to the next; NONE if they lie close.
    pub stride: u32,
    pub part: Part,
    pub shape: [usize; 3],
    pub ty: Type,
    pub row_major: bool,
    pub registers: Vec<u32>,
    pub load: bool,
}

impl Fragment {
    /// Bytes of a register: 32 bits, or one f64.
    fn width(&self) -> usize {
        self.ty.bytes().max(4)
    }

    fn size(&self) -> (usize, usize) {
        let [m, n, k] = self.shape;
        match self.part {
            Part::A => (m, k),
            Part::B => (k, n),
            Part::C => (m, n),
        }
    }

    /// Registers that hold something new; those beyond repeat them.
    pub fn distinct(&self) -> usize {
        let (rows, columns) = self.size();
        rows * columns * self.ty.bytes() / (WARP * self.width())
    }

    /// Row and column of an element of register `index` of a lane.
    fn place(&self, index: usize, part: usize, lane: usize) -> (usize, usize) {
        let [m, n, k] = self.shape;
        let (high, low) = (lane / 4, lane % 4);
        let each = self.width() / self.ty.bytes();
        if self.ty == Type::F64 {
            return match self.part {
                Part::A => (high, low),
                Part::B => (low, high),
                Part::C => (high, 2 * low + index),
            };
        }
        let flip = |(row, column): (usize, usize)| if m == 8 { (column, row) } else { (row, column) };
        // Of the operand with 16 rows, and the one with 8 columns.
        let tall = |count: usize| {
            let (half, index) = (index / count, index % count);
            (high + 8 * (index % 2) + 16 * half, index / 2 * 4 * each + low * each + part)
        };
        let narrow = |count: usize| {
            let (half, index) = (index / count, index % count);
            (index * 4 * each + low * each + part, high + 8 * half)
        };
        let (tall_registers, narrow_registers) = mma::registers(k, self.ty);
        match self.part {
            Part::A if m == 8 => flip(narrow(narrow_registers)),
            Part::A => tall(tall_registers),
            Part::B if m == 8 => flip(tall(tall_registers)),
            Part::B => narrow(narrow_registers),
            Part::C => {
                let count = 4 / each;
                let (half, index) = (index / count, index % count);
                let at = index * each + part;
                let (row, column) = (high + 8 * (at / 2), 2 * low + at % 2);
                flip(if n == 16 { (row, column + 8 * half) } else { (row + 16 * half, column) })
            }
        }
    }
}

impl Cta<'_> {
    pub(super) fn fragment<const INSPECT: bool>(
        &mut self,
        warp: &mut Warp,
        at: usize,
        spot: Spot,
        fragment: &Fragment,
        mask: u32,
        active: u32,
    ) -> Result<Flow, Stop> {
        if !self.gather_all(warp, at, spot, mask, active)? {
            return Ok(Flow::Blocked);
        }
        let (rows, columns) = fragment.size();
        let close = if fragment.row_major { columns } else { rows };
        // SAFETY: the linker made address and slots for this frame, here and below.
        let (base, strides) = unsafe {
            let strides = match fragment.stride {
                NONE => [close as u32; WARP],
                slot => get::<u32>(spot.words, slot),
            };
            (addresses(warp, spot, &fragment.at), strides)
        };
        let offset = |index: usize, part: usize, lane: usize| {
            let (row, column) = fragment.place(index, part, lane);
            let (far, near) = if fragment.row_major { (row, column) } else { (column, row) };
            far as u64 * u64::from(strides[lane]) + near as u64
        };
        let bytes = fragment.ty.bytes();
        let each = fragment.width() / bytes;
        // Elements of one register that lie side by side are one access.
        let joined = each > 1 && offset(0, 1, 0) == offset(0, 0, 0) + 1;
        let (steps, size) = if joined { (1, fragment.width()) } else { (each, bytes) };
        let verb = if fragment.load { Verb::Read } else { Verb::Write };
        let distinct = fragment.distinct();
        let mut values = vec![[0u64; WARP]; distinct];
        for (index, value) in values.iter_mut().enumerate() {
            if !fragment.load {
                // SAFETY: as above.
                *value = unsafe { register(spot.words, fragment.registers[index], fragment.width()) };
            }
            for step in 0..steps {
                let shift = 8 * step * size;
                let at: [u64; WARP] = std::array::from_fn(|lane| {
                    base[lane].wrapping_add(offset(index, step, lane).wrapping_mul(bytes as u64))
                });
                let mut rest = FULL;
                while rest != 0 {
                    let reach = self.reach_at(warp, spot, fragment.at.space, at, size as u64, rest, verb)?;
                    rest &= !reach.seen;
                    if INSPECT {
                        self.count_access(spot.pc, &reach, size as u64);
                        let (reads, writes) = (fragment.load, !fragment.load);
                        let touch = Touch { reads, writes, order: Order::Plain };
                        self.inspect(warp.index, spot.pc, &reach, size as u64, touch, |_| false, |_| {});
                    }
                    for lane in lanes(reach.mask) {
                        // SAFETY: `reach_at` checked the pointers.
                        unsafe {
                            if fragment.load {
                                value[lane] |= load(reach.pointers[lane], size) << shift;
                            } else {
                                store(reach.pointers[lane], size, value[lane] >> shift);
                            }
                        }
                    }
                }
            }
        }
        self.progressed |= !fragment.load;
        if fragment.load {
            for (index, &slot) in fragment.registers.iter().enumerate() {
                let value = &values[index % distinct];
                // SAFETY: as above.
                unsafe {
                    match fragment.width() {
                        8 => set(spot.words, slot, FULL, value),
                        _ => set(spot.words, slot, FULL, &value.map(|v| v as u32)),
                    }
                }
            }
        }
        Ok(Flow::Next)
    }
}

unsafe fn register(words: *const u32, slot: u32, width: usize) -> [u64; WARP] {
    // SAFETY: the caller's promise.
    unsafe { if width == 8 { get::<u64>(words, slot) } else { get::<u32>(words, slot).map(u64::from) } }
}

unsafe fn load(at: *const u8, size: usize) -> u64 {
    // SAFETY: the caller's promise.
    unsafe {
        match size {
            1 => u8::read(at).into(),
            2 => u16::read(at).into(),
            4 => u32::read(at).into(),
            _ => u64::read(at),
        }
    }
}

unsafe fn store(at: *mut u8, size: usize, value: u64) {
    // SAFETY: the caller's promise.
    unsafe {
        match size {
            1 => (value as u8).write(at),
            2 => (value as u16).write(at),
            4 => (value as u32).write(at),
            _ => value.write(at),
        }
    }
}
