//! What compute-sanitizer checks, and what only a machine that owns the schedule can.

mod clocks;
mod finding;
mod shadow;

pub use clocks::{Clocks, Foreign};
pub use finding::{Finding, Kind, Other};
pub use shadow::{ByteState, Conflict, Shadow, Stamp};
