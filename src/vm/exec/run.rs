//! The interpreter: one split of one warp, instruction by instruction.

use super::access::Spot;
use super::cta::Cta;
use super::warp::{Arrival, Join, Split, SplitState, Warp};
use super::{Move, Stop};
use crate::vm::isa::Combine;
use crate::vm::lanes::{WARP, get, lanes, set};
use crate::vm::program::{Logic, NONE, NOT, Op};

/// Instructions before others get a turn.
const SHARE: u32 = 2000;

/// Why a split stopped running.
pub enum Yield {
    /// It waits, or is no more.
    Blocked,
    /// It has had its share.
    Share,
}

/// What comes after an instruction.
pub enum Flow {
    Next,
    /// The split's place, frame or mask has changed.
    Refresh,
    Blocked,
}

/// A predicate's lanes.
///
/// # Safety
/// `slot` must be a predicate of the frame, perhaps with [`NOT`].
#[inline(always)]
pub unsafe fn predicate(words: *const u32, slot: u32) -> u32 {
    // SAFETY: the caller's promise.
    let bits = unsafe { words.add((slot & !NOT) as usize).read() };
    if slot & NOT != 0 { !bits } else { bits }
}

/// Writes a predicate's lanes in `mask`; nothing if it is `_`.
///
/// # Safety
/// As for [`predicate`].
#[inline(always)]
pub unsafe fn set_predicate(words: *mut u32, slot: u32, mask: u32, bits: u32) {
    if slot != NONE {
        // SAFETY: the caller's promise.
        let place = unsafe { &mut *words.add(slot as usize) };
        *place = *place & !mask | bits & mask;
    }
}

impl<'g> Cta<'g> {
    pub(super) fn run<const INSPECT: bool>(&mut self, warp: &mut Warp, at: usize) -> Result<Yield, Stop> {
        let grid = self.grid;
        let code = &grid.program.code;
        let mut left = SHARE;
        loop {
            let Split { mut pc, frame, mask, .. } = warp.splits[at];
            let words = warp.frames[frame as usize].words.pointer();
            let flow = loop {
                if left == 0 {
                    warp.splits[at].pc = pc;
                    warp.instructions += u64::from(SHARE);
                    return Ok(Yield::Share);
                }
                left -= 1;
                let inst = &code[pc as usize];
                // SAFETY: the linker made every slot for this frame, here and below.
                let active =
                    if inst.guard == NONE { mask } else { mask & unsafe { predicate(words, inst.guard) } };
                if INSPECT {
                    self.count(pc, active);
                }
                let spot = Spot { pc, frame, words };
                match &inst.op {
                    Op::Alu { run, slots } if active != 0 => unsafe { run(words, slots, active) },
                    Op::Setp { run, slots, combine, c, p, q } if active != 0 => unsafe {
                        let bits = run(words, slots);
                        let c = if *c == NONE { 0 } else { predicate(words, *c) };
                        let (yes, no) = match combine {
                            Combine::No => (bits, !bits),
                            Combine::And => (bits & c, !bits & c),
                            Combine::Or => (bits | c, !bits | c),
                            Combine::Xor => (bits ^ c, !bits ^ c),
                        };
                        set_predicate(words, *p, active, yes);
                        set_predicate(words, *q, active, no);
                    },
                    Op::Load(access) if active != 0 => self.load::<INSPECT>(warp, spot, access, active)?,
                    Op::Store(access) if active != 0 => self.store::<INSPECT>(warp, spot, access, active)?,
                    Op::Logic { kind, d, a, b } => unsafe {
                        let (a, b) = (predicate(words, *a), predicate(words, *b));
                        let bits = match kind {
                            Logic::And => a & b,
                            Logic::Or => a | b,
                            Logic::Xor => a ^ b,
                            Logic::Copy => a,
                            Logic::Not => !a,
                        };
                        set_predicate(words, *d, active, bits);
                    },
                    Op::Select { run, slots, p } if active != 0 => unsafe {
                        run(words, slots, predicate(words, *p), active);
                    },
                    Op::Convert(convert) if active != 0 => unsafe {
                        convert.convert.run(words, convert.dest, convert.source, active);
                    },
                    Op::Set { run, slots, one, bytes, .. } if active != 0 => unsafe {
                        let bits = run(words, slots);
                        let values: [u64; WARP] =
                            std::array::from_fn(|lane| if bits >> lane & 1 != 0 { *one } else { 0 });
                        match bytes {
                            2 => set(words, slots[0], active, &values.map(|v| v as u16)),
                            _ => set(words, slots[0], active, &values.map(|v| v as u32)),
                        }
                    },
                    Op::Move(moved) if active != 0 => self.carry_out(warp, spot, moved, active),
                    Op::Atomic(atomic) if active != 0 => {
                        self.atomic::<INSPECT>(warp, spot, atomic, active)?
                    }
                    Op::Branch { target, join } => {
                        let skipped = mask & !active;
                        if skipped == 0 {
                            pc = *target;
                            continue;
                        }
                        if active != 0 {
                            if INSPECT {
                                self.count_divergence(pc);
                            }
                            warp.open_join(frame, *join, mask);
                            warp.splits[at] = Split {
                                pc: pc + 1,
                                frame,
                                mask: skipped,
                                state: SplitState::Ready,
                                forced: false,
                            };
                            warp.splits.push(Split {
                                pc: *target,
                                frame,
                                mask: active,
                                state: SplitState::Ready,
                                forced: false,
                            });
                            break Flow::Refresh;
                        }
                    }
                    Op::Label => {
                        if !warp.joins.is_empty() {
                            warp.splits[at].pc = pc;
                            match warp.arrive_at_join(at) {
                                Arrival::Go if warp.splits[at].mask == mask => {}
                                Arrival::Go => {
                                    warp.splits[at].pc = pc + 1;
                                    break Flow::Refresh;
                                }
                                Arrival::Moved | Arrival::Wait => break Flow::Blocked,
                            }
                        }
                    }
                    Op::Pause => {
                        warp.splits[at].pc = pc + 1;
                        warp.instructions += u64::from(SHARE - left);
                        return Ok(Yield::Share);
                    }
                    op => {
                        warp.splits[at].pc = pc;
                        match self.seldom::<INSPECT>(warp, at, spot, op, mask, active)? {
                            Flow::Next => {}
                            flow => break flow,
                        }
                    }
                }
                pc += 1;
            };
            if let Flow::Blocked = flow {
                warp.instructions += u64::from(SHARE - left);
                return Ok(Yield::Blocked);
            }
        }
    }

    /// Instructions that need the split's record, or have nothing to do.
    fn seldom<const INSPECT: bool>(
        &mut self,
        warp: &mut Warp,
        at: usize,
        spot: Spot,
        op: &Op,
        mask: u32,
        active: u32,
    ) -> Result<Flow, Stop> {
        match op {
            _ if active == 0 => Ok(Flow::Next),
            Op::BranchIndexed { index, targets, join } => {
                Ok(branch_indexed(warp, at, spot, *index, targets, *join, mask, active))
            }
            Op::Call(call) => self.call(warp, at, spot, call, mask, active),
            Op::Return => Ok(self.give_back(warp, at, spot, mask, active)),
            Op::Exit => Ok(self.exit_split(warp, at, spot.pc, mask, active)),
            Op::Trap => Err(self.trap(warp, spot.pc, active)),
            Op::Barrier(barrier) => self.barrier(warp, at, spot, barrier, mask, active),
            Op::Warp(op) => self.warp_op(warp, at, spot, op, mask, active),
            Op::Shuffle(shuffle) => self.shuffle(warp, at, spot, shuffle, mask, active),
            Op::Fence => {
                if let Some(checks) = &mut self.checks {
                    checks.clocks.fence(warp.index);
                }
                Ok(Flow::Next)
            }
            Op::Copy(copy) => self.copy::<INSPECT>(warp, spot, copy, active),
            Op::Mbarrier(mbarrier) => self.mbarrier::<INSPECT>(warp, spot, mbarrier, active),
            Op::Matrix(matrix) => self.matrix::<INSPECT>(warp, at, spot, matrix, mask, active),
            Op::Fragment(fragment) => self.fragment::<INSPECT>(warp, at, spot, fragment, mask, active),
            Op::Mma(mma) => self.mma(warp, at, spot, mma, mask, active),
            _ => Ok(Flow::Next),
        }
    }

    /// The lanes of a split, or some of them, leave the kernel.
    pub(super) fn exit_split(&mut self, warp: &mut Warp, at: usize, pc: u32, mask: u32, active: u32) -> Flow {
        if active == mask {
            warp.splits.swap_remove(at);
            self.exit(warp, active);
            return Flow::Blocked;
        }
        warp.splits[at].mask = mask & !active;
        warp.splits[at].pc = pc + 1;
        self.exit(warp, active);
        Flow::Refresh
    }

    fn carry_out(&mut self, warp: &Warp, spot: Spot, moved: &Move, active: u32) {
        // SAFETY: the linker made the slots for this frame.
        unsafe {
            match moved {
                Move::Pack { d, bytes, parts } => {
                    let width = *bytes as usize / parts.len();
                    for (index, part) in parts.iter().enumerate() {
                        copy_parts(
                            spot.words,
                            (*d, *bytes as usize, index * width),
                            (*part, width.max(2), 0),
                            width,
                            active,
                        );
                    }
                }
                Move::Unpack { a, bytes, parts } => {
                    let width = *bytes as usize / parts.len();
                    for (index, part) in parts.iter().enumerate().filter(|(_, part)| **part != NONE) {
                        copy_parts(
                            spot.words,
                            (*part, width.max(2), 0),
                            (*a, *bytes as usize, index * width),
                            width,
                            active,
                        );
                    }
                }
                Move::Local { d, bytes, offset, generic } => {
                    let base = u64::from(warp.frames[spot.frame as usize].local_base) + u64::from(*offset);
                    let address = base + if *generic { super::LOCAL_BASE } else { 0 };
                    match bytes {
                        4 => set(spot.words, *d, active, &[address as u32; WARP]),
                        _ => set(spot.words, *d, active, &[address; WARP]),
                    }
                }
                Move::Clock { d, bytes } => {
                    let now = self.grid.started.elapsed().as_nanos() as u64;
                    match bytes {
                        4 => set(spot.words, *d, active, &[now as u32; WARP]),
                        _ => set(spot.words, *d, active, &[now; WARP]),
                    }
                }
            }
        }
    }
}

/// `bytes` from within one register to within another, lane by lane: (slot, width, offset).
unsafe fn copy_parts(
    words: *mut u32,
    (d, d_width, d_skip): (u32, usize, usize),
    (a, a_width, a_skip): (u32, usize, usize),
    bytes: usize,
    active: u32,
) {
    for lane in lanes(active) {
        // SAFETY: the caller's promise: registers so wide are there.
        unsafe {
            let from = words.add(a as usize).cast::<u8>().add(lane * a_width + a_skip);
            let to = words.add(d as usize).cast::<u8>().add(lane * d_width + d_skip);
            std::ptr::copy(from, to, bytes);
        }
    }
}

/// Each lane goes to the target its index names.
#[expect(clippy::too_many_arguments, reason = "the split, the instruction's three parts, two masks")]
fn branch_indexed(
    warp: &mut Warp,
    at: usize,
    spot: Spot,
    index: u32,
    targets: &[u32],
    join: u32,
    mask: u32,
    active: u32,
) -> Flow {
    // SAFETY: the linker made the slot for this frame.
    let index = unsafe { get::<u32>(spot.words, index) };
    let target = |lane: usize| targets.get(index[lane] as usize).copied().unwrap_or(spot.pc + 1);
    let mut parts: Vec<(u32, u32)> = Vec::new();
    if mask != active {
        parts.push((spot.pc + 1, mask & !active));
    }
    for lane in lanes(active) {
        match parts.iter_mut().find(|(pc, _)| *pc == target(lane)) {
            Some((_, lanes)) => *lanes |= 1 << lane,
            None => parts.push((target(lane), 1 << lane)),
        }
    }
    if parts.len() > 1 {
        warp.open_join(spot.frame, join, mask);
    }
    for (number, (pc, mask)) in parts.into_iter().enumerate() {
        let split = Split { pc, frame: spot.frame, mask, state: SplitState::Ready, forced: false };
        if number == 0 {
            warp.splits[at] = split;
        } else {
            warp.splits.push(split);
        }
    }
    Flow::Refresh
}

impl Warp {
    /// Lanes of `mask` will meet at `pc`, unless there is no such place or they will anyway.
    pub fn open_join(&mut self, frame: u32, pc: u32, mask: u32) {
        let known = |j: &Join| j.frame == frame && j.pc == pc && j.mask & mask == mask;
        if pc != NONE && !self.joins.iter().any(known) {
            self.joins.push(Join { frame, pc, mask });
        }
    }
}
