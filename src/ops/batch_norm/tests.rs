//! What the table of cases does not show: numerical traps and running statistics.

use crate::device::{CpuProgram, Program};
use crate::graph::{Graph, Init};
use crate::ops::batch_norm::{RunningStatistics, cpu};
use crate::tensor::TensorType;

#[test]
fn variance_survives_a_large_mean() {
    // 10 000 ± 1: a sum of squares in fp32 would lose the variance altogether.
    let x: Vec<f32> = (0..4096).map(|i| 10_000.0 + if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
    let (mut mean, mut var) = ([0.0], [0.0]);
    let mut scratch = vec![0.0; cpu::forward_scratch(1, x.len())];
    cpu::statistics(&x, 1, &mut mean, &mut var, &mut scratch);
    assert_eq!(mean, [10_000.0]);
    assert!((var[0] - 1.0).abs() < 1e-5, "{var:?}");
}

#[test]
fn not_a_number_is_not_hidden() {
    let x = [1.0, f32::NAN, 2.0, 3.0];
    let (mut mean, mut var) = ([0.0; 2], [0.0; 2]);
    let mut scratch = vec![0.0; cpu::forward_scratch(2, 4)];
    cpu::statistics(&x, 2, &mut mean, &mut var, &mut scratch);
    assert!(mean[0] == 1.5 && mean[1].is_nan() && var[1].is_nan());
}

#[test]
fn running_statistics_follow_as_in_pytorch() {
    let mut graph = Graph::new();
    let ty = TensorType::f32([1]);
    let mean = graph.input("mean", ty.clone()).unwrap();
    let var = graph.input("var", ty.clone()).unwrap();
    let running_mean = graph.state("running_mean", ty.clone(), Init::Zeros).unwrap();
    let running_var = graph.state("running_var", ty, Init::Ones).unwrap();
    let op = RunningStatistics { momentum: 0.1, count: 5 };
    graph.update(op, &[mean, var], &[running_mean, running_var]).unwrap();
    let mut program = CpuProgram::new(graph);
    for (t, v) in [(mean, 3.0), (var, 4.0), (running_mean, 1.0), (running_var, 2.0)] {
        program.write_f32(t, &[v]).unwrap();
    }
    program.run_all().unwrap();
    assert!((program.read_f32(running_mean).unwrap()[0] - 1.2).abs() < 1e-6);
    // 0.9 · 2 + 0.1 · 4 · 5/4
    assert!((program.read_f32(running_var).unwrap()[0] - 2.3).abs() < 1e-6);
}
