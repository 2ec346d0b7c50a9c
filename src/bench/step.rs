//! A whole training step: forward, loss, backward, optimiser, on views that are given.

use super::{Ceilings, Samples};
use crate::Result;
use crate::config::Config;
use crate::device::{Device, Program};
use crate::rng::{Philox, Purpose};
use crate::ssl::{Feeds, Known};
use crate::train::{inputs, record_step};
use serde::Serialize;

/// A step's time.
#[derive(Clone, Debug, Serialize)]
pub struct StepTiming {
    /// Source images, median.
    pub images_per_second: f64,
    /// Median.
    pub milliseconds: f64,
    pub views_per_image: usize,
    pub batch: usize,
    pub threads: usize,
    pub device: String,
    pub precision: String,
    pub gflops_per_second: f64,
    /// The least time under the ceilings, every operand of every op moved once, over the time taken.
    pub share_of_roofline: f64,
    pub arena_bytes: usize,
    pub flops: u64,
    pub bytes: u64,
    /// Every sample, in the order taken.
    pub samples_milliseconds: Vec<f64>,
}

/// Time spent in one kind of node.
#[derive(Clone, Debug, Serialize)]
pub struct NodeTime {
    pub op: &'static str,
    pub milliseconds: f64,
}

/// Times the step of a configuration for about `seconds`. On a GPU by its own clock, the whole step as one CUDA graph.
pub fn time_step(config: &Config, ceilings: Ceilings, seconds: f64) -> Result<StepTiming> {
    let (device, mut program) = prepare(config)?;
    let all = program.graph().nodes().len();
    let samples = Samples::timed(seconds, || program.seconds(0..all))?;
    let time = samples.median();
    let cost = program.plan().cost();
    let timing = StepTiming {
        images_per_second: config.batch as f64 / time,
        milliseconds: time * 1e3,
        views_per_image: inputs(config)?.sizes().len(),
        batch: config.batch,
        threads: rayon::current_num_threads(),
        device: device.to_string(),
        precision: config.precision.clone(),
        share_of_roofline: program
            .plan()
            .roofline_seconds(ceilings.flops_per_second, ceilings.bytes_per_second)
            / time,
        gflops_per_second: cost.flops as f64 / time / 1e9,
        arena_bytes: program.plan().arena_bytes,
        flops: cost.flops,
        bytes: cost.bytes,
        samples_milliseconds: samples.0.iter().map(|s| s * 1e3).collect(),
    };
    Ok(timing)
}

/// Where a step's time goes, by kind of node, most first: the median of several runs of each node alone, on a GPU with
/// its operands in memory and not in a cache.
pub fn time_nodes(config: &Config) -> Result<Vec<NodeTime>> {
    let (_, mut program) = prepare(config)?;
    program.run_all()?;
    let mut times: Vec<NodeTime> = Vec::new();
    for i in 0..program.graph().nodes().len() {
        let samples = Samples::timed(0.0, || {
            program.evict()?;
            program.seconds(i..i + 1)
        })?;
        let milliseconds = samples.median() * 1e3;
        let op = program.graph().nodes()[i].op.name();
        match times.iter_mut().find(|t| t.op == op) {
            Some(time) => time.milliseconds += milliseconds,
            None => times.push(NodeTime { op, milliseconds }),
        }
    }
    times.sort_by(|a, b| b.milliseconds.total_cmp(&a.milliseconds));
    Ok(times)
}

/// The step's program, with something in every input.
fn prepare(config: &Config) -> Result<(Device, Box<dyn Program>)> {
    let step = record_step(config, Known::default(), 0, None)?;
    let device = Device::parse(&config.device)?;
    let mut program = device.program(step.graph)?;
    program.initialize(config.seed)?;
    program.write_f32(step.seed_gradient, &[1.0])?;
    // A learning rate of zero: the work is the same and the weights stay put however long it takes.
    for schedule in std::iter::once(step.schedule).chain(step.feeds.held_schedule) {
        program.write_f32(schedule, &[0.0, 1.0])?;
    }
    invent(&mut *program, &step.feeds, config)?;
    Ok((device, program))
}

/// Inputs that make the step do its usual work: noise for views, everybody of the first class.
fn invent(program: &mut dyn Program, feeds: &Feeds, config: &Config) -> Result<()> {
    let n = |program: &dyn Program, t| program.graph().ty(t).elements();
    for &(_, views) in &feeds.views {
        let mut rng = Philox::new(config.seed, Purpose::Test, 0, 0);
        let noise: Vec<f32> = (0..n(program, views)).map(|_| rng.normal()).collect();
        program.write_f32(views, &noise)?;
    }
    for &(_, labels) in &feeds.labels {
        program.write(labels, &vec![0; program.graph().ty(labels).bytes()])?;
    }
    if let Some(index) = feeds.index {
        let images: Vec<u32> = (0..config.batch as u32).collect();
        program.write(index, bytemuck::cast_slice(&images))?;
    }
    if let Some(negatives) = feeds.negatives {
        let first = config.batch as u32;
        let images: Vec<u32> = (first..first + n(program, negatives) as u32).collect();
        program.write(negatives, bytemuck::cast_slice(&images))?;
    }
    if let Some(targets) = feeds.targets {
        let classes = program.graph().ty(targets).shape[1];
        program.write_f32(targets, &vec![1.0 / classes as f32; config.batch * classes])?;
    }
    for &(input, ramp) in &feeds.ramps {
        program.write_f32(input, &[ramp.at(0.0)])?;
    }
    Ok(())
}
