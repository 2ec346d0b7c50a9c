//! What this machine can do at most: the roofline's two lines, measured.

use super::Samples;
use crate::device::Device;
use crate::graph::{Graph, Kind, Precision, TensorId};
use crate::linalg::{Mat, gemm};
use crate::ops::linear::linear;
use crate::ops::relu::Relu;
use crate::rng::{Philox, Purpose};
use crate::{Error, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The two ceilings.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Ceilings {
    pub flops_per_second: f64,
    pub bytes_per_second: f64,
}

impl Ceilings {
    /// Measures both on a device: a copy, and a product of large matrices in that precision. On a GPU both are this
    /// engine's own kernels, so the second is a floor under what the chip can do.
    pub fn of(device: Device, precision: Precision) -> Result<Self> {
        match device {
            Device::Cpu => Ok(Self::measure()),
            _ => Ok(Self {
                flops_per_second: kernel_flops_per_second(device, precision, 8192)?,
                bytes_per_second: kernel_bytes_per_second(device, 1 << 26)?,
            }),
        }
    }

    /// From a file with `gflops_per_second` and `gigabytes_per_second`, as `rusa bench copy --json` writes it.
    pub fn read(path: &Path) -> Result<Self> {
        #[derive(Deserialize)]
        struct Measured {
            gflops_per_second: f64,
            gigabytes_per_second: f64,
        }
        let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, e))?;
        let measured: Measured = serde_json::from_str(&text).map_err(|e| Error::data(path, e.to_string()))?;
        let Measured { gflops_per_second, gigabytes_per_second } = measured;
        if !(gflops_per_second > 0.0 && gigabytes_per_second > 0.0) {
            return Err(Error::data(path, "both ceilings must be above 0"));
        }
        Ok(Self { flops_per_second: gflops_per_second * 1e9, bytes_per_second: gigabytes_per_second * 1e9 })
    }

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

/// Bytes read plus bytes written by the simplest kernel there is, a ReLU of so many f32.
pub fn kernel_bytes_per_second(device: Device, elements: usize) -> Result<f64> {
    let seconds = median_of(device, Precision::F32, |graph| {
        let x = graph.activation([elements]);
        let x = graph.input("x", x)?;
        graph.apply1(Relu, &[x])
    })?;
    Ok((2 * elements * size_of::<f32>()) as f64 / seconds)
}

/// FLOP/s of `linear` on square matrices.
pub fn kernel_flops_per_second(device: Device, precision: Precision, side: usize) -> Result<f64> {
    let seconds = median_of(device, precision, |graph| {
        let ty = graph.activation([side, side]);
        let (x, w) = (graph.input("x", ty.clone())?, graph.input("w", ty)?);
        linear(graph, x, w, None)
    })?;
    Ok(2.0 * (side as f64).powi(3) / seconds)
}

fn median_of(
    device: Device,
    precision: Precision,
    record: impl Fn(&mut Graph) -> Result<TensorId>,
) -> Result<f64> {
    let mut graph = Graph::with_precision(precision);
    let result = record(&mut graph)?;
    graph.keep(result);
    let mut program = device.program(graph)?;
    // Zeros would flip no bits, and run faster than anything real.
    for input in program.graph().of_kind(Kind::Input) {
        let mut rng = Philox::new(1, Purpose::Test, 0, input.0 as u64);
        let values: Vec<f32> =
            (0..program.graph().ty(input).elements()).map(|_| rng.range(-1.0, 1.0)).collect();
        program.write_f32(input, &values)?;
    }
    Ok(Samples::timed(0.5, || program.seconds(0..1))?.median())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_may_give_them() {
        let read = |text: &str| {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), text).unwrap();
            Ceilings::read(file.path())
        };
        let given =
            read(r#"{"device": "cuda:0", "gflops_per_second": 2, "gigabytes_per_second": 0.5}"#).unwrap();
        assert_eq!((given.flops_per_second, given.bytes_per_second), (2e9, 0.5e9));
        assert!(read(r#"{"gflops_per_second": 2, "gigabytes_per_second": 0}"#).is_err());
    }

    #[test]
    fn kernels_can_be_timed_where_there_are_some() {
        for device in Device::parse("vm").into_iter().chain([Device::Cpu]) {
            let copy = kernel_bytes_per_second(device, 1 << 12).unwrap();
            let product = kernel_flops_per_second(device, Precision::F32, 32).unwrap();
            assert!(copy > 0.0 && product > 0.0, "{device}: {copy} {product}");
        }
    }
}
