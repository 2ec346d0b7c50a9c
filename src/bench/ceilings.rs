//! What this machine can do at most: the roofline's two lines, measured.

use super::Samples;
use crate::linalg::{Mat, gemm};
use rayon::prelude::*;
use serde::Serialize;

/// The two ceilings.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Ceilings {
    pub flops_per_second: f64,
    pub bytes_per_second: f64,
}

impl Ceilings {
    /// Measures both on all cores, in about a second.
    pub fn measure() -> Self {
        Self { flops_per_second: gemm_flops_per_second(0.5), bytes_per_second: copy_bytes_per_second(0.5) }
    }
}

/// Bytes read plus bytes written by a copy much larger than the caches.
pub fn copy_bytes_per_second(seconds: f64) -> f64 {
    const LEN: usize = 1 << 26;
    let from = vec![1.0f32; LEN];
    let mut to = vec![0.0f32; LEN];
    let chunk = LEN / (4 * rayon::current_num_threads());
    let samples = Samples::take(seconds, || {
        to.par_chunks_mut(chunk).zip(from.par_chunks(chunk)).for_each(|(to, from)| to.copy_from_slice(from));
    });
    (2 * LEN * size_of::<f32>()) as f64 / samples.median()
}

/// FLOP/s of a large f32 matrix product.
pub fn gemm_flops_per_second(seconds: f64) -> f64 {
    const N: usize = 1024;
    let (a, b) = (vec![1.0f32; N * N], vec![1.0f32; N * N]);
    let mut c = vec![0.0f32; N * N];
    let samples = Samples::take(seconds, || {
        gemm(&mut c, N, Mat::new(&a, N, N), Mat::new(&b, N, N), 1.0, false, true);
    });
    2.0 * (N as f64).powi(3) / samples.median()
}
