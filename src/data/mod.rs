//! Data sets: where pictures come from, which are trained on and which are held out, and the loader that turns them
//! into batches of views.
//!
//! ```no_run
//! use rusa::data::{self, Image, Options};
//! let set = data::open("embedded", &Options::default())?;
//! let mut image = Image::default();
//! set.train.read(0, &mut image)?;
//! println!("{} pictures, the first a {}", set.train.len(), set.classes[set.train.label(0) as usize]);
//! # Ok::<(), rusa::Error>(())
//! ```

mod bad;
mod cifar;
pub(crate) mod decode;
mod embedded;
mod folder;
mod idx;
mod image;
mod inspect;
pub mod loader;
mod open;
pub mod sidecar;
mod source;

#[cfg(test)]
mod tests;

pub use bad::BadFiles;
pub use embedded::EMBEDDED;
pub use image::{Image, luma};
pub use inspect::{Summary, inspect};
pub use loader::{Batch, Epoch, Loader, Sample};
pub use open::open;
pub use source::{Memory, Source, Split};

use serde::Serialize;
use std::sync::Arc;

/// How to read a data set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Give every picture this many channels, 1 or 3 (`data.channels`). `None`: 1 if the whole set is gray, else 3.
    pub channels: Option<usize>,
    /// The fraction of files that may be unreadable (`data.max_bad`).
    pub max_bad: f64,
}

impl Default for Options {
    fn default() -> Self {
        Self { channels: None, max_bad: 0.01 }
    }
}

/// What a data set is stored as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Embedded,
    Idx,
    Cifar10,
    Cifar100,
    Folder,
}

/// An open data set. Cheap to clone: pictures are shared.
#[derive(Clone)]
pub struct Dataset {
    /// As given to [`open`].
    pub path: String,
    pub kind: Kind,
    /// By label. One class, `unlabelled`, if the set has no labels.
    pub classes: Vec<String>,
    pub labelled: bool,
    /// Of every picture of both splits: 1 or 3.
    pub channels: usize,
    pub train: Split,
    /// The set's own test split, or pictures held out of its training split.
    pub test: Split,
    /// True if `test` was held out here.
    pub held_out: bool,
    /// Files found unreadable so far.
    pub bad: Arc<BadFiles>,
    /// What a user should know about how the set was read, a sentence each.
    pub notes: Vec<String>,
}

/// "0", "1", …: the names of classes that have none.
fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|i| i.to_string()).collect()
}
