//! What is drawn: policies, presets, the parameters of every view, and pictures of them.
//!
//! What is then done to the pixels is the op's business: [`crate::ops::augment`].
//!
//! ```
//! use rusa::augment::{draw_batch, preset};
//! use rusa::ops::augment::Scratch;
//!
//! let policy = preset("fashion-mnist")?.policy();
//! let op = policy.op(28);
//! policy.check(28, 1)?;
//! // Two views of samples 0 and 1 in epoch 0: four rows, the first views first.
//! let rows = draw_batch(&policy, 42, 0, &[0, 1], 2, [28, 28]);
//! let (image, mut view) = (vec![128u8; 28 * 28], vec![0.0; 28 * 28]);
//! op.apply(&image, 28, 28, 1, &rows[0], &mut view, &mut Scratch::default()).expect("drawn rows fit");
//! # Ok::<(), rusa::Error>(())
//! ```

mod draw;
mod grid;
mod policy;
mod presets;

pub use draw::{draw, draw_batch, stream};
pub use grid::{Picture, Row, grid};
pub use policy::{PerView, Policy};
pub use presets::{PRESETS, Preset, preset};
