//! Semi-automatic labels, which stand beside a data set: hashtags and GPS positions.
//!
//! | file in the data folder | columns (CSV, with a header line) | fields (JSONL, one object a line) |
//! | --- | --- | --- |
//! | `hashtags.csv`, `hashtags.jsonl` | `file,tags` | `{"file": …, "tags": […]}` |
//! | `gps.csv`, `gps.jsonl` | `file,latitude,longitude` | `{"file": …, "latitude": …, "longitude": …}` |
//!
//! Each may be gzipped (`.gz`). `file` is the picture's path relative to the data folder, with `/` between folders. Sets
//! whose pictures are no files (IDX, CIFAR, the embedded one) have a column `index` instead: the picture's place among
//! the training files' pictures, from 0. Without a GPS sidecar the positions are read from the pictures' own EXIF.
//!
//! A line for a picture that is not in the set is counted and passed over; a picture without a line has no tag or
//! place, and methods that learn from these skip it. Lines that cannot be read, a second line for a picture, and
//! coordinates off the globe are errors that name file and line.

mod cells;
mod exif;
mod keys;
mod places;
mod rows;
mod summary;
mod tags;

#[cfg(test)]
mod tests;

pub use cells::{Cell, Position, great_circle_km, median_error_km};
pub use places::{PlaceOptions, Places};
pub use summary::{PlaceSummary, TagSummary};
pub use tags::{TagOptions, Tags};

use serde::Serialize;

/// Where labels came from and what was passed over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Origin {
    /// The sidecar's path, or "EXIF".
    pub from: String,
    /// Lines (or pictures with a position in their EXIF) read.
    pub lines: usize,
    /// Lines that name no picture of the set.
    pub unknown: usize,
    /// Pictures left without a label.
    pub without: usize,
    /// Pictures whose EXIF has a position that cannot be read.
    pub malformed: usize,
}
