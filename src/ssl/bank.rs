//! Memory banks: a remembered embedding of every image.

use super::Before;
use crate::device::Program;
use crate::graph::TensorId;
use crate::{Error, Result};

/// The state a bank is kept in, f32\[images,D\], rows of unit length.
pub const BANK: &str = "bank";

/// The state of that name.
pub fn find(program: &dyn Program, name: &str) -> Result<TensorId> {
    program.graph().find(name).ok_or_else(|| Error::Graph(format!("the step has no `{name}`")))
}

/// Before the first epoch, what the untrained network makes of every image: random rows would have it learn nonsense for
/// an epoch, and in short runs that ends in a collapse.
pub fn fill_bank(program: &mut dyn Program, before: &Before) -> Result<()> {
    if before.epoch > 0 {
        return Ok(());
    }
    let bank = find(program, BANK)?;
    let d = program.graph().ty(bank).shape[1];
    let mut rows = (before.embed)(program)?;
    rows.chunks_exact_mut(d).for_each(|row| {
        let length = row.iter().map(|x| x * x).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
        row.iter_mut().for_each(|x| *x /= length);
    });
    program.write_f32(bank, &rows)
}
