//! Diagnostics of a feature space: do related images lie together ([`Relation`]), do features stay put while an image
//! changes in ways that do not matter ([`invariance`](invariance())), and has the space collapsed ([`Collapse`], and the
//! signs in [`DeadPrototypes`] and [`StuckLoss`])?

mod change;
mod collapse;
mod invariance;
mod nuisance;
mod relation;
mod signs;

pub use collapse::{Collapse, alignment, feature_std, uniformity};
pub use invariance::{Curve, Invariance, Sweep, invariance};
pub use nuisance::{NUISANCES, Nuisance};
pub use relation::{AGREEMENT_KS, NeighbourAgreement, Relation, neighbour_agreement};
pub use signs::{DeadPrototypes, StuckLoss, dead_prototypes, stuck_loss};
