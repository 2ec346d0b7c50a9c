//! `add.cc`, `addc`, `sub.cc`, `subc`, `mad.cc`, `madc`: arithmetic longer than a register. PTX ISA, section 9.7.2.
//!
//! The condition code is a hidden register, the last source; an instruction with `.cc` writes it too. It holds the carry
//! of a + !b + 1 when a − b is computed, so 0 for a borrow: nvcc's 128-bit division reads a borrow with `addc`.

use crate::vm::isa::Mods;
use crate::vm::lanes::{AluFn, Slots, WARP, get, set};
use crate::vm::ptx::Type;

/// A value with room for twice its bits.
trait Word: crate::vm::lanes::Lane {
    const BITS: u32;
    fn wide(self) -> u128;
    fn narrow(wide: u128) -> Self;
}

macro_rules! word {
    ($t:ty) => {
        impl Word for $t {
            const BITS: u32 = <$t>::BITS;
            fn wide(self) -> u128 {
                self.into()
            }
            fn narrow(wide: u128) -> Self {
                wide as $t
            }
        }
    };
}

word!(u32);
word!(u64);

/// What is computed before the carry goes in.
const ADD: u8 = 0;
const SUB: u8 = 1;
const MAD_LO: u8 = 2;
const MAD_HI: u8 = 3;
/// The same of signed factors.
const MAD_HI_SIGNED: u8 = 4;

/// Operation `OP`; reads the carry if `IN`, writes it if `OUT`.
unsafe fn run<T: Word, const OP: u8, const IN: bool, const OUT: bool>(
    frame: *mut u32,
    slots: &Slots,
    mask: u32,
) {
    let mad = OP >= MAD_LO;
    let carry_slot = slots[if mad { 4 } else { 3 }];
    // SAFETY: the linker's promise.
    let (a, b, c, carry) = unsafe {
        let c = if mad { get::<T>(frame, slots[3]) } else { [T::default(); WARP] };
        (get::<T>(frame, slots[1]), get::<T>(frame, slots[2]), c, get::<u32>(frame, carry_slot))
    };
    let (mut values, mut out) = ([T::default(); WARP], [0u32; WARP]);
    for lane in 0..WARP {
        let low = |x: u128| x & ((1 << T::BITS) - 1);
        let signed = |x: T| ((x.wide() << (128 - T::BITS)) as i128) >> (128 - T::BITS);
        let carry = if IN { u128::from(carry[lane] & 1) } else { 0 };
        let (a, b) = (a[lane], b[lane]);
        let wide = match OP {
            ADD => a.wide() + b.wide() + carry,
            SUB => a.wide() + low(!b.wide()) + if IN { carry } else { 1 },
            MAD_LO => low(a.wide().wrapping_mul(b.wide())) + c[lane].wide() + carry,
            MAD_HI => (a.wide().wrapping_mul(b.wide()) >> T::BITS) + c[lane].wide() + carry,
            _ => low((signed(a).wrapping_mul(signed(b)) >> T::BITS) as u128) + c[lane].wide() + carry,
        };
        values[lane] = T::narrow(wide);
        out[lane] = (wide >> T::BITS) as u32 & 1;
    }
    // SAFETY: as above.
    unsafe {
        set(frame, slots[0], mask, &values);
        if OUT {
            set(frame, carry_slot, mask, &out);
        }
    }
}

fn pick<T: Word, const OP: u8>(reads: bool, writes: bool) -> AluFn {
    match (reads, writes) {
        (false, _) => run::<T, OP, false, true>,
        (true, false) => run::<T, OP, true, false>,
        (true, true) => run::<T, OP, true, true>,
    }
}

fn typed<T: Word>(opcode: &str, mods: &Mods, signed: bool) -> Option<AluFn> {
    let (reads, writes) = (opcode.ends_with('c'), mods.has("cc"));
    Some(match (opcode, mods.has("lo"), mods.has("hi")) {
        ("add" | "addc", false, false) => pick::<T, ADD>(reads, writes),
        ("sub" | "subc", false, false) => pick::<T, SUB>(reads, writes),
        ("mad" | "madc", true, false) => pick::<T, MAD_LO>(reads, writes),
        ("mad" | "madc", false, true) if signed => pick::<T, MAD_HI_SIGNED>(reads, writes),
        ("mad" | "madc", false, true) => pick::<T, MAD_HI>(reads, writes),
        _ => return None,
    })
}

pub fn carry(opcode: &str, mods: &Mods, ty: Type) -> Option<AluFn> {
    match ty.bytes() {
        _ if ty.float() || !mods.only(&["cc", "lo", "hi"]) => None,
        4 => typed::<u32>(opcode, mods, ty.signed()),
        8 => typed::<u64>(opcode, mods, ty.signed()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::lanes::Frame;

    #[test]
    fn a_borrow_is_no_carry() {
        let mods = |text: &str| text.split('.').map(str::to_string).collect::<Vec<_>>();
        let link = |opcode: &str, text: &str| carry(opcode, &Mods(&mods(text)), Type::U32).unwrap();
        for (a, b) in [(5u64, 7u64), (7, 5), (7, 7), (1 << 32, 1), (u64::MAX, 1 << 63), (0, u64::MAX)] {
            let mut frame = Frame::new(32 * 8);
            for (slot, value) in [(0, a), (32, b), (64, a >> 32), (96, b >> 32), (128, 0)] {
                frame.words()[slot..slot + 32].fill(value as u32);
            }
            // SAFETY: eight registers lie at multiples of 32.
            unsafe {
                link("sub", "cc.u32")(frame.pointer(), &[160, 0, 32, 224, 0], u32::MAX);
                link("subc", "cc.u32")(frame.pointer(), &[192, 64, 96, 224, 0], u32::MAX);
                link("addc", "u32")(frame.pointer(), &[0, 128, 128, 224, 0], u32::MAX);
                link("subc", "u32")(frame.pointer(), &[32, 128, 128, 224, 0], u32::MAX);
            }
            let words = frame.words();
            let difference = u64::from(words[192]) << 32 | u64::from(words[160]);
            let borrow = a < b;
            assert_eq!(difference, a.wrapping_sub(b), "{a} - {b}");
            assert_eq!((words[0], words[32]), (u32::from(!borrow), if borrow { u32::MAX } else { 0 }));
        }
    }

    #[test]
    fn long_addition_carries() {
        let mods: Vec<String> = vec!["cc".into(), "u32".into()];
        let (low, high) = (carry("add", &Mods(&mods), Type::U32), carry("addc", &Mods(&mods), Type::U32));
        let mut frame = Frame::new(32 * 7);
        let (a, b) = (0xffff_ffff_0000_0001_u64, 0x0000_0001_ffff_ffff_u64);
        for (slot, value) in [(32, a as u32), (64, b as u32), (96, (a >> 32) as u32), (128, (b >> 32) as u32)]
        {
            frame.words()[slot..slot + 32].fill(value);
        }
        // SAFETY: seven registers lie at multiples of 32.
        unsafe {
            low.unwrap()(frame.pointer(), &[0, 32, 64, 192, 0], u32::MAX);
            high.unwrap()(frame.pointer(), &[160, 96, 128, 192, 0], u32::MAX);
        }
        let words = frame.words();
        let sum = u64::from(words[160]) << 32 | u64::from(words[0]);
        assert_eq!((sum, words[192]), (a.wrapping_add(b), 1));
    }
}
