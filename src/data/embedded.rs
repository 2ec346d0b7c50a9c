//! The data set inside the binary: Fashion-MNIST's test set, see `data/fashion-mnist-10k/README.md`.

use super::idx;
use super::source::Memory;
use crate::Result;
use std::path::Path;

/// The name under which [`open`](super::open) finds it.
pub const EMBEDDED: &str = "embedded";
/// Of its 10,000 pictures, so many are held out.
pub(super) const HELD_OUT: usize = 2_000;
pub(super) const CLASSES: [&str; 10] = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
];

const IMAGES: &[u8] = include_bytes!("../../data/fashion-mnist-10k/t10k-images-idx3-ubyte.gz");
const LABELS: &[u8] = include_bytes!("../../data/fashion-mnist-10k/t10k-labels-idx1-ubyte.gz");

const HASHTAGS: &[u8] = include_bytes!("../../data/fashion-mnist-10k/hashtags.csv.gz");
const GPS: &[u8] = include_bytes!("../../data/fashion-mnist-10k/gps.csv.gz");

/// The synthetic sidecar of that stem, gzipped CSV; made by `scripts/make-embedded-sidecars.py`.
pub(super) fn sidecar(stem: &str) -> &'static [u8] {
    if stem == "gps" { GPS } else { HASHTAGS }
}

pub(super) fn read() -> Result<Memory> {
    let name = Path::new(EMBEDDED);
    idx::assemble((name, idx::parse(name, IMAGES)?), Some((name, idx::parse(name, LABELS)?)))
}
