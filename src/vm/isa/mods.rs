//! An instruction's modifiers, asked by meaning.

use crate::vm::ptx::Type;
use crate::vm::round::Round;

/// `rn`, `ftz`, `f32` of `add.rn.ftz.f32`.
#[derive(Clone, Copy)]
pub struct Mods<'a>(pub &'a [String]);

impl Mods<'_> {
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|m| m == name)
    }

    /// The first of `names` that is there.
    pub fn one_of<'n>(&self, names: &[&'n str]) -> Option<&'n str> {
        names.iter().copied().find(|name| self.has(name))
    }

    pub fn types(&self) -> impl Iterator<Item = Type> {
        self.0.iter().filter_map(|m| Type::parse(m))
    }

    pub fn last_type(&self) -> Option<Type> {
        self.types().last()
    }

    pub fn first_type(&self) -> Option<Type> {
        self.types().next()
    }

    /// `.rn` if nothing is said.
    pub fn round(&self) -> Round {
        match self.one_of(&["rz", "rm", "rp", "rna"]) {
            Some("rz") => Round::Zero,
            Some("rm") => Round::Down,
            Some("rp") => Round::Up,
            Some(_) => Round::NearestAway,
            None => Round::Nearest,
        }
    }

    /// Whether every modifier is a type or one of `known`: what is not understood must not be ignored.
    pub fn only(&self, known: &[&str]) -> bool {
        self.0.iter().all(|m| known.contains(&m.as_str()) || Type::parse(m).is_some())
    }
}
