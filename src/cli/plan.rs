//! `rusa plan`.

use super::say;
use super::step::StepArguments;
use anyhow::{Result, bail};
use rusa::bench::Ceilings;
use rusa::config::Config;
use rusa::device::{DryBackend, Lowered, Placement, Program};
use rusa::files::write_atomically;
use rusa::graph::plan::{Plan, Target};
use rusa::report::step_svg;
use rusa::ssl::{self, Known, METHODS};
use rusa::train::record_step;
use serde_json::json;
use std::path::PathBuf;
use std::process::ExitCode;

/// Show a training step before it runs: nodes, shapes, FLOPs, bytes, memory, and the least time it can take. With
/// `--method all`, what each method's step needs beside SimCLR's.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    step: StepArguments,
    /// The device's compute ceiling in TFLOP/s; measured here if not given.
    #[arg(long, value_name = "TFLOP/s")]
    peak_tflops: Option<f64>,
    /// The device's memory ceiling in GB/s; measured here if not given.
    #[arg(long, value_name = "GB/s")]
    peak_gbs: Option<f64>,
    /// As JSON.
    #[arg(long)]
    json: bool,
    /// Draw the step: networks, loss, states and updates as boxes, tensors as lines, dashed where no gradient flows back.
    #[arg(long, value_name = "FILE.svg")]
    graph: Option<PathBuf>,
}

pub fn run(arguments: Arguments) -> Result<ExitCode> {
    if arguments.step.method == "all" {
        return side_by_side(&arguments);
    }
    let config = arguments.step.config()?;
    let step = record_step(&config, Known::default(), 0, None)?;
    if let Some(file) = &arguments.graph {
        let [method, encoder, precision] = [&config.method, &config.encoder.name, &config.precision];
        let title = format!(
            "{method}: a step of {encoder} on {} images, {size}×{size}, {precision}",
            config.batch,
            size = config.data.size
        );
        write_atomically(file, step_svg(&step, &title, ssl::find(method)?.summary).as_bytes())?;
    }
    let graph = step.graph;
    let plan = Plan::new(&graph, Target::Cpu);
    let kernels = as_kernels(&config)?;
    let launches = count(&kernels);
    let ceilings = match (arguments.peak_tflops, arguments.peak_gbs) {
        (Some(t), Some(g)) => Ceilings { flops_per_second: t * 1e12, bytes_per_second: g * 1e9 },
        (t, g) => {
            let here = Ceilings::measure();
            Ceilings {
                flops_per_second: t.map_or(here.flops_per_second, |t| t * 1e12),
                bytes_per_second: g.map_or(here.bytes_per_second, |g| g * 1e9),
            }
        }
    };
    let floor = plan.roofline_seconds(ceilings.flops_per_second, ceilings.bytes_per_second);
    let cost = plan.cost();
    let shapes = |tensors: &[rusa::graph::TensorId]| {
        tensors.iter().map(|&t| graph.ty(t).to_string()).collect::<Vec<_>>()
    };
    if arguments.json {
        let nodes: Vec<_> = graph
            .nodes()
            .iter()
            .zip(&plan.costs)
            .enumerate()
            .map(|(i, (node, cost))| {
                json!({
                    "op": node.op.name(), "scope": node.scope, "inputs": shapes(&node.inputs),
                    "outputs": shapes(&node.outputs), "flops": cost.flops, "bytes": cost.bytes,
                    "kernels": kernels.entries(i),
                })
            })
            .collect();
        let whole = json!({
            "nodes": graph.nodes().len(), "launches": launches, "flops": cost.flops, "bytes": cost.bytes,
            "arena_bytes": plan.arena_bytes, "kernels_arena_bytes": kernels.plan().arena_bytes, "persistent_bytes": plan.persistent_bytes,
            "live_bytes": plan.live_bytes, "roofline_seconds": floor, "ceilings": ceilings,
            "images_per_second_at_most": config.batch as f64 / floor, "list": nodes,
        });
        say!("{}", serde_json::to_string_pretty(&whole)?);
        return Ok(ExitCode::SUCCESS);
    }
    say!("{:>4}  {:<24} {:<30} {:>10} {:>10}  output", "node", "op", "where", "MFLOP", "MB");
    for (i, (node, cost)) in graph.nodes().iter().zip(&plan.costs).enumerate() {
        let outputs = shapes(&node.outputs);
        let more = if outputs.len() > 1 { format!(" and {} more", outputs.len() - 1) } else { String::new() };
        say!(
            "{i:>4}  {:<24} {:<30} {:>10.1} {:>10.2}  {}{more}",
            node.op.name(),
            node.scope,
            cost.flops as f64 / 1e6,
            cost.bytes as f64 / 1e6,
            outputs[0],
        );
    }
    let mb = |bytes: usize| bytes as f64 / 1e6;
    say!();
    say!(
        "{} nodes, {:.3} GFLOP, {:.3} GB moved",
        graph.nodes().len(),
        cost.flops as f64 / 1e9,
        cost.bytes as f64 / 1e9
    );
    say!(
        "arena {:.1} MB: {:.1} MB of weights, states and inputs, {:.1} MB of temporaries ({:.1} MB alive at once)",
        mb(plan.arena_bytes),
        mb(plan.persistent_bytes),
        mb(plan.arena_bytes - plan.persistent_bytes),
        mb(plan.live_bytes),
    );
    say!("as CUDA kernels: {launches} launches, arena {:.1} MB", mb(kernels.plan().arena_bytes));
    say!(
        "roofline floor {:.2} ms a step, at most {:.0} images/s, under {:.3} TFLOP/s and {:.1} GB/s",
        floor * 1e3,
        config.batch as f64 / floor,
        ceilings.flops_per_second / 1e12,
        ceilings.bytes_per_second / 1e9,
    );
    Ok(ExitCode::SUCCESS)
}

/// The step as a GPU would run it.
fn as_kernels(config: &Config) -> Result<Lowered<DryBackend>> {
    let graph = record_step(config, Known::default(), 0, None)?.graph;
    Ok(Lowered::new(graph, DryBackend::default(), Placement::Arena)?)
}

fn count(kernels: &Lowered<DryBackend>) -> usize {
    kernels.launches().iter().map(Vec::len).sum()
}

/// A line a method. FLOPs and bytes are those of the formula, whatever runs it; launches and arena those of the kernels.
fn side_by_side(arguments: &Arguments) -> Result<ExitCode> {
    if arguments.graph.is_some() {
        bail!("--graph draws the step of one method: name it with --method");
    }
    let (mut all, mut simclr) = (serde_json::Map::new(), None);
    if !arguments.json {
        let [flops, bytes, arena] = ["GFLOP", "GB moved", "arena MB"];
        say!("{:<18} {flops:>9} {:>9} {bytes:>9} {:>9} {arena:>9}", "method", "x simclr", "launches");
    }
    for method in METHODS {
        let kernels = as_kernels(&arguments.step.config_of(method.name)?)?;
        let (cost, arena, launches) = (kernels.plan().cost(), kernels.plan().arena_bytes, count(&kernels));
        let against = cost.flops as f64 / *simclr.get_or_insert(cost.flops as f64);
        if !arguments.json {
            let [flops, bytes] = [cost.flops, cost.bytes].map(|n| n as f64 / 1e9);
            let arena = arena as f64 / 1e6;
            say!("{:<18} {flops:>9.2} {against:>9.2} {bytes:>9.3} {launches:>9} {arena:>9.1}", method.name);
        }
        let value = json!({
            "flops": cost.flops, "flops_beside_simclr": against, "bytes": cost.bytes, "launches": launches,
            "kernels_arena_bytes": arena,
        });
        all.insert(method.name.into(), value);
    }
    if arguments.json {
        say!("{}", serde_json::to_string_pretty(&all)?);
    }
    Ok(ExitCode::SUCCESS)
}
