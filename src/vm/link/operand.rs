//! Operands → slots and addresses.

use super::{Linker, Named, code_address};
use crate::vm::exec::{Address, Base, PARAM_BASE, SHARED_BASE};
use crate::vm::program::{NONE, NOT, RESERVED_SHARED, Relation, Special};
use crate::vm::ptx::{Init, Operand, Space, Syntax, Type, syntax};

impl Linker<'_> {
    /// Slot of a predicate register, with [`NOT`] if negated.
    pub(super) fn predicate(&self, name: &str, negated: bool, line: u32) -> Result<u32, Syntax> {
        match self.lookup(name) {
            Some(Named::Register { ty: Type::Pred, slot }) => Ok(slot | if negated { NOT } else { 0 }),
            _ => syntax(line, format!("`{name}` is no predicate register")),
        }
    }

    pub(super) fn predicate_operand(&mut self, operand: &Operand, line: u32) -> Result<u32, Syntax> {
        match operand {
            Operand::Name(name) if name == "_" => Ok(NONE),
            Operand::Name(name) => self.predicate(name, false, line),
            Operand::Not(name) => self.predicate(name, true, line),
            // `vote.ballot d, 1`: an all-ones register is as good as a predicate word.
            Operand::Integer(value) => {
                let slot = self.constant(4, 0, line)?;
                Ok(if *value != 0 { slot | NOT } else { slot })
            }
            _ => syntax(line, "expected a predicate"),
        }
    }

    /// Slot and type of a register.
    pub(super) fn named_register(&self, operand: &Operand, line: u32) -> Result<(u32, Type), Syntax> {
        let Operand::Name(name) = operand else { return syntax(line, "expected a register") };
        match self.lookup(name) {
            Some(Named::Register { ty, slot }) => Ok((*slot, *ty)),
            _ => syntax(line, format!("`{name}` is not declared")),
        }
    }

    /// A destination register of exactly `bytes`; `_` gets a register nobody reads.
    pub(super) fn dest(&mut self, operand: &Operand, bytes: usize, line: u32) -> Result<u32, Syntax> {
        if *operand == Operand::Name("_".into()) {
            return self.room(8 * bytes as u32, 16, line);
        }
        let (slot, ty) = self.named_register(operand, line)?;
        if ty.bytes() == bytes {
            return Ok(slot);
        }
        syntax(
            line,
            format!("a register of {} bits where the instruction writes {}", 8 * ty.bytes(), 8 * bytes),
        )
    }

    /// A source of type `ty`: register, special register, literal or address, as a slot.
    pub(super) fn source(&mut self, operand: &Operand, ty: Type, line: u32) -> Result<u32, Syntax> {
        let bytes = ty.bytes();
        match operand {
            Operand::Name(name) => {
                if let Some(Named::Register { ty: declared, slot }) = self.lookup(name) {
                    if declared.bytes() == bytes {
                        return Ok(*slot);
                    }
                    let found = 8 * declared.bytes();
                    return syntax(
                        line,
                        format!("`{name}` has {found} bits, the instruction reads {}", 8 * bytes),
                    );
                }
                if name == "WARP_SZ" {
                    return self.constant(bytes, 32, line);
                }
                if let Some((special, declared)) = special(name) {
                    let ty = if declared.bytes() == bytes { declared } else { ty };
                    return self.special(special, ty, line);
                }
                let address = self.symbol(name, line)?;
                self.constant(bytes, address.into(), line)
            }
            Operand::Address { base, offset } => {
                let Operand::Name(name) = base.as_ref() else { return syntax(line, "expected a value") };
                let address = self.symbol(name, line)?.wrapping_add_signed(*offset);
                self.constant(bytes, address.into(), line)
            }
            Operand::Integer(value) => self.constant(bytes, u128::from(*value), line),
            Operand::Single(bits) if ty == Type::F64 => {
                self.constant(8, f64::from(f32::from_bits(*bits)).to_bits().into(), line)
            }
            Operand::Single(bits) => self.constant(bytes, (*bits).into(), line),
            Operand::Double(bits) if bytes == 4 => {
                self.constant(4, (f64::from_bits(*bits) as f32).to_bits().into(), line)
            }
            Operand::Double(bits) => self.constant(bytes, (*bits).into(), line),
            _ => syntax(line, "expected a register or a number"),
        }
    }

    /// A register that holds `value` in every lane.
    pub(super) fn constant(&mut self, bytes: usize, value: u128, line: u32) -> Result<u32, Syntax> {
        let value = if bytes >= 16 { value } else { value & ((1 << (8 * bytes)) - 1) };
        let key = (bytes as u8, value);
        if let Some(slot) = self.constants.get(&key) {
            return Ok(*slot);
        }
        let slot = self.room(8 * bytes.max(2) as u32, 16, line)?;
        self.constants.insert(key, slot);
        Ok(slot)
    }

    pub(super) fn special(&mut self, special: Special, ty: Type, line: u32) -> Result<u32, Syntax> {
        if let Some((_, slot, _)) =
            self.specials.iter().find(|(s, _, t)| *s == special && t.bytes() == ty.bytes())
        {
            return Ok(*slot);
        }
        let slot = self.room(8 * ty.bytes().max(2) as u32, 16, line)?;
        self.specials.push((special, slot, ty));
        Ok(slot)
    }

    /// Address of a variable in its own space, or of a function.
    pub(super) fn symbol(&self, name: &str, line: u32) -> Result<u64, Syntax> {
        if let Some(Named::Parameter(offset)) = self.lookup(name) {
            return Ok(*offset);
        }
        if let Some(offset) = self.shared.offsets.get(name) {
            return Ok(u64::from(*offset));
        }
        if let Some(address) = self.globals.get(name) {
            return Ok(*address);
        }
        if let Some(address) = code_address(self.source, name) {
            return Ok(address);
        }
        syntax(line, format!("`{name}` is not declared"))
    }

    /// `[…]` in `space`.
    pub(super) fn address(&mut self, operand: &Operand, space: Space, line: u32) -> Result<Address, Syntax> {
        let Operand::Address { base, offset } = operand else {
            return syntax(line, "expected an address in brackets");
        };
        let absolute = |address: u64| Address {
            space,
            base: Base::Absolute,
            offset: offset.wrapping_add_unsigned(address),
        };
        match base.as_ref() {
            Operand::Integer(address) => Ok(absolute(*address)),
            Operand::Name(name) => match self.lookup(name) {
                Some(Named::Register { ty, slot }) if matches!(ty.bytes(), 4 | 8) => {
                    Ok(Address { space, base: Base::Register(*slot, ty.bytes() as u8), offset: *offset })
                }
                Some(Named::Area { words, stride }) => {
                    let within = u64::try_from(*offset).is_ok_and(|at| at < u64::from(*stride));
                    if !within {
                        return syntax(line, format!("offset {offset} lies outside of `{name}`"));
                    }
                    let base = Base::Frame { words: *words, stride: *stride };
                    Ok(Address { space: Space::Param, base, offset: *offset })
                }
                Some(Named::Local(at)) => {
                    Ok(Address { space, base: Base::Local, offset: offset.wrapping_add(i64::from(*at)) })
                }
                Some(Named::Parameter(at)) => Ok(Address {
                    space: Space::Param,
                    base: Base::Absolute,
                    offset: offset.wrapping_add(*at as i64),
                }),
                Some(_) => syntax(line, format!("`{name}` is no address")),
                None => Ok(absolute(self.symbol(name, line)?)),
            },
            _ => syntax(line, "expected a register or a name in brackets"),
        }
    }

    pub(super) fn local_of(&self, operand: &Operand) -> Option<u32> {
        let (name, offset) = match operand {
            Operand::Name(name) => (name, 0),
            Operand::Address { base, offset } => match base.as_ref() {
                Operand::Name(name) => (name, *offset),
                _ => return None,
            },
            _ => return None,
        };
        match self.lookup(name)? {
            Named::Local(at) => Some(at.wrapping_add_signed(offset as i32)),
            _ => None,
        }
    }
}

/// Generic address of something in `space`, from its own.
pub fn window(space: Space) -> u64 {
    match space {
        Space::Shared => SHARED_BASE,
        Space::Param => PARAM_BASE,
        Space::Local => crate::vm::exec::LOCAL_BASE,
        Space::Generic | Space::Global | Space::Const => 0,
    }
}

/// A special register and its own width.
pub fn special(name: &str) -> Option<(Special, Type)> {
    let axis = |prefix: &str| match name.strip_prefix(prefix)? {
        "x" => Some(0),
        "y" => Some(1),
        "z" => Some(2),
        _ => None,
    };
    let word = |special| Some((special, Type::U32));
    for (prefix, make) in [
        ("%tid.", Special::Tid as fn(u8) -> Special),
        ("%ntid.", Special::Ntid),
        ("%ctaid.", Special::Ctaid),
        ("%nctaid.", Special::Nctaid),
    ] {
        if let Some(axis) = axis(prefix) {
            return word(make(axis));
        }
    }
    match name {
        "%laneid" => word(Special::LaneId),
        "%warpid" => word(Special::WarpId),
        "%nwarpid" => word(Special::NumWarps),
        "%lanemask_eq" => word(Special::LaneMask(Relation::Eq)),
        "%lanemask_le" => word(Special::LaneMask(Relation::Le)),
        "%lanemask_lt" => word(Special::LaneMask(Relation::Lt)),
        "%lanemask_ge" => word(Special::LaneMask(Relation::Ge)),
        "%lanemask_gt" => word(Special::LaneMask(Relation::Gt)),
        "%smid" => word(Special::SmId),
        "%nsmid" => word(Special::NumSm),
        "%gridid" => Some((Special::GridId, Type::U64)),
        "%dynamic_smem_size" => word(Special::DynamicShared),
        "%total_smem_size" | "%aggr_smem_size" => word(Special::TotalShared),
        // One block a cluster, as when a kernel is launched without clusters.
        "%is_explicit_cluster" | "%cluster_ctarank" | "%clusterid.y" | "%clusterid.z" => {
            word(Special::Fixed(0))
        }
        "%cluster_ctaid.x" | "%cluster_ctaid.y" | "%cluster_ctaid.z" => word(Special::Fixed(0)),
        "%cluster_nctarank" | "%cluster_nctaid.x" | "%cluster_nctaid.y" | "%cluster_nctaid.z" => {
            word(Special::Fixed(1))
        }
        "%clusterid.x" => word(Special::Ctaid(0)),
        "%nclusterid.x" => word(Special::Nctaid(0)),
        // Where cooperative groups keep the barriers of tiles of several warps, and of the grid.
        "%reserved_smem_offset_begin" | "%reserved_smem_offset_0" => word(Special::ReservedShared(0)),
        "%reserved_smem_offset_1" | "%reserved_smem_offset_2" => {
            word(Special::ReservedShared(RESERVED_SHARED / 2))
        }
        "%reserved_smem_offset_end" => word(Special::ReservedShared(RESERVED_SHARED)),
        "%reserved_smem_offset_cap" => word(Special::Fixed(RESERVED_SHARED)),
        "%envreg1" => word(Special::Workspace(true)),
        "%envreg2" => word(Special::Workspace(false)),
        name if name.starts_with("%envreg") => word(Special::Fixed(0)),
        _ => None,
    }
}

/// A variable's first contents, with addresses filled in by `resolve`.
pub fn initial_bytes(
    ty: Type,
    init: &[Init],
    mut resolve: impl FnMut(&str) -> Option<u64>,
) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    for element in init {
        let value = match element {
            Init::Bits(bits) => *bits,
            Init::Address { name, offset, .. } => {
                resolve(name).ok_or_else(|| format!("`{name}` is not declared"))?.wrapping_add_signed(*offset)
            }
        };
        bytes.extend_from_slice(&value.to_le_bytes()[..ty.bytes().min(8)]);
    }
    Ok(bytes)
}
