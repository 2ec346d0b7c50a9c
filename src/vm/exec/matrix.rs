//! `ldmatrix`, `stmatrix`, `movmatrix`: 8×8 tiles of 16 bits, a row a lane. PTX ISA, section 9.7.15.5.15 and on.

use super::Stop;
use super::access::{Cell, Spot, Verb};
use super::cta::Cta;
use super::inspect::Touch;
use super::ops::{Matrix, Order};
use super::run::Flow;
use super::warp::Warp;
use crate::vm::lanes::{FULL, WARP, get, set};

/// Bytes of a row.
const ROW: u64 = 16;

/// Element (row, column) of a tile of eight rows.
type Tile = [[u16; 8]; 8];

impl Cta<'_> {
    pub(super) fn matrix<const INSPECT: bool>(
        &mut self,
        warp: &mut Warp,
        at: usize,
        spot: Spot,
        matrix: &Matrix,
        mask: u32,
        active: u32,
    ) -> Result<Flow, Stop> {
        if !self.gather_all(warp, at, spot, mask, active)? {
            return Ok(Flow::Blocked);
        }
        let (place, registers, transposed, load) = match matrix {
            Matrix::Load { at, registers, transposed } => (at, registers, *transposed, true),
            Matrix::Store { at, registers, transposed } => (at, registers, *transposed, false),
            Matrix::Transpose { d, a } => {
                // SAFETY: the linker made the slots for this frame, here and below.
                unsafe { set(spot.words, *d, FULL, &scatter(&collect(&get(spot.words, *a), false), true)) };
                return Ok(Flow::Next);
            }
        };
        // The first eight lanes point at the first tile's rows, the next eight at the second's.
        let rows = FULL >> (WARP - 8 * registers.len());
        let verb = if load { Verb::Read } else { Verb::Write };
        let mut rest = rows;
        let mut pointers = [std::ptr::null_mut::<u8>(); WARP];
        while rest != 0 {
            let reach = self.reach(warp, spot, place, ROW, rest, verb)?;
            rest &= !reach.seen;
            crate::vm::lanes::lanes(reach.mask).for_each(|lane| pointers[lane] = reach.pointers[lane]);
            if INSPECT {
                self.count_access(spot.pc, &reach, ROW);
                let touch = Touch { reads: load, writes: !load, order: Order::Plain };
                self.inspect(warp.index, spot.pc, &reach, ROW, touch, |_| false, |_| {});
            }
        }
        self.progressed |= !load;
        for (index, &slot) in registers.iter().enumerate() {
            // SAFETY: `reach` checked the pointers; lanes that failed have none.
            unsafe {
                let row = |r: usize| pointers[8 * index + r];
                if load {
                    let tile: Tile = std::array::from_fn(|r| {
                        if row(r).is_null() {
                            [u16::MAX; 8]
                        } else {
                            std::array::from_fn(|c| u16::read(row(r).add(2 * c)))
                        }
                    });
                    set(spot.words, slot, FULL, &scatter(&tile, transposed));
                } else {
                    let tile = collect(&get(spot.words, slot), transposed);
                    for r in (0..8).filter(|&r| !row(r).is_null()) {
                        (0..8).for_each(|c| tile[r][c].write(row(r).add(2 * c)));
                    }
                }
            }
        }
        Ok(Flow::Next)
    }
}

/// Tile → registers: lane l holds elements 2·(l mod 4) and the next of row l/4.
fn scatter(tile: &Tile, transposed: bool) -> [u32; WARP] {
    std::array::from_fn(|lane| {
        let (row, column) = (lane / 4, lane % 4 * 2);
        let at = |i: usize| u32::from(if transposed { tile[column + i][row] } else { tile[row][column + i] });
        at(0) | at(1) << 16
    })
}

/// Registers → tile.
fn collect(values: &[u32; WARP], transposed: bool) -> Tile {
    let mut tile = [[0; 8]; 8];
    for (lane, &value) in values.iter().enumerate() {
        let (row, column) = (lane / 4, lane % 4 * 2);
        for i in 0..2 {
            let half = (value >> (16 * i)) as u16;
            *(if transposed { &mut tile[column + i][row] } else { &mut tile[row][column + i] }) = half;
        }
    }
    tile
}
