//! `atom` and `red`. PTX ISA, sections 9.7.13.5 and 9.7.13.7.
//!
//! Lanes go one after the other, lowest first. In global memory each update is one of the host's atomics, so blocks on
//! other cores see it whole; a block's shared memory belongs to its core.

use super::access::{Cell, Spot, Verb};
use super::cta::Cta;
use super::inspect::Touch;
use super::ops::{Atomic, AtomicOp};
use super::warp::Warp;
use super::{Stop, grid};
use crate::vm::isa::{from_bf16, from_f16, to_bf16, to_f16};
use crate::vm::lanes::{WARP, lanes};
use crate::vm::program::NONE;
use crate::vm::ptx::{Space, Type};
use crate::vm::round::canonical;
use std::cell::Cell as Counter;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

/// 128-bit updates: the host has no atomic so wide, so they take turns.
static WIDE: Mutex<()> = Mutex::new(());

impl Cta<'_> {
    pub(super) fn atomic<const INSPECT: bool>(
        &mut self,
        warp: &mut Warp,
        spot: Spot,
        atomic: &Atomic,
        active: u32,
    ) -> Result<(), Stop> {
        let size = atomic.ty.bytes();
        let mut rest = active;
        let changed = Counter::new(false);
        while rest != 0 {
            let reach = self.reach(warp, spot, &atomic.at, size as u64, rest, Verb::Update)?;
            rest &= !reach.seen;
            let alone = reach.space != Space::Global;
            let update = |lane: usize| {
                let read = |slot: u32| {
                    // SAFETY: the linker made the slot, `size` bytes a lane, for this frame.
                    if slot == NONE { 0 } else { unsafe { register(spot.words, slot, size, lane) } }
                };
                let (b, c) = (read(atomic.b), read(atomic.c));
                let new = |old: u128| apply(atomic.op, atomic.ty, old, b, c);
                // SAFETY: `reach` checked the pointer.
                let (old, differs) = unsafe { exchange(reach.pointers[lane], size, alone, new) };
                changed.set(changed.get() | differs);
                if atomic.d != NONE {
                    // SAFETY: as above.
                    unsafe { set_register(spot.words, atomic.d, size, lane, old) };
                }
            };
            if INSPECT {
                self.count_access(spot.pc, &reach, size as u64);
                let touch = Touch { reads: true, writes: true, order: atomic.order };
                self.inspect(warp.index, spot.pc, &reach, size as u64, touch, |_| false, update);
            } else {
                lanes(reach.mask).for_each(update);
            }
        }
        self.progressed |= changed.get();
        Ok(())
    }
}

/// One lane of a register.
///
/// # Safety
/// A register of `size` bytes a lane must be there.
unsafe fn register(words: *const u32, slot: u32, size: usize, lane: usize) -> u128 {
    let mut bytes = [0u8; 16];
    // SAFETY: the caller's promise.
    unsafe {
        let from = words.add(slot as usize).cast::<u8>().add(lane * size);
        bytes.as_mut_ptr().copy_from_nonoverlapping(from, size);
    }
    u128::from_le_bytes(bytes)
}

unsafe fn set_register(words: *mut u32, slot: u32, size: usize, lane: usize, value: u128) {
    // SAFETY: as above.
    unsafe {
        let to = words.add(slot as usize).cast::<u8>().add(lane * size);
        to.copy_from_nonoverlapping(value.to_le_bytes().as_ptr(), size);
    }
}

/// Replaces what is at `at` by `new` of it; returns the old value and whether it changed.
unsafe fn exchange(at: *mut u8, size: usize, alone: bool, new: impl Fn(u128) -> u128) -> (u128, bool) {
    macro_rules! of {
        ($t:ty, $atomic:ty) => {{
            // SAFETY: the caller's promise.
            unsafe {
                if alone {
                    let old = <$t>::read(at);
                    let next = new(old.into()) as $t;
                    next.write(at);
                    (old.into(), old != next)
                } else {
                    let place = <$atomic>::from_ptr(at.cast());
                    let order = Ordering::Relaxed;
                    let result = place.fetch_update(order, order, |old| Some(new(old.into()) as $t));
                    let old = result.unwrap_or_else(|old| old);
                    (old.into(), old != new(old.into()) as $t)
                }
            }
        }};
    }
    match size {
        2 => of!(u16, AtomicU16),
        4 => of!(u32, AtomicU32),
        8 => of!(u64, AtomicU64),
        _ => {
            let _turn = grid::lock(&WIDE);
            // SAFETY: the caller's promise.
            unsafe {
                let old = u128::read(at);
                let next = new(old);
                next.write(at);
                (old, old != next)
            }
        }
    }
}

/// What an update leaves.
pub(super) fn apply(op: AtomicOp, ty: Type, old: u128, b: u128, c: u128) -> u128 {
    let bits = 8 * ty.bytes() as u32;
    let signed = |x: u128| ((x << (128 - bits)) as i128) >> (128 - bits);
    match op {
        AtomicOp::And => old & b,
        AtomicOp::Or => old | b,
        AtomicOp::Xor => old ^ b,
        AtomicOp::Exch => b,
        AtomicOp::Cas => {
            if old == b {
                c
            } else {
                old
            }
        }
        AtomicOp::Inc => {
            if old >= b {
                0
            } else {
                old + 1
            }
        }
        AtomicOp::Dec => {
            if old == 0 || old > b {
                b
            } else {
                old - 1
            }
        }
        AtomicOp::Add if ty.float() => add_float(ty, old, b),
        AtomicOp::Add => old.wrapping_add(b),
        AtomicOp::Min | AtomicOp::Max => {
            let max = op == AtomicOp::Max;
            let below = match ty {
                Type::F32 => f32::from_bits(old as u32) < f32::from_bits(b as u32),
                Type::F64 => f64::from_bits(old as u64) < f64::from_bits(b as u64),
                Type::F16x2 | Type::F16 | Type::Bf16 | Type::Bf16x2 => return extremum_half(ty, old, b, max),
                _ if ty.signed() => signed(old) < signed(b),
                _ => old < b,
            };
            if below == max { b } else { old }
        }
    }
}

fn add_float(ty: Type, old: u128, b: u128) -> u128 {
    let f16 = |a: u128, b: u128| u128::from(to_f16(from_f16(a as u16) + from_f16(b as u16)));
    let bf16 = |a: u128, b: u128| u128::from(to_bf16(from_bf16(a as u16) + from_bf16(b as u16)));
    match ty {
        Type::F64 => u128::from((f64::from_bits(old as u64) + f64::from_bits(b as u64)).to_bits()),
        Type::F16 => f16(old, b),
        Type::Bf16 => bf16(old, b),
        Type::F16x2 => f16(old, b) | f16(old >> 16, b >> 16) << 16,
        Type::Bf16x2 => bf16(old, b) | bf16(old >> 16, b >> 16) << 16,
        _ => u128::from(canonical(f32::from_bits(old as u32) + f32::from_bits(b as u32)).to_bits()),
    }
}

fn extremum_half(ty: Type, old: u128, b: u128, max: bool) -> u128 {
    let half = |a: u128, b: u128| {
        let value = |x: u128| match ty {
            Type::F16 | Type::F16x2 => from_f16(x as u16),
            _ => from_bf16(x as u16),
        };
        let (x, y) = (value(a), value(b));
        let pick_b = x.is_nan() || (if max { y > x } else { y < x });
        if pick_b { b & 0xffff } else { a & 0xffff }
    };
    if ty.bytes() == 4 { half(old, b) | half(old >> 16, b >> 16) << 16 } else { half(old, b) }
}

/// The same for `redux.sync`: all lanes in `mask` at once.
pub(super) fn reduce(op: AtomicOp, ty: Type, values: &[u32; WARP], mask: u32) -> u32 {
    let all = lanes(mask).map(|lane| u128::from(values[lane]));
    all.reduce(|a, b| apply(op, ty, a, b, 0)).unwrap_or(0) as u32
}
