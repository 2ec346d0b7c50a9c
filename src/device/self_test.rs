//! Whether a device computes: a product and a norm, as the CPU has them.

use super::Device;
use crate::graph::{Graph, TensorId};
use crate::ops::l2_normalize::L2Normalize;
use crate::ops::linear::linear;
use crate::tensor::TensorType;
use crate::{Error, Result};

/// Rows, features in, features out: no multiples of a tile.
const SHAPE: [usize; 3] = [37, 50, 29];

/// Runs two kernels and compares them with the CPU engine; three times, since on a GPU the first run loads modules, the
/// second captures a CUDA graph and the third launches it.
pub fn self_test(device: Device) -> Result<()> {
    let want = &outputs(Device::Cpu, 1)?[0];
    for (run, got) in outputs(device, 3)?.iter().enumerate() {
        let near = |(g, w): (&f32, &f32)| (g - w).abs() <= 1e-5;
        // NaN is not near.
        let far = got.iter().zip(want).position(|pair| !near(pair));
        if let Some(i) = far {
            let what = format!(
                "computes wrongly: run {} of a small product gives {} where the CPU has {}",
                run + 1,
                got[i],
                want[i]
            );
            return Err(Error::Device { device: device.to_string(), what });
        }
    }
    Ok(())
}

fn outputs(device: Device, runs: usize) -> Result<Vec<Vec<f32>>> {
    let [n, d, k] = SHAPE;
    let mut graph = Graph::new();
    let x = graph.input("x", TensorType::f32([n, d]))?;
    let w = graph.input("w", TensorType::f32([k, d]))?;
    let product = linear(&mut graph, x, w, None)?;
    let y = graph.apply1(L2Normalize::default(), &[product])?;
    graph.keep(y);
    let mut program = device.program(graph)?;
    let mut fill = |t: TensorId, count: usize, step: f32| -> Result<()> {
        let values: Vec<f32> = (0..count).map(|i| (i as f32 * step).sin()).collect();
        program.write_f32(t, &values)
    };
    fill(x, n * d, 0.7)?;
    fill(w, k * d, 1.3)?;
    (0..runs)
        .map(|_| {
            program.run_all()?;
            program.read_f32(y)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::COMPILER;

    #[test]
    fn the_machine_passes() {
        if COMPILER.is_some() {
            self_test(Device::Vm).unwrap();
        }
    }
}
