//! Addresses → host pointers, and the loads and stores through them.

use super::cta::Cta;
use super::inspect::Touch;
use super::ops::{Access, Address, Base};
use super::warp::Warp;
use super::{LOCAL_BASE, PARAM_BASE, SHARED_BASE, Stop};
use crate::vm::check::Kind;
use crate::vm::lanes::{FULL, Lane, WARP, get, lanes, set};
use crate::vm::program::NONE;
use crate::vm::ptx::Space;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

/// An instruction being executed: where, and its lanes' registers.
#[derive(Clone, Copy)]
pub struct Spot {
    pub pc: u32,
    pub frame: u32,
    pub words: *mut u32,
}

/// Lanes whose addresses lie in one space and one allocation, checked.
pub struct Reach {
    pub space: Space,
    /// Within the space; of global memory the device address.
    pub addresses: [u64; WARP],
    pub pointers: [*mut u8; WARP],
    /// Lanes that may go ahead.
    pub mask: u32,
    /// Lanes looked at: the rest lies elsewhere and takes another turn.
    pub seen: u32,
    /// Of global memory: number and first address of the allocation.
    pub allocation: usize,
    pub base: u64,
}

impl Reach {
    /// Nothing reached yet.
    #[inline(always)]
    fn new(space: Space, addresses: [u64; WARP], seen: u32) -> Self {
        let pointers = [std::ptr::null_mut(); WARP];
        Self { space, addresses, pointers, mask: 0, seen, allocation: 0, base: 0 }
    }
}

/// Words for a fault.
#[derive(Clone, Copy, PartialEq)]
pub enum Verb {
    Read,
    Write,
    Update,
}

impl Verb {
    fn name(self) -> &'static str {
        match self {
            Self::Read => "reads",
            Self::Write => "writes",
            Self::Update => "updates",
        }
    }
}

/// The 4 GiB window a generic address lies in.
fn space_of(address: u64) -> Space {
    match address >> 32 {
        w if w == SHARED_BASE >> 32 => Space::Shared,
        w if w == LOCAL_BASE >> 32 => Space::Local,
        w if w == PARAM_BASE >> 32 => Space::Param,
        _ => Space::Global,
    }
}

impl Cta<'_> {
    /// Checks bounds and alignment of `size` bytes for lanes in `mask`. What fails is a finding; the launch goes on
    /// without those lanes if it is being checked.
    pub(super) fn reach(
        &mut self,
        warp: &mut Warp,
        spot: Spot,
        at: &Address,
        size: u64,
        mask: u32,
        verb: Verb,
    ) -> Result<Reach, Stop> {
        // SAFETY: the linker made the address from registers of this frame.
        let addresses = unsafe { addresses(warp, spot, at) };
        if let Base::Frame { words, stride } = at.base {
            let mut reach = Reach::new(at.space, addresses, mask);
            for lane in 0..WARP {
                // SAFETY: the linker checked that the offset lies in the area.
                reach.pointers[lane] = unsafe {
                    spot.words
                        .add(words as usize)
                        .cast::<u8>()
                        .add(lane * stride as usize + at.offset as usize)
                };
            }
            reach.mask = mask;
            return Ok(reach);
        }
        self.reach_at(warp, spot, at.space, addresses, size, mask, verb)
    }

    /// The same for addresses already computed.
    #[expect(clippy::too_many_arguments, reason = "who, where, which bytes, which lanes, and what for")]
    #[inline(always)]
    pub(super) fn reach_at(
        &mut self,
        warp: &mut Warp,
        spot: Spot,
        space: Space,
        mut addresses: [u64; WARP],
        size: u64,
        mask: u32,
        verb: Verb,
    ) -> Result<Reach, Stop> {
        let mut reach = Reach::new(space, addresses, mask);
        let first = mask.trailing_zeros() as usize & 31;
        if space == Space::Generic {
            let space = space_of(addresses[first]);
            if space != Space::Global {
                addresses = addresses.map(|a| if space_of(a) == space { a & 0xffff_ffff } else { a });
            }
            reach.seen = lanes(mask)
                .filter(|&lane| space_of(reach.addresses[lane]) == space)
                .fold(0, |m, l| m | 1 << l);
            (reach.space, reach.addresses) = (space, addresses);
        }
        if reach.space == Space::Const {
            reach.space = Space::Global;
        }
        let (base, data, len) = match reach.space {
            Space::Shared => (0, self.shared.pointer(), self.shared.len() as u64),
            Space::Local => {
                let frame = &warp.frames[spot.frame as usize];
                let top = frame.local_base + self.grid.program.functions[frame.function as usize].local_bytes;
                (0, warp.local.as_mut_ptr(), u64::from(top))
            }
            Space::Param => (0, self.grid.params.as_ptr().cast_mut(), self.grid.params.len() as u64),
            _ => {
                let memory = self.grid.memory;
                let hit = memory.allocation(warp.hint).filter(|a| a.contains(addresses[first]));
                let found = hit.map(|_| warp.hint).or_else(|| Some(memory.nearest(addresses[first])?.0));
                let Some(index) = found else {
                    return self.fault(warp, spot, &reach, reach.seen, size, verb);
                };
                warp.hint = index;
                reach.allocation = index;
                let Some(allocation) = memory.allocation(index) else { return Ok(reach) };
                reach.base = allocation.base;
                // A freed one, or one that must not be written, has no room at all.
                let closed = allocation.freed || verb != Verb::Read && allocation.read_only;
                (allocation.base, allocation.data(), if closed { 0 } else { allocation.len })
            }
        };
        let (mut inside, room) = (0u32, len.saturating_sub(size));
        let mut offsets = [0; WARP];
        for lane in 0..WARP {
            let offset = addresses[lane].wrapping_sub(base);
            offsets[lane] = offset;
            inside |= u32::from(offset <= room && offset & (size - 1) == 0) << lane;
        }
        if len < size {
            inside = 0;
        }
        let stride = if reach.space == Space::Local { warp.local_stride } else { 0 };
        for lane in lanes(inside & reach.seen) {
            // SAFETY: within the allocation, as just checked.
            reach.pointers[lane] = unsafe { data.add(lane * stride + offsets[lane] as usize) };
        }
        reach.mask = inside & reach.seen;
        if reach.mask != reach.seen {
            let outside = reach.seen & !inside;
            // Lanes in other allocations get their turn; this one's first lane decides what is nearest.
            if reach.space == Space::Global && outside >> first & 1 == 0 {
                reach.seen = reach.mask;
                return Ok(reach);
            }
            return self.fault(warp, spot, &reach, outside, size, verb);
        }
        Ok(reach)
    }

    /// Files what is wrong with the first of the lanes in `outside`.
    fn fault(
        &mut self,
        warp: &Warp,
        spot: Spot,
        reach: &Reach,
        outside: u32,
        size: u64,
        verb: Verb,
    ) -> Result<Reach, Stop> {
        let lane = outside.trailing_zeros() as usize & 31;
        let address = reach.addresses[lane];
        let verb_name = verb.name();
        let (mut kind, mut what) = (Kind::OutOfBounds, String::new());
        let offset = address.wrapping_sub(reach.base);
        match reach.space {
            Space::Global => match self.grid.memory.nearest(address) {
                _ if address < 4096 => what = format!("{verb_name} {size} bytes through a null pointer"),
                Some((_, a)) if a.contains(address) && a.freed => {
                    kind = Kind::UseAfterFree;
                    what = format!("{verb_name} {size} bytes of `{}`, which has been freed", a.name);
                }
                Some((_, a)) if a.contains(address) && a.read_only && verb != Verb::Read => {
                    kind = Kind::ReadOnly;
                    what = format!("{verb_name} {size} bytes of `{}`, which is constant", a.name);
                }
                Some((_, a)) if address.is_multiple_of(size) || !a.contains(address) => {
                    let beyond = address.wrapping_sub(a.base + a.len) as i64;
                    what = if (0..1 << 30).contains(&beyond) {
                        format!(
                            "{verb_name} {size} bytes, {beyond} bytes behind the {} bytes of `{}`",
                            a.len, a.name
                        )
                    } else if beyond < 0 {
                        format!("{verb_name} {size} bytes, of which {} are left of `{}`", -beyond, a.name)
                    } else {
                        format!("{verb_name} {size} bytes where there is no allocation")
                    };
                    if let Some(next) = self.grid.memory.after(address).filter(|n| n.base - address <= 4096) {
                        let before = next.base - address;
                        what = format!("{what}, {before} before `{}`", next.name);
                    }
                }
                Some(_) => kind = Kind::Misaligned,
                None => what = format!("{verb_name} {size} bytes where there is no allocation"),
            },
            Space::Param if verb != Verb::Read => {
                kind = Kind::ReadOnly;
                what = format!("{verb_name} {size} bytes of the kernel's parameters");
            }
            space => {
                let len = match space {
                    Space::Shared => self.shared.len() as u64,
                    Space::Param => self.grid.params.len() as u64,
                    _ => warp.local_stride as u64,
                };
                if !offset.is_multiple_of(size) && offset <= len.saturating_sub(size) {
                    kind = Kind::Misaligned;
                } else {
                    let name = if space == Space::Shared { "block's shared" } else { "thread's local" };
                    what = format!(
                        "{verb_name} {size} bytes at {offset:#x} of the {name} memory, which has {len}"
                    );
                }
            }
        }
        if kind == Kind::Misaligned {
            what = format!("{verb_name} {size} bytes at an address that is no multiple of {size}");
        }
        let site = self.site(warp.index, spot.pc, lane);
        let place = Some((reach.space.name(), address));
        self.grid.report(kind, site, place, None, what);
        if !self.grid.shape.check {
            return Err(self.grid.abort(kind, spot.pc));
        }
        // The first lane is out; others may be in order, elsewhere.
        Ok(Reach { seen: reach.mask | 1 << lane, pointers: reach.pointers, ..*reach })
    }

    pub(super) fn load<const INSPECT: bool>(
        &mut self,
        warp: &mut Warp,
        spot: Spot,
        access: &Access,
        active: u32,
    ) -> Result<(), Stop> {
        let size = access.size();
        let mut rest = active;
        while rest != 0 {
            let reach = self.reach(warp, spot, &access.at, size, rest, Verb::Read)?;
            rest &= !reach.seen;
            if access.order.is_strong() {
                // A spinning reader must not hold up what it waits for.
                warp.spins += 1;
            }
            for (index, &(slot, width)) in
                access.registers.iter().enumerate().filter(|(_, (slot, _))| *slot != NONE)
            {
                let skip = index * usize::from(access.bytes);
                // SAFETY: `reach` checked the pointers, the linker the registers.
                unsafe {
                    let p = (spot.words, slot, reach.mask, &reach.pointers, skip);
                    match (access.bytes, width, access.signed) {
                        (4, 4, _) => pull::<u32, u32>(p, |x| x),
                        (2, 2, _) => pull::<u16, u16>(p, |x| x),
                        (8, 8, _) => pull::<u64, u64>(p, |x| x),
                        (1, 2, false) => pull::<u8, u16>(p, u16::from),
                        (1, 2, true) => pull::<u8, u16>(p, |x| x as i8 as u16),
                        (1, 4, false) => pull::<u8, u32>(p, u32::from),
                        (1, 4, true) => pull::<u8, u32>(p, |x| x as i8 as u32),
                        (2, 4, false) => pull::<u16, u32>(p, u32::from),
                        (2, 4, true) => pull::<u16, u32>(p, |x| x as i16 as u32),
                        (1, 8, false) => pull::<u8, u64>(p, u64::from),
                        (1, 8, true) => pull::<u8, u64>(p, |x| x as i8 as u64),
                        (2, 8, false) => pull::<u16, u64>(p, u64::from),
                        (2, 8, true) => pull::<u16, u64>(p, |x| x as i16 as u64),
                        (4, 8, false) => pull::<u32, u64>(p, u64::from),
                        (4, 8, true) => pull::<u32, u64>(p, |x| x as i32 as u64),
                        _ => pull::<u128, u128>(p, |x| x),
                    }
                }
            }
            if INSPECT {
                // Behind the read: who sees a flag set must learn what was published before it.
                self.count_access(spot.pc, &reach, size);
                let touch = Touch { reads: true, writes: false, order: access.order };
                self.inspect(warp.index, spot.pc, &reach, size, touch, |_| false, |_| {});
            }
        }
        Ok(())
    }

    pub(super) fn store<const INSPECT: bool>(
        &mut self,
        warp: &mut Warp,
        spot: Spot,
        access: &Access,
        active: u32,
    ) -> Result<(), Stop> {
        let size = access.size();
        let mut rest = active;
        self.progressed |= access.at.space != Space::Local;
        while rest != 0 {
            let reach = self.reach(warp, spot, &access.at, size, rest, Verb::Write)?;
            rest &= !reach.seen;
            if INSPECT {
                self.count_access(spot.pc, &reach, size);
                let touch = Touch { reads: false, writes: true, order: access.order };
                // Lane by lane, so that each sees what the one before left.
                let same = |lane: usize| {
                    // SAFETY: as for `push` below.
                    access.registers.iter().enumerate().all(|(index, &(slot, width))| unsafe {
                        let from = spot.words.add(slot as usize).cast::<u8>().add(lane * usize::from(width));
                        let to = reach.pointers[lane].add(index * usize::from(access.bytes));
                        let bytes = usize::from(access.bytes);
                        std::slice::from_raw_parts(from, bytes) == std::slice::from_raw_parts(to, bytes)
                    })
                };
                // SAFETY: as below.
                let perform = |lane: usize| unsafe { write(spot, access, &reach, 1 << lane) };
                self.inspect(warp.index, spot.pc, &reach, size, touch, same, perform);
            } else {
                // SAFETY: `reach` checked the pointers, the linker the registers.
                unsafe { write(spot, access, &reach, reach.mask) };
            }
        }
        Ok(())
    }
}

unsafe fn write(spot: Spot, access: &Access, reach: &Reach, mask: u32) {
    for (index, &(slot, width)) in access.registers.iter().enumerate() {
        let skip = index * usize::from(access.bytes);
        // SAFETY: the caller's promise.
        unsafe {
            let p = (spot.words.cast_const(), slot, mask, &reach.pointers, skip);
            match (access.bytes, width) {
                (4, 4) => push::<u32, u32>(p, |x| x),
                (2, 2) => push::<u16, u16>(p, |x| x),
                (8, 8) => push::<u64, u64>(p, |x| x),
                (1, 2) => push::<u8, u16>(p, |x| x as u8),
                (1, 4) => push::<u8, u32>(p, |x| x as u8),
                (1, 8) => push::<u8, u64>(p, |x| x as u8),
                (2, 4) => push::<u16, u32>(p, |x| x as u16),
                (2, 8) => push::<u16, u64>(p, |x| x as u16),
                (4, 8) => push::<u32, u64>(p, |x| x as u32),
                _ => push::<u128, u128>(p, |x| x),
            }
        }
    }
}

/// Addresses as the instruction says them, not yet resolved.
///
/// # Safety
/// The address must have been linked for this frame.
pub(super) unsafe fn addresses(warp: &Warp, spot: Spot, at: &Address) -> [u64; WARP] {
    match at.base {
        // SAFETY: the caller's promise.
        Base::Register(slot, 8) => {
            unsafe { get::<u64>(spot.words, slot) }.map(|a| a.wrapping_add_signed(at.offset))
        }
        Base::Register(slot, _) => {
            // SAFETY: the caller's promise.
            unsafe { get::<u32>(spot.words, slot) }.map(|a| u64::from(a.wrapping_add(at.offset as u32)))
        }
        Base::Absolute => [at.offset as u64; WARP],
        Base::Local => {
            let base = u64::from(warp.frames[spot.frame as usize].local_base);
            [base.wrapping_add_signed(at.offset); WARP]
        }
        Base::Frame { .. } => [0; WARP],
    }
}

/// What memory holds. Threads of the host may meet there, as blocks do on a GPU: every access is atomic.
pub(super) trait Cell: Copy {
    /// # Safety
    /// `at` must be valid and aligned.
    unsafe fn read(at: *const u8) -> Self;
    /// # Safety
    /// `at` must be valid and aligned.
    unsafe fn write(self, at: *mut u8);
}

macro_rules! cell {
    ($t:ty, $atomic:ty) => {
        impl Cell for $t {
            #[inline(always)]
            unsafe fn read(at: *const u8) -> Self {
                // SAFETY: the caller's promise.
                unsafe { <$atomic>::from_ptr(at.cast_mut().cast()) }.load(Ordering::Relaxed)
            }
            #[inline(always)]
            unsafe fn write(self, at: *mut u8) {
                // SAFETY: the caller's promise.
                unsafe { <$atomic>::from_ptr(at.cast()) }.store(self, Ordering::Relaxed);
            }
        }
    };
}

cell!(u8, AtomicU8);
cell!(u16, AtomicU16);
cell!(u32, AtomicU32);
cell!(u64, AtomicU64);

impl Cell for u128 {
    unsafe fn read(at: *const u8) -> Self {
        // SAFETY: the caller's promise covers both halves.
        let (low, high) = unsafe { (u64::read(at), u64::read(at.add(8))) };
        u128::from(high) << 64 | u128::from(low)
    }
    unsafe fn write(self, at: *mut u8) {
        // SAFETY: as above.
        unsafe {
            (self as u64).write(at);
            ((self >> 64) as u64).write(at.add(8));
        }
    }
}

/// Memory → registers.
#[inline(always)]
unsafe fn pull<M: Cell, R: Lane>(
    (words, slot, mask, pointers, skip): (*mut u32, u32, u32, &[*mut u8; WARP], usize),
    convert: impl Fn(M) -> R,
) {
    let mut values = [R::default(); WARP];
    // SAFETY: the caller's promise.
    unsafe {
        if mask == FULL {
            for lane in 0..WARP {
                values[lane] = convert(M::read(pointers[lane].add(skip)));
            }
        } else {
            for lane in lanes(mask) {
                values[lane] = convert(M::read(pointers[lane].add(skip)));
            }
        }
        set(words, slot, mask, &values);
    }
}

/// Registers → memory.
#[inline(always)]
unsafe fn push<M: Cell, R: Lane>(
    (words, slot, mask, pointers, skip): (*const u32, u32, u32, &[*mut u8; WARP], usize),
    convert: impl Fn(R) -> M,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let place = words.add(slot as usize).cast::<R>();
        for lane in lanes(mask) {
            convert(place.add(lane).read()).write(pointers[lane].add(skip));
        }
    }
}
