//! All parameters in one pass: what the optimiser ops share.

use crate::ops::Args;
use crate::tensor::TensorType;
use rayon::prelude::*;

/// Elements a task works on.
const CHUNK: usize = 1 << 14;

/// One parameter with what belongs to it: its gradient and `S` state tensors.
pub struct Parameter<'a, const S: usize> {
    pub shape: &'a [usize],
    pub value: &'a mut [f32],
    pub gradient: &'a [f32],
    pub states: [&'a mut [f32]; S],
}

/// Inputs are the schedule and a gradient for each of n parameters; outputs the n parameters, then n of each state.
pub fn output_types(inputs: &[TensorType], states: usize) -> Vec<TensorType> {
    let params = &inputs[1..];
    (0..=states).flat_map(|_| params.iter().cloned()).collect()
}

/// Learning rate and step; none at step 0, where an optimiser does nothing.
pub fn schedule(args: &Args) -> Option<(f32, f32)> {
    let schedule = args.f32(0);
    (schedule[1] >= 1.0).then_some((schedule[0], schedule[1]))
}

/// The op's operands, by parameter.
pub fn parameters<'a, const S: usize>(args: &Args<'a>) -> Vec<Parameter<'a, S>> {
    let n = args.inputs() - 1;
    let mut outputs: Vec<_> = args.all_outputs().map(Some).collect();
    let mut take = |i: usize| outputs[i].take().expect("each output belongs to one parameter");
    (0..n)
        .map(|i| Parameter {
            shape: &args.ty(i + 1).shape,
            value: take(i),
            gradient: args.f32(i + 1),
            states: std::array::from_fn(|s| take((s + 1) * n + i)),
        })
        .collect()
}

/// Calls `update(factors[i], value, gradient, states)` on every element of parameter i, in parallel.
pub fn for_each<const S: usize, F: Copy + Send + Sync>(
    parameters: Vec<Parameter<S>>,
    factors: &[F],
    update: impl Fn(F, &mut f32, f32, [&mut f32; S]) + Sync + Copy,
) {
    let mut tasks = Vec::new();
    for (parameter, &factor) in parameters.into_iter().zip(factors) {
        let Parameter { value, gradient, states, .. } = parameter;
        let mut states = states.map(|s| s.chunks_mut(CHUNK));
        for (value, gradient) in value.chunks_mut(CHUNK).zip(gradient.chunks(CHUNK)) {
            let states: [&mut [f32]; S] =
                states.each_mut().map(|s| s.next().expect("as long as the parameter"));
            tasks.push((factor, value, gradient, states));
        }
    }
    tasks.into_par_iter().for_each(|(factor, value, gradient, mut states)| {
        for (i, (value, &gradient)) in value.iter_mut().zip(gradient).enumerate() {
            update(factor, value, gradient, states.each_mut().map(|s| &mut s[i]));
        }
    });
}
